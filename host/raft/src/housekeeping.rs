//! When the tree is flushed and the log is purged: often enough that a restart replays little and the log stays within its
//! time, entries and bytes, and no earlier than members that are sent a tree can do without it. It does not know how either is
//! done: openraft is asked for a snapshot, which is a flush here, and is told what to purge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use quorate_store::Log;
use tokio::task;
use tokio::time::MissedTickBehavior;

use crate::age::Ages;
use crate::config::Config;
use crate::history::History;
use crate::retention::{Purge, Retention};
use crate::snapshot::Checkpoints;
use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

/// How often it is looked whether a flush or a purge is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A tree that has changed at all is flushed this often: a restart of a quiet member replays little.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// The log is purged by this part of the entries that stay: a purge is a record in the log.
const PURGE_PART: u64 = 8;

/// The last entries that are beyond what stays.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    /// By their age.
    old: Option<u64>,
    /// By the bytes of those behind them.
    bytes: Option<u64>,
}

/// What looks after one namespace.
pub(crate) struct Housekeeper {
    pub raft: Raft<TypeConfig, StateMachine>,
    pub log: Arc<Log>,
    pub config: Config,
    /// On the disk of which the free bytes count.
    pub directory: PathBuf,
    /// Looked after as well.
    pub checkpoints: Arc<Checkpoints>,
    pub retention: Arc<Retention>,
    /// Looked after as well.
    pub history: History,
}

impl Housekeeper {
    /// Flushes and purges when it is due; until openraft ends.
    pub(crate) async fn run(self) {
        let data = self.raft.data_metrics();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushed_at = Instant::now();
        let mut asked_for = None;
        let mut ages = Ages::new(self.config.history_keep);
        let mut forgotten = None;
        loop {
            ticks.tick().await;
            let free_bytes = self.look_at_the_disk().await;
            let (applied, flushed, purged) = {
                let data = data.borrow_watched();
                let index = |at: &Option<crate::types::LogId>| at.as_ref().map(|at| at.index);
                (index(&data.last_applied), index(&data.snapshot), index(&data.purged))
            };
            if purged > forgotten {
                self.forget_purged().await;
                forgotten = purged;
            }
            let old = ages.handle_time(applied, Instant::now());
            let namespace = self.config.namespace.0;
            let beyond = self.log.last_beyond(namespace, self.config.log_keep_bytes);
            if let Some(flushed) = flushed
                && let Some(upto) =
                    self.purge(flushed, purged, Beyond { old, bytes: beyond }, free_bytes)
                && self.raft.trigger().purge_log(upto).await.is_err()
            {
                return;
            }
            let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let covered = flushed.max(asked_for);
            let behind = count(applied).saturating_sub(count(covered));
            let is_due = behind >= self.config.flush_after_entries
                || (behind > 0 && (flushed_at.elapsed() >= FLUSH_EVERY || beyond > covered));
            if is_due {
                if self.raft.trigger().snapshot().await.is_err() {
                    return;
                }
                flushed_at = Instant::now();
                asked_for = applied;
            }
        }
    }

    async fn forget_purged(&self) {
        let history = self.history.clone();
        match task::spawn_blocking(move || history.forget_purged()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the history can not be tidied"),
            // The runtime ends, or it has panicked and the process ends.
            Err(_) => {}
        }
    }

    /// Removes checkpoints that nobody uses; free bytes, if they are known.
    async fn look_at_the_disk(&self) -> Option<u64> {
        let (checkpoints, directory) = (Arc::clone(&self.checkpoints), self.directory.clone());
        // Closes databases and deletes their files: not on a worker. If the runtime ends, so does this.
        let looked = task::spawn_blocking(move || {
            checkpoints.tidy(Instant::now());
            quorate_store::free_bytes(&directory)
        });
        match looked.await {
            Ok(Ok(free_bytes)) => Some(free_bytes),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the free space of the disk is not known");
                None
            }
            Err(_) => None,
        }
    }

    /// The index up to which the log is to be purged, if it is. Never beyond the flush: a crash takes the tree back there,
    /// and the log must go on from it.
    fn purge(
        &self,
        flushed: u64,
        purged: Option<u64>,
        beyond: Beyond,
        free_bytes: Option<u64>,
    ) -> Option<u64> {
        let keep = self.config.log_keep_entries;
        let next = purged.map_or(0, |purged| purged + 1);
        let all_but = |count: u64| (flushed + 1).saturating_sub(count);
        let by_age = beyond.old.map_or(0, |old| old + 1).min(all_but(keep));
        let by_count = by_age.max(all_but(self.config.log_keep_entries_max.max(keep)));
        let by_count = (by_count >= next + (keep / PURGE_PART).max(1)).then(|| by_count - 1);
        let usual = by_count.max(beyond.bytes).map(|upto| upto.min(flushed))?;
        let upto = self.retention.purge(
            Purge { usual, at_least: self.must_go(usual, flushed, free_bytes) },
            self.matched().as_ref(),
            Instant::now(),
        );
        (Some(upto) > purged).then_some(upto)
    }

    /// The index up to which nothing stays for other members.
    fn must_go(&self, usual: u64, flushed: u64, free_bytes: Option<u64>) -> u64 {
        let hold = &self.config.hold;
        if free_bytes.is_some_and(|free| free < hold.free_bytes_min) {
            return usual;
        }
        let by_bytes = self.log.last_beyond(self.config.namespace.0, hold.bytes_max);
        by_bytes.unwrap_or(0).max(flushed.saturating_sub(hold.entries_max)).min(usual)
    }

    /// The last entry that each member has, if this one leads.
    fn matched(&self) -> Option<BTreeMap<u64, Option<u64>>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let all = metrics.replication.as_ref()?.iter();
        Some(all.map(|(id, matched)| (*id, matched.as_ref().map(|at| at.index))).collect())
    }
}
