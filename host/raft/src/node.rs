//! One member's part in the raft group of one namespace: start it, propose to it, ask how it stands, stop it. It does not
//! know where entries come from, nor where the disk is.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::FutureExt;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, InitializeError, LinearizableReadError, RaftError};
use openraft::impls::BasicNode;
use openraft::{Raft, ReadPolicy, ServerState, SnapshotPolicy};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::read::{Read, SharedRead};
use quorate_core::transaction::Entry;
use quorate_store::log::PAYLOAD_BYTES_MAX;
use quorate_store::{Log, Tree};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;

use crate::apply::{Applier, ApplyListener, is_half_installed};
use crate::codec::RECORD_HEAD_BYTES;
use crate::housekeeping::Housekeeper;
use crate::leadership::{self, Leadership};
use crate::log_store::LogStore;
use crate::namespace::Scoped;
use crate::network::NoWay;
use crate::position::Position;
use crate::proposal::{Proposal, ProposeResult, Refusal, refusal, result};
use crate::snapshot::SnapshotData;
use crate::standing::Standing;
use crate::state_machine::{JOBS_MAX, StateMachine};
use crate::types::{CommittedLeaderId, Payload, Responder, TypeConfig, position};

/// Messages that wait for openraft before proposals are refused as [`Refusal::Busy`]: far above what one sequencer has
/// in flight.
const MESSAGES_MAX: u64 = 4096;
/// How often it is looked whether raft has stopped.
const STOPPED_LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of an encoded entry that the log takes.
const ENTRY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize - RECORD_HEAD_BYTES;

/// Entries that stay in the log: some seconds of a busy cluster, for members that lag and watches that resume.
const LOG_KEEP_ENTRIES: u64 = 16 * 1024;
/// Bytes of entries that stay in the log. 64 KiB for each of the entries that stay: only a log of larger values is cut
/// by it, which could else hold 16 GiB of 1 MiB values. Sending a member the tree anew is cheaper than that much log.
const LOG_KEEP_BYTES: u64 = 1 << 30;

/// How a member takes part.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member's number; never that of another, nor of one that was.
    pub member: u64,
    /// The namespace whose group this is.
    pub namespace: NamespaceId,
    /// Milliseconds between heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Milliseconds without a leader after which a member stands for election: a random time in this range.
    pub election_ms: (u64, u64),
    /// Entries that stay in the log behind the last flush of the tree: for members that lag and watches that resume.
    pub log_keep_entries: u64,
    /// Bytes that the log may have on the disk, flushed entries beyond which are purged even if they are among
    /// [`Config::log_keep_entries`]. Files are freed whole: one segment and the spare ones come on top.
    pub log_keep_bytes: u64,
    /// Entries applied after which the tree is flushed.
    pub flush_after_entries: u64,
}

impl Config {
    /// The usual sizes, for this member of the default namespace.
    #[must_use]
    pub fn new(member: u64) -> Self {
        Self {
            member,
            namespace: NamespaceId::DEFAULT,
            heartbeat_ms: 100,
            election_ms: (300, 500),
            log_keep_entries: LOG_KEEP_ENTRIES,
            log_keep_bytes: LOG_KEEP_BYTES,
            flush_after_entries: 8 * 1024,
        }
    }

    fn openraft(&self) -> Result<openraft::Config, StartError> {
        let config = openraft::Config {
            cluster_name: format!("namespace {}", self.namespace.0),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms.0,
            election_timeout_max: self.election_ms.1,
            enable_pre_vote: Some(true),
            // It would resume a term on a tree that was rolled back to its last flush (DESIGN D1).
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.log_keep_entries,
            // A lagging member gets entries for as long as they are there.
            replication_lag_threshold: u64::MAX,
            purge_batch_size: (self.log_keep_entries / 8).max(1),
            api_channel_size: Some(MESSAGES_MAX),
            ..openraft::Config::default()
        };
        config.validate().map_err(|error| StartError::Config(error.to_string()))
    }
}

/// The disk of a member, opened.
#[derive(Clone)]
pub struct Store {
    /// The raft log.
    pub log: Arc<Log>,
    /// The tree.
    pub tree: Arc<Tree>,
}

/// Why a member does not start. The process should print it and end.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("raft's configuration: {0}")]
    Config(String),
    /// Log and tree do not fit, or can not be read.
    #[error(
        "log and tree can not be brought together: {0}; move the directory away and let the member rejoin"
    )]
    Recovery(String),
    /// A snapshot from the leader was being installed when the process ended.
    #[error("a snapshot was installed in part; move the directory away and let the member rejoin")]
    HalfInstalled,
    /// No thread.
    #[error("the apply thread can not be started: {0}")]
    Thread(std::io::Error),
}

/// Why a cluster was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitializeRefusal {
    /// This member has a log or a vote already.
    #[error("this member belongs to a cluster already")]
    Initialized,
    /// Raft has stopped.
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

/// Why a linearizable read can not be made here now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// Another member has to be asked.
    #[error("{0}")]
    NotLeader(Refusal),
    /// Too few members have confirmed the leadership.
    #[error("no quorum has confirmed the leadership")]
    NoQuorum,
    /// Raft has stopped.
    #[error("raft has stopped")]
    Stopped,
}

/// How a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// This member.
    pub member: u64,
    /// The highest term that it has seen.
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// Whether openraft leads here; see [`Node::leadership`] for whether it may execute.
    pub is_leader: bool,
    /// Index of the last entry in its log, durable or not.
    pub last_log: Option<u64>,
    /// The last entry that it knows to be committed.
    pub committed: Option<Position>,
    /// The last entry that it has applied.
    pub applied: Option<Position>,
    /// The last entry that its tree certainly has after a crash.
    pub flushed: Option<Position>,
    /// The last entry that is gone from its log.
    pub purged: Option<Position>,
    /// Those that vote, as its log says.
    pub voters: Vec<u64>,
}

/// A member that takes part. Shared by reference. It goes on taking part when this is dropped: end it by [`Node::shutdown`],
/// or with its runtime.
pub struct Node {
    raft: Raft<TypeConfig, StateMachine>,
    config: Config,
    tree: Arc<Tree>,
    leadership: watch::Receiver<Option<Leadership>>,
    applier: Mutex<Option<JoinHandle<()>>>,
    tasks: Mutex<Vec<task::JoinHandle<()>>>,
}

impl Node {
    /// Brings log and tree together (what the log knows to be committed and the tree has lost is applied again, and told
    /// to the listener), and takes part from then on. A member that is a cluster of its own leads at once.
    ///
    /// Must be called within a tokio runtime with timers, which must live as long as the node.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        config: Config,
        store: Store,
        listener: ApplyListener,
    ) -> Result<Self, StartError> {
        let raft_config = Arc::new(config.openraft()?);
        let Store { log, tree } = store;
        let namespace = config.namespace;
        if is_half_installed(&tree.reader(), namespace) {
            return Err(StartError::HalfInstalled);
        }
        let recovery = |error: std::io::Error| StartError::Recovery(error.to_string());
        let standing = Standing::read(&tree.snapshot(), namespace).map_err(recovery)?;
        let applied_term = standing.applied.map_or(Term(0), |at| position(&at).term);

        let log_store = LogStore::new(Arc::clone(&log), namespace);
        let (jobs, job_receiver) = mpsc::channel(JOBS_MAX);
        let (term, term_receiver) = watch::channel(applied_term);
        let recent = log_store.recent();
        let applier = Applier { tree: Arc::clone(&tree), namespace, listener, recent, term };
        let thread = std::thread::Builder::new().name("apply".to_owned());
        let applier =
            thread.spawn(move || applier.run(job_receiver)).map_err(StartError::Thread)?;
        let machine = StateMachine::new(Arc::clone(&tree), namespace, jobs);

        let raft = Raft::new(config.member, raft_config, NoWay, log_store, machine).await;
        let raft = raft.map_err(|error| StartError::Recovery(error.to_string()))?;
        let (told, leadership) = watch::channel(None);
        let watcher = leadership::watch(raft.server_metrics(), term_receiver, told);
        let flusher = Housekeeper {
            raft: raft.clone(),
            log,
            namespace,
            flush_after_entries: config.flush_after_entries,
            keep_bytes: config.log_keep_bytes,
        };
        let tasks = vec![task::spawn(watcher), task::spawn(flusher.run())];
        let (applier, tasks) = (Mutex::new(Some(applier)), Mutex::new(tasks));
        let node = Self { raft, config, tree, leadership, applier, tasks };
        node.stand_alone().await;
        Ok(node)
    }

    /// Makes this member a cluster of its own, reachable at `address`.
    ///
    /// # Errors
    /// [`InitializeRefusal`]; nothing has changed.
    pub async fn initialize_single(&self, address: &str) -> Result<(), InitializeRefusal> {
        let node = BasicNode { addr: address.to_owned() };
        let members = BTreeMap::from([(self.config.member, node)]);
        match self.raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                return Err(InitializeRefusal::Initialized);
            }
            Err(error) => return Err(InitializeRefusal::Stopped(error.to_string())),
        }
        self.stand_alone().await;
        Ok(())
    }

    /// A member that is the only voter need not wait for the silence of a leader.
    async fn stand_alone(&self) {
        if self.raft.voter_ids().eq([self.config.member])
            && let Err(error) = self.raft.trigger().elect(false).await
        {
            tracing::error!(%error, "raft has stopped before the first election");
        }
    }

    /// Proposes an entry that was executed under this leadership; it is refused under any other. Returns at once.
    ///
    /// Calls of one thread enter the log in their order: each puts its message into openraft's queue before it returns
    /// (`raft/message/write_request.rs`), the queue is a tokio channel with one receiver, which merges neighbouring
    /// proposals without changing their order (`core/merged_raft_msg_receiver.rs`), and indexes are given in the order of
    /// the merged list (`core/raft_core.rs`, `write_entries`). A refusal does not hold up the next proposal: the one that
    /// follows may be taken, so who proposes on the state that a refused entry would have made relies on the entry's base.
    #[must_use]
    pub fn propose(&self, entry: Arc<Entry>, leadership: Leadership) -> Proposal {
        let (sender, answer) = oneshot::channel();
        self.propose_with(entry, leadership, move |result| {
            // Whoever proposed may have lost interest.
            let _received = sender.send(result);
        });
        Proposal::new(answer)
    }

    /// As [`Node::propose`]; `done` is called exactly once, with what became of the entry: on the apply thread, within
    /// openraft, or before this returns. It must not wait.
    pub fn propose_with(
        &self,
        entry: Arc<Entry>,
        leadership: Leadership,
        done: impl FnOnce(ProposeResult) + Send + 'static,
    ) {
        let bytes = quorate_wire::entry::encode(self.config.namespace, &entry);
        if bytes.len() > ENTRY_BYTES_MAX {
            let (bytes, bytes_max) = (bytes.len(), ENTRY_BYTES_MAX);
            return done(ProposeResult::Refused(Refusal::TooLarge { bytes, bytes_max }));
        }
        // Shared with the responder, so that a message that did not get into the queue is known as such.
        let done = Arc::new(Mutex::new(Some(done)));
        let answer = {
            let done = Arc::clone(&done);
            move |result| {
                let done = done.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(done) = done {
                    done(result);
                }
            }
        };
        let refuse = answer.clone();
        let responder = Responder::new(move |answered| answer(result(answered)));
        let payload = Payload { bytes, entry: Some(entry) };
        let write = self.raft.write(payload).responder(responder);
        let write = write.with_leader(CommittedLeaderId::new(leadership.term.0));
        // Ready at the first poll if there is room in the queue. Unconstrained: within a task of tokio, the poll must not be
        // put off because the task has run for long.
        let mut write = pin!(task::unconstrained(std::future::IntoFuture::into_future(write)));
        if write.as_mut().now_or_never().is_none() {
            refuse(ProposeResult::Refused(Refusal::Busy));
        }
    }

    /// Whether this member may execute, and under which leadership: it leads and has applied the blank entry of its term,
    /// hence everything before it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<Leadership>> {
        self.leadership.clone()
    }

    /// Returns when this member has applied everything that was acknowledged anywhere before the call; gives the index
    /// up to which that goes. A quorum confirms the leadership (ReadIndex).
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn linearizable_barrier(&self) -> Result<u64, BarrierError> {
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        read.map(|read| read.index()).map_err(|error| barrier_error(&error))
    }

    /// A quorum confirms after the call that this member leads (ReadIndex); gives the term in which it does, and the index up to
    /// which everything stands that was acknowledged before. It need not be applied yet: see [`Node::wait_applied`].
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn read_index(&self) -> Result<Position, BarrierError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(read) => Ok(position(read.read_log_id().log_id())),
            Err(error) => Err(barrier_error(&error)),
        }
    }

    /// Returns when this member has applied everything up to this index. Cancel-safe.
    ///
    /// # Errors
    /// [`BarrierError::Stopped`].
    pub async fn wait_applied(&self, index: u64) -> Result<(), BarrierError> {
        let mut data = self.raft.data_metrics();
        while data.borrow_watched().last_applied.is_none_or(|at| at.index < index) {
            data.changed().await.map_err(|_| BarrierError::Stopped)?;
        }
        Ok(())
    }

    /// The namespace's part of the tree, as it is applied. Each read sees the newest state.
    #[must_use]
    pub fn tree(&self) -> SharedRead {
        Arc::new(Scoped { namespace: self.config.namespace, reader: self.tree.reader() })
    }

    /// The namespace's part of the tree as it is at one moment: records that are read together fit together.
    pub fn read_at_once<T>(&self, read: impl FnOnce(&dyn Read) -> T) -> T {
        read(&Scoped { namespace: self.config.namespace, reader: self.tree.snapshot() })
    }

    /// The namespace's part of the tree as it is now, as a stream of bytes.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotData {
        let (tree, namespace) = (Arc::clone(&self.tree), self.config.namespace);
        SnapshotData::Live { tree, namespace }
    }

    /// How it stands.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let at = |log_id: &Option<crate::types::LogId>| log_id.as_ref().map(position);
        Metrics {
            member: metrics.id,
            term: Term(metrics.current_term),
            leader: metrics.current_leader,
            is_leader: metrics.state == ServerState::Leader,
            last_log: metrics.last_log_index,
            committed: at(&metrics.local_committed),
            applied: at(&metrics.last_applied),
            flushed: at(&metrics.snapshot),
            purged: at(&metrics.purged),
            voters: metrics.membership_config.voter_ids().collect(),
        }
    }

    /// Flushes the tree and lets the log behind it be purged. Returns when all that was applied before the call is in
    /// the tree after any crash; at once if raft has stopped.
    pub async fn flush(&self) {
        let mut data = self.raft.data_metrics();
        let target = data.borrow_watched().last_applied.map(|at| at.index);
        loop {
            if data.borrow_watched().snapshot.map(|at| at.index) >= target {
                return;
            }
            // A flush that had begun before the call may not cover it: asked again after each change.
            if self.raft.trigger().snapshot().await.is_err() || data.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when raft has stopped: `None` after [`Node::shutdown`], else why it could not go on. The process must end
    /// then: what is committed is not applied any more.
    pub async fn stopped(&self) -> Option<String> {
        // Looked at now and then: openraft tells of every entry that it applies on this channel, and whoever waits on it
        // is woken for each write. The other channel tells of leaders only, and closes when openraft is gone.
        let metrics = self.raft.metrics();
        let mut server = self.raft.server_metrics();
        let mut looks = tokio::time::interval(STOPPED_LOOK_EVERY);
        loop {
            let is_gone = tokio::select! {
                _ = looks.tick() => false,
                changed = server.changed() => changed.is_err(),
            };
            match &metrics.borrow_watched().running_state {
                Ok(()) if is_gone => return Some("raft has panicked".to_owned()),
                Ok(()) => {}
                Err(Fatal::Stopped) => return None,
                Err(fatal) => return Some(fatal.to_string()),
            }
        }
    }

    /// Stops taking part, waits for the apply thread, and flushes the tree. The log is left open. Proposals under way are
    /// answered as lost.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(%error, "raft did not stop in an orderly way");
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for one in tasks {
            one.abort();
            // Aborted, or ended by itself: either way it is gone.
            let _ended = one.await;
        }
        let applier = self.applier.lock().unwrap_or_else(PoisonError::into_inner).take();
        let tree = Arc::clone(&self.tree);
        let closed = task::spawn_blocking(move || {
            if applier.is_some_and(|applier| applier.join().is_err()) {
                tracing::error!("the apply thread has panicked");
                return;
            }
            tree.flush();
        });
        if closed.await.is_err() {
            tracing::error!("the tree could not be flushed");
        }
    }
}

fn barrier_error(error: &RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> BarrierError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            BarrierError::NotLeader(refusal(forward))
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => BarrierError::NoQuorum,
        RaftError::Fatal(_) => BarrierError::Stopped,
    }
}
