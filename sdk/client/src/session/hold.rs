//! Answers that must wait for events: a reply is handed over when every event that it reflects has been (DESIGN D6). It knows
//! the numbers that say so, and not what is in the answers.
//!
//! A member numbers the frames of its event lane, and each of its answers names the last one that was queued before. The two
//! come on streams of their own, so an answer may arrive first; it waits until the frames up to that number have been taken in.
//! After a move the new member knows no watches until they are opened again. What it answers meanwhile may reflect events that
//! have yet to come, so everything waits until they are open, but the answers that say so.

use std::collections::VecDeque;

use quorate_wire::message::ServerMessage;

/// An answer that waits.
#[derive(Debug)]
struct Held {
    message: ServerMessage,
    events: u64,
    /// Nothing was being opened again when it came: so it was sent behind the answers of all open watches.
    is_settled: bool,
}

/// The answers of one attachment that wait.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Frames of the event lane that have been taken in.
    taken: u64,
    /// Answers by which watches are opened again.
    openings: VecDeque<Held>,
    others: VecDeque<Held>,
}

/// An answer whose events are all there.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) message: ServerMessage,
    /// Its zxid is a position of all open watches.
    pub(super) is_mark: bool,
}

impl Hold {
    /// One more frame has been taken in.
    pub(super) fn frame_taken(&mut self) {
        self.taken += 1;
    }

    /// An answer has come. `is_opening`: it is one by which a watch is opened again. `is_settled`: none is to be.
    pub(super) fn push(&mut self, message: ServerMessage, is_opening: bool, is_settled: bool) {
        let events = match &message {
            ServerMessage::Reply { events, .. } | ServerMessage::ReadReply { events, .. } => {
                *events
            }
            _ => 0,
        };
        let held = Held { message, events, is_settled };
        if is_opening { self.openings.push_back(held) } else { self.others.push_back(held) }
    }

    /// The next answer to hand over.
    pub(super) fn pop(&mut self, is_settled: bool) -> Option<Ready> {
        let taken = self.taken;
        let is_ready = |held: &&mut Held| held.events <= taken;
        if self.openings.front_mut().as_ref().is_some_and(is_ready) {
            let message = self.openings.pop_front()?.message;
            return Some(Ready { message, is_mark: false });
        }
        if !is_settled || !self.others.front_mut().as_ref().is_some_and(is_ready) {
            return None;
        }
        let held = self.others.pop_front()?;
        Some(Ready { message: held.message, is_mark: held.is_settled })
    }

    /// The lane is gone. What was not handed over will be answered again on the next one.
    pub(super) fn detached(&mut self) {
        *self = Self::default();
    }
}
