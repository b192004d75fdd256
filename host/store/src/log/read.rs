//! Reading entries: from memory what is there, the rest from the disk, in runs of neighbours. It
//! changes nothing, and holds the lock only while it looks where entries are.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::Log;
use super::files;
use super::index::{Found, Location};
use super::queue::State;
use super::record::{HEADER_BYTES, Header, Kind, record_bytes};
use super::segment::{self, Segment};

/// Most bytes that are read from the disk in one go.
const RUN_BYTES_MAX: u32 = 1 << 20;

impl Log {
    /// The entries of `range` that exist, in order. All of them come into memory: see
    /// [`Log::read_up_to`].
    ///
    /// # Errors
    /// The disk's; `InvalidData` if it gives other bytes than were written.
    pub fn read(&self, namespace: u32, range: Range<u64>) -> io::Result<Vec<(u64, Bytes)>> {
        self.read_up_to(namespace, range, u64::MAX)
    }

    /// The first entries of `range` that exist, as many as have `bytes_max` bytes of payload together,
    /// but at least one if there is one.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_up_to(
        &self,
        namespace: u32,
        range: Range<u64>,
        bytes_max: u64,
    ) -> io::Result<Vec<(u64, Bytes)>> {
        let (found, segments) = {
            let state = self.shared.lock();
            let known = state.namespaces.get(&namespace);
            let found = known.map_or_else(Vec::new, |known| known.find(range, bytes_max));
            let segments = segments_of(&state, &found);
            (found, segments)
        };
        let mut entries = Vec::with_capacity(found.len());
        let mut found = found.into_iter().peekable();
        let mut segments = segments.into_iter().peekable();
        while let Some((index, entry)) = found.next() {
            let first = match entry {
                Found::Memory(payload) => {
                    entries.push((index, payload));
                    continue;
                }
                Found::Disk(location) => location,
            };
            let mut run = vec![first];
            while let Some((_, Found::Disk(next))) = found.peek() {
                if !continues(&run, *next) {
                    break;
                }
                run.push(*next);
                found.next();
            }
            while segments.next_if(|(id, _)| *id < first.segment).is_some() {}
            let Some((_, segment)) = segments.peek().filter(|(id, _)| *id == first.segment) else {
                return Err(io::Error::other("the index names a segment that is gone"));
            };
            self.read_run(segment, (namespace, index), &run, &mut entries)?;
        }
        Ok(entries)
    }

    /// Reads records that lie one behind the other, the first of them entry `index` of `namespace`.
    fn read_run(
        &self,
        segment: &Segment,
        (namespace, index): (u32, u64),
        run: &[Location],
        entries: &mut Vec<(u64, Bytes)>,
    ) -> io::Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let end = last.offset + record_bytes(last.payload_bytes);
        let mut bytes = vec![0; (end - first.offset) as usize];
        files::read_exact_at(segment.file.as_ref(), &mut bytes, u64::from(first.offset))?;
        let bytes = Bytes::from(bytes);
        for (index, location) in (index..).zip(run) {
            let begin = (location.offset - first.offset) as usize;
            let payload = begin + HEADER_BYTES as usize;
            let payload = bytes.slice(payload..payload + location.payload_bytes as usize);
            let offset = u64::from(location.offset);
            let header = Header::decode(&bytes[begin..], segment.seed, offset);
            let is_good = header.is_some_and(|header| {
                header.kind == Kind::Entry
                    && (header.namespace, header.index) == (namespace, index)
                    && header.matches(&payload)
            });
            if !is_good {
                let path = self.files.path(&segment::log_name(location.segment));
                let cause = format!(
                    "{}: entry {index} of namespace {namespace} at byte {offset} is not what was written",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            }
            entries.push((index, payload));
        }
        Ok(())
    }
}

/// Whether `next` can be read in one go with the run before it.
fn continues(run: &[Location], next: Location) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return false };
    last.segment == next.segment
        && last.offset + record_bytes(last.payload_bytes) == next.offset
        && next.offset - first.offset + record_bytes(next.payload_bytes) <= RUN_BYTES_MAX
}

/// The files that entries lie in, held open for who reads them without the lock.
fn segments_of(state: &State, found: &[(u64, Found)]) -> Vec<(u64, Segment)> {
    let mut segments: Vec<(u64, Segment)> = Vec::new();
    for (_, entry) in found {
        let Found::Disk(location) = entry else { continue };
        if segments.last().is_none_or(|(id, _)| *id != location.segment)
            && let Some(segment) = state.segments.get(&location.segment)
        {
            segments.push((location.segment, segment.clone()));
        }
    }
    segments
}
