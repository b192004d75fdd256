//! A leader that executes on its view and a follower that applies entries: after each transaction both must hold the same
//! records. It knows no requests; what is executed comes in as a closure.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::apply::{self, Applied};
use quorate_core::draft::{Draft, Meta, ReadRecords, View};
use quorate_core::ids::{Epoch, Millis, Term, Zxid};
use quorate_core::key;
use quorate_core::read::{Direction, MemoryTree, Read};
use quorate_core::transaction::{Entry, EntryBody, Transaction};
use quorate_core::txn::Slot;

use super::{before, invariants};

/// Leader and follower.
pub struct Pair {
    /// What the leader has applied.
    pub leader: Arc<MemoryTree>,
    /// Where everything is applied as soon as it is executed.
    pub follower: Arc<MemoryTree>,
    /// The leader's view.
    pub view: View,
    /// The leader's clock.
    pub now: Millis,
    pub term: Term,
    pub epoch: Epoch,
    /// Whether all records are compared now. Off inside a repetition, whose last step is compared.
    pub is_comparing: bool,
    batch: u64,
    /// Keys that the follower has ever held.
    seen: RefCell<BTreeSet<Bytes>>,
    /// The last batch that the leader has applied.
    applied: u64,
    /// Executed, not yet applied by the leader.
    pub in_flight: VecDeque<(u64, Entry)>,
    /// All that was committed, discarded entries included: a member that starts from nothing replays it.
    log: Vec<Entry>,
}

impl Pair {
    /// Empty trees, and a leadership of term 1, epoch 1.
    pub fn new() -> Self {
        let leader = Arc::new(MemoryTree::new());
        let mut pair = Self {
            view: View::new(leader.clone()),
            leader,
            follower: Arc::new(MemoryTree::new()),
            now: Millis(1_000),
            term: Term(1),
            epoch: Epoch(0),
            is_comparing: true,
            batch: 0,
            seen: RefCell::default(),
            applied: 0,
            in_flight: VecDeque::new(),
            log: Vec::new(),
        };
        pair.refuse(0);
        pair
    }

    /// Executes one transaction on the view, and applies it to the follower; the leader applies it later.
    pub fn execute<T>(
        &mut self,
        act: impl FnOnce(View, Slot) -> (View, Option<Transaction>, T),
    ) -> (Option<Transaction>, T) {
        let view = std::mem::replace(&mut self.view, View::new(self.leader.clone()));
        let meta = view.meta();
        self.batch += 1;
        let slot =
            Slot { zxid: meta.zxid.next(), time: self.now.max(meta.time), batch: self.batch };
        let (view, transaction, extra) = act(view, slot);
        self.view = view;
        if let Some(transaction) = &transaction {
            let entry = self.entry(meta.zxid, vec![transaction.clone()]);
            assert_eq!(apply_entry(&self.follower, &entry, self.term), Applied::Taken);
            self.in_flight.push_back((self.batch, entry));
        } else {
            assert_eq!(self.view.meta(), meta, "no transaction, and the view has moved");
        }
        self.compare();
        (transaction, extra)
    }

    fn entry(&self, base: Zxid, transactions: Vec<Transaction>) -> Entry {
        Entry { term: self.term, epoch: self.epoch, body: EntryBody::Batch { base, transactions } }
    }

    /// The leader's tree takes the oldest entry in flight; the view is not told.
    pub fn apply_untold(&mut self) -> bool {
        let Some((batch, entry)) = self.in_flight.pop_front() else { return false };
        assert_eq!(apply_entry(&self.leader, &entry, self.term), Applied::Taken);
        self.log.push(entry);
        self.applied = batch;
        self.compare();
        true
    }

    /// The view hears how far the leader has applied; later batches may be in flight.
    pub fn tell(&mut self) {
        self.view.applied(self.applied);
        self.compare();
    }

    /// The leader applies all that is in flight and tells the view.
    pub fn apply_all(&mut self) {
        while self.apply_untold() {}
        self.tell();
        assert_eq!(self.view.dirty_count(), 0, "all is applied, and records stay dirty");
    }

    /// Raft refuses: of what is in flight, so many entries are applied before the barrier of the next epoch, the others
    /// come behind it and are discarded.
    pub fn refuse(&mut self, survivors: usize) {
        for _ in 0..survivors {
            self.apply_untold();
        }
        self.epoch = self.epoch.next();
        let barrier = Entry { term: self.term, epoch: self.epoch, body: EntryBody::Barrier };
        assert_eq!(apply_entry(&self.leader, &barrier, self.term), Applied::Taken);
        self.log.push(barrier);
        for (_, entry) in std::mem::take(&mut self.in_flight) {
            let applied = apply_entry(&self.leader, &entry, self.term);
            assert!(matches!(applied, Applied::Discarded(_)), "{applied:?}");
            self.log.push(entry);
        }
        self.view.reset();
        self.follower = Arc::new(MemoryTree::new());
        self.follower
            .commit(self.leader.records().into_iter().map(|(k, v)| (k, Some(v))).collect());
        self.compare();
    }

    /// The view shows what the follower holds, and that is a sound tree.
    pub fn compare(&self) {
        if !self.is_comparing {
            return;
        }
        assert_same(&self.view, &self.follower);
        // One by one too, absences among them: most reads of an execution are such.
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.follower.records().into_keys().filter(|key| *key != key::meta()));
        for key in seen.iter() {
            assert_eq!(self.view.get(key), self.follower.get(key), "at {key:?}");
        }
        invariants::check(&self.follower);
    }

    /// A member that applies the whole log from nothing holds what the leader holds.
    pub fn replay(&mut self) {
        self.apply_all();
        let tree = Arc::new(MemoryTree::new());
        for entry in &self.log {
            apply_entry(&tree, entry, self.term);
        }
        assert_eq!(tree.records(), self.leader.records());
        assert_eq!(tree.records(), self.follower.records());
    }
}

/// Applies an entry, as the state machine does.
pub fn apply_entry(tree: &Arc<MemoryTree>, entry: &Entry, committed_in: Term) -> Applied {
    let mut draft = Draft::new(tree.clone());
    let applied = apply::entry(&mut draft, entry, committed_in);
    match applied {
        Applied::Taken => apply::seal(&mut draft),
        Applied::Discarded(_) => {}
    }
    let writes = draft.into_parts().1;
    if applied == Applied::Taken {
        assert_eq!(before::check(tree.clone(), entry), Ok(()), "of what was before");
    }
    assert!(applied == Applied::Taken || writes.is_empty(), "a discarded entry wrote");
    tree.commit(writes);
    applied
}

/// All records, but for the meta record: the leader does not sum digests while it executes.
pub fn records(read: &impl Read) -> BTreeMap<Bytes, Bytes> {
    let all = read.range(&[], &[0xff], Direction::Forward);
    all.filter(|(key, _)| *key != key::meta()).collect()
}

fn assert_same(view: &View, tree: &MemoryTree) {
    let (left, right) = (records(view), records(tree));
    if left != right {
        for (key, value) in &left {
            assert_eq!(Some(value), right.get(key), "view and follower differ at {key:?}");
        }
        panic!("the follower holds more: {:?}", right.keys().find(|key| !left.contains_key(*key)));
    }
    let mut backward: Vec<_> = view.range(&[], &[0xff], Direction::Backward).collect();
    backward.reverse();
    backward.retain(|(key, _)| *key != key::meta());
    assert!(backward.into_iter().eq(left), "a view backwards is the view forwards, reversed");
    let without_digest = |meta: Meta| Meta { digest: 0, ..meta };
    assert_eq!(without_digest(view.meta()), without_digest(tree.meta()));
}
