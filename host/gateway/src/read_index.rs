//! How fresh a linearizable read must be (DESIGN D12): asks the leader, wherever it is, up to which index of the log, and
//! waits until that is applied here. One question at a time; the reads that come meanwhile share the next one.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::error::{ErrorCode, Refusal};
use tokio::time::{sleep, timeout};

use crate::limits;
use crate::link::BoxFuture;
use crate::quic::Barrier;
use crate::quorum::{Quorum, Rounds};
use crate::registry::{Registry, Way};

/// How long is waited before the leader is asked again after it could not answer, if nothing is heard of another.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Tells what is applied on this member.
pub trait AppliedIndex: Send + Sync {
    /// Returns when this index of the log is applied; never, if raft has stopped. Cancel-safe.
    fn reached(&self, index: u64) -> BoxFuture<'_, ()>;
}

/// The leader as this member knows it: itself, or the one at the other end of the link.
pub struct AnyLeader {
    /// Who leads, in terms of the way of writes.
    pub registry: Arc<Registry>,
    /// Asked while it is this member.
    pub quorum: Arc<dyn Quorum>,
}

impl Quorum for AnyLeader {
    /// Asks again until there is an answer: the leader may be changing. No longer than a read waits.
    fn confirm(&self) -> BoxFuture<'_, Result<u64, Refusal>> {
        Box::pin(async move {
            let asked = timeout(limits::READ_TIMEOUT, self.ask_until_answered()).await;
            asked.map_err(|_| Refusal::new(ErrorCode::NoLeader, "no leader answered in time"))
        })
    }
}

impl AnyLeader {
    async fn ask_until_answered(&self) -> u64 {
        let mut changes = self.registry.route_changes();
        loop {
            changes.mark_unchanged();
            let asked = async {
                match self.registry.way() {
                    Some(Way::Local) => self.quorum.confirm().await,
                    Some(Way::Link(link)) => link.read_index().await,
                    None => std::future::pending().await,
                }
            };
            let refusal = tokio::select! {
                asked = asked => match asked {
                    Ok(index) => return index,
                    Err(refusal) => refusal,
                },
                // The registry lives as long as this, and the sender with it.
                _ = changes.changed() => continue,
            };
            tracing::debug!(%refusal, "no read index yet");
            tokio::select! {
                () = sleep(ASK_AGAIN_AFTER) => {}
                _ = changes.changed() => {}
            }
        }
    }
}

/// The barrier before linearizable reads and resumed sessions.
pub struct ReadBarrier {
    /// Rounds over [`AnyLeader`].
    pub rounds: Rounds,
    /// This member's apply.
    pub applied: Arc<dyn AppliedIndex>,
}

impl Barrier for ReadBarrier {
    fn pass(&self) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let index = self.rounds.ask().await?;
            self.applied.reached(index).await;
            Ok(())
        })
    }
}
