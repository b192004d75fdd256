//! The checkpoints that a member keeps to send them: few, shared by all who are sent one, gone when nobody has asked for a
//! while. It does not know who asks.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_core::ids::NamespaceId;
use quorate_store::Tree;

use super::{Identity, Outgoing};
use crate::apply::flushed_standing;

/// Checkpoints at once: each keeps files on the disk that the tree itself does not need any more. One is being sent, one
/// newer one may be begun.
const CHECKPOINTS_MAX: usize = 2;
/// How long one stays after its last use: a member or an operator whose connection broke goes on where it was.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// Makes, keeps and removes checkpoints. All of it blocks.
pub(crate) struct Checkpoints {
    tree: Arc<Tree>,
    namespace: NamespaceId,
    directory: PathBuf,
    /// A checkpoint that is further behind the tree, in entries, is not given to a member: the log could have been purged
    /// behind it before the member has it.
    behind_max: u64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Oldest first, each with its last use.
    outgoing: Vec<(Arc<Outgoing>, Instant)>,
    /// Checkpoints made so far: names their directories.
    made: u64,
}

impl Checkpoints {
    /// Removes what an earlier life has left.
    pub(crate) fn open(
        tree: Arc<Tree>,
        namespace: NamespaceId,
        behind_max: u64,
    ) -> io::Result<Self> {
        let directory = tree.beside("checkpoints").join(namespace.0.to_string());
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self { tree, namespace, directory, behind_max, kept: Mutex::default() })
    }

    /// A stream for a member that lacks entries which the log has no more: one that is there already if it is new enough.
    pub(crate) fn for_member(&self) -> io::Result<Arc<Outgoing>> {
        let flushed = flushed_standing(&self.tree, self.namespace)?;
        let flushed = flushed.applied.map_or(0, |at| at.index);
        self.newer_than(flushed.saturating_sub(self.behind_max), true)
    }

    /// A stream in which this entry is; it must have been flushed.
    ///
    /// # Errors
    /// `WouldBlock`, when as many are in use as there may be.
    pub(crate) fn with_entry(&self, index: u64) -> io::Result<Arc<Outgoing>> {
        self.newer_than(index, false)
    }

    /// The one of this name, if it is still there.
    pub(crate) fn find(&self, identity: Identity) -> Option<Arc<Outgoing>> {
        let mut kept = self.lock();
        let found = kept.outgoing.iter_mut().find(|(one, _)| one.identity() == identity)?;
        found.1 = Instant::now();
        Some(Arc::clone(&found.0))
    }

    /// Removes those that nobody has used for a while.
    pub(crate) fn tidy(&self, now: Instant) {
        let mut kept = self.lock();
        for (one, used) in &mut kept.outgoing {
            if Arc::strong_count(one) > 1 {
                *used = now;
            }
        }
        kept.outgoing.retain(|(_, used)| now.saturating_duration_since(*used) < IDLE_MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newer_than(&self, index: u64, is_older_better_than_none: bool) -> io::Result<Arc<Outgoing>> {
        let mut kept = self.lock();
        let now = Instant::now();
        if let Some((newest, used)) = kept.outgoing.last_mut()
            && newest.place().is_some_and(|at| at.index >= index)
        {
            *used = now;
            return Ok(Arc::clone(newest));
        }
        if kept.outgoing.len() >= CHECKPOINTS_MAX {
            let unused = kept.outgoing.iter().position(|(one, _)| Arc::strong_count(one) == 1);
            match (unused, kept.outgoing.last_mut()) {
                (Some(unused), _) => drop(kept.outgoing.remove(unused)),
                (None, Some((newest, used))) if is_older_better_than_none => {
                    *used = now;
                    return Ok(Arc::clone(newest));
                }
                (None, _) => {
                    let cause = format!("{CHECKPOINTS_MAX} snapshots are being sent already");
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, cause));
                }
            }
        }
        kept.made += 1;
        let made = Arc::new(self.make(kept.made)?);
        kept.outgoing.push((Arc::clone(&made), now));
        Ok(made)
    }

    fn make(&self, number: u64) -> io::Result<Outgoing> {
        fs::create_dir_all(&self.directory)?;
        let mut identity = [0; 16];
        getrandom::fill(&mut identity).map_err(|error| io::Error::other(error.to_string()))?;
        let checkpoint = self.tree.checkpoint(&self.directory.join(number.to_string()));
        let checkpoint = checkpoint.map_err(io::Error::other)?;
        Outgoing::of(checkpoint, self.namespace, Identity(identity))
    }
}
