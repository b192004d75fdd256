//! Which requests wait, what is answered without executing anything, and when such answers may leave. It executes
//! nothing.

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::limits;
use quorate_core::request::Class;
use quorate_core::session::{Admission, KeptReply, admit};

use super::Sequencer;
use super::queue::Work;
use crate::port::{DirectAnswer, Now, Output, Submission};

impl Sequencer {
    pub(super) fn enqueue(&mut self, submission: Submission, now: Now) {
        if !self.is_ready() {
            return;
        }
        self.liveness.heard(submission.request.session, now.monotonic_ms);
        match self.overloaded(submission.request.body.class()) {
            None => self.queue.push_back(Work::Submit(submission)),
            Some(refusal) => self.answer_without_a_place(&submission, refusal, now),
        }
    }

    /// The refusal, if no more of this class can wait.
    pub(super) fn overloaded(&self, class: Class) -> Option<Refusal> {
        let waiting = self.queue.len();
        (waiting >= class.places(limits::SEQUENCER_QUEUE_MAX)).then(|| {
            let message = format!("{waiting} requests wait already; try again");
            Refusal::new(ErrorCode::Overloaded, message)
        })
    }

    /// The queue is full. "Not executed" would be wrong of a write that was, or that will be because it waits already:
    /// neither needs a place in the queue. And a parked call that comes back after a fail-over must not be turned away.
    fn answer_without_a_place(&mut self, submission: &Submission, overloaded: Refusal, now: Now) {
        let direct = match self.admit(submission) {
            Admission::Kept(KeptReply { zxid, reply, .. }) => DirectAnswer::Kept { zxid, reply },
            Admission::Parked(parked) => return self.join_parked(submission, parked, now),
            Admission::Refused(refusal) if refusal.code != ErrorCode::ResendFrom => {
                DirectAnswer::Refused(refusal)
            }
            Admission::Execute | Admission::Refused(_) if self.joins_queued(submission) => return,
            Admission::Execute | Admission::Refused(_) => {
                let refused = answer(submission, DirectAnswer::Refused(overloaded));
                self.outputs.push_back(refused);
                return;
            }
        };
        self.hold(answer(submission, direct));
    }

    /// Whether the same write waits to be executed already; its answer then goes to whoever sent this one.
    fn joins_queued(&mut self, submission: &Submission) -> bool {
        if let Some(activation) = &mut self.activation
            && is_same(&activation.submission, submission)
        {
            activation.submission.token = submission.token;
            return true;
        }
        self.queue.join(submission)
    }

    pub(super) fn admit(&mut self, submission: &Submission) -> Admission {
        let request = &submission.request;
        admit(self.view(), request.session, request.write, request.hash, &request.acks)
    }

    /// Lets an answer go when all that it may be based on has been applied.
    pub(super) fn hold(&mut self, output: Output) {
        self.held.push_back((self.zxid, output));
        self.release_held();
    }

    pub(super) fn release_held(&mut self) {
        while self.held.front().is_some_and(|(zxid, _)| *zxid <= self.applied) {
            if let Some((_, output)) = self.held.pop_front() {
                self.outputs.push_back(output);
            }
        }
    }
}

fn is_same(one: &Submission, other: &Submission) -> bool {
    let key = |of: &Submission| (of.request.session, of.request.write, of.request.hash);
    key(one) == key(other)
}

/// The answer to a write that makes no transaction.
pub(super) fn answer(submission: &Submission, answer: DirectAnswer) -> Output {
    let (session, write): (SessionId, WriteNumber) =
        (submission.request.session, submission.request.write);
    Output::Answer { token: submission.token, session, write, answer }
}
