//! Asks a quorum whether this member leads, one round at a time: all who asked before a round began share it. It does not
//! know what they want the answer for.
//!
//! The rounds know nothing of quorums: readers share questions to whoever leads in the same way.

use std::future::Future;
use std::sync::Arc;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Term;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::limits;
use crate::link::BoxFuture;

/// That this member leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// In this term: it may have led in others before, and others in between.
    pub term: Term,
    /// Everything that was acknowledged before the question is applied where this index of the log is.
    pub index: u64,
}

/// Those whose word makes a leader.
pub trait Quorum: Send + Sync {
    /// Returns when a quorum has acknowledged, after the call, that this member leads. The index that it gives need not be
    /// applied here yet.
    ///
    /// # Errors
    /// `no-leader`.
    fn confirm(&self) -> BoxFuture<'_, Result<Confirmed, Refusal>>;
}

type Done<T> = Box<dyn FnOnce(Result<T, Refusal>) + Send>;

/// Questions that a test answers.
#[cfg(test)]
pub(crate) type AskedRounds = mpsc::UnboundedReceiver<Done<Confirmed>>;

/// The way to the task that asks. Cheap to clone.
#[derive(Clone)]
pub struct Rounds<T = Confirmed> {
    /// Not bounded: each of those who ask waits for the answer, or asks one question at a time, and a round ends in time.
    asks: mpsc::UnboundedSender<Done<T>>,
}

impl Rounds {
    /// Rounds that ask this quorum: the way, and the task, to be run until it is dropped.
    pub fn of_quorum(quorum: Arc<dyn Quorum>) -> (Self, impl Future<Output = ()> + Send) {
        Self::new(move || {
            let quorum = quorum.clone();
            Box::pin(async move { quorum.confirm().await })
        })
    }

    /// A way whose questions the test answers.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (Self, AskedRounds) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Self { asks }, asked)
    }
}

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Rounds each of which asks in this way: the way to them, and the task, to be run until it is dropped. It ends by
    /// itself when nobody can ask any more.
    pub fn new(
        ask: impl Fn() -> BoxFuture<'static, Result<T, Refusal>> + Send,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Self { asks }, serve(ask, asked))
    }

    /// Asks; `done` is called with the outcome of a round that begins after the call. It must not wait. Not called if the
    /// task has ended.
    pub fn ask_with(&self, done: impl FnOnce(Result<T, Refusal>) + Send + 'static) {
        if self.asks.send(Box::new(done)).is_err() {
            tracing::debug!("nobody asks the quorum any more: this member is shutting down");
        }
    }

    /// Asks, and waits for the outcome of a round that begins after the call. Cancel-safe.
    ///
    /// # Errors
    /// As what is asked; `no-leader` after `READ_TIMEOUT`; `shutting-down`.
    pub async fn ask(&self) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        self.ask_with(move |outcome| {
            // Whoever asked may have lost patience.
            let _heard = sender.send(outcome);
        });
        let ended = || Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down");
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn serve<T: Clone>(
    ask: impl Fn() -> BoxFuture<'static, Result<T, Refusal>>,
    mut asked: mpsc::UnboundedReceiver<Done<T>>,
) {
    while let Some(first) = asked.recv().await {
        let mut round = vec![first];
        while let Ok(another) = asked.try_recv() {
            round.push(another);
        }
        let outcome = match timeout(limits::READ_TIMEOUT, ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refusal::new(ErrorCode::NoLeader, "no leader answered in time")),
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
        begun: Mutex<Vec<oneshot::Sender<Result<Confirmed, Refusal>>>>,
    }

    impl Quorum for Scripted {
        fn confirm(&self) -> BoxFuture<'_, Result<Confirmed, Refusal>> {
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
        let (rounds, task) = Rounds::of_quorum(quorum.clone());
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
        let confirmed = Confirmed { term: Term(1), index: 7 };
        round.send(Ok(confirmed)).unwrap();
        assert_eq!(first.await.unwrap(), Ok(confirmed));
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
