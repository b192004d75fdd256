//! Transactions and the entries that carry them. An entry says under which leadership and on which state it was
//! executed; `apply` holds it to that.

use bytes::Bytes;

use crate::change::Change;
use crate::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use crate::session::{Acks, Parked};

/// One executed request, or one piece of the host's own housekeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its number: the one before plus one.
    pub zxid: Zxid,
    /// Its time: not before that of the transaction before.
    pub time: Millis,
    /// Who asked.
    pub origin: Origin,
    /// What it did, in order. Empty for a refused request.
    pub changes: Vec<Change>,
    /// What its caller is told.
    pub outcome: Outcome,
}

impl Transaction {
    /// What limits of bytes count: never less than the bytes that it takes in the log.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Numbers of 10 bytes, hashes of 16, marks and lengths.
        const HEAD: usize = 128;
        let acks = match &self.origin {
            Origin::Write { acks, .. } => 20 * acks.ranges.len(),
            Origin::Host | Origin::Rerun { .. } => 0,
        };
        let outcome = match &self.outcome {
            Outcome::None => 0,
            Outcome::Replied(reply) => reply.len(),
            Outcome::Parked(parked) => parked.recipe.len() + parked.state.len(),
        };
        HEAD + acks + outcome + self.changes.iter().map(Change::weight).sum::<usize>()
    }
}

/// Who asked for a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The leader itself: a session opened or expired, a tombstone forgotten.
    Host,
    /// A write of a session, executed for the first time.
    Write {
        /// The session.
        session: SessionId,
        /// Its number.
        write: WriteNumber,
        /// Hash of the request.
        hash: u128,
        /// Replies that the client has got.
        acks: Acks,
    },
    /// A parked call, run again.
    Rerun {
        /// The session.
        session: SessionId,
        /// Number of the write that parked.
        write: WriteNumber,
        /// Hash of the request.
        hash: u128,
    },
}

impl Origin {
    /// The write that a reply belongs to.
    #[must_use]
    pub fn write(&self) -> Option<(SessionId, WriteNumber)> {
        match self {
            Self::Host => None,
            Self::Write { session, write, .. } | Self::Rerun { session, write, .. } => {
                Some((*session, *write))
            }
        }
    }
}

/// What the caller of a transaction is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody waits for an answer.
    None,
    /// The encoded reply, kept until it is acknowledged.
    Replied(Bytes),
    /// The call waits; it has no reply yet.
    Parked(Parked),
}

/// What raft replicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that executed it.
    pub term: Term,
    /// Its sequencer's epoch.
    pub epoch: Epoch,
    /// What it carries.
    pub body: EntryBody,
}

/// What an entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// Opens an epoch: what an earlier one has in flight is void from here on.
    Barrier,
    /// Executed transactions.
    Batch {
        /// The last zxid of the state on which they were executed.
        base: Zxid,
        /// In order, numbered densely from `base` + 1. Not empty.
        transactions: Vec<Transaction>,
    },
}
