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
                Change::NodeDeleted { path } => {
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
