//! What a transaction does to sessions: opens them, notes who they are known as, ends and forgets them. When a session has to
//! end is not known here.

use super::Txn;
use crate::access::Held;
use crate::change::Change;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::ids::SessionId;
use crate::key;
use crate::limits;
use crate::principal::Holding;
use crate::session::{End, Opening};

impl Txn {
    /// Opens a session; its id is this transaction's zxid.
    ///
    /// # Errors
    /// `limit`, at the most sessions, of all or of its principal, or for too long a principal or too many identities.
    pub fn open_session(&mut self, opening: Opening) -> Result<SessionId, Refusal> {
        let Opening { timeout_ms, secret_hash, principal, mut identities } = opening;
        identities.sort();
        // The later of two that are the same but for their ends comes last, one without an end before both.
        identities.dedup_by(|later, kept| {
            let is_same = later.identity == kept.identity;
            if is_same && kept.expires.is_some() {
                kept.expires = later.expires;
            }
            is_same
        });
        check_identities(&identities)?;
        if principal.len() > limits::PRINCIPAL_BYTES_MAX {
            return Err(Refusal::limit(
                "bytes of a principal",
                principal.len() as u64,
                limits::PRINCIPAL_BYTES_MAX as u64,
            ));
        }
        let count = self.draft.meta().sessions_count;
        if count >= limits::SESSIONS_MAX {
            return Err(Refusal::limit("sessions", count + 1, limits::SESSIONS_MAX));
        }
        self.check_holding(&principal, Holding::Sessions)?;
        self.record(Change::SessionOpened { timeout_ms, secret_hash, principal, identities })?;
        Ok(key::session_id(self.slot.zxid))
    }

    /// A session is known as somebody more, or until another time.
    ///
    /// # Errors
    /// `no-session`, `session-ended`; `limit` for too many; `bad-arguments` for a scheme that stands in lists alone.
    pub fn add_identity(&mut self, id: SessionId, held: Held) -> Result<(), Refusal> {
        let mut session = self.draft.session(id).ok_or_else(|| {
            Refusal::new(ErrorCode::NoSession, format!("session {id} is not known here"))
        })?;
        if !session.is_live() {
            return Err(Refusal::new(ErrorCode::SessionEnded, format!("session {id} has ended")));
        }
        session.add_identity(held.clone(), self.slot.time);
        check_identities(&session.identities)?;
        self.record(Change::IdentityAdded { session: id, held })
    }

    /// Ends a session: its znodes and what it uploaded for nothing go, its parked calls are dropped. Nothing happens if it has ended.
    pub fn end_session(&mut self, id: SessionId, end: End) {
        if !self.draft.session(id).is_some_and(|session| session.is_live()) {
            return;
        }
        self.delete_owned(key::owned_by_session(id));
        for component in self.draft.uploads(id) {
            self.record_unbounded(Change::UploadEnded { session: id, component });
        }
        self.record_unbounded(Change::SessionEnded { session: id, end });
    }

    /// Forgets an ended session. Nothing happens if it lives or is gone.
    pub fn forget_session(&mut self, id: SessionId) {
        if self.draft.session(id).is_some_and(|session| !session.is_live()) {
            self.record_unbounded(Change::SessionForgotten { session: id });
        }
    }
}

fn check_identities(identities: &[Held]) -> Result<(), Refusal> {
    if let Some(other) = identities.iter().find(|held| !held.identity.scheme().is_held()) {
        let message = format!("{} stands in lists: nobody is known as that", other.identity);
        return Err(Refusal::new(ErrorCode::BadArguments, message));
    }
    let (count, max) = (identities.len(), limits::IDENTITIES_PER_SESSION_MAX);
    if count > max {
        return Err(Refusal::limit("identities of a session", count as u64, max as u64));
    }
    Ok(())
}
