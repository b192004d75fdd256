//! Who a client is: what its certificate, tokens and passwords make it known as. Credentials come this far and no further:
//! what goes on is identities. It does not know what those may do, and keeps nothing of what it was shown.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use quorate_core::access::{Held, Identity, Scheme};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Millis;
use quorate_core::limits;
use quorate_core::session::Opening;
use quorate_net::limits::{
    CERTIFICATE_NAMES_MAX, NAME_BYTES_MAX, PASSWORD_BYTES_MAX, TOKEN_BYTES_MAX,
};
use quorate_net::{Connection, TrustAnchors, password_digest};
use quorate_wire::message::credential::{self, Credential, HOUSE_SECRET_BYTES};
use sha2::{Digest as _, Sha256};

/// Bytes of a digest's hash in base64, and of the colon before it.
const HASH_BYTES: usize = 29;
/// The longest scheme before the longest name, `digest:`, and `EMAIL=` within `x509:`.
const SCHEME_BYTES_MAX: usize = 11;
const _: () = assert!(
    CERTIFICATE_NAMES_MAX + credential::CREDENTIALS_MAX <= limits::IDENTITIES_PER_SESSION_MAX
);
const _: () =
    assert!(SCHEME_BYTES_MAX + NAME_BYTES_MAX + HASH_BYTES <= limits::PRINCIPAL_BYTES_MAX);
const _: () = assert!(TOKEN_BYTES_MAX <= credential::CREDENTIAL_TEXT_BYTES_MAX);
const _: () = assert!(PASSWORD_BYTES_MAX <= credential::CREDENTIAL_TEXT_BYTES_MAX);

/// Whether somebody must be vouched for to be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Whoever shows nothing is served, as nobody.
    #[default]
    Served,
    /// Whoever shows neither a certificate nor a token is refused. A password is not enough: everybody may choose one.
    Refused,
}

/// What is looked at when somebody shows something.
pub struct Authentication {
    /// Who vouches for clients.
    trust: RwLock<TrustAnchors>,
    /// The cluster that this member belongs to, as tokens name it; none as long as it waits for one.
    cluster: Box<dyn Fn() -> Option<String> + Send + Sync>,
    anonymous: Anonymous,
    house: [u8; HOUSE_SECRET_BYTES],
}

/// Who gives a command to the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// What it is known as, ascending, each once.
    pub identities: Vec<Identity>,
    /// From where it has connected.
    pub remote: Option<SocketAddr>,
}

impl Caller {
    /// Of whom nothing is known but where it is.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        Self { identities: Vec::new(), remote: Some(connection.proven_remote()) }
    }
}

impl Authentication {
    /// With these authorities of clients, and a secret that this process shares with itself.
    #[must_use]
    pub fn new(
        trust: TrustAnchors,
        anonymous: Anonymous,
        house: [u8; HOUSE_SECRET_BYTES],
        cluster: Box<dyn Fn() -> Option<String> + Send + Sync>,
    ) -> Self {
        Self { trust: RwLock::new(trust), cluster, anonymous, house }
    }

    /// Other authorities vouch for clients from now on. What was shown before stays believed.
    pub fn renew(&self, identity: &quorate_net::Identity) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = vouching(identity);
    }

    /// What a credential makes somebody known as, and until when.
    ///
    /// # Errors
    /// `authentication-failed`, with the reason, which quotes nothing of the credential.
    pub fn show(&self, credential: &Credential, now: SystemTime) -> Result<Held, Refusal> {
        match credential {
            Credential::Token(text) => {
                let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner).clone();
                let token = trust
                    .verify_token(text, (self.cluster)().as_deref(), now)
                    .map_err(|error| failed(error.to_string()))?;
                let expires = Some(millis(token.expires));
                Ok(Held { identity: identity(Scheme::Token, token.name)?, expires })
            }
            Credential::Password { user, password } => {
                let digest =
                    password_digest(user, password).map_err(|error| failed(error.to_string()))?;
                Ok(Held::for_good(identity(Scheme::Digest, digest)?))
            }
            Credential::House(secret) => {
                // Their hashes are compared: how long that takes says nothing of the secret.
                if Sha256::digest(secret) == Sha256::digest(self.house) {
                    Ok(Held::for_good(Identity::superuser()))
                } else {
                    Err(failed("this is not the secret of this member".to_owned()))
                }
            }
        }
    }

    /// What somebody is known as who connects so and shows this, ascending, each once.
    ///
    /// # Errors
    /// `authentication-failed`, if anything of it is not accepted; `authentication-required`.
    pub fn known(
        &self,
        names: Vec<String>,
        credentials: &[Credential],
        now: SystemTime,
    ) -> Result<Vec<Held>, Refusal> {
        let mut known: BTreeMap<Identity, Option<Millis>> = BTreeMap::new();
        for name in names {
            known.insert(identity(Scheme::X509, name)?, None);
        }
        for credential in credentials {
            let Held { identity, expires } = self.show(credential, now)?;
            // Of two tokens of one name the one counts that lasts longer.
            let longer = |before: &mut Option<Millis>| *before = (*before).max(expires);
            known.entry(identity).and_modify(longer).or_insert(expires);
        }
        let known = known.into_iter().map(|(identity, expires)| Held { identity, expires });
        let known: Vec<Held> = known.collect();
        self.check_somebody(&known)?;
        Ok(known)
    }

    /// Whether who is known so is served.
    ///
    /// # Errors
    /// `authentication-required`, saying what to do.
    pub fn check_somebody(&self, known: &[Held]) -> Result<(), Refusal> {
        let is_vouched_for = known.iter().any(|held| held.identity.scheme() != Scheme::Digest);
        if self.anonymous == Anonymous::Served || is_vouched_for {
            return Ok(());
        }
        let shown =
            if known.is_empty() { "nothing was shown" } else { "a password alone was shown" };
        Err(Refusal::new(
            ErrorCode::AuthenticationRequired,
            format!(
                "nobody is served here without a certificate or a token, and {shown}: connect with a client certificate \
                 (--cert and --key), or show a token (--token-file)"
            ),
        ))
    }

    /// Whether who was known so is served at this time: what has expired vouches for nobody.
    ///
    /// # Errors
    /// `authentication-required`, saying what to do.
    pub fn check_still_somebody(&self, known: &[Held], now: Millis) -> Result<(), Refusal> {
        let valid: Vec<Held> = known.iter().filter(|held| held.is_at(now)).cloned().collect();
        self.check_somebody(&valid).map_err(|refusal| {
            if valid.len() == known.len() {
                return refusal;
            }
            Refusal::new(
                ErrorCode::AuthenticationRequired,
                "nobody is served here without a certificate or a token, and the tokens that this session was known by have \
                 expired: open another session; one that is to be kept must be shown the next token before the last one expires",
            )
        })
    }

    /// Who gives a command to the cluster on this connection.
    ///
    /// # Errors
    /// As [`Authentication::known`].
    pub fn caller(
        &self,
        connection: &Connection,
        credentials: &[Credential],
        now: SystemTime,
    ) -> Result<Caller, Refusal> {
        let known = self.known(connection.peer_names(), credentials, now)?;
        let identities = known.into_iter().map(|held| held.identity).collect();
        Ok(Caller { identities, ..Caller::of(connection) })
    }
}

/// Who vouches for clients of a member with this identity.
#[must_use]
pub fn vouching(identity: &quorate_net::Identity) -> TrustAnchors {
    identity.clients.as_ref().unwrap_or(&identity.trust).clone()
}

/// What a session is opened with by somebody who is known so.
#[must_use]
pub fn opening(timeout_ms: u64, secret_hash: [u8; 32], identities: Vec<Held>) -> Opening {
    Opening { timeout_ms, secret_hash, principal: principal(&identities), identities }
}

/// The one name that recipes and people see of a session: the first identity, certificates' before tokens' before passwords',
/// and of several of a kind the first in ascending order, which is the common name of a certificate that has one. Empty if there is
/// none.
#[must_use]
pub fn principal(known: &[Held]) -> String {
    let of = |scheme| known.iter().find(move |held| held.identity.scheme() == scheme);
    let first = [Scheme::X509, Scheme::Token, Scheme::Digest].into_iter().find_map(of);
    first.map(|held| held.identity.to_string()).unwrap_or_default()
}

/// The hash by which a credential that is sent again is told from another request. It goes into the log, so a password can not be
/// read from it: it is that of what anyhow goes there, and of a token one that can not be turned back.
#[must_use]
pub fn hash(credential: &Credential) -> u128 {
    let digest = match credential {
        Credential::Token(text) => Sha256::digest(text),
        Credential::Password { user, password } => {
            // One that is refused has a reason that is the same each time.
            Sha256::digest(password_digest(user, password).unwrap_or_default())
        }
        Credential::House(secret) => Sha256::digest(secret),
    };
    digest.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

fn identity(scheme: Scheme, id: String) -> Result<Identity, Refusal> {
    Identity::new(scheme, id).map_err(|refusal| failed(refusal.message))
}

fn failed(message: String) -> Refusal {
    Refusal::new(ErrorCode::AuthenticationFailed, message)
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
