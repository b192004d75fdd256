//! The way to other members. There is none yet: every message to another member is answered "unreachable", votes
//! included, so that a member never counts a vote that nobody gave. A cluster of one needs no more.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Snapshot};

use crate::snapshot::SnapshotData;
use crate::types::{CommittedLeaderId, TypeConfig, Vote};

/// Knows no way to anybody.
pub(crate) struct NoWay;

/// The missing way to one member.
pub(crate) struct NoWayTo {
    member: u64,
    address: String,
}

impl RaftNetworkFactory<TypeConfig> for NoWay {
    type Network = NoWayTo;

    async fn new_client(&mut self, member: u64, node: &BasicNode) -> NoWayTo {
        NoWayTo { member, address: node.addr.clone() }
    }
}

impl NoWayTo {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let (member, address) = (self.member, &self.address);
        Unreachable::from_string(format!(
            "this member knows no way to member {member} at {address}"
        ))
    }
}

impl RaftNetworkV2<TypeConfig> for NoWayTo {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    /// openraft's default grants (DESIGN D15).
    async fn pre_vote(
        &mut self,
        _request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: Snapshot<CommittedLeaderId, u64, BasicNode, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn transfer_leader(
        &mut self,
        _request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }
}
