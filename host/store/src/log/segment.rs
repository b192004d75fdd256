//! One segment file: its header and head, how it comes to be and how it ends. It does not know the
//! records behind the head.
//!
//! ```text
//! 0   8  magic "QUOLOG\r\n"
//! 8   4  format version, little-endian like all that follows
//! 12  4  bytes of the head
//! 16  8  id: 1, 2, 3, ... without gaps and never used twice in a directory
//! 24  8  generation: how many lives the file had before this one
//! 32  28 0
//! 60  4  crc32c of bytes 0..60
//! 64  n  the head: records (batch 0) that give, for each namespace, start, purge, vote and committed
//!        as they were when the segment began
//! 64+n   records, from batch 1 on; at last a seal
//! ```
//!
//! The head is what makes a segment stand alone: votes and purged log ids survive their old segments
//! because each new segment repeats them. The alternative, a superblock beside the segments, would
//! cost a second file with a second sync for each vote, and an in-place update that must be made
//! atomic; the head costs some hundred bytes per segment and is written in a sync that is due anyway.
//!
//! A segment is prepared under another name (`.spare`: a recycled file, or a new one), synced, and
//! then renamed to `<id>.log`. So header and head of a `.log` file are whole, or the file is damaged.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{Files, LogFile, about, read_exact_at, write_all_at};
use super::index::Head;
use super::record::{ALIGNMENT, Encoder, Kind, Seed, record_bytes};
use crate::error::OpenError;

/// Bytes of the header.
pub(super) const SEGMENT_HEADER_BYTES: u32 = 64;
/// Most bytes of a segment file: positions in memory are 32 bits.
pub(super) const SEGMENT_BYTES_MAX: u32 = 1 << 30;

const MAGIC: [u8; 8] = *b"QUOLOG\r\n";
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = 60;
const LOG_SUFFIX: &str = ".log";
const SPARE_SUFFIX: &str = ".spare";

/// A segment that can be read.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn LogFile>,
    pub(super) seed: Seed,
}

/// The segment that is written.
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) segment: Segment,
    /// Where the next record goes.
    pub(super) end: u64,
    /// Number of the next batch.
    pub(super) batch: u32,
    /// Length of the file.
    pub(super) capacity: u64,
}

/// A decoded header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) head_bytes: u32,
}

impl SegmentHeader {
    fn encode(self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.head_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the header at the beginning of `bytes`; `path` is for the refusal.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, OpenError> {
        let Some(header) = bytes.first_chunk::<{ SEGMENT_HEADER_BYTES as usize }>() else {
            return Err(OpenError::corrupt(path, 0, "the file is shorter than its header"));
        };
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) | (u64::from(word(at + 4)) << 32);
        if header[..8] != MAGIC {
            return Err(OpenError::corrupt(path, 0, "no segment of a log begins like this"));
        }
        if word(CHECKSUM_AT) != crc32c::crc32c(&header[..CHECKSUM_AT]) {
            return Err(OpenError::corrupt(path, 0, "the header does not pass its checksum"));
        }
        if word(8) != VERSION {
            let (path, found) = (path.to_owned(), word(8));
            return Err(OpenError::UnknownVersion { path, found, known: VERSION });
        }
        Ok(Self { id: long(16), generation: long(24), head_bytes: word(12) })
    }

    pub(super) fn seed(self) -> Seed {
        Seed::new(self.id, self.generation)
    }
}

/// Name of a segment that is part of the log.
pub(super) fn log_name(id: u64) -> String {
    format!("{id:016x}{LOG_SUFFIX}")
}

/// Name of a file that is not part of the log (any more, or yet).
pub(super) fn spare_name(id: u64) -> String {
    format!("{id:016x}{SPARE_SUFFIX}")
}

/// The id in the name of a segment of the log.
pub(super) fn log_id(name: &str) -> Option<u64> {
    let id = u64::from_str_radix(name.strip_suffix(LOG_SUFFIX)?, 16).ok()?;
    (log_name(id) == name).then_some(id)
}

/// Whether a file is a spare one.
pub(super) fn is_spare(name: &str) -> bool {
    name.ends_with(SPARE_SUFFIX)
}

/// Makes segment `id` out of `spares` or of a new file, durable when this returns. It is at least
/// `capacity` long and has room for `room` bytes behind its head.
///
/// # Errors
/// The file system's, with the file. A new file is removed: what there was of room on a full disk is
/// for others.
pub(super) fn create(
    files: &dyn Files,
    spares: &mut Vec<String>,
    id: u64,
    heads: &BTreeMap<u32, Head>,
    lengths: (u64, u64),
) -> io::Result<Active> {
    let spare = spare_or_new(files, spares, id)?;
    let (name, generation) = (spare.name.clone(), spare.generation);
    prepare(files, spare, id, heads, lengths).map_err(|error| {
        if generation == 0 {
            // If that fails, or a power cut undoes it, the next opening does it.
            let _removed = files.remove(&name);
        }
        about(files, &name)(error)
    })
}

/// A file to write a segment into.
struct Spare {
    name: String,
    file: Arc<dyn LogFile>,
    /// Of its next life: 0 for a new file.
    generation: u64,
}

fn prepare(
    files: &dyn Files,
    Spare { name, file, generation }: Spare,
    id: u64,
    heads: &BTreeMap<u32, Head>,
    (capacity, room): (u64, u64),
) -> io::Result<Active> {
    let mut head = Vec::new();
    let seed = Seed::new(id, generation);
    encode_head(&mut head, seed, heads);
    let head_bytes = u32::try_from(head.len()).map_err(|_| {
        io::Error::new(io::ErrorKind::FileTooLarge, "too many namespaces for a head")
    })?;
    let header = SegmentHeader { id, generation, head_bytes };
    let end = u64::from(SEGMENT_HEADER_BYTES) + u64::from(head_bytes);
    let capacity = capacity.max(end + room);
    if capacity > u64::from(SEGMENT_BYTES_MAX) {
        let cause = format!("a segment of {capacity} bytes, limit {SEGMENT_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, cause));
    }
    file.allocate(capacity)?;
    let mut bytes = header.encode().to_vec();
    bytes.append(&mut head);
    write_all_at(file.as_ref(), &bytes, 0)?;
    file.sync()?;
    files.rename(&name, &log_name(id))?;
    files.sync()?;
    Ok(Active { id, segment: Segment { file, seed }, end, batch: 1, capacity })
}

/// The last one of `spares` that can be used again, or a new file.
fn spare_or_new(files: &dyn Files, spares: &mut Vec<String>, id: u64) -> io::Result<Spare> {
    while let Some(name) = spares.pop() {
        let file = files.open(&name).map_err(about(files, &name))?;
        if let Some(former) = former_life(files, &name, file.as_ref())? {
            let generation = former.generation.saturating_add(1);
            return Ok(Spare { name, file, generation });
        }
        files.remove(&name).map_err(about(files, &name))?;
    }
    let name = spare_name(id);
    let file = files.create(&name).map_err(about(files, &name))?;
    Ok(Spare { name, file, generation: 0 })
}

/// The header of a spare file. Without one that can be read, the file must not be used: nobody knows
/// which lives it had.
fn former_life(
    files: &dyn Files,
    name: &str,
    file: &dyn LogFile,
) -> io::Result<Option<SegmentHeader>> {
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    match read_exact_at(file, &mut header, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&files.path(name), &header).ok()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(about(files, name)(error)),
    }
}

/// Removes those of `spares` that can not be used. A process that ends while it makes a segment leaves
/// such a file, on a full disk above all.
pub(super) fn remove_half_made(files: &dyn Files, spares: &mut Vec<String>) -> io::Result<()> {
    let mut whole = Vec::with_capacity(spares.len());
    for name in spares.drain(..) {
        let file = files.open(&name).map_err(about(files, &name))?;
        match former_life(files, &name, file.as_ref())? {
            Some(_) => whole.push(name),
            None => files.remove(&name).map_err(about(files, &name))?,
        }
    }
    *spares = whole;
    Ok(())
}

fn encode_head(bytes: &mut Vec<u8>, seed: Seed, heads: &BTreeMap<u32, Head>) {
    let mut encoder = Encoder::new(bytes, seed, u64::from(SEGMENT_HEADER_BYTES), 0);
    let mut is_empty = true;
    for (&namespace, head) in heads {
        let Head { next, purged, vote, committed } = head;
        // Start before purge: a purge would else move the beginning.
        let start = next.map(|index| (Kind::Start, index, &[][..]));
        let purge = purged.as_ref().map(|(upto, meta)| (Kind::Purge, *upto, meta.as_ref()));
        let vote = vote.as_ref().map(|vote| (Kind::Vote, 0, vote.as_ref()));
        let committed = committed.as_ref().map(|id| (Kind::Committed, 0, id.as_ref()));
        for (kind, index, payload) in [start, purge, vote, committed].into_iter().flatten() {
            encoder.push(kind, namespace, index, payload);
            is_empty = false;
        }
    }
    if !is_empty {
        encoder.finish();
    }
}

/// Bytes that are kept free in each segment for its seal.
pub(super) fn seal_bytes() -> u64 {
    u64::from(record_bytes(0))
}

/// Ends a segment for good: nothing behind the seal is ever looked at. Durable when this returns.
pub(super) fn seal(active: &Active) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, active.segment.seed, active.end, active.batch);
    encoder.push(Kind::Seal, 0, 0, &[]);
    encoder.finish();
    write_all_at(active.segment.file.as_ref(), &bytes, active.end)?;
    active.segment.file.sync()
}

const _: () = assert!(SEGMENT_HEADER_BYTES.is_multiple_of(ALIGNMENT), "the head begins aligned");
