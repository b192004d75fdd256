//! What becomes of a proposed entry. It does not know what the entry does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use quorate_core::apply;
use tokio::sync::oneshot;

use crate::types::{TypeConfig, WriteResult};

/// What became of a proposed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposeResult {
    /// It was committed and its transactions are in the tree.
    Taken {
        /// Where it stands in the log.
        index: u64,
    },
    /// It was committed and changed nothing, on any member.
    Discarded {
        /// Where it stands in the log.
        index: u64,
        /// Why.
        reason: apply::Discard,
    },
    /// It is not in the log and will never be.
    Refused(Refusal),
    /// Nobody knows yet: the leadership ended, or openraft stopped, while it was under way. It may still be committed by
    /// another leader.
    Lost,
}

/// Why an entry was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This member does not lead in the term of the proposal.
    #[error("this member does not lead in that term; leader: {leader:?}")]
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<u64>,
    },
    /// No quorum has confirmed the leadership lately. It may go on in the same term.
    #[error("the leader's lease has expired")]
    LeaseExpired,
    /// The leadership is being handed over. It may go on in the same term.
    #[error("the leadership is being transferred; to: {to:?}")]
    Transfer {
        /// To whom.
        to: Option<u64>,
    },
    /// The queue before openraft is full, or openraft has stopped.
    #[error("the queue of proposals is full or closed")]
    Busy,
    /// The log takes no such entry.
    #[error("an entry of {bytes} bytes, limit {bytes_max}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The log's limit.
        bytes_max: usize,
    },
}

impl ProposeResult {
    /// Whether the entry's transactions are in the tree.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }
}

/// openraft's answer in our words; `None` if it gave none.
pub(crate) fn result(answer: Option<WriteResult>) -> ProposeResult {
    match answer {
        None | Some(Err(ClientWriteError::LogEntryDiscarded(_))) => ProposeResult::Lost,
        Some(Ok(response)) => {
            let index = response.log_id.index;
            match response.data {
                apply::Applied::Taken => ProposeResult::Taken { index },
                apply::Applied::Discarded(reason) => ProposeResult::Discarded { index, reason },
            }
        }
        Some(Err(ClientWriteError::ForwardToLeader(forward))) => {
            ProposeResult::Refused(refusal(&forward))
        }
        // Answers to changes of members, of which a proposal is none. Nothing was appended then.
        Some(Err(
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
        )) => ProposeResult::Refused(Refusal::NotLeader { leader: None }),
    }
}

/// Why openraft sends us to another leader.
pub(crate) fn refusal(forward: &ForwardToLeader<TypeConfig>) -> Refusal {
    match forward.reason {
        ForwardReason::NotLeader => Refusal::NotLeader { leader: forward.leader_id },
        ForwardReason::LeadershipTransfer => Refusal::Transfer { to: forward.leader_id },
        ForwardReason::LeaseExpired => Refusal::LeaseExpired,
    }
}

/// Waits for what becomes of one proposed entry. Dropping it changes nothing about the entry.
#[derive(Debug)]
pub struct Proposal {
    answer: oneshot::Receiver<ProposeResult>,
}

impl Proposal {
    pub(crate) fn new(answer: oneshot::Receiver<ProposeResult>) -> Self {
        Self { answer }
    }

    /// Waits on a thread that runs no async code.
    ///
    /// # Panics
    /// Within an async task.
    #[must_use]
    pub fn wait(self) -> ProposeResult {
        self.answer.blocking_recv().unwrap_or(ProposeResult::Lost)
    }
}

impl Future for Proposal {
    type Output = ProposeResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProposeResult> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or(ProposeResult::Lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_within_a_term_is_not_a_lost_leadership() {
        let forward = |reason| {
            let forward = ForwardToLeader::<TypeConfig>::empty().with_reason(reason);
            result(Some(Err(ClientWriteError::ForwardToLeader(forward))))
        };
        let refused = ProposeResult::Refused;
        assert_eq!(forward(ForwardReason::LeaseExpired), refused(Refusal::LeaseExpired));
        let transfer = Refusal::Transfer { to: None };
        assert_eq!(forward(ForwardReason::LeadershipTransfer), refused(transfer));
        let not_leader = Refusal::NotLeader { leader: None };
        assert_eq!(forward(ForwardReason::NotLeader), refused(not_leader));
    }

    #[test]
    fn an_entry_whose_leader_was_replaced_is_lost_and_not_refused() {
        let forward = ForwardToLeader::<TypeConfig>::empty();
        let answer = Some(Err(ClientWriteError::LogEntryDiscarded(forward)));
        assert_eq!(result(answer), ProposeResult::Lost);
        assert_eq!(result(None), ProposeResult::Lost);
    }
}
