//! What a server that was started again needs to end the connections of the process before it: a
//! key for stateless resets (RFC 9000, 10.3) and connection ids that it knows for its own. It does
//! not know sockets or TLS.
//!
//! Both keys come out of the server's private key, so that they are the same after a restart and
//! nowhere else, and nothing more has to be kept. A client whose server was killed learns of it with
//! the first packet that the next process gets from it, and not by silence.
//!
//! What the keys protect:
//! - Who has the reset key can end every connection of this server from afar. It leaves this process
//!   in no form; a token is 16 bytes of a keyed hash of one connection id, and says nothing of others.
//! - A token may be told only once its connection is gone. quinn answers ids of connections that live
//!   with their data and never with their token; that holds for one server per key. Two servers at
//!   once with the same private key could be made to tell each other's: each has its own.
//! - The token of an id that comes again would be known from the first time. Ids hold 64 bits that
//!   only this process can foresee; quinn's own 24 bits would come again within a few restarts.
//! - Ids are noise to everybody without the key: two of one connection, as a client that moves shows
//!   them, can not be linked, and they do not tell how many there were.
//! - A reset is shorter than the packet that asked for it, so it amplifies nothing and two servers
//!   can not keep each other busy. The tag in an id leaves noise unanswered: only who has been given
//!   an id of this server is told that it is gone, at the cost of two hashes.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use quinn_proto::InvalidCid;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};

use crate::identity::ServerIdentity;

/// Labels that keep the keys apart. A changed one is a changed key: the connections of the process
/// before are then lost by silence.
const SALT: &[u8] = b"quorate quic endpoint";
const RESET_LABEL: &[u8] = b"stateless reset tokens";
const ID_LABEL: &[u8] = b"connection ids";

/// Bytes of a connection id that no two have in common, and those by which it is known for ours.
const NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 4;
const ID_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// QUIC allows 20 bytes in version 1.
const _: () = assert!(ID_BYTES <= 20);

/// The settings of a server's endpoint.
///
/// # Errors
/// The operating system gives no random bytes.
pub(crate) fn endpoint_config(identity: &ServerIdentity) -> Result<EndpointConfig, String> {
    let keys = Keys::of(identity)?;
    let seed = random_seed()?;
    let mut config = EndpointConfig::new(Arc::new(keys.reset));
    config
        // quinn tells the time once for all packets that it finds waiting, so any interval lets one of
        // them through and drops the others: a server full of clients would be minutes behind.
        .min_reset_interval(Duration::ZERO)
        .cid_generator(move || {
            Box::new(Ids { ours: keys.ids.clone(), seed: seed.clone(), made: 0 })
        });
    Ok(config)
}

struct Keys {
    reset: hmac::Key,
    ids: hmac::Key,
}

impl Keys {
    fn of(identity: &ServerIdentity) -> Result<Self, String> {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(identity.key.secret_der());
        let derive = |label| {
            root.expand(&[label], hmac::HMAC_SHA256)
                .map(hmac::Key::from)
                .map_err(|_| "a key could not be derived".to_owned())
        };
        Ok(Self { reset: derive(RESET_LABEL)?, ids: derive(ID_LABEL)? })
    }
}

fn random_seed() -> Result<hmac::Key, String> {
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| "the operating system gives no random bytes".to_owned())?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &seed))
}

/// Makes connection ids, and knows those of this server and of the ones before it.
struct Ids {
    ours: hmac::Key,
    /// Of this process alone, so that its ids are not those of another.
    seed: hmac::Key,
    made: u64,
}

impl Ids {
    fn tag(&self, nonce: &[u8]) -> [u8; TAG_BYTES] {
        first_bytes(&hmac::sign(&self.ours, nonce))
    }
}

fn first_bytes<const N: usize>(hash: &hmac::Tag) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&hash.as_ref()[..N]);
    bytes
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce: [u8; NONCE_BYTES] =
            first_bytes(&hmac::sign(&self.seed, &self.made.to_le_bytes()));
        self.made += 1;
        let mut id = [0; ID_BYTES];
        id[..NONCE_BYTES].copy_from_slice(&nonce);
        id[NONCE_BYTES..].copy_from_slice(&self.tag(&nonce));
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.split_at_checked(NONCE_BYTES) {
            Some((nonce, tag)) if self.tag(nonce) == tag => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::*;
    use crate::identity::Identity;

    fn identity(directory: &tempfile::TempDir) -> ServerIdentity {
        Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap().server
    }

    fn ids(identity: &ServerIdentity) -> Ids {
        Ids { ours: Keys::of(identity).unwrap().ids, seed: random_seed().unwrap(), made: 0 }
    }

    fn token(identity: &ServerIdentity, id: &ConnectionId) -> Vec<u8> {
        hmac::sign(&Keys::of(identity).unwrap().reset, id).as_ref().to_vec()
    }

    #[test]
    fn keys_are_those_of_the_private_key_and_of_no_other() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (before, after, stranger) = (identity(&one), identity(&one), identity(&other));
        let id = ids(&before).generate_cid();
        assert_eq!(token(&before, &id), token(&after, &id));
        assert_ne!(token(&before, &id), token(&stranger, &id));
        assert!(ids(&after).validate(&id).is_ok());
        assert!(ids(&stranger).validate(&id).is_err());
    }

    #[test]
    fn an_id_that_was_changed_or_cut_is_not_known() {
        let directory = tempfile::tempdir().unwrap();
        let mut ids = ids(&identity(&directory));
        let id = ids.generate_cid();
        assert_eq!(id.len(), ids.cid_len());
        for at in 0..id.len() {
            let mut changed = id.to_vec();
            changed[at] ^= 1;
            assert!(ids.validate(&ConnectionId::new(&changed)).is_err(), "byte {at}");
            assert!(ids.validate(&ConnectionId::new(&id[..at])).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn no_id_comes_again_also_not_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let identity = identity(&directory);
        let mut seen = BTreeSet::new();
        for _process in 0..4 {
            let mut ids = ids(&identity);
            for _ in 0..10_000 {
                assert!(seen.insert(ids.generate_cid().to_vec()));
            }
        }
    }
}
