//! Invariant 8: a lock has one holder at most at any zxid, its tokens grow, and a client that still thinks that it holds it
//! never overlaps in time with the next holder.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::change::Change;
use quorate_core::ids::{SessionId, Zxid};
use quorate_core::request::{Answer, Reply};
use quorate_core::transaction::{EntryBody, Outcome, Transaction};

use super::Invariant;
use super::event::Event;

#[derive(Default)]
struct Lock {
    holder: Option<String>,
    last_token: u64,
}

/// Who holds what: by the log, and in the clients' own view.
#[derive(Default)]
pub struct Locks {
    locks: BTreeMap<String, Lock>,
    until_ns: BTreeMap<SessionId, u64>,
    held: BTreeSet<(String, SessionId)>,
}

impl Locks {
    fn transaction(&mut self, transaction: &Transaction, at_ns: u64) -> Result<(), String> {
        for change in &transaction.changes {
            let Change::NodeDeleted { path, .. } = change else { continue };
            let path = path.as_str();
            let lock = path.rfind("/w-").and_then(|at| self.locks.get_mut(&path[..at]));
            if let Some(lock) = lock.filter(|lock| lock.holder.as_deref() == Some(path)) {
                lock.holder = None;
            }
        }
        let (Some((session, _)), Outcome::Replied(reply)) =
            (transaction.origin.write(), &transaction.outcome)
        else {
            return Ok(());
        };
        match Reply::decode(reply.clone()) {
            Ok(Reply::Done(Answer::Called(value))) => {
                let value = String::from_utf8_lossy(&value).into_owned();
                self.called(transaction.zxid, session, &value, at_ns)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a reply that can not be read: {error}")),
        }
    }

    /// A call returned; a grant says "token holder".
    fn called(
        &mut self,
        zxid: Zxid,
        session: SessionId,
        value: &str,
        at_ns: u64,
    ) -> Result<(), String> {
        let Some((token, holder)) = value.split_once(' ') else { return Ok(()) };
        let (Ok(token), Some(at)) = (token.parse::<u64>(), holder.rfind("/w-")) else {
            return Ok(());
        };
        let name = &holder[..at];
        let lock = self.locks.entry(name.to_owned()).or_default();
        if token != zxid.0 || token <= lock.last_token {
            return Err(format!("token {token} at {zxid} comes after {}", lock.last_token));
        }
        if let Some(other) = &lock.holder {
            return Err(format!("{holder} is granted at {zxid} while {other} holds the lock"));
        }
        lock.holder = Some(holder.to_owned());
        lock.last_token = token;
        for (held, other) in &self.held {
            let until_ns = self.until_ns.get(other).copied().unwrap_or(0);
            if held == name && *other != session && until_ns > at_ns {
                return Err(format!(
                    "{name} is granted to session {session}, and the client of {other} thinks for \
                     {} ms more that it holds it",
                    (until_ns - at_ns) / 1_000_000
                ));
            }
        }
        Ok(())
    }
}

impl Invariant for Locks {
    fn name(&self) -> &'static str {
        "locks"
    }

    fn see(&mut self, event: &Event, at_ns: u64) -> Result<(), String> {
        match event {
            Event::Believes { session, until_ns } => {
                self.until_ns.insert(*session, *until_ns);
                Ok(())
            }
            Event::HoldsLock { session, lock } => {
                self.held.insert((lock.clone(), *session));
                Ok(())
            }
            Event::LeavesLock { session, lock } => {
                self.held.remove(&(lock.clone(), *session));
                Ok(())
            }
            Event::Committed { entry, is_taken: true, .. } => {
                let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
                transactions.iter().try_for_each(|one| self.transaction(one, at_ns))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(locks: &mut Locks, token: u64, session: u64, at_ns: u64) -> Result<(), String> {
        let value = format!("{token} /l1/w-{token:019}");
        locks.called(Zxid(token), SessionId(session), &value, at_ns)
    }

    #[test]
    fn two_holders_and_a_token_that_goes_back_are_seen() {
        let mut locks = Locks::default();
        assert_eq!(grant(&mut locks, 7, 1, 0), Ok(()));
        assert!(grant(&mut locks, 8, 2, 0).is_err());
        let mut locks = Locks::default();
        assert_eq!(grant(&mut locks, 7, 1, 0), Ok(()));
        locks.locks.values_mut().for_each(|lock| lock.holder = None);
        assert!(grant(&mut locks, 6, 2, 0).is_err());
        assert_eq!(grant(&mut locks, 8, 2, 0), Ok(()));
    }

    #[test]
    fn a_client_that_still_believes_is_seen() {
        let mut locks = Locks::default();
        let (session, lock) = (SessionId(1), "/l1".to_owned());
        locks.see(&Event::Believes { session, until_ns: 900 }, 0).expect("fine");
        locks.see(&Event::HoldsLock { session, lock: lock.clone() }, 0).expect("fine");
        assert!(grant(&mut locks, 7, 2, 899).is_err());
        let mut locks = Locks::default();
        locks.see(&Event::Believes { session, until_ns: 900 }, 0).expect("fine");
        locks.see(&Event::HoldsLock { session, lock: lock.clone() }, 0).expect("fine");
        locks.see(&Event::LeavesLock { session, lock }, 0).expect("fine");
        assert_eq!(grant(&mut locks, 7, 2, 899), Ok(()));
    }
}
