//! Events come in the order of transactions, each once, none is left out, and those before a reply come before it (invariant 6).

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::{SessionId, Zxid};
use quorate_core::transaction::EntryBody;

use super::Invariant;
use super::event::Event;
use crate::member::watches::is_event;

/// What the watch of a session was told.
struct Watch {
    /// Everything up to here.
    position: Zxid,
    /// Whether replies are to come behind their events.
    is_open: bool,
}

/// What each session was told, and what there was to tell.
#[derive(Default)]
pub struct Watches {
    /// Transactions that are events.
    events: BTreeSet<Zxid>,
    watches: BTreeMap<SessionId, Watch>,
    /// Reads under way.
    asked: BTreeMap<u64, SessionId>,
}

impl Watches {
    /// The first event behind a position, up to `upto`.
    fn missing(&self, position: Zxid, upto: Zxid) -> Option<Zxid> {
        (position < upto).then(|| self.events.range(position.next()..=upto).next().copied())?
    }

    fn reflects(&self, session: SessionId, zxid: Zxid) -> Result<(), String> {
        let Some(watch) = self.watches.get(&session).filter(|watch| watch.is_open) else {
            return Ok(());
        };
        match self.missing(watch.position, zxid) {
            None => Ok(()),
            Some(missing) => Err(format!(
                "session {session} hears of {zxid}, and was told of {} and not of {missing}",
                watch.position
            )),
        }
    }

    fn told(&mut self, session: SessionId, zxid: Zxid) -> Result<(), String> {
        let Some(watch) = self.watches.get_mut(&session) else {
            return Err(format!("session {session} watches nothing, and is told of {zxid}"));
        };
        let position = std::mem::replace(&mut watch.position, zxid);
        if zxid <= position {
            return Err(format!("session {session} is told of {zxid} after {position}"));
        }
        match self.missing(position, zxid) {
            Some(next) if next == zxid => Ok(()),
            Some(missing) => {
                Err(format!("session {session} is told of {zxid}, and never of {missing}"))
            }
            None => Err(format!("session {session} is told of {zxid}, which is no event")),
        }
    }
}

impl Invariant for Watches {
    fn name(&self) -> &'static str {
        "watches"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Committed { entry, is_taken: true, .. } => {
                if let EntryBody::Batch { transactions, .. } = &entry.body {
                    let events = transactions.iter().filter(|transaction| is_event(transaction));
                    self.events.extend(events.map(|transaction| transaction.zxid));
                }
                Ok(())
            }
            Event::Watches { session, position: Some(position) } => {
                self.watches.insert(*session, Watch { position: *position, is_open: false });
                Ok(())
            }
            Event::Watches { session, position: None } => {
                self.watches.remove(session);
                Ok(())
            }
            Event::WatchOpen { session, is_open } => {
                if let Some(watch) = self.watches.get_mut(session) {
                    watch.is_open = *is_open;
                }
                Ok(())
            }
            Event::Told { session, zxid } => self.told(*session, *zxid),
            Event::Asked { session, read } => {
                self.asked.insert(*read, *session);
                Ok(())
            }
            Event::Shown { read, zxid } => match self.asked.remove(read) {
                Some(session) => self.reflects(session, *zxid),
                None => Ok(()),
            },
            Event::Replied { session, zxid, .. } => self.reflects(*session, *zxid),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use quorate_core::change::Change;
    use quorate_core::ids::{Epoch, Millis, Term, WriteNumber};
    use quorate_core::path::Path;
    use quorate_core::transaction::{Entry, Origin, Outcome, Transaction};
    use quorate_core::znode::Lifetime;

    use super::*;

    const SESSION: SessionId = SessionId(1);

    /// Transactions 1 to 6, of which the even ones are events, and a watch from the first on.
    fn watched() -> Watches {
        let mut watches = Watches::default();
        let transactions = (1..=6).map(|number| {
            let path = Path::parse(&format!("/n{number}")).expect("valid");
            let (data, lifetime) = (Bytes::new(), Lifetime::Persistent);
            let created = Change::NodeCreated { path, data, lifetime, acl: None };
            Transaction {
                zxid: Zxid(number),
                time: Millis(number),
                origin: Origin::Host,
                changes: if number % 2 == 0 { vec![created] } else { Vec::new() },
                outcome: Outcome::None,
            }
        });
        let body = EntryBody::Batch { base: Zxid(0), transactions: transactions.collect() };
        let entry = Arc::new(Entry { term: Term(1), epoch: Epoch(1), body });
        let committed = Event::Committed { index: 1, term: Term(1), entry, is_taken: true };
        watches.see(&committed, 0).expect("fine");
        let begins = Event::Watches { session: SESSION, position: Some(Zxid(1)) };
        watches.see(&begins, 0).expect("fine");
        let open = Event::WatchOpen { session: SESSION, is_open: true };
        watches.see(&open, 0).expect("fine");
        watches
    }

    fn told(zxid: u64) -> Event {
        Event::Told { session: SESSION, zxid: Zxid(zxid) }
    }

    fn replied(zxid: u64) -> Event {
        let (write, reply) = (WriteNumber(1), Bytes::new());
        Event::Replied { session: SESSION, write, zxid: Zxid(zxid), reply }
    }

    fn sees(events: &[Event]) -> Result<(), String> {
        let mut watches = watched();
        events.iter().try_for_each(|event| watches.see(event, 0))
    }

    #[test]
    fn what_is_in_order_and_whole_is_fine() {
        assert_eq!(sees(&[told(2), replied(3), told(4), replied(5), told(6)]), Ok(()));
    }

    #[test]
    fn a_gap_a_double_and_what_never_was_are_seen() {
        assert!(sees(&[told(4)]).is_err(), "2 is left out");
        assert!(sees(&[told(2), told(2)]).is_err());
        assert!(sees(&[told(2), told(3)]).is_err(), "no event");
        assert!(sees(&[told(2), told(4), told(2)]).is_err());
    }

    #[test]
    fn a_reply_before_its_event_is_seen_while_the_watch_is_open() {
        assert!(sees(&[replied(2)]).is_err());
        let cut = Event::WatchOpen { session: SESSION, is_open: false };
        assert_eq!(sees(&[cut, replied(2)]), Ok(()));
        let asked = Event::Asked { session: SESSION, read: 9 };
        assert!(sees(&[told(2), asked, Event::Shown { read: 9, zxid: Zxid(4) }]).is_err());
    }
}
