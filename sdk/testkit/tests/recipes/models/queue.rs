//! The queue: items in the order of their offers, takers in the order of their calls, nothing lost and nothing twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_testkit::{CallHandle, Kit, Random, SessionId};

use super::{children, option, same, timeout};
use crate::history::{self, Facts, Model};

const PATHS: &[&str] = &["/q", "/q/r"];

#[test]
fn queue() {
    history::run::<Queues>();
}

struct Queues {
    queues: BTreeMap<&'static str, Queue>,
    /// What the next payload is called: no two items are alike.
    offers: u64,
}

#[derive(Default)]
struct Queue {
    /// Whether its znodes are there: from the first offer on.
    is_made: bool,
    items: VecDeque<(u64, String)>,
    next: u64,
    takers: VecDeque<CallHandle>,
    /// Those who came before the first offer. They stand in line when they run again, in the order of their sessions.
    early: BTreeSet<CallHandle>,
}

enum Op {
    Offer(&'static str, String),
    Take(&'static str, Option<u64>),
    TryTake(&'static str),
    Peek(&'static str),
    Length(&'static str),
    Remove(&'static str),
}

impl Model for Queues {
    const RECIPE: &'static str = "queue";
    type Op = Op;

    fn new() -> Self {
        let queues = PATHS.iter().map(|path| (*path, Queue::default())).collect();
        Self { queues, offers: 0 }
    }

    fn choose(&self, random: &mut Random, _session: SessionId) -> Op {
        let path = random.pick(PATHS).expect("there are some");
        match random.below(12) {
            0 => Op::TryTake(path),
            1 => Op::Peek(path),
            2 => Op::Length(path),
            3 => Op::Remove(path),
            4..=6 => Op::Offer(path, format!("item {}", self.offers)),
            _ => Op::Take(path, timeout(random)),
        }
    }

    fn text(op: &Op) -> (&'static str, String) {
        match op {
            Op::Offer(path, payload) => ("offer", format!("\"{path}\" \"{payload}\"")),
            Op::Take(path, timeout) => ("take", format!("\"{path}\" {}", option(*timeout))),
            Op::TryTake(path) => ("try-take", format!("\"{path}\"")),
            Op::Peek(path) => ("peek", format!("\"{path}\"")),
            Op::Length(path) => ("length", format!("\"{path}\"")),
            Op::Remove(path) => ("remove", format!("\"{path}\"")),
        }
    }

    /// A line is there, so all takers stand in it: a newcomer finds those who have been woken and not run yet still in their
    /// places. It waits behind them even if there is an item for each; so calls that do not wait may answer otherwise.
    fn may_be_in_a_burst(&self, op: &Op, _by: SessionId) -> bool {
        let (Op::Offer(path, _) | Op::Take(path, None | Some(1..))) = op else { return false };
        self.queues[path].is_made
    }

    fn called(&mut self, op: Op, by: CallHandle, facts: &mut Facts<'_>) {
        let (Op::Offer(path, _)
        | Op::Take(path, _)
        | Op::TryTake(path)
        | Op::Peek(path)
        | Op::Length(path)
        | Op::Remove(path)) = op;
        let queue = self.queues.get_mut(path).expect("a known path");
        let outcome = match op {
            Op::Offer(_, payload) => {
                self.offers += 1;
                queue.offer(payload)
            }
            Op::Take(_, timeout_ms) => match queue.pop_unless_awaited() {
                Some(item) => format!("ok({item})"),
                None if timeout_ms == Some(0) => "err(timed-out)".to_owned(),
                None => {
                    queue.wait(by);
                    facts.waits(by, timeout_ms);
                    return;
                }
            },
            Op::TryTake(_) => optional(queue.pop_unless_awaited()),
            Op::Peek(_) => optional(queue.items.front().map(show)),
            Op::Length(_) => format!("ok({})", queue.items.len()),
            Op::Remove(_) => queue.remove(),
        };
        facts.ends(by, outcome);
        while let Some((taker, item)) = queue.serve() {
            facts.ends(taker, format!("ok({item})"));
        }
    }

    fn given_up(&mut self, call: CallHandle, why: &'static str, facts: &mut Facts<'_>) {
        for queue in self.queues.values_mut() {
            queue.takers.retain(|taker| *taker != call);
            queue.early.remove(&call);
        }
        facts.ends(call, format!("err({why})"));
    }

    fn session_ended(&mut self, session: SessionId, _zxid: u64, _facts: &mut Facts<'_>) {
        for queue in self.queues.values_mut() {
            queue.takers.retain(|taker| taker.session() != session);
            queue.early.retain(|taker| taker.session() != session);
        }
    }

    fn check(&self, kit: &Kit) -> Result<(), String> {
        self.queues.iter().try_for_each(|(path, queue)| {
            let items = queue.items.iter().map(|(id, _)| format!("i{id:019}")).collect();
            let path = format!("{path}/_items");
            same(&path, &children(kit, &path), &items)?;
            let takers = children(kit, &path.replace("_items", "_takers")).len();
            same("takers", &takers, &queue.takers.len())
        })
    }
}

impl Queue {
    fn offer(&mut self, payload: String) -> String {
        let id = self.next;
        self.items.push_back((id, payload));
        self.next += 1;
        self.is_made = true;
        self.takers.extend(std::mem::take(&mut self.early));
        format!("ok({id})")
    }

    fn pop_unless_awaited(&mut self) -> Option<String> {
        if !self.takers.is_empty() {
            return None;
        }
        self.items.pop_front().as_ref().map(show)
    }

    fn wait(&mut self, taker: CallHandle) {
        if self.is_made {
            self.takers.push_back(taker);
        } else {
            self.early.insert(taker);
        }
    }

    /// The next item for the next taker.
    fn serve(&mut self) -> Option<(CallHandle, String)> {
        let taker = *self.takers.front().filter(|_| !self.items.is_empty())?;
        self.takers.pop_front();
        let item = self.items.pop_front()?;
        Some((taker, show(&item)))
    }

    fn remove(&mut self) -> String {
        if !self.items.is_empty() || !self.takers.is_empty() {
            return "err(in-use)".to_owned();
        }
        self.next = 0;
        self.is_made = false;
        "ok".to_owned()
    }
}

fn show((id, payload): &(u64, String)) -> String {
    format!("{{id: {id}, payload: \"{payload}\"}}")
}

fn optional(item: Option<String>) -> String {
    item.map_or_else(|| "ok(none)".to_owned(), |item| format!("ok(some({item}))"))
}
