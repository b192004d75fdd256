//! What was applied, in order, and what must hold of it (DESIGN section 4). Built from the log alone; every member that
//! applies an entry is compared with the first that did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::apply::Applied;
use quorate_core::change::Change;
use quorate_core::draft::Meta;
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::request::{Answer, Reply};
use quorate_core::session::End;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;

use super::client::{Client, Told};

/// A lock as the history sees it.
#[derive(Default)]
struct Lock {
    holder: Option<String>,
    last_token: u64,
}

/// The applied transactions and what follows from them.
#[derive(Default)]
pub struct History {
    /// What each entry did, and where the first member stood after it.
    entries: Vec<(Applied, Meta)>,
    pub transactions: Vec<Transaction>,
    /// Final replies.
    pub replies: BTreeMap<(SessionId, WriteNumber), (Zxid, Bytes)>,
    pub executed: BTreeSet<(SessionId, WriteNumber)>,
    /// When each session ended, in monotonic milliseconds.
    pub ended: BTreeMap<SessionId, (End, u64)>,
    pub live: BTreeSet<SessionId>,
    ephemerals: BTreeMap<String, SessionId>,
    locks: BTreeMap<String, Lock>,
    /// Items of queues: how often put and how often taken.
    pub items: BTreeMap<String, (u32, u32)>,
    /// Data of the queues' znodes.
    queued: BTreeMap<String, String>,
    pub grants: u32,
}

impl History {
    /// A member has applied the entry at this index.
    pub fn applied(
        &mut self,
        index: usize,
        entry: &Arc<Entry>,
        applied: Applied,
        meta: Meta,
        now_ms: u64,
    ) {
        if let Some((before, stood)) = self.entries.get(index) {
            assert_eq!((*before, *stood), (applied, meta), "members differ after entry {index}");
            return;
        }
        assert_eq!(index, self.entries.len(), "entries are applied in order");
        self.entries.push((applied, meta));
        if applied == Applied::Taken
            && let EntryBody::Batch { transactions, .. } = &entry.body
        {
            for transaction in transactions {
                self.add(transaction, now_ms);
            }
            assert_eq!(meta.zxid, self.last(), "the tree and the log agree on the zxid");
        }
    }

    /// The last applied transaction.
    pub fn last(&self) -> Zxid {
        Zxid(self.transactions.len() as u64)
    }

    fn add(&mut self, transaction: &Transaction, now_ms: u64) {
        assert_eq!(transaction.zxid, self.last().next(), "zxids are dense");
        if let Some((session, _)) = transaction.origin.write() {
            assert!(self.live.contains(&session), "{session} has ended and changes something");
        }
        if let Origin::Write { session, write, .. } = &transaction.origin {
            assert!(self.executed.insert((*session, *write)), "{session}:{write} ran twice");
        }
        for change in &transaction.changes {
            self.change(transaction.zxid, change, now_ms);
        }
        if let (Some(write), Outcome::Replied(reply)) =
            (transaction.origin.write(), &transaction.outcome)
        {
            let before = self.replies.insert(write, (transaction.zxid, reply.clone()));
            assert!(before.is_none(), "{write:?} is answered twice");
            let reply = Reply::decode(reply.clone()).expect("our own bytes");
            if let Reply::Done(Answer::Called(value)) = reply {
                self.called(transaction.zxid, &String::from_utf8_lossy(&value));
            }
        }
        self.transactions.push(transaction.clone());
    }

    fn change(&mut self, zxid: Zxid, change: &Change, now_ms: u64) {
        match change {
            Change::NodeCreated { path, data, lifetime, .. } => {
                let path = path.as_str();
                if let Some(session) = lifetime.session() {
                    assert!(self.live.contains(&session), "{path} belongs to an ended session");
                    self.ephemerals.insert(path.to_owned(), session);
                }
                if path.contains("/i-") && *lifetime == Lifetime::Persistent {
                    let item = String::from_utf8_lossy(data).into_owned();
                    self.items.entry(item.clone()).or_default().0 += 1;
                    self.queued.insert(path.to_owned(), item);
                }
            }
            Change::NodeDeleted { path, .. } => {
                let path = path.as_str();
                self.ephemerals.remove(path);
                if let Some(item) = self.queued.remove(path) {
                    self.items.entry(item).or_default().1 += 1;
                }
                if let Some(lock) = path.rfind("/w-").and_then(|at| self.locks.get_mut(&path[..at]))
                    && lock.holder.as_deref() == Some(path)
                {
                    lock.holder = None;
                }
            }
            Change::SessionOpened { .. } => {
                self.live.insert(key::session_id(zxid));
            }
            Change::SessionEnded { session, end } => {
                let left: Vec<_> =
                    self.ephemerals.iter().filter(|(_, of)| *of == session).collect();
                assert!(left.is_empty(), "session {session} ends and leaves {left:?}");
                assert!(self.live.remove(session), "session {session} ends twice");
                self.ended.insert(*session, (*end, now_ms));
            }
            _ => {}
        }
    }

    /// A call of the recipes returned; a grant is "token holder".
    fn called(&mut self, zxid: Zxid, value: &str) {
        let Some((token, holder)) = value.split_once(' ') else { return };
        let (Ok(token), Some(at)) = (token.parse::<u64>(), holder.rfind("/w-")) else { return };
        assert_eq!(token, zxid.0, "the token is the zxid of the grant");
        let lock = self.locks.entry(holder[..at].to_owned()).or_default();
        assert_eq!(lock.holder, None, "{holder} is granted while another holds the lock");
        assert!(token > lock.last_token, "token {token} comes after {}", lock.last_token);
        lock.holder = Some(holder.to_owned());
        lock.last_token = token;
        self.grants += 1;
    }

    /// What this client was told is what happened.
    pub fn check_client(&self, client: &Client) {
        let Some(session) = client.session else { return };
        for (write, told) in &client.told {
            let happened = self.replies.get(&(session, *write));
            match told {
                Told::Replied { zxid, reply } => {
                    let (at, bytes) = happened.unwrap_or_else(|| {
                        panic!("{session}:{write} was answered at {zxid} and is not in the log")
                    });
                    assert_eq!((at, bytes), (zxid, &reply.encode()), "{session}:{write}");
                }
                Told::Refused(refusal) => assert!(
                    happened.is_none() && self.ended.contains_key(&session),
                    "{session}:{write} was told {refusal} and the log says {happened:?}"
                ),
            }
        }
    }

    /// Every item that was put is taken at most once; those that were not taken are still there.
    pub fn check_items(&self) {
        for (item, (put, taken)) in &self.items {
            assert!(*put == 1 && *taken <= 1, "{item} was put {put} times and taken {taken} times");
        }
        let left = self.items.values().filter(|(_, taken)| *taken == 0).count();
        assert_eq!(left, self.queued.len(), "items are lost");
    }
}
