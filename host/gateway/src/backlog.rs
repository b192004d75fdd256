//! The messages of one lane that wait behind a body which is still arriving on its own stream, in the lane's order. It
//! does not know connections or clocks: bodies and the time are brought to it.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_core::ids::WriteNumber;
use quorate_core::session::Acks;
use quorate_wire::message::{Consistency, Query};
use tokio::time::Instant;

use crate::limits;

/// A message that waits its turn, or whose turn has come.
#[derive(Debug)]
pub(crate) enum Message {
    Write { request: u64, write: WriteNumber, acks: Acks, body: Bytes },
    Bulk { request: u64, write: WriteNumber, acks: Acks, bulk: u64, bytes: u64 },
    Read(WaitingRead),
}

/// A read before it is made fresh.
#[derive(Debug)]
pub(crate) struct WaitingRead {
    pub(crate) request: u64,
    pub(crate) consistency: Consistency,
    pub(crate) query: Query,
}

/// What waits. An error says what the client has done wrong, and ends its lane.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// In order, each with its bytes. The first one is a bulk write whose body has not arrived, but for the time between
    /// that body's arrival and the calls of [`Backlog::poll_release`].
    held: VecDeque<(usize, Message)>,
    held_bytes: usize,
    /// When the body that is waited for must be there.
    due: Option<Instant>,
    /// Bodies that have arrived: their number and bytes.
    arrived: Vec<(u64, Bytes)>,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether more may be held. Else the lane is not read, which holds its client back.
    pub(crate) fn has_room(&self) -> bool {
        self.held.len() < limits::OUTSTANDING_WRITES_MAX
            && self.held_bytes < limits::OUTSTANDING_BYTES_MAX
    }

    /// Whether the next body is taken in: one is waited for, or there is none that was not asked for.
    pub(crate) fn wants_body(&self) -> bool {
        self.arrived.is_empty() || !self.held.is_empty()
    }

    /// When [`Backlog::handle_time`] has something to say.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// A message of this many bytes waits behind what waits already.
    pub(crate) fn hold(&mut self, bytes: usize, message: Message) {
        self.held_bytes += bytes;
        self.held.push_back((bytes, message));
    }

    /// A body has arrived.
    pub(crate) fn handle_body(&mut self, number: u64, body: Bytes) -> Result<(), String> {
        self.arrived.push((number, body));
        if self.arrived.len() > limits::BODIES_ARRIVED_MAX {
            return Err("bodies come in another order than they are asked for".to_owned());
        }
        Ok(())
    }

    /// Time has passed.
    pub(crate) fn handle_time(&self, now: Instant) -> Result<(), String> {
        match self.due {
            Some(due) if now >= due => Err(format!(
                "the body of a bulk write did not arrive within {} s",
                limits::BODY_TIMEOUT.as_secs()
            )),
            _ => Ok(()),
        }
    }

    /// The next message whose turn has come; a bulk write comes as a write, with its body. `None`: nothing waits, or it
    /// waits for a body, from `now` on at the earliest.
    pub(crate) fn poll_release(&mut self, now: Instant) -> Result<Option<Message>, String> {
        let body = match self.held.front() {
            None => return Ok(None),
            Some((_, Message::Bulk { bulk, bytes, .. })) => {
                let Some(at) = self.arrived.iter().position(|(number, _)| number == bulk) else {
                    self.due.get_or_insert(now + limits::BODY_TIMEOUT);
                    return Ok(None);
                };
                self.due = None;
                let (_, body) = self.arrived.swap_remove(at);
                if body.len() as u64 != *bytes {
                    let why = format!("a body of {} bytes was announced as {bytes}", body.len());
                    return Err(why);
                }
                Some(body)
            }
            Some(_) => None,
        };
        let Some((held_bytes, message)) = self.held.pop_front() else { return Ok(None) };
        self.held_bytes -= held_bytes;
        Ok(Some(match (message, body) {
            (Message::Bulk { request, write, acks, .. }, Some(body)) => {
                Message::Write { request, write, acks, body }
            }
            (message, _) => message,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bulk(number: u64, bytes: u64) -> Message {
        let (write, acks) = (WriteNumber(number), Acks::default());
        Message::Bulk { request: number, write, acks, bulk: number, bytes }
    }

    fn read(request: u64) -> Message {
        let query = Query::Get("/a".to_owned());
        Message::Read(WaitingRead { request, consistency: Consistency::Stale, query })
    }

    fn request_of(message: &Message) -> u64 {
        match message {
            Message::Write { request, .. } | Message::Bulk { request, .. } => *request,
            Message::Read(read) => read.request,
        }
    }

    fn released(backlog: &mut Backlog, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| backlog.poll_release(now).unwrap())
            .map(|message| request_of(&message))
            .collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_body_that_never_arrives_ends_the_lane_after_a_minute() {
        let began = Instant::now();
        let mut backlog = Backlog::default();
        backlog.hold(10, bulk(1, 3));
        assert_eq!(released(&mut backlog, began), [0_u64; 0]);
        let due = began + limits::BODY_TIMEOUT;
        assert_eq!(backlog.due(), Some(due));
        // What else comes on the lane or beside it does not put it off.
        backlog.hold(10, read(2));
        backlog.handle_body(9, Bytes::from_static(b"another")).unwrap();
        assert_eq!(released(&mut backlog, began + 30 * SECOND), [0_u64; 0]);
        assert_eq!(backlog.due(), Some(due));
        backlog.handle_time(due - SECOND).unwrap();
        let why = backlog.handle_time(due).unwrap_err();
        assert!(why.contains("within 60 s"), "{why}");
    }

    #[test]
    fn each_body_has_its_own_minute_from_its_turn_on() {
        let began = Instant::now();
        let mut backlog = Backlog::default();
        backlog.hold(10, bulk(1, 3));
        backlog.hold(10, bulk(2, 3));
        assert_eq!(released(&mut backlog, began), [0_u64; 0]);
        backlog.handle_body(1, Bytes::from_static(b"abc")).unwrap();
        let turn = began + 59 * SECOND;
        assert_eq!(released(&mut backlog, turn), [1]);
        assert_eq!(backlog.due(), Some(turn + limits::BODY_TIMEOUT));
        backlog.handle_time(began + limits::BODY_TIMEOUT).unwrap();
        backlog.handle_body(2, Bytes::from_static(b"abc")).unwrap();
        assert_eq!(released(&mut backlog, turn), [2]);
        assert_eq!(backlog.due(), None);
        backlog.handle_time(turn + 2 * limits::BODY_TIMEOUT).unwrap();
    }

    #[test]
    fn messages_keep_their_order_around_bodies() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        for message in [bulk(1, 3), read(2), bulk(3, 3), read(4)] {
            backlog.hold(10, message);
        }
        backlog.handle_body(3, Bytes::from_static(b"abc")).unwrap();
        assert_eq!(released(&mut backlog, now), [0_u64; 0]);
        backlog.handle_body(1, Bytes::from_static(b"abc")).unwrap();
        assert_eq!(released(&mut backlog, now), [1, 2, 3, 4]);
        assert!(backlog.is_empty());
        assert_eq!(backlog.held_bytes, 0);
    }

    #[test]
    fn a_body_of_another_length_and_bodies_that_nobody_asked_for_are_errors() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.hold(10, bulk(1, 4));
        backlog.handle_body(1, Bytes::from_static(b"abc")).unwrap();
        assert!(backlog.poll_release(now).unwrap_err().contains("announced as 4"));
        let mut backlog = Backlog::default();
        backlog.hold(10, bulk(99, 4));
        for number in 0..limits::BODIES_ARRIVED_MAX as u64 {
            backlog.handle_body(number, Bytes::new()).unwrap();
        }
        assert!(backlog.handle_body(50, Bytes::new()).is_err());
    }

    #[test]
    fn a_lane_is_not_read_on_when_too_much_waits() {
        let mut by_count = Backlog::default();
        by_count.hold(1, bulk(1, 3));
        for _ in 1..limits::OUTSTANDING_WRITES_MAX {
            assert!(by_count.has_room());
            by_count.hold(1, read(2));
        }
        assert!(!by_count.has_room());
        let mut by_bytes = Backlog::default();
        by_bytes.hold(limits::OUTSTANDING_BYTES_MAX - 1, bulk(1, 3));
        assert!(by_bytes.has_room());
        by_bytes.hold(1, read(2));
        assert!(!by_bytes.has_room());
        assert!(by_bytes.wants_body());
    }
}
