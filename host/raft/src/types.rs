//! What openraft is told about us: our types in the place of its parameters. It does not know what they are used for.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, InlineBatch, TokioRuntime, leader_id_std};
use openraft::{OptionalSend, RaftTypeConfig};
use quorate_core::apply;
use quorate_core::ids::Term;
use quorate_core::transaction::Entry;

use crate::contact::Contact;
use crate::position::Position;

/// openraft's parameters. Standard leader ids: one leader a term, so that the term alone names a leadership.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = apply::Applied;
    type NodeId = u64;
    type Node = Contact;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = RaftPayload;
    type Entry = RaftEntry;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = Responder<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type CommittedLeaderId = openraft::vote::leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::impls::Vote<leader_id_std::LeaderId<u64, u64>>;
pub(crate) type Membership = openraft::Membership<u64, Contact>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Contact>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, Contact>;
pub(crate) type RaftPayload = openraft::EntryPayload<Payload, u64, Contact>;
pub(crate) type RaftEntry = openraft::Entry<CommittedLeaderId, RaftPayload>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// openraft's name for a place.
pub(crate) fn log_id(position: Position) -> LogId {
    LogId::new(CommittedLeaderId::new(position.term.0), position.index)
}

/// Our name for a place.
pub(crate) fn position(log_id: &LogId) -> Position {
    Position { term: Term(log_id.leader_id.term), index: log_id.index }
}

/// An entry as openraft carries it: its bytes, and the entry itself where this member has it at hand.
#[derive(Clone, PartialEq)]
pub(crate) struct Payload {
    /// As `quorate_wire::entry` writes them.
    pub bytes: Bytes,
    /// The same, decoded.
    pub entry: Option<Arc<Entry>>,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

type Callback<T> = Box<dyn FnOnce(Option<T>) + Send>;

/// Answers whoever proposed, exactly once: with openraft's result, or with `None` if openraft dropped it.
pub(crate) struct Responder<T> {
    callback: Option<Callback<T>>,
}

impl<T> Responder<T> {
    pub(crate) fn new(callback: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)) }
    }
}

impl<T> openraft::raft::responder::Responder<TypeConfig, T> for Responder<T>
where
    T: OptionalSend + 'static,
{
    fn on_complete(mut self, result: T) {
        if let Some(callback) = self.callback.take() {
            callback(Some(result));
        }
    }
}

impl<T> Drop for Responder<T> {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback(None);
        }
    }
}
