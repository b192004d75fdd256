//! The port through which the core reads the applied tree: records by key, and ranges in key order. It knows neither
//! what keys mean nor where they are kept. Two implementations: RocksDB (host/store) and [`MemoryTree`].

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

/// Which way a range goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest key to the highest.
    Forward,
    /// From the highest key to the lowest.
    Backward,
}

/// Records of a range, in order.
pub type Records<'a> = Box<dyn Iterator<Item = (Bytes, Bytes)> + 'a>;

/// Reads records. Infallible: an implementation that can not read its disk ends the process.
pub trait Read {
    /// The record at this key.
    fn get(&self, key: &[u8]) -> Option<Bytes>;

    /// The records with `from <= key < to`, in the given direction, as they are at some moment between the call and
    /// the first item.
    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a>;
}

/// A tree that threads share.
pub type SharedRead = Arc<dyn Read + Send + Sync>;

impl<R: Read + ?Sized> Read for Arc<R> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        (**self).get(key)
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        (**self).range(from, to, direction)
    }
}

/// Records written over a [`Read`]: a deletion is `None`.
pub type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// The tree in memory: for the core's own tests, the recipe test kit and the simulator.
#[derive(Debug, Default)]
pub struct MemoryTree {
    records: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl MemoryTree {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one batch of writes, all at once.
    pub fn commit(&self, writes: Writes) {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in writes {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
    }

    /// A copy of all records, for comparison.
    #[must_use]
    pub fn records(&self) -> BTreeMap<Bytes, Bytes> {
        self.records.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Read for MemoryTree {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.records.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        // One record at a time: a scan that takes the first of a million costs one look-up.
        let mut low = Bound::Included(Bytes::copy_from_slice(from));
        let mut high = Bound::Excluded(Bytes::copy_from_slice(to));
        if from >= to {
            return Box::new(std::iter::empty());
        }
        Box::new(std::iter::from_fn(move || {
            if is_empty(&low, &high) {
                return None;
            }
            let records = self.records.read().unwrap_or_else(PoisonError::into_inner);
            let mut range = records.range((low.clone(), high.clone()));
            let (key, value) = match direction {
                Direction::Forward => range.next()?,
                Direction::Backward => range.next_back()?,
            };
            match direction {
                Direction::Forward => low = Bound::Excluded(key.clone()),
                Direction::Backward => high = Bound::Excluded(key.clone()),
            }
            Some((key.clone(), value.clone()))
        }))
    }
}

/// Whether a range whose ends have moved together holds nothing; `BTreeMap::range` panics on some of these.
fn is_empty(low: &Bound<Bytes>, high: &Bound<Bytes>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Excluded(high))
        | (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}

/// Lays `writes` over `base`: where both have a key, the write wins.
pub(crate) fn merge<'a>(
    base: Records<'a>,
    writes: impl Iterator<Item = (Bytes, Option<Bytes>)> + 'a,
    direction: Direction,
) -> Records<'a> {
    let mut base = base.peekable();
    let mut writes = writes.peekable();
    Box::new(std::iter::from_fn(move || {
        loop {
            let order = match (base.peek(), writes.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((left, _)), Some((right, _))) => match direction {
                    Direction::Forward => left.cmp(right),
                    Direction::Backward => right.cmp(left),
                },
            };
            if order == std::cmp::Ordering::Less {
                return base.next();
            }
            if order == std::cmp::Ordering::Equal {
                let _overwritten = base.next();
            }
            if let Some((key, Some(value))) = writes.next() {
                return Some((key, value));
            }
        }
    }))
}
