//! A member's disk: what is on it for certain, what has only been written, and what a crash makes of the two. It outlives
//! the process. It knows neither raft's rules nor what entries do.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::process::{Process, world_sleep};
use crate::raft::types::{LogId, RaftEntry, StoredMembership, Vote};
use crate::random::Random;
use crate::signal::Signal;

/// The log and what raft keeps beside it.
#[derive(Debug, Clone, Default)]
pub struct LogRecords {
    /// Entries by their index.
    pub entries: BTreeMap<u64, RaftEntry>,
    /// The last vote.
    pub vote: Option<Vote>,
    /// What is known to be committed.
    pub committed: Option<LogId>,
    /// The last entry that is gone.
    pub purged: Option<LogId>,
}

/// One record of the log's files.
#[derive(Debug, Clone)]
pub enum Record {
    /// Entries at the end.
    Append(Vec<RaftEntry>),
    /// Nothing behind this index.
    Truncate(Option<u64>),
    /// A vote.
    Vote(Vote),
    /// What is committed.
    Committed(LogId),
    /// Nothing up to here.
    Purge(LogId),
}

impl LogRecords {
    fn write(&mut self, record: &Record) {
        match record {
            Record::Append(entries) => {
                for entry in entries {
                    self.entries.insert(entry.log_id.index, entry.clone());
                }
            }
            Record::Truncate(after) => {
                let from = after.map_or(0, |after| after + 1);
                drop(self.entries.split_off(&from));
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(at) => self.committed = Some(*at),
            Record::Purge(upto) => {
                self.entries = self.entries.split_off(&(upto.index + 1));
                self.purged = self.purged.max(Some(*upto));
            }
        }
    }
}

/// The tree as it was flushed last, with its place in the log.
#[derive(Debug, Clone, Default)]
pub struct TreeImage {
    /// Its records.
    pub records: BTreeMap<Bytes, Bytes>,
    /// The last entry that it has applied.
    pub applied: Option<LogId>,
    /// The last membership that it has applied.
    pub membership: StoredMembership,
    /// Which flush of its disk it is.
    pub flush: u64,
}

/// A tree that has arrived in part. Written without a sync: a crash leaves a beginning of it.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Names the stream that it is of.
    pub stream: (u64, u64),
    /// The pieces that are there.
    pub pieces: Vec<Piece>,
}

/// Records of a tree, in the order of their keys.
pub type Piece = Rc<[(Bytes, Bytes)]>;

type Callback = Box<dyn FnOnce()>;

/// A disk.
pub struct Disk {
    random: Random,
    /// What a crash leaves in any case.
    durable: RefCell<LogRecords>,
    /// What the running process sees.
    written: RefCell<LogRecords>,
    /// Records of `written` that `durable` lacks, and who waits for them.
    unsynced: RefCell<VecDeque<(Record, Option<Callback>)>>,
    /// Rung when something that somebody waits for was written.
    work: Signal,
    image: RefCell<Rc<TreeImage>>,
    /// What has arrived of a tree; none if there is nothing.
    pub part: RefCell<Option<Part>>,
    /// The next sync fails.
    pub is_failing: Cell<bool>,
    /// Rung when a vote was written.
    pub voted: Signal,
    /// Milliseconds that a sync may take.
    pub sync_ms_max: Cell<u64>,
    /// Records that crashes took, in all.
    pub lost_records: Cell<u64>,
}

impl Disk {
    /// An empty one, whose tree begins with these records.
    #[must_use]
    pub fn new(random: Random, image: TreeImage) -> Rc<Self> {
        Rc::new(Self {
            random,
            durable: RefCell::default(),
            written: RefCell::default(),
            unsynced: RefCell::default(),
            work: Signal::default(),
            image: RefCell::new(Rc::new(image)),
            part: RefCell::default(),
            is_failing: Cell::new(false),
            voted: Signal::default(),
            sync_ms_max: Cell::new(1),
            lost_records: Cell::new(0),
        })
    }

    /// What the running process reads.
    pub fn read<T>(&self, read: impl FnOnce(&LogRecords) -> T) -> T {
        read(&self.written.borrow())
    }

    /// Writes a record. `done` is called when it can not be lost any more; records without it are synced with others.
    pub fn write(&self, record: Record, done: Option<Callback>) {
        self.written.borrow_mut().write(&record);
        if matches!(record, Record::Vote(_)) {
            self.voted.ring();
        }
        let is_waited_for = done.is_some();
        self.unsynced.borrow_mut().push_back((record, done));
        if is_waited_for {
            self.work.ring();
        }
    }

    /// The tree as it was flushed last.
    #[must_use]
    pub fn image(&self) -> Rc<TreeImage> {
        self.image.borrow().clone()
    }

    /// The tree is flushed: all of it at once.
    pub fn flush(&self, image: TreeImage) {
        let flush = self.image.borrow().flush + 1;
        self.image.replace(Rc::new(TreeImage { flush, ..image }));
    }

    /// Whether syncs take as long as they should.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.sync_ms_max.get() <= 1
    }

    /// How long the next sync takes.
    fn sync_time(&self) -> Duration {
        let most_us = if self.random.one_in(16) { 1_000 * self.sync_ms_max.get() } else { 400 };
        Duration::from_micros(50 + self.random.below(most_us))
    }

    /// The thread that syncs, one sync for all that has queued, until the process dies or a sync fails; false then.
    pub async fn sync_all(self: Rc<Self>) {
        let mut seen = 0;
        loop {
            self.work.after(seen).await;
            seen = self.work.count();
            while self.unsynced.borrow().iter().any(|(_, done)| done.is_some()) {
                let count = self.unsynced.borrow().len();
                world_sleep(self.sync_time()).await;
                if self.is_failing.get() {
                    return;
                }
                for _ in 0..count {
                    let Some((record, done)) = self.unsynced.borrow_mut().pop_front() else {
                        break;
                    };
                    self.durable.borrow_mut().write(&record);
                    if let Some(done) = done {
                        done();
                    }
                }
            }
        }
    }

    /// The process is gone, and with it the machine's memory: of what was not synced, a part from the beginning may have
    /// reached the disk, its last record torn and hence nothing.
    pub fn crash(&self, process: &Rc<Process>) {
        assert!(!process.is_alive(), "a disk outlives its process");
        let unsynced = std::mem::take(&mut *self.unsynced.borrow_mut());
        let kept =
            if self.random.one_in(2) { self.random.below(unsynced.len() as u64 + 1) } else { 0 };
        let mut durable = self.durable.borrow_mut();
        for (at, (record, _)) in (0u64..).zip(&unsynced) {
            if at < kept {
                durable.write(record);
                continue;
            }
            self.lost_records.set(self.lost_records.get() + 1);
            if let (true, Record::Append(entries)) = (at == kept && kept > 0, record) {
                // Of the record at which it broke off, the entries in front may be whole.
                let whole = self.random.below(entries.len() as u64);
                let whole = usize::try_from(whole).unwrap_or(0);
                durable.write(&Record::Append(entries.iter().take(whole).cloned().collect()));
            }
        }
        *self.written.borrow_mut() = durable.clone();
        if let Some(part) = self.part.borrow_mut().as_mut() {
            let left = self.random.below(part.pieces.len() as u64 + 1);
            part.pieces.truncate(usize::try_from(left).unwrap_or(0));
        }
        self.is_failing.set(false);
    }
}
