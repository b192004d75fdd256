//! The thread that writes: takes what has queued, makes one write and one sync of it, tells the
//! callers. It owns the segment files and their life; the state that readers see is not its.
//!
//! The callbacks run on this thread, straight after the sync: one wake-up between the disk and who
//! waits for it, not two. They must not block.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::files::{Files, about, write_all_at};
use super::index::{Head, Location};
use super::queue::{Operation, Queued, Shared, Work};
use super::record::{Encoder, Kind, record_bytes};
use super::replay::{Life, Tail};
use super::segment::{self, Active};
use super::{FatalHandler, LogOptions};

/// The buffer of a batch is given back to the allocator when it has grown beyond this.
const BUFFER_KEPT_BYTES: usize = 4 << 20;

/// The owner of the files.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Arc<dyn Files>,
    pub(super) options: LogOptions,
    pub(super) active: Active,
    /// All segments, the active one last.
    pub(super) lives: Vec<Life>,
    pub(super) spares: Vec<String>,
    /// The facts as they are on the disk; what callers see may be ahead.
    pub(super) heads: BTreeMap<u32, Head>,
    pub(super) buffer: Vec<u8>,
}

/// An entry that has been placed by a batch.
struct Placed {
    namespace: u32,
    index: u64,
    sequence: u64,
    location: Location,
}

impl Writer {
    /// Works until the log is closed or fails. A failure, a panic included, reaches all callers and
    /// then `fatal`.
    pub(super) fn run(mut self, fatal: &FatalHandler) {
        let shared = Arc::clone(&self.shared);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work()));
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("the thread that writes the log has panicked"),
        };
        for queued in shared.fail(&error).queued {
            (queued.callback)(Err(copy(&error)));
        }
        fatal(&error);
    }

    fn work(&mut self) -> io::Result<()> {
        while let Some(work) = self.shared.take() {
            let written = self.write(&work);
            match &written {
                Ok(placed) => self.publish(placed),
                // Before the callbacks: nobody may see a refusal and then have another change taken.
                Err(error) => {
                    let later = self.shared.fail(error);
                    call_back(work.queued, Err(error));
                    call_back(later.queued, Err(error));
                    return Err(copy(error));
                }
            }
            let may_free = work.queued.iter().any(is_purge);
            call_back(work.queued, Ok(()));
            if may_free {
                self.free()?;
            }
        }
        Ok(())
    }

    /// Writes one batch and syncs it.
    fn write(&mut self, work: &Work) -> io::Result<Vec<Placed>> {
        let room = work_bytes(work);
        if room == 0 {
            return Ok(Vec::new());
        }
        if self.active.end + room + segment::seal_bytes() > self.active.capacity {
            self.rotate(room)?;
        }
        let placed = self.encode(work);
        let file = self.active.segment.file.as_ref();
        let written = write_all_at(file, &self.buffer, self.active.end).and_then(|()| file.sync());
        written.map_err(about(self.files.as_ref(), &segment::log_name(self.active.id)))?;
        self.active.end += self.buffer.len() as u64;
        self.active.batch += 1;
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer = Vec::new();
        }
        if let Some(life) = self.lives.last_mut() {
            for entry in &placed {
                let highest = life.highest.entry(entry.namespace).or_default();
                *highest = entry.index.max(*highest);
            }
        }
        Ok(placed)
    }

    /// Encodes one batch into the buffer and takes its facts into the heads.
    fn encode(&mut self, work: &Work) -> Vec<Placed> {
        let Active { id, segment, end, batch, .. } = &self.active;
        let mut encoder = Encoder::new(&mut self.buffer, segment.seed, *end, *batch);
        let mut placed = Vec::new();
        for Queued { namespace, operation, .. } in &work.queued {
            let (namespace, id) = (*namespace, *id);
            let head = self.heads.entry(namespace).or_default();
            match operation {
                Operation::Append(entries) => {
                    for entry in entries {
                        let index = entry.index;
                        let offset = encoder.push(Kind::Entry, namespace, index, &entry.payload);
                        let location = place(id, offset, entry.payload.len());
                        let sequence = entry.sequence;
                        placed.push(Placed { namespace, index, sequence, location });
                        head.next = Some(index + 1);
                    }
                }
                Operation::Vote(vote) => {
                    encoder.push(Kind::Vote, namespace, 0, vote);
                    head.vote = Some(vote.clone());
                }
                Operation::Truncate(after) => {
                    let kind = after.map_or(Kind::TruncateAll, |_| Kind::Truncate);
                    encoder.push(kind, namespace, after.unwrap_or(0), &[]);
                    head.truncate(*after);
                }
                Operation::Purge(upto, meta) => {
                    encoder.push(Kind::Purge, namespace, *upto, meta);
                    head.purge(*upto, meta.clone());
                }
            }
        }
        for (&namespace, committed) in &work.committed {
            encoder.push(Kind::Committed, namespace, 0, committed);
            self.heads.entry(namespace).or_default().committed = Some(committed.clone());
        }
        encoder.finish();
        placed
    }

    /// Seals the segment and begins the next one, with room for `room` bytes.
    fn rotate(&mut self, room: u64) -> io::Result<()> {
        let files = self.files.as_ref();
        let sealed = segment::seal(&self.active);
        sealed.map_err(about(files, &segment::log_name(self.active.id)))?;
        let id = self.active.id + 1;
        let room = room + segment::seal_bytes();
        let capacity = u64::from(self.options.segment_bytes);
        self.active = segment::create(files, &mut self.spares, id, &self.heads, (capacity, room))?;
        self.lives.push(Life { id, highest: BTreeMap::new() });
        self.shared.lock().segments.insert(id, self.active.segment.clone());
        Ok(())
    }

    /// Tells the readers where the entries of a batch lie now, and lets old ones leave memory.
    fn publish(&self, placed: &[Placed]) {
        let mut state = self.shared.lock();
        for entry in placed {
            if let Some(namespace) = state.namespaces.get_mut(&entry.namespace) {
                namespace.written(entry.index, entry.sequence, entry.location);
            }
        }
        state.evict(self.options.cache_bytes);
    }

    /// Recycles the oldest segments in which all is purged. The purges have been synced: without
    /// their records the segments behind would begin in the void.
    pub(super) fn free(&mut self) -> io::Result<()> {
        while self.lives.len() > 1 {
            let is_purged = |(namespace, highest): (&u32, &u64)| {
                self.heads.get(namespace).is_some_and(|head| head.is_purged(*highest))
            };
            if !self.lives[0].highest.iter().all(is_purged) {
                return Ok(());
            }
            let id = self.lives.remove(0).id;
            let name = segment::log_name(id);
            let removed = self.shared.lock().segments.remove(&id);
            // Who still reads in the file must not find another life in it: then it is removed, and
            // stays what it was for those who have it open.
            let is_read = removed.is_some_and(|segment| Arc::strong_count(&segment.file) > 1);
            let freed = if is_read || self.spares.len() >= self.options.spares_max {
                self.files.remove(&name)
            } else {
                let spare = segment::spare_name(id);
                let renamed = self.files.rename(&name, &spare);
                self.spares.push(spare);
                renamed
            };
            // One by one: what is left must be without gaps, whenever the power goes.
            let freed = freed.and_then(|()| self.files.sync());
            freed.map_err(about(self.files.as_ref(), &name))?;
        }
        Ok(())
    }

    /// Removes spare files beyond the number that is kept.
    pub(super) fn drop_spares(&mut self) -> io::Result<()> {
        while self.spares.len() > self.options.spares_max {
            if let Some(name) = self.spares.pop() {
                self.files.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Makes a segment that can be written out of what a replay has found at the end of the log.
    pub(super) fn begin(
        files: &dyn Files,
        options: &LogOptions,
        tail: Tail,
        spares: &mut Vec<String>,
        heads: &BTreeMap<u32, Head>,
    ) -> io::Result<Active> {
        let former = match tail {
            Tail::Clean(active) => return Ok(active),
            Tail::Torn(active) => {
                let file = active.segment.file.as_ref();
                let sealed = segment::seal(&active)
                    // A process that crashes in a loop must not fill the disk with empty segments.
                    .and_then(|()| file.cut(active.end + segment::seal_bytes()))
                    .and_then(|()| file.sync());
                sealed.map_err(about(files, &segment::log_name(active.id)))?;
                active.id
            }
            Tail::Sealed(id) => id,
            Tail::None => 0,
        };
        let capacity = u64::from(options.segment_bytes);
        segment::create(files, spares, former + 1, heads, (capacity, segment::seal_bytes()))
    }
}

fn is_purge(queued: &Queued) -> bool {
    matches!(queued.operation, Operation::Purge(..))
}

/// Bytes that the records of a batch take.
fn work_bytes(work: &Work) -> u64 {
    let record = |payload: &[u8]| {
        let payload_bytes = u32::try_from(payload.len()).expect("payloads are bounded at the door");
        u64::from(record_bytes(payload_bytes))
    };
    let operation = |queued: &Queued| match &queued.operation {
        Operation::Append(entries) => entries.iter().map(|entry| record(&entry.payload)).sum(),
        Operation::Vote(payload) | Operation::Purge(_, payload) => record(payload),
        Operation::Truncate(_) => record(&[]),
    };
    let queued: u64 = work.queued.iter().map(operation).sum();
    queued + work.committed.values().map(|id| record(id)).sum::<u64>()
}

fn place(segment: u64, offset: u64, payload_bytes: usize) -> Location {
    let offset = u32::try_from(offset).expect("a segment has at most 2^30 bytes");
    let payload_bytes = u32::try_from(payload_bytes).expect("payloads are bounded at the door");
    Location { segment, offset, payload_bytes }
}

/// Tells each caller, in the order of the calls.
fn call_back(queued: Vec<Queued>, outcome: Result<(), &io::Error>) {
    for queued in queued {
        (queued.callback)(outcome.map_err(copy));
    }
}

/// An error of the operating system for one more who waits.
fn copy(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
