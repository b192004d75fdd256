//! Asks a quorum whether this member leads, one round at a time: all who asked before a round began share it. It does not
//! know what they want the answer for.

use std::future::Future;
use std::sync::Arc;

use quorate_core::error::{ErrorCode, Refusal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::limits;
use crate::link::BoxFuture;

/// Whom a round asks.
pub trait Quorum: Send + Sync {
    /// Returns when a quorum has acknowledged, after the call, the leader that answers: this member, or one that is asked
    /// for it. Gives the index of the log up to which everything stands that was acknowledged before the call. It need not
    /// be applied here yet.
    ///
    /// # Errors
    /// `no-leader`.
    fn confirm(&self) -> BoxFuture<'_, Result<u64, Refusal>>;
}

type Done = Box<dyn FnOnce(Result<u64, Refusal>) + Send>;

/// Questions that a test answers.
#[cfg(test)]
pub(crate) type AskedRounds = mpsc::UnboundedReceiver<Done>;

/// The way to the task that asks. Cheap to clone.
#[derive(Clone)]
pub struct Rounds {
    /// Not bounded: each of those who ask waits for the answer, or asks one question at a time, and a round ends in time.
    asks: mpsc::UnboundedSender<Done>,
}

impl Rounds {
    /// The way, and the task, to be run until it is dropped. It ends by itself when nobody can ask any more.
    pub fn new(quorum: Arc<dyn Quorum>) -> (Self, impl Future<Output = ()> + Send) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Self { asks }, serve(quorum, asked))
    }

    /// A way whose questions the test answers.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (Self, AskedRounds) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Self { asks }, asked)
    }

    /// Asks; `done` is called with the outcome of a round that begins after the call. It must not wait. Not called if the
    /// task has ended.
    pub fn ask_with(&self, done: impl FnOnce(Result<u64, Refusal>) + Send + 'static) {
        if self.asks.send(Box::new(done)).is_err() {
            tracing::debug!("nobody asks the quorum any more: this member is shutting down");
        }
    }

    /// Asks, and waits for the outcome of a round that begins after the call. Cancel-safe.
    ///
    /// # Errors
    /// As [`Quorum::confirm`]; `shutting-down`.
    pub async fn ask(&self) -> Result<u64, Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.ask_with(move |outcome| {
            // Whoever asked may have lost patience.
            let _heard = sender.send(outcome);
        });
        let ended = || Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down");
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn serve(quorum: Arc<dyn Quorum>, mut asked: mpsc::UnboundedReceiver<Done>) {
    while let Some(first) = asked.recv().await {
        let mut round = vec![first];
        while let Ok(another) = asked.try_recv() {
            round.push(another);
        }
        let outcome = match timeout(limits::READ_TIMEOUT, quorum.confirm()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refusal::new(ErrorCode::NoLeader, "no quorum answered in time")),
        };
        for done in round {
            done(outcome.clone());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Rounds that the test ends.
    #[derive(Default)]
    struct Scripted {
        begun: Mutex<Vec<oneshot::Sender<Result<u64, Refusal>>>>,
    }

    impl Quorum for Scripted {
        fn confirm(&self) -> BoxFuture<'_, Result<u64, Refusal>> {
            let (sender, receiver) = oneshot::channel();
            self.begun.lock().unwrap().push(sender);
            Box::pin(async { receiver.await.unwrap() })
        }
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_question_is_answered_by_a_round_that_began_after_it_and_others_join_that() {
        let quorum = Arc::new(Scripted::default());
        let (rounds, task) = Rounds::new(quorum.clone());
        let task = tokio::spawn(task);
        let ask = |rounds: &Rounds| {
            let rounds = rounds.clone();
            tokio::spawn(async move { rounds.ask().await })
        };
        let first = ask(&rounds);
        settle().await;
        let later = [ask(&rounds), ask(&rounds), ask(&rounds)];
        settle().await;
        let begun = || quorum.begun.lock().unwrap().pop();
        let round = begun().unwrap();
        assert!(begun().is_none(), "one round at a time");
        round.send(Ok(7)).unwrap();
        assert_eq!(first.await.unwrap(), Ok(7));
        settle().await;
        assert!(later.iter().all(|one| !one.is_finished()), "their round had not begun");
        let refusal = Refusal::new(ErrorCode::NoLeader, "for this test");
        begun().unwrap().send(Err(refusal.clone())).unwrap();
        for one in later {
            assert_eq!(one.await.unwrap(), Err(refusal.clone()));
        }
        assert!(begun().is_none());
        drop(rounds);
        task.await.unwrap();
    }
}
