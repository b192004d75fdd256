//! Certificates of clients: what they call whoever shows one, and what is told to those whose certificate is not taken.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use quorate_net::lane::LaneLimits;
use quorate_net::{
    Client, ClientCertificates, ClientConfig, ClientIdentity, CloseCode, CloseReason, ConnectError,
    Connection, Identity, IdentityError, LaneError, Protocol, Server, ServerConfig, TrustAnchors,
    issue, member_name,
};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use crate::rig::{until, within};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server of members and clients, and what its authorities are.
struct House {
    server: Server,
    client: Client,
    identity: Identity,
    _directory: tempfile::TempDir,
    /// Of the members.
    authority: PathBuf,
    /// Of clients, if it is one of its own.
    clients: PathBuf,
    at: PathBuf,
}

impl House {
    fn new(change: impl FnOnce(&mut ServerConfig, &Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_owned();
        let (authority, clients) = (at.join("authority"), at.join("clients"));
        let now = SystemTime::now();
        let identity = Identity::open_or_make(&authority, &[], 1, now).unwrap();
        issue::authority(&clients, Some("clients"), now).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = ServerConfig::new(listen, identity.server.clone(), identity.trust.clone());
        config.protocols = vec![Protocol::Client, Protocol::Member];
        change(&mut config, &clients);
        let server = Server::bind(&config).unwrap();
        let client = Client::bind(ClientConfig::default()).unwrap();
        Self { server, client, identity, _directory: directory, authority, clients, at }
    }

    /// A client's certificate by the authority in this directory.
    fn made(&self, authority: &Path, name: &str) -> ClientIdentity {
        let out = self.at.join(format!("of {name}"));
        let now = SystemTime::now();
        issue::client(&out, authority, name, YEAR, now).unwrap();
        load(&out)
    }

    /// A certificate of the members' authority, as somebody else's tools may make it.
    fn signed(&self, change: impl FnOnce(&mut rcgen::CertificateParams)) -> ClientIdentity {
        let key = std::fs::read_to_string(self.authority.join("ca-key.pem")).unwrap();
        let mut own = rcgen::CertificateParams::default();
        own.distinguished_name = rcgen::DistinguishedName::new();
        own.distinguished_name.push(rcgen::DnType::CommonName, "Quorate certificate authority");
        let issuer = rcgen::Issuer::new(own, KeyPair::from_pem(&key).unwrap());
        let mut params = rcgen::CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &issuer).unwrap();
        let out = self.at.join("signed");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("client.pem"), made.pem()).unwrap();
        std::fs::write(out.join("client-key.pem"), key.serialize_pem()).unwrap();
        // A client with a clock of its own, for which it is always valid.
        let then = SystemTime::from(params.not_after - Duration::from_secs(1));
        ClientIdentity::load(&out.join("client.pem"), &out.join("client-key.pem"), then).unwrap()
    }

    async fn dial(
        &self,
        identity: Option<&ClientIdentity>,
        protocol: Protocol,
    ) -> Result<Connection, ConnectError> {
        let (address, trust) = (self.server.local_address(), &self.identity.trust);
        within(self.client.connect_as(identity, address, "localhost", trust, protocol)).await
    }

    /// Both ends of a connection that is taken.
    async fn connect(&mut self, identity: Option<&ClientIdentity>) -> (Connection, Connection) {
        let dialled = self.dial(identity, Protocol::Client).await.unwrap();
        (dialled, within(self.server.accept()).await.unwrap())
    }

    /// How a connection ends that is not.
    async fn refused(
        &self,
        identity: Option<&ClientIdentity>,
        protocol: Protocol,
    ) -> Result<(Option<CloseCode>, String), String> {
        let reason = match self.dial(identity, protocol).await {
            Ok(connection) => {
                // What its user sees first.
                let lane = connection.open_lane(LaneLimits::default()).await;
                if let Ok((sender, mut receiver)) = lane
                    && sender.send(bytes::Bytes::new()).await.is_ok()
                {
                    let ended = within(receiver.recv()).await;
                    assert!(matches!(ended, Err(LaneError::ConnectionLost(_))), "{ended:?}");
                }
                within(connection.closed()).await
            }
            Err(ConnectError::CertificateRefused { cause, .. }) => {
                CloseReason::CertificateRefused(cause)
            }
            Err(ConnectError::Closed { code, reason, .. }) => CloseReason::Peer { code, reason },
            Err(other) => return Err(other.to_string()),
        };
        match reason {
            CloseReason::CertificateRefused(cause) => Ok((None, cause)),
            CloseReason::Peer { code, reason } => Ok((CloseCode::from_number(code), reason)),
            other => Err(other.to_string()),
        }
    }

    /// The server goes on as if nothing had been.
    async fn serves(&mut self) {
        until("refused connections have gone", || self.server.load().connections_count == 0).await;
        let (_dialled, accepted) = self.connect(None).await;
        assert!(accepted.peer_names().is_empty());
    }
}

fn load(directory: &Path) -> ClientIdentity {
    let [certificate, key] =
        [issue::CLIENT_FILE, issue::CLIENT_KEY_FILE].map(|file| directory.join(file));
    ClientIdentity::load(&certificate, &key, SystemTime::now()).unwrap()
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate_and_anonymous_without_one() {
    let mut house = House::new(|_, _| {});
    let ann = house.made(&house.authority, "ann");
    let (_dialled, accepted) = house.connect(Some(&ann)).await;
    assert_eq!(accepted.peer_names(), ["CN=ann"]);
    assert!(!accepted.is_member(1));
    let (_dialled, accepted) = house.connect(None).await;
    assert!(accepted.peer_names().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_with_the_reason() {
    let mut house = House::new(|_, _| {});
    let stranger = house.made(&house.clients, "stranger");
    let (code, why) = house.refused(Some(&stranger), Protocol::Client).await.unwrap();
    assert_eq!(code, None, "TLS has refused it");
    assert!(why.contains("UnknownIssuer"), "{why}");
    house.serves().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_the_reason() {
    let mut house = House::new(|_, _| {});
    let expired = house.signed(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let (_, why) = house.refused(Some(&expired), Protocol::Client).await.unwrap();
    assert!(why.to_lowercase().contains("expired"), "{why}");
    let early = house.signed(|params| params.not_before = date_time_ymd(4000, 1, 1));
    let (_, why) = house.refused(Some(&early), Protocol::Client).await.unwrap();
    assert!(why.to_lowercase().contains("not valid yet"), "{why}");
    house.serves().await;
}

#[tokio::test]
async fn a_certificate_that_is_only_for_servers_is_refused_with_the_reason() {
    let mut house = House::new(|_, _| {});
    let server = house.signed(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let (_, why) = house.refused(Some(&server), Protocol::Client).await.unwrap();
    assert!(why.to_lowercase().contains("purpose") || why.contains("usage"), "{why}");
    house.serves().await;
}

#[tokio::test]
async fn where_certificates_are_required_who_has_none_is_told_so() {
    let mut house =
        House::new(|config, _| config.client_certificates = ClientCertificates::Required);
    let (code, why) = house.refused(None, Protocol::Client).await.unwrap();
    assert_eq!(code, Some(CloseCode::CertificateRequired));
    assert_eq!(why, "clients show a certificate here, and none was shown");
    let ann = house.made(&house.authority, "ann");
    let (_dialled, accepted) = house.connect(Some(&ann)).await;
    assert_eq!(accepted.peer_names(), ["CN=ann"]);
}

#[tokio::test]
async fn an_authority_of_clients_makes_no_members_and_one_of_members_no_clients() {
    let mut house = House::new(|config, clients| {
        config.clients = Some(TrustAnchors::load(&clients.join("ca.pem")).unwrap());
    });
    let ann = house.made(&house.clients, "ann");
    let (_dialled, accepted) = house.connect(Some(&ann)).await;
    assert_eq!(accepted.peer_names(), ["CN=ann"]);
    // The member's own certificate, by the members' authority, as a client's.
    let bob = house.made(&house.authority, "bob");
    let (code, why) = house.refused(Some(&bob), Protocol::Client).await.unwrap();
    assert_eq!(code, Some(CloseCode::CertificateRefused));
    assert!(why.starts_with("the certificate is not of an authority of clients"), "{why}");
    // A client's authority that calls somebody a member.
    let out = house.at.join("false member");
    let now = SystemTime::now();
    issue::member(&out, &house.clients, 1, &[], now).unwrap();
    let (certificate, key) = (out.join("server.pem"), out.join("server-key.pem"));
    let false_member = ClientIdentity::load(&certificate, &key, now).unwrap();
    let (code, why) = house.refused(Some(&false_member), Protocol::Member).await.unwrap();
    assert_eq!(code, Some(CloseCode::CertificateRefused));
    assert!(why.starts_with("the certificate is not of an authority of members"), "{why}");
}

#[tokio::test]
async fn a_clients_certificate_is_never_a_members_whatever_its_name() {
    let mut house = House::new(|_, _| {});
    let name = member_name(1);
    let false_member = house.made(&house.authority, &name);
    let dialled = house.dial(Some(&false_member), Protocol::Member).await.unwrap();
    let accepted = within(house.server.accept()).await.unwrap();
    assert!(!accepted.is_member(1), "{:?}", dialled.close_reason());
}

#[tokio::test]
async fn renewed_authorities_of_clients_hold_for_those_who_come() {
    let mut house = House::new(|_, _| {});
    let ann = house.made(&house.authority, "ann");
    let (dialled, _accepted) = house.connect(Some(&ann)).await;
    let clients = TrustAnchors::load(&house.clients.join("ca.pem")).unwrap();
    let Identity { server, trust, .. } = house.identity.clone();
    house.server.renew(server, trust, Some(clients)).unwrap();
    let bob = house.made(&house.clients, "bob");
    let (_dialled, accepted) = house.connect(Some(&bob)).await;
    assert_eq!(accepted.peer_names(), ["CN=bob"]);
    let (code, _) = house.refused(Some(&ann), Protocol::Client).await.unwrap();
    assert_eq!(code, Some(CloseCode::CertificateRefused));
    assert_eq!(dialled.close_reason(), None, "who was there stays");
}

#[test]
fn what_is_wrong_with_the_files_is_told_before_anybody_is_dialled() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, out) = (directory.path().join("authority"), directory.path().join("ann"));
    let now = SystemTime::now();
    issue::authority(&authority, None, now).unwrap();
    let issue = |name: &str, valid| issue::client(&out, &authority, name, valid, now);
    for bad in ["", "a\nb", "a*", &"n".repeat(65)] {
        let refused = issue(bad, YEAR);
        assert!(matches!(refused, Err(IdentityError::NotMade(_))), "{bad:?}: {refused:?}");
    }
    assert!(matches!(issue("ann", Duration::ZERO), Err(IdentityError::NotMade(_))));
    assert!(matches!(issue("ann", YEAR * 2), Err(IdentityError::NotMade(_))));
    issue("ann", YEAR).unwrap();
    assert!(matches!(issue("ann", YEAR), Err(IdentityError::Exists { .. })));

    let (certificate, key) = (out.join("client.pem"), out.join("client-key.pem"));
    let load = |now| ClientIdentity::load(&certificate, &key, now);
    load(now).unwrap();
    assert!(matches!(load(now + YEAR * 2), Err(IdentityError::Expired { .. })));
    assert!(matches!(load(now - YEAR), Err(IdentityError::NotYetValid { .. })));
    let other = ClientIdentity::load(&certificate, &authority.join("ca-key.pem"), now);
    assert!(matches!(other, Err(IdentityError::KeyMismatch { .. })), "{other:?}");
    let shown = format!("{:?}", load(now).unwrap());
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!shown.contains(secret.lines().nth(1).unwrap()), "{shown}");
}
