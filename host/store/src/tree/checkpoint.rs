//! What the tree was at one flush, in a directory of its own whose files are links: read as long as somebody holds it, then
//! deleted. It does not know what it is read for.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::read::Direction;
use rocksdb::Options;
use rocksdb::checkpoint::Checkpoint as Links;

use super::generation::{Generation, OwnedRecords};
use super::read::bounds;
use super::refusal;
use crate::error::OpenError;

/// A WAL of so many bytes would make RocksDB flush before it links: there is none, and so it never does.
const NO_FLUSH: u64 = u64::MAX;

/// Files of one held open: it is read from end to end, and there may be several beside the tree.
const OPEN_FILES_MAX: i32 = 64;

/// A tree that does not change. Its directory is deleted when it, and all that was made of it, is dropped.
#[derive(Clone)]
pub struct Checkpoint {
    generation: Arc<Generation>,
}

impl Checkpoint {
    pub(super) fn make(
        present: &Generation,
        directory: &Path,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let links = Links::new(present.database());
        let linked = links.and_then(|it| it.create_checkpoint_with_log_size(directory, NO_FLUSH));
        linked.map_err(|error| refusal(directory, &error))?;
        let mut options = options.clone();
        options.set_max_open_files(OPEN_FILES_MAX);
        let opened = Generation::open_frozen(directory, &options);
        if opened.is_err()
            && let Err(error) = fs::remove_dir_all(directory)
        {
            tracing::warn!(directory = %directory.display(), %error, "a checkpoint stays on the disk");
        }
        let generation = opened?;
        generation.condemn(true);
        Ok(Self { generation: Arc::new(generation) })
    }

    /// The record at this key.
    ///
    /// # Errors
    /// `InvalidData` with RocksDB's words.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let found = self.generation.database().get_pinned(key).map_err(unreadable)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The records with `from <= key < to` in the order of their keys.
    #[must_use]
    pub fn records(&self, from: &[u8], to: &[u8]) -> CheckpointRecords {
        let records = bounds(from, to, Direction::Forward).map(|(mode, mut options)| {
            // Read once, from end to end: the tree's own cache is for those who come back.
            options.fill_cache(false);
            OwnedRecords::new(Arc::clone(&self.generation), mode, options)
        });
        CheckpointRecords { records }
    }
}

/// Records of a checkpoint. Keeps it. Ends at the first error.
pub struct CheckpointRecords {
    records: Option<OwnedRecords>,
}

impl Iterator for CheckpointRecords {
    type Item = io::Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.as_mut()?.next()?;
        if record.is_err() {
            self.records = None;
        }
        Some(record.map_err(unreadable))
    }
}

fn unreadable(error: rocksdb::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
