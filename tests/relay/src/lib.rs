//! A UDP relay for tests of faults: between peers and a target it loses, delays, doubles and reorders datagrams, cuts either
//! direction, and changes the address under which the target sees its peers. It does not know what is in them.
//!
//! What happens to the n-th datagram of a direction is decided by the seed and the settings alone; which datagram is the n-th
//! is the sockets' to say.
#![forbid(unsafe_code)]

mod chance;
mod held;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::held::{Datagram, Held};

/// Peers at once; datagrams of more are dropped. A test has a handful.
pub const SOURCES_MAX: usize = 64;

/// Datagrams that wait for their time; more are dropped, as a router does. 6 MB of full packets.
pub const HELD_MAX: usize = 4096;

/// How long a reordered datagram waits beyond the others: dozens of loopback round trips.
pub const REORDER_HOLD: Duration = Duration::from_millis(5);

/// Bytes of the largest datagram; QUIC's are below 1500, and loopback takes 64 KiB.
const DATAGRAM_BYTES_MAX: usize = 64 * 1024;

/// Datagrams from the target that wait for the relaying task.
const ARRIVED_MAX: usize = 64;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a peer to the target.
    ToTarget,
    /// From the target to a peer.
    FromTarget,
}

/// What happens to the datagrams of a direction. All zero: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of 1000 datagrams, those lost. From 1000 on, the direction is cut.
    pub loss_per_mille: u16,
    /// Of 1000 datagrams, those sent twice.
    pub duplicate_per_mille: u16,
    /// Of 1000 datagrams, those held back [`REORDER_HOLD`] longer, so that others overtake them.
    pub reorder_per_mille: u16,
    /// How long each datagram waits.
    pub delay: Duration,
    /// How much longer it waits at most.
    pub jitter: Duration,
}

impl Faults {
    /// Nothing comes through.
    pub const CUT: Self = Self {
        loss_per_mille: 1000,
        duplicate_per_mille: 0,
        reorder_per_mille: 0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
    };
}

/// The faults of each direction: for everybody, and for those peers that have their own.
#[derive(Debug, Default)]
struct Settings {
    all: [Faults; 2],
    of_peers: BTreeMap<SocketAddr, [Faults; 2]>,
}

/// A relay on loopback. Dropped, it ends at once, with what it holds.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    settings: Arc<Mutex<Settings>>,
    seen: Arc<[AtomicU64; 2]>,
    rebinds: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to `target`, from a free port of IPv4 loopback, without faults. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(target: SocketAddr, seed: u64) -> io::Result<Self> {
        let front = Arc::new(bind().await?);
        let address = front.local_addr()?;
        let settings: Arc<Mutex<Settings>> = Arc::default();
        let seen: Arc<[AtomicU64; 2]> = Arc::default();
        let (rebinds, rebind_asked) = mpsc::channel(1);
        let (arrivals, arrived) = mpsc::channel(ARRIVED_MAX);
        let relaying = Relaying {
            front,
            target,
            settings: Arc::clone(&settings),
            seen: Arc::clone(&seen),
            chances: [Chance::new(seed), Chance::new(!seed)],
            sources: BTreeMap::new(),
            arrivals,
            held: Held::default(),
        };
        let task = tokio::spawn(relaying.run(rebind_asked, arrived));
        Ok(Self { address, settings, seen, rebinds, task })
    }

    /// What peers send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults of a direction, for the datagrams that come from now on.
    pub fn set(&self, direction: Direction, faults: Faults) {
        lock(&self.settings).all[direction as usize] = faults;
    }

    /// Sets the faults of both directions.
    pub fn set_both(&self, faults: Faults) {
        lock(&self.settings).all = [faults; 2];
    }

    /// Sets the faults of one peer, which count instead of those of all; none: it is again as the others.
    pub fn set_for(&self, peer: SocketAddr, faults: Option<Faults>) {
        let mut settings = lock(&self.settings);
        match faults {
            Some(faults) => drop(settings.of_peers.insert(peer, [faults; 2])),
            None => drop(settings.of_peers.remove(&peer)),
        }
    }

    /// How many datagrams of a direction have been dealt with: sent, lost, or held for their time.
    #[must_use]
    pub fn seen_count(&self, direction: Direction) -> u64 {
        self.seen[direction as usize].load(Ordering::Acquire)
    }

    /// From here on, the target sees each peer under a new address, as after a router's restart: what it sends to the old
    /// ones is lost, and it learns the new one from the peer's next datagram.
    pub async fn rebind(&self) {
        let (done, is_done) = oneshot::channel();
        // Fails only if the task has ended, by a panic that its owner sees elsewhere.
        if self.rebinds.send(done).await.is_ok() {
            is_done.await.ok();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(settings: &Mutex<Settings>) -> std::sync::MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn bind() -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

/// A peer's socket towards the target, and the task that reads it.
struct Source {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The task behind a [`Relay`].
struct Relaying {
    front: Arc<UdpSocket>,
    target: SocketAddr,
    settings: Arc<Mutex<Settings>>,
    seen: Arc<[AtomicU64; 2]>,
    chances: [Chance; 2],
    sources: BTreeMap<SocketAddr, Source>,
    arrivals: mpsc::Sender<(SocketAddr, Vec<u8>)>,
    held: Held,
}

impl Relaying {
    async fn run(
        mut self,
        mut rebind_asked: mpsc::Receiver<oneshot::Sender<()>>,
        mut arrived: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    ) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let front = Arc::clone(&self.front);
        loop {
            let due = self.held.next_due();
            tokio::select! {
                Some(done) = rebind_asked.recv() => {
                    self.sources.clear();
                    done.send(()).ok();
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    while let Some(datagram) = self.held.poll_due(Instant::now()) {
                        self.send(datagram).await;
                    }
                }
                Some((peer, bytes)) = arrived.recv() => {
                    self.relay(Direction::FromTarget, peer, bytes).await;
                }
                // An error is a report of an earlier datagram that nobody took.
                received = front.recv_from(&mut buffer) => if let Ok((count, peer)) = received {
                    self.relay(Direction::ToTarget, peer, buffer[..count].to_vec()).await;
                }
            }
        }
    }

    async fn relay(&mut self, direction: Direction, peer: SocketAddr, bytes: Vec<u8>) {
        self.take(direction, peer, bytes).await;
        self.seen[direction as usize].fetch_add(1, Ordering::Release);
    }

    async fn take(&mut self, direction: Direction, peer: SocketAddr, bytes: Vec<u8>) {
        let faults = {
            let settings = lock(&self.settings);
            settings.of_peers.get(&peer).unwrap_or(&settings.all)[direction as usize]
        };
        let chance = &mut self.chances[direction as usize];
        let is_lost = chance.happens(faults.loss_per_mille);
        let is_doubled = chance.happens(faults.duplicate_per_mille);
        let is_reordered = chance.happens(faults.reorder_per_mille);
        let wait = faults.delay + chance.part_of(faults.jitter);
        if is_lost {
            return;
        }
        let wait = if is_reordered { wait + REORDER_HOLD } else { wait };
        for _ in 0..=u8::from(is_doubled) {
            let datagram = Datagram { direction, peer, bytes: bytes.clone() };
            if wait.is_zero() {
                self.send(datagram).await;
            } else {
                self.held.push(Instant::now() + wait, datagram);
            }
        }
    }

    /// What the network would not take is lost, as it is there.
    async fn send(&mut self, datagram: Datagram) {
        let Datagram { direction, peer, bytes } = datagram;
        match direction {
            Direction::FromTarget => {
                self.front.send_to(&bytes, peer).await.ok();
            }
            Direction::ToTarget => {
                if let Some(socket) = self.socket_of(peer).await {
                    socket.send_to(&bytes, self.target).await.ok();
                }
            }
        }
    }

    async fn socket_of(&mut self, peer: SocketAddr) -> Option<Arc<UdpSocket>> {
        if let Some(source) = self.sources.get(&peer) {
            return Some(Arc::clone(&source.socket));
        }
        if self.sources.len() >= SOURCES_MAX {
            return None;
        }
        let socket = Arc::new(bind().await.ok()?);
        let reader = tokio::spawn(read(Arc::clone(&socket), peer, self.arrivals.clone()));
        self.sources.insert(peer, Source { socket: Arc::clone(&socket), reader });
        Some(socket)
    }
}

async fn read(
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
    arrivals: mpsc::Sender<(SocketAddr, Vec<u8>)>,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is a report of an earlier datagram that nobody took.
        if let Ok((count, _)) = socket.recv_from(&mut buffer).await
            && arrivals.send((peer, buffer[..count].to_vec())).await.is_err()
        {
            return;
        }
    }
}
