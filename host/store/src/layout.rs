//! The data directory: who may open it, what lies where, how much room is left. It does not know what is in the files.
//!
//! ```text
//! <data>/LOCK     locked (flock) by the process that has the directory open; holds its process id, for messages
//! <data>/FORMAT   magic, format version, identity
//! <data>/log/     the raft log, see `log`
//! <data>/tree/    RocksDB
//! <data>/incoming/ trees that other members send
//! <data>/MEMBER   a note: what the member knows of itself and of others, in the form of FORMAT
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::format;
use crate::modes::{DIRECTORY_MODE, FILE_MODE};

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const LOG: &str = "log";
const TREE: &str = "tree";
const INCOMING: &str = "incoming";
/// Made by mkfs at the root of a volume; a fresh volume is an empty directory to us.
const LOST_AND_FOUND: &str = "lost+found";
/// What an operator may have put there before the first start; the member keeps its certificates in it.
const CERTIFICATES: &str = "certificates";
/// Most bytes read of a lock file: a process id has 20 digits at most.
const HOLDER_BYTES_MAX: u64 = 32;

/// An opened data directory. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Vec<u8>,
    is_new: bool,
    /// Held for its lock.
    _lock: File,
}

impl DataDirectory {
    /// Opens `path`, which is created (parents too, for its owner only) when it does not exist. An empty directory becomes ours: `identity`
    /// is called and what it returns (at most 4096 bytes) is stored; of one that is ours already it is read.
    ///
    /// # Errors
    /// [`OpenError::Foreign`] (not empty and not ours, untouched then), [`OpenError::UnknownVersion`],
    /// [`OpenError::Locked`], [`OpenError::Corrupt`], [`OpenError::Io`].
    pub fn open(path: &Path, identity: impl FnOnce() -> Vec<u8>) -> Result<Self, OpenError> {
        let mut maker = DirBuilder::new();
        let made = maker.recursive(true).mode(DIRECTORY_MODE).create(path);
        made.map_err(OpenError::io(path, "create the directory"))?;
        // Looked at before the lock file is created: a foreign directory is left as it was.
        refuse_foreign(path)?;
        let lock = lock(&path.join(LOCK))?;
        let is_new = refuse_foreign(path)?;
        if is_new {
            format::write(path, FORMAT, &identity())?;
            sync_parent(path)?;
        }
        let identity = format::read(&path.join(FORMAT))?;
        Ok(Self { path: path.to_owned(), identity, is_new, _lock: lock })
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that the creator of the directory gave.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// Whether this opening has created it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Where the raft log belongs. Created by the log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where the tree belongs. Created by the tree.
    #[must_use]
    pub fn tree_path(&self) -> PathBuf {
        self.path.join(TREE)
    }

    /// The bytes of a note that was kept in this directory; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`OpenError::Corrupt`], [`OpenError::Foreign`], [`OpenError::UnknownVersion`], [`OpenError::Io`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        let path = self.path.join(name);
        match path.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => format::read(&path).map(Some),
            Err(source) => Err(OpenError::io(&path, "look for")(source)),
        }
    }

    /// Keeps a note (at most 4096 bytes): it is there whole and durable when this returns, or the one before is.
    ///
    /// # Errors
    /// [`OpenError::Io`].
    pub fn keep_note(&self, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
        format::write(&self.path, name, bytes)
    }

    /// Where snapshots are kept while they arrive. Created by whoever receives them.
    #[must_use]
    pub fn incoming_path(&self) -> PathBuf {
        self.path.join(INCOMING)
    }

    /// Bytes that this process may still write on the file system of the directory (the reserve of root excluded).
    ///
    /// # Errors
    /// That of statvfs.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.path)
    }
}

/// Bytes that this process may still write on the file system of a path (the reserve of root excluded).
///
/// # Errors
/// That of statvfs.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(path)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Returns whether the directory is empty but for what an interrupted creation leaves and certificates;
/// refuses a foreign one.
fn refuse_foreign(path: &Path) -> Result<bool, OpenError> {
    let doing = "list";
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(path).map_err(OpenError::io(path, doing))? {
        names.push(entry.map_err(OpenError::io(path, doing))?.file_name());
    }
    if names.iter().any(|name| name == FORMAT) {
        return Ok(false);
    }
    names.sort();
    let temporary = format::temporary_name(FORMAT);
    let ours = [LOCK, temporary.as_str(), LOST_AND_FOUND, CERTIFICATES];
    let stranger = names.iter().find(|name| ours.iter().all(|known| name != known));
    stranger.map_or(Ok(true), |name| {
        let cause = format!("there is {} and no file {FORMAT}", Path::new(name).display());
        Err(OpenError::Foreign { path: path.to_owned(), cause })
    })
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let mut file = options.open(path).map_err(OpenError::io(path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked { path: path.to_owned(), holder: holder(&file) });
        }
        Err(TryLockError::Error(source)) => {
            return Err(OpenError::Io { path: path.to_owned(), doing: "lock", source });
        }
    }
    let noted = file.set_len(0).and_then(|()| file.rewind());
    let noted = noted.and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(OpenError::io(path, "write"))?;
    Ok(file)
}

/// Whom the lock file names. Only for the message: the file may be empty or stale for a moment.
fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => match text.trim().parse::<u32>() {
            Ok(id) => format!("process {id}"),
            Err(_) => "another process".to_owned(),
        },
        Err(_) => "another process".to_owned(),
    }
}

/// Makes the entry of a new directory durable.
fn sync_parent(path: &Path) -> Result<(), OpenError> {
    let absolute = std::path::absolute(path).map_err(OpenError::io(path, "resolve"))?;
    let Some(parent) = absolute.parent() else { return Ok(()) };
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(OpenError::io(parent, "sync"))
}
