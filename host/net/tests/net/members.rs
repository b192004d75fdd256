//! Members with each other over the one port: who is let in, what is told to those who are not, and
//! what their lanes carry.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quorate_net::lane::LaneLimits;
use quorate_net::limits::{
    CERTIFICATE_VALIDITY, LANES_OPEN_MAX, MEMBER_IDLE_TIMEOUT, MEMBER_LANES_OPEN_MAX,
};
use quorate_net::{
    Client, ClientConfig, CloseCode, CloseReason, ConnectError, Connection, Dialer, Identity,
    LaneReceiver, LaneSender, Protocol, Server, ServerConfig, member_name,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::rig::{DEADLINE, raw_endpoint, until, within};

/// Members 1 to N of one authority, each with a server of its own.
struct Cluster {
    members: Vec<Server>,
    directories: Vec<tempfile::TempDir>,
}

impl Cluster {
    fn of(count: u64) -> Self {
        let mut cluster = Self { members: Vec::new(), directories: Vec::new() };
        for number in 1..=count {
            let directory = tempfile::tempdir().unwrap();
            if let Some(first) = cluster.directories.first() {
                for file in ["ca.pem", "ca-key.pem"] {
                    std::fs::copy(first.path().join(file), directory.path().join(file)).unwrap();
                }
            }
            cluster.members.push(serve(&identity(directory.path(), number)));
            cluster.directories.push(directory);
        }
        cluster
    }

    fn address(&self, number: usize) -> SocketAddr {
        self.members[number - 1].local_address()
    }

    /// Member 1 dials `to`, which is `number`.
    async fn dial(&mut self, to: usize, number: u64) -> Result<Pair, ConnectError> {
        let dialer = self.members[0].dialer();
        let address = self.address(to).to_string();
        let dialled = within(dialer.dial(&address, number)).await?;
        let accepted = within(self.members[to - 1].accept()).await.unwrap();
        Ok((dialled, accepted))
    }
}

type Pair = (Connection, Connection);

fn identity(directory: &Path, number: u64) -> Identity {
    Identity::open_or_make(directory, &[], number, SystemTime::now()).unwrap()
}

fn serve(identity: &Identity) -> Server {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = ServerConfig {
        protocols: vec![Protocol::Member, Protocol::Client],
        ..ServerConfig::new(listen, identity.server.clone(), identity.trust.clone())
    };
    Server::bind(&config).unwrap()
}

fn client() -> Client {
    Client::bind(ClientConfig::default()).unwrap()
}

#[tokio::test]
async fn members_reach_each_other_both_ways_over_one_port() {
    let mut cluster = Cluster::of(2);
    let (one, two) = (cluster.address(1), cluster.address(2));
    let (dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    assert_eq!((dialled.protocol(), accepted.protocol()), (Protocol::Member, Protocol::Member));
    assert_eq!((dialled.remote_address(), accepted.remote_address()), (two, one));
    assert!(dialled.is_member(2) && !dialled.is_member(1) && !dialled.is_member(22));
    assert!(accepted.is_member(1) && !accepted.is_member(2) && !accepted.is_member(11));

    let back = cluster.members[1].dialer();
    let back = within(back.dial(&one.to_string(), 1)).await.unwrap();
    let accepted = within(cluster.members[0].accept()).await.unwrap();
    assert_eq!(accepted.remote_address(), two);
    assert!(back.is_member(1) && accepted.is_member(2));
}

#[tokio::test]
async fn a_member_connection_without_a_certificate_is_closed_and_never_accepted() {
    let mut cluster = Cluster::of(2);
    let trust = identity(cluster.directories[0].path(), 1).trust;
    let client = client();
    let address = cluster.address(2);
    // TLS lets it through: what closes it comes after, or with the end of the handshake.
    let reason = match client.connect(address, "localhost", &trust, Protocol::Member).await {
        Ok(connection) => within(connection.closed()).await,
        Err(ConnectError::Closed { code, reason, .. }) => CloseReason::Peer { code, reason },
        Err(other) => panic!("{other}"),
    };
    let CloseReason::Peer { code, reason } = reason else { panic!("{reason}") };
    assert_eq!(CloseCode::from_number(code), Some(CloseCode::CertificateRequired));
    assert_eq!(reason, "members show a certificate of the cluster's authority");
    // What the server hands out next is the next connection, and not that one.
    let (_dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    assert!(accepted.is_member(1));
}

#[tokio::test]
async fn a_client_needs_no_certificate_where_members_are_served() {
    let mut cluster = Cluster::of(1);
    let trust = identity(cluster.directories[0].path(), 1).trust;
    let client = client();
    let connecting = client.connect(cluster.address(1), "localhost", &trust, Protocol::Client);
    let (connected, accepted) =
        within(async { tokio::join!(connecting, cluster.members[0].accept()) }).await;
    let accepted = accepted.unwrap();
    assert_eq!(accepted.protocol(), Protocol::Client);
    assert!(!accepted.is_member(1));
    assert!(connected.unwrap().is_member(1));
}

#[tokio::test]
async fn a_client_that_shows_a_certificate_of_the_authority_is_served_too() {
    let mut cluster = Cluster::of(1);
    let directory = cluster.directories[0].path();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap()).unwrap();
    let shown = CertificateDer::from_pem_file(directory.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![shown], key)
        .unwrap();
    tls.alpn_protocols = vec![Protocol::Client.alpn().to_vec()];
    let settings = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = raw_endpoint();
    let connecting = endpoint.connect_with(settings, cluster.address(1), "localhost").unwrap();
    let _connected = within(connecting).await.unwrap();
    let accepted = within(cluster.members[0].accept()).await.unwrap();
    assert_eq!(accepted.protocol(), Protocol::Client);
    assert!(accepted.is_member(1));
    assert!(accepted.peer_names().is_empty(), "a member is nobody's client");
}

#[tokio::test]
async fn a_member_of_another_authority_is_refused_by_whom_it_dials_and_by_who_dials_it() {
    let mut cluster = Cluster::of(2);
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = serve(&identity(elsewhere.path(), 2));

    let refused = cluster.members[0].dialer().dial(&stranger.local_address().to_string(), 2).await;
    let Err(ConnectError::WrongCertificate { server_name, cause, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(server_name, member_name(2));
    // The two authorities have one name, as all that are made here.
    assert!(cause.contains("invalid peer certificate: BadSignature"), "{cause}");

    // The stranger trusts our authority, and we do not trust the one that signed it.
    let misled = Identity {
        trust: identity(cluster.directories[0].path(), 1).trust,
        ..identity(elsewhere.path(), 2)
    };
    let stranger = serve(&misled);
    let dialled = stranger.dialer().dial(&cluster.address(2).to_string(), 2).await;
    let reason = match dialled {
        Ok(connection) => within(connection.closed()).await.to_string(),
        Err(error) => error.to_string(),
    };
    assert!(reason.contains("peer") && reason.contains("certificate"), "{reason}");
    let (_dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    assert!(accepted.is_member(1));
}

#[tokio::test]
async fn a_dial_that_reaches_another_member_says_whom() {
    let mut cluster = Cluster::of(3);
    let refused = cluster.dial(3, 2).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, ConnectError::WrongCertificate { .. }), "{refused:?}");
    assert!(text.contains(&cluster.address(3).to_string()), "{text}");
    assert!(text.contains("member-2.quorate.internal"), "{text}");
    assert!(
        text.contains("only valid for") && text.contains("member-3.quorate.internal"),
        "{text}"
    );
}

#[tokio::test]
async fn names_are_resolved_at_each_dial_and_their_addresses_tried_in_turn() {
    let mut cluster = Cluster::of(2);
    let port = cluster.address(2).port();
    let dialer = cluster.members[0].dialer();
    // The server has no IPv6: where localhost means ::1 too, that attempt must not be the last.
    for address in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        let dialled = within(dialer.dial(&address, 2)).await.unwrap();
        assert_eq!(dialled.remote_address(), cluster.address(2), "{address}");
        within(cluster.members[1].accept()).await.unwrap();
    }
    for address in ["nobody.invalid:1", "no port", "localhost", ""] {
        let unresolved = within(dialer.dial(address, 2)).await.unwrap_err();
        assert!(
            matches!(&unresolved, ConnectError::Unresolved { address: named, .. } if named == address),
            "{address:?}: {unresolved:?}"
        );
    }
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = within(dialer.dial(&nobody.to_string(), 2)).await.unwrap_err();
    assert!(matches!(unreachable, ConnectError::Unreachable { .. }), "{unreachable:?}");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let silence = within(dialer.dial(&address, 2)).await.unwrap_err();
    assert!(matches!(silence, ConnectError::TimedOut { .. }), "{silence:?}");
}

#[tokio::test]
async fn dials_leave_nothing_behind() {
    let mut cluster = Cluster::of(3);
    for round in 0..200 {
        let number = 2 + round % 2;
        match cluster.dial(2, number).await {
            Ok((dialled, accepted)) if number == 2 => {
                if round % 4 == 0 {
                    dialled.close(CloseCode::Normal, "");
                    within(accepted.closed()).await;
                }
            }
            Err(ConnectError::WrongCertificate { .. }) if number == 3 => {}
            other => panic!("round {round}: {other:?}"),
        }
    }
    for member in &cluster.members[..2] {
        until("all connections have gone", || member.load().connections_count == 0).await;
    }
}

#[tokio::test]
async fn a_dialer_ends_with_its_server() {
    let mut cluster = Cluster::of(2);
    let address = cluster.address(2).to_string();
    let first = cluster.members.remove(0);
    let dialer: Dialer = first.dialer();
    within(first.shutdown(DEADLINE)).await.unwrap();
    assert_eq!(dialer.dial(&address, 2).await.unwrap_err(), ConnectError::ShutDown);
}

#[tokio::test]
async fn a_silent_member_connection_is_kept_alive_from_the_end_that_dialled() {
    let mut cluster = Cluster::of(2);
    let (_dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    let ended = tokio::time::timeout(MEMBER_IDLE_TIMEOUT * 2, accepted.closed()).await;
    assert!(ended.is_err(), "an idle connection ended: {ended:?}");
}

#[tokio::test]
async fn a_member_has_more_lanes_than_a_client_and_each_carries_the_largest_frame() {
    const FRAME_BYTES: u32 = 13 * 1024 * 1024;
    let limits = LaneLimits { frame_bytes_max: FRAME_BYTES, ..LaneLimits::default() };
    let mut cluster = Cluster::of(2);
    let (dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    let frame = Bytes::from(vec![7; FRAME_BYTES as usize]);
    const { assert!(MEMBER_LANES_OPEN_MAX > LANES_OPEN_MAX) };
    let mut kept = Vec::new();
    for priority in 0..MEMBER_LANES_OPEN_MAX {
        let priority = i32::try_from(priority).unwrap();
        let opened = within(dialled.open_lane_with_priority(limits, priority)).await.unwrap();
        let (sender, mut receiver) = opened;
        within(sender.send(frame.clone())).await.unwrap();
        let (back, mut arrived) = within(accepted.accept_lane(limits)).await.unwrap();
        assert_eq!(within(arrived.recv()).await.unwrap().unwrap(), frame);
        back.set_priority(priority);
        within(back.send(frame.clone())).await.unwrap();
        assert_eq!(within(receiver.recv()).await.unwrap().unwrap(), frame);
        kept.push((sender, receiver, back, arrived));
    }
}

#[tokio::test]
async fn a_lane_of_high_priority_overtakes_what_has_queued_on_another() {
    let mut cluster = Cluster::of(2);
    let (dialled, accepted) = cluster.dial(2, 2).await.unwrap();
    let limits = LaneLimits::default();
    let (bulky, mut from_bulky) = dialled.open_lane_with_priority(limits, 1).await.unwrap();
    let (urgent, mut from_urgent) = dialled.open_lane_with_priority(limits, 9).await.unwrap();
    bulky.send(Bytes::from_static(b"bulky")).await.unwrap();
    let (to_bulky, mut bulky_arrives) = within(accepted.accept_lane(limits)).await.unwrap();
    assert_eq!(within(bulky_arrives.recv()).await.unwrap().unwrap()[..], b"bulky"[..]);
    urgent.send(Bytes::from_static(b"urgent")).await.unwrap();
    let (to_urgent, mut urgent_arrives) = within(accepted.accept_lane(limits)).await.unwrap();
    assert_eq!(within(urgent_arrives.recv()).await.unwrap().unwrap()[..], b"urgent"[..]);

    overtakes((&bulky, &mut bulky_arrives), (&urgent, &mut urgent_arrives)).await;
    // Back, where the priority is set on a lane that stands.
    to_urgent.set_priority(9);
    overtakes((&to_bulky, &mut from_bulky), (&to_urgent, &mut from_urgent)).await;
}

type Way<'a> = (&'a LaneSender, &'a mut LaneReceiver);

/// Of equal priority, the two would share each flight and the first would be there first.
async fn overtakes((bulky, bulky_arrives): Way<'_>, (urgent, urgent_arrives): Way<'_>) {
    // Half a window: nobody waits for the reader, and it takes QUIC several flights to send.
    const BYTES: usize = 512 * 1024;
    bulky.send(Bytes::from(vec![1; BYTES])).await.unwrap();
    urgent.send(Bytes::from(vec![2; BYTES])).await.unwrap();
    tokio::select! {
        biased;
        _ = bulky_arrives.recv() => panic!("the bulky one was there first"),
        frame = within(urgent_arrives.recv()) => assert_eq!(frame.unwrap().unwrap().len(), BYTES),
    }
    assert_eq!(within(bulky_arrives.recv()).await.unwrap().unwrap().len(), BYTES);
}

#[test]
fn a_certificate_without_the_members_number_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    identity(path, 1);
    let before = std::fs::read(path.join("server.pem")).unwrap();
    assert_eq!(identity(path, 1).origin, quorate_net::IdentityOrigin::Found);
    assert_eq!(identity(path, 2).origin, quorate_net::IdentityOrigin::Renewed);
    assert_ne!(std::fs::read(path.join("server.pem")).unwrap(), before);

    let files = quorate_net::IdentityFiles {
        authority: path.join("ca.pem"),
        certificate: path.join("server.pem"),
        key: path.join("server-key.pem"),
    };
    Identity::load(&files, &[], Some(2), now).unwrap();
    let wrong = Identity::load(&files, &[], Some(1), now).unwrap_err().to_string();
    assert!(wrong.ends_with("is not valid for the name member-1.quorate.internal"), "{wrong}");
    let late = Identity::load(&files, &[], Some(2), now + CERTIFICATE_VALIDITY * 2).unwrap_err();
    assert!(matches!(late, quorate_net::IdentityError::Expired { .. }), "{late:?}");
}

#[test]
fn a_certificate_that_may_only_be_dialled_is_refused_for_a_member() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(path.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let authority = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![member_name(1)]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, &authority).unwrap();
    std::fs::write(path.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(path.join("server-key.pem"), key.serialize_pem()).unwrap();

    let files = quorate_net::IdentityFiles {
        authority: path.join("ca.pem"),
        certificate: path.join("server.pem"),
        key: path.join("server-key.pem"),
    };
    Identity::load(&files, &[member_name(1)], None, SystemTime::now()).unwrap();
    let refused = Identity::load(&files, &[], Some(1), SystemTime::now()).unwrap_err();
    assert!(matches!(refused, quorate_net::IdentityError::WrongPurpose { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_all_who_come_and_those_who_are_there_stay() {
    let mut cluster = Cluster::of(2);
    let (dialled, _accepted) = cluster.dial(2, 2).await.unwrap();
    let dialer = cluster.members[0].dialer();
    // Members 1 and 2 turn into 11 and 12.
    for (at, number) in [(0, 11), (1, 12)] {
        let renewed = identity(cluster.directories[at].path(), number);
        cluster.members[at].renew(renewed.server, renewed.trust, None).unwrap();
    }
    let address = cluster.address(2).to_string();
    let outdated = within(dialer.dial(&address, 2)).await.unwrap_err();
    assert!(matches!(outdated, ConnectError::WrongCertificate { .. }), "{outdated:?}");
    let (renewed, accepted) = cluster.dial(2, 12).await.unwrap();
    assert!(renewed.is_member(12) && accepted.is_member(11));
    assert_eq!(dialled.close_reason(), None);

    // Another authority: who trusts the first only does not take it.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = identity(elsewhere.path(), 12);
    cluster.members[1].renew(other.server, other.trust, None).unwrap();
    let distrusted = within(dialer.dial(&address, 12)).await.unwrap_err();
    assert!(matches!(distrusted, ConnectError::WrongCertificate { .. }), "{distrusted:?}");
    assert_eq!(dialled.close_reason(), None);
}
