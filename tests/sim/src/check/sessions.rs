//! A session is not expired while its client may believe in it (DESIGN D11): the client gives up first, by its own clock.

use std::collections::BTreeMap;

use quorate_core::change::Change;
use quorate_core::ids::SessionId;
use quorate_core::session::End;
use quorate_core::transaction::EntryBody;

use super::Invariant;
use super::event::Event;

/// Until when each client believes.
#[derive(Default)]
pub struct Sessions {
    until_ns: BTreeMap<SessionId, u64>,
    expired_ns: BTreeMap<SessionId, u64>,
}

impl Sessions {
    /// Sessions that expired.
    #[must_use]
    pub fn expired_count(&self) -> usize {
        self.expired_ns.len()
    }
}

impl Invariant for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn see(&mut self, event: &Event, at_ns: u64) -> Result<(), String> {
        match event {
            Event::Believes { session, until_ns } => {
                self.until_ns.insert(*session, *until_ns);
                match self.expired_ns.get(session) {
                    Some(expired_ns) if until_ns > expired_ns => Err(format!(
                        "the client of session {session} begins to believe until {until_ns}; it \
                         expired at {expired_ns}"
                    )),
                    _ => Ok(()),
                }
            }
            Event::Committed { entry, is_taken: true, .. } => {
                let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
                for change in transactions.iter().flat_map(|transaction| &transaction.changes) {
                    let Change::SessionEnded { session, end: End::Expired } = change else {
                        continue;
                    };
                    self.expired_ns.insert(*session, at_ns);
                    let until_ns = self.until_ns.get(session).copied().unwrap_or(0);
                    if until_ns > at_ns {
                        return Err(format!(
                            "session {session} expires {} ms before its client gives up",
                            (until_ns - at_ns) / 1_000_000
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_core::ids::{Epoch, Millis, Term, Zxid};
    use quorate_core::transaction::{Entry, Origin, Outcome, Transaction};

    use super::*;

    const SESSION: SessionId = SessionId(5);

    fn expired() -> Event {
        let transaction = Transaction {
            zxid: Zxid(9),
            time: Millis(0),
            origin: Origin::Host,
            changes: vec![Change::SessionEnded { session: SESSION, end: End::Expired }],
            outcome: Outcome::None,
        };
        let body = EntryBody::Batch { base: Zxid(8), transactions: vec![transaction] };
        let entry = Arc::new(Entry { term: Term(1), epoch: Epoch(1), body });
        Event::Committed { index: 0, term: Term(1), entry, is_taken: true }
    }

    #[test]
    fn an_expiry_under_a_client_that_believes_is_seen() {
        let mut sessions = Sessions::default();
        let believes = |until_ns| Event::Believes { session: SESSION, until_ns };
        assert_eq!(sessions.see(&believes(500), 100), Ok(()));
        assert_eq!(sessions.see(&expired(), 501), Ok(()));
        assert_eq!(sessions.see(&believes(500), 600), Ok(()), "long over");
        assert!(sessions.see(&believes(700), 600).is_err());
        assert_eq!(sessions.see(&believes(0), 600), Ok(()));
        let mut sessions = Sessions::default();
        assert_eq!(sessions.see(&believes(500), 100), Ok(()));
        assert!(sessions.see(&expired(), 499).is_err());
    }
}
