//! The raft log as openraft wants it, over the log of `quorate-store`. It does not know files or syncs, nor what an entry
//! does.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::Stream;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_core::ids::NamespaceId;
use quorate_store::Log;
use quorate_store::log::Callback;
use tokio::sync::oneshot;

use crate::codec::{self, rotten};
use crate::recent::Recent;
use crate::types::{LogId, Payload, RaftEntry, RaftPayload, TypeConfig, Vote, log_id, position};

/// Called when the first vote of a member is on the disk and nobody has heard of it yet, hence before the member has promised
/// anything to others: where this was called and there is no vote, the log was lost. What it notes must be durable when it
/// returns; after an error, the member stops.
pub type OnFirstVote = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Bytes of payload that one read of the log brings into memory.
const READ_BYTES_MAX: u64 = 4 << 20;

/// The log of one namespace. Cheap to clone; also openraft's reader of it.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Arc<Log>,
    namespace: NamespaceId,
    recent: Arc<Mutex<Recent>>,
    on_first_vote: Option<OnFirstVote>,
}

impl LogStore {
    pub(crate) fn new(log: Arc<Log>, namespace: NamespaceId) -> Self {
        Self { log, namespace, recent: Arc::default(), on_first_vote: None }
    }

    /// The same, of a member that notes elsewhere that it takes part.
    pub(crate) fn noting(self, on_first_vote: Option<OnFirstVote>) -> Self {
        Self { on_first_vote, ..self }
    }

    /// What this member has proposed and not yet applied, decoded.
    pub(crate) fn recent(&self) -> Arc<Mutex<Recent>> {
        Arc::clone(&self.recent)
    }

    fn lock_recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first entries of `from..to`, some of them, at least one if there is one.
    fn read_some(&self, from: u64, to: u64) -> io::Result<Vec<RaftEntry>> {
        let records = self.log.read_up_to(self.namespace.0, from..to, READ_BYTES_MAX)?;
        let recent = self.lock_recent();
        let mut entries = Vec::with_capacity(records.len());
        for (index, bytes) in records {
            let mut entry = codec::read_record(index, bytes).map_err(rotten)?;
            if let RaftPayload::Normal(payload) = &mut entry.payload {
                payload.entry = recent.get(position(&entry.log_id));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The entries of `from..to`, read piece by piece as they are asked for.
    fn pieces(&self, from: u64, to: u64) -> Pieces {
        let read = Vec::new().into_iter();
        Pieces { store: self.clone(), next: from, to, is_begun: false, read }
    }
}

/// Those entries of a range that the log has, in order; it may lack some at the range's ends. An error ends it.
struct Pieces {
    store: LogStore,
    next: u64,
    to: u64,
    /// Whether one was given: from there on, none may be missing.
    is_begun: bool,
    read: std::vec::IntoIter<RaftEntry>,
}

impl Iterator for Pieces {
    type Item = io::Result<RaftEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.len() == 0 && self.next < self.to {
            match self.store.read_some(self.next, self.to) {
                Ok(read) => self.read = read.into_iter(),
                Err(error) => {
                    self.to = self.next;
                    return Some(Err(error));
                }
            }
        }
        let entry = self.read.next()?;
        let index = entry.log_id.index;
        if self.is_begun && index != self.next {
            self.to = self.next;
            self.read = Vec::new().into_iter();
            let cause = format!("the log has entry {index} where {} should come", self.next);
            return Some(Err(io::Error::new(io::ErrorKind::InvalidData, cause)));
        }
        self.is_begun = true;
        self.next = index + 1;
        Some(Ok(entry))
    }
}

/// `from..to` of any range.
fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// Waits until a change is on the disk.
async fn durable(change: impl FnOnce(Callback) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = oneshot::channel();
    change(Box::new(move |result| {
        // Nobody waits any more if openraft is being shut down.
        let _received = sender.send(result);
    }))?;
    let ended = || Err(io::Error::other("the log has ended"));
    receiver.await.unwrap_or_else(|_| ended())
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = ends(&range);
        let mut entries = self.read_some(from, to)?;
        while let Some(last) = entries.last() {
            let next = last.log_id.index + 1;
            let more = if next < to { self.read_some(next, to)? } else { Vec::new() };
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.log.state(self.namespace.0).vote;
        vote.map(|bytes| codec::read_vote(bytes).map_err(rotten)).transpose()
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        self.read_some(start, end)
    }

    /// What is applied is read in pieces: a replay of a long log does not come into memory at once.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = ends(&range);
        futures::stream::iter(self.pieces(from, to))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.log.state(self.namespace.0);
        let purged = match state.purged {
            None => None,
            Some((_, bytes)) => Some(log_id(codec::read_place(bytes).map_err(rotten)?)),
        };
        let last = match state.last {
            None => purged,
            Some(index) => Some(self.log_id_at(index)?),
        };
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let note = self.on_first_vote.clone().filter(|_| !self.has_vote());
        let bytes = codec::vote(vote);
        durable(|callback| self.log.save_vote(self.namespace.0, bytes, callback)).await?;
        // Waits for the disk on a worker, once in the life of a directory.
        note.map_or(Ok(()), |note| note())
    }

    /// Not durable before the next sync of something else: after a crash an older one is there, and openraft learns the
    /// rest from the leader, or from its own blank entry if it leads (DESIGN D13).
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            None => Ok(()),
            Some(at) => self.log.save_committed(self.namespace.0, codec::place(position(&at))),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let committed = self.log.state(self.namespace.0).committed;
        let place = committed.map(|bytes| codec::read_place(bytes).map_err(rotten)).transpose()?;
        Ok(place.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records: Vec<(u64, Bytes)> = Vec::new();
        {
            let mut recent = self.lock_recent();
            for entry in entries {
                records.push((entry.log_id.index, codec::record(&entry)));
                if let RaftPayload::Normal(Payload { bytes, entry: Some(decoded) }) = entry.payload
                {
                    recent.insert(position(&entry.log_id), decoded, bytes.len());
                }
            }
        }
        let flushed: Callback = Box::new(move |result| callback.io_completed(result));
        self.log.append(self.namespace.0, records, flushed)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let after = last.map(|last| last.index);
        self.lock_recent().forget_from(after.map_or(0, |after| after.saturating_add(1)));
        durable(|callback| self.log.truncate_after(self.namespace.0, after, callback)).await
    }

    /// Does not wait for the disk: entries that a crash brings back are purged again later.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let place = codec::place(position(&upto));
        let done: Callback = Box::new(|result| {
            if let Err(error) = result {
                tracing::error!(%error, "the log could not be purged");
            }
        });
        self.log.purge(self.namespace.0, upto.index, place, done)
    }
}

impl LogStore {
    /// Whether a vote was ever saved: it is, before the first entry.
    pub(crate) fn has_vote(&self) -> bool {
        self.log.state(self.namespace.0).vote.is_some()
    }

    /// The vote, and the last index that is or was in the log.
    pub(crate) fn promised(&self) -> io::Result<(Option<Vote>, Option<u64>)> {
        let state = self.log.state(self.namespace.0);
        let vote = state.vote.map(|bytes| codec::read_vote(bytes).map_err(rotten)).transpose()?;
        Ok((vote, state.last.max(state.purged.map(|(index, _)| index))))
    }

    /// Brings the log up to the tree: where an installed snapshot stands behind all of it, nothing of it counts any more.
    /// The process may have ended after the installation and before openraft's purge. openraft looks for that itself,
    /// but compares terms before indexes: an entry of a leader that never had a quorum may have a higher term than the
    /// snapshot.
    ///
    /// # Errors
    /// Of the disk; `InvalidData` where the log has another entry at the tree's place.
    pub(crate) async fn fit(&self, applied: LogId) -> io::Result<()> {
        let state = self.log.state(self.namespace.0);
        let purged = state.purged.map(|(index, _)| index);
        if state.last.max(purged).is_some_and(|end| end >= applied.index) {
            let is_there = state.last.is_some_and(|last| last >= applied.index)
                && purged.is_none_or(|purged| purged < applied.index);
            if is_there && self.log_id_at(applied.index)? != applied {
                let cause = format!("the log has another entry {} than the tree", applied.index);
                return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
            }
            return Ok(());
        }
        let place = codec::place(position(&applied));
        durable(|callback| self.log.purge(self.namespace.0, applied.index, place, callback)).await
    }

    fn log_id_at(&self, index: u64) -> io::Result<LogId> {
        let mut found = self.log.read(self.namespace.0, index..index.saturating_add(1))?;
        let (index, bytes) = found.pop().ok_or_else(|| {
            let cause = format!("the log has lost its last entry, {index}");
            io::Error::new(io::ErrorKind::NotFound, cause)
        })?;
        let term = codec::read_record_term(bytes).map_err(rotten)?;
        Ok(log_id(crate::position::Position { term, index }))
    }
}

#[cfg(test)]
mod tests {
    use quorate_store::LogOptions;

    use super::*;

    #[tokio::test]
    async fn a_first_vote_is_on_the_disk_when_it_is_noted_and_counts_only_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let fatal = Box::new(|error: &io::Error| panic!("{error}"));
        let log = Log::open(directory.path(), LogOptions::default(), fatal).expect("a log");
        let store = LogStore::new(Arc::new(log), NamespaceId::DEFAULT);
        let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
        let note: OnFirstVote = {
            let (seen, store) = (Arc::clone(&seen), store.clone());
            Arc::new(move || {
                seen.lock().expect("sound").push(store.has_vote());
                Err(io::Error::other("it can not be noted"))
            })
        };
        let mut noting = store.noting(Some(note));
        assert!(noting.save_vote(&Vote::new(1, 1)).await.is_err(), "nobody may hear of it");
        assert_eq!(*seen.lock().expect("sound"), [true]);
        assert!(noting.save_vote(&Vote::new(2, 1)).await.is_ok());
        assert_eq!(seen.lock().expect("sound").len(), 1, "it is not the first one");
    }
}
