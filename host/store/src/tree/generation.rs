//! One RocksDB database in its directory, and what reads it: whoever reads keeps it open, and a condemned one goes from
//! the disk when its last reader is gone. It does not know which generation is the tree of today.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rocksdb::{DB, DBIterator, IteratorMode, Options, ReadOptions, Snapshot};
use self_cell::self_cell;

use super::refusal;
use crate::error::OpenError;

/// An opened database. Dropping it flushes and closes it.
pub(super) struct Generation {
    /// Taken by `drop` only.
    database: Option<DB>,
    directory: PathBuf,
    is_condemned: AtomicBool,
}

impl Generation {
    /// Opens the database in `directory`, which is made when it does not exist.
    pub(super) fn open(directory: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::of(DB::open(options, directory), directory)
    }

    /// Opens it for reading only: nothing is compacted, nothing is flushed.
    pub(super) fn open_frozen(directory: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::of(DB::open_for_read_only(options, directory, false), directory)
    }

    fn of(database: Result<DB, rocksdb::Error>, directory: &Path) -> Result<Self, OpenError> {
        let database = Some(database.map_err(|error| refusal(directory, &error))?);
        Ok(Self { database, directory: directory.to_owned(), is_condemned: AtomicBool::new(false) })
    }

    pub(super) fn database(&self) -> &DB {
        self.database.as_ref().expect("only drop takes the database")
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory is deleted when the last reader is gone, or it is not after all.
    pub(super) fn condemn(&self, is_condemned: bool) {
        self.is_condemned.store(is_condemned, Ordering::Release);
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        drop(self.database.take());
        if !self.is_condemned.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, "an old tree stays on the disk until the next start");
        }
    }
}

self_cell!(
    /// One point in time of a generation.
    pub(super) struct Pinned {
        owner: Arc<Generation>,
        #[covariant]
        dependent: Snapshot,
    }
);

self_cell!(
    /// A scan of a generation.
    struct Scan {
        owner: Arc<Generation>,
        #[not_covariant]
        dependent: DBIterator,
    }
);

impl Pinned {
    pub(super) fn now(generation: Arc<Generation>) -> Self {
        Self::new(generation, |generation| generation.database().snapshot())
    }
}

/// Records of a generation in the order of their keys, as they were when this was made.
pub(super) struct OwnedRecords {
    scan: Scan,
}

impl OwnedRecords {
    pub(super) fn new(
        generation: Arc<Generation>,
        mode: IteratorMode<'_>,
        options: ReadOptions,
    ) -> Self {
        Self {
            scan: Scan::new(generation, |generation| {
                generation.database().iterator_opt(mode, options)
            }),
        }
    }
}

impl Iterator for OwnedRecords {
    type Item = Result<(Bytes, Bytes), rocksdb::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.scan.with_dependent_mut(|_, records| records.next())?;
        Some(record.map(|(key, value)| (Bytes::from(key), Bytes::from(value))))
    }
}
