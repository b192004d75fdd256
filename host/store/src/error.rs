//! Why a data directory, a log or a tree is not opened. It knows no error of the libraries underneath.
//!
//! Every refusal names the path, the cause and what to do. Nothing on the disk has been changed when one is returned,
//! except that directories and the lock file may have been created.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A refusal to open something of the data directory. The process should print it and end.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The operating system refused an operation.
    #[error(
        "{path}: can not {doing}: {source}; check that the disk is healthy, has room and is ours to write"
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb: "read", "create", ...
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error(
        "{path}: {cause}, so this is not a data directory of ours and is left alone; \
         name an empty or a new directory"
    )]
    Foreign {
        /// The directory, or the file in it that gave it away.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The directory was written by a version that this one does not know.
    #[error(
        "{path}: the format version is {found}, this program reads {known}; \
         start the version of the program that wrote it, or one that names this format in its release notes"
    )]
    UnknownVersion {
        /// The file that carries the version.
        path: PathBuf,
        /// The version found there.
        found: u32,
        /// The version that this program reads and writes.
        known: u32,
    },
    /// Another process has the directory open.
    #[error("{path}: in use by {holder}; stop that process or name another directory")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// "process 123" as the lock file tells it, or "another process".
        holder: String,
    },
    /// Bytes that were durable are not what was written.
    #[error(
        "{path}: corrupt at byte {offset}: {cause}; \
         this member's data can not be trusted: move the directory away and let the member rejoin, or restore a backup"
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Position of the first byte that can not be explained.
        offset: u64,
        /// What is wrong there.
        cause: String,
    },
    /// RocksDB refused to open the tree.
    #[error(
        "{path}: the tree can not be opened: {cause}; check disk and permissions, else restore a backup"
    )]
    Tree {
        /// The directory of the tree.
        path: PathBuf,
        /// RocksDB's words.
        cause: String,
    },
}

impl OpenError {
    /// For `map_err`: the operating system's refusal with its place.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, cause: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, cause: cause.into() }
    }
}
