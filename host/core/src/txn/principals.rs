//! What goes with sessions: who may have one more of it, by the bounds of one session and by those of all sessions of its
//! principal. What is counted is `apply`'s.

use super::Txn;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::limits;
use crate::principal::Holding;
use crate::znode::Lifetime;

impl Txn {
    /// Whether there may be one more znode of this lifetime.
    pub(super) fn check_owned(&self, lifetime: Lifetime) -> Result<(), Refusal> {
        let Some(id) = lifetime.session() else { return Ok(()) };
        let Some(session) = self.draft.session(id).filter(|session| session.is_live()) else {
            return Err(Refusal::new(ErrorCode::SessionEnded, format!("session {id} has ended")));
        };
        if session.owned_count >= limits::EPHEMERALS_PER_SESSION_MAX {
            return Err(Refusal::limit(
                "ephemeral znodes of a session",
                session.owned_count + 1,
                limits::EPHEMERALS_PER_SESSION_MAX,
            ));
        }
        self.check_holding(&session.principal, Holding::Ephemerals)
    }

    /// Whether all sessions of a principal together may have one more of these, what this transaction has done included.
    ///
    /// # Errors
    /// `limit`.
    pub(crate) fn check_holding(&self, principal: &str, what: Holding) -> Result<(), Refusal> {
        if principal.is_empty() {
            return Ok(());
        }
        self.draft.holdings(principal).check_one_more(principal, what)
    }
}
