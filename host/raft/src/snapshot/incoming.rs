//! A stream that arrives: verified while it is written to a file, gone on with after a break. It does not know from where
//! it comes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use quorate_core::level::Level;
use quorate_wire::snapshot::{Decoder, Head, Item, Summary};

use super::{Identity, PIECE_BYTES, Progress, Received, SnapshotData, unsound};

/// A stream of which some bytes are there. Dropped, the file stays for [`Incoming::begin`] to go on with; after an error
/// it is removed.
pub struct Incoming {
    path: PathBuf,
    out: Box<dyn Write + Send>,
    decoder: Decoder,
    head: Option<Head>,
    summary: Option<Summary>,
    bytes: u64,
}

impl Incoming {
    /// Begins to receive the stream of this name, or goes on with it. Files of other streams in `directory`, which is made
    /// if it is not there, are removed. Its tree may have the feature level `known` at most. Blocks: what is there is read
    /// again and believed only as far as it is sound.
    ///
    /// # Errors
    /// Of the disk.
    pub fn begin(directory: &Path, identity: Identity, known: Level) -> io::Result<Self> {
        Self::begin_telling(directory, identity, known, &Progress::default())
    }

    /// The same; what was read again is told meanwhile.
    pub(crate) fn begin_telling(
        directory: &Path,
        identity: Identity,
        known: Level,
        progress: &Progress,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let name = format!("{identity}.part");
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if *entry.file_name() != *name {
                fs::remove_file(entry.path())?;
            }
        }
        let path = directory.join(name);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        let mut incoming = Self::over(path, known, Box::new(file.try_clone()?));
        if incoming.take_again(file, progress).is_err() {
            // Rotten, or zeros that a power cut has left.
            let file = File::create(&incoming.path)?;
            incoming = Self::over(incoming.path, known, Box::new(file));
        }
        Ok(incoming)
    }

    fn over(path: PathBuf, known: Level, out: Box<dyn Write + Send>) -> Self {
        Self { path, out, decoder: Decoder::new(known), head: None, summary: None, bytes: 0 }
    }

    fn take_again(&mut self, mut file: File, progress: &Progress) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            self.take(&piece[..count])?;
            progress.add(count);
        }
    }

    /// Bytes that are there: the offset at which to go on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the stream states at its head, once that is there.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Takes the next bytes of the stream.
    ///
    /// # Errors
    /// `InvalidData`, with a [`quorate_wire::snapshot::Unsound`] inside, as soon as it is known not to be sound; of the
    /// disk (`StorageFull`). The file is gone then, and nothing more is to be written.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // In pieces, so that the memory does not depend on how much is handed over at once.
        for piece in bytes.chunks(PIECE_BYTES) {
            let written = self.take(piece).and_then(|()| self.out.write_all(piece));
            if let Err(error) = written {
                self.remove();
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.decoder.handle(piece);
        self.bytes += piece.len() as u64;
        while let Some(item) = self.decoder.poll().map_err(unsound)? {
            match item {
                Item::Head(head) => self.head = Some(head),
                Item::Records(_) => {}
                Item::End(summary) => self.summary = Some(*summary),
            }
        }
        Ok(())
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a part of a snapshot stays on the disk");
        }
    }

    /// Says that the stream is over.
    ///
    /// # Errors
    /// `InvalidData`, if it is not sound or not whole; of the disk. The file is gone then.
    pub fn finish(mut self) -> io::Result<SnapshotData> {
        let finished = self.decoder.finish().map_err(unsound);
        let finished = finished.and_then(|()| self.out.flush());
        match (finished, self.summary.take()) {
            (Ok(()), Some(summary)) => {
                Ok(SnapshotData::Received(Received::new(self.path.clone(), summary)))
            }
            (finished, _) => {
                self.remove();
                let missing = io::Error::from(io::ErrorKind::UnexpectedEof);
                Err(finished.err().unwrap_or(missing))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::draft::Meta;
    use quorate_core::ids::NamespaceId;
    use quorate_wire::snapshot::Encoder;

    use super::*;

    const IDENTITY: Identity = Identity([7; 16]);

    /// An empty tree with so large a membership: a stream without records.
    fn stream() -> Vec<u8> {
        let head =
            Head { namespace: NamespaceId(1), place: None, membership: vec![7; 100_000].into() };
        let end = Encoder::after(0).finish(&head, Meta::default());
        [Encoder::head(&head), end].concat()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("listed");
        entries
            .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
            .collect()
    }

    #[test]
    fn a_broken_transfer_goes_on_where_it_was_and_another_stream_begins_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        let stream = stream();
        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        incoming.write(&stream[..70_000]).expect("written");
        drop(incoming);
        let progress = Progress::default();
        let begun = Incoming::begin_telling(directory.path(), IDENTITY, Level::NEWEST, &progress);
        let mut incoming = begun.expect("begun");
        assert_eq!((incoming.bytes(), progress.done()), (70_000, 70_000));
        incoming.write(&stream[70_000..]).expect("written");
        let data = incoming.finish().expect("sound");
        let SnapshotData::Received(received) = &data else { panic!("it was received") };
        assert_eq!(fs::read(&received.path).expect("readable"), stream);
        assert_eq!(received.summary().bytes, stream.len() as u64);
        drop(data);
        assert_eq!(names(directory.path()), [""; 0]);

        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        incoming.write(&stream[..70_000]).expect("written");
        drop(incoming);
        let other =
            Incoming::begin(directory.path(), Identity([8; 16]), Level::NEWEST).expect("begun");
        assert_eq!(other.bytes(), 0);
        assert_eq!(names(directory.path()), [format!("{}.part", Identity([8; 16]))]);
    }

    #[test]
    fn a_part_that_has_rotten_is_received_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        incoming.write(&stream()).expect("written");
        let path = incoming.path.clone();
        drop(incoming);
        let mut bytes = fs::read(&path).expect("readable");
        bytes[50_000] ^= 1;
        fs::write(&path, bytes).expect("written");
        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        assert_eq!(incoming.bytes(), 0);
        incoming.write(&stream()).expect("written");
        incoming.finish().expect("sound");
    }

    #[test]
    fn what_is_unsound_or_cut_off_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut damaged = stream();
        damaged[50_000] ^= 1;
        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        let refused = incoming.write(&damaged).expect_err("damaged");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(names(directory.path()), [""; 0]);
        let mut incoming =
            Incoming::begin(directory.path(), IDENTITY, Level::NEWEST).expect("begun");
        incoming.write(&stream()[..99_000]).expect("written");
        assert!(incoming.finish().is_err());
        assert_eq!(names(directory.path()), [""; 0]);
    }

    /// A disk with room for so many bytes more.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_an_error_and_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("part");
        fs::write(&path, b"").expect("written");
        let mut incoming = Incoming::over(path, Level::NEWEST, Box::new(Disk(60_000)));
        incoming.write(&stream()[..50_000]).expect("there is room");
        let refused = incoming.write(&stream()[50_000..]).expect_err("no room");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(directory.path()), [""; 0]);
    }
}
