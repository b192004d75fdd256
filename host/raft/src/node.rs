//! One member's part in the raft group of one namespace: start it, propose to it, ask how it stands, stop it. It does not
//! know where entries come from, nor where the disk is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::FutureExt;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, InitializeError, LinearizableReadError, RaftError};
use openraft::{Raft, ReadPolicy, ServerState};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::read::SharedRead;
use quorate_core::transaction::Entry;
use quorate_store::log::PAYLOAD_BYTES_MAX;
use quorate_store::{Log, Tree};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task;

use crate::acknowledged::Acknowledged;
use crate::apply::{Applier, ApplyListener};
use crate::before::Wanted;
use crate::cluster::{VOTERS_MAX, check_contacts};
use crate::codec::RECORD_HEAD_BYTES;
use crate::config::Config;
use crate::contact::Contact;
use crate::digests::Digests;
use crate::history::{History, Tail};
use crate::housekeeping::Housekeeper;
use crate::leadership::{self, Leader, Leadership};
use crate::level::{self, LevelTooHigh};
use crate::log_store::{LogStore, OnFirstVote};
use crate::namespace::Scoped;
use crate::network::{Network, Ways};
use crate::position::Position;
use crate::proposal::{Proposal, ProposeResult, Refusal, refusal, result};
use crate::retention::Retention;
use crate::serve::Served;
use crate::snapshot::{Checkpoints, Identity, Outgoing};
use crate::standing::Standing;
use crate::state_machine::{JOBS_MAX, StateMachine};
use crate::types::{CommittedLeaderId, Payload, Responder, TypeConfig, position};
use crate::unfinished;

/// How often it is looked whether raft has stopped.
const STOPPED_LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of an encoded entry that the log takes.
const ENTRY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX as usize - RECORD_HEAD_BYTES;

/// The disk of a member, opened.
#[derive(Clone)]
pub struct Store {
    /// The raft log.
    pub log: Arc<Log>,
    /// The tree.
    pub tree: Arc<Tree>,
    /// Directory for trees that other members send; what is in it is nobody's after a restart.
    pub incoming: PathBuf,
    /// See [`OnFirstVote`].
    pub on_first_vote: Option<OnFirstVote>,
}

impl Store {
    /// Whether the member has promised anything to others, or has applied anything.
    ///
    /// # Errors
    /// Of the disk.
    pub fn has_taken_part(&self, namespace: NamespaceId) -> std::io::Result<bool> {
        let has_vote = LogStore::new(Arc::clone(&self.log), namespace).has_vote();
        let standing = Standing::read(&self.tree.snapshot(), namespace)?;
        Ok(has_vote || standing.applied.is_some())
    }
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
    /// Log or tree are of later versions.
    #[error(transparent)]
    Level(LevelTooHigh),
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
    /// No cluster has such members.
    #[error("{0}")]
    Members(String),
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

/// What a member does for raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It orders the log.
    Leader,
    /// It follows a leader, and votes.
    Follower,
    /// It stands for election.
    Candidate,
    /// It gets the log and does not vote.
    Learner,
    /// It is being stopped.
    Stopping,
}

impl Role {
    fn of(state: ServerState) -> Self {
        match state {
            ServerState::Leader => Self::Leader,
            ServerState::Follower => Self::Follower,
            ServerState::Candidate => Self::Candidate,
            ServerState::Learner => Self::Learner,
            ServerState::Shutdown => Self::Stopping,
        }
    }

    /// The word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Learner => "learner",
            Self::Stopping => "stopping",
        }
    }
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
    /// What openraft does here; see [`Node::leadership`] for whether this member may execute.
    pub role: Role,
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
    pub(crate) raft: Raft<TypeConfig, StateMachine>,
    pub(crate) config: Config,
    pub(crate) acknowledged: Arc<Acknowledged>,
    tree: Arc<Tree>,
    served: Served,
    checkpoints: Arc<Checkpoints>,
    leadership: watch::Receiver<Option<Leadership>>,
    leader: watch::Receiver<Option<Leader>>,
    applied: watch::Receiver<Option<u64>>,
    applying_term: Arc<AtomicU64>,
    digests: Arc<Digests>,
    history: History,
    too_high: level::Met,
    applier: Mutex<Option<JoinHandle<()>>>,
    tasks: Mutex<Vec<task::JoinHandle<()>>>,
    /// Held by whoever changes the members.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
}

impl Node {
    /// Brings log and tree together (what the log knows to be committed and the tree has lost is applied again, and told
    /// to the listener), and takes part from then on. A member that is a cluster of its own leads at once.
    ///
    /// Must be called within a tokio runtime with timers, which must live as long as the node.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    #[expect(clippy::too_many_lines, reason = "one straight list, in the order of starting")]
    pub async fn start(
        config: Config,
        store: Store,
        network: Arc<dyn Network>,
        listener: ApplyListener,
    ) -> Result<Self, StartError> {
        let raft_config = Arc::new(config.openraft()?);
        let Store { log, tree, incoming, on_first_vote } = store;
        let namespace = config.namespace;
        let found = level::of_tree(&tree, namespace);
        if found > config.level {
            return Err(StartError::Level(LevelTooHigh { found, known: config.level }));
        }
        let recovery = |error: std::io::Error| StartError::Recovery(error.to_string());
        let standing = Standing::read(&tree.snapshot(), namespace).map_err(recovery)?;
        let applied_term = standing.applied.map_or(Term(0), |at| position(&at).term);

        let retention: Arc<Retention> = Arc::default();
        let checkpoints = Checkpoints::open(
            Arc::clone(&tree),
            namespace,
            config.log_keep_entries / 2,
            Arc::clone(&retention),
        );
        let checkpoints = Arc::new(checkpoints.map_err(recovery)?);

        let log_store = LogStore::new(Arc::clone(&log), namespace).noting(on_first_vote);
        if let Some(applied) = standing.applied {
            if !log_store.has_vote() {
                let cause = "the tree has entries, and the log has not even a vote: the log was lost, and what this \
                             member has promised to others with it";
                return Err(StartError::Recovery(cause.to_owned()));
            }
            log_store.fit(applied).await.map_err(recovery)?;
        }
        let (jobs, job_receiver) = mpsc::channel(JOBS_MAX);
        let (term, term_receiver) = watch::channel(applied_term);
        let recent = log_store.recent();
        let (index, applied) = watch::channel(standing.applied.map(|at| at.index));
        let applying_term = Arc::new(AtomicU64::new(applied_term.0));
        let digests: Arc<Digests> = Arc::default();
        let tail: Arc<Tail> = Arc::default();
        let wanted = Wanted::default();
        let history = History {
            log: Arc::clone(&log),
            tree: Arc::clone(&tree),
            namespace,
            tail: Arc::clone(&tail),
            wanted: wanted.clone(),
        };
        let too_high = level::Met::default();
        let applier = Applier {
            tree: Arc::clone(&tree),
            namespace,
            level: config.level,
            too_high: Arc::clone(&too_high),
            listener,
            recent,
            term,
            applying_term: Arc::clone(&applying_term),
            index,
            digests: Arc::clone(&digests),
            tail,
            wanted,
        };
        let thread = std::thread::Builder::new().name("apply".to_owned());
        let applier =
            thread.spawn(move || applier.run(job_receiver)).map_err(StartError::Thread)?;
        let machine =
            StateMachine::new(Arc::clone(&tree), namespace, jobs, Arc::clone(&checkpoints));

        let acknowledged: Arc<Acknowledged> = Arc::default();
        let ways = Ways {
            own: config.member,
            network,
            acknowledged: Arc::clone(&acknowledged),
            retention: Arc::clone(&retention),
        };
        let own_log = log_store.clone();
        let raft = Raft::new(config.member, raft_config, ways, log_store, machine).await;
        let raft = raft.map_err(|error| match too_high.get() {
            Some(too_high) => StartError::Level(*too_high),
            None => StartError::Recovery(error.to_string()),
        })?;
        let (told, leadership) = watch::channel(None);
        let (leader_told, leader) = watch::channel(None);
        let watcher = leadership::watch(raft.server_metrics(), term_receiver, told, leader_told);
        let flusher = Housekeeper {
            raft: raft.clone(),
            log,
            config: config.clone(),
            directory: tree.beside("."),
            checkpoints: Arc::clone(&checkpoints),
            retention,
            history: history.clone(),
        };
        let changing: Arc<tokio::sync::Mutex<()>> = Arc::default();
        let finisher = unfinished::finish(raft.clone(), Arc::clone(&changing));
        let tasks = vec![task::spawn(watcher), task::spawn(flusher.run()), task::spawn(finisher)];
        let (applier, tasks) = (Mutex::new(Some(applier)), Mutex::new(tasks));
        let incoming = Arc::new(tokio::sync::Mutex::new(incoming));
        let lost = Arc::new(watch::channel(None).0);
        let served = Served {
            raft: raft.clone(),
            namespace,
            level: config.level,
            incoming,
            log: own_log,
            lost,
        };
        let node = Self {
            raft,
            config,
            acknowledged,
            tree,
            served,
            checkpoints,
            leadership,
            leader,
            applied,
            applying_term,
            digests,
            history,
            too_high,
            applier,
            tasks,
            changing,
        };
        node.stand_alone().await;
        Ok(node)
    }

    /// Makes these members a new cluster, all of them voters, this one among them. The others must be empty and waiting;
    /// they learn of it from the one that is elected.
    ///
    /// # Errors
    /// [`InitializeRefusal`]; nothing has changed.
    pub async fn initialize(
        &self,
        members: BTreeMap<u64, Contact>,
    ) -> Result<(), InitializeRefusal> {
        if members.len() > VOTERS_MAX {
            let cause = format!("{} voters, limit {VOTERS_MAX}", members.len());
            return Err(InitializeRefusal::Members(cause));
        }
        check_contacts(&members).map_err(InitializeRefusal::Members)?;
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

    /// Whether this member has taken part in a cluster, or is in one that was made. Asks raft itself: what its metrics say of
    /// the members may be older than its start.
    ///
    /// # Errors
    /// Why raft has stopped.
    pub async fn is_initialized(&self) -> Result<bool, String> {
        self.raft.is_initialized().await.map_err(|error| error.to_string())
    }

    /// What other members ask goes here.
    #[must_use]
    pub fn served(&self) -> Served {
        self.served.clone()
    }

    /// Why this member takes no part any more, once it was told and has found that it has lost entries which it had
    /// acknowledged. Raft ends by itself then; whoever started it must see to it that it does not start again.
    #[must_use]
    pub fn lost(&self) -> watch::Receiver<Option<String>> {
        self.served.lost.subscribe()
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

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.clone()
    }

    /// The highest term of an entry that is applied here, or is about to be: told before the tree shows it. Whoever has
    /// read the tree under an older leadership may have seen a mixture.
    #[must_use]
    pub fn applying_term(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.applying_term)
    }

    /// Digests of the tree at indexes of the log, oldest first: the same on every member that has them.
    #[must_use]
    pub fn digests(&self) -> Vec<(u64, u128)> {
        self.digests.all()
    }

    /// What this member retains of the past.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.clone()
    }

    /// The place up to which everything that was acknowledged anywhere before the call goes, and the term in which a quorum
    /// has confirmed after the call that this member leads. It need not be applied yet: see [`Node::wait_applied`].
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn read_index(&self) -> Result<Position, BarrierError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(read) => Ok(position(read.read_log_id().log_id())),
            Err(error) => Err(barrier_error(error)),
        }
    }

    /// Returns when this member has applied this index. Cancel-safe.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn wait_applied(&self, index: u64) -> Result<(), BarrierError> {
        let mut applied = self.applied.clone();
        match applied.wait_for(|applied| *applied >= Some(index)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BarrierError::Stopped),
        }
    }

    /// Returns when this member has applied everything that was acknowledged anywhere before the call; gives the index
    /// up to which that goes. A quorum confirms the leadership (ReadIndex).
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// [`BarrierError`].
    pub async fn linearizable_barrier(&self) -> Result<u64, BarrierError> {
        let index = self.read_index().await?.index;
        self.wait_applied(index).await?;
        Ok(index)
    }

    /// The namespace's part of the tree, as it is applied. Each read sees the newest state.
    #[must_use]
    pub fn tree(&self) -> SharedRead {
        Arc::new(Scoped { namespace: self.config.namespace, reader: self.tree.reader() })
    }

    /// The namespace's part of the tree as it is now, and stays: records that are read together fit together. While it lives,
    /// nothing that it may read leaves the disk: do not keep it for long.
    #[must_use]
    pub fn tree_at_once(&self) -> SharedRead {
        Arc::new(Scoped { namespace: self.config.namespace, reader: self.tree.snapshot() })
    }

    /// The same, with the index of the last entry that is in it; `None` if there was none yet.
    ///
    /// # Errors
    /// The record that says so can not be read.
    pub fn tree_at_index(&self) -> std::io::Result<(Option<u64>, SharedRead)> {
        let snapshot = self.tree.snapshot();
        let index = Standing::read(&snapshot, self.config.namespace)?.applied.map(|at| at.index);
        Ok((index, Arc::new(Scoped { namespace: self.config.namespace, reader: snapshot })))
    }

    /// The namespace's part of the tree as a stream of bytes: with everything that was applied on this member before the
    /// call. Writes go on. The stream stays readable for as long as somebody holds it, and [`Node::find_snapshot`] gives
    /// it for a while after.
    ///
    /// Dropping the future leaves a checkpoint at most, which goes when it is not used.
    ///
    /// # Errors
    /// `WouldBlock` when too many are being sent; of the disk.
    pub async fn snapshot(&self) -> std::io::Result<Arc<Outgoing>> {
        let (tree, namespace) = (Arc::clone(&self.tree), self.config.namespace);
        let checkpoints = Arc::clone(&self.checkpoints);
        let made = task::spawn_blocking(move || {
            let standing = Standing::read(&tree.snapshot(), namespace)?;
            tree.flush();
            checkpoints.with_entry(standing.applied.map_or(0, |at| at.index))
        });
        made.await.map_err(std::io::Error::other)?
    }

    /// The stream of this name, if this member still has it.
    #[must_use]
    pub fn find_snapshot(&self, identity: Identity) -> Option<Arc<Outgoing>> {
        self.checkpoints.find(identity)
    }

    /// Whether this member stands for election when it hears of no leader. It does, unless told otherwise.
    pub fn stand_for_election(&self, stands: bool) {
        self.raft.runtime_config().elect(stands);
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
            role: Role::of(metrics.state),
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
                Err(fatal) => {
                    let too_high = self.too_high.get().map(ToString::to_string);
                    return Some(too_high.unwrap_or_else(|| fatal.to_string()));
                }
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

fn barrier_error(error: RaftError<TypeConfig, LinearizableReadError<TypeConfig>>) -> BarrierError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            BarrierError::NotLeader(refusal(&forward))
        }
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => BarrierError::NoQuorum,
        RaftError::Fatal(_) => BarrierError::Stopped,
    }
}
