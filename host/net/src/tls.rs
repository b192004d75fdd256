//! TLS settings: protocol names, TLS 1.3 with ring, and no tickets, so that no early data can be
//! replayed. It does not know files or endpoints.

use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;

use crate::client_identity::ClientIdentity;
use crate::identity::{ServerIdentity, TrustAnchors};

/// What is spoken on a connection. TLS agrees on it (ALPN), before the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Clients with the server: `quorate/1`.
    Client,
    /// Members with each other: `quorate-member/1`.
    Member,
}

/// ALPN of [`Protocol::Client`].
pub const ALPN_CLIENT: &[u8] = b"quorate/1";
/// ALPN of [`Protocol::Member`].
pub const ALPN_MEMBER: &[u8] = b"quorate-member/1";

impl Protocol {
    /// The name on the wire.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Client => ALPN_CLIENT,
            Self::Member => ALPN_MEMBER,
        }
    }

    /// The protocol with that name.
    #[must_use]
    pub fn from_alpn(alpn: &[u8]) -> Option<Self> {
        [Self::Client, Self::Member].into_iter().find(|protocol| protocol.alpn() == alpn)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.alpn()))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For a server. Clients that offer none of `protocols` are refused by TLS. Everybody is asked for
/// a certificate and nobody needs one: TLS asks before it knows the protocol. One that is shown
/// must be of `trust`, which vouches for all who may connect.
pub(crate) fn server_crypto(
    identity: &ServerIdentity,
    trust: &TrustAnchors,
    protocols: &[Protocol],
) -> Result<QuicServerConfig, String> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&trust.roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| error.to_string())?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.alpn().to_vec()).collect();
    // No resumption: sessions of ours are resumed by their own secret, and a ticket would only save
    // a signature.
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|error| error.to_string())
}

/// For a member that dials members of `trust` and shows its own certificate.
pub(crate) fn member_crypto(
    identity: &ServerIdentity,
    trust: &TrustAnchors,
) -> Result<QuicClientConfig, String> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(Arc::clone(&trust.roots))
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![Protocol::Member.alpn().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}

/// For a client that accepts servers of `trust`, speaks `protocol`, and shows a certificate if it has
/// one, whichever authorities the server names.
pub(crate) fn client_crypto(
    trust: &TrustAnchors,
    identity: Option<&ClientIdentity>,
    protocol: Protocol,
) -> Result<QuicClientConfig, String> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(Arc::clone(&trust.roots));
    let mut config = match identity {
        Some(ClientIdentity { chain, key }) => config
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| error.to_string())?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}
