//! A file of lines that is renamed when it is full, and of which a number of older ones is kept: `audit.log`, `audit.log.1`
//! (the one before), and so on. It does not know what is in the lines.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::writer::Sink;

/// Readable by the member's user, and by a group that collects logs.
const MODE: u32 = 0o640;

/// The file that is written, and its name.
#[derive(Debug)]
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in it.
    bytes: u64,
    bytes_max: u64,
    /// Files that are kept, this one among them.
    files: u32,
    /// A write has failed: behind `bytes` may stand a part of a line.
    is_torn: bool,
}

impl RotatingFile {
    /// Goes on with the file, or makes it. A line that a crash has torn is ended; whether there was one.
    ///
    /// # Errors
    /// If it can not be opened, or another process writes it.
    pub(super) fn open(path: &Path, bytes_max: u64, files: u32) -> io::Result<(Self, bool)> {
        let mut file = open(path)?;
        let mut bytes = file.seek(SeekFrom::End(0))?;
        let mut is_torn = false;
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                (is_torn, bytes) = (true, bytes + 1);
            }
        }
        let path = path.to_owned();
        Ok((Self { path, file, bytes, bytes_max, files, is_torn: false }, is_torn))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Gives the file the name of the one before it, and begins a new one. Done again after it has failed half-way, it goes on
    /// and drops nothing twice.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.path.try_exists()? {
            for number in (1..self.files.saturating_sub(1)).rev() {
                rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
            }
            rename_if_there(&self.path, &self.numbered(1))?;
        }
        self.file = open(&self.path)?;
        self.bytes = 0;
        let directory = std::path::absolute(&self.path)?;
        directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// Bytes of the whole lines at the front that the file has room for.
    fn room_for(&self, lines: &[u8]) -> usize {
        let room = usize::try_from(self.bytes_max.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let room = room.min(lines.len());
        lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
    }
}

impl Sink for RotatingFile {
    fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        let mut taken = self.room_for(lines);
        if taken == 0 {
            if self.bytes > 0 {
                self.rotate()?;
            }
            // One that is longer than a file may be has a file of its own.
            let first =
                lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
            taken = self.room_for(lines).max(first);
        }
        if let Err(error) = self.file.write_all(&lines[..taken]) {
            self.is_torn = true;
            return Err(error);
        }
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Opens a file to append to, for this process alone.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).append(true).create(true).mode(MODE).open(path)?;
    // A device is anybody's.
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::other("another process writes it")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append_all(file: &mut RotatingFile, mut lines: &[u8]) {
        while !lines.is_empty() {
            let taken = file.append(lines).unwrap();
            lines = &lines[taken..];
        }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_full_file_is_renamed_and_so_many_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let (mut file, is_torn) = RotatingFile::open(&path, 10, 3).unwrap();
        assert!(!is_torn);
        append_all(&mut file, b"one\ntwo\nthree\n");
        assert_eq!((text(&path), text(&file.numbered(1))), ("three\n".into(), "one\ntwo\n".into()));
        append_all(&mut file, b"four\nfive\nsix\n");
        assert_eq!(text(&path), "six\n");
        assert_eq!(text(&file.numbered(1)), "four\nfive\n");
        assert_eq!(text(&file.numbered(2)), "three\n", "one and two have gone");
        assert!(!file.numbered(3).exists());
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let (mut file, _) = RotatingFile::open(&path, 10, 3).unwrap();
        append_all(&mut file, b"one\na line of many words\ntwo\n");
        assert_eq!(text(&file.numbered(2)), "one\n");
        assert_eq!(text(&file.numbered(1)), "a line of many words\n");
        assert_eq!(text(&path), "two\n");
    }

    #[test]
    fn a_torn_line_is_ended_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        fs::write(&path, "whole\nto").unwrap();
        let (mut file, is_torn) = RotatingFile::open(&path, 100, 2).unwrap();
        assert!(is_torn);
        append_all(&mut file, b"next\n");
        assert_eq!(text(&path), "whole\nto\nnext\n");
        drop(file);
        let (_file, is_torn) = RotatingFile::open(&path, 100, 2).unwrap();
        assert!(!is_torn);
    }

    #[test]
    fn what_a_failed_write_has_left_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let (mut file, _) = RotatingFile::open(&path, 100, 2).unwrap();
        append_all(&mut file, b"whole\n");
        // As a disk does that is full in the middle of a line.
        file.file.write_all(b"ha").unwrap();
        file.is_torn = true;
        append_all(&mut file, b"half\n");
        assert_eq!(text(&path), "whole\nhalf\n");
    }

    #[test]
    fn a_rotation_that_failed_half_way_drops_nothing_when_it_is_done_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let (mut file, _) = RotatingFile::open(&path, 10, 3).unwrap();
        append_all(&mut file, b"one\ntwo\nthree\n");
        // The file has its new name already, and nothing could be made in its place.
        fs::rename(file.numbered(1), file.numbered(2)).unwrap();
        fs::rename(&path, file.numbered(1)).unwrap();
        append_all(&mut file, b"four\nfive\n");
        assert_eq!(text(&file.numbered(2)), "one\ntwo\n");
        assert_eq!(text(&file.numbered(1)), "three\n");
        assert_eq!(text(&path), "four\nfive\n");
    }

    #[test]
    fn two_writers_of_one_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let _first = RotatingFile::open(&path, 100, 2).unwrap();
        let error = RotatingFile::open(&path, 100, 2).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }
}
