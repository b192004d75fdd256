//! Replacing the tree by another one in one step. It does not know where the other one's records come from.
//!
//! ```text
//! <tree>           the first generation
//! <tree>.7         the seventh replacement
//! <tree>.current   which one is the tree: its number, in the envelope of `format`; none: the first
//! ```
//!
//! A replacement is filled beside the tree, flushed and synced; then the file `current` is replaced by a rename. Before it
//! a crash leaves the old tree, after it the new one, and the next opening removes the other.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::{FlushOptions, Options, WriteBatch, WriteOptions};

use super::generation::Generation;
use super::{Tree, refusal};
use crate::error::OpenError;
use crate::format;

/// Where the generations of a tree are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    parent: PathBuf,
    name: String,
}

impl Place {
    /// Of the tree whose first generation is `directory`.
    pub(super) fn of(directory: &Path) -> Result<Self, OpenError> {
        let absolute = std::path::absolute(directory);
        let absolute = absolute.map_err(OpenError::io(directory, "resolve"))?;
        let name = absolute.file_name().and_then(|name| name.to_str());
        let (Some(parent), Some(name)) = (absolute.parent(), name) else {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(OpenError::io(directory, "name a tree by")(source));
        };
        Ok(Self { parent: parent.to_owned(), name: name.to_owned() })
    }

    fn pointer(&self) -> String {
        format!("{}.current", self.name)
    }

    /// A name beside the generations.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.parent.join(name)
    }

    /// The directory of a generation.
    pub(super) fn directory(&self, number: u64) -> PathBuf {
        match number {
            0 => self.parent.join(&self.name),
            _ => self.parent.join(format!("{}.{number}", self.name)),
        }
    }

    /// Which generation is the tree.
    pub(super) fn number(&self) -> Result<u64, OpenError> {
        let path = self.parent.join(self.pointer());
        if !path.try_exists().map_err(OpenError::io(&path, "look for"))? {
            return Ok(0);
        }
        let bytes = format::read(&path)?;
        let number = <[u8; 8]>::try_from(&bytes[..]).map(u64::from_le_bytes);
        let number = number.map_err(|_| OpenError::corrupt(&path, 0, "no number of a tree"))?;
        if !self.directory(number).is_dir() {
            let cause =
                format!("it names {}, which is not there", self.directory(number).display());
            return Err(OpenError::corrupt(&path, 0, cause));
        }
        Ok(number)
    }

    /// Removes every other generation: what an interrupted replacement has left.
    pub(super) fn tidy(&self, number: u64) -> Result<(), OpenError> {
        let listing = |source| OpenError::io(&self.parent, "list")(source);
        for entry in fs::read_dir(&self.parent).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            let name = entry.file_name();
            let Some(other) = name.to_str().and_then(|name| self.number_of(name)) else { continue };
            if other != number && entry.path().is_dir() {
                let path = entry.path();
                tracing::info!(directory = %path.display(), "a tree that was replaced is removed");
                fs::remove_dir_all(&path).map_err(OpenError::io(&path, "remove"))?;
            }
        }
        Ok(())
    }

    fn number_of(&self, name: &str) -> Option<u64> {
        match name.strip_prefix(&self.name)? {
            "" => Some(0),
            rest => rest.strip_prefix('.')?.parse().ok().filter(|number| *number > 0),
        }
    }

    /// Makes a generation the tree, for good.
    fn point_to(&self, number: u64) -> Result<(), OpenError> {
        format::write(&self.parent, &self.pointer(), &number.to_le_bytes())
    }

    /// Makes the entries of new directories durable.
    fn sync(&self) -> Result<(), OpenError> {
        let synced = File::open(&self.parent).and_then(|directory| directory.sync_all());
        synced.map_err(OpenError::io(&self.parent, "sync"))
    }
}

/// A tree that is being filled beside the present one. Dropped, it goes from the disk; see [`Tree::replace`].
pub struct Replacement {
    generation: Generation,
    number: u64,
}

impl Replacement {
    pub(super) fn begin(place: &Place, number: u64, options: &Options) -> Result<Self, OpenError> {
        let directory = place.directory(number);
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(OpenError::io(&directory, "remove"))?;
        }
        let generation = Generation::open(&directory, options)?;
        generation.condemn(true);
        Ok(Self { generation, number })
    }

    /// Adds records.
    ///
    /// # Errors
    /// [`OpenError::Tree`] with RocksDB's words (a full disk, for example); the tree has not changed.
    pub fn put(&self, records: impl IntoIterator<Item = (Bytes, Bytes)>) -> Result<(), OpenError> {
        let mut batch = WriteBatch::default();
        for (key, value) in records {
            batch.put(key, value);
        }
        let mut without_wal = WriteOptions::default();
        without_wal.disable_wal(true);
        let written = self.generation.database().write_opt(batch, &without_wal);
        written.map_err(|error| refusal(self.generation.directory(), &error))
    }

    fn flush(&self) -> Result<(), OpenError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.generation.database().flush_opt(&options);
        flushed.map_err(|error| refusal(self.generation.directory(), &error))
    }
}

/// How far a replacement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Filled,
    Flushed,
    Durable,
    Switched,
    Shown,
    Closed,
}

impl Tree {
    /// Begins an empty tree beside this one. One at a time; nobody commits to this tree from here to [`Tree::replace`],
    /// else those writes are lost.
    ///
    /// # Errors
    /// [`OpenError::Io`], [`OpenError::Tree`].
    pub fn replacement(&self) -> Result<Replacement, OpenError> {
        Replacement::begin(&self.place, self.place.number()? + 1, &self.options)
    }

    /// Makes `replacement` this tree, durably and in one step: after a crash the tree is the old one or the new one. Each
    /// read that begins after this is of the new one; snapshots, checkpoints and iterators that are there stay with the old
    /// one, which is closed and deleted when the last of them is gone.
    ///
    /// # Errors
    /// [`OpenError::Tree`] (the replacement could not be flushed), [`OpenError::Io`]. This process goes on with the old tree
    /// and must end soon if it was the disk that failed: the next start may find the new one.
    pub fn replace(&self, replacement: Replacement) -> Result<(), OpenError> {
        self.replace_in_steps(replacement, &mut |_step| ())
    }

    fn replace_in_steps(
        &self,
        replacement: Replacement,
        reached: &mut dyn FnMut(Step),
    ) -> Result<(), OpenError> {
        reached(Step::Filled);
        replacement.flush()?;
        reached(Step::Flushed);
        self.place.sync()?;
        reached(Step::Durable);
        let Replacement { generation, number } = replacement;
        // From here on the disk may name it, even if that fails half-way: the next start decides.
        generation.condemn(false);
        self.place.point_to(number)?;
        reached(Step::Switched);
        let old = self.present.replace(generation);
        reached(Step::Shown);
        old.condemn(true);
        drop(old);
        reached(Step::Closed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::read::{Direction, Read};

    use super::*;
    use crate::tree::TreeOptions;

    fn open(directory: &Path) -> Tree {
        Tree::open(directory, &TreeOptions { cache_bytes: 8 << 20 }).expect("opened")
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a directory");
        for entry in fs::read_dir(from).expect("listed") {
            let entry = entry.expect("listed");
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).expect("copied");
            }
        }
    }

    fn record(at: u32, value: &'static str) -> (Bytes, Bytes) {
        (Bytes::copy_from_slice(&at.to_be_bytes()), Bytes::from_static(value.as_bytes()))
    }

    fn all(read: &dyn Read) -> Vec<(Bytes, Bytes)> {
        read.range(&[], &[0xff], Direction::Forward).collect()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    /// A tree of `old` records and a replacement of `new` ones.
    fn half_way(data: &Path) -> (Tree, Replacement) {
        let tree = open(&data.join("tree"));
        tree.commit((0..500).map(|at| record(at, "old")).map(|(key, value)| (key, Some(value))));
        tree.flush();
        let replacement = tree.replacement().expect("begun");
        replacement.put((200..900).map(|at| record(at, "new"))).expect("put");
        (tree, replacement)
    }

    #[test]
    fn a_crash_at_any_step_leaves_the_old_tree_or_the_new_one() {
        let [data, images] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let (tree, replacement) = half_way(data.path());
        let old = all(&tree.reader());
        let mut steps = Vec::new();
        let mut crash = |step: Step| {
            copy(data.path(), &images.path().join(format!("{step:?}")));
            steps.push(step);
        };
        tree.replace_in_steps(replacement, &mut crash).expect("replaced");
        let new = all(&tree.reader());
        assert_eq!((old.len(), new.len()), (500, 700));
        assert_eq!(steps.len(), 6);
        for step in steps {
            let image = images.path().join(format!("{step:?}"));
            let is_new = matches!(step, Step::Switched | Step::Shown | Step::Closed);
            let tree = open(&image.join("tree"));
            assert!(
                all(&tree.reader()) == if is_new { new.clone() } else { old.clone() },
                "{step:?}"
            );
            let left: &[&str] = if is_new { &["tree.1", "tree.current"] } else { &["tree"] };
            assert_eq!(names(&image), left, "{step:?}");
            // And it is a tree like any other.
            tree.commit([(Bytes::from_static(b"more"), Some(Bytes::new()))]);
            drop(tree);
            assert!(open(&image.join("tree")).reader().get(b"more").is_some());
        }
    }

    #[test]
    fn whoever_reads_stays_with_the_tree_that_they_began_on_and_it_goes_with_them() {
        let data = tempfile::tempdir().expect("a directory");
        let (tree, replacement) = half_way(data.path());
        let reader = tree.reader();
        let snapshot = tree.snapshot();
        let mut scan = reader.range(&[], &[0xff], Direction::Forward);
        assert_eq!(scan.next(), Some(record(0, "old")));
        tree.replace(replacement).expect("replaced");
        assert_eq!(reader.get(&300_u32.to_be_bytes()), Some(record(300, "new").1));
        assert_eq!(snapshot.get(&300_u32.to_be_bytes()), Some(record(300, "old").1));
        assert_eq!(all(&snapshot).len(), 500);
        assert_eq!(all(&reader).len(), 700);
        assert!(data.path().join("tree").is_dir());
        drop(snapshot);
        assert_eq!(scan.by_ref().filter(|(_, value)| &value[..] == b"old").count(), 499);
        assert!(data.path().join("tree").is_dir());
        drop(scan);
        assert_eq!(names(data.path()), ["tree.1", "tree.current"]);
    }

    #[test]
    fn a_second_replacement_follows_the_first_and_a_dropped_one_leaves_nothing() {
        let data = tempfile::tempdir().expect("a directory");
        let (tree, replacement) = half_way(data.path());
        tree.replace(replacement).expect("replaced");
        let dropped = tree.replacement().expect("begun");
        dropped.put([record(1, "never")]).expect("put");
        drop(dropped);
        assert_eq!(names(data.path()), ["tree.1", "tree.current"]);
        let second = tree.replacement().expect("begun");
        second.put([record(1, "second")]).expect("put");
        tree.replace(second).expect("replaced");
        assert_eq!(names(data.path()), ["tree.2", "tree.current"]);
        drop(tree);
        assert_eq!(all(&open(&data.path().join("tree")).reader()), [record(1, "second")]);
    }

    #[test]
    fn a_pointer_to_nothing_and_a_damaged_one_are_refused() {
        let data = tempfile::tempdir().expect("a directory");
        let (tree, replacement) = half_way(data.path());
        tree.replace(replacement).expect("replaced");
        drop(tree);
        let pointer = data.path().join("tree.current");
        let sound = fs::read(&pointer).expect("readable");
        let options = TreeOptions { cache_bytes: 8 << 20 };
        let refused = || Tree::open(&data.path().join("tree"), &options).err();
        let mut damaged = sound.clone();
        damaged[17] ^= 1;
        fs::write(&pointer, damaged).expect("written");
        assert!(matches!(refused(), Some(OpenError::Corrupt { .. })));
        fs::write(&pointer, sound).expect("written");
        fs::rename(data.path().join("tree.1"), data.path().join("elsewhere")).expect("moved");
        assert!(matches!(refused(), Some(OpenError::Corrupt { .. })));
        assert!(!data.path().join("tree").exists(), "no empty tree was made in its place");
    }
}
