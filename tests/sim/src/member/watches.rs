//! What a member's clients are told of without asking again: the model of host/gateway's watches. Each lane has at most one
//! watch, of the whole tree; events go on a stream of their own, which may be later than replies. What is retained of the past
//! is what this process has applied, and not for long.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use quorate_core::ids::Zxid;
use quorate_core::transaction::Transaction;
use quorate_core::watch::Event;

use super::Running;
use super::gateway::Lane;
use crate::lane::ToClient;
use crate::process::world_sleep;
use crate::signal::Signal;

/// Transactions that stay readable.
const PAST_MAX: usize = 120;
/// Microseconds that events may lie at the member after they were queued.
const LATE_US_MAX: u64 = 8_000;

/// Whether a transaction did something that a watch of the whole tree is told of.
#[must_use]
pub fn is_event(transaction: &Transaction) -> bool {
    transaction.changes.iter().any(|change| Event::of(change).is_some())
}

/// What this process has applied.
#[derive(Default)]
pub struct Past {
    /// Behind this everything is here.
    base: Cell<Zxid>,
    /// Transactions, and whether they are events, without a hole.
    transactions: RefCell<VecDeque<(Zxid, bool)>>,
    /// All events up to here are queued for watches that are live.
    queued: Cell<Zxid>,
}

impl Past {
    /// The tree stands there, and what is before is not known.
    pub fn begin(&self, zxid: Zxid) {
        self.transactions.borrow_mut().clear();
        self.base.set(zxid);
        self.queued.set(zxid);
    }

    fn push(&self, transaction: &Transaction) {
        let mut transactions = self.transactions.borrow_mut();
        transactions.push_back((transaction.zxid, is_event(transaction)));
        while transactions.len() > PAST_MAX {
            let Some((zxid, _)) = transactions.pop_front() else { break };
            self.base.set(zxid);
        }
    }

    /// Events behind this transaction; none if it is not retained.
    fn behind(&self, after: Zxid) -> Option<Vec<Zxid>> {
        let transactions = self.transactions.borrow();
        let later = transactions.iter().filter(|(zxid, is_event)| *zxid > after && *is_event);
        (after >= self.base.get()).then(|| later.map(|(zxid, _)| *zxid).collect())
    }
}

/// One lane's events on their way.
#[derive(Default)]
pub struct Outbox {
    /// The number of the last one that was queued.
    count: Cell<u64>,
    queue: RefCell<VecDeque<ToClient>>,
    filled: Signal,
    /// Told of what follows this transaction; none if nothing is watched.
    after: Cell<Option<Zxid>>,
}

impl Outbox {
    /// The number of the last event that was queued.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    fn push(&self, make: impl FnOnce(u64) -> ToClient) {
        let number = self.count.get() + 1;
        self.count.set(number);
        self.queue.borrow_mut().push_back(make(number));
        self.filled.ring();
    }

    fn tell(&self, zxid: Zxid) {
        self.push(|number| ToClient::Changed { number, zxid });
    }

    /// Brings what is queued to the client, in order and in its own time.
    pub async fn write(self: Rc<Self>, running: Rc<Running>, lane: Lane) {
        let mut seen = 0;
        loop {
            self.filled.after(seen).await;
            seen = self.filled.count();
            loop {
                let next = self.queue.borrow_mut().pop_front();
                let Some(next) = next else { break };
                if running.world.random.one_in(2) {
                    let late_us = running.world.random.below(LATE_US_MAX);
                    world_sleep(Duration::from_micros(late_us)).await;
                }
                lane.say(next);
            }
        }
    }

    /// A client watches from this position, or from now on.
    pub fn watch(&self, past: &Past, tree: Zxid, from: Option<Zxid>, lane: &Lane) {
        let after = from.unwrap_or(tree);
        let Some(missed) = past.behind(after) else {
            lane.say(ToClient::NotHere { events: self.count() });
            return;
        };
        for zxid in missed {
            self.tell(zxid);
        }
        let after = after.max(past.queued.get());
        self.after.set(Some(after));
        lane.say(ToClient::Watched { zxid: after, events: self.count() });
    }
}

/// These transactions have been applied: their events are queued for these lanes.
pub fn applied<'a>(
    past: &Past,
    outboxes: impl Iterator<Item = &'a Outbox> + Clone,
    transactions: &[Transaction],
) {
    for transaction in transactions {
        past.push(transaction);
        past.queued.set(past.queued.get().max(transaction.zxid));
        if !is_event(transaction) {
            continue;
        }
        for outbox in outboxes.clone() {
            if outbox.after.get().is_some_and(|after| transaction.zxid > after) {
                outbox.tell(transaction.zxid);
            }
        }
    }
}

/// The tree was replaced by one that stands there: watches that lack what it has skipped end.
pub fn installed<'a>(past: &Past, outboxes: impl Iterator<Item = &'a Outbox>, zxid: Zxid) {
    if zxid <= past.queued.get() {
        return;
    }
    past.begin(zxid);
    for outbox in outboxes {
        if outbox.after.get().is_some_and(|after| after < zxid) {
            outbox.after.set(None);
            outbox.push(|number| ToClient::WatchEnded { number });
        }
    }
}
