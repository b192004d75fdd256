//! What openraft is told about us, as host/raft tells it: our types in the place of its parameters, on the simulation's
//! runtime.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{BasicNode, BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::{OptionalSend, RaftTypeConfig};
use quorate_core::apply;
use send_wrapper::SendWrapper;

use crate::runtime::MemberRuntime;

/// openraft's parameters. Standard leader ids: one leader a term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Payload;
    type R = apply::Applied;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = RaftPayload;
    type Entry = RaftEntry;
    type AsyncRuntime = MemberRuntime;
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

/// openraft's name for a leadership that has been won.
pub type CommittedLeaderId = openraft::vote::leader_id_std::CommittedLeaderId<u64>;
/// openraft's name for a place in the log.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// A vote.
pub type Vote = openraft::impls::Vote<leader_id_std::LeaderId<u64, u64>>;
/// A membership and its place in the log.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, BasicNode>;
/// Where a snapshot stands.
pub type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, BasicNode>;
/// What an entry carries.
pub type RaftPayload = openraft::EntryPayload<Payload, u64, BasicNode>;
/// An entry.
pub type RaftEntry = openraft::Entry<CommittedLeaderId, RaftPayload>;
/// What becomes of a proposal.
pub type WriteResult = openraft::raft::ClientWriteResult<TypeConfig>;

/// The bytes of an entry, as `quorate_wire::entry` writes them.
#[derive(Clone, PartialEq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

type Callback<T> = SendWrapper<Box<dyn FnOnce(Option<T>)>>;

/// Answers whoever proposed, exactly once: with openraft's result, or with `None` if openraft dropped it.
pub struct Responder<T>(Option<Callback<T>>);

impl<T> Responder<T> {
    /// Calls this with what becomes of the proposal.
    pub fn new(callback: impl FnOnce(Option<T>) + 'static) -> Self {
        Self(Some(SendWrapper::new(Box::new(callback))))
    }
}

impl<T> openraft::raft::responder::Responder<TypeConfig, T> for Responder<T>
where
    T: OptionalSend + 'static,
{
    fn on_complete(mut self, result: T) {
        if let Some(callback) = self.0.take() {
            callback.take()(Some(result));
        }
    }
}

impl<T> Drop for Responder<T> {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback.take()(None);
        }
    }
}
