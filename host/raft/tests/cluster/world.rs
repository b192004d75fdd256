//! Members with their own runtimes, ports and certificates, and a network between them that can be cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::Epoch;
use quorate_net::{
    CloseCode, Connection, Dialer, Identity, LaneLimits, Protocol, Server, ServerConfig,
};
use quorate_raft::network::FRAME_BYTES_MAX;
use quorate_raft::{
    Config, Contact, Lane, LaneKind, Leadership, Network, Node, ProposeResult, Store,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::rig::{DEADLINE, Script, open, path};

const LIMITS: LaneLimits = LaneLimits {
    frame_bytes_max: FRAME_BYTES_MAX,
    queue_bytes_max: 2 * FRAME_BYTES_MAX,
    queue_bytes_own: 2 * FRAME_BYTES_MAX,
};

/// Pairs of members that hear nothing of each other.
type Cuts = Arc<watch::Sender<BTreeSet<(u64, u64)>>>;

/// The members of one test.
pub struct World {
    directory: TempDir,
    cuts: Cuts,
    pub members: BTreeMap<u64, Life>,
    contacts: BTreeMap<u64, Contact>,
    ways: BTreeMap<u64, Arc<Ways>>,
    /// The last epoch that was opened.
    epoch: AtomicU64,
    configure: fn(&mut Config),
    /// Lanes on which whole trees are sent.
    pub trees: Gate,
}

/// Lets things through one by one, or all.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<Passing>>);

struct Passing {
    /// That came.
    arrived: u64,
    /// That may go on.
    let_through: u64,
}

impl Gate {
    fn open() -> Self {
        Self(Arc::new(watch::Sender::new(Passing { arrived: 0, let_through: u64::MAX })))
    }

    /// From now on, what comes waits to be let through.
    pub fn close(&self) {
        self.0.send_modify(|passing| passing.let_through = passing.arrived);
    }

    pub fn let_one_through(&self) {
        self.0.send_modify(|passing| passing.let_through += 1);
    }

    pub fn arrived(&self) -> u64 {
        self.0.borrow().arrived
    }

    async fn pass(&self) {
        let mut own = 0;
        self.0.send_modify(|passing| {
            own = passing.arrived;
            passing.arrived += 1;
        });
        let mut passing = self.0.subscribe();
        passing.wait_for(|passing| passing.let_through > own).await.expect("the gate is held");
    }
}

/// A running member. Dropping it kills it.
pub struct Life {
    pub runtime: Runtime,
    pub node: Arc<Node>,
    _store: Store,
}

/// Dials for one member, unless the way is cut.
struct Ways {
    own: u64,
    dialer: OnceLock<Dialer>,
    cuts: Cuts,
    connections: Mutex<HashMap<u64, Connection>>,
}

impl Ways {
    fn is_cut(&self, member: u64) -> bool {
        let pair = (self.own.min(member), self.own.max(member));
        self.cuts.borrow().contains(&pair)
    }

    async fn connection(&self, member: u64, address: &str) -> Result<Connection, String> {
        if self.is_cut(member) {
            return Err("cut".to_owned());
        }
        let known = self.connections.lock().expect("sound").get(&member).cloned();
        if let Some(known) = known.filter(|known| known.close_reason().is_none()) {
            return Ok(known);
        }
        let dialer = self.dialer.get().ok_or("not ready")?;
        let made = dialer.dial(address, member).await.map_err(|error| error.to_string())?;
        self.connections.lock().expect("sound").insert(member, made.clone());
        Ok(made)
    }
}

impl Network for Ways {
    fn open<'a>(
        &'a self,
        member: u64,
        contact: &'a Contact,
        kind: LaneKind,
    ) -> BoxFuture<'a, Result<Lane, String>> {
        Box::pin(async move {
            let connection = self.connection(member, &contact.address).await?;
            let lane = connection.open_lane(LIMITS).await.map_err(|error| error.to_string())?;
            let head = [kind as u8, u8::try_from(self.own).expect("small")];
            let head = Bytes::copy_from_slice(&head);
            lane.0.send(head).await.map_err(|error| error.to_string())?;
            Ok(lane)
        })
    }
}

impl World {
    /// A cluster of this many voters, of which one leads.
    pub fn of(voters: u64) -> Self {
        Self::configured(voters, |_| ())
    }

    /// The same, of members that are not configured as usual.
    pub fn configured(voters: u64, configure: fn(&mut Config)) -> Self {
        let mut world = Self {
            directory: tempfile::tempdir().expect("a directory"),
            cuts: Arc::new(watch::Sender::new(BTreeSet::new())),
            members: BTreeMap::new(),
            contacts: BTreeMap::new(),
            ways: BTreeMap::new(),
            epoch: AtomicU64::new(0),
            configure,
            trees: Gate::open(),
        };
        for member in 1..=voters {
            world.start(member);
        }
        let first = &world.members[&1];
        first.runtime.block_on(first.node.initialize(world.contacts.clone())).expect("initialized");
        world.leader();
        world
    }

    pub fn path(&self, member: u64) -> PathBuf {
        self.directory.path().join(member.to_string())
    }

    pub fn contact(&self, member: u64) -> Contact {
        self.contacts[&member].clone()
    }

    fn identity(&self, member: u64) -> Identity {
        let own = self.directory.path().join(format!("certificates-{member}"));
        let first = self.directory.path().join("certificates-1");
        if member != 1 && !own.exists() {
            std::fs::create_dir_all(&own).expect("a directory");
            for file in ["ca.pem", "ca-key.pem"] {
                std::fs::copy(first.join(file), own.join(file)).expect("copied");
            }
        }
        Identity::open_or_make(&own, &[], member, SystemTime::now()).expect("certificates")
    }

    /// Starts a member that may have lived before, at the address that it had.
    pub fn start(&mut self, member: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(2).enable_all().build().expect("a runtime");
        let entered = runtime.enter();
        let known = self.contacts.get(&member).map(|contact| contact.address.clone());
        let listen = known.unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse().expect("valid");
        let identity = self.identity(member);
        let mut config = ServerConfig::new(listen, identity.server, identity.trust);
        config.protocols = vec![Protocol::Member];
        let server = Server::bind(&config).expect("a port");
        let address = server.local_address().to_string();
        self.contacts.insert(member, Contact { address, ..Contact::default() });
        let ways = Arc::new(Ways {
            own: member,
            dialer: OnceLock::new(),
            cuts: Arc::clone(&self.cuts),
            connections: Mutex::default(),
        });
        ways.dialer.set(server.dialer()).ok();
        self.ways.insert(member, Arc::clone(&ways));
        std::fs::create_dir_all(self.path(member)).expect("a directory");
        let store = open(&self.path(member));
        let listener = Box::new(|_applied| ());
        let (mut config, network) = (Config::new(member), Arc::clone(&ways));
        (self.configure)(&mut config);
        let started = Node::start(config, store.clone(), network, listener);
        let node = Arc::new(runtime.block_on(started).expect("started"));
        runtime.spawn(serve(server, Arc::clone(&node), ways, self.trees.clone()));
        drop(entered);
        self.members.insert(member, Life { runtime, node, _store: store });
    }

    /// Kills a member: nothing is flushed by it.
    pub fn kill(&mut self, member: u64) {
        let Life { runtime, node, _store: store } = self.members.remove(&member).expect("it runs");
        drop(node);
        runtime.shutdown_timeout(DEADLINE);
        drop(store);
        // It holds the port.
        self.ways.remove(&member);
    }

    /// Cuts the ways between a member and all others.
    pub fn isolate(&self, member: u64) {
        let pairs = self.contacts.keys().map(|other| (member.min(*other), member.max(*other)));
        self.cuts.send_modify(|cuts| cuts.extend(pairs));
        let cuts = self.cuts.borrow();
        for ways in self.ways.values() {
            ways.connections.lock().expect("sound").retain(|to, connection| {
                let is_kept = !cuts.contains(&(ways.own.min(*to), ways.own.max(*to)));
                if !is_kept {
                    connection.close(CloseCode::Normal, "cut");
                }
                is_kept
            });
        }
    }

    pub fn heal(&self) {
        self.cuts.send_modify(BTreeSet::clear);
    }

    /// Waits until a member leads that can reach a majority; gives its number.
    pub fn leader(&self) -> u64 {
        self.leader_among(&self.members.keys().copied().collect::<Vec<_>>())
    }

    pub fn leader_among(&self, members: &[u64]) -> u64 {
        wait(|| {
            let leads = |member: &&u64| {
                let node = &self.members[member].node;
                node.leadership().borrow().is_some()
            };
            let mut leaders: Vec<u64> = members.iter().filter(leads).copied().collect();
            // The one of the highest term: another may not know yet that it is deposed.
            leaders.sort_by_key(|member| self.members[member].node.metrics().term);
            leaders.pop()
        })
    }

    pub fn leadership(&self, member: u64) -> Leadership {
        let leadership = *self.members[&member].node.leadership().borrow();
        leadership.expect("it leads")
    }

    /// Opens an epoch at the leader and creates znodes of these names, one entry each; all are taken.
    pub fn write(&self, leader: u64, names: &[&str]) {
        let node = &self.members[&leader].node;
        let leadership = self.leadership(leader);
        let zxid = node.tree().meta().zxid;
        let epoch = Epoch(self.epoch.fetch_add(1, Ordering::Relaxed) + 1);
        let mut script = Script { term: leadership.term, epoch, zxid };
        let mut proposed = vec![node.propose(script.barrier(), leadership)];
        for name in names {
            proposed.push(node.propose(script.create([*name]), leadership));
        }
        for one in proposed {
            let result = one.wait();
            assert!(matches!(result, ProposeResult::Taken { .. }), "{result:?}");
        }
    }

    /// All members but this one, by their numbers.
    pub fn others(&self, member: u64) -> Vec<u64> {
        self.members.keys().copied().filter(|other| *other != member).collect()
    }

    /// Waits until all running members have a znode, and the same digest.
    pub fn agree_on(&self, name: &str) {
        wait(|| {
            let metas = self.members.values().map(|life| life.node.tree().meta());
            let digests: BTreeSet<(u64, u128)> =
                metas.map(|meta| (meta.zxid.0, meta.digest)).collect();
            let has = |life: &Life| life.node.tree().node(&path(name)).is_some();
            (digests.len() == 1 && self.members.values().all(has)).then_some(())
        });
    }
}

async fn serve(mut server: Server, node: Arc<Node>, ways: Arc<Ways>, trees: Gate) {
    while let Some(connection) = server.accept().await {
        let (served, ways, trees) = (node.served(), Arc::clone(&ways), trees.clone());
        tokio::spawn(async move {
            while let Ok((sender, mut receiver)) = connection.accept_lane(LIMITS).await {
                let Ok(Some(head)) = receiver.recv().await else { continue };
                if ways.is_cut(u64::from(head[1])) {
                    connection.close(CloseCode::Normal, "cut");
                    return;
                }
                let kind = match head[0] {
                    1 => LaneKind::Append,
                    2 => LaneKind::Call,
                    _ => LaneKind::Snapshot,
                };
                let (served, from, ways) = (served.clone(), head[1], Arc::clone(&ways));
                let trees = trees.clone();
                tokio::spawn(async move {
                    if kind == LaneKind::Snapshot {
                        trees.pass().await;
                    }
                    let pair = (ways.own.min(u64::from(from)), ways.own.max(u64::from(from)));
                    let mut cuts = ways.cuts.subscribe();
                    tokio::select! {
                        () = served.lane(kind, (sender, receiver)) => {}
                        _ = cuts.wait_for(|cuts| cuts.contains(&pair)) => {}
                    }
                });
            }
        });
    }
}

/// Looks until there is something.
pub fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
