//! The raft log of a member: entries, votes, committed and purged ids of all namespaces in one set of
//! files, durable before anybody is told so. It knows neither raft's types nor what an entry holds.
//!
//! - `record` and `segment` are the bytes on the disk, `replay` reads them at opening;
//! - `index` is what is known of one namespace in memory;
//! - `queue` is between the callers and the `writer`, the one thread that writes;
//! - `read` finds entries in memory and on the disk;
//! - [`files`] is the port to the file system.
//!
//! A change is visible to readers when its call has returned, and durable when its callback is
//! called with `Ok`. Changes reach the disk in the order of their calls; after a crash a front part
//! of them is there, and all that was called back is in it.
//!
//! What relies on the disk: a sector (512 bytes) is written whole or not at all. The records at the
//! end of the log share one with those that are written next.

pub mod files;
mod index;
mod queue;
mod read;
mod record;
mod replay;
mod segment;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use self::files::{Directory, Files};
use self::index::Head;
use self::queue::{Operation, Shared};
pub use self::record::PAYLOAD_BYTES_MAX;
use self::replay::{Life, Replayed};
use self::writer::Writer;
use crate::error::OpenError;

/// Called once, on the thread that writes, when a change is durable or has failed. Must not block.
pub type Callback = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Called at most once, when the log can not be written any more, after the callbacks of all that was
/// lost. In production it ends the process: nobody knows what a failed sync has left.
pub type FatalHandler = Box<dyn Fn(&io::Error) + Send + Sync>;

/// Most bytes of a vote, a committed or a purged id: they are repeated in each segment.
pub const META_BYTES_MAX: u32 = 4096;
/// Largest index: the one after it must be a number too.
const INDEX_MAX: u64 = u64::MAX - 1;

/// Sizes of a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Length of a segment file, preallocated. A longer batch gets a longer file. At least 4 KiB are
    /// used, at most 1 GiB.
    pub segment_bytes: u32,
    /// Memory for the newest entries of all namespaces together. Entries that are not durable yet
    /// stay in memory beyond this.
    pub cache_bytes: usize,
    /// Bytes that may wait for the disk; callers that come then wait for room. One call may exceed it.
    pub queue_bytes_max: usize,
    /// Purged segment files that are kept to be written again; more are removed.
    pub spares_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            cache_bytes: 32 << 20,
            queue_bytes_max: 8 << 20,
            spares_max: 2,
        }
    }
}

const SEGMENT_BYTES_MIN: u32 = 4096;

/// What the log holds of one namespace. Includes what is not durable yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Index of the first entry, if there is one.
    pub first: Option<u64>,
    /// Index of the last entry, if there is one.
    pub last: Option<u64>,
    /// Index that the next entry must have; `None`: nothing is before it, any will do.
    pub next: Option<u64>,
    /// The newest vote.
    pub vote: Option<Bytes>,
    /// The newest committed log id.
    pub committed: Option<Bytes>,
    /// The last purged index with the bytes given with it.
    pub purged: Option<(u64, Bytes)>,
}

/// An opened log. Shared by reference; its methods may be called from any thread.
///
/// Each change returns `Err` (and then has not happened, and drops its callback uncalled), or `Ok`
/// and its callback is called exactly once, in the order of the changes.
pub struct Log {
    shared: Arc<Shared>,
    files: Arc<dyn Files>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log in `directory`, which is created if it does not exist, and starts its thread.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`] with file and position, [`OpenError::UnknownVersion`], [`OpenError::Io`].
    pub fn open(
        directory: &Path,
        options: LogOptions,
        fatal: FatalHandler,
    ) -> Result<Self, OpenError> {
        let files = Directory::open(directory).map_err(OpenError::io(directory, "open"))?;
        Self::open_on(Arc::new(files), options, fatal)
    }

    /// Opens the log on other files than those of the operating system.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_on(
        files: Arc<dyn Files>,
        mut options: LogOptions,
        fatal: FatalHandler,
    ) -> Result<Self, OpenError> {
        let (shortest, longest) = (SEGMENT_BYTES_MIN, segment::SEGMENT_BYTES_MAX);
        options.segment_bytes = options.segment_bytes.clamp(shortest, longest);
        let replayed = replay::replay(files.as_ref())?;
        let Replayed { namespaces, mut segments, mut lives, tail, mut spares } = replayed;
        // What a killed process has written and not synced was replayed too, and counts from now on.
        let directory = files.path("");
        let newest = segments.last_key_value().map_or(Ok(()), |(_, newest)| newest.file.sync());
        newest.and_then(|()| files.sync()).map_err(OpenError::io(&directory, "sync the log in"))?;
        let heads =
            namespaces.iter().map(|(&id, namespace)| (id, namespace.head.clone())).collect();
        let removed = segment::remove_half_made(files.as_ref(), &mut spares);
        removed.map_err(OpenError::io(&directory, "remove half-made files of the log in"))?;
        let prepare = OpenError::io(&directory, "prepare the log in");
        let active = Writer::begin(files.as_ref(), &options, tail, &mut spares, &heads);
        let active = active.map_err(prepare)?;
        if segments.insert(active.id, active.segment.clone()).is_none() {
            lives.push(Life { id: active.id, highest: BTreeMap::new() });
        }
        let shared = Arc::new(Shared::new(namespaces, segments, options.queue_bytes_max));
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            files: Arc::clone(&files),
            options,
            active,
            lives,
            spares,
            heads,
            buffer: Vec::new(),
        };
        let tidied = writer.drop_spares().and_then(|()| writer.free());
        tidied.map_err(OpenError::io(&directory, "tidy up the log in"))?;
        let thread = thread::Builder::new().name("log-writer".to_owned());
        let thread = thread.spawn(move || writer.run(&fatal));
        let thread = thread.map_err(OpenError::io(&directory, "start the thread of the log in"))?;
        Ok(Self { shared, files, writer: Mutex::new(Some(thread)) })
    }

    /// Adds entries behind the last one: `(index, payload)` with consecutive indexes. They can be read
    /// when this returns. Waits for room in the queue.
    ///
    /// # Errors
    /// `InvalidInput` for an index that does not follow or a payload over [`PAYLOAD_BYTES_MAX`]; else
    /// why the log has ended.
    pub fn append(
        &self,
        namespace: u32,
        entries: Vec<(u64, Bytes)>,
        callback: Callback,
    ) -> io::Result<()> {
        for (index, payload) in &entries {
            check_bytes("an entry", payload, PAYLOAD_BYTES_MAX)?;
            check_index(*index)?;
        }
        let mut state = self.shared.lock_for_change()?;
        let mut next = state.namespaces.get(&namespace).and_then(|known| known.head.next);
        for (index, _) in &entries {
            if next.is_some_and(|next| next != *index) {
                let next = next.unwrap_or_default();
                return Err(refused(format!("entry {index} where {next} should come")));
            }
            next = Some(index + 1);
        }
        let queued =
            entries.into_iter().map(|(index, payload)| state.append(namespace, index, payload));
        let operation = Operation::Append(queued.collect());
        state.push(namespace, operation, callback);
        self.shared.submit(state);
        Ok(())
    }

    /// Replaces the vote.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`META_BYTES_MAX`]; else why the log has ended.
    pub fn save_vote(&self, namespace: u32, vote: Bytes, callback: Callback) -> io::Result<()> {
        check_bytes("a vote", &vote, META_BYTES_MAX)?;
        let mut state = self.shared.lock_for_change()?;
        state.change(namespace, |known| known.head.vote = Some(vote.clone()));
        state.push(namespace, Operation::Vote(vote), callback);
        self.shared.submit(state);
        Ok(())
    }

    /// Replaces the committed log id. Written with the next sync, never the cause of one: after a crash
    /// an older one may be there.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`META_BYTES_MAX`]; else why the log has ended.
    pub fn save_committed(&self, namespace: u32, committed: Bytes) -> io::Result<()> {
        check_bytes("a committed id", &committed, META_BYTES_MAX)?;
        let mut state = self.shared.lock_for_change()?;
        state.change(namespace, |known| known.head.committed = Some(committed.clone()));
        state.push_committed(namespace, committed);
        Ok(())
    }

    /// Drops all entries behind index `after`; of `None`, all there are.
    ///
    /// # Errors
    /// `InvalidInput` for an index below the last purged one; else why the log has ended.
    pub fn truncate_after(
        &self,
        namespace: u32,
        after: Option<u64>,
        callback: Callback,
    ) -> io::Result<()> {
        let mut state = self.shared.lock_for_change()?;
        let purged = state.namespaces.get(&namespace).and_then(|known| known.head.purged_index());
        if let (Some(after), Some(purged)) = (after, purged)
            && after < purged
        {
            return Err(refused(format!("truncation after {after}, but {purged} is purged")));
        }
        state.change(namespace, |known| known.truncate(after));
        state.push(namespace, Operation::Truncate(after), callback);
        self.shared.submit(state);
        Ok(())
    }

    /// Drops all entries up to index `upto`, and keeps `meta` (the log id of `upto`) in their place. An
    /// `upto` behind the last entry moves the log there: the next entry is `upto + 1`. Without effect
    /// if as much was purged before. Files whose entries are all purged are recycled after the callback.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`META_BYTES_MAX`]; else why the log has ended.
    pub fn purge(
        &self,
        namespace: u32,
        upto: u64,
        meta: Bytes,
        callback: Callback,
    ) -> io::Result<()> {
        check_bytes("a purged id", &meta, META_BYTES_MAX)?;
        check_index(upto)?;
        let mut state = self.shared.lock_for_change()?;
        state.change(namespace, |known| known.purge(upto, meta.clone()));
        state.push(namespace, Operation::Purge(upto, meta), callback);
        self.shared.submit(state);
        Ok(())
    }

    /// Index of the newest entry that must be purged for the others of its namespace to take at most
    /// `bytes_max` bytes on the disk; `None` if they do. Never that of the last entry. Looks at each entry
    /// that stays: microseconds for some thousand.
    #[must_use]
    pub fn last_beyond(&self, namespace: u32, bytes_max: u64) -> Option<u64> {
        self.shared.lock().namespaces.get(&namespace)?.last_beyond(bytes_max)
    }

    /// What is known of a namespace; nothing of one that was never named.
    #[must_use]
    pub fn state(&self, namespace: u32) -> LogState {
        let state = self.shared.lock();
        let Some(known) = state.namespaces.get(&namespace) else { return LogState::default() };
        let entries = known.entries();
        let has_entries = !entries.is_empty();
        let Head { next, purged, vote, committed } = known.head.clone();
        LogState {
            first: has_entries.then_some(entries.start),
            last: has_entries.then(|| entries.end - 1),
            next,
            vote,
            committed,
            purged,
        }
    }

    /// All namespaces that were ever named, in order.
    #[must_use]
    pub fn namespaces(&self) -> Vec<u32> {
        self.shared.lock().namespaces.keys().copied().collect()
    }

    /// Writes and syncs all that has queued, the committed ids too, and ends the thread. Later changes
    /// are refused; reads go on. Not to be called from a callback.
    ///
    /// # Errors
    /// Why the log has failed, now or before.
    pub fn close(&self) -> io::Result<()> {
        self.shared.close();
        let thread = self.writer.lock().expect("nothing panics under this lock").take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            return Err(io::Error::other("the handler of a failed log has panicked"));
        }
        self.shared.failure().map_or(Ok(()), Err)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.close();
        let thread = self.writer.get_mut().expect("nothing panics under this lock").take();
        // The last owner may be a callback: a thread can not wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!("the handler of a failed log has panicked");
        }
    }
}

fn check_bytes(what: &str, bytes: &Bytes, bytes_max: u32) -> io::Result<()> {
    if bytes.len() > bytes_max as usize {
        return Err(refused(format!("{what} of {} bytes, limit {bytes_max}", bytes.len())));
    }
    Ok(())
}

fn check_index(index: u64) -> io::Result<()> {
    if index > INDEX_MAX {
        return Err(refused(format!("index {index}, limit {INDEX_MAX}")));
    }
    Ok(())
}

fn refused(cause: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, cause)
}
