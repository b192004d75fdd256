//! A server and a client in one process, a bare quinn peer beside them, and waiting with a
//! deadline. It knows no test.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::QuicClientConfig;
use quorate_net::lane::LaneLimits;
use quorate_net::{
    Client, ClientConfig, Connection, Identity, LaneReceiver, LaneSender, Protocol, Server,
    ServerConfig,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// No test waits longer than this for anything that must come.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub server: Server,
    pub client: Client,
    pub identity: Identity,
    // Last: the files go when all is done with them.
    _directory: tempfile::TempDir,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(|_| {}, ClientConfig::default())
    }

    pub fn with(change: impl FnOnce(&mut ServerConfig), client: ClientConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
        let mut config = ServerConfig::new(
            "127.0.0.1:0".parse().unwrap(),
            identity.server.clone(),
            identity.trust.clone(),
        );
        change(&mut config);
        let server = Server::bind(&config).unwrap();
        let client = Client::bind(client).unwrap();
        Self { server, client, identity, _directory: directory }
    }

    /// A connection, as the client and as the server see it.
    pub async fn connect(&mut self) -> (Connection, Connection) {
        let address = self.server.local_address();
        let connecting =
            self.client.connect(address, "localhost", &self.identity.trust, Protocol::Client);
        let (connected, accepted) =
            within(async { tokio::join!(connecting, self.server.accept()) }).await;
        (connected.unwrap(), accepted.unwrap())
    }

    /// A connection with a lane, both seen from both ends. The lane has carried one empty frame.
    pub async fn lane(&mut self, limits: LaneLimits) -> Laned {
        let (client, server) = self.connect().await;
        let (to_server, from_server) = client.open_lane(limits).await.unwrap();
        to_server.send(bytes::Bytes::new()).await.unwrap();
        let (to_client, mut from_client) = within(server.accept_lane(limits)).await.unwrap();
        assert_eq!(within(from_client.recv()).await.unwrap().unwrap().len(), 0);
        Laned { client, server, to_server, from_server, to_client, from_client }
    }

    /// A peer that uses quinn directly, with any protocol name.
    pub async fn raw(&self, alpn: &[u8]) -> Result<quinn::Connection, quinn::ConnectionError> {
        let endpoint = raw_endpoint();
        let settings = self.raw_settings(alpn);
        let connecting =
            endpoint.connect_with(settings, self.server.local_address(), "localhost").unwrap();
        within(connecting).await
    }

    pub fn raw_settings(&self, alpn: &[u8]) -> quinn::ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.identity.authority_file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
    }
}

pub struct Laned {
    pub client: Connection,
    pub server: Connection,
    pub to_server: LaneSender,
    pub from_server: LaneReceiver,
    pub to_client: LaneSender,
    pub from_client: LaneReceiver,
}

pub fn raw_endpoint() -> quinn::Endpoint {
    quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// The future's result, which must come before the deadline.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing came before the deadline")
}

/// Waits until the condition holds, which it must before the deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = tokio::time::Instant::now();
    let mut look_again = tokio::time::interval(Duration::from_millis(2));
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not before the deadline: {what}");
        look_again.tick().await;
    }
}
