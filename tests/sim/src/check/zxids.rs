//! Invariant 2: zxids are dense; what was acknowledged stands in the log, as it was told; a write is executed at most once,
//! and never after it was refused for good.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::transaction::{EntryBody, Origin, Outcome, Transaction};

use super::Invariant;
use super::event::Event;

type Write = (SessionId, WriteNumber);

/// The numbers of transactions and writes.
#[derive(Default)]
pub struct Zxids {
    last: Zxid,
    last_write: BTreeMap<SessionId, WriteNumber>,
    replies: BTreeMap<Write, (Zxid, Bytes)>,
    opened: BTreeSet<SessionId>,
    told: BTreeMap<Write, (Zxid, Bytes)>,
    refused: BTreeMap<Write, ErrorCode>,
}

impl Zxids {
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), String> {
        let zxid = transaction.zxid;
        if zxid != self.last.next() {
            return Err(format!("transaction {zxid} comes after {}", self.last));
        }
        self.last = zxid;
        for change in &transaction.changes {
            if matches!(change, Change::SessionOpened { .. }) {
                self.opened.insert(key::session_id(zxid));
            }
        }
        if let Origin::Write { session, write, .. } = &transaction.origin {
            let last = self.last_write.entry(*session).or_default();
            if *write != last.next() {
                return Err(format!("{session}:{write} is executed after {session}:{last}"));
            }
            *last = *write;
        }
        if let (Some(write), Outcome::Replied(reply)) =
            (transaction.origin.write(), &transaction.outcome)
            && self.replies.insert(write, (zxid, reply.clone())).is_some()
        {
            return Err(format!("{}:{} is answered twice", write.0, write.1));
        }
        Ok(())
    }

    fn replied(&mut self, write: Write, zxid: Zxid, reply: &Bytes) -> Result<(), String> {
        let (session, number) = write;
        match self.replies.get(&write) {
            None => return Err(format!("{session}:{number} was answered and is not in the log")),
            Some((at, stands)) if *at != zxid || stands != reply => {
                return Err(format!("{session}:{number} was told another reply than the log has"));
            }
            Some(_) => {}
        }
        let told = self.told.entry(write).or_insert((zxid, reply.clone()));
        if *told == (zxid, reply.clone()) {
            return Ok(());
        }
        Err(format!("{session}:{number} was told two replies"))
    }
}

impl Invariant for Zxids {
    fn name(&self) -> &'static str {
        "zxids"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Committed { entry, is_taken: true, .. } => {
                let EntryBody::Batch { base, transactions } = &entry.body else { return Ok(()) };
                if *base != self.last {
                    return Err(format!("a batch on {base} was taken on {}", self.last));
                }
                transactions.iter().try_for_each(|transaction| self.transaction(transaction))
            }
            Event::Opened { session } if !self.opened.contains(session) => {
                Err(format!("session {session} was told to be open and is not in the log"))
            }
            Event::Replied { session, write, zxid, reply } => {
                self.replied((*session, *write), *zxid, reply)
            }
            Event::Refused { session, write, code } => {
                self.refused.insert((*session, *write), *code);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        for ((session, write), code) in &self.refused {
            let last = self.last_write.get(session).copied().unwrap_or_default();
            // Of an ended session nothing more than its end is said.
            let says_nothing = *code == ErrorCode::SessionEnded || *code == ErrorCode::NoSession;
            if *write <= last && !says_nothing {
                return Err(format!("{session}:{write} was refused ({code:?}) and executed"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_core::ids::{Epoch, Millis, Term};
    use quorate_core::session::Acks;
    use quorate_core::transaction::Entry;

    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn write(zxid: u64, write: u64) -> Transaction {
        Transaction {
            zxid: Zxid(zxid),
            time: Millis(0),
            origin: Origin::Write {
                session: SESSION,
                write: WriteNumber(write),
                hash: 0,
                acks: Acks::default(),
            },
            changes: Vec::new(),
            outcome: Outcome::Replied(Bytes::from_static(b"done")),
        }
    }

    fn committed(base: u64, transactions: Vec<Transaction>) -> Event {
        let body = EntryBody::Batch { base: Zxid(base), transactions };
        let entry = Arc::new(Entry { term: Term(1), epoch: Epoch(1), body });
        Event::Committed { index: 0, term: Term(1), entry, is_taken: true }
    }

    fn told(write: u64, zxid: u64, reply: &'static [u8]) -> Event {
        let (write, zxid) = (WriteNumber(write), Zxid(zxid));
        Event::Replied { session: SESSION, write, zxid, reply: Bytes::from_static(reply) }
    }

    #[test]
    fn an_answer_that_is_not_in_the_log_is_seen() {
        let mut zxids = Zxids::default();
        assert!(zxids.see(&told(1, 1, b"done"), 0).is_err());
        assert_eq!(zxids.see(&committed(0, vec![write(1, 1)]), 0), Ok(()));
        assert_eq!(zxids.see(&told(1, 1, b"done"), 0), Ok(()));
        assert!(zxids.see(&told(1, 2, b"done"), 0).is_err());
        assert!(zxids.see(&told(1, 1, b"else"), 0).is_err());
    }

    #[test]
    fn a_write_that_is_executed_twice_or_left_out_is_seen() {
        let mut zxids = Zxids::default();
        assert_eq!(zxids.see(&committed(0, vec![write(1, 1)]), 0), Ok(()));
        assert!(zxids.see(&committed(1, vec![write(2, 1)]), 0).is_err());
        let mut zxids = Zxids::default();
        assert!(zxids.see(&committed(0, vec![write(1, 2)]), 0).is_err());
    }

    #[test]
    fn a_gap_of_zxids_is_seen() {
        let mut zxids = Zxids::default();
        assert!(zxids.see(&committed(0, vec![write(2, 1)]), 0).is_err());
        assert!(Zxids::default().see(&committed(1, vec![write(2, 1)]), 0).is_err());
    }

    #[test]
    fn a_refused_write_that_was_executed_is_seen() {
        let mut zxids = Zxids::default();
        assert_eq!(zxids.see(&committed(0, vec![write(1, 1)]), 0), Ok(()));
        let (write, code) = (WriteNumber(1), ErrorCode::Overloaded);
        assert_eq!(zxids.see(&Event::Refused { session: SESSION, write, code }, 0), Ok(()));
        assert!(zxids.finish().is_err());
    }

    #[test]
    fn a_session_that_is_told_to_be_open_and_is_not_is_seen() {
        assert!(Zxids::default().see(&Event::Opened { session: SESSION }, 0).is_err());
    }
}
