//! Random operations on a log, with reopenings, kills and power cuts, against a naive model: a list of
//! the states after each step. After a crash the log must be at one of them, not before the last one
//! that was called back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use quorate_store::log::Callback;
use quorate_store::{Log, LogState};

use crate::disk::{Disk, Random};
use crate::rig::{done, open, payload};

const NAMESPACES: u32 = 2;

#[derive(Clone, Debug)]
enum Step {
    /// Adds so many entries of so many bytes in one call.
    Append {
        namespace: u32,
        count: u64,
        bytes: usize,
    },
    Vote {
        namespace: u32,
        vote: u8,
    },
    Committed {
        namespace: u32,
        id: u8,
    },
    /// Drops so many of the last entries; `None`: all.
    Truncate {
        namespace: u32,
        count: Option<u64>,
    },
    /// Purges so many of the first entries, maybe more than there are.
    Purge {
        namespace: u32,
        count: u64,
    },
    /// Waits until all before is durable.
    Settle,
    Close,
    Kill,
    PowerLoss {
        seed: u64,
    },
    /// So many syncs later one fails; the process ends, then the power goes.
    FailedSync {
        syncs: u64,
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let namespace = 0..NAMESPACES;
    prop_oneof![
        12 => (namespace.clone(), 1..6_u64, 0..700_usize)
            .prop_map(|(namespace, count, bytes)| Step::Append { namespace, count, bytes }),
        1 => (namespace.clone(), any::<u8>())
            .prop_map(|(namespace, vote)| Step::Vote { namespace, vote }),
        2 => (namespace.clone(), any::<u8>())
            .prop_map(|(namespace, id)| Step::Committed { namespace, id }),
        2 => (namespace.clone(), proptest::option::weighted(0.9, 0..9_u64))
            .prop_map(|(namespace, count)| Step::Truncate { namespace, count }),
        3 => (namespace, 0..25_u64)
            .prop_map(|(namespace, count)| Step::Purge { namespace, count }),
        3 => Just(Step::Settle),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(|seed| Step::PowerLoss { seed }),
        1 => (0..4_u64, any::<u64>()).prop_map(|(syncs, seed)| Step::FailedSync { syncs, seed }),
    ]
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    entries: BTreeMap<u64, Bytes>,
    next: Option<u64>,
    purged: Option<(u64, Bytes)>,
    vote: Option<Bytes>,
}

type Model = BTreeMap<u32, Known>;

struct Run {
    disk: Disk,
    log: Log,
    /// The states since the last opening.
    states: Vec<Model>,
    /// Number of the newest state that is durable for certain.
    sure: Arc<AtomicUsize>,
    called_back: Arc<Mutex<Vec<usize>>>,
    /// For each committed id since the last opening: the state that is durable only with it.
    committed: Vec<(usize, u32, Bytes)>,
    /// Distinguishes entries with the same index.
    writes: u64,
}

impl Run {
    fn new() -> Self {
        let disk = Disk::default();
        let log = open(&disk).unwrap();
        Self {
            disk,
            log,
            states: vec![Model::new()],
            sure: Arc::default(),
            called_back: Arc::default(),
            committed: Vec::new(),
            writes: 0,
        }
    }

    fn known(&self, namespace: u32) -> Known {
        let newest = self.states.last().unwrap();
        newest.get(&namespace).cloned().unwrap_or_default()
    }

    /// Adds a state in which `namespace` is `known`.
    fn add(&mut self, namespace: u32, known: Known) {
        let mut newest = self.states.last().unwrap().clone();
        newest.insert(namespace, known);
        self.states.push(newest);
    }

    /// To be called back when the newest state is durable.
    fn callback(&self) -> Callback {
        let (sure, called_back) = (Arc::clone(&self.sure), Arc::clone(&self.called_back));
        let state = self.states.len() - 1;
        Box::new(move |outcome| {
            called_back.lock().unwrap().push(state);
            if outcome.is_ok() {
                sure.store(state, Ordering::SeqCst);
            }
        })
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { namespace, count, bytes } => self.append(namespace, count, bytes),
            Step::Vote { namespace, vote } => {
                let vote = Bytes::copy_from_slice(&[vote]);
                let mut known = self.known(namespace);
                known.vote = Some(vote.clone());
                self.add(namespace, known);
                self.log.save_vote(namespace, vote, self.callback()).unwrap();
            }
            Step::Committed { namespace, id } => {
                let id = Bytes::copy_from_slice(&[id]);
                self.log.save_committed(namespace, id.clone()).unwrap();
                self.committed.push((self.states.len(), namespace, id));
            }
            Step::Truncate { namespace, count } => self.truncate(namespace, count),
            Step::Purge { namespace, count } => self.purge(namespace, count),
            Step::Settle => self.settle(),
            Step::Close => {
                self.log.close().unwrap();
                assert_eq!(self.sure.load(Ordering::SeqCst), self.states.len() - 1);
                self.reopen(self.disk.clone(), self.states.len() - 1);
            }
            Step::Kill => {
                // In this order: what is called back in between may or may not be on the copy.
                let sure = self.sure.load(Ordering::SeqCst);
                let disk = self.disk.after_kill();
                self.reopen(disk, sure);
            }
            Step::PowerLoss { seed } => {
                let sure = self.sure.load(Ordering::SeqCst);
                let disk = self.disk.after_power_loss(&mut Random(seed));
                self.reopen(disk, sure);
            }
            Step::FailedSync { syncs, seed } => {
                self.disk.fail_sync_after(syncs);
                for count in 1..5 {
                    self.append_unless_failed(count);
                }
                drop(self.log.close());
                let sure = self.sure.load(Ordering::SeqCst);
                let disk = self.disk.after_power_loss(&mut Random(seed));
                self.reopen(disk, sure);
            }
        }
    }

    fn append(&mut self, namespace: u32, count: u64, bytes: usize) {
        let entries = self.add_entries(namespace, count, bytes);
        self.log.append(namespace, entries, self.callback()).unwrap();
    }

    fn append_unless_failed(&mut self, count: u64) {
        let states = self.states.len();
        let entries = self.add_entries(0, count, 300);
        let callback = self.callback();
        if self.log.append(0, entries, callback).is_err() {
            self.states.truncate(states);
        }
    }

    /// Each entry is a step of its own: a front part of a call may outlive a crash.
    fn add_entries(&mut self, namespace: u32, count: u64, bytes: usize) -> Vec<(u64, Bytes)> {
        let mut entries = Vec::new();
        for _ in 0..count {
            let mut known = self.known(namespace);
            let index = known.next.unwrap_or(u64::from(namespace) * 100);
            self.writes += 1;
            let entry = (index, payload(self.writes, bytes));
            known.entries.insert(entry.0, entry.1.clone());
            known.next = Some(index + 1);
            entries.push(entry);
            self.add(namespace, known);
        }
        entries
    }

    fn truncate(&mut self, namespace: u32, count: Option<u64>) {
        let mut known = self.known(namespace);
        let purged = known.purged.as_ref().map(|(index, _)| *index);
        let last = known.entries.keys().next_back().copied();
        let after = match (count, last) {
            (Some(count), Some(last)) => match last.checked_sub(count) {
                Some(after) => Some(after.max(purged.unwrap_or(0))),
                None => purged,
            },
            _ => None,
        };
        match after {
            Some(after) => {
                known.entries.retain(|index, _| *index <= after);
                known.next = known.next.map(|next| next.min(after + 1));
            }
            None => {
                known.entries.clear();
                known.next = known.next.and(purged.map(|index| index + 1));
            }
        }
        self.add(namespace, known);
        self.log.truncate_after(namespace, after, self.callback()).unwrap();
    }

    fn purge(&mut self, namespace: u32, count: u64) {
        let mut known = self.known(namespace);
        let first = known.entries.keys().next().copied();
        let upto = (first.or(known.next).unwrap_or(0) + count).saturating_sub(1);
        let meta = Bytes::copy_from_slice(&[u8::try_from(upto % 251).unwrap()]);
        if known.purged.as_ref().is_none_or(|(index, _)| *index < upto) {
            known.entries.retain(|index, _| *index > upto);
            known.next = Some(known.next.map_or(upto + 1, |next| next.max(upto + 1)));
            known.purged = Some((upto, meta.clone()));
        }
        self.add(namespace, known);
        self.log.purge(namespace, upto, meta, self.callback()).unwrap();
    }

    /// The vote of a namespace that nothing else looks at.
    fn settle(&mut self) {
        done(|callback| self.log.save_vote(NAMESPACES, Bytes::new(), callback)).unwrap();
        assert_eq!(self.sure.load(Ordering::SeqCst), self.states.len() - 1);
    }

    /// The process ends and comes back on `disk`.
    fn reopen(&mut self, disk: Disk, sure: usize) {
        let log = open(&disk).unwrap();
        let found = observe(&log);
        let state = (sure..self.states.len()).rev().find(|state| is(&self.states[*state], &found));
        let state = state.unwrap_or_else(|| {
            panic!("none of the states from {sure} on: {found:#?}\nof {:#?}", &self.states[sure..])
        });
        self.check_committed(&log, sure);
        let order = self.called_back.lock().unwrap().clone();
        assert!(order.is_sorted(), "callbacks in the order of the calls: {order:?}");
        let model = self.states[state].clone();
        let committed = (0..NAMESPACES)
            .filter_map(|namespace| log.state(namespace).committed.map(|id| (0, namespace, id)));
        self.committed = committed.collect();
        self.states = vec![model];
        self.sure = Arc::default();
        self.called_back = Arc::default();
        self.disk = disk;
        self.log = log;
    }

    /// An id that came before a durable step is durable (or a newer one is); a later one may be.
    fn check_committed(&self, log: &Log, sure: usize) {
        for namespace in 0..NAMESPACES {
            let of_namespace: Vec<_> =
                self.committed.iter().filter(|(_, of, _)| *of == namespace).collect();
            let oldest = of_namespace.iter().rposition(|(state, _, _)| *state <= sure);
            let found = log.state(namespace).committed;
            let allowed = &of_namespace[oldest.unwrap_or(0)..];
            let is_allowed = allowed.iter().any(|(_, _, id)| Some(id) == found.as_ref());
            assert!(
                is_allowed || (oldest.is_none() && found.is_none()),
                "{found:?} of {allowed:?}"
            );
        }
    }
}

fn observe(log: &Log) -> BTreeMap<u32, (LogState, BTreeMap<u64, Bytes>)> {
    let of = |namespace| {
        let entries = log.read(namespace, 0..u64::MAX).unwrap().into_iter().collect();
        (namespace, (log.state(namespace), entries))
    };
    (0..NAMESPACES).map(of).collect()
}

fn is(model: &Model, found: &BTreeMap<u32, (LogState, BTreeMap<u64, Bytes>)>) -> bool {
    found.iter().all(|(namespace, (state, entries))| {
        let known = model.get(namespace).cloned().unwrap_or_default();
        known.entries == *entries
            && known.next == state.next
            && known.purged == state.purged
            && known.vote == state.vote
            && state.first == entries.keys().next().copied()
            && state.last == entries.keys().next_back().copied()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..80)) {
        let mut run = Run::new();
        for step in &steps {
            run.run(step);
            let found = observe(&run.log);
            prop_assert!(is(run.states.last().unwrap(), &found), "after {step:?}: {found:#?}");
        }
        run.run(&Step::Close);
    }
}
