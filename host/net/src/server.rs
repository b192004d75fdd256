//! The listening end: one UDP port, admission, handshakes, and the connections that came through.
//! It does not know what is spoken on them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connecting, Endpoint, Incoming, TokioRuntime};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::close::CloseCode;
use crate::connection::Connection;
use crate::dialer::Dialer;
use crate::identity::{ServerIdentity, TrustAnchors};
use crate::limits::{
    ACCEPT_QUEUE_MAX, CONNECTIONS_MAX, HANDSHAKE_RETRY_DIVISOR, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX,
    IDLE_TIMEOUT, INCOMING_BUFFER_BYTES, INCOMING_BUFFER_BYTES_TOTAL, INCOMING_MAX,
};
use crate::reset::endpoint_config;
use crate::tls::{Protocol, server_crypto};
use crate::transport::{End, bind_socket, canonical, transport, widen};
use crate::verify::check_client;

/// What a server listens on, and its limits.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// UDP address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key.
    pub identity: ServerIdentity,
    /// Whose members are members: those that connect, and those that this one dials.
    pub trust: TrustAnchors,
    /// Whose clients are clients; none: those of `trust`.
    pub clients: Option<TrustAnchors>,
    /// Whether clients must show a certificate.
    pub client_certificates: ClientCertificates,
    /// What is served, the preferred first; a client that offers none of it is refused during the
    /// handshake.
    pub protocols: Vec<Protocol>,
    /// Connections at once, handshakes included. One more is refused before any handshake work.
    pub connections_max: u32,
    /// Handshakes at once. From a quarter of it on, addresses must prove themselves first.
    pub handshakes_max: u32,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent. The shorter of both ends' values holds.
    pub idle_timeout: Duration,
}

/// Whether clients must show a certificate. One that is shown must be good in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Who has none is served, too.
    #[default]
    Optional,
    /// Who shows none is sent away.
    Required,
}

impl ServerConfig {
    /// Serves clients at `listen`, with the defaults of [`crate::limits`].
    #[must_use]
    pub fn new(listen: SocketAddr, identity: ServerIdentity, trust: TrustAnchors) -> Self {
        Self {
            listen,
            identity,
            trust,
            clients: None,
            client_certificates: ClientCertificates::default(),
            protocols: vec![Protocol::Client],
            connections_max: CONNECTIONS_MAX,
            handshakes_max: HANDSHAKES_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// Why a server does not listen, or a client has no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The operating system does not give the address.
    #[error("can not listen on {address}: {cause}")]
    Address {
        /// UDP address.
        address: SocketAddr,
        /// Mostly `AddrInUse` or `PermissionDenied`.
        cause: std::io::Error,
    },
    /// TLS does not take the certificate or its key.
    #[error("certificate or key can not be used: {0}")]
    Identity(String),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

/// A UDP port that has been taken, before anybody is served on it: what can fail for lack of it
/// comes before what would have to be undone.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Port {
    /// Takes a port; 0 is a free one.
    ///
    /// # Errors
    /// [`BindError::Address`].
    pub fn take(listen: SocketAddr) -> Result<Self, BindError> {
        let failed = |cause| BindError::Address { address: listen, cause };
        let socket = bind_socket(listen).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }
}

/// Not all connections were gone by the deadline of a shutdown. They have been told, and are
/// dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connections were still closing at the deadline")]
pub struct ShutdownTimedOut;

/// What a server holds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLoad {
    /// Connections, with those in their handshake and those that drain after a close (a few round
    /// trips).
    pub connections_count: u32,
    /// Handshakes under way, with those that are through and wait for `accept`.
    pub handshakes_count: u32,
}

/// A listening endpoint. It owns the task that admits connections; `shutdown` awaits its end.
///
/// Dropped without `shutdown`, it closes all its connections with [`CloseCode::ShuttingDown`] and
/// does not wait. The UDP port is free when also the last [`Connection`] and the last [`Dialer`] have
/// been dropped.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    local_address: SocketAddr,
    established: mpsc::Receiver<Connection>,
    admission: Arc<Admission>,
    dialer: Dialer,
    acceptor: JoinHandle<()>,
    config: ServerConfig,
}

/// What the accepting task shares with its owner.
#[derive(Debug)]
struct Admission {
    connections_max: usize,
    handshakes_max: usize,
    handshake_timeout: Duration,
    handshakes_count: AtomicU32,
    is_closed: AtomicBool,
    roles: RwLock<Arc<Roles>>,
}

/// What a certificate must be for each protocol, beyond what TLS has found, which asks before it knows the protocol.
#[derive(Debug)]
struct Roles {
    members: TrustAnchors,
    /// None: as for members, so that TLS has settled it.
    clients: Option<TrustAnchors>,
    client_certificates: ClientCertificates,
}

impl Server {
    /// Listens. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(config: &ServerConfig) -> Result<Self, BindError> {
        Self::listen(Port::take(config.listen)?, config)
    }

    /// Listens on a port that was taken before; `config.listen` does not count. To be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn listen(port: Port, config: &ServerConfig) -> Result<Self, BindError> {
        let Port { socket, address: local_address } = port;
        if config.protocols.is_empty() {
            return Err(BindError::Setting("a server must serve at least one protocol".to_owned()));
        }
        let settings = settings(config)?;
        let endpoint_settings = endpoint_config(&config.identity).map_err(BindError::Identity)?;
        let endpoint =
            Endpoint::new(endpoint_settings, Some(settings), socket, Arc::new(TokioRuntime))
                .map_err(|cause| BindError::Address { address: local_address, cause })?;
        let dialer = Dialer::new(endpoint.clone(), &config.identity, &config.trust)?;
        let admission = Arc::new(Admission {
            connections_max: config.connections_max as usize,
            handshakes_max: config.handshakes_max as usize,
            handshake_timeout: config.handshake_timeout,
            handshakes_count: AtomicU32::new(0),
            is_closed: AtomicBool::new(false),
            roles: RwLock::new(Arc::new(Roles::of(config))),
        });
        let (sender, established) = mpsc::channel(ACCEPT_QUEUE_MAX);
        let acceptor = tokio::spawn(accept_all(endpoint.clone(), Arc::clone(&admission), sender));
        Ok(Self {
            endpoint,
            local_address,
            established,
            admission,
            dialer,
            acceptor,
            config: config.clone(),
        })
    }

    /// The next connection that has come through its handshake; `None` when the endpoint is lost.
    /// It may have ended already.
    ///
    /// Cancel-safe.
    pub async fn accept(&mut self) -> Option<Connection> {
        self.established.recv().await
    }

    /// Shows another certificate from now on, to those who connect and to those whom dialers dial,
    /// and trusts members and clients of other sets of authorities. Connections that stand go on.
    ///
    /// # Errors
    /// TLS does not take the certificate or its key; nothing has changed then.
    pub fn renew(
        &self,
        identity: ServerIdentity,
        trust: TrustAnchors,
        clients: Option<TrustAnchors>,
    ) -> Result<(), BindError> {
        let config = ServerConfig { identity, trust, clients, ..self.config.clone() };
        let settings = settings(&config)?;
        self.dialer.renew(&config.identity, &config.trust)?;
        *self.admission.roles.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Roles::of(&config));
        self.endpoint.set_server_config(Some(settings));
        Ok(())
    }

    /// Opens connections to other members from this server's port.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// Where the server listens, with the port that it got.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// What the server holds now.
    #[must_use]
    pub fn load(&self) -> ServerLoad {
        ServerLoad {
            connections_count: u32::try_from(self.endpoint.open_connections()).unwrap_or(u32::MAX),
            handshakes_count: self.admission.handshakes_count.load(Ordering::Relaxed),
        }
    }

    /// Refuses new connections from now on; those that stand, and those in their handshake, go on.
    /// For a server that lets its connections finish before `shutdown`.
    pub fn stop_accepting(&self) {
        self.admission.is_closed.store(true, Ordering::Relaxed);
    }

    /// Closes all connections with [`CloseCode::ShuttingDown`], refuses new ones, and waits until
    /// the peers have been told, at most for `deadline`. When it returns, the accepting task has
    /// ended.
    ///
    /// # Errors
    /// [`ShutdownTimedOut`].
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownTimedOut> {
        self.close_all();
        if let Err(failed) = (&mut self.acceptor).await {
            tracing::error!(%failed, "the accepting task failed");
        }
        tokio::time::timeout(deadline, self.endpoint.wait_idle())
            .await
            .map_err(|_| ShutdownTimedOut)
    }

    fn close_all(&self) {
        self.endpoint.close(CloseCode::ShuttingDown.varint(), b"the server is shutting down");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close_all();
        self.acceptor.abort();
    }
}

impl Roles {
    fn of(config: &ServerConfig) -> Self {
        Self {
            members: config.trust.clone(),
            clients: config.clients.clone(),
            client_certificates: config.client_certificates,
        }
    }

    /// Whether who has come through the handshake may speak this protocol. A certificate that was shown is of one of the
    /// authorities.
    fn check(&self, connection: &Connection, now: SystemTime) -> Result<(), (CloseCode, String)> {
        let required = |reason: &str| Err((CloseCode::CertificateRequired, reason.to_owned()));
        let (chain, protocol) = (connection.peer_chain(), connection.protocol());
        match (chain, protocol) {
            (None, Protocol::Member) => {
                required("members show a certificate of the cluster's authority")
            }
            (None, Protocol::Client)
                if self.client_certificates == ClientCertificates::Required =>
            {
                required("clients show a certificate here, and none was shown")
            }
            (None, Protocol::Client) => Ok(()),
            (Some(chain), protocol) => {
                let Some(clients) = &self.clients else { return Ok(()) };
                let (trust, whose) = match protocol {
                    Protocol::Member => (&self.members, "members"),
                    Protocol::Client => (clients, "clients"),
                };
                check_client(trust, &chain, now).map_err(|cause| {
                    let reason =
                        format!("the certificate is not of an authority of {whose}: {cause}");
                    (CloseCode::CertificateRefused, reason)
                })
            }
        }
    }
}

/// What the endpoint makes of those who connect.
fn settings(config: &ServerConfig) -> Result<quinn::ServerConfig, BindError> {
    let all = config.clients.as_ref().map(|clients| config.trust.and(clients));
    let all = all.as_ref().unwrap_or(&config.trust);
    let crypto =
        server_crypto(&config.identity, all, &config.protocols).map_err(BindError::Identity)?;
    let mut settings = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    settings
        .transport_config(transport(End::Server, config.idle_timeout).map_err(BindError::Setting)?)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_BYTES_TOTAL)
        .migration(true);
    Ok(settings)
}

/// Admits until the endpoint is closed. Handshakes run beside each other, in tasks that end with
/// this one.
async fn accept_all(
    endpoint: Endpoint,
    admission: Arc<Admission>,
    established: mpsc::Sender<Connection>,
) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            // Those that have ended first: their room counts for the next.
            biased;
            Some(ended) = handshakes.join_next() => {
                if let Err(failed) = ended {
                    tracing::error!(%failed, "a handshake's task failed");
                }
            }
            incoming = endpoint.accept() => {
                let Some(incoming) = incoming else { break };
                let open_count = endpoint.open_connections();
                if let Some(connecting) = admission.admit(incoming, open_count, handshakes.len()) {
                    let admission = Arc::clone(&admission);
                    handshakes.spawn(shake_hands(connecting, admission, established.clone()));
                }
            }
        }
        let count = u32::try_from(handshakes.len()).unwrap_or(u32::MAX);
        admission.handshakes_count.store(count, Ordering::Relaxed);
    }
    handshakes.shutdown().await;
}

impl Admission {
    /// Decides on a first packet, by what is cheapest: refuse, ask for a proof of address, or begin
    /// the handshake.
    fn admit(
        &self,
        incoming: Incoming,
        open_count: usize,
        handshakes: usize,
    ) -> Option<Connecting> {
        let peer = canonical(incoming.remote_address());
        let is_closed = self.is_closed.load(Ordering::Relaxed);
        if is_closed || open_count >= self.connections_max || handshakes >= self.handshakes_max {
            tracing::debug!(%peer, is_closed, open_count, handshakes, "connection refused");
            incoming.refuse();
            return None;
        }
        let retry_from = self.handshakes_max / HANDSHAKE_RETRY_DIVISOR as usize;
        if handshakes >= retry_from && !incoming.remote_address_validated() {
            // An address that is not proven can always be asked: the error can not occur, and would
            // refuse.
            incoming.retry().ok();
            return None;
        }
        match incoming.accept() {
            Ok(connecting) => Some(connecting),
            Err(error) => {
                tracing::debug!(%peer, %error, "connection not begun");
                None
            }
        }
    }
}

async fn shake_hands(
    connecting: Connecting,
    admission: Arc<Admission>,
    established: mpsc::Sender<Connection>,
) {
    let peer = canonical(connecting.remote_address());
    let connection = match tokio::time::timeout(admission.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => return tracing::debug!(%peer, "handshake timed out"),
    };
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol)
        .and_then(|alpn| Protocol::from_alpn(&alpn));
    let Some(protocol) = protocol else {
        // TLS lets only protocols through that are served.
        connection.close(CloseCode::UnknownProtocol.varint(), b"unknown protocol");
        return tracing::debug!(%peer, "connection without a known protocol");
    };
    if protocol == Protocol::Member {
        widen(&connection);
    }
    let connection = Connection::new(connection, protocol);
    let roles = admission.roles.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Err((code, reason)) = roles.check(&connection, SystemTime::now()) {
        connection.close(code, &reason);
        return tracing::debug!(%peer, %protocol, reason, "connection of the wrong certificate");
    }
    if let Err(unwanted) = established.send(connection).await {
        unwanted.0.close(CloseCode::ShuttingDown, "the server is shutting down");
    }
}
