//! The newest proposed entries, decoded: openraft's apply reads entries back from the log, and what this member has
//! proposed itself need not be decoded again. It does not know the log.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::limits;
use quorate_core::transaction::Entry;

use crate::position::Position;

/// Entries kept: all that may be proposed and not yet applied, twice, since openraft merges appends.
const ENTRIES_MAX: usize = 2 * limits::BATCHES_IN_FLIGHT_MAX;
/// Bytes of their encoded form.
const BYTES_MAX: usize = 2 * limits::BATCHES_IN_FLIGHT_MAX * limits::BATCH_BYTES_MAX;

/// Entries by their place, oldest first. Forgets the oldest at its limits.
#[derive(Default)]
pub(crate) struct Recent {
    entries: VecDeque<(Position, Arc<Entry>, usize)>,
    bytes: usize,
}

impl Recent {
    /// Keeps an entry of so many encoded bytes. Places do not go back: what is there at or behind this index is gone.
    pub(crate) fn insert(&mut self, position: Position, entry: Arc<Entry>, bytes: usize) {
        self.forget_from(position.index);
        self.entries.push_back((position, entry, bytes));
        self.bytes += bytes;
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            self.pop_front();
        }
    }

    /// The entry at this place.
    pub(crate) fn get(&self, position: Position) -> Option<Arc<Entry>> {
        let found = self.entries.binary_search_by_key(&position.index, |(at, ..)| at.index);
        let (at, entry, _) = self.entries.get(found.ok()?)?;
        (*at == position).then(|| Arc::clone(entry))
    }

    /// Forgets all at and behind this index: the log was truncated.
    pub(crate) fn forget_from(&mut self, index: u64) {
        while let Some((_, _, bytes)) = self.entries.pop_back_if(|(at, ..)| at.index >= index) {
            self.bytes -= bytes;
        }
    }

    /// Forgets all up to this index: it was applied.
    pub(crate) fn forget_upto(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(at, ..)| at.index <= index) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, _, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::{Epoch, Term};
    use quorate_core::transaction::EntryBody;

    use super::*;

    fn at(term: u64, index: u64) -> Position {
        Position { term: Term(term), index }
    }

    fn entry(epoch: u64) -> Arc<Entry> {
        Arc::new(Entry { term: Term(1), epoch: Epoch(epoch), body: EntryBody::Barrier })
    }

    #[test]
    fn a_truncated_and_replaced_entry_is_not_given() {
        let mut recent = Recent::default();
        for index in 1..=3 {
            recent.insert(at(1, index), entry(index), 10);
        }
        recent.insert(at(2, 2), entry(9), 10);
        assert_eq!(recent.get(at(1, 2)), None);
        assert_eq!(recent.get(at(1, 3)), None);
        assert_eq!(recent.get(at(2, 2)), Some(entry(9)));
        assert_eq!(recent.get(at(1, 1)), Some(entry(1)));
        recent.forget_upto(1);
        assert_eq!(recent.get(at(1, 1)), None);
        recent.forget_from(0);
        assert_eq!(recent.bytes, 0);
    }

    #[test]
    fn the_oldest_goes_at_the_limits() {
        let mut recent = Recent::default();
        for index in 0..=ENTRIES_MAX as u64 {
            recent.insert(at(1, index), entry(index), 1);
        }
        assert_eq!(recent.get(at(1, 0)), None);
        assert_eq!(recent.get(at(1, 1)), Some(entry(1)));
        recent.insert(at(1, 1000), entry(1), BYTES_MAX);
        assert_eq!(recent.entries.len(), 1);
    }
}
