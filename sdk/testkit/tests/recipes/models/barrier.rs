//! The barriers: nobody passes a simple one while it is set, nobody begins a round before enough are there, nobody has left
//! before all have.

use std::collections::{BTreeMap, BTreeSet};

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::{children, option, same, timeout};
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/b", "/b/c"];

#[test]
fn barrier() {
    history::run::<Barriers>();
}

struct Barriers {
    barriers: BTreeMap<&'static str, Barrier>,
}

#[derive(Default)]
struct Barrier {
    is_set: bool,
    /// Those who wait for it to be lifted.
    stopped: BTreeSet<CallHandle>,
    double: Double,
}

#[derive(Default)]
struct Double {
    round: u64,
    /// How many they expect who wait to enter.
    count: u64,
    waiting: BTreeMap<SessionId, CallHandle>,
    inside: BTreeSet<SessionId>,
    /// Those who are out and wait for all others to go, also some who were never inside.
    leaving: BTreeSet<CallHandle>,
}

enum Op {
    Set(&'static str),
    Lift(&'static str),
    IsSet(&'static str),
    Wait(&'static str, Option<u64>),
    Enter(&'static str, u64, Option<u64>),
    Leave(&'static str, Option<u64>),
    Attendance(&'static str),
}

impl Model for Barriers {
    const RECIPE: &'static str = "barrier";
    type Op = Op;

    fn new() -> Self {
        Self { barriers: PATHS.iter().map(|path| (*path, Barrier::default())).collect() }
    }

    fn choose(&self, random: &mut Random, _session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        let double = &self.barriers[path].double;
        match random.below(16) {
            0 => Op::Set(path),
            1 => Op::Lift(path),
            2 => Op::IsSet(path),
            3 | 4 => Op::Wait(path, timeout(random)),
            5 => Op::Attendance(path),
            6..=10 => Op::Leave(path, timeout(random)),
            11 => Op::Enter(path, random.below(4), timeout(random)),
            _ => Op::Enter(path, double.count.max(2), timeout(random)),
        }
    }

    fn text(op: &Op) -> (&'static str, String) {
        match op {
            Op::Set(path) => ("set", format!("\"{path}\"")),
            Op::Lift(path) => ("lift", format!("\"{path}\"")),
            Op::IsSet(path) => ("is-set", format!("\"{path}\"")),
            Op::Wait(path, timeout) => ("wait", format!("\"{path}\" {}", option(*timeout))),
            Op::Enter(path, count, timeout) => {
                ("enter", format!("\"{path}\" {count} {}", option(*timeout)))
            }
            Op::Leave(path, timeout) => ("leave", format!("\"{path}\" {}", option(*timeout))),
            Op::Attendance(path) => ("attendance", format!("\"{path}\"")),
        }
    }

    fn called(&mut self, op: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let (Op::Set(path)
        | Op::Lift(path)
        | Op::IsSet(path)
        | Op::Wait(path, _)
        | Op::Enter(path, ..)
        | Op::Leave(path, _)
        | Op::Attendance(path)) = op;
        let barrier = self.barriers.get_mut(path).expect("a known path");
        let was_set = barrier.is_set;
        match op {
            Op::Set(_) => {
                barrier.is_set = true;
                facts.ends(by, format!("ok({})", !was_set));
            }
            Op::Lift(_) => {
                barrier.is_set = false;
                facts.ends(by, format!("ok({was_set})"));
                std::mem::take(&mut barrier.stopped)
                    .into_iter()
                    .for_each(|call| facts.ends(call, "ok"));
            }
            Op::IsSet(_) => facts.ends(by, format!("ok({was_set})")),
            Op::Wait(..) if !was_set => facts.ends(by, "ok"),
            Op::Wait(_, Some(0)) => facts.ends(by, "err(timed-out)"),
            Op::Wait(_, timeout_ms) => {
                barrier.stopped.insert(by);
                facts.waits(by, timeout_ms);
            }
            Op::Enter(_, count, timeout_ms) => barrier.double.enter(by, count, timeout_ms, facts),
            Op::Leave(_, timeout_ms) => barrier.double.leave(by, timeout_ms, facts),
            Op::Attendance(_) => {
                let (inside, waiting) = (barrier.double.inside.len(), barrier.double.waiting.len());
                facts.ends(by, format!("ok({{inside: {inside}, waiting: {waiting}}})"));
            }
        }
    }

    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>) {
        facts.ends(call, format!("err({why})"));
        for barrier in self.barriers.values_mut() {
            barrier.stopped.remove(&call);
            barrier.double.waiting.retain(|_, waiting| *waiting != call);
            barrier.double.leaving.remove(&call);
        }
    }

    fn session_ended(&mut self, session: SessionId, _zxid: u64, facts: &mut Facts<'_>) {
        for barrier in self.barriers.values_mut() {
            barrier.stopped.retain(|call| call.session() != session);
            barrier.double.waiting.remove(&session);
            barrier.double.leaving.retain(|call| call.session() != session);
            barrier.double.inside.remove(&session);
            barrier.double.go_on(facts);
        }
    }

    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.barriers.iter().try_for_each(|(path, barrier)| {
            let gate = children(kit, path).contains(&"_barrier".to_owned());
            same(&format!("{path}/_barrier"), &gate, &barrier.is_set)?;
            let hall = format!("{path}/_inside");
            let inside = barrier.double.inside.iter();
            let inside = inside.map(|session| format!("{:016x}", session.0)).collect();
            same(&hall, &children(kit, &hall), &inside)
        })
    }
}

impl Double {
    fn enter(
        &mut self,
        by: CallHandle,
        count: u64,
        timeout_ms: Option<u64>,
        facts: &mut Facts<'_>,
    ) {
        let session = by.session();
        if self.waiting.contains_key(&session) || self.inside.contains(&session) {
            facts.ends(by, "err(already-entered)");
        } else if count == 0 {
            facts.ends(by, "err(no-members)");
        } else if !self.inside.is_empty() {
            self.inside.insert(session);
            facts.ends(by, format!("ok({})", self.round));
        } else if !self.waiting.is_empty() && self.count != count {
            facts.ends(by, format!("err(count-differs({}))", self.count));
        } else if self.waiting.len() as u64 + 1 >= count {
            let round = facts.zxid(by);
            assert!(round > self.round || round == 0, "round {round} follows {}", self.round);
            self.round = round;
            let others = std::mem::take(&mut self.waiting);
            for (session, call) in others.into_iter().chain([(session, by)]) {
                self.inside.insert(session);
                facts.ends(call, format!("ok({round})"));
            }
        } else if timeout_ms == Some(0) {
            facts.ends(by, "err(timed-out)");
        } else {
            self.count = count;
            self.waiting.insert(session, by);
            facts.waits(by, timeout_ms);
        }
    }

    fn leave(&mut self, by: CallHandle, timeout_ms: Option<u64>, facts: &mut Facts<'_>) {
        let others_stay = self.inside.iter().any(|session| *session != by.session());
        if others_stay && timeout_ms == Some(0) {
            facts.ends(by, "err(timed-out)");
            return;
        }
        self.inside.remove(&by.session());
        self.leaving.insert(by);
        if others_stay {
            facts.waits(by, timeout_ms);
        }
        self.go_on(facts);
    }

    /// Everybody who leaves has left once nobody stays.
    fn go_on(&mut self, facts: &mut Facts<'_>) {
        if self.inside.is_empty() {
            std::mem::take(&mut self.leaving).into_iter().for_each(|call| facts.ends(call, "ok"));
        }
    }
}
