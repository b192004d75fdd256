//! What the audit log is told, as cheap to hand over as can be: requests are shared, and become text on the writer's thread.
//! It does not know the text.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::request::{Failure, Reply, Request};
use quorate_core::session::End;
use quorate_wire::message::AccessQuery;
use quorate_wire::message::Query;
use quorate_wire::message::admin::Command;

use super::limits;

/// Who asked, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The session; none for commands to the cluster, and for who was not let in.
    pub session: Option<SessionId>,
    /// Who opened the session; empty for an anonymous client.
    pub principal: String,
    /// What it was known as when the connection came, and since.
    pub identities: Vec<String>,
    /// The client's address when its connection came. None: this member itself.
    pub remote: Option<SocketAddr>,
}

/// A moment's event.
#[derive(Debug)]
pub(super) struct Event {
    /// Milliseconds since 1970 on this member's clock.
    pub(super) time_ms: u64,
    pub(super) who: Arc<Who>,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug)]
pub(super) enum What {
    /// A write was answered, or will not be on this lane.
    Write { request: Arc<Request>, bytes: usize, answer: Answer },
    /// A read was answered. A call's arguments are not in it.
    Read { query: Query, zxid: Zxid, bytes: Option<u64>, result: Result<(), ErrorCode> },
    /// A client came, or was turned away.
    Attach { is_new: bool, result: Result<(), ErrorCode> },
    /// A command to the cluster was answered.
    Command { command: Command, result: Result<(), ErrorCode> },
    /// A session has ended, and its ephemeral znodes with it.
    SessionEnded { zxid: Zxid, end: End, paths: Vec<String> },
    /// Znodes were deleted because their time had come.
    Reaped { zxid: Zxid, paths: Vec<String> },
    /// This member begins to write. Whether the line before this one was torn by a crash.
    Began { is_torn: bool },
    /// This member ends.
    Ended,
    /// So many events were not written.
    Lost(u64),
}

/// What a write was answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// This reply, not yet read.
    Replied { zxid: Zxid, reply: Bytes },
    /// It was not executed.
    NotExecuted(ErrorCode),
    /// The lane has ended before there was an answer: it may have been executed, or will be.
    Unanswered,
}

impl Event {
    /// Bytes that it may keep in memory.
    pub(super) fn weight(&self) -> usize {
        let carried = match &self.what {
            What::Write { bytes, answer: Answer::Replied { reply, .. }, .. } => bytes + reply.len(),
            What::Write { bytes, .. } => *bytes,
            What::Read { query, .. } => text_bytes(query),
            What::SessionEnded { paths, .. } | What::Reaped { paths, .. } => {
                paths.iter().map(|path| path.len() + size_of::<String>()).sum()
            }
            What::Command { .. } => limits::TEXT_BYTES_MAX,
            What::Attach { .. } | What::Began { .. } | What::Ended | What::Lost(_) => 0,
        };
        limits::EVENT_BYTES + carried
    }
}

/// Bytes of the text that a read carries: a client may have sent more than any path has.
fn text_bytes(query: &Query) -> usize {
    match query {
        Query::Get(text)
        | Query::Stat(text)
        | Query::Subtree(text)
        | Query::History(text)
        | Query::Interface(text)
        | Query::Logs { recipe: text, .. } => text.len(),
        Query::Children { path, page, .. } => {
            path.len() + page.after.as_ref().map_or(0, String::len)
        }
        Query::Scan { path, after, .. } | Query::Ephemerals { prefix: path, after, .. } => {
            path.len() + after.as_ref().map_or(0, String::len)
        }
        Query::Call(call) => call.recipe.len() + call.function.len(),
        Query::Watch(watch) => {
            let first =
                watch.first.as_ref().map_or(0, |first| limits::EVENT_BYTES + text_bytes(first));
            watch.path.len() + first
        }
        Query::Many(queries) => {
            queries.iter().map(|query| limits::EVENT_BYTES + text_bytes(query)).sum()
        }
        Query::Access(query) => access_bytes(query),
        Query::Quotas { after, .. } => after.as_ref().map_or(0, String::len),
        Query::Recipes
        | Query::Status
        | Query::Whoami
        | Query::Snapshot { .. }
        | Query::Unwatch(_) => 0,
    }
}

/// The same of a question about rights. Objects have no more than a path, and few identities fit a frame's list.
fn access_bytes(query: &AccessQuery) -> usize {
    match query {
        AccessQuery::Acl(path) => path.len(),
        AccessQuery::RulesOn(_) | AccessQuery::Rules { .. } => limits::TEXT_BYTES_MAX,
        AccessQuery::May { who, function, .. } => {
            let who = who.as_ref().map_or(0, Vec::len) * limits::EVENT_BYTES;
            who + limits::TEXT_BYTES_MAX + function.as_ref().map_or(0, String::len)
        }
    }
}

/// Why a reply is a refusal; none for one that says that it was done, or that can not be read.
pub(super) fn refused(reply: &Bytes) -> Option<ErrorCode> {
    // The first byte says whether there is more to read: nearly always there is not.
    if reply.first() == Some(&0) {
        return None;
    }
    match Reply::decode(reply.clone()) {
        Ok(Reply::Refused(Failure { refusal, .. })) => Some(refusal.code),
        Ok(Reply::Done(_)) | Err(_) => None,
    }
}

/// Whether somebody was refused for what they may do, and not for what they asked.
pub(super) fn is_for_rights(code: ErrorCode) -> bool {
    const NOT_ALLOWED: u16 = 6;
    code.number() / 1000 == NOT_ALLOWED || code == ErrorCode::BadSecret
}

/// The code of a result.
pub(super) fn code<T>(result: &Result<T, Refusal>) -> Result<(), ErrorCode> {
    result.as_ref().map(|_| ()).map_err(|refusal| refusal.code)
}
