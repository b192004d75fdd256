//! The raft log as openraft wants it, over the simulated disk. It does not know what an entry does.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;

use crate::mutant::{Mutant, Mutants};
use crate::raft::disk::{Disk, Record};
use crate::raft::types::{LogId, RaftEntry, TypeConfig, Vote};
use crate::random::Random;

/// The log of one member.
#[derive(Clone)]
pub struct LogStore {
    disk: SendWrapper<Rc<Disk>>,
    random: SendWrapper<Rc<Random>>,
    mutants: Mutants,
}

impl LogStore {
    /// Over this disk.
    #[must_use]
    pub fn new(disk: Rc<Disk>, random: Rc<Random>, mutants: Mutants) -> Self {
        Self { disk: SendWrapper::new(disk), random: SendWrapper::new(random), mutants }
    }

    fn range(&self, range: &impl RangeBounds<u64>) -> Vec<RaftEntry> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        if from >= to {
            return Vec::new();
        }
        self.disk.read(|log| log.entries.range(from..to).map(|(_, entry)| entry.clone()).collect())
    }
}

fn ended() -> io::Error {
    io::Error::other("the log has ended")
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        Ok(self.range(&range))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.disk.read(|log| log.vote))
    }

    /// Some of them, at least one if there is one: as a log does that reads by bytes.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        let mut entries = self.range(&(start..end));
        let most = usize::try_from(self.random.within(1, 16)).unwrap_or(1);
        entries.truncate(most);
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        Ok(self.disk.read(|log| LogState {
            last_purged_log_id: log.purged,
            last_log_id: log.entries.values().next_back().map(|entry| entry.log_id).or(log.purged),
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if self.mutants.has(Mutant::SkipVoteSync) {
            self.disk.write(Record::Vote(*vote), None);
            return Ok(());
        }
        self.durable(Record::Vote(*vote)).await
    }

    /// Not durable before the next sync of something else (DESIGN D13).
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(at) = committed {
            self.disk.write(Record::Committed(at), None);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.disk.read(|log| log.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let record = Record::Append(entries.into_iter().collect());
        if self.mutants.has(Mutant::SkipSync) {
            self.disk.write(record, None);
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.disk.write(record, Some(Box::new(move || callback.io_completed(Ok(())))));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.durable(Record::Truncate(last.map(|last| last.index))).await
    }

    /// Does not wait for the disk: entries that a crash brings back are purged again later.
    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.disk.write(Record::Purge(upto), None);
        Ok(())
    }
}

impl LogStore {
    async fn durable(&self, record: Record) -> io::Result<()> {
        let (sender, synced) = oneshot::channel();
        let done = move || {
            // Nobody waits any more if the process has died.
            let _heard = sender.send(());
        };
        self.disk.write(record, Some(Box::new(done)));
        synced.await.map_err(|_| ended())
    }
}
