//! The lock: at most one holder, tokens that grow, first come, first served; who asks for the end of a grant is told.

use std::collections::BTreeMap;

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::line::Line;
use super::{children, option, same, timeout};
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/a", "/a/b"];

#[test]
fn lock() {
    history::run::<Lock>();
}

struct Lock {
    lines: BTreeMap<&'static str, Line>,
    /// Those who wait for the end of the grant with this token, on this path.
    watchers: BTreeMap<CallHandle, (&'static str, u64)>,
}

enum Op {
    Acquire(&'static str, Option<u64>),
    Release(&'static str, u64),
    AwaitLoss(&'static str, u64),
    Holder(&'static str),
    Waiters(&'static str),
    Remove(&'static str),
}

impl Model for Lock {
    const RECIPE: &'static str = "lock";
    type Op = Op;

    fn new() -> Self {
        let lines = PATHS.iter().map(|path| (*path, Line::default())).collect();
        Self { lines, watchers: BTreeMap::new() }
    }

    fn choose(&self, random: &mut Random, session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        let line = &self.lines[path];
        let is_holder = line.holder().is_some_and(|holder| holder.session == session);
        match random.below(14) {
            0 => Op::Holder(path),
            1 => Op::Waiters(path),
            2 => Op::Remove(path),
            3 => Op::Release(path, line.token.saturating_sub(random.below(2))),
            4..=5 => Op::AwaitLoss(path, line.token.saturating_sub(random.below(8) / 7)),
            6..=10 if is_holder => Op::Release(path, line.token),
            _ => Op::Acquire(path, timeout(random)),
        }
    }

    fn text(op: &Op) -> (&'static str, String) {
        match op {
            Op::Acquire(path, None) => ("acquire", format!("\"{path}\" {{:}}")),
            Op::Acquire(path, timeout) => {
                ("acquire", format!("\"{path}\" {{timeout-ms: {}}}", option(*timeout)))
            }
            Op::Release(path, token) => ("release", format!("\"{path}\" {token}")),
            Op::AwaitLoss(path, token) => ("await-loss", format!("\"{path}\" {token}")),
            Op::Holder(path) => ("holder", format!("\"{path}\"")),
            Op::Waiters(path) => ("waiters", format!("\"{path}\" none 100")),
            Op::Remove(path) => ("remove", format!("\"{path}\"")),
        }
    }

    fn called(&mut self, op: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let (Op::Acquire(path, _)
        | Op::Release(path, _)
        | Op::AwaitLoss(path, _)
        | Op::Holder(path)
        | Op::Waiters(path)
        | Op::Remove(path)) = op;
        let line = self.lines.get_mut(path).expect("a known path");
        let outcome = match op {
            Op::Acquire(_, timeout_ms) => {
                acquire(line, by, timeout_ms, facts);
                return self.go_on(facts);
            }
            Op::AwaitLoss(_, token) if line.holder().is_some() && line.token == token => {
                self.watchers.insert(by, (path, token));
                return facts.waits(by, None);
            }
            Op::AwaitLoss(..) => "ok".to_owned(),
            Op::Release(_, token) => match line.give_back(by.session(), token) {
                true => "ok".to_owned(),
                false => "err(not-held)".to_owned(),
            },
            Op::Holder(_) => match line.holder() {
                Some(place) => format!(
                    "ok(some({{token: {}, session: {}, since: _}}))",
                    line.token, place.session
                ),
                None => "ok(none)".to_owned(),
            },
            Op::Waiters(_) => {
                let shown = line.waiting().iter().map(|place| {
                    format!("{{place: \"{}\", session: {}, since: _}}", place.name, place.session)
                });
                format!("ok([{}])", shown.collect::<Vec<_>>().join(", "))
            }
            Op::Remove(_) => match line.remove() {
                true => "ok".to_owned(),
                false => "err(in-use)".to_owned(),
            },
        };
        facts.ends(by, outcome);
        self.go_on(facts);
    }

    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>) {
        let watched = usize::from(self.watchers.remove(&call).is_some());
        let left = self.lines.values_mut().filter_map(|line| line.leave(call).then_some(()));
        assert_eq!(left.count() + watched, 1, "{call} waits at one place");
        facts.ends(call, format!("err({why})"));
    }

    fn session_ended(&mut self, session: SessionId, _zxid: u64, facts: &mut Facts<'_>) {
        self.watchers.retain(|call, _| call.session() != session);
        self.lines.values_mut().for_each(|line| line.session_ended(session));
        self.go_on(facts);
    }

    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.lines.iter().try_for_each(|(path, line)| {
            let line_path = format!("{path}/_lock");
            same(&line_path, &children(kit, &line_path), &line.names())
        })
    }
}

impl Lock {
    /// Free locks go to the next in line, and who waits for the end of a grant that is over is told.
    fn go_on(&mut self, facts: &mut Facts<'_>) {
        for (path, line) in &mut self.lines {
            grant(path, line, facts);
        }
        let lines = &self.lines;
        self.watchers.retain(|call, (path, token)| {
            let line = &lines[path];
            let is_held = line.holder().is_some() && line.token == *token;
            if !is_held {
                facts.ends(*call, "ok");
            }
            is_held
        });
    }
}

fn acquire(line: &mut Line, by: CallHandle, timeout_ms: Option<u64>, facts: &mut Facts<'_>) {
    if line.holder().is_some_and(|holder| holder.session == by.session()) {
        facts.ends(by, format!("err(already-held({}))", line.token));
    } else if line.places.is_empty() {
        line.stand(by, "");
    } else if timeout_ms == Some(0) {
        facts.ends(by, "err(timed-out)");
    } else {
        line.stand(by, "");
        facts.waits(by, timeout_ms);
    }
}

fn grant(path: &str, line: &mut Line, facts: &mut Facts<'_>) {
    if let Some(place) = line.grant(facts) {
        let outcome =
            format!("ok({{token: {}, node: \"{path}/_lock/{}\"}})", line.token, place.name);
        facts.ends(place.call, outcome);
    }
}
