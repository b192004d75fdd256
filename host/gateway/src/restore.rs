//! A data directory made of a snapshot, for a new cluster of one member. It does not know what a snapshot is made of.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_raft::restore::{RestoreError, Restored, restore};
use quorate_raft::{Contact, Store};
use quorate_store::{DataDirectory, Log, LogOptions, OpenError, Tree, TreeOptions};
use quorate_wire::snapshot::Unsound;

use crate::mesh::{Note, NoteError, new_cluster};

/// Why no data directory was made. What there was before is as it was, and nothing else is there.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Something is in it.
    #[error(
        "{path}: it is not empty: there is {found}; a snapshot is restored into an empty or a new directory only"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// It can not be looked at or made.
    #[error("{path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The disk.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What the directory says of the member.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The snapshot.
    #[error("{file}: {cause}")]
    Snapshot {
        /// The file.
        file: PathBuf,
        /// Why it is not restored.
        cause: RestoreError,
    },
}

impl Refused {
    /// What is wrong with the file, if it is that.
    #[must_use]
    pub fn unsound(&self) -> Option<&Unsound> {
        match self {
            Self::Snapshot { cause: RestoreError::Io(error), .. } => {
                error.get_ref().and_then(|inner| inner.downcast_ref())
            }
            _ => None,
        }
    }
}

/// Made by mkfs at the root of a volume.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes `data`, which must be empty or not be there, the directory of member number `member` of a new cluster whose tree is
/// the snapshot's in `file`, and may have the feature level `known` at most.
///
/// # Errors
/// [`Refused`].
pub async fn restore_into(
    file: &Path,
    data: &Path,
    member: u64,
    known: Level,
) -> Result<Restored, Refused> {
    let io = |source| Refused::Io { path: data.to_owned(), source };
    let was_there = data.try_exists().map_err(io)?;
    if let Some(found) = names(data).map_err(io)?.first() {
        let found = found.display().to_string();
        return Err(Refused::NotEmpty { path: data.to_owned(), found });
    }
    let made = fill(file, data, member, known).await;
    if made.is_err() {
        // All of it is ours: it was empty.
        let removed = if was_there {
            names(data).and_then(|names| names.iter().try_for_each(|name| remove(&data.join(name))))
        } else {
            fs::remove_dir_all(data)
        };
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(directory = %data.display(), %error, "a part of the restored data stays");
        }
    }
    made
}

async fn fill(file: &Path, data: &Path, member: u64, known: Level) -> Result<Restored, Refused> {
    // Before anything is made: the usual mistake is the wrong file.
    let wrong = |cause| Refused::Snapshot { file: file.to_owned(), cause };
    fs::File::open(file).map_err(|error| wrong(error.into()))?;
    let directory = DataDirectory::open(data, || format!("member {member}").into_bytes())?;
    let directory = Arc::new(directory);
    // A new cluster: members of the old one, and clients that look for it, must not take it for that.
    let note = Note::open(Arc::clone(&directory))?;
    note.join(new_cluster().map_err(|refusal| NoteError::Random(refusal.message))?)?;
    let contact = Contact { incarnation: note.incarnation(), ..Contact::default() };
    let fatal = Box::new(|error: &io::Error| {
        tracing::error!(%error, "the raft log can not be written");
    });
    let log = Arc::new(Log::open(&directory.log_path(), LogOptions::default(), fatal)?);
    let tree = Arc::new(Tree::open(&directory.tree_path(), &TreeOptions::default())?);
    let store = Store {
        log: Arc::clone(&log),
        tree,
        incoming: directory.incoming_path(),
        on_first_vote: None,
    };
    let restored = restore(&store, NamespaceId::DEFAULT, known, file, member, contact).await;
    let restored = restored.map_err(wrong)?;
    log.close().map_err(|error| wrong(error.into()))?;
    Ok(restored)
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|it| it.file_name())).collect();
    Ok(names?.into_iter().filter(|name| name != LOST_AND_FOUND).collect())
}

fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
