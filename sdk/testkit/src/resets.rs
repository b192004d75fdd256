//! Drops the instances that the engine keeps for reuse, when it is told to or at random: a recipe must not notice. It
//! stands between the sequencer and the engine, and changes nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::error::Refusal;
use quorate_core::recipe::{Recipes, Run, RunEnd};
use quorate_core::txn::Txn;
use quorate_engine::Runner;

use crate::random::Random;

/// Of so many runs, about one begins with a reset, where resets are random.
const RUNS_PER_RESET: u64 = 3;

/// When instances are dropped.
#[derive(Debug, Default)]
pub(crate) struct Resets {
    is_due: bool,
    random: Option<Random>,
}

pub(crate) type SharedResets = Arc<Mutex<Resets>>;

impl Resets {
    /// Before the next run.
    pub(crate) fn now(shared: &SharedResets) {
        shared.lock().unwrap_or_else(PoisonError::into_inner).is_due = true;
    }

    /// Before every run, or not, as the seed says.
    pub(crate) fn at_random(shared: &SharedResets, seed: u64) {
        let random = Some(Random::new(seed));
        shared.lock().unwrap_or_else(PoisonError::into_inner).random = random;
    }

    fn poll(&mut self) -> bool {
        let is_random = self.random.as_mut().is_some_and(|random| random.is_one_in(RUNS_PER_RESET));
        std::mem::take(&mut self.is_due) || is_random
    }
}

/// The engine's runner, with resets.
pub(crate) struct Resettable {
    runner: Runner,
    resets: SharedResets,
}

impl Resettable {
    pub(crate) fn new(runner: Runner, resets: SharedResets) -> Self {
        Self { runner, resets }
    }
}

impl Recipes for Resettable {
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        if self.resets.lock().unwrap_or_else(PoisonError::into_inner).poll() {
            self.runner.reset();
        }
        self.runner.run(run, txn)
    }

    fn check(
        &mut self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        self.runner.check(component, previous)
    }

    fn check_function(
        &mut self,
        component: &ComponentDigest,
        function: &str,
    ) -> Result<(), Refusal> {
        self.runner.check_function(component, function)
    }

    fn same_signature(
        &mut self,
        old: &ComponentDigest,
        new: &ComponentDigest,
        function: &str,
    ) -> bool {
        self.runner.same_signature(old, new, function)
    }

    fn migrate(
        &mut self,
        version: &Version,
        previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        self.runner.migrate(version, previous, txn)
    }

    fn reset(&mut self) {
        self.runner.reset();
    }
}
