//! Each fault, seen with plain UDP, and a QUIC client that gets its answers through them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quorate_net::{
    Client, ClientConfig, Connection, Identity, LaneLimits, Protocol, Server, ServerConfig,
};
use quorate_relay::{Direction, Faults, Relay};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);
const COUNT: u16 = 400;

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing came before the deadline")
}

/// Looks again and again until there is something, which must be before the deadline.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let mut look_again = tokio::time::interval(Duration::from_millis(1));
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "not before the deadline: {what}");
        tokio::task::yield_now().await;
        look_again.tick().await;
    }
}

/// A peer, the relay, and a target, both with plain sockets that never block.
struct Plain {
    peer: UdpSocket,
    relay: Relay,
    target: UdpSocket,
}

impl Plain {
    async fn new(seed: u64) -> Self {
        let (peer, target) = (socket(), socket());
        let relay = Relay::start(target.local_addr().unwrap(), seed).await.unwrap();
        Self { peer, relay, target }
    }

    /// Sends a number and waits until the relay has dealt with it.
    async fn send(&self, number: u16) {
        let seen = self.relay.seen_count(Direction::ToTarget);
        self.peer.send_to(&number.to_le_bytes(), self.relay.address()).unwrap();
        self.dealt_with(Direction::ToTarget, seen).await;
    }

    async fn answer(&self, number: u16, to: SocketAddr) {
        let seen = self.relay.seen_count(Direction::FromTarget);
        self.target.send_to(&number.to_le_bytes(), to).unwrap();
        self.dealt_with(Direction::FromTarget, seen).await;
    }

    async fn dealt_with(&self, direction: Direction, seen: u64) {
        let look = || (self.relay.seen_count(direction) > seen).then_some(());
        until("the relay has seen it", look).await;
    }

    /// Sends 0 to COUNT - 1 under the faults; what the target gets, `expected` at least.
    async fn numbers(&self, faults: Faults, expected: usize) -> Vec<u16> {
        self.relay.set(Direction::ToTarget, faults);
        let mut got = Vec::new();
        for number in 0..COUNT {
            self.send(number).await;
            got.extend(std::iter::from_fn(|| try_receive(&self.target)).map(|(number, _)| number));
        }
        while got.len() < expected {
            got.push(receive(&self.target).await.0);
        }
        got
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

async fn receive(socket: &UdpSocket) -> (u16, SocketAddr) {
    until("a datagram", || try_receive(socket)).await
}

fn try_receive(socket: &UdpSocket) -> Option<(u16, SocketAddr)> {
    let mut bytes = [0; 2];
    let (_, from) = socket.recv_from(&mut bytes).ok()?;
    Some((u16::from_le_bytes(bytes), from))
}

#[tokio::test]
async fn without_faults_all_comes_once_and_in_order_and_back() {
    let plain = Plain::new(1).await;
    assert_eq!(plain.numbers(Faults::default(), 0).await, (0..COUNT).collect::<Vec<u16>>());
    plain.send(7).await;
    let (number, from) = receive(&plain.target).await;
    plain.answer(number, from).await;
    assert_eq!(receive(&plain.peer).await, (7, plain.relay.address()));
}

#[tokio::test]
async fn loss_is_decided_by_the_seed() {
    let lossy = Faults { loss_per_mille: 300, ..Faults::default() };
    let mut got = Vec::new();
    for seed in [1, 1, 2] {
        got.push(Plain::new(seed).await.numbers(lossy, 0).await);
    }
    assert_eq!(got[0], got[1]);
    assert_ne!(got[0], got[2]);
    assert!((220..340).contains(&got[0].len()), "{} of {COUNT}", got[0].len());
}

#[tokio::test]
async fn some_come_twice() {
    let doubled = Faults { duplicate_per_mille: 300, ..Faults::default() };
    let got = Plain::new(3).await.numbers(doubled, 0).await;
    let twice = got.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((60..180).contains(&twice), "{twice} of {COUNT}");
    assert_eq!(got.len(), usize::from(COUNT) + twice);
}

#[tokio::test]
async fn some_are_overtaken_and_none_is_lost() {
    let reordered = Faults { reorder_per_mille: 300, ..Faults::default() };
    let mut got = Plain::new(4).await.numbers(reordered, usize::from(COUNT)).await;
    assert!(!got.is_sorted());
    got.sort_unstable();
    assert_eq!(got, (0..COUNT).collect::<Vec<u16>>());
}

#[tokio::test]
async fn a_delay_is_waited_for() {
    let plain = Plain::new(5).await;
    let delay = Duration::from_millis(50);
    plain.relay.set_both(Faults { delay, jitter: delay, ..Faults::default() });
    let started = Instant::now();
    plain.send(1).await;
    let (_, from) = receive(&plain.target).await;
    assert!(started.elapsed() >= delay);
    plain.answer(2, from).await;
    assert_eq!(receive(&plain.peer).await.0, 2);
    assert!(started.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn one_peer_is_cut_and_the_others_are_not() {
    let plain = Plain::new(6).await;
    let other = socket();
    plain.relay.set_for(plain.peer.local_addr().unwrap(), Some(Faults::CUT));
    plain.send(1).await;
    other.send_to(&2u16.to_le_bytes(), plain.relay.address()).unwrap();
    let (number, from) = receive(&plain.target).await;
    assert_eq!(number, 2);
    plain.answer(3, from).await;
    assert_eq!(receive(&other).await.0, 3);
    plain.relay.set_both(Faults::CUT);
    plain.relay.set_for(plain.peer.local_addr().unwrap(), Some(Faults::default()));
    plain.send(4).await;
    assert_eq!(receive(&plain.target).await.0, 4);
    plain.relay.set_for(plain.peer.local_addr().unwrap(), None);
    plain.relay.set_both(Faults::default());
    plain.send(5).await;
    assert_eq!(receive(&plain.target).await.0, 5);
}

#[tokio::test]
async fn a_cut_is_of_one_direction_or_both_and_heals() {
    let plain = Plain::new(6).await;
    plain.send(1).await;
    let (_, from) = receive(&plain.target).await;
    plain.relay.set(Direction::FromTarget, Faults::CUT);
    plain.answer(2, from).await;
    // The other way is open.
    plain.send(3).await;
    assert_eq!(receive(&plain.target).await.0, 3);
    assert_eq!(try_receive(&plain.peer), None);
    plain.relay.set_both(Faults::CUT);
    plain.send(4).await;
    assert_eq!(try_receive(&plain.target), None);
    plain.relay.set_both(Faults::default());
    plain.send(5).await;
    assert_eq!(receive(&plain.target).await.0, 5);
    plain.answer(6, from).await;
    assert_eq!(receive(&plain.peer).await.0, 6);
}

#[tokio::test]
async fn after_a_rebind_the_target_sees_another_address() {
    let plain = Plain::new(7).await;
    plain.send(1).await;
    let (_, before) = receive(&plain.target).await;
    plain.relay.rebind().await;
    plain.send(2).await;
    let (number, after) = receive(&plain.target).await;
    assert_eq!(number, 2);
    assert_ne!(before, after);
    plain.answer(3, after).await;
    assert_eq!(receive(&plain.peer).await.0, 3);
}

#[tokio::test]
async fn a_client_gets_its_answers_through_loss_and_changes_of_address() {
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = ServerConfig::new(listen, identity.server.clone(), identity.trust.clone());
    let mut server = Server::bind(&config).unwrap();
    let relay = Relay::start(server.local_address(), 8).await.unwrap();
    let lossy = Faults { loss_per_mille: 200, ..Faults::default() };
    relay.set_both(lossy);
    let patient = ClientConfig { connect_timeout: DEADLINE, ..ClientConfig::default() };
    let client = Client::bind(patient).unwrap();
    let connecting =
        client.connect(relay.address(), "localhost", &identity.trust, Protocol::Client);
    let (connected, accepted) = within(async { tokio::join!(connecting, server.accept()) }).await;
    let accepted = accepted.unwrap();
    let first_address = accepted.remote_address();
    let echo = tokio::spawn(echo(accepted.clone()));

    let limits = LaneLimits::default();
    let (sender, mut receiver) = connected.unwrap().open_lane(limits).await.unwrap();
    for number in 0..60_u8 {
        if number % 20 == 19 {
            relay.rebind().await;
        }
        let frame = Bytes::from(vec![number; 3000]);
        sender.send(frame.clone()).await.unwrap();
        assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), frame);
    }
    assert_ne!(accepted.remote_address(), first_address);
    echo.abort();
}

async fn echo(connection: Connection) {
    let (sender, mut receiver) = connection.accept_lane(LaneLimits::default()).await.unwrap();
    while let Ok(Some(frame)) = receiver.recv().await {
        sender.send(frame).await.unwrap();
    }
}
