//! What has happened behind a transaction: the entries that were taken, read back for watches that resume. It does not know
//! what an event is, nor who asks.
//!
//! Discarded entries lie in the log too, and look like others. So each entry that is taken leaves a record in the tree, in the
//! batch of its own changes: the zxid on which it was executed, and its index in the log. The records are this member's alone:
//! they are neither in the digest nor in snapshots. After a crash they are as old as the tree, and written again with it; what
//! an installed tree has skipped has none.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::{NamespaceId, Zxid};
use quorate_core::read::{Direction, Read};
use quorate_core::transaction::{Entry, EntryBody};
use quorate_store::{Log, Tree, TreeSnapshot};

use crate::before::{WantBefore, Wanted};
use crate::codec::{self, rotten};
use crate::namespace::{RaftRecord, Scoped, raft_key};
use crate::types::RaftPayload;

/// Entries of the tail: what a watch that begins, or lags a little, reads without the disk.
const TAIL_ENTRIES_MAX: usize = 1024;
/// Bytes of their encoded form.
const TAIL_BYTES_MAX: usize = 16 << 20;
/// Entries of one piece.
const PIECE_ENTRIES_MAX: usize = 256;
/// Bytes of log that one piece brings into memory, but one entry at least.
const PIECE_BYTES_MAX: u64 = 512 * 1024;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// What follows that transaction is not retained here: it was purged, or skipped by an installed tree.
    #[error("the transactions from {oldest} on are retained, and not those before")]
    Gone {
        /// The lowest transaction behind which everything is retained.
        oldest: Zxid,
    },
    /// The disk's.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The last zxid of a taken entry; none of one without transactions.
fn last_of(entry: &Entry) -> Option<Zxid> {
    match &entry.body {
        EntryBody::Barrier => None,
        EntryBody::Batch { transactions, .. } => transactions.last().map(|last| last.zxid),
    }
}

fn base_of(entry: &Entry) -> Option<Zxid> {
    match &entry.body {
        EntryBody::Barrier => None,
        EntryBody::Batch { base, .. } => Some(*base),
    }
}

fn place_key(namespace: NamespaceId, base: Zxid) -> Bytes {
    let head = raft_key(namespace, RaftRecord::History);
    [&head[..], &base.0.to_be_bytes()].concat().into()
}

/// The record of an entry that was taken; none of a barrier.
pub(crate) fn place_write(
    namespace: NamespaceId,
    entry: &Entry,
    index: u64,
) -> Option<(Bytes, Option<Bytes>)> {
    let base = base_of(entry)?;
    Some((place_key(namespace, base), Some(Bytes::copy_from_slice(&index.to_be_bytes()))))
}

fn read_place((key, value): (Bytes, Bytes)) -> io::Result<(Zxid, u64)> {
    let number = |bytes: Option<&[u8; 8]>| {
        let cause = "a record of the history that no version of ours wrote";
        bytes
            .map(|bytes| u64::from_be_bytes(*bytes))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, cause))
    };
    Ok((Zxid(number(key.last_chunk())?), number(value.first_chunk())?))
}

/// The newest entries that were taken, without a hole between them.
#[derive(Default)]
pub(crate) struct Tail(Mutex<Newest>);

#[derive(Default)]
struct Newest {
    entries: VecDeque<(Arc<Entry>, usize)>,
    bytes: usize,
}

impl Tail {
    /// Keeps an entry that was taken, of so many encoded bytes.
    pub(crate) fn push(&self, entry: &Arc<Entry>, bytes: usize) {
        let Some(base) = base_of(entry) else { return };
        let mut newest = self.lock();
        if newest.entries.back().is_some_and(|(last, _)| last_of(last) != Some(base)) {
            *newest = Newest::default();
        }
        newest.entries.push_back((Arc::clone(entry), bytes));
        newest.bytes += bytes;
        while newest.entries.len() > TAIL_ENTRIES_MAX || newest.bytes > TAIL_BYTES_MAX {
            let Some((_, bytes)) = newest.entries.pop_front() else { break };
            newest.bytes -= bytes;
        }
    }

    /// Forgets all: the tree was replaced.
    pub(crate) fn clear(&self) {
        *self.lock() = Newest::default();
    }

    /// Entries from the one with the transaction behind this on; none if that is not here.
    fn behind(&self, after: Zxid, count_max: usize) -> Option<Vec<Arc<Entry>>> {
        let newest = self.lock();
        let (oldest, _) = newest.entries.front()?;
        if base_of(oldest)? > after {
            return None;
        }
        let first = newest.entries.partition_point(|(entry, _)| last_of(entry) <= Some(after));
        let found = newest.entries.range(first..).take(count_max.min(PIECE_ENTRIES_MAX));
        let found: Vec<_> = found.map(|(entry, _)| Arc::clone(entry)).collect();
        (!found.is_empty()).then_some(found)
    }

    fn oldest(&self) -> Option<Zxid> {
        self.lock().entries.front().and_then(|(entry, _)| base_of(entry))
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a member retains of the past. Cheap to clone. Its reads block on the disk.
#[derive(Clone)]
pub struct History {
    pub(crate) log: Arc<Log>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) namespace: NamespaceId,
    pub(crate) tail: Arc<Tail>,
    pub(crate) wanted: Wanted,
}

impl History {
    /// While what this gives is held, entries behind the transaction that the tree shows at the return are told with the data
    /// that they replaced. Waits for a batch that is being applied.
    #[must_use]
    pub fn want_before(&self) -> (WantBefore, Zxid) {
        let wanted = self.wanted.want();
        (wanted, self.applied(&Arc::new(self.tree.snapshot())))
    }

    /// The next entries with transactions behind this one, in order and without a hole, up to `count_max` of them and as many
    /// as make a piece: the first has the next transaction. None if nothing was applied behind it. What comes is applied here, and no discarded entry.
    ///
    /// # Errors
    /// [`HistoryError::Gone`] if the log has been purged there, also while this reads; the disk's.
    pub fn read(&self, after: Zxid, count_max: usize) -> Result<Vec<Arc<Entry>>, HistoryError> {
        let tree = Arc::new(self.tree.snapshot());
        let applied = self.applied(&tree);
        if after >= applied {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.tail.behind(after, count_max) {
            return Ok(entries);
        }
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for (base, entry) in self.entries(&self.places(&tree, after, count_max)?)? {
            let is_next = match entries.last() {
                None => base <= after && last_of(&entry) > Some(after),
                Some(before) => last_of(before) == Some(base),
            };
            if !is_next {
                break;
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(HistoryError::Gone { oldest: self.oldest_of(&tree, applied)? });
        }
        Ok(entries)
    }

    /// The lowest transaction behind which everything is retained.
    ///
    /// # Errors
    /// The disk's.
    pub fn oldest(&self) -> io::Result<Zxid> {
        let tree = Arc::new(self.tree.snapshot());
        self.oldest_of(&tree, self.applied(&tree))
    }

    /// Deletes the records of entries that the log has no more.
    pub(crate) fn forget_purged(&self) -> io::Result<()> {
        let Some(first) = self.log.state(self.namespace.0).first else { return Ok(()) };
        let tree = Arc::new(self.tree.snapshot());
        let mut purged = None;
        for place in self.all_places(&tree) {
            let (base, index) = read_place(place)?;
            if index >= first {
                break;
            }
            purged = Some(base);
        }
        if let Some(last) = purged {
            let from = place_key(self.namespace, Zxid(0));
            self.tree.delete_range(&from, &place_key(self.namespace, last.next()));
        }
        Ok(())
    }

    fn applied(&self, tree: &Arc<TreeSnapshot>) -> Zxid {
        Scoped { namespace: self.namespace, reader: Arc::clone(tree) }.meta().zxid
    }

    fn all_places<'a>(&self, tree: &'a TreeSnapshot) -> impl Iterator<Item = (Bytes, Bytes)> + 'a {
        let from = place_key(self.namespace, Zxid(0));
        tree.range(&from, &place_key(self.namespace, Zxid(u64::MAX)), Direction::Forward)
    }

    /// Where the entry with the transaction behind this one is, and those that follow it.
    fn places(
        &self,
        tree: &TreeSnapshot,
        after: Zxid,
        count_max: usize,
    ) -> io::Result<Vec<(Zxid, u64)>> {
        let from = place_key(self.namespace, Zxid(0));
        let behind = place_key(self.namespace, after.next());
        let Some(first) = tree.range(&from, &behind, Direction::Backward).next() else {
            return Ok(Vec::new());
        };
        let end = place_key(self.namespace, Zxid(u64::MAX));
        let places = tree.range(&first.0, &end, Direction::Forward);
        places.take(count_max.min(PIECE_ENTRIES_MAX)).map(read_place).collect()
    }

    /// The entries at these places that the log still has, from the first one on.
    fn entries(&self, places: &[(Zxid, u64)]) -> io::Result<Vec<(Zxid, Arc<Entry>)>> {
        let (Some((_, first)), Some((_, last))) = (places.first(), places.last()) else {
            return Ok(Vec::new());
        };
        let range = *first..last.saturating_add(1);
        let records = self.log.read_up_to(self.namespace.0, range, PIECE_BYTES_MAX)?;
        let mut records = records.into_iter().peekable();
        let mut entries = Vec::new();
        for (base, index) in places {
            while records.next_if(|(at, _)| at < index).is_some() {}
            let Some((_, bytes)) = records.next_if(|(at, _)| at == index) else { break };
            let record = codec::read_record(*index, bytes).map_err(rotten)?;
            let RaftPayload::Normal(payload) = record.payload else {
                let cause =
                    format!("the history names the entry {index}, which has no transactions");
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            };
            let (_, entry) = quorate_wire::entry::decode(payload.bytes).map_err(rotten)?;
            if base_of(&entry) != Some(*base) {
                let cause = format!("the history names another entry than {index}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            }
            entries.push((*base, Arc::new(entry)));
        }
        Ok(entries)
    }

    fn oldest_of(&self, tree: &TreeSnapshot, applied: Zxid) -> io::Result<Zxid> {
        let first = self.log.state(self.namespace.0).first;
        let mut oldest = self.tail.oldest().unwrap_or(applied).min(applied);
        for place in self.all_places(tree) {
            let (base, index) = read_place(place)?;
            if base >= oldest {
                break;
            }
            if first.is_some_and(|first| index >= first) {
                oldest = base;
                break;
            }
        }
        Ok(oldest)
    }
}
