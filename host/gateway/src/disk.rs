//! Tells how much room the data directory's disk has: the sequencer of this member, and the leader if that is another one. What is
//! refused for that is the leader's sequencer's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_sequencer::{Input, Reserve};
use quorate_store::DataDirectory;
use quorate_wire::link::ToLeader;
use tokio::time::{Instant, MissedTickBehavior};

use crate::leader::SequencerHandle;
use crate::limits;
use crate::registry::{Registry, Way};

/// Who is told, and what.
pub struct DiskWatch {
    /// This member.
    pub member: u64,
    /// Looked at.
    pub directory: Arc<DataDirectory>,
    /// What is kept free.
    pub reserve: Reserve,
    /// This member's sequencer.
    pub sequencer: SequencerHandle,
    /// The way to the leader.
    pub registry: Arc<Registry>,
    /// Set to the bytes that were found.
    pub free: Arc<AtomicU64>,
}

impl DiskWatch {
    /// Looks and tells, at once and then again and again; never ends. Dropping it ends the telling. `voters`: those that are
    /// known at a time.
    pub async fn run(self, voters: impl Fn() -> BTreeSet<u64> + Send) {
        let mut looks = tokio::time::interval(limits::DISK_LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told: Option<(u64, Instant)> = None;
        let mut has_failed = false;
        loop {
            looks.tick().await;
            // Elsewhere: a file system that hangs must not hold up a worker.
            let directory = self.directory.clone();
            let looked = tokio::task::spawn_blocking(move || directory.free_bytes()).await;
            match looked {
                Ok(Ok(free_bytes)) => {
                    has_failed = false;
                    self.free.store(free_bytes, Ordering::Relaxed);
                    let is_known = |(before, at): (u64, Instant)| {
                        before == free_bytes && at.elapsed() < limits::DISK_TELL_EVERY
                    };
                    if !told.is_some_and(is_known) {
                        told = Some((free_bytes, Instant::now()));
                        self.tell(free_bytes, voters());
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

    fn tell(&self, free_bytes: u64, voters: BTreeSet<u64>) {
        let (member, reserve) = (self.member, self.reserve);
        self.sequencer.send(Input::Voters(voters));
        self.sequencer.send(Input::Disk { member, free_bytes, reserve });
        if let Some(Way::Link(link)) = self.registry.way() {
            let Reserve { refused_below_bytes, taken_from_bytes } = reserve;
            link.send(ToLeader::Room { free_bytes, refused_below_bytes, taken_from_bytes }, 0);
        }
    }
}
