//! Sessions that have ended, as far as this member has applied it: their lanes stay for what is still answered of their writes,
//! and nothing is read or watched on them any more. It does not know who ends sessions.

use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, SessionId};
use quorate_core::read::Read;
use quorate_core::session::End;
use quorate_core::transaction::Transaction;

use super::{Attachment, Registry, lock, read, read_all};

impl Registry {
    /// Ends what a transaction has ended, behind its reply: whoever closes its own session is told of that first.
    pub(super) fn end_sessions(&self, transaction: &Transaction) {
        for change in &transaction.changes {
            match change {
                Change::SessionEnded { session, end } => {
                    lock(&self.taken).remove(session);
                    let attachment = read(&self.sessions).get(session).cloned();
                    if let Some(attachment) = attachment {
                        self.end_session(&attachment, ended(*session, transaction.time, *end));
                    }
                }
                Change::SessionForgotten { session } => {
                    lock(&self.taken).remove(session);
                }
                _ => {}
            }
        }
    }

    /// Ends those sessions of this member's lanes that this tree says to have ended. To be called when a session that is in no
    /// entry of this member's may have: when a lane was attached, and when the tree was replaced.
    pub fn check_session(&self, attachment: &Attachment, tree: &(impl Read + ?Sized)) {
        if let Err(refusal) = lives(tree, attachment.session) {
            lock(&self.taken).remove(&attachment.session);
            self.end_session(attachment, refusal);
        }
    }

    /// The tree was replaced: the end of a session may be in what it has skipped.
    pub(super) fn check_sessions(&self, tree: &(impl Read + ?Sized)) {
        for attachment in read_all(&self.sessions) {
            self.check_session(&attachment, tree);
        }
        let taken: Vec<SessionId> = lock(&self.taken).keys().copied().collect();
        for session in taken {
            if lives(tree, session).is_err() {
                lock(&self.taken).remove(&session);
            }
        }
    }

    fn end_session(&self, attachment: &Attachment, refusal: Refusal) {
        // Before its watches end: one that is taken in from now on is given up again by whoever asked for it.
        attachment.note_session_ended(refusal.clone());
        self.watches.end_all(attachment.number, &refusal);
    }

    /// Sessions of which it is known which writes were taken here.
    #[cfg(test)]
    pub(super) fn taken_sessions(&self) -> Vec<SessionId> {
        let mut all: Vec<SessionId> = lock(&self.taken).keys().copied().collect();
        all.sort_unstable();
        all
    }
}

fn lives(tree: &(impl Read + ?Sized), session: SessionId) -> Result<(), Refusal> {
    match tree.session(session).map(|record| record.ended) {
        Some(None) => Ok(()),
        Some(Some((at, end))) => Err(ended(session, at, end)),
        None => {
            Err(Refusal::new(ErrorCode::NoSession, format!("session {session} is not known here")))
        }
    }
}

fn ended(session: SessionId, at: Millis, end: End) -> Refusal {
    Refusal::new(ErrorCode::SessionEnded, format!("session {session} {} at {at}", end.word()))
}
