//! What the log knows of one namespace in memory: where its entries lie, the newest ones themselves,
//! vote, committed and purged ids. It does not know files, threads or syncs.
//!
//! Entries `first..next` exist. `locations` covers a front part of them: those that are durable.
//! `recent` covers a back part: those in memory. Together they cover all, since an entry leaves
//! memory only when it is durable.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::record::record_bytes;

/// Bytes that one entry in memory costs beside its payload: for the cache's bound.
const RECENT_OVERHEAD_BYTES: usize = 64;

/// The facts of one namespace that each segment repeats in its head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Index of the entry that comes next; `None`: nothing was ever appended, any index may come.
    pub(super) next: Option<u64>,
    /// Last purged index, and the opaque log id that was given with it.
    pub(super) purged: Option<(u64, Bytes)>,
    /// The newest vote.
    pub(super) vote: Option<Bytes>,
    /// The newest committed log id.
    pub(super) committed: Option<Bytes>,
}

impl Head {
    /// All entries behind `after` go; of `None`, all. Never moves forward.
    pub(super) fn truncate(&mut self, after: Option<u64>) {
        let kept = after.or(self.purged_index());
        let next = kept.map(|index| index.saturating_add(1));
        if self.next.is_some_and(|current| next.is_none_or(|next| next < current)) {
            self.next = next;
        }
    }

    /// All entries up to `upto` go; without effect if that was purged before.
    pub(super) fn purge(&mut self, upto: u64, meta: Bytes) {
        if self.is_purged(upto) {
            return;
        }
        let next = upto.saturating_add(1);
        self.next = Some(self.next.map_or(next, |current| current.max(next)));
        self.purged = Some((upto, meta));
    }

    pub(super) fn is_purged(&self, index: u64) -> bool {
        self.purged_index().is_some_and(|purged| index <= purged)
    }

    pub(super) fn purged_index(&self) -> Option<u64> {
        self.purged.as_ref().map(|(index, _)| *index)
    }
}

/// Where a durable entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u64,
    /// Position of its record in the segment.
    pub(super) offset: u32,
    pub(super) payload_bytes: u32,
}

/// An entry in memory.
#[derive(Clone, Debug)]
struct Recent {
    /// Tells this entry from another one with the same index, before or after a truncation.
    sequence: u64,
    payload: Bytes,
}

impl Recent {
    fn cost_bytes(&self) -> usize {
        self.payload.len() + RECENT_OVERHEAD_BYTES
    }
}

/// Where a reader finds an entry.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Memory(Bytes),
    Disk(Location),
}

/// The entries of one namespace.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) head: Head,
    /// Index of the first entry; equals `head.next` when there is none.
    first: u64,
    locations: VecDeque<Location>,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
}

/// `count` of a queue that is far below 2^64.
fn count<T>(queue: &VecDeque<T>) -> u64 {
    queue.len() as u64
}

impl Namespace {
    /// Indexes of all entries.
    pub(super) fn entries(&self) -> Range<u64> {
        let next = self.head.next.unwrap_or(self.first);
        self.first.min(next)..next
    }

    /// Bytes of memory that its recent entries take.
    pub(super) fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// Sets where entries begin, from the head of the oldest segment.
    pub(super) fn start(&mut self, next: u64) {
        self.first = next;
        self.head.next = Some(next);
    }

    /// Adds the next entry in memory. The caller has checked that `index` is the next one.
    pub(super) fn append(&mut self, index: u64, sequence: u64, payload: Bytes) {
        self.begin_at(index);
        let recent = Recent { sequence, payload };
        self.recent_bytes += recent.cost_bytes();
        self.recent.push_back(recent);
        self.head.next = Some(index + 1);
    }

    /// Adds the next entry of a replay, which is durable and not in memory.
    pub(super) fn replayed(&mut self, index: u64, location: Location) {
        self.begin_at(index);
        self.locations.push_back(location);
        self.head.next = Some(index.saturating_add(1));
    }

    /// The first entry after "none" fixes where entries begin.
    fn begin_at(&mut self, index: u64) {
        if self.entries().is_empty() {
            self.first = index;
        }
    }

    fn recent_first(&self) -> u64 {
        self.entries().end - count(&self.recent)
    }

    /// Notes that an entry is durable, in the order of appends; without effect if the entry has been
    /// purged or truncated since.
    pub(super) fn written(&mut self, index: u64, sequence: u64, location: Location) {
        let position = index.checked_sub(self.recent_first());
        let recent = position.and_then(|at| self.recent.get(usize::try_from(at).ok()?));
        if recent.is_some_and(|recent| recent.sequence == sequence) {
            debug_assert_eq!(self.first + count(&self.locations), index, "written in order");
            self.locations.push_back(location);
        }
    }

    /// Drops all entries behind `after`.
    pub(super) fn truncate(&mut self, after: Option<u64>) {
        let recent_first = self.recent_first();
        self.head.truncate(after);
        let end = self.head.next.unwrap_or(self.first);
        // Of a replay: entries may begin behind the truncation, see `replay`.
        self.first = self.first.min(end);
        let located = end - self.first;
        self.locations.truncate(usize::try_from(located).unwrap_or(usize::MAX));
        let kept = usize::try_from(end.saturating_sub(recent_first)).unwrap_or(usize::MAX);
        while self.recent.len() > kept {
            let dropped = self.recent.pop_back();
            self.recent_bytes -= dropped.map_or(0, |recent| recent.cost_bytes());
        }
    }

    /// Drops all entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64, meta: Bytes) {
        let recent_first = self.recent_first();
        self.head.purge(upto, meta);
        let Some(purged) = self.head.purged_index() else { return };
        let first = purged.saturating_add(1);
        if first <= self.first {
            return;
        }
        let dropped = usize::try_from(first - self.first).unwrap_or(usize::MAX);
        self.locations.drain(..dropped.min(self.locations.len()));
        self.first = first;
        let dropped = usize::try_from(first.saturating_sub(recent_first)).unwrap_or(usize::MAX);
        for recent in self.recent.drain(..dropped.min(self.recent.len())) {
            self.recent_bytes -= recent.cost_bytes();
        }
    }

    /// Drops the oldest entry in memory if it is durable, and returns the bytes that this freed.
    pub(super) fn evict_oldest(&mut self) -> Option<usize> {
        let durable_end = self.first + count(&self.locations);
        if self.recent_first() >= durable_end {
            return None;
        }
        let cost_bytes = self.recent.pop_front()?.cost_bytes();
        self.recent_bytes -= cost_bytes;
        Some(cost_bytes)
    }

    /// The newest entry that must go for the others to take at most `bytes_max` on the disk; `None`: none
    /// must. Never the last one there is.
    pub(super) fn last_beyond(&self, bytes_max: u64) -> Option<u64> {
        let entries = self.entries();
        let durable_end = self.first + count(&self.locations);
        let recent_first = self.recent_first();
        let mut bytes = 0;
        for index in entries.clone().rev() {
            let payload_bytes = if index < durable_end {
                self.locations[usize_of(index - self.first)].payload_bytes
            } else {
                let payload = &self.recent[usize_of(index - recent_first)].payload;
                u32::try_from(payload.len()).expect("payloads are bounded at the door")
            };
            bytes += u64::from(record_bytes(payload_bytes));
            if bytes > bytes_max {
                let last_but_one = (entries.end - 1).checked_sub(1)?;
                let beyond = index.min(last_but_one);
                return (beyond >= entries.start).then_some(beyond);
            }
        }
        None
    }

    /// Finds those of `range` that exist, until their payloads reach `bytes_max`; one at least.
    pub(super) fn find(&self, range: Range<u64>, bytes_max: u64) -> Vec<(u64, Found)> {
        let entries = self.entries();
        let range = range.start.max(entries.start)..range.end.min(entries.end);
        let recent_first = self.recent_first();
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in range {
            let (entry, payload_bytes) = if index >= recent_first {
                let recent = &self.recent[usize_of(index - recent_first)];
                (Found::Memory(recent.payload.clone()), recent.payload.len() as u64)
            } else {
                let location = self.locations[usize_of(index - self.first)];
                (Found::Disk(location), u64::from(location.payload_bytes))
            };
            bytes += payload_bytes;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push((index, entry));
        }
        found
    }
}

/// A position in a queue, which is in memory.
fn usize_of(position: u64) -> usize {
    usize::try_from(position).expect("a position in a queue in memory fits a usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(offset: u32) -> Location {
        Location { segment: 1, offset, payload_bytes: 1 }
    }

    fn payload(byte: u8) -> Bytes {
        Bytes::copy_from_slice(&[byte])
    }

    #[test]
    fn a_write_that_ends_after_a_truncation_does_not_place_the_new_entry() {
        let mut namespace = Namespace::default();
        namespace.append(5, 100, payload(1));
        namespace.append(6, 101, payload(2));
        namespace.truncate(Some(5));
        namespace.append(6, 102, payload(3));
        namespace.written(5, 100, location(0));
        namespace.written(6, 101, location(40));
        assert_eq!(namespace.locations, [location(0)]);
        namespace.written(6, 102, location(80));
        assert_eq!(namespace.locations, [location(0), location(80)]);
    }

    #[test]
    fn only_durable_entries_leave_memory() {
        let mut namespace = Namespace::default();
        namespace.append(0, 1, payload(1));
        namespace.append(1, 2, payload(2));
        assert_eq!(namespace.evict_oldest(), None);
        namespace.written(0, 1, location(0));
        assert!(namespace.evict_oldest().is_some());
        assert_eq!(namespace.evict_oldest(), None);
        let found = namespace.find(0..9, u64::MAX);
        assert!(matches!(found[..], [(0, Found::Disk(_)), (1, Found::Memory(_))]));
    }

    #[test]
    fn what_is_beyond_so_many_bytes_is_counted_from_the_end_on_disk_and_in_memory() {
        let mut namespace = Namespace::default();
        assert_eq!(namespace.last_beyond(0), None);
        // A record takes 40 bytes.
        (5..9).for_each(|index| namespace.append(index, index, payload(1)));
        assert_eq!(namespace.last_beyond(160), None);
        for durable in 5..9 {
            let beyond = [159, 120, 119, 80, 79, 40].map(|bytes| namespace.last_beyond(bytes));
            assert_eq!(beyond, [5, 5, 6, 6, 7, 7].map(Some), "{durable}");
            assert_eq!(namespace.last_beyond(0), Some(7), "the last one stays");
            namespace.written(durable, durable, location(0));
            namespace.evict_oldest();
        }
        namespace.purge(7, payload(7));
        assert_eq!(namespace.last_beyond(0), None);
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_beginning() {
        let mut namespace = Namespace::default();
        namespace.append(1, 1, payload(1));
        namespace.purge(9, payload(9));
        namespace.written(1, 1, location(0));
        assert_eq!((namespace.entries(), namespace.recent_bytes()), (10..10, 0));
        namespace.append(10, 2, payload(2));
        namespace.written(10, 2, location(40));
        assert_eq!(namespace.entries(), 10..11);
        namespace.truncate(None);
        assert_eq!(namespace.entries(), 10..10);
    }
}
