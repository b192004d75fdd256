//! Random histories: sessions that call, give up, die, and a service that resets, upgrades and lets time pass; after each
//! step, what has become of the calls is what the model says. It does not know what is called; the model does.
//!
//! `QUORATE_SEED=n` repeats one history, `QUORATE_SEEDS=n` runs so many.

use std::collections::BTreeMap;
use std::ops::Range;

use quorate_testkit::{CallHandle, Kit, Outcome, Random, SessionId};

use crate::built;

/// Histories of each model in a usual run.
const SEEDS_COUNT: u64 = 12;
/// Steps of one history.
const STEPS_COUNT: u64 = 250;
/// Sessions that live at a time.
const SESSIONS_MAX: usize = 5;
/// Milliseconds in which a silent session is noticed: its timeout of 10 s, the leader's margin, and some.
const EXPIRY_MS: u64 = 12_000;
/// Steps that are shown of a history that fails.
const SHOWN_STEPS: usize = 30;

/// What a recipe should do, one step after the other.
pub trait Model {
    /// Its name, of the recipe and of the test.
    const RECIPE: &'static str;
    /// A call that it knows.
    type Op;

    fn new() -> Self;

    /// Something to call.
    fn choose(&self, random: &mut Random, session: SessionId) -> Self::Op;

    /// The call's function, and its arguments as WAVE texts.
    fn text(op: &Self::Op) -> (&'static str, String);

    /// It was called.
    fn called(&mut self, op: Self::Op, by: CallHandle, facts: &mut Facts<'_>);

    /// The caller of a waiting call gave up, or its time is over (`why` is the name of the error).
    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>);

    /// A session has ended, in this transaction.
    fn session_ended(&mut self, session: SessionId, zxid: u64, facts: &mut Facts<'_>);

    /// What always holds, beside the outcomes.
    fn check(&self, kit: &Kit) -> Result<(), String>;
}

/// What a model can look up, and where it says what has to happen.
pub struct Facts<'a> {
    pub kit: &'a Kit,
    /// Outcomes of the calls that end in this step.
    ends: BTreeMap<CallHandle, String>,
    deadlines: &'a mut BTreeMap<CallHandle, u64>,
}

impl Facts<'_> {
    /// The transaction that ended a call. 0 if it goes on: what the model says then differs from what has happened.
    pub fn zxid(&self, call: CallHandle) -> u64 {
        self.kit.zxid(call).map_or(0, |zxid| zxid.0)
    }

    /// A call has to end in this step, like this.
    pub fn ends(&mut self, call: CallHandle, outcome: impl Into<String>) {
        self.deadlines.remove(&call);
        let before = self.ends.insert(call, outcome.into());
        assert_eq!(before, None, "the model ends {call} twice");
    }

    /// A call has to wait.
    pub fn waits(&mut self, call: CallHandle, timeout_ms: Option<u64>) {
        if let Some(milliseconds) = timeout_ms {
            self.deadlines.insert(call, self.kit.clock_ms() + milliseconds);
        }
    }
}

/// Runs the histories of a model.
pub fn run<M: Model>() {
    let component = built::component(M::RECIPE);
    for seed in seeds() {
        let kit = Kit::of(&component, built::manifest(M::RECIPE)).expect("deployed");
        let mut history = History::<M>::new(kit, seed);
        for step in 1..=STEPS_COUNT {
            if let Err(message) = history.step() {
                let recipe = M::RECIPE;
                let shown = history.log.len().saturating_sub(SHOWN_STEPS);
                panic!(
                    "seed {seed}, step {step}: {message}\n\nthe last steps:\n{}\n\nrepeat it with\n    QUORATE_SEED={seed} cargo test -p quorate-testkit --test recipes models::{recipe}\n",
                    history.log[shown..].join("\n")
                );
            }
        }
    }
}

fn seeds() -> Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    match (number("QUORATE_SEED"), number("QUORATE_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..SEEDS_COUNT,
    }
}

struct History<M: Model> {
    kit: Kit,
    model: M,
    random: Random,
    sessions: Vec<SessionId>,
    deadlines: BTreeMap<CallHandle, u64>,
    log: Vec<String>,
}

impl<M: Model> History<M> {
    fn new(mut kit: Kit, seed: u64) -> Self {
        kit.reset_at_random(seed);
        Self {
            kit,
            model: M::new(),
            random: Random::new(seed),
            sessions: Vec::new(),
            deadlines: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let ends = match self.random.below(20) {
            _ if self.sessions.is_empty() => self.open(),
            0 if self.sessions.len() < SESSIONS_MAX => self.open(),
            1 => self.end_session(),
            2 => self.cancel(),
            3 => self.advance(),
            4 => self.upgrade(),
            _ => self.call(),
        };
        self.compare(ends)?;
        self.model.check(&self.kit)
    }

    /// Lets the model take a step, and gives the outcomes that it says.
    fn model_step(
        &mut self,
        step: impl FnOnce(&mut M, &mut Facts<'_>),
    ) -> BTreeMap<CallHandle, String> {
        let (kit, deadlines) = (&self.kit, &mut self.deadlines);
        let mut facts = Facts { kit, ends: BTreeMap::new(), deadlines };
        step(&mut self.model, &mut facts);
        facts.ends
    }

    fn open(&mut self) -> BTreeMap<CallHandle, String> {
        let session = self.kit.session().expect("a session");
        self.log.push(format!("open {session}"));
        self.sessions.push(session);
        BTreeMap::new()
    }

    fn call(&mut self) -> BTreeMap<CallHandle, String> {
        let session = *self.random.pick(&self.sessions).expect("there is one");
        let op = self.model.choose(&mut self.random, session);
        let (function, arguments) = M::text(&op);
        let call = self.kit.call(session, function, arguments.as_str()).expect("a call");
        let shown = self.kit.show(call);
        self.log.push(format!("{call} {function} {arguments} -> {shown}"));
        self.model_step(|model, facts| model.called(op, call, facts))
    }

    /// By its client, or by the end of its time.
    fn end_session(&mut self) -> BTreeMap<CallHandle, String> {
        let at = self.random.below(self.sessions.len() as u64);
        let session = self.sessions.swap_remove(usize::try_from(at).expect("an index"));
        // A real expiry takes time, in which deadlines would pass.
        if self.deadlines.is_empty() && self.random.is_one_in(2) {
            self.log.push(format!("silence {session}"));
            self.kit.silence(session);
            self.kit.advance(EXPIRY_MS);
        } else {
            self.log.push(format!("close {session}"));
            self.kit.close(session).expect("closed");
        }
        let zxid = self.kit.ended_at(session).expect("its time is over").0;
        self.deadlines.retain(|call, _| call.session() != session);
        self.model_step(|model, facts| model.session_ended(session, zxid, facts))
    }

    fn cancel(&mut self) -> BTreeMap<CallHandle, String> {
        let Some(call) = self.random.pick(&self.kit.parked()).copied() else {
            return BTreeMap::new();
        };
        self.log.push(format!("cancel {call}"));
        self.kit.cancel(call).expect("cancelled");
        self.model_step(|model, facts| model.given_up(call, "cancelled", facts))
    }

    fn advance(&mut self) -> BTreeMap<CallHandle, String> {
        let milliseconds = 1 + self.random.below(2_000);
        self.log.push(format!("advance {milliseconds}"));
        self.kit.advance(milliseconds);
        let now = self.kit.clock_ms();
        let mut due: Vec<(u64, CallHandle)> =
            self.deadlines.iter().map(|(call, at)| (*at, *call)).collect();
        due.retain(|(at, _)| *at <= now);
        due.sort();
        self.model_step(|model, facts| {
            due.into_iter().for_each(|(_, call)| model.given_up(call, "timed-out", facts));
        })
    }

    fn upgrade(&mut self) -> BTreeMap<CallHandle, String> {
        self.log.push("upgrade".to_owned());
        self.kit.upgrade().expect("upgraded");
        BTreeMap::new()
    }

    /// Exactly those calls have ended that the model says, and as it says.
    fn compare(&mut self, mut ends: BTreeMap<CallHandle, String>) -> Result<(), String> {
        for call in self.kit.take_ended() {
            let shown = format!("{call} {}", self.kit.function_name(call));
            if self.kit.outcome(call) == Outcome::Dropped {
                if self.sessions.contains(&call.session()) {
                    return Err(format!("{shown} was dropped, and its session lives"));
                }
                continue;
            }
            self.log.push(format!("    => {shown} -> {}", self.kit.show(call)));
            let Some(expected) = ends.remove(&call) else {
                return Err(format!("{shown} has ended; the model says that it waits"));
            };
            let checked = self.kit.check(call, &expected);
            checked.map_err(|message| format!("{shown}:\n{message}"))?;
        }
        match ends.first_key_value() {
            None => Ok(()),
            Some((call, expected)) => {
                let shown = self.kit.show(*call);
                Err(format!("{call} is {shown}; the model says that it ends with {expected}"))
            }
        }
    }
}
