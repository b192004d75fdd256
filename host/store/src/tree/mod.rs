//! The tree of a member on its disk: an ordered map of bytes in RocksDB. It does not know what keys
//! and values mean, nor which of them is the applied index.
//!
//! There is no write-ahead log: the raft log is one already. Each [`Tree::commit`] is one atomic
//! batch, and RocksDB flushes its memory in the order of the batches. So after a crash the tree is
//! what it was after some earlier commit, never in between; the caller puts its applied index into
//! each batch and replays from the one that it finds. One column family holds everything, so no
//! flush can split a batch.
//!
//! RocksDB refusing a read or a write of an opened tree (damaged blocks, a full disk) is a panic: the
//! process must end, since nobody could say what a reply is worth.

mod checkpoint;
mod generation;
mod options;
mod read;
mod replace;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{FlushOptions, Options, ReadOptions, ReadTier, WriteBatch, WriteOptions};

pub use self::checkpoint::{Checkpoint, CheckpointRecords};
use self::generation::Generation;
pub use self::options::TreeOptions;
use self::read::Present;
pub use self::read::{TreeReader, TreeSnapshot};
use self::replace::Place;
pub use self::replace::Replacement;
use crate::error::OpenError;

/// Ends the process by a panic: see the head of this file. RocksDB's words name the file.
pub(crate) fn fatal(doing: &str, error: &rocksdb::Error) -> ! {
    tracing::error!(
        %error,
        "the tree can not {doing} and this process ends; what was acknowledged is in the raft log: \
         make room on that disk, or repair it, and start again"
    );
    panic!("the tree can not {doing}: {error}; this member must not go on with it")
}

/// An opened tree. Dropping it, with all its readers, flushes and closes it.
pub struct Tree {
    present: Arc<Present>,
    place: Place,
    options: Options,
    without_wal: WriteOptions,
}

impl Tree {
    /// Opens the tree in `directory`, which is created when it does not exist (its parent must), or what has replaced it
    /// (see [`Tree::replace`]); what an interrupted replacement left beside it is removed.
    ///
    /// # Errors
    /// [`OpenError::Tree`] with RocksDB's words; [`OpenError::Corrupt`] and [`OpenError::Io`] where it was replaced.
    pub fn open(directory: &Path, options: &TreeOptions) -> Result<Self, OpenError> {
        let place = Place::of(directory)?;
        let number = place.number()?;
        place.tidy(number)?;
        let options = options.of_database();
        let generation = Generation::open(&place.directory(number), &options)?;
        let present = Arc::new(Present::new(generation));
        let mut without_wal = WriteOptions::default();
        without_wal.disable_wal(true);
        Ok(Self { present, place, options, without_wal })
    }

    /// Writes `(key, value)` and deletes `(key, None)`, all or nothing, the last one of a key counts.
    /// Readers see it when this returns; the disk has it after the next [`Tree::flush`].
    ///
    /// # Panics
    /// If RocksDB refuses.
    pub fn commit(&self, writes: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
        let mut batch = WriteBatch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        let written = self.present.with(|it| it.database().write_opt(batch, &self.without_wal));
        if let Err(error) = written {
            fatal("be written", &error);
        }
    }

    /// Deletes the keys `from <= key < to`, as a commit of its own: one mark, however many they are.
    ///
    /// # Panics
    /// If RocksDB refuses.
    pub fn delete_range(&self, from: &[u8], to: &[u8]) {
        let mut batch = WriteBatch::default();
        batch.delete_range(from, to);
        let written = self.present.with(|it| it.database().write_opt(batch, &self.without_wal));
        if let Err(error) = written {
            fatal("be written", &error);
        }
    }

    /// A reader of whatever is committed at the time of each read. Keeps the tree open.
    #[must_use]
    pub fn reader(&self) -> TreeReader {
        TreeReader::new(Arc::clone(&self.present))
    }

    /// A reader of what is committed now. While it lives, nothing that it may read leaves the disk: do
    /// not keep it for long.
    #[must_use]
    pub fn snapshot(&self) -> TreeSnapshot {
        TreeSnapshot::new(self.present.pin())
    }

    /// Returns when all that was committed before the call is on the disk.
    ///
    /// # Panics
    /// If RocksDB refuses.
    pub fn flush(&self) {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        if let Err(error) = self.present.pin().database().flush_opt(&options) {
            fatal("be flushed", &error);
        }
    }

    /// The value of a key as it would be after a crash now. RocksDB flushes by itself, too: what is
    /// read here of the applied index may be newer than the last [`Tree::flush`].
    ///
    /// # Panics
    /// If RocksDB refuses.
    #[must_use]
    pub fn flushed_get(&self, key: &[u8]) -> Option<Bytes> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        self.present.with(|it| match it.database().get_pinned_opt(key, &options) {
            Ok(value) => value.map(|value| Bytes::copy_from_slice(&value)),
            Err(error) => fatal("be read", &error),
        })
    }

    /// Where something that belongs to the tree may be kept: `name` in the folder of the tree's own, on the same file
    /// system.
    #[must_use]
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.beside(name)
    }

    /// Makes `directory` (which must not exist; its parent must, on the same file system) hold what the last flush has
    /// left, as a tree that does not change. Files are linked, not copied; nothing is flushed, and commits go on. What was
    /// committed since is not in it: see [`Tree::flush`].
    ///
    /// # Errors
    /// [`OpenError::Tree`]; a directory that was there is left alone.
    pub fn checkpoint(&self, directory: &Path) -> Result<Checkpoint, OpenError> {
        Checkpoint::make(&self.present.pin(), directory, &self.options)
    }
}

fn refusal(directory: &Path, error: &rocksdb::Error) -> OpenError {
    OpenError::Tree { path: directory.to_owned(), cause: error.to_string() }
}
