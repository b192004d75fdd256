//! What goes into the sequencer and what comes out of it. Values only.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::error::Refusal;
use quorate_core::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::request::Request;
use quorate_core::session::Opening;
use quorate_core::transaction::Entry;

use crate::room::Reserve;

/// The two clocks of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The leader's wall clock: transactions carry it, unless it goes back.
    pub wall: Millis,
    /// Milliseconds of a clock that never goes back: timers within one leadership.
    pub monotonic_ms: u64,
}

/// The leadership under which the sequencer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Raft's term.
    pub term: Term,
}

/// Who asked, in the words of whoever brought the request: comes back with direct answers, and is not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The link over which another member brought it; 0: this member.
    pub link: u64,
    /// Counted by whoever brought it.
    pub number: u64,
}

impl Token {
    /// Of a request that this member brought itself.
    #[must_use]
    pub fn local(number: u64) -> Self {
        Self { link: 0, number }
    }
}

/// A write on its way in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where a direct answer goes.
    pub token: Token,
    /// The write.
    pub request: Arc<Request>,
}

/// What happens to the sequencer.
#[derive(Debug, Clone)]
pub enum Input {
    /// This member leads, and has applied its own blank entry of the term.
    Lead(Leadership),
    /// This member leads no more.
    Follow,
    /// A write. Dropped unless an epoch is open: its bringer submits again when [`Output::Ready`] says so.
    Submit(Submission),
    /// A client wants a session.
    OpenSession {
        /// Where the answer goes.
        token: Token,
        /// What it is opened with; the timeout was checked against the limits before.
        opening: Opening,
    },
    /// A client has shown that it lives.
    Heartbeat {
        /// Where the confirmation goes.
        token: Token,
        /// The session.
        session: SessionId,
    },
    /// Who votes, if that is known. Told whenever it may have changed.
    Voters(BTreeSet<u64>),
    /// How much a member's disk has left. Told about once a second, of this member whoever leads, of the others by themselves.
    Disk {
        /// Its number.
        member: u64,
        /// Bytes that may still be written.
        free_bytes: u64,
        /// What the member keeps free.
        reserve: Reserve,
    },
    /// Every member has said, under this leadership, that it knows this feature level: the cluster's is raised to it, in
    /// whatever epoch of the leadership that can be done. Told at any time; under another leadership it means nothing.
    MembersKnow {
        /// The leadership under which they were asked.
        leadership: Leadership,
        /// The lowest of what they know.
        level: Level,
    },
    /// The entry of this epoch and batch was applied; in the order of proposal.
    Applied {
        /// The entry's epoch.
        epoch: Epoch,
        /// The entry's batch; 0 for the barrier.
        batch: u64,
    },
    /// Raft did not take the entry of this epoch and batch, or discarded it, or will never say.
    Refused {
        /// The entry's epoch.
        epoch: Epoch,
        /// The entry's batch; 0 for the barrier.
        batch: u64,
    },
}

/// What the sequencer wants done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Propose this entry, under the leadership that it names, in this order. Every proposal is answered by
    /// [`Input::Applied`] or [`Input::Refused`].
    Propose {
        /// The epoch.
        epoch: Epoch,
        /// The batch; 0 for the barrier.
        batch: u64,
        /// The entry.
        entry: Arc<Entry>,
    },
    /// An epoch is open: whatever is unanswered is to be submitted (again), each session's writes in order.
    Ready {
        /// The epoch.
        epoch: Epoch,
    },
    /// Answer a write that made no transaction, or one whose transaction was applied before.
    Answer {
        /// Who asked.
        token: Token,
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// The answer.
        answer: DirectAnswer,
    },
    /// A session is open: its transaction has been applied.
    SessionOpened {
        /// Who asked.
        token: Token,
        /// The session, or why there is none.
        session: Result<SessionId, Refusal>,
    },
    /// The leader has heard of this session now.
    HeartbeatConfirmed {
        /// Who asked.
        token: Token,
        /// The session.
        session: SessionId,
        /// Whether it lives.
        is_live: bool,
    },
}

/// What a write is told without a transaction of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectAnswer {
    /// It was executed before: the reply that was kept, and the transaction that made it.
    Kept {
        /// The transaction.
        zxid: Zxid,
        /// The encoded reply.
        reply: Bytes,
    },
    /// It is a call that waits: its first run has been applied, and its reply comes with a transaction.
    Parked,
    /// It is not executed, and consumes no number.
    Refused(Refusal),
}
