//! How fresh a linearizable read must be (DESIGN D12): asks the leader, wherever it is, up to which index of the log, and
//! waits until that is applied here. One question at a time; the reads that come meanwhile share the next one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::error::Refusal;
use tokio::time::sleep;

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

impl AnyLeader {
    /// Rounds that ask whoever leads for a read index: the way, and the task, to be run until it is dropped.
    pub fn rounds(self) -> (Rounds<u64>, impl Future<Output = ()> + Send) {
        let any_leader = Arc::new(self);
        Rounds::new(move || {
            let any_leader = any_leader.clone();
            Box::pin(async move { Ok(any_leader.read_index().await) })
        })
    }

    /// Asks until there is an answer: the leader may be changing. Those who wait for it have their own patience.
    async fn read_index(&self) -> u64 {
        let mut changes = self.registry.route_changes();
        loop {
            changes.mark_unchanged();
            let asked = async {
                match self.registry.way() {
                    Some(Way::Local) => self.quorum.confirm().await.map(|led| led.index),
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
    pub rounds: Rounds<u64>,
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use quorate_core::ids::{Epoch, Term};
    use quorate_wire::link::{Tag, ToLeader};

    use super::*;
    use crate::leader::SequencerHandle;
    use crate::link::Link;
    use crate::quorum::Confirmed;

    struct Leads;

    impl Quorum for Leads {
        fn confirm(&self) -> BoxFuture<'_, Result<Confirmed, Refusal>> {
            Box::pin(std::future::ready(Ok(Confirmed { term: Term(2), index: 7 })))
        }
    }

    fn epoch(number: u64) -> Tag {
        Tag { term: Term(2), epoch: Epoch(number) }
    }

    async fn question(link: &Link) -> u64 {
        match link.next().await {
            Some(ToLeader::ReadIndex { question }) => question,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_question_waits_for_a_leader_and_is_asked_again_when_that_changes() {
        let registry = Arc::new(Registry::new(SequencerHandle::new()));
        let any_leader = AnyLeader { registry: registry.clone(), quorum: Arc::new(Leads) };
        let (rounds, task) = any_leader.rounds();
        let task = tokio::spawn(task);
        let ask = || {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.ask().await })
        };
        let first = ask();
        let link: Arc<Link> = Arc::default();
        assert!(registry.open_route(epoch(1), Way::Link(link.clone())));
        let unanswered = question(&link).await;
        registry.pause(epoch(1));
        assert!(registry.open_route(epoch(2), Way::Link(link.clone())));
        let asked_again = question(&link).await;
        link.handle_index(unanswered, Ok(1));
        link.handle_index(asked_again, Ok(5));
        assert_eq!(first.await.unwrap(), Ok(5));
        let second = ask();
        question(&link).await;
        link.close();
        registry.pause(epoch(2));
        assert!(registry.open_route(epoch(3), Way::Local));
        assert_eq!(second.await.unwrap(), Ok(7), "the link has ended, and this member leads");
        task.abort();
    }
}
