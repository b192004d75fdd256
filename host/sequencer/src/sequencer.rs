//! The step: takes inputs, executes what waits, closes batches and hands them out to be proposed.
//!
//! Order of execution is order of proposal. Whatever goes wrong with one proposal, all that was executed ahead is
//! dropped and a new epoch is opened by a barrier: once that is applied, nothing of an earlier epoch can take effect any
//! more (DESIGN D1). No answer leaves before everything that it could have been based on has been applied (D2).

mod admission;
mod execution;
mod housekeeping;
mod queue;

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::draft::{ReadRecords, View};
use quorate_core::ids::{CallId, Epoch, Millis, Zxid};
use quorate_core::key;
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_core::recipe::Recipes;
use quorate_core::request::Class;
use quorate_core::transaction::{Entry, EntryBody, Transaction};

use crate::liveness::Liveness;
use crate::parked::ParkedCalls;
use crate::port::{Input, Leadership, Now, Output, Submission};
use crate::room::Disks;
use queue::{Queue, Work};

/// Milliseconds before a refused barrier is tried again.
const BARRIER_RETRY_MS: u64 = 50;
/// Recipe runs of one step: a run may take 100 ms and more, and no input is heard while a step lasts.
const STEP_RUNS_MAX: usize = 64;
/// Milliseconds for which an open batch is filled over several steps before it is proposed.
const BATCH_MS_MAX: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not the leader.
    Following,
    /// The barrier is proposed.
    Opening(Leadership),
    /// The barrier was refused and is tried again at this monotonic time.
    Retrying(Leadership, u64),
    /// Executing.
    Ready(Leadership),
}

/// A batch that is being filled.
struct OpenBatch {
    number: u64,
    base: Zxid,
    transactions: Vec<Transaction>,
    bytes: usize,
    /// When its first transaction was executed, in monotonic milliseconds.
    since_ms: u64,
}

/// An activation that waits until the calls whose type it changes have ended.
struct Activation {
    submission: Submission,
    calls: VecDeque<CallId>,
}

struct InFlight {
    batch: u64,
    last: Zxid,
}

/// The leader's execution.
pub struct Sequencer {
    recipes: Box<dyn Recipes + Send>,
    base: SharedRead,
    stage: Stage,
    epoch: Epoch,
    /// Always there but for the moment in which a transaction holds it.
    view: Option<View>,
    /// The last executed transaction and its time.
    zxid: Zxid,
    time: Millis,
    applied: Zxid,
    open: OpenBatch,
    in_flight: VecDeque<InFlight>,
    queue: Queue,
    activation: Option<Activation>,
    parked: ParkedCalls,
    liveness: Liveness,
    disks: Disks,
    /// What every member has said that it knows, and under which leadership.
    known: Option<(Leadership, Level)>,
    /// Answers that wait until this transaction has been applied, in order.
    held: VecDeque<(Zxid, Output)>,
    outputs: VecDeque<Output>,
    wake_turn: bool,
    looks: housekeeping::Looks,
    /// Recipe runs that this step may still make.
    runs_left: usize,
    /// When the last step left work undone, in monotonic milliseconds.
    unfinished_ms: Option<u64>,
}

impl Sequencer {
    /// Over this applied tree, with these recipes. Follows until it is told to lead.
    #[must_use]
    pub fn new(base: SharedRead, recipes: Box<dyn Recipes + Send>) -> Self {
        Self {
            recipes,
            view: Some(View::new(base.clone())),
            base,
            stage: Stage::Following,
            epoch: Epoch(0),
            zxid: Zxid(0),
            time: Millis(0),
            applied: Zxid(0),
            open: OpenBatch {
                number: 1,
                base: Zxid(0),
                transactions: Vec::new(),
                bytes: 0,
                since_ms: 0,
            },
            in_flight: VecDeque::new(),
            queue: Queue::default(),
            activation: None,
            parked: ParkedCalls::default(),
            liveness: Liveness::default(),
            disks: Disks::default(),
            known: None,
            held: VecDeque::new(),
            outputs: VecDeque::new(),
            wake_turn: false,
            looks: housekeeping::Looks::default(),
            runs_left: 0,
            unfinished_ms: None,
        }
    }

    /// Whether an epoch is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Calls that wait.
    #[must_use]
    pub fn parked_count(&self) -> usize {
        self.parked.count()
    }

    /// Records that were written ahead of what is reported applied: 0 at rest.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.view.as_ref().map_or(0, View::dirty_count)
    }

    /// Requests that wait to be executed.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        self.queue.len()
    }

    /// Takes an input. Nothing is executed before the next [`Sequencer::step`].
    pub fn handle(&mut self, input: Input, now: Now) {
        // A stall is noticed by whatever comes first after it, before that counts as a sign of life.
        self.liveness.tick(now.monotonic_ms);
        match input {
            Input::Lead(leadership) => {
                if let Some(room) = self.disks.lead(now.monotonic_ms) {
                    self.view().set_room(room);
                }
                let meta = self.base.meta();
                // Epochs do not repeat in the life of a sequencer, whatever the term: an answer that comes late is
                // never taken for one to a later proposal.
                if meta.term == leadership.term {
                    self.epoch = self.epoch.max(meta.epoch);
                }
                self.open_epoch(leadership);
            }
            Input::Follow => {
                self.drop_everything();
                self.disks.follow();
                self.stage = Stage::Following;
            }
            Input::Submit(submission) => self.enqueue(submission, now),
            Input::OpenSession { token, timeout_ms, secret_hash, principal } => {
                let work = Work::OpenSession { token, timeout_ms, secret_hash, principal };
                if self.is_ready() {
                    if let Some(refusal) = self.overloaded(Class::Ordinary) {
                        let session = Err(refusal);
                        self.outputs.push_back(Output::SessionOpened { token, session });
                    } else {
                        self.queue.push_back(work);
                    }
                }
            }
            Input::Heartbeat { token, session } => {
                if self.is_ready() {
                    let is_live = self.liveness.heard(session, now.monotonic_ms);
                    let confirmed = Output::HeartbeatConfirmed { token, session, is_live };
                    if is_live { self.outputs.push_back(confirmed) } else { self.hold(confirmed) }
                }
            }
            Input::Voters(voters) => self.disks.set_voters(voters),
            Input::Disk { member, free_bytes, reserve } => {
                let now_ms = now.monotonic_ms;
                if let Some(room) = self.disks.report(member, free_bytes, reserve, now_ms) {
                    self.view().set_room(room);
                }
            }
            Input::MembersKnow { leadership, level } => self.known = Some((leadership, level)),
            Input::Applied { epoch, batch } if epoch == self.epoch => {
                self.handle_applied(batch, now)
            }
            Input::Refused { epoch, .. } if epoch == self.epoch => self.handle_refused(now),
            // Of an epoch that has been dropped: the barrier has settled it.
            Input::Applied { .. } | Input::Refused { .. } => {}
        }
    }

    /// Executes what waits, as far as the pipeline has room.
    pub fn step(&mut self, now: Now) {
        self.liveness.tick(now.monotonic_ms);
        if let Stage::Retrying(leadership, at) = self.stage
            && now.monotonic_ms >= at
        {
            self.open_epoch(leadership);
        }
        let Stage::Ready(leadership) = self.stage else { return };
        if !self.is_ours(leadership) {
            self.be_superseded();
            return;
        }
        self.time = self.time.max(now.wall);
        self.time = self.parked.wake_for_time(now.monotonic_ms, self.time);
        self.raise_level(leadership, now);
        self.keep_house(now);
        self.execute_waiting(now);
    }

    fn execute_waiting(&mut self, now: Now) {
        self.runs_left = STEP_RUNS_MAX;
        self.unfinished_ms = None;
        loop {
            while !self.batch_is_full() && self.runs_left > 0 && self.execute_one(now) {}
            let has_more = self.runs_left == 0 && !self.batch_is_full() && self.has_work();
            let is_young = now.monotonic_ms < self.open.since_ms + BATCH_MS_MAX;
            if self.open.transactions.is_empty()
                || !self.may_close_batch()
                || (has_more && is_young)
            {
                self.unfinished_ms = has_more.then_some(now.monotonic_ms);
                return;
            }
            self.close_batch();
        }
    }

    fn has_work(&self) -> bool {
        self.parked.has_wakes() || self.activation.is_some() || !self.queue.is_empty()
    }

    /// The next thing to do for the wrapper. To be asked until there is none, after every `handle` and `step`.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next step is due without an input, in monotonic milliseconds: at once, if the last one left work undone
    /// so that inputs can be heard in between. Sessions are looked at with every step: the
    /// wrapper steps several times a second in any case.
    #[must_use]
    pub fn next_timer_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Retrying(_, at) => Some(at),
            _ => self.unfinished_ms.or_else(|| self.parked.next_timer_ms()),
        }
    }

    fn open_epoch(&mut self, leadership: Leadership) {
        self.drop_everything();
        self.epoch = self.epoch.next();
        self.stage = Stage::Opening(leadership);
        let entry = Entry { term: leadership.term, epoch: self.epoch, body: EntryBody::Barrier };
        self.outputs.push_back(Output::Propose {
            epoch: self.epoch,
            batch: 0,
            entry: Arc::new(entry),
        });
    }

    /// Drops the overlay, the parked table, the queue and the reused instances.
    fn drop_everything(&mut self) {
        self.view().reset();
        self.open.transactions.clear();
        self.open.bytes = 0;
        self.in_flight.clear();
        self.queue.clear();
        self.activation = None;
        self.unfinished_ms = None;
        self.held.clear();
        self.parked.clear();
        self.liveness.clear();
        self.recipes.reset();
    }

    fn view(&mut self) -> &mut View {
        self.view.as_mut().expect("the view is out only while a transaction is executed")
    }

    /// Whether the applied tree is still the one that this epoch executes on.
    fn is_ours(&self, leadership: Leadership) -> bool {
        let meta = self.base.meta();
        (meta.term, meta.epoch) == (leadership.term, self.epoch)
    }

    /// The tree has taken the barrier of another leader, and this member has not been told yet that it follows.
    fn be_superseded(&mut self) {
        tracing::info!(epoch = self.epoch.0, "another leader's entries are applied: stopping");
        self.drop_everything();
        self.disks.follow();
        self.stage = Stage::Following;
    }

    fn handle_refused(&mut self, now: Now) {
        match self.stage {
            Stage::Ready(leadership) => {
                tracing::info!(
                    epoch = self.epoch.0,
                    "a proposal was refused: a new epoch is opened"
                );
                self.open_epoch(leadership);
            }
            Stage::Opening(leadership) => {
                self.stage = Stage::Retrying(leadership, now.monotonic_ms + BARRIER_RETRY_MS);
            }
            Stage::Retrying(..) | Stage::Following => {}
        }
    }

    fn handle_applied(&mut self, batch: u64, now: Now) {
        match self.stage {
            Stage::Opening(leadership) if batch == 0 => self.start(leadership, now),
            Stage::Ready(_) => {
                while self.in_flight.front().is_some_and(|first| first.batch <= batch) {
                    if let Some(done) = self.in_flight.pop_front() {
                        self.applied = done.last;
                    }
                }
                self.view().applied(batch);
                self.release_held();
            }
            _ => {}
        }
    }

    /// The barrier is applied: the tree is what all before it has made it, and nothing else can come.
    fn start(&mut self, leadership: Leadership, now: Now) {
        if !self.is_ours(leadership) {
            self.be_superseded();
            return;
        }
        let meta = self.base.meta();
        self.zxid = meta.zxid;
        self.applied = meta.zxid;
        self.time = meta.time.max(now.wall);
        self.open.number += 1;
        self.open.base = meta.zxid;
        self.liveness.tick(now.monotonic_ms);
        let (from, to) = key::sessions();
        for (key, _) in self.base.range(&from, &to, Direction::Forward) {
            let Some(id) = key::session_of(&key) else { continue };
            if let Some(session) = self.base.session(id).filter(|session| session.is_live()) {
                self.liveness.add(id, session.timeout_ms, now.monotonic_ms);
            }
        }
        self.stage = Stage::Ready(leadership);
        tracing::info!(
            term = leadership.term.0,
            epoch = self.epoch.0,
            zxid = self.zxid.0,
            "executing"
        );
        self.outputs.push_back(Output::Ready { epoch: self.epoch });
    }

    fn batch_is_full(&self) -> bool {
        self.open.transactions.len() >= limits::BATCH_TRANSACTIONS_MAX
            || self.open.bytes >= limits::BATCH_BYTES_MAX
    }

    /// Whether the pipeline has room for one more.
    fn may_close_batch(&self) -> bool {
        self.in_flight.len() < limits::BATCHES_IN_FLIGHT_MAX
    }

    fn close_batch(&mut self) {
        let Stage::Ready(leadership) = self.stage else { return };
        let transactions = std::mem::take(&mut self.open.transactions);
        let body = EntryBody::Batch { base: self.open.base, transactions };
        let entry = Entry { term: leadership.term, epoch: self.epoch, body };
        let batch = self.open.number;
        self.in_flight.push_back(InFlight { batch, last: self.zxid });
        self.outputs.push_back(Output::Propose {
            epoch: self.epoch,
            batch,
            entry: Arc::new(entry),
        });
        self.open.number += 1;
        self.open.base = self.zxid;
        self.open.bytes = 0;
    }
}
