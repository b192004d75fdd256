//! Reading the tree: of the newest state, or of one point in time. It does not know keys or values.
//!
//! Iterators of RocksDB see one point in time each, so a `range` of the newest state is consistent in
//! itself; two reads are not, unless they are of one snapshot. Neither changes when the tree is replaced in between: an
//! iterator and a snapshot keep the tree that they began on.

use std::iter;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use quorate_core::read::{Direction, Read, Records};
use rocksdb::{IteratorMode, ReadOptions};

use super::fatal;
use super::generation::{Generation, OwnedRecords, Pinned};

/// The generation that is the tree of today.
pub(super) struct Present {
    generation: RwLock<Arc<Generation>>,
}

impl Present {
    pub(super) fn new(generation: Generation) -> Self {
        Self { generation: RwLock::new(Arc::new(generation)) }
    }

    /// Works on it; it is not replaced meanwhile. Short.
    pub(super) fn with<T>(&self, work: impl FnOnce(&Generation) -> T) -> T {
        work(&self.generation.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps it open.
    pub(super) fn pin(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it; gives the one that was.
    pub(super) fn replace(&self, next: Generation) -> Arc<Generation> {
        let mut present = self.generation.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *present, Arc::new(next))
    }
}

/// Reads whatever is committed at the time of each read. Cheap to clone.
#[derive(Clone)]
pub struct TreeReader {
    present: Arc<Present>,
}

impl TreeReader {
    pub(super) fn new(present: Arc<Present>) -> Self {
        Self { present }
    }
}

/// Reads what was committed when it was made.
pub struct TreeSnapshot {
    pinned: Pinned,
}

impl TreeSnapshot {
    pub(super) fn new(generation: Arc<Generation>) -> Self {
        Self { pinned: Pinned::now(generation) }
    }
}

impl Read for TreeReader {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.present.with(|generation| match generation.database().get_pinned(key) {
            Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
            Err(error) => fatal("be read", &error),
        })
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let Some((mode, options)) = bounds(from, to, direction) else {
            return Box::new(iter::empty());
        };
        sound(OwnedRecords::new(self.present.pin(), mode, options))
    }
}

impl Read for TreeSnapshot {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.pinned.borrow_dependent().get_pinned(key) {
            Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
            Err(error) => fatal("be read", &error),
        }
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let Some((mode, options)) = bounds(from, to, direction) else {
            return Box::new(iter::empty());
        };
        let records = self.pinned.borrow_dependent().iterator_opt(mode, options);
        sound(
            records.map(|record| record.map(|(key, value)| (Bytes::from(key), Bytes::from(value)))),
        )
    }
}

/// How to iterate over a range; `None` if there is nothing in it. The bounds are given to RocksDB, so
/// that it does not step over deleted keys behind them.
pub(super) fn bounds(
    from: &[u8],
    to: &[u8],
    direction: Direction,
) -> Option<(IteratorMode<'static>, ReadOptions)> {
    if from >= to {
        return None;
    }
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    let mode = match direction {
        Direction::Forward => IteratorMode::Start,
        Direction::Backward => IteratorMode::End,
    };
    Some((mode, options))
}

fn sound<'a>(
    records: impl Iterator<Item = Result<(Bytes, Bytes), rocksdb::Error>> + 'a,
) -> Records<'a> {
    Box::new(records.map(|record| match record {
        Ok(record) => record,
        Err(error) => fatal("be read", &error),
    }))
}
