//! What a session does with events and answers, in the order in which `hold` lets them through. It does not know what its parts
//! conclude from them.

use std::ops::ControlFlow;

use quorate_core::error::Refusal;
use quorate_core::ids::Zxid;
use quorate_wire::message::watch::EventMessage;
use quorate_wire::message::{Results, ServerMessage};

use super::hold::Ready;
use super::reads::ReadEnd;
use super::watches::WatchStep;
use super::writes::Writes;
use super::{Flow, Loss, Outcome, Session, Token};

impl Session {
    /// A frame of the event lane has come.
    pub(crate) fn handle_event(&mut self, frame: EventMessage, now_ms: u64) -> Flow {
        if self.loss.is_some() {
            return Flow::GoOn;
        }
        if let EventMessage::Head { session, attachment } = frame {
            let is_ours = self.key.is_some_and(|key| key.id == session);
            let is_first = !std::mem::replace(&mut self.has_event_lane, true);
            let is_right = is_ours && is_first && attachment == self.attachment;
            return if is_right { Flow::GoOn } else { Flow::Leave };
        }
        if !self.has_event_lane {
            return Flow::Leave;
        }
        let step = self.watches.handle_frame(frame);
        self.hold.frame_taken();
        match self.watched(step) {
            Flow::GoOn => self.release(now_ms),
            flow => flow,
        }
    }

    /// Hands over the answers that wait for nothing more.
    pub(super) fn release(&mut self, now_ms: u64) -> Flow {
        while let Some(ready) = self.hold.pop(self.watches.is_settled()) {
            match self.handle_answer(ready, now_ms) {
                Flow::GoOn => {}
                flow => return flow,
            }
        }
        Flow::GoOn
    }

    fn handle_answer(&mut self, Ready { message, is_mark }: Ready, now_ms: u64) -> Flow {
        match message {
            ServerMessage::Reply { request, zxid, reply, .. } => {
                if is_mark {
                    self.watches.saw(zxid);
                }
                let writes = self.writes.as_mut();
                if let Some(settled) = writes.and_then(|w| w.handle_reply(request, zxid, reply)) {
                    self.settle(settled);
                }
            }
            ServerMessage::ReadReply { request, zxid, results, .. } => {
                if is_mark {
                    self.watches.saw(zxid);
                }
                let results = match self.watches.handle_answer(request, zxid, results, now_ms) {
                    ControlFlow::Break(step) => return self.watched(step),
                    ControlFlow::Continue(results) => results,
                };
                match self.reads.handle(request, zxid, results, now_ms) {
                    ReadEnd::GoOn => {}
                    ReadEnd::Leave => return Flow::Leave,
                    ReadEnd::Ended(refusal) => self.lose(Loss::Ended(refusal), None),
                    ReadEnd::Answered(token, result) => self.found(token, result),
                }
            }
            _ => {}
        }
        Flow::GoOn
    }

    fn watched(&mut self, step: WatchStep) -> Flow {
        match step {
            WatchStep::GoOn => {}
            WatchStep::Leave => return Flow::Leave,
            // The answer to what has ended it is on its way.
            WatchStep::Over(_) if self.writes.as_ref().is_some_and(Writes::is_closing) => {}
            WatchStep::Over(refusal) => self.lose(Loss::Ended(refusal), None),
            WatchStep::Answered(token, zxid, results) => {
                self.found(token, results.map(|results| (zxid, results)));
            }
        }
        if self.watches.wants_another_member() { Flow::Leave } else { Flow::GoOn }
    }

    fn found(&mut self, token: Token, result: Result<(Zxid, Results), Refusal>) {
        let outcome = match result {
            Ok((zxid, results)) => Outcome::Found(zxid, results),
            Err(refusal) => Outcome::Refused(refusal),
        };
        self.outcomes.push_back((token, outcome));
    }
}
