//! One member, put together: disk, engine, raft, sequencer, faces. It starts them in their order and stops them in the
//! reverse one; what each does is not known here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use quorate_core::apply::Applied;
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Term};
use quorate_core::read::{Read, SharedRead};
use quorate_core::transaction::Entry;
use quorate_engine::{Engine, Level};
use quorate_net::{Identity, IdentityError, Port, QueueBudget, Server, ServerConfig};
use quorate_raft::{InitializeRefusal, Kind, Leadership, Node, ProposeResult, Store};
use quorate_sequencer::{Input, Reserve, Sequencer};
use quorate_store::log::FatalHandler;
use quorate_store::{DataDirectory, Log, LogOptions, OpenError, Tree, TreeOptions};
use quorate_wire::message::query::{LogLine, Status};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::compile::{Compiler, Prepare};
use crate::disk;
use crate::leader::{self, Propose, Running, SequencerHandle};
use crate::limits;
use crate::process;
use crate::quic::{self, Face};
use crate::quorum::{Quorum, Rounds};
use crate::raft::{NodeApplied, NodeQuorum};
use crate::read_index::{AnyLeader, ReadBarrier};
use crate::reads::{Reads, Surroundings};
use crate::registry::Registry;

/// What a member is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory for all of its state. Made if it is not there.
    pub data: PathBuf,
    /// UDP address for clients; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host names and addresses for the certificate, beside those of this machine.
    pub names: Vec<String>,
    /// Addresses that clients are told; empty: the one listened on.
    pub advertise: Vec<String>,
    /// Memory for the tree's cache, in bytes.
    pub cache_bytes: usize,
    /// Bytes of the largest component that is admitted.
    pub component_bytes_max: u64,
    /// Bytes of disk that are kept free: writes that make the tree larger are refused below. 0: none.
    pub disk_reserve_bytes: u64,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(data: PathBuf, listen: SocketAddr) -> Self {
        Self {
            data,
            listen,
            names: Vec::new(),
            advertise: Vec::new(),
            cache_bytes: TreeOptions::default().cache_bytes,
            component_bytes_max: quorate_core::limits::COMPONENT_BYTES_MAX,
            disk_reserve_bytes: limits::DISK_RESERVE_BYTES,
        }
    }
}

/// Why a member does not start. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The port.
    #[error(transparent)]
    Bind(#[from] quorate_net::BindError),
    /// The sandbox.
    #[error("the engine for recipes can not be set up: {0}")]
    Engine(#[from] quorate_engine::StartError),
    /// The operating system's random bytes.
    #[error("no random bytes for recipes: {0}")]
    Random(String),
    /// Raft.
    #[error(transparent)]
    Raft(#[from] quorate_raft::StartError),
    /// The first start of a cluster of one.
    #[error(transparent)]
    Initialize(#[from] InitializeRefusal),
    /// A thread.
    #[error("a thread can not be started: {0}")]
    Thread(std::io::Error),
}

/// The one member of a cluster of one. Numbers of further members come with the cluster's membership.
const MEMBER: u64 = 1;

/// A running member. To be ended with [`Member::shutdown`].
pub struct Member {
    address: SocketAddr,
    authority: PathBuf,
    node: Arc<Node>,
    log: Arc<Log>,
    compiler: Arc<OnceLock<Mutex<Compiler>>>,
    sequencer: SequencerHandle,
    sequencer_thread: Running,
    leadership: JoinHandle<()>,
    disk: JoinHandle<()>,
    rounds_tasks: [JoinHandle<()>; 2],
    face: JoinHandle<()>,
    stop: watch::Sender<bool>,
    _directory: Arc<DataDirectory>,
}

impl Member {
    /// Opens the disk, brings log and tree together, and serves clients.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    #[expect(clippy::too_many_lines, reason = "one straight list, in the order of starting")]
    pub async fn start(options: Options) -> Result<Self, StartError> {
        // First: a port that is in use must not leave a data directory and certificates behind.
        let port = Port::take(options.listen)?;
        let directory =
            DataDirectory::open(&options.data, || format!("member {MEMBER}").into_bytes())?;
        let directory = Arc::new(directory);
        let identity = Identity::open_or_make(
            &options.data.join("certificates"),
            &options.names,
            SystemTime::now(),
        )?;
        let config = ServerConfig::new(options.listen, identity.server.clone());
        let server = Server::listen(port, &config)?;
        let address = server.local_address();
        let log = Arc::new(Log::open(
            &directory.log_path(),
            LogOptions { queue_bytes_max: limits::LOG_QUEUE_BYTES_MAX, ..LogOptions::default() },
            end_process(directory.clone()),
        )?);
        let tree =
            Tree::open(&directory.tree_path(), &TreeOptions { cache_bytes: options.cache_bytes })?;
        let mut random_key = [0; 32];
        getrandom::fill(&mut random_key).map_err(|error| StartError::Random(error.to_string()))?;
        let engine = Engine::new(&quorate_engine::Options {
            cache: Some(directory.path().join("compiled")),
            component_bytes_max: options.component_bytes_max,
            random_key: random_key.into(),
            ..quorate_engine::Options::default()
        })?;

        let sequencer = SequencerHandle::new();
        let registry = Arc::new(Registry::new(sequencer.clone()));
        let compiler: Arc<OnceLock<Mutex<Compiler>>> = Arc::default();
        let applied_tree: Arc<OnceLock<SharedRead>> = Arc::default();
        let listener =
            listener(registry.clone(), sequencer.clone(), compiler.clone(), applied_tree.clone());
        let store = Store { log: log.clone(), tree: Arc::new(tree) };
        let node = Node::start(quorate_raft::Config::new(MEMBER), store, listener).await?;
        let node = Arc::new(node);
        let tree = node.tree();
        let _first = applied_tree.set(tree.clone());
        registry.advance(tree.meta().zxid);
        // Asked at every start: only the log knows whether this member belongs to a cluster already.
        match node.initialize_single(&address.to_string()).await {
            Ok(()) | Err(InitializeRefusal::Initialized) => {}
            Err(stopped) => return Err(stopped.into()),
        }

        let prepare = Arc::new(EnginePrepare { engine: engine.clone() });
        let started = Compiler::start(tree.clone(), prepare).map_err(StartError::Thread)?;
        let _first = compiler.set(Mutex::new(started));
        let proposer = Box::new(NodeProposer { node: node.clone(), sequencer: sequencer.clone() });
        let quorum: Arc<dyn Quorum> = Arc::new(NodeQuorum(node.clone()));
        let (rounds, leaders_rounds) = Rounds::of_quorum(quorum.clone());
        let (read_rounds, readers_rounds) =
            AnyLeader { registry: registry.clone(), quorum }.rounds();
        let barrier =
            ReadBarrier { rounds: read_rounds, applied: Arc::new(NodeApplied(node.clone())) };
        let rounds_tasks = [tokio::spawn(leaders_rounds), tokio::spawn(readers_rounds)];
        let sequencer_thread = leader::start(
            sequencer.clone(),
            Sequencer::new(tree.clone(), Box::new(engine.runner())),
            leader::Surroundings {
                registry: registry.clone(),
                propose: proposer,
                rounds,
                applying_term: Arc::default(),
            },
        )
        .map_err(StartError::Thread)?;
        let leadership = tokio::spawn(tell_leadership(node.clone(), sequencer.clone()));
        let reserve = Reserve::of(options.disk_reserve_bytes);
        let disk = tokio::spawn(disk::watch(directory.clone(), reserve, sequencer.clone()));

        let (stop, stopped) = watch::channel(false);
        let surroundings = Arc::new(Around {
            engine,
            node: node.clone(),
            tree: tree.clone(),
            sequencer: sequencer.clone(),
            began: Instant::now(),
        });
        let members = match options.advertise {
            none if none.is_empty() => vec![address.to_string()],
            some => some,
        };
        let face = Arc::new(Face {
            registry,
            sequencer: sequencer.clone(),
            reads: Reads::new(tree, surroundings),
            barrier: Arc::new(barrier),
            compiler: compiler.clone(),
            lane_queues: QueueBudget::new(limits::MEMBER_LANE_QUEUE_BYTES_MAX),
            agent: agent(),
            members,
        });
        let face = tokio::spawn(quic::serve(face, server, stopped));
        Ok(Self {
            address,
            authority: identity.authority_file,
            node,
            log,
            compiler,
            sequencer,
            sequencer_thread,
            leadership,
            disk,
            rounds_tasks,
            face,
            stop,
            _directory: directory,
        })
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that clients must be given.
    #[must_use]
    pub fn authority_file(&self) -> &Path {
        &self.authority
    }

    /// Returns when the member can not go on, with the reason. The process must end then.
    pub async fn failed(&self) -> String {
        let mut ended = self.sequencer_thread.ended.clone();
        let sequencer_ended = async { while ended.changed().await.is_ok() {} };
        tokio::select! {
            stopped = self.node.stopped() => match stopped {
                Some(why) => why,
                None => std::future::pending().await,
            },
            () = sequencer_ended => "the sequencer's thread has ended".to_owned(),
        }
    }

    /// Stops serving, answers what can be answered, flushes, and lets the disk go.
    pub async fn shutdown(self) {
        if self.stop.send(true).is_err() {
            tracing::debug!("the face had ended before");
        }
        if self.face.await.is_err() {
            tracing::error!("the face has panicked");
        }
        self.leadership.abort();
        self.disk.abort();
        self.rounds_tasks.iter().for_each(JoinHandle::abort);
        self.sequencer.stop();
        let thread = self.sequencer_thread.thread;
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::error!("the sequencer's thread has panicked");
        }
        if let Some(compiler) = self.compiler.get() {
            compiler.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stop();
        }
        self.node.shutdown().await;
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log did not close in order; the next start replays it");
        }
    }
}

/// Name and version of this server.
#[must_use]
pub fn agent() -> String {
    format!("quorate/{}", env!("CARGO_PKG_VERSION"))
}

/// What is not on the disk can not be promised: the process ends, and the next start replays what is.
fn end_process(directory: Arc<DataDirectory>) -> FatalHandler {
    Box::new(move |error| {
        let free_mib = directory.free_bytes().map_or(0, |bytes| bytes >> 20);
        tracing::error!(
            directory = %directory.log_path().display(),
            %error,
            free_mib,
            "the raft log can not be written and this process ends; what was acknowledged is on the disk: \
             make room there, or repair it, and start again"
        );
        std::process::abort();
    })
}

/// What happens when an entry has been applied: replies go out, then the sequencer learns of it.
fn listener(
    registry: Arc<Registry>,
    sequencer: SequencerHandle,
    compiler: Arc<OnceLock<Mutex<Compiler>>>,
    tree: Arc<OnceLock<SharedRead>>,
) -> quorate_raft::ApplyListener {
    Box::new(move |told| {
        let (applied, entry) = match told.kind {
            Kind::Entry { applied, entry } => (applied, entry),
            Kind::Installed => {
                if let Some(tree) = tree.get() {
                    registry.installed(tree.meta().zxid);
                }
                return;
            }
            Kind::Blank | Kind::Membership => return,
        };
        let is_taken = applied == Applied::Taken;
        if is_taken {
            registry.applied(&entry);
            if let Some(compiler) = compiler.get() {
                compiler.lock().unwrap_or_else(std::sync::PoisonError::into_inner).applied(&entry);
            }
        }
        sequencer.applied(&entry, is_taken);
    })
}

async fn tell_leadership(node: Arc<Node>, sequencer: SequencerHandle) {
    let mut leadership = node.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        sequencer.send(match now {
            Some(leadership) => {
                Input::Lead(quorate_sequencer::Leadership { term: leadership.term })
            }
            None => Input::Follow,
        });
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

struct NodeProposer {
    node: Arc<Node>,
    sequencer: SequencerHandle,
}

impl Propose for NodeProposer {
    fn propose(&mut self, epoch: Epoch, batch: u64, entry: Arc<Entry>) {
        let sequencer = self.sequencer.clone();
        let leadership = Leadership { term: entry.term, member: MEMBER };
        self.node.propose_with(entry, leadership, move |result| {
            // An entry that was taken, or discarded, is told by the apply listener, in order.
            if matches!(result, ProposeResult::Refused(_) | ProposeResult::Lost) {
                sequencer.refused(epoch, batch);
            }
        });
    }
}

struct EnginePrepare {
    engine: Engine,
}

impl Prepare for EnginePrepare {
    fn prepare(&self, component: ComponentDigest, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.engine.prepare(component, Bytes::from(bytes))
    }

    fn is_prepared(&self, component: &ComponentDigest) -> bool {
        self.engine.is_prepared(component)
    }
}

/// What reads are told beside the tree.
struct Around {
    engine: Engine,
    node: Arc<Node>,
    tree: SharedRead,
    sequencer: SequencerHandle,
    began: Instant,
}

impl Surroundings for Around {
    fn interfaces(&self, component: &ComponentDigest) -> Result<Vec<Bytes>, Refusal> {
        self.engine
            .interfaces(component)?
            .iter()
            .map(|interface| {
                interface
                    .encode()
                    .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))
            })
            .collect()
    }

    fn logs(&self, recipe: &str, limit: u32) -> Vec<LogLine> {
        let lines = self.engine.logs(recipe, limit as usize);
        lines
            .into_iter()
            .map(|line| LogLine {
                time_ms: line.time.0,
                zxid: line.zxid,
                level: match line.level {
                    Level::Debug => 0,
                    Level::Info => 1,
                    Level::Warn => 2,
                    Level::Error => 3,
                },
                message: line.message,
            })
            .collect()
    }

    fn at_once(&self, read: &mut dyn FnMut(&dyn Read)) {
        self.node.read_at_once(read);
    }

    fn status(&self) -> Status {
        let metrics = self.node.metrics();
        let meta = self.tree.meta();
        let usage = process::usage();
        Status {
            member: metrics.member,
            version: agent(),
            role: if metrics.is_leader { "leader" } else { "follower" }.to_owned(),
            term: Term(metrics.term.0),
            epoch: self.sequencer.epoch(),
            zxid: meta.zxid,
            applied_index: metrics.applied.map_or(0, |at| at.index),
            digest: meta.digest,
            sessions: meta.sessions_count,
            cpu_us: usage.cpu_us,
            memory_bytes: usage.memory_bytes,
            uptime_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
