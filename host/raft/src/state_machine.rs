//! The tree as openraft wants it: hands committed entries to the apply thread, and says where the tree stands. It does not
//! know how entries change the tree.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, Snapshot};
use quorate_core::ids::NamespaceId;
use quorate_core::limits;
use quorate_store::Tree;
use tokio::sync::{mpsc, oneshot};

use crate::apply::{Job, flushed_standing};
use crate::digests;
use crate::snapshot::{Checkpoints, OnDemand, SnapshotData};
use crate::standing::Standing;
use crate::types::{
    CommittedLeaderId, LogId, RaftPayload, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Jobs that wait for the apply thread: one is applied, one is read from the log meanwhile.
pub(crate) const JOBS_MAX: usize = 2;
/// Entries of one batch of the tree.
const BATCH_ENTRIES_MAX: usize = 64;
/// Bytes of entries of one batch of the tree: bounds what the draft holds in memory.
const BATCH_BYTES_MAX: usize = 4 * limits::BATCH_BYTES_MAX;

type RaftSnapshot = Snapshot<CommittedLeaderId, u64, crate::contact::Contact, SnapshotData>;

/// openraft's side of the apply thread.
pub(crate) struct StateMachine {
    tree: Arc<Tree>,
    namespace: NamespaceId,
    jobs: mpsc::Sender<Job>,
    checkpoints: Arc<Checkpoints>,
    /// Whether openraft was told of a snapshot in this life.
    has_snapshot: Arc<AtomicBool>,
}

impl StateMachine {
    pub(crate) fn new(
        tree: Arc<Tree>,
        namespace: NamespaceId,
        jobs: mpsc::Sender<Job>,
        checkpoints: Arc<Checkpoints>,
    ) -> Self {
        Self { tree, namespace, jobs, checkpoints, has_snapshot: Arc::default() }
    }

    async fn ask(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).await.map_err(|_| ended())
    }
}

fn ended() -> io::Error {
    io::Error::other("the apply thread has ended")
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let standing = Standing::read(&self.tree.snapshot(), self.namespace)?;
        Ok((standing.applied, standing.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut is_full = false;
        while let Some(committed) = entries.next().await {
            let committed = committed?;
            if is_full || batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                let full = std::mem::take(&mut batch);
                self.ask(Job::Apply { entries: full, done: None }).await?;
                bytes = 0;
            }
            if let RaftPayload::Normal(payload) = &committed.0.payload {
                bytes += payload.bytes.len();
            }
            is_full = digests::is_point(committed.0.log_id.index);
            batch.push(committed);
        }
        let (done, applied) = oneshot::channel();
        self.ask(Job::Apply { entries: batch, done: Some(done) }).await?;
        applied.await.map_err(|_| ended())?
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let has_snapshot = Arc::clone(&self.has_snapshot);
        let (tree, namespace) = (Arc::clone(&self.tree), self.namespace);
        let checkpoints = Arc::clone(&self.checkpoints);
        SnapshotBuilder { tree, namespace, checkpoints, has_snapshot }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let (done, installed) = oneshot::channel();
        self.ask(Job::Install { meta: meta.clone(), data: snapshot, done }).await?;
        installed.await.map_err(|_| ended())??;
        self.checkpoints.installed(meta.last_log_id.map_or(0, |at| at.index));
        self.has_snapshot.store(true, Ordering::Release);
        Ok(())
    }

    /// A checkpoint, at least as new as the snapshot that was built last. Its meta is what its bytes say: openraft tells
    /// the leader that the member who gets it has the log up to there (`replication/snapshot_transmitter.rs`), and hands it
    /// to the member's `install_snapshot` as it is.
    ///
    /// An error here would stop raft for good, and so would "none" while one is to be sent.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        if !self.has_snapshot.load(Ordering::Acquire) {
            return Ok(None);
        }
        let checkpoints = Arc::clone(&self.checkpoints);
        let made = tokio::task::spawn_blocking(move || checkpoints.for_member()).await;
        match made.map_err(io::Error::other).and_then(|made| made) {
            Ok(outgoing) => {
                let meta = outgoing.meta();
                Ok(Some(Snapshot { meta, snapshot: SnapshotData::Outgoing(outgoing) }))
            }
            Err(error) => {
                tracing::warn!(%error, "no checkpoint could be made; a member that needs one waits");
                let meta = flushed_standing(&self.tree, self.namespace)?.meta();
                let snapshot = SnapshotData::Unavailable(error.to_string());
                Ok(Some(Snapshot { meta, snapshot }))
            }
        }
    }
}

/// Flushes the tree: openraft purges the log up to what a snapshot covers, so a snapshot is what survives a crash.
pub(crate) struct SnapshotBuilder {
    tree: Arc<Tree>,
    namespace: NamespaceId,
    checkpoints: Arc<Checkpoints>,
    has_snapshot: Arc<AtomicBool>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let (tree, namespace) = (Arc::clone(&self.tree), self.namespace);
        let flushed = tokio::task::spawn_blocking(move || {
            tree.flush();
            flushed_standing(&tree, namespace)
        });
        let standing = flushed.await.map_err(io::Error::other)??;
        self.has_snapshot.store(true, Ordering::Release);
        let snapshot = SnapshotData::OnDemand(OnDemand(Arc::clone(&self.checkpoints)));
        Ok(Snapshot { meta: standing.meta(), snapshot })
    }
}
