//! Invariant 4: an ephemeral znode exists only while its session lives, and an ended session changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::change::Change;
use quorate_core::ids::SessionId;
use quorate_core::key;
use quorate_core::transaction::{EntryBody, Transaction};

use super::Invariant;
use super::event::Event;

/// Who owns what.
#[derive(Default)]
pub struct Ephemerals {
    live: BTreeSet<SessionId>,
    owners: BTreeMap<String, SessionId>,
}

impl Ephemerals {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), String> {
        let zxid = transaction.zxid;
        if let Some((session, write)) = transaction.origin.write()
            && !self.live.contains(&session)
        {
            return Err(format!("{session}:{write} is executed at {zxid}: its session has ended"));
        }
        for change in &transaction.changes {
            match change {
                Change::NodeCreated { path, lifetime, .. } => {
                    if let Some(session) = lifetime.session() {
                        if !self.live.contains(&session) {
                            return Err(format!("{path} belongs to {session}, which has ended"));
                        }
                        self.owners.insert(path.as_str().to_owned(), session);
                    }
                }
                Change::NodeDeleted { path, .. } => {
                    self.owners.remove(path.as_str());
                }
                Change::SessionOpened { .. } => {
                    self.live.insert(key::session_id(zxid));
                }
                Change::SessionEnded { session, .. } => {
                    if !self.live.remove(session) {
                        return Err(format!("session {session} ends at {zxid} and did not live"));
                    }
                    if let Some((path, _)) = self.owners.iter().find(|(_, of)| *of == session) {
                        return Err(format!("session {session} ends and leaves {path}"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Invariant for Ephemerals {
    fn name(&self) -> &'static str {
        "ephemerals"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        let Event::Committed { entry, is_taken: true, .. } = event else { return Ok(()) };
        let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
        transactions.iter().try_for_each(|transaction| self.transaction(transaction))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::ids::{Millis, WriteNumber, Zxid};
    use quorate_core::path::Path;
    use quorate_core::session::{Acks, End};
    use quorate_core::transaction::{Origin, Outcome};
    use quorate_core::znode::Lifetime;

    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn transaction(zxid: u64, origin: Origin, changes: Vec<Change>) -> Transaction {
        let (zxid, time) = (Zxid(zxid), Millis(0));
        Transaction { zxid, time, origin, changes, outcome: Outcome::None }
    }

    fn opened() -> Transaction {
        let change = Change::SessionOpened {
            timeout_ms: 1_000,
            secret_hash: [0; 32],
            principal: String::new(),
            identities: Vec::new(),
        };
        transaction(SESSION.0, Origin::Host, vec![change])
    }

    fn writes(zxid: u64, changes: Vec<Change>) -> Transaction {
        let (write, acks) = (WriteNumber(zxid), Acks::default());
        let origin = Origin::Write { session: SESSION, write, hash: 0, acks };
        transaction(zxid, origin, changes)
    }

    fn ended(zxid: u64) -> Transaction {
        let change = Change::SessionEnded { session: SESSION, end: End::Expired };
        transaction(zxid, Origin::Host, vec![change])
    }

    fn created() -> Change {
        let path = Path::parse("/e/x").expect("a path");
        Change::NodeCreated {
            path,
            data: Bytes::new(),
            lifetime: Lifetime::Ephemeral(SESSION),
            acl: None,
        }
    }

    #[test]
    fn a_znode_that_outlives_its_session_is_seen() {
        let mut ephemerals = Ephemerals::default();
        assert_eq!(ephemerals.transaction(&opened()), Ok(()));
        assert_eq!(ephemerals.transaction(&writes(2, vec![created()])), Ok(()));
        assert!(ephemerals.transaction(&ended(3)).is_err());
    }

    #[test]
    fn an_ended_session_that_writes_is_seen() {
        let mut ephemerals = Ephemerals::default();
        assert_eq!(ephemerals.transaction(&opened()), Ok(()));
        assert_eq!(ephemerals.transaction(&writes(2, Vec::new())), Ok(()));
        assert_eq!(ephemerals.transaction(&ended(3)), Ok(()));
        assert!(ephemerals.transaction(&writes(4, Vec::new())).is_err());
        assert!(ephemerals.transaction(&ended(5)).is_err(), "ends twice");
        assert!(ephemerals.transaction(&transaction(6, Origin::Host, vec![created()])).is_err());
    }
}
