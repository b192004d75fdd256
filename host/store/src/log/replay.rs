//! Opening a log: segments are read in their order and their records taken again. It decides what is
//! a torn tail and what is corruption; it writes nothing.
//!
//! The end of a segment that has a successor is its seal; anything else there is corruption. The end
//! of the newest segment is the first place where no good record begins. Whether that is a torn tail
//! is settled by the batch numbers. A batch is written when the one before it has been synced, so a
//! record of batch `b` on the disk proves that all of batch `b - 1` was durable. Within a batch the
//! disk may have kept any part. Therefore a bad record is corruption if behind it lies a good
//! record, of this life of the file, of a later batch than the bad one's; else it was never
//! acknowledged and the log ends before it. (Damage in the last batch can not be told from a torn
//! one.)

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use super::files::{Files, read_exact_at};
use super::index::{Head, Location, Namespace};
use super::record::{ALIGNMENT, HEADER_BYTES, Header, Kind, Seed, record_bytes};
use super::segment::{
    self, Active, SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES, Segment, SegmentHeader,
};
use crate::error::OpenError;

/// A segment of the log and what decides when it can go.
pub(super) struct Life {
    pub(super) id: u64,
    /// For each namespace the highest index that was ever written here. The segment is of no more use
    /// when all are purged and all older segments are gone.
    pub(super) highest: BTreeMap<u32, u64>,
}

/// What an opened log begins with.
pub(super) struct Replayed {
    pub(super) namespaces: BTreeMap<u32, Namespace>,
    pub(super) segments: BTreeMap<u64, Segment>,
    /// Oldest first.
    pub(super) lives: Vec<Life>,
    pub(super) tail: Tail,
    pub(super) spares: Vec<String>,
}

/// How the newest segment ends.
pub(super) enum Tail {
    /// There is no segment.
    None,
    /// With a whole batch and nothing of this life behind it: can be gone on with.
    Clean(Active),
    /// With a part of a batch, or remains of one behind it. Must be sealed: a later batch would get
    /// the number of the torn one, whose remains could then be taken for its own.
    Torn(Active),
    /// With a seal. Holds its id.
    Sealed(u64),
}

/// Reads the whole log.
///
/// # Errors
/// Corruption with its place, an unknown version, or the file system's.
pub(super) fn replay(files: &dyn Files) -> Result<Replayed, OpenError> {
    let directory = files.path("");
    let mut ids = Vec::new();
    let mut spares = Vec::new();
    for name in files.list().map_err(OpenError::io(&directory, "list"))? {
        match segment::log_id(&name) {
            Some(id) => ids.push(id),
            None if segment::is_spare(&name) => spares.push(name),
            None => tracing::warn!(name, "a file in the log's directory that is not ours"),
        }
    }
    ids.sort_unstable();
    spares.sort_unstable();
    let mut replay = Replay::default();
    let mut tail = Tail::None;
    for (position, &id) in ids.iter().enumerate() {
        let path = files.path(&segment::log_name(id));
        if position > 0 && ids[position - 1] + 1 != id {
            return Err(OpenError::corrupt(&path, 0, "the segment before this one is missing"));
        }
        tail = replay.segment(files, path, id)?;
        let is_newest = position + 1 == ids.len();
        if !is_newest && let Tail::Clean(active) | Tail::Torn(active) = &tail {
            let path = files.path(&segment::log_name(id));
            let cause = "no good record, and the segment has not been sealed";
            return Err(OpenError::corrupt(&path, active.end, cause));
        }
    }
    replay.refuse_gaps(files)?;
    let Replay { namespaces, segments, lives, started: _ } = replay;
    Ok(Replayed { namespaces, segments, lives, tail, spares })
}

#[derive(Default)]
struct Replay {
    namespaces: BTreeMap<u32, Namespace>,
    segments: BTreeMap<u64, Segment>,
    lives: Vec<Life>,
    /// For each namespace the index at which the oldest segment begins.
    started: BTreeMap<u32, u64>,
}

/// The bytes of one segment while they are read.
struct Scan {
    path: PathBuf,
    bytes: Bytes,
    header: SegmentHeader,
    seed: Seed,
    offset: u64,
    batch: u32,
    is_batch_whole: bool,
}

impl Replay {
    fn segment(&mut self, files: &dyn Files, path: PathBuf, id: u64) -> Result<Tail, OpenError> {
        let name = segment::log_name(id);
        let file = files.open(&name).map_err(OpenError::io(&path, "open"))?;
        let file_bytes = file.bytes().map_err(OpenError::io(&path, "read"))?;
        if file_bytes > u64::from(SEGMENT_BYTES_MAX) {
            let cause = format!("{file_bytes} bytes, a segment has at most {SEGMENT_BYTES_MAX}");
            return Err(OpenError::corrupt(&path, 0, cause));
        }
        let length = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        read_exact_at(file.as_ref(), &mut bytes, 0).map_err(OpenError::io(&path, "read"))?;
        let header = SegmentHeader::decode(&path, &bytes)?;
        if header.id != id {
            let cause = format!("the header is that of segment {:016x}", header.id);
            return Err(OpenError::corrupt(&path, 16, cause));
        }
        let seed = header.seed();
        self.segments.insert(id, Segment { file: file.clone(), seed });
        self.lives.push(Life { id, highest: BTreeMap::new() });
        let offset = u64::from(SEGMENT_HEADER_BYTES);
        let bytes = Bytes::from(bytes);
        let mut scan = Scan { path, bytes, header, seed, offset, batch: 0, is_batch_whole: true };
        self.head(&mut scan)?;
        while let Some((header, payload)) = scan.next() {
            if header.kind == Kind::Seal {
                return Ok(Tail::Sealed(id));
            }
            self.take(&scan, &header, payload)?;
            scan.advance(&header);
        }
        let has_remains = scan.look_behind_end()?;
        let active = Active {
            id,
            segment: Segment { file, seed },
            end: scan.offset,
            batch: scan.expected_batch(),
            capacity: file_bytes,
        };
        Ok(if has_remains || !scan.is_batch_whole {
            Tail::Torn(active)
        } else {
            Tail::Clean(active)
        })
    }

    /// The head repeats what is known, except in the oldest segment, where it is all that is known.
    fn head(&mut self, scan: &mut Scan) -> Result<(), OpenError> {
        let end = scan.offset + u64::from(scan.header.head_bytes);
        let mut heads: BTreeMap<u32, Head> = BTreeMap::new();
        while scan.offset < end {
            let Some((header, payload)) = scan.record() else {
                return Err(OpenError::corrupt(
                    &scan.path,
                    scan.offset,
                    "a bad record in the head",
                ));
            };
            let head = heads.entry(header.namespace).or_default();
            match header.kind {
                Kind::Start => head.next = Some(header.index),
                Kind::Purge => head.purge(header.index, payload),
                Kind::Vote => head.vote = Some(payload),
                Kind::Committed => head.committed = Some(payload),
                Kind::Entry | Kind::Truncate | Kind::TruncateAll | Kind::Seal => {
                    let cause = format!("a record of kind {:?} in the head", header.kind);
                    return Err(OpenError::corrupt(&scan.path, scan.offset, cause));
                }
            }
            scan.offset += u64::from(record_bytes(header.payload_bytes));
        }
        if self.lives.len() > 1 {
            let known = self.namespaces.iter().map(|(&id, namespace)| (id, &namespace.head));
            // Of a namespace without facts there is nothing to repeat.
            let known = known.filter(|(_, head)| **head != Head::default());
            if !known.eq(heads.iter().map(|(&id, head)| (id, head))) {
                let cause = "the head differs from what the segments before it say";
                return Err(OpenError::corrupt(&scan.path, u64::from(SEGMENT_HEADER_BYTES), cause));
            }
            return Ok(());
        }
        for (id, head) in heads {
            let namespace = self.namespaces.entry(id).or_default();
            if let Some(next) = head.next {
                namespace.start(next);
                self.started.insert(id, next);
            }
            namespace.head = head;
        }
        Ok(())
    }

    fn take(&mut self, scan: &Scan, header: &Header, payload: Bytes) -> Result<(), OpenError> {
        let refuse = |cause: String| Err(OpenError::corrupt(&scan.path, scan.offset, cause));
        let namespace = self.namespaces.entry(header.namespace).or_default();
        match header.kind {
            Kind::Entry => {
                let index = header.index;
                if namespace.head.next.is_some_and(|next| next != index) || index == u64::MAX {
                    let next = namespace.head.next;
                    return refuse(format!("entry {index} where {next:?} should come"));
                }
                let offset = u32::try_from(scan.offset);
                let offset = offset.expect("a segment has at most 2^30 bytes");
                let payload_bytes = header.payload_bytes;
                let location = Location { segment: scan.header.id, offset, payload_bytes };
                namespace.replayed(index, location);
                if let Some(life) = self.lives.last_mut() {
                    let highest = life.highest.entry(header.namespace).or_default();
                    *highest = index.max(*highest);
                }
            }
            Kind::Vote => namespace.head.vote = Some(payload),
            Kind::Committed => namespace.head.committed = Some(payload),
            Kind::Truncate => namespace.truncate(Some(header.index)),
            Kind::TruncateAll => namespace.truncate(None),
            Kind::Purge => namespace.purge(header.index, payload),
            Kind::Start | Kind::Seal => {
                return refuse(format!("a record of kind {:?} behind the head", header.kind));
            }
        }
        Ok(())
    }

    /// Segments go when all in them is purged. So what lies before the oldest segment must be purged.
    fn refuse_gaps(&self, files: &dyn Files) -> Result<(), OpenError> {
        for (id, &start) in &self.started {
            let head = self.namespaces.get(id).map(|namespace| &namespace.head);
            let is_gone = start == 0 || head.is_some_and(|head| head.is_purged(start - 1));
            if !is_gone {
                let oldest = self.lives.first().map_or(0, |life| life.id);
                let path = files.path(&segment::log_name(oldest));
                let cause = format!(
                    "the entries of namespace {id} before {start} are not purged, but the segments \
                     before this one are missing"
                );
                return Err(OpenError::corrupt(&path, 0, cause));
            }
        }
        Ok(())
    }
}

impl Scan {
    /// The record at the offset, if a good one is there.
    fn record(&self) -> Option<(Header, Bytes)> {
        self.record_at(self.offset)
    }

    fn record_at(&self, offset: u64) -> Option<(Header, Bytes)> {
        let start = usize::try_from(offset).ok()?;
        let header = Header::decode(self.bytes.get(start..)?, self.seed, offset)?;
        let begin = start + HEADER_BYTES as usize;
        let end = begin + header.payload_bytes as usize;
        if !header.matches(self.bytes.get(begin..end)?) {
            return None;
        }
        // A copy: the few payloads that are kept must not hold the whole segment in memory.
        let payload = match header.kind {
            Kind::Entry => Bytes::new(),
            _ => Bytes::copy_from_slice(&self.bytes[begin..end]),
        };
        Some((header, payload))
    }

    /// The batch that the next record belongs to.
    fn expected_batch(&self) -> u32 {
        self.batch.saturating_add(u32::from(self.is_batch_whole))
    }

    /// The record at the offset, if it is the one that was written there after those before it.
    fn next(&self) -> Option<(Header, Bytes)> {
        let (header, payload) = self.record()?;
        (header.batch == self.expected_batch()).then_some((header, payload))
    }

    fn advance(&mut self, header: &Header) {
        self.offset += u64::from(record_bytes(header.payload_bytes));
        self.batch = header.batch;
        self.is_batch_whole = header.is_last_of_batch;
    }

    /// Searches behind the end for records of this life. Returns whether there are any.
    ///
    /// # Errors
    /// Corruption, if one of them proves that what is missing was durable.
    fn look_behind_end(&self) -> Result<bool, OpenError> {
        let missing = self.expected_batch();
        let mut has_remains = false;
        let mut offset = self.offset;
        let file_bytes = self.bytes.len() as u64;
        while offset < file_bytes {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let header = Header::decode(self.bytes.get(start..).unwrap_or(&[]), self.seed, offset);
            if let Some(header) = header {
                has_remains = true;
                if header.batch > missing {
                    let cause = format!(
                        "no good record, but one of a later write at byte {offset}: what lay here was durable"
                    );
                    return Err(OpenError::corrupt(&self.path, self.offset, cause));
                }
            }
            offset += u64::from(ALIGNMENT);
        }
        Ok(has_remains)
    }
}
