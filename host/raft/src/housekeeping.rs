//! When the tree is flushed: often enough that a restart replays little and the log can be purged. It does not know how
//! either is done: openraft is asked for a snapshot, which is a flush here, and purges the log behind it by itself.

use std::time::{Duration, Instant};

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use tokio::time::MissedTickBehavior;

use crate::state_machine::StateMachine;
use crate::types::TypeConfig;

/// How often it is looked whether a flush is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A tree that has changed at all is flushed this often: a restart of a quiet member replays little.
const FLUSH_EVERY: Duration = Duration::from_secs(60);

/// Flushes when `entries` were applied since the last flush; until openraft ends.
pub(crate) async fn run(raft: Raft<TypeConfig, StateMachine>, entries: u64) {
    let data = raft.data_metrics();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flushed_at = Instant::now();
    let mut asked_for = None;
    loop {
        ticks.tick().await;
        let (applied, flushed) = {
            let data = data.borrow_watched();
            (data.last_applied.map(|at| at.index), data.snapshot.map(|at| at.index))
        };
        let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let behind = count(applied).saturating_sub(count(flushed.max(asked_for)));
        if behind >= entries || (behind > 0 && flushed_at.elapsed() >= FLUSH_EVERY) {
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
            flushed_at = Instant::now();
            asked_for = applied;
        }
    }
}
