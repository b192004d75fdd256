//! The tree as openraft wants it: applies committed entries to a tree in memory, tells the member of each, flushes, and
//! installs snapshots. The rules of host/raft's apply thread; what transactions mean, `quorate_core::apply` knows.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot};
use quorate_core::apply;
use quorate_core::draft::{Draft, Meta, ReadRecords};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::read::{Direction, MemoryTree, Read, Writes};
use quorate_core::transaction::{Entry, EntryBody};
use send_wrapper::SendWrapper;

use crate::mutant::{Mutant, Mutants};
use crate::process::world_sleep;
use crate::raft::disk::{Disk, TreeImage};
use crate::raft::types::{
    CommittedLeaderId, LogId, RaftPayload, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::random::Random;

/// An entry that a member has applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its index in the log.
    pub index: u64,
    /// The term in which it was appended.
    pub term: Term,
    /// What it was.
    pub kind: Kind,
}

/// What an applied entry was.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The first one of a leader's term.
    Blank,
    /// A change of members.
    Membership,
    /// Transactions, or a barrier.
    Entry {
        /// Whether it was taken.
        applied: apply::Applied,
        /// The entry.
        entry: Arc<Entry>,
        /// The bytes that were replicated.
        bytes: Bytes,
    },
    /// The whole tree was replaced by a snapshot that stands at this index.
    Installed,
}

/// Is told of each applied entry, after the tree shows it. For the last one of a batch, where the tree stands is said too:
/// the digest counts whole batches.
pub type Listener = Box<dyn Fn(Applied, Option<Meta>)>;

/// A member's tree and where it stands. In memory: a crash takes it back to the last flush.
pub struct Standing {
    /// The tree.
    pub tree: Arc<MemoryTree>,
    applied: RefCell<Option<LogId>>,
    membership: RefCell<StoredMembership>,
}

impl Standing {
    /// What the disk has.
    #[must_use]
    pub fn recover(image: &TreeImage) -> Rc<Self> {
        let tree = Arc::new(MemoryTree::new());
        let records = image.records.iter();
        tree.commit(records.map(|(key, value)| (key.clone(), Some(value.clone()))).collect());
        Rc::new(Self {
            tree,
            applied: RefCell::new(image.applied),
            membership: RefCell::new(image.membership.clone()),
        })
    }

    /// The last applied entry.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        *self.applied.borrow()
    }

    fn image(&self) -> TreeImage {
        TreeImage {
            records: self.tree.records(),
            applied: self.applied(),
            membership: self.membership.borrow().clone(),
            flush: 0,
        }
    }

    fn replace(&self, image: &TreeImage) {
        let old = self.tree.records();
        let mut writes: Writes = old.into_keys().map(|key| (key, None)).collect();
        let new = image.records.iter();
        writes.extend(new.map(|(key, value)| (key.clone(), Some(value.clone()))));
        self.tree.commit(writes);
        *self.applied.borrow_mut() = image.applied;
        *self.membership.borrow_mut() = image.membership.clone();
    }
}

/// openraft's state machine.
pub struct Machine(pub SendWrapper<Rc<Applier>>);

/// What applies.
pub struct Applier {
    /// The tree.
    pub standing: Rc<Standing>,
    /// Where it is flushed to.
    pub disk: Rc<Disk>,
    /// Chance.
    pub random: Rc<Random>,
    /// Who is told.
    pub listener: Rc<Listener>,
    /// What is wrong.
    pub mutants: Mutants,
}

type RaftSnapshot = Snapshot<CommittedLeaderId, u64, openraft::impls::BasicNode, SnapshotData>;

fn rotten(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

fn snapshot_of(image: Rc<TreeImage>) -> RaftSnapshot {
    let meta =
        SnapshotMeta { last_log_id: image.applied, last_membership: image.membership.clone() };
    Snapshot { meta, snapshot: SendWrapper::new(image) }
}

impl Applier {
    /// Applies these as one batch, and tells.
    async fn batch(&self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut draft = Draft::new(self.standing.tree.clone());
        let mut told = Vec::with_capacity(entries.len());
        let mut is_changed = false;
        let mut last = None;
        for (raft_entry, responder) in entries {
            let log_id = raft_entry.log_id();
            let term = Term(log_id.leader_id.term);
            let kind = match raft_entry.payload {
                RaftPayload::Blank => Kind::Blank,
                RaftPayload::Membership(change) => {
                    *self.standing.membership.borrow_mut() =
                        StoredMembership::new(Some(log_id), change);
                    Kind::Membership
                }
                RaftPayload::Normal(payload) => {
                    let bytes = payload.0;
                    let (namespace, entry) =
                        quorate_wire::entry::decode(bytes.clone()).map_err(rotten)?;
                    if namespace != NamespaceId::DEFAULT {
                        return Err(rotten("an entry of another namespace"));
                    }
                    let applied = self.apply_one(&mut draft, &entry, term);
                    is_changed |= applied == apply::Applied::Taken;
                    Kind::Entry { applied, entry: Arc::new(entry), bytes }
                }
            };
            last = Some(log_id);
            told.push((Applied { index: log_id.index, term, kind }, responder));
        }
        if is_changed {
            apply::seal(&mut draft);
        }
        self.standing.tree.commit(draft.into_parts().1);
        *self.standing.applied.borrow_mut() = last;
        let meta = self.standing.tree.meta();
        if self.random.one_in(4) {
            // Readers and the sequencer may see the tree before they are told.
            world_sleep(Duration::from_micros(self.random.below(500))).await;
        }
        let count = told.len();
        for (at, (applied, responder)) in told.into_iter().enumerate() {
            let response = match &applied.kind {
                Kind::Entry { applied, .. } => *applied,
                _ => apply::Applied::Taken,
            };
            (self.listener)(applied, (at + 1 == count).then_some(meta));
            if let Some(responder) = responder {
                responder.send(response);
            }
        }
        Ok(())
    }

    fn apply_one(
        &self,
        draft: &mut Draft<Arc<MemoryTree>>,
        entry: &Entry,
        term: Term,
    ) -> apply::Applied {
        if self.mutants.has(Mutant::AnyBase)
            && let EntryBody::Batch { base, transactions } = &entry.body
            && *base != draft.meta().zxid
        {
            // Taken all the same, with the numbers that come next.
            let mut moved = entry.clone();
            let next = draft.meta().zxid;
            let mut transactions = transactions.clone();
            let mut zxid = next;
            for transaction in &mut transactions {
                zxid = zxid.next();
                transaction.zxid = zxid;
            }
            moved.body = EntryBody::Batch { base: next, transactions };
            return apply::entry(draft, &moved, term);
        }
        apply::entry(draft, entry, term)
    }
}

impl Applier {
    /// Swapped in by one atomic step: a crash leaves the old tree or the new one.
    async fn install(&self, meta: SnapshotMeta, snapshot: Rc<TreeImage>) -> io::Result<()> {
        if snapshot.applied != meta.last_log_id {
            return Err(rotten("the snapshot stands at another entry than the leader said"));
        }
        world_sleep(Duration::from_micros(200 + self.random.below(20_000))).await;
        self.disk.flush((*snapshot).clone());
        world_sleep(Duration::from_micros(self.random.below(1_000))).await;
        self.standing.replace(&snapshot);
        if let Some(last) = snapshot.applied {
            let term = Term(last.leader_id.term);
            let told = Applied { index: last.index, term, kind: Kind::Installed };
            (self.listener)(told, Some(self.standing.tree.meta()));
        }
        Ok(())
    }
}

/// A flushed tree on its way through openraft.
pub type SnapshotData = SendWrapper<Rc<TreeImage>>;

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Flush;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.0.standing.applied(), self.0.standing.membership.borrow().clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let applier = self.0.clone();
        let applied = SendWrapper::new(async {
            let random = &applier.random;
            let mut batch = Vec::new();
            let mut most = random.within(1, 8);
            while let Some(committed) = entries.next().await {
                batch.push(committed?);
                if batch.len() as u64 >= most {
                    world_sleep(Duration::from_micros(random.below(300))).await;
                    applier.batch(std::mem::take(&mut batch)).await?;
                    most = random.within(1, 8);
                }
            }
            if batch.is_empty() { Ok(()) } else { applier.batch(batch).await }
        });
        applied.await
    }

    async fn get_snapshot_builder(&mut self) -> Flush {
        Flush(self.0.clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let applier = self.0.clone();
        let meta = meta.clone();
        SendWrapper::new(async move { applier.install(meta, snapshot.take()).await }).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        let image = self.0.disk.image();
        Ok(image.applied.is_some().then(|| snapshot_of(image)))
    }
}

/// Flushes the tree: what survives a crash is a snapshot, and the log is purged up to it.
pub struct Flush(SendWrapper<Rc<Applier>>);

impl RaftSnapshotBuilder<TypeConfig> for Flush {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        world_sleep(Duration::from_millis(1)).await;
        let (standing, disk) = (&self.0.standing, &self.0.disk);
        if standing.applied() > disk.image().applied {
            disk.flush(standing.image());
        }
        Ok(snapshot_of(disk.image()))
    }
}

/// All records of a tree, to compare and to count again.
#[must_use]
pub fn digest_of(tree: &MemoryTree) -> u128 {
    let records = tree.range(&[], &[0xff], Direction::Forward);
    let counted = records.filter(|(key, _)| quorate_core::key::counts_in_digest(key));
    counted.fold(0, |sum: u128, (key, value)| {
        sum.wrapping_add(quorate_core::draft::record_hash(&key, &value))
    })
}
