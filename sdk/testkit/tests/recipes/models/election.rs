//! The election: one leader per term, terms that grow, candidates in their order, observers that miss no lasting state.

use std::collections::BTreeMap;

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::line::Line;
use super::{children, option, same, timeout};
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/e", "/e/f"];

#[test]
fn election() {
    history::run::<Elections>();
}

struct Elections {
    elections: BTreeMap<&'static str, Election>,
}

#[derive(Default)]
struct Election {
    line: Line,
    /// Those who wait for another leader than the one of this term.
    observers: BTreeMap<CallHandle, Option<u64>>,
}

enum Op {
    Campaign(&'static str, String, Option<u64>),
    Resign(&'static str, u64),
    Leader(&'static str),
    Observe(&'static str, Option<u64>, Option<u64>),
    Candidates(&'static str),
    Remove(&'static str),
}

impl Model for Elections {
    const RECIPE: &'static str = "election";
    type Op = Op;

    fn new() -> Self {
        Self { elections: PATHS.iter().map(|path| (*path, Election::default())).collect() }
    }

    fn choose(&self, random: &mut Random, session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        let Election { line, .. } = &self.elections[path];
        let leads = line.holder().is_some_and(|leader| leader.session == session);
        let term = line.holder().map(|_| line.token);
        match random.below(14) {
            0 => Op::Leader(path),
            1 => Op::Candidates(path),
            2 => Op::Remove(path),
            3 => Op::Resign(path, line.token.saturating_sub(random.below(2))),
            4..=6 => Op::Observe(path, term, timeout(random)),
            7 => Op::Observe(path, random.is_one_in(2).then_some(line.token), timeout(random)),
            8..=11 if leads => Op::Resign(path, line.token),
            _ => Op::Campaign(path, format!("of {session}"), timeout(random)),
        }
    }

    fn text(op: &Op) -> (&'static str, String) {
        match op {
            Op::Campaign(path, candidate, timeout) => {
                ("campaign", format!("\"{path}\" \"{candidate}\" {}", option(*timeout)))
            }
            Op::Resign(path, term) => ("resign", format!("\"{path}\" {term}")),
            Op::Leader(path) => ("leader", format!("\"{path}\"")),
            Op::Observe(path, known, timeout) => {
                ("observe", format!("\"{path}\" {} {}", option(*known), option(*timeout)))
            }
            Op::Candidates(path) => ("candidates", format!("\"{path}\" none 100")),
            Op::Remove(path) => ("remove", format!("\"{path}\"")),
        }
    }

    fn called(&mut self, op: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let (Op::Campaign(path, ..)
        | Op::Resign(path, _)
        | Op::Leader(path)
        | Op::Observe(path, ..)
        | Op::Candidates(path)
        | Op::Remove(path)) = op;
        let election = self.elections.get_mut(path).expect("a known path");
        let line = &mut election.line;
        match op {
            Op::Campaign(_, candidate, timeout_ms) => {
                campaign(line, by, &candidate, timeout_ms, facts);
            }
            Op::Resign(_, term) => {
                let is_done = line.give_back(by.session(), term);
                facts.ends(by, if is_done { "ok" } else { "err(not-leading)" });
            }
            Op::Leader(_) => facts.ends(by, election.leader()),
            Op::Observe(_, known, timeout_ms) => {
                if election.term() != known {
                    facts.ends(by, election.leader());
                } else if timeout_ms == Some(0) {
                    facts.ends(by, "err(timed-out)");
                } else {
                    election.observers.insert(by, known);
                    facts.waits(by, timeout_ms);
                }
            }
            Op::Candidates(_) => {
                let shown = line.waiting().iter().map(|place| {
                    let (name, session, note) = (&place.name, place.session, &place.note);
                    format!(
                        "{{place: \"{name}\", session: {session}, candidate: \"{note}\", since: _}}"
                    )
                });
                facts.ends(by, format!("ok([{}])", shown.collect::<Vec<_>>().join(", ")));
            }
            Op::Remove(_) => facts.ends(by, if line.remove() { "ok" } else { "err(in-use)" }),
        }
        election.go_on(path, facts);
    }

    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>) {
        let left = self.elections.values_mut().filter_map(|election| {
            (election.observers.remove(&call).is_some() | election.line.leave(call)).then_some(())
        });
        assert_eq!(left.count(), 1, "{call} waits at one place");
        facts.ends(call, format!("err({why})"));
    }

    fn session_ended(&mut self, session: SessionId, _zxid: u64, facts: &mut Facts<'_>) {
        for (path, election) in &mut self.elections {
            election.observers.retain(|call, _| call.session() != session);
            election.line.session_ended(session);
            election.go_on(path, facts);
        }
    }

    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.elections.iter().try_for_each(|(path, election)| {
            let path = format!("{path}/_election");
            same(&path, &children(kit, &path), &election.line.names())
        })
    }
}

impl Election {
    fn term(&self) -> Option<u64> {
        self.line.holder().map(|_| self.line.token)
    }

    fn leader(&self) -> String {
        match self.line.holder() {
            None => "ok(none)".to_owned(),
            Some(place) => format!(
                "ok(some({{term: {}, session: {}, candidate: \"{}\", since: _}}))",
                self.line.token, place.session, place.note
            ),
        }
    }

    /// The next one leads if nobody does, and then the observers are told.
    fn go_on(&mut self, path: &str, facts: &mut Facts<'_>) {
        if let Some(place) = self.line.grant(facts) {
            let (term, name) = (self.line.token, &place.name);
            facts.ends(
                place.call,
                format!("ok({{term: {term}, node: \"{path}/_election/{name}\"}})"),
            );
        }
        let (term, leader) = (self.term(), self.leader());
        self.observers.retain(|call, known| {
            if *known != term {
                facts.ends(*call, leader.clone());
            }
            *known == term
        });
    }
}

fn campaign(
    line: &mut Line,
    by: CallHandle,
    candidate: &str,
    timeout_ms: Option<u64>,
    facts: &mut Facts<'_>,
) {
    if line.holder().is_some_and(|leader| leader.session == by.session()) {
        facts.ends(by, format!("err(already-leading({}))", line.token));
    } else if !line.places.is_empty() && timeout_ms == Some(0) {
        facts.ends(by, "err(timed-out)");
    } else {
        if !line.places.is_empty() {
            facts.waits(by, timeout_ms);
        }
        line.stand(by, candidate);
    }
}
