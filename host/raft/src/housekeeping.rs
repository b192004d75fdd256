//! When the tree is flushed and the log is purged: often enough that a restart replays little and the log stays within its
//! bytes. It does not know how either is done: openraft is asked for a snapshot, which is a flush here, purges what is
//! beyond the number of entries that stay by itself, and what is beyond their bytes when it is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use quorate_core::ids::NamespaceId;
use quorate_store::Log;
use tokio::time::MissedTickBehavior;

use crate::snapshot::Checkpoints;
use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

/// How often it is looked whether a flush or a purge is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A tree that has changed at all is flushed this often: a restart of a quiet member replays little.
const FLUSH_EVERY: Duration = Duration::from_secs(60);

/// What looks after one namespace.
pub(crate) struct Housekeeper {
    pub raft: Raft<TypeConfig, StateMachine>,
    pub log: Arc<Log>,
    pub namespace: NamespaceId,
    /// Entries applied since the last flush after which the next one is due.
    pub flush_after_entries: u64,
    /// Bytes of entries that stay in the log.
    pub keep_bytes: u64,
    /// Looked after as well.
    pub checkpoints: Arc<Checkpoints>,
}

impl Housekeeper {
    /// Flushes and purges when it is due; until openraft ends.
    pub(crate) async fn run(self) {
        let data = self.raft.data_metrics();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flushed_at = Instant::now();
        let mut asked_for = None;
        loop {
            ticks.tick().await;
            let checkpoints = Arc::clone(&self.checkpoints);
            // Closes databases and deletes their files: not on a worker. If the runtime ends, so does this.
            let tidied = tokio::task::spawn_blocking(move || checkpoints.tidy(Instant::now()));
            if tidied.await.is_err() {
                tracing::debug!("checkpoints could not be looked after");
            }
            let (applied, flushed, purged) = {
                let data = data.borrow_watched();
                let index = |at: &Option<crate::types::LogId>| at.as_ref().map(|at| at.index);
                (index(&data.last_applied), index(&data.snapshot), index(&data.purged))
            };
            let beyond = self.log.last_beyond(self.namespace.0, self.keep_bytes);
            // Never beyond the flush: a crash takes the tree back there, and the log must go on from it.
            let upto = beyond.min(flushed);
            if let Some(upto) = upto.filter(|_| upto > purged)
                && self.raft.trigger().purge_log(upto).await.is_err()
            {
                return;
            }
            let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
            let covered = flushed.max(asked_for);
            let behind = count(applied).saturating_sub(count(covered));
            let is_due = behind >= self.flush_after_entries
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
}
