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
use crate::retention::{HOLD_IDLE_MAX, Retention};

/// Checkpoints at once that were made for clients: each keeps files on the disk that the tree itself does not need any more.
const FOR_CLIENTS_MAX: usize = 2;
/// Checkpoints at once. Those for clients leave room for one that a member is sent, whatever clients do.
const CHECKPOINTS_MAX: usize = FOR_CLIENTS_MAX + 1;
/// How long one stays after its last use: a member or an operator whose connection broke goes on where it was.
const IDLE_MAX: Duration = HOLD_IDLE_MAX;

/// Who is to be sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Member,
    Client,
}

/// Makes, keeps and removes checkpoints. All of it blocks.
pub(crate) struct Checkpoints {
    tree: Arc<Tree>,
    namespace: NamespaceId,
    directory: PathBuf,
    /// A checkpoint that is further behind the tree, in entries, is not given to a member unless the log is kept behind it:
    /// it could have been purged there before the member has it.
    behind_max: u64,
    retention: Arc<Retention>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Oldest first.
    all: Vec<One>,
    /// Checkpoints made so far: names their directories.
    made: u64,
}

struct One {
    outgoing: Arc<Outgoing>,
    made_for: For,
    used: Instant,
}

impl One {
    fn is_unused(&self) -> bool {
        Arc::strong_count(&self.outgoing) == 1
    }

    fn take(&mut self) -> Arc<Outgoing> {
        self.used = Instant::now();
        Arc::clone(&self.outgoing)
    }

    fn index(&self) -> u64 {
        self.outgoing.place().map_or(0, |at| at.index)
    }
}

impl Checkpoints {
    /// Removes what an earlier life has left.
    pub(crate) fn open(
        tree: Arc<Tree>,
        namespace: NamespaceId,
        behind_max: u64,
        retention: Arc<Retention>,
    ) -> io::Result<Self> {
        let directory = tree.beside("checkpoints").join(namespace.0.to_string());
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let kept = Mutex::default();
        Ok(Self { tree, namespace, directory, behind_max, retention, kept })
    }

    /// A whole tree that stands at this index was installed on this member.
    pub(crate) fn installed(&self, index: u64) {
        self.retention.installed(index);
    }

    /// A stream for a member that lacks entries which the log has no more: one that is there already if the member will
    /// find in the log what comes behind it, or if no more can be made.
    pub(crate) fn for_member(&self) -> io::Result<Arc<Outgoing>> {
        let flushed = flushed_standing(&self.tree, self.namespace)?;
        let flushed = flushed.applied.map_or(0, |at| at.index);
        let mut kept = self.lock();
        let is_good = |one: &One| match self.retention.is_kept_behind(one.index()) {
            Some(is_kept) => is_kept,
            None => one.index() + self.behind_max >= flushed,
        };
        // One that was made for a member first: it may be the one with which a broken transfer goes on.
        for wanted in [For::Member, For::Client] {
            if let Some(newest) =
                kept.all.iter_mut().rfind(|one| one.made_for == wanted && is_good(one))
            {
                return Ok(newest.take());
            }
        }
        if let Err(full) = kept.make_room(CHECKPOINTS_MAX) {
            return kept.all.last_mut().map(One::take).ok_or(full);
        }
        self.add(&mut kept, For::Member)
    }

    /// A stream for a client in which this entry is; it must have been flushed. Never one that was made for a member: those
    /// are not kept from members by clients.
    ///
    /// # Errors
    /// `WouldBlock`, when as many are in use as there may be.
    pub(crate) fn with_entry(&self, index: u64) -> io::Result<Arc<Outgoing>> {
        let mut kept = self.lock();
        let is_clients = |one: &&mut One| one.made_for == For::Client;
        if let Some(newest) = kept.all.iter_mut().rfind(is_clients)
            && newest.index() >= index
        {
            return Ok(newest.take());
        }
        kept.make_room_for_client()?;
        kept.make_room(CHECKPOINTS_MAX)?;
        self.add(&mut kept, For::Client)
    }

    /// The one of this name, if it is still there.
    pub(crate) fn find(&self, identity: Identity) -> Option<Arc<Outgoing>> {
        let mut kept = self.lock();
        let found = kept.all.iter_mut().find(|one| one.outgoing.identity() == identity)?;
        Some(found.take())
    }

    /// Removes those that nobody has used for a while.
    pub(crate) fn tidy(&self, now: Instant) {
        let mut kept = self.lock();
        for one in &mut kept.all {
            if !one.is_unused() {
                one.used = now;
            }
        }
        kept.all.retain(|one| now.saturating_duration_since(one.used) < IDLE_MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, kept: &mut Kept, made_for: For) -> io::Result<Arc<Outgoing>> {
        kept.made += 1;
        let outgoing = Arc::new(self.make(kept.made)?);
        kept.all.push(One { outgoing: Arc::clone(&outgoing), made_for, used: Instant::now() });
        Ok(outgoing)
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

impl Kept {
    /// Leaves less than `count_max`, if enough are not in use.
    fn make_room(&mut self, count_max: usize) -> io::Result<()> {
        if self.all.len() < count_max {
            return Ok(());
        }
        let unused = self.all.iter().position(One::is_unused).ok_or_else(full)?;
        self.all.remove(unused);
        Ok(())
    }

    /// The same of those that clients have.
    fn make_room_for_client(&mut self) -> io::Result<()> {
        let clients = self.all.iter().filter(|one| one.made_for == For::Client);
        if clients.count() < FOR_CLIENTS_MAX {
            return Ok(());
        }
        let is_unused = |one: &One| one.made_for == For::Client && one.is_unused();
        let unused = self.all.iter().position(is_unused).ok_or_else(full)?;
        self.all.remove(unused);
        Ok(())
    }
}

fn full() -> io::Error {
    let cause = "as many snapshots are being sent as there may be";
    io::Error::new(io::ErrorKind::WouldBlock, cause)
}
