//! The connections between this member and the others: dialled when somebody needs one, kept, and made anew when they break;
//! taken from others when they are who they say. It knows who a member is, not what is said on lanes.
//!
//! Each member dials each other one that it has something to say to, unless that one has dialled it: a connection carries lanes
//! both ways, so a member that nobody can dial takes part over those that it has dialled itself. One more while a whole tree
//! is sent. Nothing is believed of a connection before both ends have said who they are and have found the
//! other to be the one that the membership names (`handshake`).

mod handshake;
mod level;
mod note;
mod peer;
mod refusals;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::level::Level;
use quorate_net::{CloseCode, Connection, Dialer, LaneLimits};
use quorate_raft::{Contact, Incarnation, Lane, LaneKind};
use quorate_wire::member::{ClusterId, Identity};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::note::{Note, NoteError};
use self::peer::Peer;
use self::refusals::Refusals;
use crate::limits;

/// What a lane is for. Numbers are frozen: they are sent. Raft's own are below 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Raft's.
    Raft(LaneKind),
    /// Requests of clients on their way to the leader, and its answers.
    Link,
    /// One command to the cluster, and what came of it.
    Administer,
    /// How the other member is.
    Status,
    /// The digests of the other member's tree.
    Digests,
}

impl Purpose {
    fn number(self) -> u8 {
        match self {
            Self::Raft(kind) => kind as u8,
            Self::Link => 16,
            Self::Administer => 17,
            Self::Status => 18,
            Self::Digests => 19,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Raft(LaneKind::Append),
            2 => Self::Raft(LaneKind::Call),
            3 => Self::Raft(LaneKind::Snapshot),
            16 => Self::Link,
            17 => Self::Administer,
            18 => Self::Status,
            19 => Self::Digests,
            _ => return None,
        })
    }

    /// What goes first on a connection: heartbeats and votes before all, entries last.
    fn priority(self) -> i32 {
        match self {
            Self::Raft(LaneKind::Call) => 10,
            Self::Link | Self::Status | Self::Administer | Self::Digests => 5,
            Self::Raft(LaneKind::Append) => 1,
            Self::Raft(LaneKind::Snapshot) => 0,
        }
    }

    /// Whole trees go on a connection of their own: their bytes would fill the windows of the others.
    fn is_bulk(self) -> bool {
        self == Self::Raft(LaneKind::Snapshot)
    }
}

/// Lanes between members carry the largest entry, and queue one.
pub(crate) const LANE_LIMITS: LaneLimits = LaneLimits {
    frame_bytes_max: quorate_raft::network::FRAME_BYTES_MAX,
    queue_bytes_max: quorate_raft::network::FRAME_BYTES_MAX + 1024 * 1024,
    queue_bytes_own: quorate_raft::network::FRAME_BYTES_MAX + 1024 * 1024,
};

/// A boxed future that may be sent.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is done with lanes of other members.
pub trait Serve: Send + Sync + 'static {
    /// Serves one lane of this member to its end.
    fn lane(&self, from: u64, purpose: Purpose, lane: Lane) -> Task<'_, ()>;

    /// What the membership says of a member, as far as is known here.
    fn contact(&self, member: u64) -> Option<Contact>;
}

/// Who this member is.
#[derive(Debug, Clone)]
pub struct Own {
    /// Its number.
    pub member: u64,
    /// Where members reach it.
    pub address: String,
    /// Where clients reach it.
    pub clients: Vec<String>,
    /// Name and version.
    pub agent: String,
    /// The highest feature level that it knows.
    pub level: Level,
}

/// A connection that another member has dialled, and its start.
struct Dialled {
    starts: u64,
    level: Level,
    connection: Connection,
}

/// The connections of one member.
pub struct Mesh {
    own: Own,
    note: Note,
    /// Taken out at the shutdown: it holds the port.
    dialer: Mutex<Option<Dialer>>,
    peers: Mutex<HashMap<PeerKey, Arc<Peer>>>,
    /// Connections that others have dialled and that were greeted, the newest last.
    dialled_here: Mutex<HashMap<(u64, Incarnation), Vec<Dialled>>>,
    /// None before the member is put together, and after its end: who serves knows the mesh, and neither would go.
    serve: Mutex<Option<Arc<dyn Serve>>>,
    /// Dials under way; ended with the mesh.
    dials: Mutex<JoinSet<()>>,
    /// Why others refuse this member; empty if they do not.
    trouble: Mutex<String>,
    /// The feature level of the cluster.
    cluster_level: watch::Sender<Level>,
    /// Whether others say that this member was removed.
    is_removed: watch::Sender<bool>,
    refusals: Mutex<Refusals>,
}

/// A connection is to one data directory at one address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PeerKey {
    member: u64,
    address: String,
    incarnation: Incarnation,
    is_bulk: bool,
}

impl Mesh {
    /// No connections yet.
    #[must_use]
    pub fn new(own: Own, note: Note, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self {
            own,
            note,
            dialer: Mutex::new(Some(dialer)),
            peers: Mutex::default(),
            dialled_here: Mutex::default(),
            serve: Mutex::default(),
            dials: Mutex::default(),
            trouble: Mutex::default(),
            cluster_level: watch::Sender::new(Level::FIRST),
            is_removed: watch::Sender::new(false),
            refusals: Mutex::default(),
        })
    }

    /// Lanes of others go there. To be called once, before the first connection is served.
    pub fn set_serve(&self, serve: Arc<dyn Serve>) {
        *lock(&self.serve) = Some(serve);
    }

    /// Who this member is.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// What it has written down.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// How this member is to be reached, for the membership.
    #[must_use]
    pub fn contact(&self) -> Contact {
        Contact {
            address: self.own.address.clone(),
            incarnation: self.note.incarnation(),
            clients: self.own.clients.clone(),
        }
    }

    /// Why others refuse this member; empty if they do not.
    #[must_use]
    pub fn trouble(&self) -> String {
        lock(&self.trouble).clone()
    }

    /// Whether others say that this member was removed from the cluster.
    #[must_use]
    pub fn is_removed(&self) -> watch::Receiver<bool> {
        self.is_removed.subscribe()
    }

    /// Opens a lane to a member. Waits for a connection if one is being made; callers bound how long. Cancel-safe: a
    /// connection that is being made goes on being made, for the next caller.
    ///
    /// # Errors
    /// Why the member is not reached; at once, while it is too soon to try again.
    pub async fn open(
        self: &Arc<Self>,
        member: u64,
        contact: &Contact,
        purpose: Purpose,
    ) -> Result<Lane, String> {
        let connection = match self.dialled_by(member, contact.incarnation) {
            Some(connection) if !purpose.is_bulk() => connection,
            _ => self.peer(member, contact, purpose.is_bulk()).connection(self).await?,
        };
        let opened = connection.open_lane_with_priority(LANE_LIMITS, purpose.priority()).await;
        let (sender, receiver) = opened.map_err(|reason| reason.to_string())?;
        let kind = Bytes::copy_from_slice(&[purpose.number()]);
        sender.send(kind).await.map_err(|error| error.to_string())?;
        Ok((sender, receiver))
    }

    /// A later start of this directory was met: the process before has ended, or is a copy that must not go on speaking for
    /// the member. Two of them would both be given the same vote.
    fn end_older(&self, key: (u64, Incarnation), starts: u64) {
        if let Some(all) = lock(&self.dialled_here).get(&key) {
            for one in all.iter().filter(|one| one.starts < starts) {
                one.connection.close(CloseCode::Normal, "a later start of this member was met");
            }
        }
        let peers = lock(&self.peers);
        for (_, peer) in peers.iter().filter(|(known, _)| (known.member, known.incarnation) == key)
        {
            peer.close_older(starts);
        }
    }

    /// A connection that this member has dialled itself: good for lanes both ways, and the only one where its network lets
    /// nobody in.
    fn dialled_by(&self, member: u64, incarnation: Incarnation) -> Option<Connection> {
        let dialled = lock(&self.dialled_here);
        let found = &dialled.get(&(member, incarnation))?.last()?.connection;
        found.close_reason().is_none().then(|| found.clone())
    }

    /// Asks who answers at an address, as the member with this number.
    ///
    /// # Errors
    /// Why nobody does, or not as that member.
    pub async fn probe(self: &Arc<Self>, member: u64, address: &str) -> Result<Identity, String> {
        let connection = self.dial(address, member).await?;
        let asked = timeout(limits::HELLO_TIMEOUT, self.greet(&connection, member, None)).await;
        connection.close(CloseCode::Normal, "");
        match asked {
            Ok(Ok(identity)) => Ok(identity),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("{address} does not answer as a member")),
        }
    }

    /// Serves a connection that another member has opened, to its end or until told to stop.
    pub async fn serve(self: Arc<Self>, connection: Connection, mut stop: watch::Receiver<bool>) {
        let from = match timeout(limits::HELLO_TIMEOUT, self.be_greeted(&connection)).await {
            Ok(Ok(Some(from))) => from,
            Ok(Ok(None)) => {
                let _closed = timeout(limits::FAREWELL, connection.closed()).await;
                return;
            }
            Ok(Err(why)) => {
                let said = lock(&self.refusals).say(&why, Instant::now());
                if let Some(kept_back) = said {
                    tracing::warn!(remote = %connection.remote_address(), why, kept_back, "a member is refused");
                }
                // The other side closes when it has read why; this one when it does not.
                let _closed = timeout(limits::FAREWELL, connection.closed()).await;
                connection.close(CloseCode::ProtocolError, &why);
                return;
            }
            Err(_) => {
                connection.close(CloseCode::ProtocolError, "no hello in time");
                return;
            }
        };
        let key = (from.member, Incarnation(from.incarnation));
        self.end_older(key, from.starts);
        let level = from.level;
        let dialled = Dialled { starts: from.starts, level, connection: connection.clone() };
        lock(&self.dialled_here).entry(key).or_default().push(dialled);
        // It may have risen between the hello and now.
        if level < self.level() {
            connection.close(CloseCode::Normal, level::TOO_OLD);
        }
        tokio::select! {
            () = self.serve_lanes(key.0, &connection) => {}
            _ = stop.changed() => {}
        }
        let mut dialled = lock(&self.dialled_here);
        if let Some(all) = dialled.get_mut(&key) {
            all.retain(|one| !one.connection.is_same(&connection));
            if all.is_empty() {
                dialled.remove(&key);
            }
        }
        drop(dialled);
        connection.close(CloseCode::Normal, "");
    }

    /// Serves the lanes that a member opens on a connection, whoever has dialled it, to its end.
    async fn serve_lanes(&self, from: u64, connection: &Connection) {
        let mut lanes = JoinSet::new();
        loop {
            tokio::select! {
                lane = connection.accept_lane(LANE_LIMITS) => {
                    let (Ok(lane), Some(serve)) = (lane, self.served_by()) else { break };
                    lanes.spawn(take_lane(serve, from, lane));
                }
                Some(ended) = lanes.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!(%error, from, "a lane of a member has panicked; the others go on");
                    }
                }
            }
        }
        lanes.shutdown().await;
    }

    /// Ends all that this mesh has begun.
    pub async fn shutdown(&self) {
        drop(lock(&self.serve).take());
        let mut dials = std::mem::take(&mut *lock(&self.dials));
        dials.shutdown().await;
        let peers = std::mem::take(&mut *lock(&self.peers));
        for peer in peers.into_values() {
            peer.close();
        }
        lock(&self.dialled_here).clear();
        lock(&self.dialer).take();
    }

    async fn dial(&self, address: &str, member: u64) -> Result<Connection, String> {
        let dialer = lock(&self.dialer).clone();
        let dialer = dialer.ok_or("this member is shutting down")?;
        dialer.dial(address, member).await.map_err(|error| error.to_string())
    }

    fn peer(&self, member: u64, contact: &Contact, is_bulk: bool) -> Arc<Peer> {
        let key = PeerKey {
            member,
            address: contact.address.clone(),
            incarnation: contact.incarnation,
            is_bulk,
        };
        let mut peers = lock(&self.peers);
        if let Some(peer) = peers.get(&key) {
            return Arc::clone(peer);
        }
        // Other addresses or directories of that member are of the past.
        peers.retain(|known, peer| {
            let is_kept = known.member != member || known.is_bulk != is_bulk;
            if !is_kept {
                peer.close();
            }
            is_kept
        });
        let peer = Arc::new(Peer::new(member, contact));
        peers.insert(key, Arc::clone(&peer));
        peer
    }

    fn served_by(&self) -> Option<Arc<dyn Serve>> {
        lock(&self.serve).clone()
    }

    /// Runs a dial beside its callers.
    fn spawn(&self, dial: impl Future<Output = ()> + Send + 'static) {
        let mut dials = lock(&self.dials);
        while dials.try_join_next().is_some() {}
        dials.spawn(dial);
    }

    fn identity(&self) -> Identity {
        Identity {
            member: self.own.member,
            cluster: self.note.cluster(),
            incarnation: self.note.incarnation().0,
            starts: self.note.starts(),
            life: self.note.life(),
            clients: self.own.clients.clone(),
            agent: self.own.agent.clone(),
            level: self.own.level,
        }
    }

    /// Others say that this member was removed.
    fn removed(&self, why: &str) {
        if !self.is_removed.send_replace(true) {
            tracing::warn!(
                why,
                "this member was removed from its cluster: stop it; to let this machine take part again, empty the data \
                 directory and add it with a number that was never used"
            );
        }
        why.clone_into(&mut lock(&self.trouble));
    }

    fn set_trouble(&self, why: &str) {
        let mut trouble = lock(&self.trouble);
        if *trouble != why {
            if !why.is_empty() {
                tracing::error!(why, "other members refuse this one");
            }
            why.clone_into(&mut trouble);
        }
    }
}

/// The mesh as raft wants it.
pub struct RaftNetwork(pub Arc<Mesh>);

impl quorate_raft::Network for RaftNetwork {
    fn open<'a>(
        &'a self,
        member: u64,
        contact: &'a Contact,
        kind: LaneKind,
    ) -> Task<'a, Result<Lane, String>> {
        Box::pin(async move {
            // Raft keeps the contact with which it began to replicate; the membership may name a newer address since.
            let named = self.0.served_by().and_then(|serve| serve.contact(member));
            let named = named.filter(|named| named.incarnation == contact.incarnation);
            self.0.open(member, named.as_ref().unwrap_or(contact), Purpose::Raft(kind)).await
        })
    }
}

async fn take_lane(serve: Arc<dyn Serve>, from: u64, (sender, mut receiver): Lane) {
    let first = match timeout(limits::HELLO_TIMEOUT, receiver.recv()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None) | Err(_)) | Err(_) => return,
    };
    let purpose = (first.len() == 1).then(|| Purpose::from_number(first[0])).flatten();
    match purpose {
        Some(purpose) => {
            sender.set_priority(purpose.priority());
            serve.lane(from, purpose, (sender, receiver)).await;
        }
        None => tracing::warn!(
            from,
            "a lane for an unknown purpose: the member may be newer than this one"
        ),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new cluster's id.
///
/// # Errors
/// The operating system has no random bytes.
pub fn new_cluster() -> Result<ClusterId, Refusal> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Refusal::new(ErrorCode::Internal, format!("no random bytes for a cluster's id: {error}"))
    })?;
    Ok(ClusterId(random))
}
