//! Snapshots of a namespace: what openraft hands around as one, checkpoints that are sent ([`Outgoing`]), and streams that
//! arrive ([`Incoming`]). The bytes of a stream are `quorate_wire::snapshot`'s; how they travel is not known here.

mod checkpoints;
mod incoming;
mod outgoing;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_wire::snapshot::{Decoder, Head, Item, Records, Summary, Unsound};

pub(crate) use checkpoints::Checkpoints;
pub use incoming::Incoming;
pub use outgoing::{Outgoing, OutgoingReader};

use crate::codec::{self, rotten};
use crate::position::Position;
use crate::standing::Standing;
use crate::types::{log_id, position};

/// Bytes that are read from a file, or sent, in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// Names one stream: the same bytes at the same offsets. A member gives a new one to each of its checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub [u8; 16]);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How much of something long is done, in bytes, for whoever waits for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What openraft hands around as a snapshot.
pub enum SnapshotData {
    /// A stream that this member can send; what openraft was told of it is what its bytes say.
    Outgoing(Arc<Outgoing>),
    /// A stream that has arrived.
    Received(Received),
    /// The newest stream at the time when somebody asks. Of a snapshot that has just been built, openraft takes only the
    /// place (`core/sm/worker.rs`, `build_snapshot`), and a checkpoint at each flush would be in vain.
    OnDemand(OnDemand),
    /// There is none just now: openraft takes a refusal for a broken disk and stops, so whoever would send it is told.
    Unavailable(String),
}

/// See [`SnapshotData::OnDemand`].
pub struct OnDemand(pub(crate) Arc<Checkpoints>);

/// A file that holds a whole, sound stream. Deleted when this is dropped.
pub struct Received {
    path: PathBuf,
    summary: Box<Summary>,
    progress: Progress,
}

impl Received {
    pub(crate) fn new(path: PathBuf, summary: Summary) -> Self {
        Self { path, summary: Box::new(summary), progress: Progress::default() }
    }

    /// How much of it has been read, for its installation.
    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// What it holds.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a received snapshot stays on the disk");
        }
    }
}

impl SnapshotData {
    /// The stream to be sent. Blocks: a checkpoint may be made.
    ///
    /// # Errors
    /// Of the disk, or why there is none.
    pub fn outgoing(&self) -> io::Result<Arc<Outgoing>> {
        match self {
            Self::Outgoing(outgoing) => Ok(Arc::clone(outgoing)),
            Self::OnDemand(OnDemand(checkpoints)) => checkpoints.for_member(),
            Self::Received(_) => Err(io::Error::other("a received snapshot is not sent on")),
            Self::Unavailable(why) => Err(io::Error::other(why.clone())),
        }
    }

    /// Hands out all records in order, block by block, of a tree of this feature level at most. They are worth nothing unless this returns `Ok`.
    ///
    /// # Errors
    /// The source's, `take`'s; `InvalidData` where it is not sound.
    pub(crate) fn for_each(
        &self,
        known: Level,
        take: &mut dyn FnMut(Records) -> io::Result<()>,
    ) -> io::Result<Summary> {
        match self {
            Self::Received(Received { path, progress, .. }) => {
                read_file_telling(path, progress, known, take)
            }
            Self::Outgoing(_) | Self::OnDemand(_) | Self::Unavailable(_) => {
                let mut reader = self.outgoing()?.reader(0)?;
                decode(known, &mut || reader.read(PIECE_BYTES), take)
            }
        }
    }
}

/// Reads a file that holds a stream to its end, as [`SnapshotData`]'s records are read; its tree may have this feature
/// level at most.
///
/// # Errors
/// The file's, `take`'s; `InvalidData`, with an [`Unsound`] inside, where it is not sound.
pub fn read_file(
    path: &Path,
    known: Level,
    take: &mut dyn FnMut(Records) -> io::Result<()>,
) -> io::Result<Summary> {
    read_file_telling(path, &Progress::default(), known, take)
}

fn read_file_telling(
    path: &Path,
    progress: &Progress,
    known: Level,
    take: &mut dyn FnMut(Records) -> io::Result<()>,
) -> io::Result<Summary> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    decode(
        known,
        &mut || {
            let count = file.read(&mut piece)?;
            progress.add(count);
            Ok(bytes::Bytes::copy_from_slice(&piece[..count]))
        },
        take,
    )
}

/// Writes a whole stream.
///
/// # Errors
/// As [`OutgoingReader::read`]; the writer's.
pub fn write_all(outgoing: &Arc<Outgoing>, out: &mut dyn Write) -> io::Result<()> {
    let mut reader = outgoing.reader(0)?;
    loop {
        let piece = reader.read(PIECE_BYTES)?;
        if piece.is_empty() {
            return Ok(());
        }
        out.write_all(&piece)?;
    }
}

/// Reads pieces until an empty one.
fn decode(
    known: Level,
    next: &mut dyn FnMut() -> io::Result<bytes::Bytes>,
    take: &mut dyn FnMut(Records) -> io::Result<()>,
) -> io::Result<Summary> {
    let mut decoder = Decoder::new(known);
    let mut summary = None;
    loop {
        let piece = next()?;
        if piece.is_empty() {
            break;
        }
        decoder.handle(&piece);
        while let Some(item) = decoder.poll().map_err(unsound)? {
            match item {
                Item::Head(_) => {}
                Item::Records(records) => take(records)?,
                Item::End(end) => summary = Some(*end),
            }
        }
    }
    decoder.finish().map_err(unsound)?;
    summary.ok_or_else(|| unsound(Unsound::Truncated { at: 0 }))
}

pub(crate) fn unsound(error: Unsound) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

pub(crate) fn head(standing: &Standing, namespace: NamespaceId) -> Head {
    let place = standing.applied.as_ref().map(|applied| {
        let Position { term, index } = position(applied);
        (term, index)
    });
    Head { namespace, place, membership: codec::stored_membership(&standing.membership) }
}

pub(crate) fn standing(head: &Head) -> io::Result<Standing> {
    let applied = head.place.map(|(term, index)| log_id(Position { term, index }));
    let membership = codec::read_stored_membership(head.membership.clone()).map_err(rotten)?;
    Ok(Standing { applied, membership })
}
