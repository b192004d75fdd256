//! What is asked of this member's raft node about leadership and what is applied. It does not know who wants to know.

use std::sync::Arc;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_raft::Node;

use crate::link::BoxFuture;
use crate::quorum::{Confirmed, Quorum};
use crate::read_index::AppliedIndex;

/// Asks raft's own quorum (ReadIndex).
pub struct NodeQuorum(pub Arc<Node>);

impl Quorum for NodeQuorum {
    fn confirm(&self) -> BoxFuture<'_, Result<Confirmed, Refusal>> {
        Box::pin(async {
            let read = self.0.read_index().await;
            let read =
                read.map_err(|error| Refusal::new(ErrorCode::NoLeader, error.to_string()))?;
            Ok(Confirmed { term: read.term, index: read.index })
        })
    }
}

/// Asks raft what is applied.
pub struct NodeApplied(pub Arc<Node>);

impl AppliedIndex for NodeApplied {
    fn reached(&self, index: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.0.wait_applied(index).await.is_err() {
                tracing::debug!(index, "raft has stopped before this index was applied");
                std::future::pending().await
            }
        })
    }
}
