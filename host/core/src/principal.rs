//! What all sessions of one principal hold together: how many there are, the calls of theirs that wait, and the znodes that go
//! with them; and how much of each may be. It does not know when that changes (`apply::principals`), nor who is refused
//! (`txn::principals`).
//!
//! A session's principal is fixed when it is opened. A session without one shares it with nobody: those are bounded one by one
//! alone, since what they have in common is only that nobody knows them.

use bytes::Bytes;

use crate::access::Identity;
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::Refusal;
use crate::limits;

/// What is counted for a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Sessions that live.
    Sessions,
    /// Calls that are parked.
    ParkedCalls,
    /// Ephemeral and call-owned znodes.
    Ephemerals,
}

/// What the sessions of one principal hold together. There is a record while it has a session that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Sessions that live.
    pub sessions_count: u64,
    /// Calls of theirs that are parked.
    pub parked_count: u64,
    /// Ephemeral and call-owned znodes of theirs.
    pub owned_count: u64,
}

/// First byte of the record: the version of its layout.
const FORMAT: u8 = 1;

impl Holdings {
    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn count_mut(&mut self, what: Holding) -> &mut u64 {
        match what {
            Holding::Sessions => &mut self.sessions_count,
            Holding::ParkedCalls => &mut self.parked_count,
            Holding::Ephemerals => &mut self.owned_count,
        }
    }

    /// With so many more of these, or less; none if that is less than nothing.
    #[must_use]
    pub fn plus(mut self, what: Holding, by: i64) -> Option<Self> {
        let count = self.count_mut(what);
        *count = count.checked_add_signed(by)?;
        Some(self)
    }

    /// Whether a principal that holds this may have one more of these.
    ///
    /// # Errors
    /// `limit`, which names the limit, its value and the principal.
    pub fn check_one_more(mut self, principal: &str, what: Holding) -> Result<(), Refusal> {
        let (words, max) = match what {
            Holding::Sessions => ("sessions", limits::SESSIONS_PER_PRINCIPAL_MAX),
            Holding::ParkedCalls => {
                ("parked calls of all sessions", limits::PARKED_CALLS_PER_PRINCIPAL_MAX)
            }
            Holding::Ephemerals => {
                ("ephemeral znodes of all sessions", limits::EPHEMERALS_PER_PRINCIPAL_MAX)
            }
        };
        let count = *self.count_mut(what);
        if count < max {
            return Ok(());
        }
        let what = format!("{words} of the principal {}", masked(principal));
        Err(Refusal::limit(&what, count + 1, max))
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(16);
        writer.u8(FORMAT);
        writer.u64(self.sessions_count);
        writer.u64(self.parked_count);
        writer.u64(self.owned_count);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote: a principal without a session has no record.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "record of a principal";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed(WHAT));
        }
        let holdings = Self {
            sessions_count: reader.u64(WHAT)?,
            parked_count: reader.u64(WHAT)?,
            owned_count: reader.u64(WHAT)?,
        };
        reader.finish(WHAT)?;
        if holdings.sessions_count == 0 { Err(malformed(WHAT)) } else { Ok(holdings) }
    }
}

/// A principal as logs and refusals have it: without the hash of a password, on which others could be tried.
#[must_use]
pub fn masked(principal: &str) -> String {
    Identity::parse(principal)
        .map_or_else(|_| principal.to_owned(), |identity| identity.masked().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let holdings = Holdings { sessions_count: 300, parked_count: 0, owned_count: u64::MAX };
        assert_eq!(Holdings::decode(holdings.encode()), Ok(holdings));
        let mut longer = holdings.encode().to_vec();
        longer.push(0);
        assert!(Holdings::decode(longer.into()).is_err());
        let nobody = Holdings { sessions_count: 0, ..holdings };
        assert!(Holdings::decode(nobody.encode()).is_err(), "nobody has a session");
    }

    #[test]
    fn each_count_is_bounded_by_its_own_limit_and_never_below_nothing() {
        for (what, max) in [
            (Holding::Sessions, limits::SESSIONS_PER_PRINCIPAL_MAX),
            (Holding::ParkedCalls, limits::PARKED_CALLS_PER_PRINCIPAL_MAX),
            (Holding::Ephemerals, limits::EPHEMERALS_PER_PRINCIPAL_MAX),
        ] {
            let none = Holdings::default();
            assert_eq!(none.plus(what, -1), None);
            let last = none.plus(what, i64::try_from(max - 1).expect("small")).expect("more");
            assert_eq!(last.check_one_more("alice", what), Ok(()));
            let full = last.plus(what, 1).expect("more");
            let refusal = full.check_one_more("digest:user:hash", what).expect_err("full");
            let bound = format!("digest:user:x: {} is over the limit of {max}", max + 1);
            assert!(refusal.message.ends_with(&bound), "{refusal}");
            assert_eq!(full.plus(what, -1), Some(last));
        }
    }
}
