//! A checkpoint as a stream: the same bytes at each reading, from any offset. It does not know who reads it, nor when it
//! goes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_core::draft::Meta;
use quorate_core::ids::NamespaceId;
use quorate_core::key as core_key;
use quorate_store::{Checkpoint, CheckpointRecords};
use quorate_wire::snapshot::{Encoder, Head};

use super::{Identity, head, unsound};
use crate::codec::rotten;
use crate::namespace::{END, RaftRecord, key, raft_key, tail};
use crate::position::Position;
use crate::standing::Standing;
use crate::types::{SnapshotMeta, position};

/// Bytes of stream between two places of which it is remembered where they are in the tree: a reading from the middle reads
/// so much at most in vain, and a tree of 100 GiB needs some MiB for them.
const MARK_EVERY_BYTES: u64 = 4 << 20;

/// A snapshot that can be sent: it stands at one place, which is what [`Outgoing::meta`] says, and does not change. Its
/// checkpoint stays on the disk while somebody holds this.
pub struct Outgoing {
    identity: Identity,
    namespace: NamespaceId,
    standing: Standing,
    head: Head,
    meta: Meta,
    checkpoint: Checkpoint,
    /// Ascending; found while reading.
    marks: Mutex<Vec<Mark>>,
}

/// The begin of a block.
#[derive(Clone)]
struct Mark {
    offset: u64,
    /// The key of the last record before it; empty: none.
    last_key: Bytes,
    /// Records before it.
    count: u64,
}

impl Outgoing {
    /// Of a checkpoint of a member's whole tree.
    pub(super) fn of(
        checkpoint: Checkpoint,
        namespace: NamespaceId,
        identity: Identity,
    ) -> io::Result<Self> {
        let applied = checkpoint.get(&raft_key(namespace, RaftRecord::Applied))?;
        let membership = checkpoint.get(&raft_key(namespace, RaftRecord::Membership))?;
        let is_applied = |wanted: &[u8]| *wanted == raft_key(namespace, RaftRecord::Applied)[..];
        let get = |key: &[u8]| if is_applied(key) { applied.clone() } else { membership.clone() };
        let standing = Standing::get(get, namespace)?;
        let meta = match checkpoint.get(&key(namespace, &core_key::meta()))? {
            None => Meta::default(),
            Some(bytes) => Meta::decode(bytes).map_err(rotten)?,
        };
        let head = head(&standing, namespace);
        let begin = Encoder::head(&head).len() as u64;
        let first = Mark { offset: begin, last_key: Bytes::new(), count: 0 };
        let marks = Mutex::new(vec![first]);
        Ok(Self { identity, namespace, standing, head, meta, checkpoint, marks })
    }

    /// The name of this stream.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The last entry that is in it.
    #[must_use]
    pub fn place(&self) -> Option<Position> {
        self.standing.applied.as_ref().map(position)
    }

    /// Where its tree stands.
    #[must_use]
    pub fn tree_meta(&self) -> Meta {
        self.meta
    }

    /// As openraft names it.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        self.standing.meta()
    }

    /// Reads the stream from this offset. Blocks: up to [`MARK_EVERY_BYTES`] behind what was read before are read in vain,
    /// everything before the offset where nobody has read yet.
    ///
    /// # Errors
    /// Of the disk; `InvalidInput` for an offset behind the end.
    pub fn reader(self: &Arc<Self>, offset: u64) -> io::Result<OutgoingReader> {
        let mark = {
            let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            let next = marks.partition_point(|mark| mark.offset <= offset);
            next.checked_sub(1).and_then(|at| marks.get(at)).cloned()
        };
        let mut reader = match mark {
            None => OutgoingReader::begin(Arc::clone(self)),
            Some(mark) => OutgoingReader::at(Arc::clone(self), mark),
        };
        reader.skip_to(offset)?;
        Ok(reader)
    }

    fn records_after(&self, last_key: &[u8]) -> CheckpointRecords {
        let from = if last_key.is_empty() { Bytes::new() } else { core_key::after(last_key) };
        self.checkpoint.records(&key(self.namespace, &from), &key(self.namespace, END))
    }

    fn remember(&self, mark: Mark) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.last().is_none_or(|last| mark.offset >= last.offset + MARK_EVERY_BYTES) {
            marks.push(mark);
        }
    }
}

/// One reading of a stream.
pub struct OutgoingReader {
    outgoing: Arc<Outgoing>,
    records: CheckpointRecords,
    /// None: the end has been made.
    encoder: Option<Encoder>,
    /// Made and not yet given.
    pending: Bytes,
    /// Of the first byte of `pending`.
    offset: u64,
}

impl OutgoingReader {
    fn begin(outgoing: Arc<Outgoing>) -> Self {
        let pending = Encoder::head(&outgoing.head);
        let records = outgoing.records_after(&[]);
        Self { outgoing, records, encoder: Some(Encoder::after(0)), pending, offset: 0 }
    }

    fn at(outgoing: Arc<Outgoing>, mark: Mark) -> Self {
        let records = outgoing.records_after(&mark.last_key);
        let encoder = Some(Encoder::after(mark.count));
        Self { outgoing, records, encoder, pending: Bytes::new(), offset: mark.offset }
    }

    /// The offset of what comes next.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next bytes, at most so many; none at the end. Blocks.
    ///
    /// # Errors
    /// Of the disk, after which nothing more is to be read from this.
    pub fn read(&mut self, bytes_max: usize) -> io::Result<Bytes> {
        if self.pending.is_empty() {
            self.next_block()?;
        }
        let piece = self.pending.split_to(bytes_max.min(self.pending.len()));
        self.offset += piece.len() as u64;
        Ok(piece)
    }

    fn next_block(&mut self) -> io::Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        for record in self.records.by_ref() {
            let (key, value) = record?;
            let key = tail(&key);
            if let Some(block) = encoder.push(&key, &value).map_err(unsound)? {
                let (offset, count) = (self.offset + block.len() as u64, encoder.count());
                self.outgoing.remember(Mark { offset, last_key: key, count });
                self.pending = block;
                return Ok(());
            }
        }
        if let Some(encoder) = self.encoder.take() {
            self.pending = encoder.finish(&self.outgoing.head, self.outgoing.meta);
        }
        Ok(())
    }

    fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        while self.offset < offset {
            let left = usize::try_from(offset - self.offset).unwrap_or(usize::MAX);
            if self.read(left)?.is_empty() {
                let cause = format!("the snapshot ends before byte {offset}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
            }
        }
        Ok(())
    }
}
