//! One member, put together: disk, engine, raft, sequencer, faces. It starts them in their order and stops them in the
//! reverse one; what each does is not known here.

mod adapters;
mod who;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use quorate_core::draft::ReadRecords;
use quorate_core::error::Refusal;
use quorate_core::level::Level;
use quorate_core::read::SharedRead;
use quorate_core::recipe::Recipes;
use quorate_engine::Engine;
use quorate_net::{
    ClientCertificates, Identity, IdentityError, Port, Protocol, QueueBudget, Server, ServerConfig,
};
use quorate_raft::contact::CLIENT_ADDRESSES_MAX;
use quorate_raft::{Node, Store};
use quorate_sequencer::{Reserve, Sequencer};
use quorate_store::log::FatalHandler;
use quorate_store::{DataDirectory, Log, LogOptions, OpenError, TreeOptions};
use quorate_wire::message::credential::{Credential, HOUSE_SECRET_BYTES};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::administration::{Administration, HANDED_ON_MAX};
use crate::audit::{self, Audit};
use crate::authentication::{self, Anonymous, Authentication};
use crate::compile::Compiler;
use crate::disk::DiskWatch;
use crate::divergence;
use crate::follow::Follower;
use crate::halted::{self, Halt};
use crate::leader::{self, Running, SequencerHandle};
use crate::level::Levels;
use crate::limits;
use crate::mesh::{self, Mesh, Note, RaftNetwork};
use crate::quic::{self, Face};
use crate::quorum::{Quorum, Rounds};
use crate::raft::{NodeApplied, NodeQuorum};
use crate::read_calls::{self, ReadCalls};
use crate::read_index::{AnyLeader, ReadBarrier};
use crate::reads::{Reads, Surroundings};
use crate::registry::Registry;
use crate::renewal::Renewal;
use crate::scans::ScanRoom;
use crate::snapshots::NodeSnapshots;
use crate::told::{Listener, tell_leader, tell_leadership};
use crate::watches;

use self::adapters::{Around, EnginePrepare, MeshDial, NodeProposer, Served};
pub use self::who::agent;
use self::who::{
    check_not_forgotten, client_addresses, clients_of, identity, level_of_tree, names, number,
    open_tree, own,
};

/// What a member is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its number in the cluster; never that of another, nor of one that was. A new directory of a member with a number
    /// waits to be made part of a cluster. None: of a new directory, member 1 of a cluster of its own; else what the
    /// directory says.
    pub member: Option<u64>,
    /// Directory for all of its state. Made if it is not there.
    pub data: PathBuf,
    /// Directory of its certificates; none: `certificates` in the data directory.
    pub certificates: Option<PathBuf>,
    /// Host and port where other members reach it; none: the address listened on.
    pub address: Option<String>,
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
    /// How long what was applied stays readable for watches that resume.
    pub history_keep: Duration,
    /// Bytes of the raft log that stay for that, and for members that lag.
    pub history_bytes_max: u64,
    /// The highest feature level that this build knows.
    pub level: Level,
    /// The audit log.
    pub audit: audit::Options,
    /// Who is served.
    pub auth: Auth,
}

/// How clients show who they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// Whether somebody is served of whom nothing is known.
    pub anonymous: Anonymous,
    /// Whether a connection without a certificate is taken.
    pub client_certificates: ClientCertificates,
    /// PEM file of the authorities that vouch for clients, with certificates and tokens; none: those that vouch for members.
    pub authority: Option<PathBuf>,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(data: PathBuf, listen: SocketAddr) -> Self {
        Self {
            member: None,
            data,
            certificates: None,
            address: None,
            listen,
            names: Vec::new(),
            advertise: Vec::new(),
            cache_bytes: TreeOptions::default().cache_bytes,
            component_bytes_max: quorate_core::limits::COMPONENT_BYTES_MAX,
            disk_reserve_bytes: limits::DISK_RESERVE_BYTES,
            history_keep: limits::HISTORY_KEEP,
            history_bytes_max: limits::HISTORY_BYTES_MAX,
            level: Level::NEWEST,
            audit: audit::Options::default(),
            auth: Auth::default(),
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
    /// The directory is of a cluster that uses what this build does not know. Nothing of it was changed.
    #[error(transparent)]
    Level(quorate_raft::LevelTooHigh),
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
    /// What the member knows of itself.
    #[error(transparent)]
    Note(#[from] mesh::NoteError),
    /// The directory is another member's.
    #[error(
        "the data directory is that of member {found}, and the configuration says member {configured}: give each member \
         a directory of its own"
    )]
    OtherMember {
        /// What the directory says.
        found: String,
        /// What the configuration says.
        configured: u64,
    },
    /// It takes no part any more: its tree differs from the others', or it has lost what it had acknowledged.
    #[error("{0}")]
    Halted(String),
    /// What it had promised is gone, and what others know of it is not.
    #[error(
        "member {member} has taken part in a cluster, and its log and its tree are gone: what it has promised to others is \
         forgotten, and it could break it; bring both back, or remove member {member} from the cluster, empty the data \
         directory, and add a new member with a number that was never used"
    )]
    Forgotten {
        /// Its number.
        member: u64,
    },
    /// Log or tree can not be read.
    #[error("log or tree can not be read: {0}")]
    Unreadable(std::io::Error),
    /// The number can not be one.
    #[error("members are numbered from 1")]
    MemberZero,
    /// Other members could not reach it.
    #[error(
        "other members can not reach {0}: set `address` to a host and port of this machine that they know"
    )]
    Address(String),
    /// The membership names no more.
    #[error("`advertise` has {0} addresses, and a member has {CLIENT_ADDRESSES_MAX} at most")]
    TooManyAddresses(usize),
    /// The first start of a cluster of one.
    #[error("{0}")]
    Initialize(Refusal),
    /// A thread.
    #[error("a thread can not be started: {0}")]
    Thread(std::io::Error),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::StartError),
}

/// A running member. To be ended with [`Member::shutdown`].
pub struct Member {
    address: SocketAddr,
    authority: PathBuf,
    number: u64,
    house: [u8; HOUSE_SECRET_BYTES],
    node: Arc<Node>,
    mesh: Arc<Mesh>,
    announcing: JoinHandle<()>,
    following: [JoinHandle<()>; 5],
    diverged: watch::Receiver<Option<String>>,
    comparing: JoinHandle<()>,
    log: Arc<Log>,
    compiler: Arc<OnceLock<Mutex<Compiler>>>,
    sequencer: SequencerHandle,
    sequencer_thread: Running,
    leadership: JoinHandle<()>,
    disk: JoinHandle<()>,
    rounds_tasks: [JoinHandle<()>; 2],
    read_calls: Arc<ReadCalls>,
    renewal_asked: Arc<Notify>,
    renewing: JoinHandle<()>,
    face: JoinHandle<()>,
    stop: watch::Sender<bool>,
    audit: Audit,
    _directory: Arc<DataDirectory>,
}

impl Member {
    /// Opens the disk, brings log and tree together, and serves clients.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    #[expect(clippy::too_many_lines, reason = "one straight list, in the order of starting")]
    pub async fn start(options: Options) -> Result<Self, StartError> {
        if options.member == Some(0) {
            return Err(StartError::MemberZero);
        }
        // First: a port that is in use must not leave a data directory and certificates behind.
        let port = Port::take(options.listen)?;
        let directory =
            DataDirectory::open(&options.data, || identity(options.member.unwrap_or(1)))?;
        let directory = Arc::new(directory);
        let member = number(&directory, options.member)?;
        halted::check(&directory).map_err(StartError::Halted)?;
        let certificates =
            options.certificates.clone().unwrap_or_else(|| options.data.join("certificates"));
        let names = names(&options);
        let clients = options.auth.authority.clone();
        let renewal = Renewal::new(certificates.clone(), names.clone(), member, clients);
        let mut identity =
            Identity::open_or_make(&certificates, &names, member, SystemTime::now())?;
        identity.clients = clients_of(&options.auth)?;
        let tree = open_tree(&directory, &options)?;
        let note = Note::open(directory.clone())?;
        let mut config =
            ServerConfig::new(options.listen, identity.server.clone(), identity.trust.clone());
        config.protocols = vec![Protocol::Client, Protocol::Member];
        config.clients.clone_from(&identity.clients);
        config.client_certificates = options.auth.client_certificates;
        let server = Server::listen(port, &config)?;
        let address = server.local_address();
        let own = own(member, &options, address)?;
        let mesh = Mesh::new(own, note, server.dialer());
        mesh.set_cluster_level(level_of_tree(&tree));
        let log = Arc::new(Log::open(
            &directory.log_path(),
            LogOptions { queue_bytes_max: limits::LOG_QUEUE_BYTES_MAX, ..LogOptions::default() },
            end_process(directory.clone()),
        )?);
        let mut random_key = [0; 32];
        getrandom::fill(&mut random_key).map_err(|error| StartError::Random(error.to_string()))?;
        let engine = Engine::new(&quorate_engine::Options {
            cache: Some(directory.path().join("compiled")),
            component_bytes_max: options.component_bytes_max,
            random_key: random_key.into(),
            ..quorate_engine::Options::default()
        })?;

        let mut house = [0; HOUSE_SECRET_BYTES];
        getrandom::fill(&mut house).map_err(|error| StartError::Random(error.to_string()))?;
        let noted = mesh.clone();
        let cluster = Box::new(move || noted.note().cluster().map(|cluster| cluster.to_string()));
        let trust = authentication::vouching(&identity);
        let authentication = Authentication::new(trust, options.auth.anonymous, house, cluster);
        let sequencer = SequencerHandle::new();
        let audit = Audit::start(&options.audit, member)?;
        let registry = Arc::new(Registry::with_audit(sequencer.clone(), audit.clone()));
        let compiler: Arc<OnceLock<Mutex<Compiler>>> = Arc::default();
        let applied_tree: Arc<OnceLock<SharedRead>> = Arc::default();
        let listener = Listener {
            registry: registry.clone(),
            sequencer: sequencer.clone(),
            mesh: mesh.clone(),
            compiler: compiler.clone(),
            tree: applied_tree.clone(),
            audit: audit.clone(),
        };
        let incoming = directory.incoming_path();
        let noting = mesh.clone();
        let store = Store {
            log: log.clone(),
            tree: Arc::new(tree),
            incoming,
            on_first_vote: Some(Arc::new(move || noting.note().take_part())),
        };
        check_not_forgotten(&store, &mesh)?;
        let mut config =
            quorate_raft::Config { level: options.level, ..quorate_raft::Config::new(member) };
        config.history_keep = options.history_keep;
        config.log_keep_bytes = options.history_bytes_max;
        let reserve_bytes = options.disk_reserve_bytes.saturating_mul(2);
        config.hold.free_bytes_min = config.hold.free_bytes_min.max(reserve_bytes);
        let network = Arc::new(RaftNetwork(mesh.clone()));
        let node = Node::start(config, store, network, listener.hears()).await?;
        let node = Arc::new(node);
        let tree = node.tree();
        let _first = applied_tree.set(tree.clone());
        registry.watches().set_tree(tree.clone());
        registry.watches().start(Arc::new(node.history()), tree.meta().zxid);
        registry.advance(tree.meta().zxid);
        let prepare = Arc::new(EnginePrepare { engine: engine.clone() });
        let started = Compiler::start(tree.clone(), prepare).map_err(StartError::Thread)?;
        let _first = compiler.set(Mutex::new(started));
        let proposer =
            Box::new(NodeProposer { member, node: node.clone(), sequencer: sequencer.clone() });
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
                rounds: rounds.clone(),
                applying_term: node.applying_term(),
            },
        )
        .map_err(StartError::Thread)?;
        let levels = Arc::new(Levels {
            own: options.level,
            node: node.clone(),
            mesh: mesh.clone(),
            tree: tree.clone(),
            sequencer: sequencer.clone(),
            changes: tokio::sync::Mutex::default(),
        });
        let told = (node.clone(), sequencer.clone(), compiler.clone(), levels.clone());
        let leadership = tokio::spawn(tell_leadership(told.0, told.1, told.2, told.3));
        let (leader_told, leader) = watch::channel(None);
        let leader_told = tokio::spawn(tell_leader(node.leader(), leader_told));
        let dial = Arc::new(MeshDial { mesh: mesh.clone(), node: node.clone() });
        let follower = Follower { member, registry: registry.clone(), dial, leader };
        let follower = tokio::spawn(follower.run());
        let free: Arc<AtomicU64> = Arc::default();
        let watch = DiskWatch {
            member,
            directory: directory.clone(),
            reserve: Reserve::of(options.disk_reserve_bytes),
            sequencer: sequencer.clone(),
            registry: registry.clone(),
            free: free.clone(),
        };
        let known = node.clone();
        let disk = tokio::spawn(watch.run(move || known.members().voters));

        let readers = std::iter::from_fn(|| engine.reader()).take(read_calls::threads());
        let readers = readers.map(|reader| Box::new(reader) as Box<dyn Recipes + Send>);
        let snapshots = node.clone();
        let snapshots = Arc::new(move || snapshots.tree_at_once());
        let read_calls =
            ReadCalls::start(readers.collect(), snapshots).map_err(StartError::Thread)?;
        let read_calls = Arc::new(read_calls);

        let (stop, stopped) = watch::channel(false);
        let surroundings = Arc::new(Around {
            engine,
            node: node.clone(),
            mesh: mesh.clone(),
            sequencer: sequencer.clone(),
            began: Instant::now(),
            free,
        });
        let around = surroundings.clone();
        let administration = Administration {
            node: node.clone(),
            mesh: mesh.clone(),
            status: Arc::new(move || around.status()),
            levels,
            handed_on: Arc::new(Semaphore::new(HANDED_ON_MAX)),
            tree: tree.clone(),
        };
        let raft = node.served();
        mesh.set_serve(Arc::new(Served {
            raft,
            node: node.clone(),
            sequencer: sequencer.clone(),
            rounds,
            administration: administration.clone(),
        }));
        if options.member.is_none() && member == 1 {
            // Asked at every start: only the log knows whether this member belongs to a cluster already.
            administration.stand_alone().await.map_err(StartError::Initialize)?;
        } else if mesh.note().cluster().is_none() {
            tracing::info!(member, "waiting to be made part of a cluster");
        }
        let announcement = administration.clone();
        let announcing = tokio::spawn(async move { announcement.announce().await });
        let standing = tokio::spawn(stand_unless_removed(node.clone(), mesh.is_removed()));
        let (told_diverged, diverged) = watch::channel(None);
        let compared = divergence::watch(node.clone(), mesh.clone(), directory.clone());
        let (mut lost, noted) = (node.lost(), directory.clone());
        let comparing = tokio::spawn(async move {
            let lost = async {
                match lost.wait_for(Option::is_some).await.map(|why| (*why).clone()) {
                    Ok(Some(why)) => {
                        halted::keep(&noted, Halt::Reverted, &why);
                        why
                    }
                    Ok(None) | Err(_) => std::future::pending().await,
                }
            };
            let why = tokio::select! {
                why = compared => why,
                why = lost => why,
            };
            told_diverged.send_replace(Some(why));
        });
        // Before there is a lane: a welcome names them.
        registry.set_members(client_addresses(mesh.own(), node.members()));
        let (told, own, lanes) = (node.clone(), mesh.own().clone(), registry.clone());
        let telling = tokio::spawn(async move {
            told.watch_members(|now| lanes.set_members(client_addresses(&own, now))).await;
        });
        let marking = tokio::spawn(watches::keep_marking(registry.watches().clone()));
        let face = Arc::new(Face {
            registry,
            sequencer: sequencer.clone(),
            reads: Reads::new(tree, surroundings),
            read_calls: read_calls.clone(),
            barrier: Arc::new(barrier),
            snapshots: Arc::new(NodeSnapshots { node: node.clone() }),
            scan_room: ScanRoom::of_member(),
            compiler: compiler.clone(),
            lane_queues: QueueBudget::new(limits::MEMBER_LANE_QUEUE_BYTES_MAX),
            agent: agent(),
            mesh: mesh.clone(),
            administration,
            audit: audit.clone(),
            authentication: Arc::new(authentication),
        });
        let (renewed, renewals) = mpsc::channel(1);
        let renewal_asked: Arc<Notify> = Arc::default();
        let renewing = tokio::spawn(renewal.watch(renewal_asked.clone(), renewed));
        let face = tokio::spawn(quic::serve(face, server, renewals, stopped));
        Ok(Self {
            address,
            authority: identity.authority_file,
            number: member,
            house,
            node,
            mesh,
            announcing,
            following: [leader_told, follower, telling, standing, marking],
            diverged,
            comparing,
            log,
            compiler,
            sequencer,
            sequencer_thread,
            leadership,
            disk,
            rounds_tasks,
            read_calls,
            renewal_asked,
            renewing,
            face,
            stop,
            audit,
            _directory: directory,
        })
    }

    /// Where clients reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its number in the cluster.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The certificate that clients must be given.
    #[must_use]
    pub fn authority_file(&self) -> &Path {
        &self.authority
    }

    /// What makes a client of this process, and of no other, somebody who may do everything. Made anew at each start.
    #[must_use]
    pub fn house_credential(&self) -> Credential {
        Credential::House(self.house)
    }

    /// Looks now whether the certificate files have changed, and not only when it would anyway.
    pub fn look_at_certificates(&self) {
        self.renewal_asked.notify_one();
    }

    /// Returns when a leader is known here, be it this member. Cancel-safe.
    pub async fn led(&self) {
        // Fails when raft has stopped: who waits learns of that from `failed`.
        if self.node.leader().wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }

    /// Returns when the member can not go on, with the reason. The process must end then.
    pub async fn failed(&self) -> String {
        let mut ended = self.sequencer_thread.ended.clone();
        let mut diverged = self.diverged.clone();
        let diverged = async {
            match diverged.wait_for(Option::is_some).await.map(|why| (*why).clone()) {
                Ok(Some(why)) => why,
                Ok(None) | Err(_) => std::future::pending().await,
            }
        };
        // Raft may have been stopped for one of the other reasons, which is then the one to tell.
        let stopped = async {
            match self.node.stopped().await {
                Some(why) => why,
                None => std::future::pending().await,
            }
        };
        let sequencer_ended = async { while ended.changed().await.is_ok() {} };
        tokio::select! {
            why = stopped => why,
            why = diverged => why,
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
        let tasks = [self.leadership, self.disk, self.announcing, self.comparing, self.renewing];
        for task in tasks.into_iter().chain(self.following).chain(self.rounds_tasks) {
            task.abort();
            // Aborted, or ended by itself: either way it lets go of the data directory.
            let _ended = task.await;
        }
        let read_calls = self.read_calls;
        if tokio::task::spawn_blocking(move || read_calls.stop()).await.is_err() {
            tracing::error!("the threads of calls that only read could not be ended");
        }
        self.sequencer.stop();
        let thread = self.sequencer_thread.thread;
        if !matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(()))) {
            tracing::error!("the sequencer's thread has panicked");
        }
        if let Some(compiler) = self.compiler.get() {
            compiler.lock().unwrap_or_else(std::sync::PoisonError::into_inner).stop();
        }
        self.node.shutdown().await;
        self.mesh.shutdown().await;
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log did not close in order; the next start replays it");
        }
        let audit = self.audit;
        if tokio::task::spawn_blocking(move || audit.stop()).await.is_err() {
            tracing::error!("the audit log could not be ended");
        }
    }
}

/// A member that was removed disturbs nobody by standing for election; one that was not after all goes on.
async fn stand_unless_removed(node: Arc<Node>, mut is_removed: watch::Receiver<bool>) {
    while is_removed.changed().await.is_ok() {
        node.stand_for_election(!*is_removed.borrow_and_update());
    }
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
