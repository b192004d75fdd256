//! What a client and a member say to each other on a lane. Values only.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::Request;

/// From a client.
#[derive(Debug, Clone)]
pub enum ToMember {
    /// The first frame: a session to go on with, or a wish for one.
    Attach {
        /// The session; none to open one.
        session: Option<SessionId>,
        /// Milliseconds, for a new one.
        timeout_ms: u64,
    },
    /// A numbered write.
    Write(Arc<Request>),
    /// A sign of life.
    Heartbeat {
        /// Names it.
        request: u64,
    },
    /// A watch of the whole tree.
    Watch {
        /// Of what follows this transaction; of what follows the answer if none.
        from: Option<Zxid>,
    },
    /// A read of one znode.
    Read {
        /// Names it.
        request: u64,
        /// Which.
        path: String,
        /// Whether it must see what was acknowledged to anybody, or to its own session only.
        is_linearizable: bool,
    },
}

/// What a read found: data and version, or nothing.
pub type Found = Option<(Bytes, u64)>;

/// From a member.
#[derive(Debug, Clone)]
pub enum ToClient {
    /// The lane serves this session now.
    Attached(SessionId),
    /// It does not, and why.
    Rejected(ErrorCode),
    /// What came of a write.
    Reply {
        /// The write.
        write: WriteNumber,
        /// The transaction.
        zxid: Zxid,
        /// The number of the last event before it.
        events: u64,
        /// The reply's bytes.
        reply: Bytes,
    },
    /// A write was not executed.
    NotExecuted {
        /// The write.
        write: WriteNumber,
        /// Why.
        refusal: Refusal,
    },
    /// The leader has heard a heartbeat.
    Confirmed {
        /// Which.
        request: u64,
    },
    /// It has not, or the session has ended.
    Unconfirmed {
        /// Which.
        request: u64,
        /// `session-ended`, or that no leader is known.
        code: ErrorCode,
    },
    /// What a read found.
    Found {
        /// Which.
        request: u64,
        /// Where the tree stood at least.
        zxid: Zxid,
        /// The number of the last event before it.
        events: u64,
        /// None if it could not be made fresh.
        found: Option<Found>,
    },
    /// The watch is open, and its events up to this transaction are before this.
    Watched {
        /// The transaction.
        zxid: Zxid,
        /// The number of the last event before it.
        events: u64,
    },
    /// What the watch has missed is not retained here: it is not open.
    NotHere {
        /// The number of the last event before it.
        events: u64,
    },
    /// Of the stream of events: a transaction that has changed the tree.
    Changed {
        /// Its place on the stream, from 1 on.
        number: u64,
        /// The transaction.
        zxid: Zxid,
    },
    /// Of the stream of events: a part of the past was skipped here, the watch is over.
    WatchEnded {
        /// Its place on the stream.
        number: u64,
    },
}
