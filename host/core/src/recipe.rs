//! The port to recipes: one run of a call, on a transaction, and how it ends. The engine is behind it in the service, a
//! closure in the core's tests. Whether a run's changes stand is decided by `execute`, not here.

use bytes::Bytes;

use crate::deployment::{ComponentDigest, Version};
use crate::error::Refusal;
use crate::ids::{CallId, Millis};
use crate::path::Path;
use crate::request::Call;
use crate::txn::Txn;

/// Why a call runs. On the wire to the guest it is a number, so that old guests meet new reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The first run.
    First,
    /// Something that it waits for changed, or the leader did.
    Changed,
    /// Its deadline has passed: the last run.
    TimedOut,
    /// Its caller gave up: the last run.
    Cancelled,
    /// A new version of the recipe was activated.
    Upgraded,
}

impl Reason {
    /// The number that the guest sees.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::First => 0,
            Self::Changed => 1,
            Self::TimedOut => 2,
            Self::Cancelled => 3,
            Self::Upgraded => 4,
        }
    }

    /// Whether a run for this reason must not park.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::TimedOut | Self::Cancelled)
    }
}

/// What wakes a parked call. Paths are those of the service's tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// The znode is created, set or deleted.
    NodeChanged(Path),
    /// A child of the znode is created or deleted, or the znode itself is.
    ChildrenChanged(Path),
    /// This time has come.
    AtTime(Millis),
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// Who calls.
    pub id: CallId,
    /// The caller's name; empty for an anonymous one.
    pub principal: &'a str,
    /// The version to run.
    pub version: &'a Version,
    /// What is called.
    pub call: &'a Call,
    /// Why.
    pub reason: Reason,
    /// What the call kept from its last run.
    pub state: Bytes,
    /// When it will be run for the last time; none if it waits for ever, or if that is not fixed yet.
    pub deadline: Option<Millis>,
    /// Whether it may park: not in a last run, nor inside a multi, nor when it may only read.
    pub may_park: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// The function returned.
    Returned {
        /// The encoded result.
        value: Bytes,
        /// Whether it is the error case of a `result`: then the run's changes are abandoned.
        is_error: bool,
    },
    /// It waits.
    Parked {
        /// What wakes it.
        interests: Vec<Interest>,
        /// What it keeps.
        state: Bytes,
        /// The deadline: the given one, or the one that this first run fixed.
        deadline: Option<Millis>,
    },
    /// It trapped, passed a limit, or could not be called.
    Failed(Refusal),
}

/// Runs recipes.
pub trait Recipes {
    /// Runs a call on this transaction and gives the transaction back. Whatever happens, the next run finds no trace of
    /// this one outside the transaction, but for instances that the manifest says are reused. A function that the manifest
    /// lists as read-only by another of its names is made so here ([`Txn::forbid_changes`]).
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd);

    /// Whether a component may be activated here, and what in its interface breaks callers of `previous`.
    ///
    /// # Errors
    /// `not-admitted`, or `compiling` while it is not ready.
    fn check(
        &mut self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal>;

    /// Whether a component exports exactly one function that callers may call by this name. A port that does not know says
    /// yes.
    ///
    /// # Errors
    /// `no-function`, with the names that there are; `not-admitted`, or `compiling` while the component is not ready.
    fn check_function(
        &mut self,
        _component: &ComponentDigest,
        _function: &str,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether a function has the same type in both components, so that its waiting calls can go on in the new one. A
    /// port that does not know says yes: the new version then refuses what it does not understand.
    fn same_signature(
        &mut self,
        _old: &ComponentDigest,
        _new: &ComponentDigest,
        _function: &str,
    ) -> bool {
        true
    }

    /// Runs the component's `migrate`, if it exports one, from the version before.
    ///
    /// # Errors
    /// The trap or refusal; the activation is abandoned then.
    fn migrate(
        &mut self,
        version: &Version,
        previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>);

    /// Drops all reused instances: what they executed may never be applied.
    fn reset(&mut self);
}
