//! The port to the file system under the log, and its real implementation. It knows names, bytes and
//! syncs, nothing of segments or records.
//!
//! It exists so that tests can hold a disk that loses unsynced bytes, writes short or fails a sync.
//! What the log relies on, and a test's disk must therefore keep: bytes and file lengths that a
//! [`LogFile::sync`] has returned for stay; names that a [`Files::sync`] has returned for stay;
//! everything else may be there, not be there, or be there in part; name changes reach the disk in
//! their order.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::modes::{DIRECTORY_MODE, FILE_MODE};

/// The directory of a log: a flat set of files.
pub trait Files: Send + Sync {
    /// Names of all files, in any order.
    ///
    /// # Errors
    /// The file system's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// The file system's; `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Creates an empty file, in place of one of that name.
    ///
    /// # Errors
    /// The file system's.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Renames a file; open handles stay good.
    ///
    /// # Errors
    /// The file system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name; open handles stay good.
    ///
    /// # Errors
    /// The file system's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when all changes of names are durable.
    ///
    /// # Errors
    /// The file system's.
    fn sync(&self) -> io::Result<()>;

    /// What to call a file in a message.
    fn path(&self, name: &str) -> PathBuf;
}

/// One file of a log, read and written at positions.
pub trait LogFile: Send + Sync {
    /// Length of the file in bytes.
    ///
    /// # Errors
    /// The file system's.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer`; may read less, 0 at the end of the file.
    ///
    /// # Errors
    /// The file system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes from `buffer`; may write less.
    ///
    /// # Errors
    /// The file system's.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the file exactly `bytes` long, with room on the disk for all of it. New bytes are 0.
    ///
    /// # Errors
    /// The file system's, a full disk above all. The file may hold a part of the room then.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Cuts the file to `bytes`.
    ///
    /// # Errors
    /// The file system's.
    fn cut(&self, bytes: u64) -> io::Result<()>;

    /// Returns when all bytes written before, and the length, are durable.
    ///
    /// # Errors
    /// The file system's. What was written before is in an unknown state then, for good.
    fn sync(&self) -> io::Result<()>;
}

/// Fills `buffer` from `offset`.
///
/// # Errors
/// `UnexpectedEof` if the file ends before, else the file system's.
pub(super) fn read_exact_at(file: &dyn LogFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `buffer` at `offset`.
///
/// # Errors
/// `WriteZero` if the file takes no more, else the file system's.
pub(super) fn write_all_at(file: &dyn LogFile, buffer: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.write_at(&buffer[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// For `map_err`: the file system's error with the file that it is about, of the same kind.
pub(super) fn about(files: &dyn Files, name: &str) -> impl FnOnce(io::Error) -> io::Error {
    let path = files.path(name);
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held open for its sync.
    handle: File,
}

impl Directory {
    /// Opens the directory, created when it does not exist (its parent must).
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Ok(()) => {
                let absolute = std::path::absolute(path)?;
                if let Some(parent) = absolute.parent() {
                    File::open(parent)?.sync_all()?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(Self { path: path.to_owned(), handle: File::open(path)? })
    }
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        Ok(Arc::new(DiskFile(file.open(self.path(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// A file of the operating system.
#[derive(Debug)]
struct DiskFile(File);

impl LogFile for DiskFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buffer, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.0.metadata()?.len() > bytes {
            self.0.set_len(bytes)?;
        }
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // Some file systems can not preallocate. The log is as safe there, a full disk just
            // shows later.
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(bytes),
            Err(error) => Err(error.into()),
        }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync: data and the length, not the times. Half the journal traffic of fsync.
        Ok(rustix::fs::fdatasync(&self.0)?)
    }
}
