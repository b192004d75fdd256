//! Random histories: sessions that call, one by one or several at once, give up, close, die, and a service that resets,
//! upgrades and lets time pass; after each step, what has become of the calls is what the model says. It does not know what is called; the model does.
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
/// Calls that are submitted at once, at most.
const BURST_MAX: u64 = 4;
/// Milliseconds for which a silent session lives at least: its timeout.
const TIMEOUT_MS: u64 = 10_000;
/// Milliseconds in which a silent session is noticed: its timeout, the leader's margin, and some.
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

    /// Whether the model knows what this call does, and what it does to others, also when calls that are woken just before it
    /// have not run again yet: only such calls are submitted several at once, each by another session.
    fn may_be_in_a_burst(&self, _op: &Self::Op, _by: SessionId) -> bool {
        false
    }

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
    /// Those that live and call.
    sessions: Vec<SessionId>,
    /// Those whose clients are dead and that have not been noticed yet, and since when.
    silent: BTreeMap<SessionId, u64>,
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
            silent: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let ends = match self.random.below(22) {
            _ if self.sessions.is_empty() => self.open(),
            0 | 1 if self.sessions.len() < SESSIONS_MAX => self.open(),
            2 => self.end_session(),
            3 => self.cancel(),
            4 | 5 => self.advance()?,
            6 => self.upgrade(),
            7..=11 => self.burst(),
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

    /// Several calls that the service has before it executes the first of them.
    fn burst(&mut self) -> BTreeMap<CallHandle, String> {
        let mut sessions = self.sessions.clone();
        let mut calls = Vec::new();
        for _ in 0..2 + self.random.below(BURST_MAX - 1) {
            let at = self.random.below(sessions.len() as u64);
            let at = usize::try_from(at).expect("an index");
            if at == sessions.len() {
                break;
            }
            let session = sessions.swap_remove(at);
            let op = self.model.choose(&mut self.random, session);
            if self.model.may_be_in_a_burst(&op, session) {
                let (function, arguments) = M::text(&op);
                let call = self.kit.submit(session, function, arguments.as_str()).expect("a call");
                self.log.push(format!("at once: {call} {function} {arguments}"));
                calls.push((op, call));
            }
        }
        self.kit.settle();
        self.model_step(|model, facts| {
            calls.into_iter().for_each(|(op, call)| model.called(op, call, facts));
        })
    }

    /// By its client; or its client dies, which is noticed when enough time has passed. One at a time: of two that expire at the
    /// same moment, the second ends before a call of it that the first has woken can run.
    fn end_session(&mut self) -> BTreeMap<CallHandle, String> {
        let at = self.random.below(self.sessions.len() as u64);
        let session = self.sessions.swap_remove(usize::try_from(at).expect("an index"));
        if self.silent.is_empty() && self.random.is_one_in(2) {
            self.log.push(format!("silence {session}"));
            self.kit.silence(session);
            self.silent.insert(session, self.kit.clock_ms());
            return BTreeMap::new();
        }
        self.log.push(format!("close {session}"));
        self.kit.close(session).expect("closed");
        let zxid = self.kit.ended_at(session).expect("it is closed").0;
        self.deadlines.retain(|call, _| call.session() != session);
        self.model_step(|model, facts| model.session_ended(session, zxid, facts))
    }

    fn cancel(&mut self) -> BTreeMap<CallHandle, String> {
        let mut parked = self.kit.parked();
        parked.retain(|call| self.sessions.contains(&call.session()));
        let Some(call) = self.random.pick(&parked).copied() else {
            return BTreeMap::new();
        };
        self.log.push(format!("cancel {call}"));
        self.kit.cancel(call).expect("cancelled");
        self.model_step(|model, facts| model.given_up(call, "cancelled", facts))
    }

    /// Time passes, up to the millisecond before a deadline and then to it, so that it is known what came first: the end of a
    /// call's time or that of a silent session.
    fn advance(&mut self) -> Result<BTreeMap<CallHandle, String>, String> {
        let milliseconds_max = if self.random.is_one_in(3) { EXPIRY_MS } else { 2_000 };
        let milliseconds = 1 + self.random.below(milliseconds_max);
        self.log.push(format!("advance {milliseconds}"));
        let goal = self.kit.clock_ms() + milliseconds;
        let mut ends = BTreeMap::new();
        loop {
            let now = self.kit.clock_ms();
            if now >= goal {
                return Ok(ends);
            }
            let deadline = self.deadlines.values().copied().min().unwrap_or(u64::MAX);
            let hop_end = if deadline > now + 1 { goal.min(deadline - 1) } else { now + 1 };
            self.kit.advance(hop_end - now);
            ends.extend(self.time_has_passed()?);
        }
    }

    /// Calls have timed out, and silent sessions have expired; calls first where both are due in the same millisecond.
    fn time_has_passed(&mut self) -> Result<BTreeMap<CallHandle, String>, String> {
        let now = self.kit.clock_ms();
        let expired = self.expired(now)?;
        for session in &expired {
            self.log.push(format!("    => {session} has expired"));
            self.silent.remove(session);
        }
        let due = self.deadlines.iter().filter(|(_, at)| **at <= now);
        let due = due.filter(|(call, _)| self.kit.outcome(**call) != Outcome::Dropped);
        let mut due: Vec<(u64, CallHandle)> = due.map(|(call, at)| (*at, *call)).collect();
        due.sort();
        Ok(self.model_step(|model, facts| {
            due.into_iter().for_each(|(_, call)| model.given_up(call, "timed-out", facts));
            for session in expired {
                facts.deadlines.retain(|call, _| call.session() != session);
                let zxid = facts.kit.ended_at(session).map_or(0, |zxid| zxid.0);
                model.session_ended(session, zxid, facts);
            }
        }))
    }

    /// The silent sessions that have ended: not before their timeout, and not long after it; and no others have.
    fn expired(&self, now: u64) -> Result<Vec<SessionId>, String> {
        if let Some(session) = self.sessions.iter().find(|one| self.kit.ended_at(**one).is_some()) {
            return Err(format!("{session} has expired, and its client lives"));
        }
        let mut expired = Vec::new();
        for (&session, &since) in &self.silent {
            match (self.kit.ended_at(session), now - since) {
                (Some(_), silence_ms) if silence_ms < TIMEOUT_MS => {
                    return Err(format!("{session} has expired after {silence_ms} ms"));
                }
                (None, silence_ms) if silence_ms >= EXPIRY_MS => {
                    return Err(format!("{session} has been silent for {silence_ms} ms"));
                }
                (Some(_), _) => expired.push(session),
                (None, _) => {}
            }
        }
        Ok(expired)
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
                if self.kit.ended_at(call.session()).is_none() {
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
