//! What the callers of the log and its writer share: the state in memory and the queue of what is to
//! be written. It knows no files but to hand them to readers, and never touches a disk.
//!
//! One lock covers both, so that the order of the queue is the order in which callers saw the state
//! change. The queue is taken as a whole: what has queued while one sync ran is the next batch.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Callback;
use super::index::Namespace;
use super::segment::Segment;

/// Bytes that one operation counts for in the bound of the queue, beside its payloads.
const OPERATION_OVERHEAD_BYTES: usize = 64;

/// An entry to be written.
pub(super) struct QueuedEntry {
    pub(super) index: u64,
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

/// What is to be written, for one namespace.
pub(super) enum Operation {
    Append(Vec<QueuedEntry>),
    Vote(Bytes),
    Truncate(Option<u64>),
    Purge(u64, Bytes),
}

impl Operation {
    fn cost_bytes(&self) -> usize {
        let entry_bytes = |entry: &QueuedEntry| entry.payload.len() + OPERATION_OVERHEAD_BYTES;
        OPERATION_OVERHEAD_BYTES
            + match self {
                Self::Append(entries) => entries.iter().map(entry_bytes).sum(),
                Self::Vote(payload) | Self::Purge(_, payload) => payload.len(),
                Self::Truncate(_) => 0,
            }
    }
}

/// An operation in the queue.
pub(super) struct Queued {
    pub(super) namespace: u32,
    pub(super) operation: Operation,
    pub(super) callback: Callback,
}

/// What the writer takes: one batch.
#[derive(Default)]
pub(super) struct Work {
    pub(super) queued: Vec<Queued>,
    /// The newest committed log ids, in no order with what is queued but not older than it.
    pub(super) committed: BTreeMap<u32, Bytes>,
}

/// The state under the lock.
pub(super) struct State {
    pub(super) namespaces: BTreeMap<u32, Namespace>,
    /// All segments that entries lie in.
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Number of the next entry in memory, over all namespaces.
    pub(super) sequence: u64,
    work: Work,
    queued_bytes: usize,
    recent_bytes: usize,
    writer_waits: bool,
    is_closing: bool,
    /// Why nothing can be written any more.
    failure: Option<(io::ErrorKind, String)>,
}

impl State {
    /// The error that ended the log, for one more caller.
    fn refusal(&self) -> Option<io::Error> {
        if let Some((kind, cause)) = &self.failure {
            return Some(io::Error::new(*kind, cause.clone()));
        }
        let closed = || io::Error::new(io::ErrorKind::BrokenPipe, "the log has been closed");
        self.is_closing.then(closed)
    }

    /// Adds an entry in memory and returns it for the queue.
    pub(super) fn append(&mut self, namespace: u32, index: u64, payload: Bytes) -> QueuedEntry {
        let sequence = self.sequence;
        self.sequence += 1;
        self.change(namespace, |entries| entries.append(index, sequence, payload.clone()));
        QueuedEntry { index, sequence, payload }
    }

    /// Changes a namespace and keeps count of the memory.
    pub(super) fn change(&mut self, namespace: u32, change: impl FnOnce(&mut Namespace)) {
        let namespace = self.namespaces.entry(namespace).or_default();
        self.recent_bytes -= namespace.recent_bytes();
        change(namespace);
        self.recent_bytes += namespace.recent_bytes();
    }

    /// Lets durable entries go, those of the namespace that holds most first, until no more than
    /// `cache_bytes` are in memory or what is left is not durable.
    pub(super) fn evict(&mut self, cache_bytes: usize) {
        let mut stuck = 0;
        while self.recent_bytes > cache_bytes {
            let mut largest: Vec<_> = self.namespaces.values_mut().collect();
            largest.sort_by_key(|namespace| std::cmp::Reverse(namespace.recent_bytes()));
            let Some(namespace) = largest.into_iter().nth(stuck) else { return };
            let enough = namespace.recent_bytes() / 2;
            let mut freed_bytes = 0;
            while self.recent_bytes - freed_bytes > cache_bytes
                && namespace.recent_bytes() >= enough
            {
                let Some(bytes) = namespace.evict_oldest() else { break };
                freed_bytes += bytes;
            }
            self.recent_bytes -= freed_bytes;
            stuck = if freed_bytes == 0 { stuck + 1 } else { 0 };
        }
    }

    /// Queues an operation whose callback waits for a sync.
    pub(super) fn push(&mut self, namespace: u32, operation: Operation, callback: Callback) {
        self.queued_bytes += operation.cost_bytes();
        self.work.queued.push(Queued { namespace, operation, callback });
    }

    /// Notes a committed log id for the next sync, whenever that is.
    pub(super) fn push_committed(&mut self, namespace: u32, id: Bytes) {
        self.work.committed.insert(namespace, id);
    }
}

/// The lock and those who wait for it to change.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is work, or the end.
    work: Condvar,
    /// There is room in the queue, or the end.
    room: Condvar,
    queue_bytes_max: usize,
}

impl Shared {
    pub(super) fn new(
        namespaces: BTreeMap<u32, Namespace>,
        segments: BTreeMap<u64, Segment>,
        queue_bytes_max: usize,
    ) -> Self {
        let state = State {
            namespaces,
            segments,
            sequence: 0,
            work: Work::default(),
            queued_bytes: 0,
            recent_bytes: 0,
            writer_waits: false,
            is_closing: false,
            failure: None,
        };
        let state = Mutex::new(state);
        Self { state, work: Condvar::new(), room: Condvar::new(), queue_bytes_max }
    }

    /// The state. For readers and the writer.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a panic under this lock ends the process")
    }

    /// The state, even if a thread has panicked over it. For those who end the log.
    fn lock_whatever_happened(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once there is room in the queue.
    ///
    /// # Errors
    /// The log failed or was closed.
    pub(super) fn lock_for_change(&self) -> io::Result<MutexGuard<'_, State>> {
        let is_full = |state: &mut State| {
            state.refusal().is_none() && state.queued_bytes >= self.queue_bytes_max
        };
        let guard = self.room.wait_while(self.lock(), is_full);
        let guard = guard.expect("a panic under this lock ends the process");
        guard.refusal().map_or(Ok(guard), Err)
    }

    /// Lets the lock go and wakes the writer if it sleeps.
    pub(super) fn submit(&self, mut state: MutexGuard<'_, State>) {
        let wake = std::mem::take(&mut state.writer_waits);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    /// Waits until something must be synced, and takes all. `None`: the log is closed and all written.
    pub(super) fn take(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            let is_all = state.work.queued.is_empty();
            if !is_all || (state.is_closing && !state.work.committed.is_empty()) {
                state.queued_bytes = 0;
                let work = std::mem::take(&mut state.work);
                drop(state);
                self.room.notify_all();
                return Some(work);
            }
            if state.is_closing {
                return None;
            }
            state.writer_waits = true;
            state = self.work.wait(state).expect("a panic under this lock ends the process");
            state.writer_waits = false;
        }
    }

    /// Refuses all that comes from now on; what has queued is still written.
    pub(super) fn close(&self) {
        let mut state = self.lock_whatever_happened();
        state.is_closing = true;
        self.submit(state);
        self.room.notify_all();
    }

    /// Refuses all that comes from now on with `error` and returns what has queued, unwritten.
    pub(super) fn fail(&self, error: &io::Error) -> Work {
        let mut state = self.lock_whatever_happened();
        self.state.clear_poison();
        state.failure.get_or_insert((error.kind(), error.to_string()));
        let work = std::mem::take(&mut state.work);
        drop(state);
        self.room.notify_all();
        work
    }

    /// Why the log has ended, if it has failed.
    pub(super) fn failure(&self) -> Option<io::Error> {
        let state = self.lock();
        let failure = state.failure.as_ref();
        failure.map(|(kind, cause)| io::Error::new(*kind, cause.clone()))
    }
}
