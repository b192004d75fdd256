//! A member that opens connections to others, from the UDP port that it serves on. It never dials
//! again by itself, and does not know who is a member of what.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use quinn::Endpoint;
use tokio::time::Instant;

use crate::client::{Attempt, ConnectError};
use crate::connection::Connection;
use crate::identity::{ServerIdentity, TrustAnchors, member_name};
use crate::limits::{DIAL_ADDRESSES_MAX, DIAL_TIMEOUT, MEMBER_IDLE_TIMEOUT};
use crate::server::BindError;
use crate::tls::{Protocol, member_crypto};
use crate::transport::{End, transport};

/// Opens connections of [`Protocol::Member`] that show this server's certificate. Cheap to clone.
/// Works until its server is shut down.
#[derive(Clone)]
pub struct Dialer {
    endpoint: Endpoint,
    // Shared by all clones: a renewed certificate is shown by each.
    settings: Arc<RwLock<quinn::ClientConfig>>,
}

impl Dialer {
    pub(crate) fn new(
        endpoint: Endpoint,
        identity: &ServerIdentity,
        trust: &TrustAnchors,
    ) -> Result<Self, BindError> {
        let settings = Arc::new(RwLock::new(settings(identity, trust)?));
        Ok(Self { endpoint, settings })
    }

    pub(crate) fn renew(
        &self,
        identity: &ServerIdentity,
        trust: &TrustAnchors,
    ) -> Result<(), BindError> {
        let renewed = settings(identity, trust)?;
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    fn settings(&self) -> quinn::ClientConfig {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects to the member with this number at `address` (`host:port`; IPv6 in brackets), whose
    /// certificate must say that it is that one. The name is resolved anew at each call; its addresses are
    /// tried one after the other, [`DIAL_ADDRESSES_MAX`] at most, [`DIAL_TIMEOUT`] for all.
    ///
    /// The connection may be refused yet: what the other makes of this member's certificate, it says
    /// only after this end has come through the handshake. The connection then ends, and no lane has an
    /// answer.
    ///
    /// Cancel-safe: dropped before it is ready, the attempt is given up.
    ///
    /// # Errors
    /// `Unresolved`; else, of the addresses that were tried, what the first said that answered, or that no one did.
    /// `WrongCertificate` says whose certificate it was.
    pub async fn dial(&self, address: &str, member: u64) -> Result<Connection, ConnectError> {
        let deadline = Instant::now() + DIAL_TIMEOUT;
        let addresses = resolve(address, deadline).await?;
        let server_name = member_name(member);
        let mut failed: Option<ConnectError> = None;
        for (tried_count, address) in addresses.iter().enumerate() {
            let left_count = u32::try_from(addresses.len() - tried_count).unwrap_or(u32::MAX);
            let after = deadline.saturating_duration_since(Instant::now()) / left_count;
            let protocol = Protocol::Member;
            let attempt = Attempt { address: *address, server_name: &server_name, protocol, after };
            let error = match attempt.run(&self.endpoint, self.settings()).await {
                Ok(connection) => return Ok(Connection::new(connection, protocol)),
                Err(ConnectError::ShutDown) => return Err(ConnectError::ShutDown),
                Err(error) => error,
            };
            if failed.as_ref().is_none_or(|before| is_silence(before) && !is_silence(&error)) {
                failed = Some(error);
            }
        }
        Err(failed.unwrap_or_else(|| ConnectError::Unresolved {
            address: address.to_owned(),
            cause: "the name has no address".to_owned(),
        }))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("local_address", &self.endpoint.local_addr().ok()).finish()
    }
}

fn settings(
    identity: &ServerIdentity,
    trust: &TrustAnchors,
) -> Result<quinn::ClientConfig, BindError> {
    let crypto = member_crypto(identity, trust).map_err(BindError::Identity)?;
    let mut settings = quinn::ClientConfig::new(Arc::new(crypto));
    settings.transport_config(
        transport(End::Dialler, MEMBER_IDLE_TIMEOUT).map_err(BindError::Setting)?,
    );
    Ok(settings)
}

/// The addresses of a name, each once, in the resolver's order.
async fn resolve(address: &str, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let unresolved =
        |cause: String| ConnectError::Unresolved { address: address.to_owned(), cause };
    let found = tokio::time::timeout_at(deadline, tokio::net::lookup_host(address))
        .await
        .map_err(|_| unresolved(format!("no answer within {DIAL_TIMEOUT:?}")))?
        .map_err(|error| unresolved(error.to_string()))?;
    let mut addresses = Vec::new();
    for address in found {
        if addresses.len() < DIAL_ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Nobody said anything: less to go by than any answer.
fn is_silence(error: &ConnectError) -> bool {
    matches!(error, ConnectError::TimedOut { .. } | ConnectError::Unreachable { .. })
}
