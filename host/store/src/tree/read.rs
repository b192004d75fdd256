//! Reading the tree: of the newest state, or of one point in time. It does not know keys or values.
//!
//! Iterators of RocksDB see one point in time each, so a `range` of the newest state is consistent in
//! itself; two reads are not, unless they are of one snapshot.

use std::iter;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::read::{Direction, Read, Records};
use rocksdb::{DB, DBIterator, IteratorMode, ReadOptions, Snapshot};

use super::fatal;

/// Reads whatever is committed at the time of each read. Cheap to clone.
#[derive(Clone)]
pub struct TreeReader {
    database: Arc<DB>,
}

impl TreeReader {
    pub(super) fn new(database: Arc<DB>) -> Self {
        Self { database }
    }
}

/// Reads what was committed when it was made.
pub struct TreeSnapshot<'a> {
    snapshot: Snapshot<'a>,
}

impl<'a> TreeSnapshot<'a> {
    pub(super) fn new(snapshot: Snapshot<'a>) -> Self {
        Self { snapshot }
    }
}

impl Read for TreeReader {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.database.get_pinned(key) {
            Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
            Err(error) => fatal("be read", &error),
        }
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let Some((mode, options)) = bounds(from, to, direction) else {
            return Box::new(iter::empty());
        };
        records(self.database.iterator_opt(mode, options))
    }
}

impl Read for TreeSnapshot<'_> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.snapshot.get_pinned(key) {
            Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
            Err(error) => fatal("be read", &error),
        }
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let Some((mode, options)) = bounds(from, to, direction) else {
            return Box::new(iter::empty());
        };
        records(self.snapshot.iterator_opt(mode, options))
    }
}

/// How to iterate over a range; `None` if there is nothing in it. The bounds are given to RocksDB, so
/// that it does not step over deleted keys behind them.
fn bounds(
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

fn records(iterator: DBIterator<'_>) -> Records<'_> {
    Box::new(iterator.map(|record| match record {
        Ok((key, value)) => (Bytes::from(key), Bytes::from(value)),
        Err(error) => fatal("be read", &error),
    }))
}
