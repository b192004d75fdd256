//! Servers and clients: who is let in, what those hear who are not, and how both end.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quorate_net::lane::LaneLimits;
use quorate_net::{
    BindError, Client, ClientConfig, CloseReason, ConnectError, Identity, Protocol, Server,
    ServerConfig,
};

use crate::rig::{DEADLINE, Rig, until, within};

const SHUTTING_DOWN: u64 = 1;

#[tokio::test]
async fn a_connection_carries_its_protocol() {
    let mut rig = Rig::with(
        |config| config.protocols = vec![Protocol::Member, Protocol::Client],
        ClientConfig::default(),
    );
    let (connected, accepted) = rig.connect().await;
    assert_eq!(connected.protocol(), Protocol::Client);
    assert_eq!(accepted.protocol(), Protocol::Client);
    assert_eq!(connected.remote_address(), rig.server.local_address());
    let client_port = rig.client.local_address().unwrap().port();
    assert_eq!(accepted.remote_address().to_string(), format!("127.0.0.1:{client_port}"));
    assert!(connected.rtt() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_protocol_that_is_not_served_is_refused_by_tls() {
    let rig = Rig::new();
    let address = rig.server.local_address();
    let refused =
        rig.client.connect(address, "localhost", &rig.identity.trust, Protocol::Member).await;
    let expected = ConnectError::WrongProtocol { address, protocol: Protocol::Member };
    assert_eq!(refused.unwrap_err(), expected);
    for alpn in [&b"h3"[..], b"quorate/0", b"quorate/1\0"] {
        match rig.raw(alpn).await {
            Err(quinn::ConnectionError::ConnectionClosed(close)) => {
                let no_application_protocol = quinn::TransportErrorCode::crypto(120);
                assert_eq!(close.error_code, no_application_protocol, "{alpn:?}");
            }
            other => panic!("{alpn:?} got {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_connected_to() {
    let rig = Rig::new();
    let address = rig.server.local_address();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Identity::open_or_make(elsewhere.path(), &[], 1, SystemTime::now()).unwrap();
    let wrong_authority =
        rig.client.connect(address, "localhost", &other.trust, Protocol::Client).await;
    let wrong_name =
        rig.client.connect(address, "other.test", &rig.identity.trust, Protocol::Client).await;
    for refused in [wrong_authority, wrong_name] {
        assert!(matches!(refused, Err(ConnectError::WrongCertificate { .. })), "{refused:?}");
    }
    let no_name = rig.client.connect(address, "a b", &rig.identity.trust, Protocol::Client).await;
    assert_eq!(no_name.unwrap_err(), ConnectError::BadName("a b".to_owned()));
    // By address too, as the certificate says.
    rig.client.connect(address, "127.0.0.1", &rig.identity.trust, Protocol::Client).await.unwrap();
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_let_in_when_another_went() {
    let mut rig = Rig::with(|config| config.connections_max = 2, ClientConfig::default());
    let address = rig.server.local_address();
    let (first, _first_accepted) = rig.connect().await;
    let (_second, _second_accepted) = rig.connect().await;
    assert_eq!(rig.server.load().connections_count, 2);
    let third =
        rig.client.connect(address, "localhost", &rig.identity.trust, Protocol::Client).await;
    assert_eq!(third.unwrap_err(), ConnectError::Refused { address });
    first.close(0_u32, "");
    until("the closed connection has gone", || rig.server.load().connections_count < 2).await;
    rig.connect().await;
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_silence_after_the_timeout() {
    let rig = Rig::new();
    let trust = &rig.identity.trust;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let after = Duration::from_millis(200);
    let hasty = Client::bind(ClientConfig { connect_timeout: after, ..ClientConfig::default() });
    let timed_out = hasty.unwrap().connect(address, "localhost", trust, Protocol::Client).await;
    assert_eq!(timed_out.unwrap_err(), ConnectError::TimedOut { address, after });

    drop(silent);
    let patient =
        Client::bind(ClientConfig { connect_timeout: DEADLINE, ..ClientConfig::default() });
    let patient = patient.unwrap();
    let nobody = patient.connect(address, "localhost", trust, Protocol::Client);
    // By the network's report and not by the timeout, which is as long as this deadline.
    let nobody = within(nobody).await;
    assert!(matches!(nobody, Err(ConnectError::Unreachable { .. })), "{nobody:?}");
    let no_port = "127.0.0.1:0".parse().unwrap();
    let nowhere = patient.connect(no_port, "localhost", trust, Protocol::Client).await;
    assert!(matches!(nowhere, Err(ConnectError::Unreachable { .. })), "{nowhere:?}");
}

#[tokio::test]
async fn a_client_that_dies_without_a_word_is_noticed_after_the_idle_timeout() {
    let idle = Duration::from_millis(300);
    let mut rig = Rig::with(|config| config.idle_timeout = idle, ClientConfig::default());
    let address = rig.server.local_address();
    let trust = rig.identity.trust.clone();
    let (connected, is_connected) = tokio::sync::oneshot::channel();
    let (die, dies) = std::sync::mpsc::channel::<()>();
    // A runtime that is dropped takes its tasks along before they can say goodbye.
    let life = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (client, connection) = runtime.block_on(async {
            let client = Client::bind(ClientConfig::default()).unwrap();
            let connection =
                client.connect(address, "localhost", &trust, Protocol::Client).await.unwrap();
            (client, connection)
        });
        connected.send(()).unwrap();
        dies.recv().unwrap();
        drop(runtime);
        drop((client, connection));
    });
    let accepted = within(rig.server.accept()).await.unwrap();
    within(is_connected).await.unwrap();
    die.send(()).unwrap();
    assert_eq!(within(accepted.closed()).await, CloseReason::TimedOut);
    life.join().unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_kept_alive_by_its_client() {
    let idle = Duration::from_millis(300);
    let config = ClientConfig { idle_timeout: idle, ..ClientConfig::default() };
    let mut rig = Rig::with(|config| config.idle_timeout = idle, config);
    let (_connected, accepted) = rig.connect().await;
    let ended = tokio::time::timeout(idle * 4, accepted.closed()).await;
    assert!(ended.is_err(), "an idle connection ended: {ended:?}");
}

#[tokio::test]
async fn a_client_that_moves_keeps_its_lane() {
    let mut rig = Rig::new();
    let mut lane = rig.lane(LaneLimits::default()).await;
    for round in 0..3_u8 {
        let before = lane.server.remote_address();
        rig.client.rebind(Some("127.0.0.1:0".parse().unwrap())).unwrap();
        let port = rig.client.local_address().unwrap().port();
        assert_ne!(port, before.port());
        for number in 0..100_u8 {
            let frame = Bytes::from(vec![round, number]);
            lane.to_server.send(frame.clone()).await.unwrap();
            assert_eq!(within(lane.from_client.recv()).await.unwrap().unwrap(), frame);
            lane.to_client.send(frame.clone()).await.unwrap();
            assert_eq!(within(lane.from_server.recv()).await.unwrap().unwrap(), frame);
        }
        let server_side = lane.server.clone();
        until("the server sees the new address", || server_side.remote_address().port() == port)
            .await;
    }
}

#[tokio::test]
async fn a_shutdown_tells_everybody_and_ends() {
    let mut rig = Rig::new();
    let address = rig.server.local_address();
    let mut first = rig.lane(LaneLimits::default()).await;
    let (second, _second_accepted) = rig.connect().await;
    within(rig.server.shutdown(DEADLINE)).await.unwrap();
    for connection in [&first.client, &second] {
        match within(connection.closed()).await {
            CloseReason::Peer { code, .. } => assert_eq!(code, SHUTTING_DOWN),
            other => panic!("{other}"),
        }
    }
    assert!(within(first.from_server.recv()).await.is_err());
    drop((first, second, _second_accepted));
    let late = rig.client.connect(address, "localhost", &rig.identity.trust, Protocol::Client);
    let late = within(late).await;
    assert!(
        matches!(
            late,
            Err(ConnectError::Refused { .. }
                | ConnectError::Unreachable { .. }
                | ConnectError::TimedOut { .. })
        ),
        "{late:?}"
    );
    within(rig.client.shutdown(DEADLINE)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_accepting_lets_its_connections_finish() {
    let mut rig = Rig::new();
    let address = rig.server.local_address();
    let mut lane = rig.lane(LaneLimits::default()).await;
    rig.server.stop_accepting();
    let late =
        rig.client.connect(address, "localhost", &rig.identity.trust, Protocol::Client).await;
    assert_eq!(late.unwrap_err(), ConnectError::Refused { address });
    lane.to_server.send(Bytes::from_static(b"last words")).await.unwrap();
    let finishing = tokio::spawn(lane.to_server.finish(DEADLINE));
    assert_eq!(within(lane.from_client.recv()).await.unwrap().unwrap()[..], b"last words"[..]);
    assert_eq!(within(lane.from_client.recv()).await, Ok(None));
    within(finishing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_server_closes_its_connections() {
    let mut rig = Rig::new();
    let (connected, _accepted) = rig.connect().await;
    drop(rig.server);
    match within(connected.closed()).await {
        CloseReason::Peer { code, .. } => assert_eq!(code, SHUTTING_DOWN),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_address_in_use_is_a_typed_error() {
    let rig = Rig::new();
    let address = rig.server.local_address();
    let config =
        ServerConfig::new(address, rig.identity.server.clone(), rig.identity.trust.clone());
    match Server::bind(&config) {
        Err(BindError::Address { address: named, cause }) => {
            assert_eq!(named, address);
            assert_eq!(cause.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
    let mut config =
        ServerConfig::new("127.0.0.1:0".parse().unwrap(), rig.identity.server, rig.identity.trust);
    config.protocols.clear();
    assert!(matches!(Server::bind(&config), Err(BindError::Setting(_))));
    config.protocols.push(Protocol::Client);
    config.idle_timeout = Duration::ZERO;
    assert!(matches!(Server::bind(&config), Err(BindError::Setting(_))));
}
