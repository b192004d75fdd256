//! Peers that mean harm, or nothing at all: garbage, floods of handshakes, connections that say
//! nothing.

use std::net::UdpSocket;
use std::time::Duration;

use quorate_net::lane::LaneLimits;
use quorate_net::{ClientConfig, Protocol};

use crate::rig::{DEADLINE, Rig, raw_endpoint, until, within};

#[tokio::test]
async fn garbage_is_ignored() {
    let mut rig = Rig::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A fixed generator: the same garbage each time.
    let mut random = 1_u32;
    for bytes in (0..1500).step_by(7) {
        let mut datagram = vec![0; bytes];
        for byte in &mut datagram {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = random.to_be_bytes()[0];
        }
        if let Some(first) = datagram.first_mut() {
            // Half of it looks like the first packet of a connection.
            *first = if bytes % 2 == 0 { 0xc0 } else { *first };
        }
        socket.send_to(&datagram, rig.server.local_address()).unwrap();
    }
    rig.lane(LaneLimits::default()).await;
    assert_eq!(rig.server.load().connections_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_is_bounded_and_honest_clients_come_through() {
    const HANDSHAKES_MAX: u32 = 16;
    const FLOOD: usize = 500;
    let mut rig = Rig::with(
        |config| {
            config.handshakes_max = HANDSHAKES_MAX;
            // So long that no attacker's handshake ends within the test.
            config.handshake_timeout = DEADLINE * 2;
        },
        ClientConfig::default(),
    );
    let flood = first_packets(&rig, FLOOD).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in &flood {
        attacker.send_to(packet, rig.server.local_address()).unwrap();
    }
    until("the flood has begun", || rig.server.load().handshakes_count > 0).await;
    for _ in 0..20 {
        rig.connect().await;
        let handshakes_count = rig.server.load().handshakes_count;
        assert!(handshakes_count <= HANDSHAKES_MAX, "{handshakes_count} handshakes");
    }
    // Forged addresses got a quarter of the room; the rest was there for those that prove theirs.
    until("only the forged are left", || rig.server.load().handshakes_count <= HANDSHAKES_MAX / 4)
        .await;
    // The attacker was asked to prove its address for the rest (packets of type Retry).
    attacker.set_nonblocking(true).unwrap();
    let mut retries = 0;
    let mut answer = [0; 2000];
    while let Ok(bytes) = attacker.recv(&mut answer) {
        retries += usize::from(bytes > 0 && answer[0] & 0xf0 == 0xf0);
    }
    assert!(retries > 0, "nobody was asked to prove an address");
}

/// First packets of clients that will never say more, each of another connection.
async fn first_packets(rig: &Rig, count: usize) -> Vec<Vec<u8>> {
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = trap.local_addr().unwrap();
    let endpoint = raw_endpoint();
    // Kept to the end: one that is dropped says so, in a packet that would undo its first.
    let mut attempts = vec![];
    let mut packets = vec![];
    for _ in 0..count {
        attempts.push(
            endpoint.connect_with(rig.raw_settings(b"quorate/1"), address, "localhost").unwrap(),
        );
        let mut packet = vec![0; 2000];
        let bytes = within(trap.recv(&mut packet)).await.unwrap();
        packet.truncate(bytes);
        packets.push(packet);
    }
    packets
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_dropped() {
    let mut rig = Rig::with(
        |config| config.handshake_timeout = Duration::from_millis(100),
        ClientConfig::default(),
    );
    let packets = first_packets(&rig, 1).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    attacker.send_to(&packets[0], rig.server.local_address()).unwrap();
    until("it has begun", || rig.server.load().connections_count > 0).await;
    until("it has been given up", || rig.server.load().handshakes_count == 0).await;
    until("it is forgotten", || rig.server.load().connections_count == 0).await;
    rig.connect().await;
}

#[tokio::test]
async fn connections_that_nobody_accepts_do_not_stop_the_server() {
    let mut rig = Rig::new();
    let address = rig.server.local_address();
    let mut waiting = vec![];
    for _ in 0..20 {
        let trust = &rig.identity.trust;
        let connecting = rig.client.connect(address, "localhost", trust, Protocol::Client);
        waiting.push(within(connecting).await.unwrap());
    }
    // Half of them have gone again before anybody looked.
    for connection in waiting.drain(..10) {
        connection.close(0_u32, "");
    }
    let mut living = 0;
    for _ in 0..20 {
        let accepted = within(rig.server.accept()).await.unwrap();
        if let Ok(closed) = tokio::time::timeout(Duration::from_millis(50), accepted.closed()).await
        {
            assert!(matches!(closed, quorate_net::CloseReason::Peer { code: 0, .. }), "{closed}");
        } else {
            living += 1;
        }
    }
    assert_eq!(living, 10);
}
