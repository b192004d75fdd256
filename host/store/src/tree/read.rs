//! Reading the tree: of the newest state, or of one point in time. It does not know keys or values.
//!
//! Iterators of RocksDB see one point in time each, so a `range` of the newest state is consistent in
//! itself; two reads are not, unless they are of one snapshot.

use std::sync::Arc;

use bytes::Bytes;
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
