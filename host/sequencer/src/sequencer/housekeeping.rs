//! What the leader does without being asked: the feature level rises, sessions expire and are forgotten, containers and TTL
//! znodes go. Each is a transaction of its own, and its condition is looked at again when that is executed.

use quorate_core::draft::{ReadRecords, View};
use quorate_core::execute;
use quorate_core::ids::{Epoch, SessionId};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::read::{Direction, Read};
use quorate_core::transaction::Transaction;
use quorate_core::txn::Slot;

use super::Sequencer;
use crate::port::{Leadership, Now};

/// Milliseconds between two looks at the sessions that can be forgotten.
const FORGET_EVERY_MS: u64 = 1_000;
/// Sessions forgotten at one look: housekeeping must not fill a batch.
const FORGET_AT_ONCE: usize = 64;
/// Milliseconds between two looks at the znodes whose time has come.
const REAP_EVERY_MS: u64 = 100;
/// Znodes deleted at one look: 2,560 a second, and most of a batch is left to those who wait for an answer.
const REAP_AT_ONCE: usize = 256;

/// When to look next, in monotonic milliseconds.
#[derive(Debug, Default)]
pub(super) struct Looks {
    forget_at_ms: u64,
    reap_at_ms: u64,
    /// The epoch and the transaction time of the last look that found no znode to delete.
    none_to_reap: Option<(Epoch, u64)>,
}

impl Sequencer {
    /// Raises the feature level, if every member knows a higher one. What was executed before goes into the same entry, and
    /// what may use the level into later ones: a member that must not read these stops at this one.
    pub(super) fn raise_level(&mut self, leadership: Leadership, now: Now) {
        let Some((told_under, level)) = self.known else { return };
        if told_under != leadership || level <= self.view().level() {
            return;
        }
        if self.batch_is_full() && self.may_close_batch() {
            self.close_batch();
        }
        if self.batch_is_full() || !self.may_close_batch() {
            return;
        }
        let slot = self.slot();
        let (view, transaction) = execute::raise_level(self.take_view(), slot, level);
        self.view = Some(view);
        if let Some(transaction) = transaction {
            tracing::info!(
                level = level.0,
                "every member knows this feature level: the cluster's is raised"
            );
            self.push(transaction, now);
            self.close_batch();
        }
    }

    pub(super) fn keep_house(&mut self, now: Now) {
        self.expire_sessions(now);
        self.forget_sessions(now);
        self.reap(now);
    }

    /// Expires who was silent for too long, as many as the batch takes; the others at the next step.
    fn expire_sessions(&mut self, now: Now) {
        while !self.batch_is_full()
            && let Some(session) = self.liveness.poll_expired(now.monotonic_ms)
        {
            tracing::info!(session = session.0, "session expired");
            self.act(|view, slot| execute::expire_session(view, slot, session), now);
        }
    }

    fn forget_sessions(&mut self, now: Now) {
        if now.monotonic_ms < self.looks.forget_at_ms {
            return;
        }
        self.looks.forget_at_ms = now.monotonic_ms + FORGET_EVERY_MS;
        let (from, to) = key::ended_before(self.time.0.saturating_sub(limits::TOMBSTONE_MS));
        let old: Vec<SessionId> = self
            .view()
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::session_of(&key))
            .take(FORGET_AT_ONCE)
            .collect();
        for session in old {
            self.act(|view, slot| execute::forget_session(view, slot, session), now);
        }
    }

    fn reap(&mut self, now: Now) {
        if now.monotonic_ms < self.looks.reap_at_ms {
            return;
        }
        self.looks.reap_at_ms = now.monotonic_ms + REAP_EVERY_MS;
        // Marks are set for times to come. So none comes up before a time at which there was none, and what was deleted
        // before it is not stepped over again; what another epoch deleted may be back.
        let from_ms = match self.looks.none_to_reap {
            Some((epoch, at_ms)) if epoch == self.epoch => at_ms,
            _ => 0,
        };
        let (from, to) = key::reap_between(from_ms, self.time.0);
        let due: Vec<Path> = self
            .view()
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::reap_path(&key))
            .take(REAP_AT_ONCE)
            .collect();
        if due.is_empty() {
            self.looks.none_to_reap = Some((self.epoch, self.time.0));
        }
        for path in due {
            self.act(|view, slot| execute::reap(view, slot, &path), now);
        }
    }

    /// Executes a transaction of the host's own; those that the batch has no room for come up again.
    fn act(&mut self, act: impl FnOnce(View, Slot) -> (View, Option<Transaction>), now: Now) {
        if self.batch_is_full() {
            return;
        }
        let slot = self.slot();
        let (view, transaction) = act(self.take_view(), slot);
        self.view = Some(view);
        if let Some(transaction) = transaction {
            self.push(transaction, now);
        }
    }
}
