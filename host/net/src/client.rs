//! The connecting end: one UDP socket, connections to any number of servers. It does not know
//! sessions, and never connects again by itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint, EndpointConfig, TokioRuntime, TransportErrorCode};

use crate::client_identity::ClientIdentity;
use crate::close::{CloseCode, is_about_a_certificate, printable};
use crate::connection::Connection;
use crate::identity::TrustAnchors;
use crate::limits::{HANDSHAKE_TIMEOUT, IDLE_TIMEOUT};
use crate::server::{BindError, ShutdownTimedOut};
use crate::tls::{Protocol, client_crypto};
use crate::transport::{End, bind_socket, canonical, in_family_of, transport};

/// Settings of a client's socket and of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Local UDP address; `None` takes any port, for IPv4 and, where the machine has it, IPv6.
    pub local: Option<SocketAddr>,
    /// How long `connect` tries.
    pub connect_timeout: Duration,
    /// How long a connection may be silent. The client sends a sign of life at a third of it, so a
    /// server that allows less than that will drop idle clients.
    pub idle_timeout: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { local: None, connect_timeout: HANDSHAKE_TIMEOUT, idle_timeout: IDLE_TIMEOUT }
    }
}

/// Why there is no connection. Nothing has been sent to the server's application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server is there and takes no connections now: it has too many, or is shutting down.
    /// Later, or elsewhere.
    #[error("{address} refuses new connections at present (too many, or it is shutting down)")]
    Refused {
        /// The server's address.
        address: SocketAddr,
    },
    /// The server closed the connection during the handshake, with a code.
    #[error("{address} closed the connection with code {code} ({reason:?})")]
    Closed {
        /// The server's address.
        address: SocketAddr,
        /// See [`CloseCode::from_number`].
        code: u64,
        /// The server's words.
        reason: String,
    },
    /// The server is not who it should be: its certificate is signed by another authority, for
    /// other names, or expired.
    #[error("{address} has no valid certificate for {server_name:?}: {cause}")]
    WrongCertificate {
        /// The server's address.
        address: SocketAddr,
        /// The name that was asked for.
        server_name: String,
        /// What the verification found.
        cause: String,
    },
    /// The server does not take the certificate that this end has shown: another authority has signed it, it has expired, or it
    /// is not for clients. Mostly the server says so only after `connect` has returned; the connection then ends with
    /// [`crate::CloseReason::CertificateRefused`].
    #[error("{address} refuses the certificate that was shown: {cause}")]
    CertificateRefused {
        /// The server's address.
        address: SocketAddr,
        /// What the server found.
        cause: String,
    },
    /// The server does not speak the protocol: another service, or a version without it.
    #[error("{address} does not speak {protocol}: another service, or a server of another version")]
    WrongProtocol {
        /// The server's address.
        address: SocketAddr,
        /// What was offered.
        protocol: Protocol,
    },
    /// No answer. The server is down, the address is wrong, or UDP is filtered on the way.
    #[error("no answer from {address} within {after:?}")]
    TimedOut {
        /// The server's address.
        address: SocketAddr,
        /// How long was tried.
        after: Duration,
    },
    /// The network says that nobody listens there, or that there is no way.
    #[error("{address} can not be reached: {cause}")]
    Unreachable {
        /// The server's address.
        address: SocketAddr,
        /// What the operating system said.
        cause: String,
    },
    /// The name of the address to dial has no address at present, or is no `host:port`.
    #[error("{address:?} can not be resolved: {cause}")]
    Unresolved {
        /// What was to be dialled.
        address: String,
        /// What the resolver said.
        cause: String,
    },
    /// The name is neither a host name nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    BadName(String),
    /// The handshake failed in another way.
    #[error("the handshake with {address} failed: {cause}")]
    Handshake {
        /// The server's address.
        address: SocketAddr,
        /// What QUIC or TLS said.
        cause: String,
    },
    /// The client has been shut down, or its socket failed.
    #[error("the client has been shut down")]
    ShutDown,
}

/// A client's UDP socket with its connections. Owns no task of its own.
///
/// Dropped, its connections live on until they are dropped themselves.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    config: ClientConfig,
    transport: Arc<quinn::TransportConfig>,
}

impl Client {
    /// Takes a socket. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(config: ClientConfig) -> Result<Self, BindError> {
        let transport = transport(End::Client, config.idle_timeout).map_err(BindError::Setting)?;
        let socket = match config.local {
            Some(address) => {
                bind_socket(address).map_err(|cause| BindError::Address { address, cause })?
            }
            None => bind_any()?,
        };
        let endpoint =
            Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
                .map_err(|cause| BindError::Address {
                    address: config.local.unwrap_or(unspecified_v6()),
                    cause,
                })?;
        Ok(Self { endpoint, config, transport })
    }

    /// Connects to the server at `address`, which must have a certificate for `server_name` (a host
    /// name or an IP address) by one of the authorities in `trust`.
    ///
    /// Cancel-safe: dropped before it is ready, the attempt is given up.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        address: SocketAddr,
        server_name: &str,
        trust: &TrustAnchors,
        protocol: Protocol,
    ) -> Result<Connection, ConnectError> {
        self.connect_as(None, address, server_name, trust, protocol).await
    }

    /// As `connect`, and shows a certificate if there is one.
    ///
    /// Cancel-safe: dropped before it is ready, the attempt is given up.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_as(
        &self,
        identity: Option<&ClientIdentity>,
        address: SocketAddr,
        server_name: &str,
        trust: &TrustAnchors,
        protocol: Protocol,
    ) -> Result<Connection, ConnectError> {
        let crypto = client_crypto(trust, identity, protocol)
            .map_err(|cause| ConnectError::Handshake { address, cause })?;
        let mut settings = quinn::ClientConfig::new(Arc::new(crypto));
        settings.transport_config(Arc::clone(&self.transport));
        let after = self.config.connect_timeout;
        let attempt = Attempt { address, server_name, protocol, after };
        let connection = attempt.run(&self.endpoint, settings).await?;
        Ok(Connection::new(connection, protocol))
    }

    /// Moves the client, with all its connections, to another local address; their lanes go on.
    /// `None` is any port.
    ///
    /// # Errors
    /// The address can not be had, or is IPv6 where the client was bound to IPv4; the old socket
    /// stays.
    pub fn rebind(&self, local: Option<SocketAddr>) -> Result<(), BindError> {
        let address = local.unwrap_or(unspecified_v6());
        let failed = |cause| BindError::Address { address, cause };
        // Addresses of peers are kept in the family of the first socket.
        let bound = self.endpoint.local_addr().map_err(failed)?;
        let socket = match local {
            Some(local) if local.is_ipv6() && bound.is_ipv4() => {
                let cause = "a client bound to IPv4 can not move to IPv6".to_owned();
                return Err(BindError::Setting(cause));
            }
            Some(local) => bind_socket(in_family_of(bound, local)).map_err(failed)?,
            None if bound.is_ipv4() => bind_socket(unspecified_v4()).map_err(failed)?,
            None => bind_socket(unspecified_v6()).map_err(failed)?,
        };
        self.endpoint.rebind(socket).map_err(failed)
    }

    /// The local address, as bound.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr().map(canonical)
    }

    /// Closes all connections with [`CloseCode::Normal`] and waits until the servers have been
    /// told, at most for `deadline`.
    ///
    /// # Errors
    /// [`ShutdownTimedOut`].
    pub async fn shutdown(self, deadline: Duration) -> Result<(), ShutdownTimedOut> {
        self.endpoint.close(CloseCode::Normal.varint(), b"");
        tokio::time::timeout(deadline, self.endpoint.wait_idle())
            .await
            .map_err(|_| ShutdownTimedOut)
    }
}

fn unspecified_v6() -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)
}

fn unspecified_v4() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
}

/// A socket for both families, or for IPv4 where there is no IPv6.
fn bind_any() -> Result<std::net::UdpSocket, BindError> {
    bind_socket(unspecified_v6())
        .or_else(|_| bind_socket(unspecified_v4()))
        .map_err(|cause| BindError::Address { address: unspecified_v4(), cause })
}

/// Ends only when the network reports that `address` can not be reached. QUIC itself waits for its
/// timeout, since such a report comes without proof; for a client that is told "nobody listens
/// there" at once it is worth believing. It costs the server one datagram of one byte, which QUIC
/// drops.
async fn unreachable_cause(address: SocketAddr) -> io::Error {
    match probe(address).await {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            ) =>
        {
            error
        }
        _ => std::future::pending().await,
    }
}

async fn probe(address: SocketAddr) -> io::Result<()> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = tokio::net::UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(address).await?;
    socket.send(&[0]).await?;
    loop {
        // An answer says nothing; only the report of an error does.
        socket.recv(&mut [0; 16]).await?;
    }
}

fn not_begun(error: quinn::ConnectError, address: SocketAddr) -> ConnectError {
    match error {
        quinn::ConnectError::EndpointStopping => ConnectError::ShutDown,
        quinn::ConnectError::InvalidServerName(name) => ConnectError::BadName(name),
        quinn::ConnectError::InvalidRemoteAddress(_) => ConnectError::Unreachable {
            address,
            cause: "the port is 0, or this machine has no IPv6".to_owned(),
        },
        other => ConnectError::Handshake { address, cause: other.to_string() },
    }
}

/// What is tried, also for the error that says that it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) server_name: &'a str,
    pub(crate) protocol: Protocol,
    pub(crate) after: Duration,
}

const NO_APPLICATION_PROTOCOL_ALERT: u8 = 120;

impl Attempt<'_> {
    /// Cancel-safe: dropped before it is ready, the attempt is given up.
    pub(crate) async fn run(
        self,
        endpoint: &Endpoint,
        settings: quinn::ClientConfig,
    ) -> Result<quinn::Connection, ConnectError> {
        let Self { address, server_name, after, .. } = self;
        let connecting = endpoint
            .connect_with(settings, address, server_name)
            .map_err(|error| not_begun(error, address))?;
        tokio::select! {
            biased;
            shaken = tokio::time::timeout(after, connecting) => match shaken {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(self.failed(error)),
                Err(_) => Err(ConnectError::TimedOut { address, after }),
            },
            cause = unreachable_cause(address) => {
                Err(ConnectError::Unreachable { address, cause: cause.to_string() })
            }
        }
    }

    fn failed(self, error: ConnectionError) -> ConnectError {
        let Self { address, server_name, protocol, after } = self;
        let no_protocol = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL_ALERT);
        match error {
            ConnectionError::TimedOut => ConnectError::TimedOut { address, after },
            ConnectionError::LocallyClosed => ConnectError::ShutDown,
            ConnectionError::ConnectionClosed(close)
                if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
            {
                ConnectError::Refused { address }
            }
            ConnectionError::ConnectionClosed(close) if close.error_code == no_protocol => {
                ConnectError::WrongProtocol { address, protocol }
            }
            ConnectionError::ConnectionClosed(close)
                if is_about_a_certificate(close.error_code) =>
            {
                ConnectError::CertificateRefused { address, cause: printable(&close.reason) }
            }
            ConnectionError::ApplicationClosed(close) => ConnectError::Closed {
                address,
                code: close.error_code.into_inner(),
                reason: printable(&close.reason),
            },
            ConnectionError::TransportError(error) if error.code == no_protocol => {
                ConnectError::WrongProtocol { address, protocol }
            }
            ConnectionError::TransportError(error) if is_about_a_certificate(error.code) => {
                ConnectError::WrongCertificate {
                    address,
                    server_name: server_name.to_owned(),
                    cause: error.reason,
                }
            }
            other => ConnectError::Handshake { address, cause: other.to_string() },
        }
    }
}
