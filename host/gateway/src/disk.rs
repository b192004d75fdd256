//! Tells the sequencer how much room the data directory's disk has. What is refused for that is the sequencer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_sequencer::{Input, Reserve};
use quorate_store::DataDirectory;
use tokio::time::MissedTickBehavior;

use crate::leader::SequencerHandle;
use crate::limits;

/// Looks and tells, at once and then again and again; never ends. Dropping it ends the telling.
///
/// `free` is set to the bytes that were found.
pub async fn watch(
    directory: Arc<DataDirectory>,
    reserve: Reserve,
    sequencer: SequencerHandle,
    free: Arc<AtomicU64>,
) {
    let mut looks = tokio::time::interval(limits::DISK_LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    let mut has_failed = false;
    loop {
        looks.tick().await;
        // Elsewhere: a file system that hangs must not hold up a worker.
        let directory = directory.clone();
        let looked = tokio::task::spawn_blocking(move || directory.free_bytes()).await;
        match looked {
            Ok(Ok(free_bytes)) => {
                has_failed = false;
                free.store(free_bytes, Ordering::Relaxed);
                if told.replace(free_bytes) != Some(free_bytes) {
                    sequencer.send(Input::Disk { free_bytes, reserve });
                }
            }
            Ok(Err(error)) if !has_failed => {
                has_failed = true;
                tracing::warn!(%error, "the free space of the data directory's disk is not known");
            }
            // The runtime ends, or it was said before.
            Err(_) | Ok(Err(_)) => {}
        }
    }
}
