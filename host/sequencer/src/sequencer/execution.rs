//! What a step executes: wakes and new requests in turn, expiries, openings. Each becomes one transaction on the view and
//! goes into the open batch. When batches are proposed, and whether they may be, is not decided here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate_core::change::Change;
use quorate_core::draft::View;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute::{self, Executed};
use quorate_core::ids::CallId;
use quorate_core::key;
use quorate_core::limits;
use quorate_core::recipe::Reason;
use quorate_core::request::{Body, Call, Deploy, Operation, Request};
use quorate_core::session::{Admission, KeptReply, Opening, Parked};
use quorate_core::transaction::Transaction;
use quorate_core::txn::Slot;

use super::admission::answer;
use super::queue::Work;
use super::{Activation, STEP_RUNS_MAX, Sequencer};
use crate::parked::{ParkedAt, Woken};
use crate::port::{DirectAnswer, Now, Output, Submission, Token};

impl Sequencer {
    pub(super) fn slot(&self) -> Slot {
        Slot { zxid: self.zxid.next(), time: self.time, batch: self.open.number }
    }

    /// Executes one thing, a wake and a new request in turn. Whether there was one.
    pub(super) fn execute_one(&mut self, now: Now) -> bool {
        self.wake_turn = !self.wake_turn;
        let has_new = self.activation.is_some() || !self.queue.is_empty();
        if (self.wake_turn || !has_new)
            && let Some((id, woken)) = self.parked.poll_wake(now.monotonic_ms)
        {
            self.run_again(id, woken, now);
            return true;
        }
        if let Some(activation) = self.activation.take() {
            self.go_on_with(activation, now);
            return true;
        }
        match self.queue.pop_front() {
            Some(Work::Submit(submission)) => self.execute(submission, now),
            Some(Work::OpenSession { token, opening }) => {
                self.open_session(token, opening, now);
            }
            None => return false,
        }
        true
    }

    fn execute(&mut self, submission: Submission, now: Now) {
        match self.admit(&submission) {
            Admission::Execute => self.execute_next(submission, now),
            Admission::Kept(KeptReply { zxid, reply, .. }) => {
                self.hold(answer(&submission, DirectAnswer::Kept { zxid, reply }));
            }
            Admission::Parked(parked) => self.join_parked(&submission, parked, now),
            Admission::Refused(refusal) => {
                self.hold(answer(&submission, DirectAnswer::Refused(refusal)));
            }
        }
    }

    /// Executes the next write of its session, or first what must come before it.
    fn execute_next(&mut self, submission: Submission, now: Now) {
        let request = &submission.request;
        if let Body::Cancel(write) = request.body {
            let id = CallId { session: request.session, write };
            if self.parked.waiter(id).is_some() {
                // The cancelled run is logged before its cancel: once the cancel is answered, the call is over, also
                // when the leader changes between the two.
                self.run_again(id, Woken::For(Reason::Cancelled), now);
                self.queue.push_front(Work::Submit(submission));
                return;
            }
        }
        let calls = self.calls_to_retire(request);
        if calls.is_empty() {
            self.execute_new(request, now);
        } else {
            self.activation = Some(Activation { submission, calls });
        }
    }

    fn execute_new(&mut self, request: &Arc<Request>, now: Now) {
        self.spend_runs(runs_of(&request.body));
        let slot = self.slot();
        let view = self.take_view();
        let executed = execute::write(view, slot, request, self.recipes.as_mut());
        self.settle(request, executed, now);
    }

    /// The waiting calls that can not go on in the version that this write activates.
    fn calls_to_retire(&mut self, request: &Request) -> VecDeque<CallId> {
        let (Body::Deploy(Deploy { recipe, .. }) | Body::Rollback { recipe, .. }) = &request.body
        else {
            return VecDeque::new();
        };
        let waiting = self.parked.of_recipe(recipe);
        if waiting.is_empty() {
            return VecDeque::new();
        }
        let view = self.take_view();
        let replaced = execute::replaced_by(&view, request, self.time, self.recipes.as_mut());
        self.view = Some(view);
        let Some((old, new)) = replaced else { return VecDeque::new() };
        let mut same = BTreeMap::new();
        let mut is_same = |function: &str| match same.get(function) {
            Some(known) => *known,
            None => {
                let is_same = self.recipes.same_signature(&old, &new, function);
                same.insert(function.to_owned(), is_same);
                is_same
            }
        };
        let function_of = |id: &CallId| {
            let request = &self.parked.waiter(*id)?.request;
            call_of(request).map(|call| call.function.clone())
        };
        waiting
            .into_iter()
            .filter(|id| function_of(id).is_some_and(|function| !is_same(&function)))
            .collect()
    }

    /// One waiting call less, or the activation itself: looked at again, since its session may have ended meanwhile.
    fn go_on_with(&mut self, mut activation: Activation, now: Now) {
        match activation.calls.pop_front() {
            Some(id) => {
                self.activation = Some(activation);
                self.retire(id, now);
            }
            None => self.execute(activation.submission, now),
        }
    }

    fn retire(&mut self, id: CallId, now: Now) {
        let Some(waiter) = self.parked.waiter(id) else { return };
        let request = waiter.request.clone();
        let parked = waiter.parked.clone();
        let Some(call) = call_of(&request) else { return };
        self.spend_runs(1);
        let slot = self.slot();
        let view = self.take_view();
        let executed = execute::retire(view, slot, &request, call, &parked, self.recipes.as_mut());
        self.settle(&request, executed, now);
    }

    /// A waiting call was sent again: its waiter is here, or was lost with an earlier epoch and is to run. Whoever sent it is told
    /// that it waits: the transaction that parked it came by before they asked.
    ///
    /// The hash, which members make of the request's bytes, says that it is the same one. All the same no recipe runs on the
    /// state of another, and nothing waits that can not run.
    pub(super) fn join_parked(&mut self, submission: &Submission, parked: Parked, now: Now) {
        let request = &submission.request;
        let id = CallId { session: request.session, write: request.write };
        if call_of(request).is_none_or(|call| call.recipe != parked.recipe) {
            let message =
                format!("write {} of session {} was another request", id.write, id.session);
            let refusal = Refusal::new(ErrorCode::ResendDiffers, message);
            return self.hold(answer(submission, DirectAnswer::Refused(refusal)));
        }
        self.hold(answer(submission, DirectAnswer::Parked));
        if self.parked.waiter(id).is_some() {
            return;
        }
        let is_over = parked.deadline.is_some_and(|deadline| deadline <= self.time);
        let reason = if is_over { Reason::TimedOut } else { Reason::Changed };
        let at = ParkedAt { time: self.time, monotonic_ms: now.monotonic_ms };
        self.parked.rejoin(id, request.clone(), parked, reason, at);
    }

    fn run_again(&mut self, id: CallId, woken: Woken, now: Now) {
        let Some(waiter) = self.parked.waiter(id) else { return };
        let request = waiter.request.clone();
        let parked = waiter.parked.clone();
        let Some(call) = call_of(&request) else { return };
        let slot = self.slot();
        let view = self.take_view();
        let executed = match woken {
            Woken::For(reason) => {
                self.spend_runs(1);
                let recipes = self.recipes.as_mut();
                execute::rerun(view, slot, &request, call, &parked, reason, recipes)
            }
            Woken::TooOften => {
                let message = format!(
                    "the call was run more than {} times in a second, or {} times for nothing",
                    limits::WAKES_PER_SECOND_MAX,
                    limits::WAKES_WITHOUT_PROGRESS_MAX
                );
                let refusal = Refusal::new(ErrorCode::WokenTooOften, message);
                execute::end_parked(view, slot, &request, refusal)
            }
        };
        self.settle(&request, executed, now);
    }

    fn spend_runs(&mut self, runs: usize) {
        self.runs_left = self.runs_left.saturating_sub(runs);
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

    fn open_session(&mut self, token: Token, opening: Opening, now: Now) {
        let slot = self.slot();
        let view = self.take_view();
        let (view, opened) = execute::open_session(view, slot, opening);
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

    pub(super) fn take_view(&mut self) -> View {
        self.view.take().expect("the view is out only while a transaction is executed")
    }

    /// A transaction is executed: it goes into the open batch, and whoever waits for its changes is woken.
    pub(super) fn push(&mut self, transaction: Transaction, now: Now) {
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
        if self.open.transactions.is_empty() {
            self.open.since_ms = now.monotonic_ms;
        }
        self.open.bytes += transaction.weight();
        self.open.transactions.push(transaction);
    }
}

/// The call of a request that can park: only a single one can.
fn call_of(request: &Request) -> Option<&Call> {
    match &request.body {
        Body::Single(Operation::Call(call)) => Some(call),
        _ => None,
    }
}

/// Recipe runs that a write may take. An activation checks a component and migrates: it ends the step.
fn runs_of(body: &Body) -> usize {
    let is_call = |operation: &&Operation| matches!(operation, Operation::Call(_));
    match body {
        Body::Single(operation) => usize::from(is_call(&operation)),
        Body::Multi(operations) => operations.iter().filter(is_call).count(),
        Body::Deploy(_) | Body::Rollback { .. } => STEP_RUNS_MAX,
        _ => 0,
    }
}
