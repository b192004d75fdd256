//! What a client is told at its start. It does not know how it is used.

use std::path::PathBuf;
use std::time::Duration;

use quorate_core::ids::NamespaceId;
use quorate_net::TrustAnchors;

use crate::credential::{Certificate, Credential};
use crate::error::ConnectError;
use crate::limits;

/// The authority whose members are trusted.
#[derive(Debug, Clone)]
pub enum Authority {
    /// Its certificate, in a PEM file. Read once, at `connect`.
    File(PathBuf),
    /// Its certificate, as PEM text.
    Pem(Vec<u8>),
    /// Its certificate, read already.
    Anchors(TrustAnchors),
}

impl Authority {
    pub(crate) fn load(&self) -> Result<TrustAnchors, ConnectError> {
        match self {
            Self::File(path) => {
                TrustAnchors::load(path).map_err(|error| ConnectError::Options(error.to_string()))
            }
            Self::Pem(pem) => TrustAnchors::from_pem(pem)
                .map_err(|error| ConnectError::Options(error.to_string())),
            Self::Anchors(anchors) => Ok(anchors.clone()),
        }
    }
}

/// Settings of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// Members, as `host:port`. Names are resolved anew at each attempt; one member is enough, the others are learned from it.
    pub addresses: Vec<String>,
    /// Who signs the members' certificates.
    pub authority: Authority,
    /// The certificate that this client shows to members. None: it shows none.
    pub certificate: Option<Certificate>,
    /// What else it shows when a session is opened, or a command is given to the cluster; four at most. A session that is gone on
    /// with keeps who it was.
    pub credentials: Vec<Credential>,
    /// The name that the members' certificates are for. None: the host of the address that is tried.
    pub server_name: Option<String>,
    /// Time without a sign of life after which the service may end the session. None: the service decides.
    pub session_timeout: Option<Duration>,
    /// Name and version of this client, for the service's logs; 256 bytes at most.
    pub agent: String,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The part of the tree that the client takes for all of it: see [`Client::with_root`](crate::Client::with_root). None: the
    /// whole tree. Commands to a cluster do not look at it.
    pub root: Option<String>,
    /// How long `connect` tries all addresses. Afterwards, a client whose session lives tries for as long as that.
    pub connect_timeout: Duration,
}

impl Options {
    /// These members and this authority; everything else by default.
    pub fn new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        authority: Authority,
    ) -> Self {
        Self {
            addresses: addresses.into_iter().map(Into::into).collect(),
            authority,
            certificate: None,
            credentials: Vec::new(),
            server_name: None,
            session_timeout: None,
            agent: concat!("quorate-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            namespace: NamespaceId::DEFAULT,
            root: None,
            connect_timeout: limits::CONNECT_TIMEOUT,
        }
    }

    pub(crate) fn session_timeout_ms(&self) -> u64 {
        self.session_timeout.map_or(0, |timeout| crate::clock::milliseconds(timeout).max(1))
    }
}
