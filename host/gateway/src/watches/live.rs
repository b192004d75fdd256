//! What the watches that are live are told, on the thread that applies: of each entry its events, or that it was skipped. All
//! of it is bounded: by what outboxes take, and by the pairs of an event and a watch that are looked at together.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::transaction::Transaction;
use quorate_wire::message::watch::WatchEnd;

use super::frames::{self, Replaced, Told};
use super::outbox::NotQueued;
use super::rights::RightsNow;
use super::{State, Watches};
use crate::limits;

impl Watches {
    /// These transactions of one entry have been applied: queues their events. Before any reply of theirs leaves, and before
    /// a reader sees them. `before`: what the entry has replaced, if that was wanted while it was applied.
    pub fn applied(&self, transactions: &[Transaction], before: Option<&BTreeMap<Path, Bytes>>) {
        let Some(last) = transactions.last() else { return };
        let mut state = self.lock();
        if !state.index.is_empty() {
            let rights = self.rights.now();
            let mut replaced = (state.want_previous > 0).then(|| Replaced::new(before));
            for transaction in transactions {
                let told = match &mut replaced {
                    Some(replaced) => replaced.tell(transaction),
                    None => frames::events(transaction),
                };
                state.tell(transaction, &told, &rights);
            }
        }
        state.queued = state.queued.max(last.zxid);
    }

    /// The session of an attachment has ended, and with it the watches that are open there.
    pub(crate) fn end_all(&self, attachment: u64, refusal: &Refusal) {
        let mut state = self.lock();
        let queued = state.queued;
        for key in state.keys_of(attachment) {
            if state.all.get(&key).is_some_and(|one| one.is_live) {
                state.end(key, queued, WatchEnd::Refused(refusal.clone()));
            } else {
                // Its answer will say so.
                state.remove(key);
            }
        }
    }

    /// The tree was replaced by one that stands at this transaction. What lies between is in no entry that comes here: the
    /// watches that lack it end where they are.
    pub(crate) fn installed(&self, zxid: Zxid) {
        let mut state = self.lock();
        let queued = state.queued;
        if zxid <= queued {
            return;
        }
        let live: Vec<u64> =
            state.all.iter().filter(|(_, one)| one.is_live).map(|(key, _)| *key).collect();
        for key in live {
            // One that began on the new tree, or behind it, lacks nothing.
            if state.all.get(&key).is_some_and(|one| one.after < zxid) {
                state.end(key, queued, WatchEnd::NotHere { oldest: zxid });
            }
        }
        state.queued = zxid;
    }
}

impl State {
    /// Queues the events of one transaction.
    fn tell(&mut self, transaction: &Transaction, told: &[Told<'_>], rights: &RightsNow<'_>) {
        // What is told again after a restart is behind it, and nobody watched when it was new.
        if told.is_empty() || transaction.zxid <= self.queued {
            return;
        }
        let mut pairs: Vec<(u64, usize)> = Vec::new();
        for (at, one) in told.iter().enumerate() {
            self.index.matches(&one.event, |key| pairs.push((key, at)));
            if pairs.len() > limits::EVENT_PAIRS_MAX {
                self.give_up(transaction.zxid, pairs, told.get(at + 1..).unwrap_or_default());
                return;
            }
        }
        if told.len() > 1 {
            pairs.sort_unstable();
        }
        for group in pairs.chunk_by(|(left, _), (right, _)| left == right) {
            let Some((key, _)) = group.first() else { continue };
            let told = group.iter().filter_map(|(_, at)| told.get(*at));
            self.tell_one(*key, transaction, told, rights);
        }
    }

    fn tell_one<'a>(
        &mut self,
        key: u64,
        transaction: &Transaction,
        told: impl Iterator<Item = &'a Told<'a>>,
        rights: &RightsNow<'_>,
    ) {
        let zxid = transaction.zxid;
        // Not there any more: another watch of its attachment was too slow for this transaction.
        let Some(one) = self.all.get_mut(&key).filter(|one| zxid > one.after) else { return };
        let client = one.asked.client;
        let told = told.filter(|told| rights.may_see(client, &told.event));
        let mut frames = frames::frames(one.asked.form(), (zxid, transaction.time.0), told);
        if frames.is_empty() {
            return;
        }
        if one.asked.is_once {
            frames.push(one.ended(zxid, WatchEnd::Fired));
        }
        let (attachment, is_once) = (one.attachment, one.asked.is_once);
        match one.outbox.push(frames) {
            Ok(()) => {
                one.last = zxid;
                if is_once {
                    self.remove(key);
                }
            }
            Err(NotQueued::Full) => {
                let why = "events are queued for it as many as may be: the client does not read them fast enough";
                for key in self.keys_of(attachment) {
                    self.cut(key, zxid, why);
                }
            }
            Err(NotQueued::Ended) => self.forget(attachment),
        }
    }

    /// A transaction is too much for the thread that applies. The watches that it is for are ended before it, each once: they
    /// come back to it by way of history, which has the time.
    fn give_up(&mut self, zxid: Zxid, pairs: Vec<(u64, usize)>, rest: &[Told<'_>]) {
        let why = "a transaction has more events for more watches than are told at once";
        for (key, _) in pairs {
            self.cut(key, zxid, why);
        }
        for told in rest {
            let mut keys = Vec::new();
            self.index.matches(&told.event, |key| keys.push(key));
            for key in keys {
                self.cut(key, zxid, why);
            }
        }
    }

    /// Ends a watch that is live before this transaction, or behind it if it has been told of it.
    fn cut(&mut self, key: u64, zxid: Zxid, why: &str) {
        if self.all.get(&key).is_some_and(|one| one.is_live) {
            let refusal = Refusal::new(ErrorCode::SlowConsumer, why);
            self.end(key, Zxid(zxid.0.saturating_sub(1)), WatchEnd::Refused(refusal));
        }
    }

    /// Ends a watch. The events of all transactions up to `queued` are queued for it.
    fn end(&mut self, key: u64, queued: Zxid, end: WatchEnd) {
        if let Some(one) = self.remove(key) {
            one.outbox.push_always(vec![one.ended(one.position(queued), end)]);
        }
    }
}
