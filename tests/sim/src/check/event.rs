//! What happens in a run, as the invariants see it. Values only, so that a test can make up a history.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::draft::Meta;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{SessionId, Term, WriteNumber, Zxid};
use quorate_core::transaction::Entry;
use quorate_history::models::{CounterCall, QueueAnswer, QueueCall, ZnodeAnswer, ZnodeCall};

/// What an entry of the log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The first one of a leader's term.
    Blank,
    /// A change of members.
    Membership,
    /// Transactions or a barrier, as bytes.
    Entry(Bytes),
}

/// What is asked of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Of a counter.
    Counter(CounterCall),
    /// Of a znode.
    Znode(ZnodeCall),
    /// Of a queue.
    Queue(QueueCall),
}

/// What an object answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// A counter.
    Counter(i64),
    /// A znode.
    Znode(ZnodeAnswer),
    /// A queue.
    Queue(QueueAnswer),
    /// Nothing was asked after all: it was refused, and has no effect.
    NotAsked,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A member has applied an entry.
    Applied {
        /// Who.
        member: u64,
        /// Its place in the log.
        index: u64,
        /// Its term.
        term: Term,
        /// What it is.
        what: What,
        /// Whether it was taken.
        is_taken: bool,
        /// Where the member's tree stands, if that is known after this very entry.
        meta: Option<Meta>,
    },
    /// A member has installed a snapshot that stands at this index.
    Installed {
        /// Who.
        member: u64,
        /// The last entry in it.
        index: u64,
        /// Where its tree stands.
        meta: Meta,
    },
    /// An entry was applied for the first time anywhere.
    Committed {
        /// Its place in the log.
        index: u64,
        /// Its term.
        term: Term,
        /// The entry.
        entry: Arc<Entry>,
        /// Whether it was taken.
        is_taken: bool,
    },
    /// A client was told that its session is open.
    Opened {
        /// The session.
        session: SessionId,
    },
    /// A client was told what came of a write.
    Replied {
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// The transaction.
        zxid: Zxid,
        /// The reply's bytes.
        reply: Bytes,
    },
    /// A client was told, for good, that a write is not executed.
    Refused {
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// Why.
        code: ErrorCode,
    },
    /// A client believes that its session lives until this moment of the world, as far as its own clock tells.
    Believes {
        /// The session.
        session: SessionId,
        /// Nanoseconds.
        until_ns: u64,
    },
    /// A client thinks that it holds a lock, for as long as it believes in its session.
    HoldsLock {
        /// The session.
        session: SessionId,
        /// The lock.
        lock: String,
    },
    /// A client is about to give a lock back.
    LeavesLock {
        /// The session.
        session: SessionId,
        /// The lock.
        lock: String,
    },
    /// A member stands for election, told to by nobody.
    Stands {
        /// Who.
        member: u64,
        /// In which term.
        term: Term,
        /// For how many milliseconds a majority has been in touch with its leader, as far as one can tell.
        heard_ms: u64,
    },
    /// A member's vote goes on its way to a candidate.
    Granted {
        /// Who votes.
        voter: u64,
        /// In which term.
        term: Term,
        /// For whom.
        candidate: u64,
    },
    /// A leader begins to execute, with all sessions' timeouts begun anew.
    Ready {
        /// Its term.
        term: Term,
        /// Who leads.
        member: u64,
    },
    /// A leader's confirmation of a heartbeat goes on its way to the client.
    Confirmed {
        /// The leader's term.
        term: Term,
        /// The session.
        session: SessionId,
        /// When the leader heard of it, in nanoseconds.
        heard_ns: u64,
    },
    /// A client asks for a read of its session.
    Asked {
        /// The session.
        session: SessionId,
        /// Names the read.
        read: u64,
    },
    /// It is shown a tree that stands there at least.
    Shown {
        /// The read.
        read: u64,
        /// The last transaction.
        zxid: Zxid,
    },
    /// A session watches the tree, and is to be told of what follows this position; or of nothing any more.
    Watches {
        /// The session.
        session: SessionId,
        /// Everything up to here is known.
        position: Option<Zxid>,
    },
    /// Whether its watch is open on the lane that it has: replies come behind the events that they reflect then.
    WatchOpen {
        /// The session.
        session: SessionId,
        /// Whether it is.
        is_open: bool,
    },
    /// A client was told of the events of a transaction.
    Told {
        /// The session.
        session: SessionId,
        /// The transaction.
        zxid: Zxid,
    },
    /// A client asks something of an object, for the first time.
    Called {
        /// Names the question.
        operation: u64,
        /// Which object.
        object: String,
        /// What is asked.
        question: Question,
    },
    /// It was answered.
    Returned {
        /// The question.
        operation: u64,
        /// The answer.
        answer: Answered,
    },
}
