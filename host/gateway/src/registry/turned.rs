//! What is said of a write that finds no place: "not executed" only if that is known. It knows the limits, not the lanes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::WriteNumber;
use quorate_core::request::Request;

use super::attachment::Waiting;
use super::route::Route;
use super::{Attachment, Registry};
use crate::limits;
use crate::principals::Principal;

/// Why a write was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// No copy of it is on its way, and none has been executed: the number is not consumed.
    NotExecuted(Refusal),
    /// It was sent before, and that copy may have been executed, or will be. Nothing true can be said of the write: the lane
    /// ends, and its client sends again on another one.
    Unknown(Refusal),
}

impl NotTaken {
    /// What its client is told.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        match self {
            Self::NotExecuted(refusal) | Self::Unknown(refusal) => refusal,
        }
    }
}

/// Where a write goes that may be taken.
pub(super) enum Place {
    /// To the sequencer.
    New,
    /// Nowhere: it waits already, and is answered from there.
    Joined {
        /// As a call whose first run was applied.
        is_parked: bool,
    },
}

impl Registry {
    /// Whether there is room for this write. "Not executed" would be wrong of a write whose copy may be on its way.
    pub(super) fn place(
        &self,
        waiting: &Waiting,
        principal: Option<&Arc<Principal>>,
        route: Option<&Route>,
        request: &Request,
        bytes: usize,
    ) -> Result<Place, NotTaken> {
        let before = waiting.writes.get(&request.write);
        let is_doubtful = before.is_some() || request.write <= waiting.doubtful;
        let not_taken = |refusal| {
            if is_doubtful { NotTaken::Unknown(refusal) } else { NotTaken::NotExecuted(refusal) }
        };
        self.check_limits(waiting, request.write, bytes).map_err(not_taken)?;
        match before {
            Some(before) if before.request.hash == request.hash => {
                Ok(Place::Joined { is_parked: before.is_parked })
            }
            // No more of these come than were taken before.
            None if is_doubtful => Ok(Place::New),
            _ if route.is_some_and(|route| self.is_overloaded(route, request.body.class())) => {
                Err(not_taken(crate::leader::overloaded()))
            }
            _ => principal
                .map_or(Ok(()), |principal| principal.check_write(request.body.class(), bytes))
                .and_then(|()| self.audit.admit(&request.body))
                .map_err(not_taken)
                .map(|()| Place::New),
        }
    }

    /// A copy of a write that waits takes its place and no second one.
    fn check_limits(
        &self,
        waiting: &Waiting,
        write: WriteNumber,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let before = waiting.writes.get(&write);
        let freed = before.map_or(0, |before| before.bytes);
        let total = self.total_bytes.load(Ordering::Relaxed).saturating_sub(freed);
        if total + bytes > limits::MEMBER_OUTSTANDING_BYTES_MAX {
            let message = format!(
                "writes of {total} bytes wait on this member already; the limit is {}",
                limits::MEMBER_OUTSTANDING_BYTES_MAX
            );
            return Err(Refusal::new(ErrorCode::Overloaded, message));
        }
        let count = waiting.writes.len() - usize::from(before.is_some());
        let waiting_bytes = waiting.bytes - freed;
        if count >= limits::OUTSTANDING_WRITES_MAX
            || waiting_bytes + bytes > limits::OUTSTANDING_BYTES_MAX
        {
            let message = format!(
                "{count} writes of {waiting_bytes} bytes of this session wait already; the limits are {} and {}",
                limits::OUTSTANDING_WRITES_MAX,
                limits::OUTSTANDING_BYTES_MAX
            );
            return Err(Refusal::new(ErrorCode::Overloaded, message));
        }
        Ok(())
    }
}

/// Whether the leader's refusal of a write holds for every copy of it, also for those that it has not seen.
///
/// What the leader refuses without executing (`quorate_core::session::admit`, and the limits of the sequencer's queue):
///
/// - `session-ended`, `no-session`: nothing of that session is executed any more, nor of one that never was.
/// - `resend-differs`: the number was used for another request, and every copy of this one differs from that.
/// - `already-acknowledged`: it was executed, and is not again.
/// - `bad-message`: a write without a number; so are its copies.
///
/// Not final: `resend-from` (the write before it may come, and then a copy of this one), `too-many-unacknowledged` (an
/// acknowledgement may come), `overloaded` (there may be room when the copy comes).
pub(super) fn is_final(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SessionEnded
            | ErrorCode::NoSession
            | ErrorCode::ResendDiffers
            | ErrorCode::AlreadyAcknowledged
            | ErrorCode::BadMessage
    )
}

impl Attachment {
    /// Of the session's writes up to this one there may be copies of which nothing is known here: taken by another lane or
    /// member, or executed before this member was started.
    pub fn note_doubtful(&self, last: WriteNumber) {
        let mut waiting = super::lock(&self.waiting);
        waiting.doubtful = waiting.doubtful.max(last);
    }
}
