//! The step: takes inputs, executes what waits, closes batches and hands them out to be proposed.
//!
//! Order of execution is order of proposal. Whatever goes wrong with one proposal, all that was executed ahead is
//! dropped and a new epoch is opened by a barrier: once that is applied, nothing of an earlier epoch can take effect any
//! more (DESIGN D1). No answer leaves before everything that it could have been based on has been applied (D2).

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::change::Change;
use quorate_core::draft::{ReadRecords, View};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute::{self, Executed};
use quorate_core::ids::{CallId, Epoch, Millis, SessionId, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_core::recipe::{Reason, Recipes};
use quorate_core::request::{Body, Call, Operation, Request};
use quorate_core::session::{Admission, KeptReply, Parked, admit};
use quorate_core::transaction::{Entry, EntryBody, Outcome, Transaction};
use quorate_core::txn::Slot;

use crate::liveness::Liveness;
use crate::parked::{ParkedAt, ParkedCalls, Woken};
use crate::port::{DirectAnswer, Input, Leadership, Now, Output, Submission, Token};

/// Milliseconds before a refused barrier is tried again.
const BARRIER_RETRY_MS: u64 = 50;
/// Milliseconds between two looks at the sessions that can be forgotten.
const FORGET_EVERY_MS: u64 = 1_000;
/// Sessions forgotten at one look: housekeeping must not fill a batch.
const FORGET_AT_ONCE: usize = 64;

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

enum Work {
    Submit(Submission),
    OpenSession { token: Token, timeout_ms: u64, secret_hash: [u8; 32], principal: String },
}

/// A batch that is being filled.
struct OpenBatch {
    number: u64,
    base: Zxid,
    transactions: Vec<Transaction>,
    bytes: usize,
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
    queue: VecDeque<Work>,
    parked: ParkedCalls,
    liveness: Liveness,
    /// Answers that wait until this transaction has been applied, in order.
    held: VecDeque<(Zxid, Output)>,
    outputs: VecDeque<Output>,
    wake_turn: bool,
    forget_at_ms: u64,
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
            open: OpenBatch { number: 1, base: Zxid(0), transactions: Vec::new(), bytes: 0 },
            in_flight: VecDeque::new(),
            queue: VecDeque::new(),
            parked: ParkedCalls::default(),
            liveness: Liveness::default(),
            held: VecDeque::new(),
            outputs: VecDeque::new(),
            wake_turn: false,
            forget_at_ms: 0,
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
        match input {
            Input::Lead(leadership) => {
                let meta = self.base.meta();
                self.epoch = if meta.term == leadership.term { meta.epoch } else { Epoch(0) };
                self.open_epoch(leadership);
            }
            Input::Follow => {
                self.drop_everything();
                self.stage = Stage::Following;
            }
            Input::Submit(submission) => self.enqueue(submission, now),
            Input::OpenSession { token, timeout_ms, secret_hash, principal } => {
                if self.is_ready() {
                    self.queue.push_back(Work::OpenSession {
                        token,
                        timeout_ms,
                        secret_hash,
                        principal,
                    });
                }
            }
            Input::Heartbeat { token, session } => {
                if self.is_ready() {
                    let is_live = self.liveness.heard(session, now.monotonic_ms);
                    let confirmed = Output::HeartbeatConfirmed { token, session, is_live };
                    if is_live { self.outputs.push_back(confirmed) } else { self.hold(confirmed) }
                }
            }
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
        if !self.is_ready() {
            return;
        }
        self.time = self.time.max(now.wall);
        self.parked.wake_for_time(now.monotonic_ms, self.time);
        self.expire_sessions(now);
        self.forget_sessions(now);
        loop {
            while !self.batch_is_full() && self.execute_one(now) {}
            if self.open.transactions.is_empty()
                || self.in_flight.len() >= limits::BATCHES_IN_FLIGHT_MAX
            {
                break;
            }
            self.close_batch();
        }
    }

    /// The next thing to do for the wrapper. To be asked until there is none, after every `handle` and `step`.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next step is due without an input, in monotonic milliseconds. Sessions are looked at with every step: the
    /// wrapper steps several times a second in any case.
    #[must_use]
    pub fn next_timer_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Retrying(_, at) => Some(at),
            _ => self.parked.next_timer_ms(),
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
        self.held.clear();
        self.parked.clear();
        self.liveness.clear();
        self.recipes.reset();
    }

    fn view(&mut self) -> &mut View {
        self.view.as_mut().expect("the view is out only while a transaction is executed")
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
        let meta = self.base.meta();
        assert_eq!(
            (meta.term, meta.epoch),
            (leadership.term, self.epoch),
            "the barrier opened another epoch"
        );
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

    fn enqueue(&mut self, submission: Submission, now: Now) {
        if !self.is_ready() {
            return;
        }
        self.liveness.heard(submission.request.session, now.monotonic_ms);
        if self.queue.len() >= limits::SEQUENCER_QUEUE_MAX {
            let message = format!("{} requests wait already; try again", self.queue.len());
            let refusal = Refusal::new(ErrorCode::Overloaded, message);
            self.outputs.push_back(answer(&submission, DirectAnswer::Refused(refusal)));
            return;
        }
        self.queue.push_back(Work::Submit(submission));
    }

    /// Lets an answer go when all that it may be based on has been applied.
    fn hold(&mut self, output: Output) {
        self.held.push_back((self.zxid, output));
        self.release_held();
    }

    fn release_held(&mut self) {
        while self.held.front().is_some_and(|(zxid, _)| *zxid <= self.applied) {
            if let Some((_, output)) = self.held.pop_front() {
                self.outputs.push_back(output);
            }
        }
    }

    fn batch_is_full(&self) -> bool {
        self.open.transactions.len() >= limits::BATCH_TRANSACTIONS_MAX
            || self.open.bytes >= limits::BATCH_BYTES_MAX
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

    fn slot(&self) -> Slot {
        Slot { zxid: self.zxid.next(), time: self.time, batch: self.open.number }
    }

    /// Executes one thing, a wake and a new request in turn. Whether there was one.
    fn execute_one(&mut self, now: Now) -> bool {
        self.wake_turn = !self.wake_turn;
        if (self.wake_turn || self.queue.is_empty())
            && let Some((id, woken)) = self.parked.poll_wake(now.monotonic_ms)
        {
            self.run_again(id, woken, now);
            return true;
        }
        match self.queue.pop_front() {
            Some(Work::Submit(submission)) => self.execute(&submission, now),
            Some(Work::OpenSession { token, timeout_ms, secret_hash, principal }) => {
                self.open_session(token, timeout_ms, secret_hash, principal, now);
            }
            None => return self.parked.has_wakes(),
        }
        true
    }

    fn execute(&mut self, submission: &Submission, now: Now) {
        let request = &submission.request;
        match admit(self.view(), request.session, request.write, request.hash, &request.acks) {
            Admission::Execute => self.execute_new(request, now),
            Admission::Kept(KeptReply { zxid, reply, .. }) => {
                self.hold(answer(submission, DirectAnswer::Kept { zxid, reply }));
            }
            Admission::Parked(parked) => self.join_parked(request, parked, now),
            Admission::Refused(refusal) => {
                self.hold(answer(submission, DirectAnswer::Refused(refusal)))
            }
        }
    }

    fn execute_new(&mut self, request: &Arc<Request>, now: Now) {
        let slot = self.slot();
        let view = self.take_view();
        let executed = execute::write(view, slot, request, self.recipes.as_mut());
        self.settle(request, executed, now);
        if let Body::Cancel(write) = request.body {
            self.parked.wake(CallId { session: request.session, write }, Reason::Cancelled);
        }
    }

    /// A parked call was sent again: its waiter is here, or was lost with an earlier epoch and runs now.
    fn join_parked(&mut self, request: &Arc<Request>, parked: Parked, now: Now) {
        let id = CallId { session: request.session, write: request.write };
        if self.parked.waiter(id).is_some() {
            return;
        }
        let is_over = parked.deadline.is_some_and(|deadline| deadline <= self.time);
        let reason = if is_over { Reason::TimedOut } else { Reason::Changed };
        self.rerun(request, &parked, reason, now);
    }

    fn run_again(&mut self, id: CallId, woken: Woken, now: Now) {
        let Some(waiter) = self.parked.waiter(id) else { return };
        let request = waiter.request.clone();
        let parked = waiter.parked.clone();
        match woken {
            Woken::For(reason) => self.rerun(&request, &parked, reason, now),
            Woken::TooOften => {
                let message = format!(
                    "the call was run more than {} times in a second, or {} times for nothing",
                    limits::WAKES_PER_SECOND_MAX,
                    limits::WAKES_WITHOUT_PROGRESS_MAX
                );
                let refusal = Refusal::new(ErrorCode::WokenTooOften, message);
                let slot = self.slot();
                let view = self.take_view();
                let executed = execute::end_parked(view, slot, &request, refusal);
                self.settle(&request, executed, now);
            }
        }
    }

    fn rerun(&mut self, request: &Arc<Request>, parked: &Parked, reason: Reason, now: Now) {
        let Some(call) = call_of(request) else { return };
        let slot = self.slot();
        let view = self.take_view();
        let executed =
            execute::rerun(view, slot, request, call, parked, reason, self.recipes.as_mut());
        self.settle(request, executed, now);
    }

    /// Takes over what came of a write: the view, the transaction, and what the call waits for now.
    fn settle(&mut self, request: &Arc<Request>, executed: Executed, now: Now) {
        let id = CallId { session: request.session, write: request.write };
        self.view = Some(executed.view);
        let progressed = executed.transaction.as_ref().is_some_and(|one| !one.changes.is_empty());
        match (executed.waits, executed.transaction) {
            (Some(waits), transaction) => {
                // Others are woken first: a call is not woken by what it wrote itself.
                let before = self.parked.take(id);
                if let Some(transaction) = transaction {
                    self.push(transaction, now);
                }
                let at = ParkedAt { time: self.time, monotonic_ms: now.monotonic_ms };
                self.parked.park(id, request.clone(), waits, at, before, progressed);
            }
            (None, transaction) => {
                self.parked.take(id);
                if let Some(transaction) = transaction {
                    self.push(transaction, now);
                }
            }
        }
    }

    fn open_session(
        &mut self,
        token: Token,
        timeout_ms: u64,
        secret_hash: [u8; 32],
        principal: String,
        now: Now,
    ) {
        let slot = self.slot();
        let view = self.take_view();
        let (view, opened) = execute::open_session(view, slot, timeout_ms, secret_hash, principal);
        self.view = Some(view);
        match opened {
            Ok(transaction) => {
                let session = key::session_id(transaction.zxid);
                self.push(transaction, now);
                self.hold(Output::SessionOpened { token, session: Ok(session) });
            }
            Err(refusal) => self.hold(Output::SessionOpened { token, session: Err(refusal) }),
        }
    }

    fn expire_sessions(&mut self, now: Now) {
        while let Some(session) = self.liveness.poll_expired(now.monotonic_ms) {
            tracing::info!(session = session.0, "session expired");
            self.housekeep(session, execute::expire_session, now);
        }
    }

    fn forget_sessions(&mut self, now: Now) {
        if now.monotonic_ms < self.forget_at_ms {
            return;
        }
        self.forget_at_ms = now.monotonic_ms + FORGET_EVERY_MS;
        let (from, to) = key::ended_before(self.time.0.saturating_sub(limits::TOMBSTONE_MS));
        let old: Vec<SessionId> = self
            .view()
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::session_of(&key))
            .take(FORGET_AT_ONCE)
            .collect();
        for session in old {
            self.housekeep(session, execute::forget_session, now);
        }
    }

    fn housekeep(
        &mut self,
        session: SessionId,
        act: impl FnOnce(View, Slot, SessionId) -> (View, Option<Transaction>),
        now: Now,
    ) {
        let slot = self.slot();
        let (view, transaction) = act(self.take_view(), slot, session);
        self.view = Some(view);
        if let Some(transaction) = transaction {
            self.push(transaction, now);
        }
    }

    fn take_view(&mut self) -> View {
        self.view.take().expect("the view is out only while a transaction is executed")
    }

    /// A transaction is executed: it goes into the open batch, and whoever waits for its changes is woken.
    fn push(&mut self, transaction: Transaction, now: Now) {
        debug_assert_eq!(transaction.zxid, self.zxid.next());
        self.zxid = transaction.zxid;
        for change in &transaction.changes {
            match change {
                Change::SessionOpened { timeout_ms, .. } => {
                    let id = key::session_id(transaction.zxid);
                    self.liveness.add(id, *timeout_ms, now.monotonic_ms);
                }
                Change::SessionEnded { session, .. } => self.liveness.remove(*session),
                _ => {}
            }
        }
        self.parked.wake_for(&transaction.changes);
        self.open.bytes += weight(&transaction);
        self.open.transactions.push(transaction);
    }
}

fn weight(transaction: &Transaction) -> usize {
    const HEAD: usize = 64;
    let reply = match &transaction.outcome {
        Outcome::None => 0,
        Outcome::Replied(reply) => reply.len(),
        Outcome::Parked(parked) => 64 + parked.state.len(),
    };
    HEAD + reply + transaction.changes.iter().map(Change::weight).sum::<usize>()
}

fn answer(submission: &Submission, answer: DirectAnswer) -> Output {
    let (session, write): (SessionId, WriteNumber) =
        (submission.request.session, submission.request.write);
    Output::Answer { token: submission.token, session, write, answer }
}

/// The call of a request that can park: only a single one can.
fn call_of(request: &Request) -> Option<&Call> {
    match &request.body {
        Body::Single(Operation::Call(call)) => Some(call),
        _ => None,
    }
}
