//! The one thread that changes the tree: it takes committed entries in order, applies them, commits one batch with its
//! place in the log, tells the listener and answers who proposed. It knows neither how entries are committed nor what
//! their transactions mean (`quorate_core::apply` does).
//!
//! The tree has no log of its own: after a crash it is as old as its last flush, and openraft hands over again what
//! follows. What does not fit the tree is a panic there, which ends this thread; openraft stops then, and the process must
//! end (`Node::stopped`).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use openraft::storage::ApplyResponder;
use quorate_core::apply;
use quorate_core::draft::{Draft, ReadRecords};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::level::Level;
use quorate_core::read::{Direction, Read};
use quorate_core::transaction::Entry;
use quorate_store::Tree;
use tokio::sync::{mpsc, oneshot, watch};

use crate::before::{self, Before, Wanted};
use crate::codec::rotten;
use crate::digests::{self, Digests};
use crate::history::{Tail, place_write};
use crate::level;
use crate::namespace::{Scoped, key, others};
use crate::recent::Recent;
use crate::snapshot::{self, SnapshotData};
use crate::standing::{Standing, applied_write, membership_write};
use crate::types::{
    LogId, Payload, RaftEntry, RaftPayload, SnapshotMeta, StoredMembership, TypeConfig, position,
};

/// An entry that has been applied on this member. Told in the order of the log; after a restart those behind the last
/// flush of the tree are told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its index in the log.
    pub index: u64,
    /// The term in which it was appended.
    pub term: Term,
    /// What it was.
    pub kind: Kind,
}

/// What an applied entry was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The first entry of a leader's term.
    Blank,
    /// A change of members.
    Membership,
    /// Transactions, or a barrier.
    Entry {
        /// Whether it was taken.
        applied: apply::Applied,
        /// The entry.
        entry: Arc<Entry>,
        /// What it replaced, if anybody wanted that while it was applied.
        before: Option<Before>,
    },
    /// The whole tree was replaced by a snapshot that stands at this index.
    Installed,
}

/// Is told of every applied entry, on the apply thread, after the tree shows it and before its proposal is answered. Must
/// not wait: nothing is applied until it returns.
pub type ApplyListener = Box<dyn FnMut(Applied) + Send>;

/// A committed entry and who waits for it.
pub(crate) type Committed = (RaftEntry, Option<ApplyResponder<TypeConfig>>);

/// What the thread is asked for.
pub(crate) enum Job {
    /// Apply these, in one batch.
    Apply {
        entries: Vec<Committed>,
        /// Told when they, and all before, are applied.
        done: Option<oneshot::Sender<io::Result<()>>>,
    },
    /// Replace the tree.
    Install { meta: SnapshotMeta, data: SnapshotData, done: oneshot::Sender<io::Result<()>> },
}

/// What the thread owns.
pub(crate) struct Applier {
    pub tree: Arc<Tree>,
    pub namespace: NamespaceId,
    /// The highest feature level that is applied or installed.
    pub level: Level,
    /// Told what was above it.
    pub too_high: level::Met,
    pub listener: ApplyListener,
    pub recent: Arc<Mutex<Recent>>,
    /// Term of the last applied entry: that of a leader is there when its blank entry has been applied.
    pub term: watch::Sender<Term>,
    /// The same, told before the tree shows the entry.
    pub applying_term: Arc<AtomicU64>,
    /// Index of the last applied entry.
    pub index: watch::Sender<Option<u64>>,
    /// Digests at certain indexes, for comparison with other members.
    pub digests: Arc<Digests>,
    /// The newest entries that were taken.
    pub tail: Arc<Tail>,
    /// Whether anybody wants to know what entries replace.
    pub wanted: Wanted,
}

/// Records of other namespaces that an installation copies in one batch: some MiB at the usual sizes.
const COPIED_RECORDS: usize = 1024;

impl Applier {
    /// The body of the thread: until all that ask are gone, or a job fails.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let (result, done) = match job {
                Job::Apply { entries, done } => (self.apply(entries), done),
                Job::Install { meta, data, done } => (self.install(&meta, &data), Some(done)),
            };
            let has_failed = result.is_err();
            if let Err(error) = &result {
                tracing::error!(%error, "committed entries can not be applied");
            }
            if let Some(done) = done {
                // Nobody waits any more if openraft is being shut down.
                let _received = done.send(result);
            }
            if has_failed {
                return;
            }
        }
    }

    fn apply(&mut self, entries: Vec<Committed>) -> io::Result<()> {
        let wanted = self.wanted.clone();
        let wanting = wanted.lock();
        let mut before = (*wanting > 0).then(before::Reader::new);
        let reader = Scoped { namespace: self.namespace, reader: self.tree.reader() };
        let mut draft = Draft::new(reader);
        let mut last: Option<LogId> = None;
        let mut membership: Option<StoredMembership> = None;
        let mut told = Vec::with_capacity(entries.len());
        let mut taken = Vec::new();
        for (RaftEntry { log_id, payload }, responder) in entries {
            let term = Term(log_id.leader_id.term);
            let kind = match payload {
                RaftPayload::Blank => Kind::Blank,
                RaftPayload::Membership(change) => {
                    membership = Some(StoredMembership::new(Some(log_id), change));
                    Kind::Membership
                }
                RaftPayload::Normal(payload) => {
                    let bytes = payload.bytes.len();
                    let entry = self.decoded(payload)?;
                    level::check(&entry, self.level, &self.too_high)?;
                    let before = before.as_mut().map(|before| before.read(&draft, &entry));
                    let applied = apply::entry(&mut draft, &entry, term);
                    if applied == apply::Applied::Taken {
                        taken.push((log_id.index, Arc::clone(&entry), bytes));
                    }
                    Kind::Entry { applied, entry, before }
                }
            };
            last = Some(log_id);
            told.push((Applied { index: log_id.index, term, kind }, responder));
        }
        let Some(last) = last else { return Ok(()) };
        if !taken.is_empty() {
            apply::seal(&mut draft);
        }
        if digests::is_point(last.index) {
            self.digests.push(last.index, draft.meta().digest);
        }
        let (_, writes) = draft.into_parts();
        let namespace = self.namespace;
        let writes = writes.into_iter().map(|(tail, value)| (key(namespace, &tail), value));
        let own = membership.map(|membership| membership_write(namespace, &membership));
        let own = own.into_iter().chain([applied_write(namespace, &last)]);
        let places = taken.iter().filter_map(|(at, entry, _)| place_write(namespace, entry, *at));
        self.applying_term.fetch_max(last.leader_id.term, Ordering::SeqCst);
        self.tree.commit(writes.chain(own).chain(places));
        drop(wanting);
        for (_, entry, bytes) in &taken {
            self.tail.push(entry, *bytes);
        }
        for (applied, responder) in told {
            let response = match &applied.kind {
                Kind::Entry { applied, .. } => *applied,
                Kind::Blank | Kind::Membership | Kind::Installed => apply::Applied::Taken,
            };
            (self.listener)(applied);
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).forget_upto(last.index);
        self.tell(&last);
        Ok(())
    }

    /// What this member has proposed is at hand; other entries are decoded.
    fn decoded(&self, payload: Payload) -> io::Result<Arc<Entry>> {
        if let Some(entry) = payload.entry {
            return Ok(entry);
        }
        let (namespace, entry) = quorate_wire::entry::decode(payload.bytes).map_err(rotten)?;
        if namespace != self.namespace {
            let (theirs, ours) = (namespace.0, self.namespace.0);
            let cause = format!("an entry of namespace {theirs} in the log of namespace {ours}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        Ok(Arc::new(entry))
    }

    fn tell(&self, last: &LogId) {
        let term = Term(last.leader_id.term);
        self.term.send_if_modified(|known| std::mem::replace(known, term) != term);
        self.index.send_replace(Some(last.index));
    }

    /// Makes a tree of the snapshot's records, and those of other namespaces, and puts it into the present one's place:
    /// after a crash it is the one or the other. Nothing has changed after an error.
    ///
    /// openraft purges the log up to the snapshot only when this is done (`Command::PurgeLog` waits for
    /// `Condition::Snapshot`); see `LogStore::fit` for a crash in between.
    fn install(&mut self, meta: &SnapshotMeta, data: &SnapshotData) -> io::Result<()> {
        let namespace = self.namespace;
        let replacement = self.tree.replacement().map_err(io::Error::other)?;
        let summary = data.for_each(self.level, &mut |records| {
            let records = records.into_iter().map(|(tail, value)| (key(namespace, &tail), value));
            replacement.put(records).map_err(io::Error::other)
        })?;
        let standing = snapshot::standing(&summary.head)?;
        if summary.head.namespace != namespace || standing.meta() != *meta {
            let cause = "the snapshot is not the one that the leader said";
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        let present = self.tree.snapshot();
        for (from, to) in others(namespace) {
            let mut records = present.range(&from, &to, Direction::Forward).peekable();
            while records.peek().is_some() {
                replacement.put(records.by_ref().take(COPIED_RECORDS)).map_err(io::Error::other)?;
            }
        }
        drop(present);
        let own = standing.writes(namespace).into_iter();
        let own = own.filter_map(|(key, value)| Some((key, value?)));
        replacement.put(own).map_err(io::Error::other)?;
        if let Some(last) = &standing.applied {
            self.applying_term.fetch_max(last.leader_id.term, Ordering::SeqCst);
        }
        self.digests.clear();
        self.tail.clear();
        self.tree.replace(replacement).map_err(io::Error::other)?;
        if let Some(last) = standing.applied {
            let at = position(&last);
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).forget_upto(at.index);
            (self.listener)(Applied { index: at.index, term: at.term, kind: Kind::Installed });
            self.tell(&last);
        }
        Ok(())
    }
}

/// Where the tree certainly stands after a crash now.
pub(crate) fn flushed_standing(tree: &Tree, namespace: NamespaceId) -> io::Result<Standing> {
    let read = || Standing::get(|key| tree.flushed_get(key), namespace);
    // The two records are two reads, and a flush may come between them.
    let mut standing = read()?;
    loop {
        let again = read()?;
        if again == standing {
            return Ok(standing);
        }
        standing = again;
    }
}
