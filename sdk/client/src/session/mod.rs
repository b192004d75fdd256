//! A session as its client sees it: a state machine that takes messages and the time, and gives messages and outcomes. It
//! knows no socket, no task and no clock; `crate::owner` drives it.
//!
//! In: [`Session::submit`] and [`Session::cancel`] (callers), [`Session::attach`], [`Session::handle_message`],
//! [`Session::handle_event`], [`Session::handle_disconnected`] (the connection), [`Session::handle_time`]. Out: [`Session::poll_heartbeat`],
//! [`Session::poll_transmit`], [`Session::poll_outcome`], [`Session::state`]. Every request that was submitted gets exactly one
//! outcome. `writes` holds the argument that each write is executed once; `alive` the one that a lost session is noticed here
//! first; `watches` the one that each event is handed over once, and `hold` why it comes before what reflects it.

mod alive;
mod answered;
mod answers;
mod backoff;
mod hold;
mod reads;
mod silence;
#[cfg(test)]
mod tests;
mod watches;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::error::{Advice, ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::limits::SECRET_BYTES;
use quorate_core::request::Body;
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Query, Results, ServerMessage, Welcome, body,
};

use crate::limits::FAREWELLS_MAX;
use crate::outbox::{End, Outbox, Seen};
use alive::Alive;
pub(crate) use backoff::Backoff;
pub(crate) use silence::{Heard, Silence};
pub(crate) use watches::WatchAsk;

use hold::Hold;
use reads::{Read, Reads};
use watches::Watches;
use writes::{Purpose, Settled, Verdict, Writes};

/// Names a caller's request within this client.
pub(crate) type Token = u64;

/// Id and secret of a session: what another process needs to take it over. Keep it as safe as a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionKey {
    /// The session.
    pub id: SessionId,
    /// Its secret.
    pub secret: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// It was closed by this client.
    #[error("the session was closed")]
    Closed,
    /// Nothing was confirmed for its timeout: the leader may expire it from now on.
    #[error(
        "the session is lost: the leader has confirmed nothing for its timeout of {timeout_ms} ms"
    )]
    Silence {
        /// The session's timeout.
        timeout_ms: u64,
    },
    /// The service says that it has expired, was closed elsewhere, or is unknown.
    #[error("the session is over: {0}")]
    Ended(Refusal),
    /// The service's answers contradict what this client did: another process uses the session too.
    #[error("the session is used by somebody else, or the service broke its protocol: {0}")]
    Contradiction(Refusal),
    /// The last handle of this client was dropped.
    #[error("the client was dropped")]
    Dropped,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// Attached to a member, and confirmed by the leader a short while ago.
    Connected,
    /// Not attached, or not confirmed for two thirds of its timeout. It still lives, and so do its ephemeral znodes and its
    /// locks; requests wait.
    Suspended,
    /// It is over. Nothing is sent any more.
    Lost(Loss),
}

/// What a caller asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// An encoded body.
    Write(Bytes),
    /// The end of the session.
    Close,
    /// A query.
    Read(Consistency, Query),
    /// A watch. Its outcome says that it is open; what it tells goes to its outbox.
    Watch(Box<WatchAsk>),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A write was executed: transaction and encoded reply.
    Replied(Zxid, Bytes),
    /// A read was answered.
    Found(Zxid, Results),
    /// It was not executed, and never will be.
    Refused(Refusal),
    /// The session ended first.
    Lost {
        /// Why.
        loss: Loss,
        /// Whether a write may have been executed all the same.
        may_have_happened: bool,
    },
}

/// What is to be done about the connection after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing.
    GoOn,
    /// Leave this member and attach to another.
    Leave,
    /// The member does not attach this lane.
    Rejected(Refusal),
}

struct Waiting {
    token: Option<Token>,
    ask: Ask,
}

/// The state machine. Times are milliseconds of one monotonic clock.
pub(crate) struct Session {
    key: Option<SessionKey>,
    timeout_ms: u64,
    seed: u64,
    attaching_since_ms: Option<u64>,
    is_attached: bool,
    alive: Option<Alive>,
    writes: Option<Writes>,
    reads: Reads,
    watches: Watches,
    /// Answers that wait for events.
    hold: Hold,
    /// Of watches that went with the session.
    over: Vec<Arc<Outbox>>,
    /// Of this attachment: its number, and whether the event lane's first frame has named it.
    attachment: u64,
    has_event_lane: bool,
    /// Not yet sent, in the order in which they were asked.
    waiting: VecDeque<Waiting>,
    outcomes: VecDeque<(Token, Outcome)>,
    next_request: u64,
    /// Protocol errors of ours, in the members' words, since a write was last answered.
    farewells: u32,
    loss: Option<Loss>,
}

impl Session {
    /// One that is yet to be opened, with this timeout (0: the server's choice); or, with a key, one to be taken over.
    /// `seed`: for the jitter of its delays.
    pub(crate) fn new(key: Option<SessionKey>, timeout_ms: u64, seed: u64) -> Self {
        Self {
            key,
            timeout_ms,
            seed,
            attaching_since_ms: None,
            is_attached: false,
            alive: None,
            writes: None,
            reads: Reads::new(seed),
            watches: Watches::new(seed),
            hold: Hold::default(),
            over: Vec::new(),
            attachment: 0,
            has_event_lane: false,
            waiting: VecDeque::new(),
            outcomes: VecDeque::new(),
            next_request: 1,
            farewells: 0,
            loss: None,
        }
    }

    /// Id and secret, once there are any.
    pub(crate) fn key(&self) -> Option<SessionKey> {
        self.key
    }

    /// Milliseconds, as granted; as asked for before that.
    pub(crate) fn timeout_ms(&self) -> u64 {
        self.timeout_ms
    }

    /// How it stands.
    pub(crate) fn state(&self, now_ms: u64) -> SessionState {
        match (&self.loss, &self.alive) {
            (Some(loss), _) => SessionState::Lost(loss.clone()),
            (None, Some(alive)) if self.is_attached && alive.is_held(now_ms) => {
                SessionState::Connected
            }
            _ => SessionState::Suspended,
        }
    }

    /// Takes a request. Its outcome comes under this token.
    pub(crate) fn submit(&mut self, token: Token, ask: Ask) {
        match (&self.loss, ask) {
            (Some(loss), _) => self.outcomes.push_back((token, lost(loss, false))),
            // It promises nothing about what came before it, so it does not wait for that.
            (None, Ask::Read(Consistency::Stale, query)) => {
                let read = Read::new(token, Consistency::Stale, query);
                self.reads.send_next(self.next_request, read);
                self.next_request += 1;
            }
            (None, Ask::Watch(ask)) if ask.outbox.is_abandoned() => {
                self.outcomes.push_back((token, given_up()));
            }
            (None, ask) => self.waiting.push_back(Waiting { token: Some(token), ask }),
        }
    }

    /// Gives up a write: one that was not sent is forgotten, one that was is followed by a cancellation, which matters only if
    /// it is a call that waits.
    pub(crate) fn cancel(&mut self, token: Token) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.token == Some(token)) {
            self.waiting.remove(at);
            let refusal = Refusal::new(ErrorCode::Cancelled, "cancelled before it was sent");
            self.outcomes.push_back((token, Outcome::Refused(refusal)));
        } else if let Some(number) = self.writes.as_mut().and_then(|writes| writes.cancel(token)) {
            let ask = Ask::Write(body::encode(&Body::Cancel(number)));
            self.waiting.push_back(Waiting { token: None, ask });
        }
    }

    /// Nobody reads this watch any more. Answers that have waited for it to be open again are handed over.
    pub(crate) fn close_watch(&mut self, watch: u64, now_ms: u64) -> Flow {
        let is_it = |waiting: &Waiting| match &waiting.ask {
            Ask::Watch(ask) => ask.watch.watch == watch,
            _ => false,
        };
        let token = match self.waiting.iter().position(is_it) {
            Some(at) => self.waiting.remove(at).and_then(|waiting| waiting.token),
            None => self.watches.close(watch),
        };
        self.outcomes.extend(token.map(|token| (token, given_up())));
        match self.release(now_ms) {
            Flow::GoOn if self.watches.wants_another_member() => Flow::Leave,
            flow => flow,
        }
    }

    /// Tells the readers of watches that the session is over. To be called when it is known why ([`Session::state`]).
    pub(crate) fn end_watches(&mut self) {
        for outbox in self.over.drain(..) {
            outbox.end(End::SessionOver);
        }
    }

    /// What the outboxes of its watches look at.
    pub(crate) fn seen(&self) -> Seen {
        self.watches.seen()
    }

    /// The address of the member that it is attached to, and how many are known.
    pub(crate) fn set_address(&mut self, address: &str, addresses_count: usize) {
        self.watches.set_address(address, addresses_count);
    }

    /// A lane is open: what its `Hello` asks for. Until it is answered nothing may be sent on the lane before, if that still
    /// stands: the member that is asked must know of all that was sent.
    pub(crate) fn attach(&mut self, now_ms: u64) -> Attach {
        self.attaching_since_ms = Some(now_ms);
        match self.key {
            // What shows who the client is, the dialer adds.
            None => Attach::New { timeout_ms: self.timeout_ms, credentials: Vec::new() },
            Some(SessionKey { id, secret }) => {
                let sent = self.writes.as_ref().map_or(WriteNumber(u64::MAX), Writes::last_sent);
                Attach::Resume { session: id, secret, sent }
            }
        }
    }

    /// The lane is gone.
    pub(crate) fn handle_disconnected(&mut self) {
        self.attaching_since_ms = None;
        self.is_attached = false;
        self.has_event_lane = false;
        self.reads.detached();
        self.watches.detached();
        self.hold.detached();
        if let Some(alive) = &mut self.alive {
            alive.detached();
        }
    }

    /// A message has come on the lane.
    pub(crate) fn handle_message(&mut self, message: ServerMessage, now_ms: u64) -> Flow {
        if self.loss.is_some() {
            return Flow::GoOn;
        }
        match message {
            ServerMessage::Welcome(welcome) => return self.handle_welcome(&welcome, now_ms),
            ServerMessage::Rejected(refusal) => {
                if self.key.is_some() && is_end(&refusal) {
                    self.lose(Loss::Ended(refusal.clone()), None);
                }
                return Flow::Rejected(refusal);
            }
            ServerMessage::Reply { .. } => {
                self.hold.push(message, false, self.watches.is_settled());
                return self.release(now_ms);
            }
            ServerMessage::ReadReply { request, .. } => {
                let is_opening = self.watches.is_reopening(request);
                self.hold.push(message, is_opening, self.watches.is_settled());
                return self.release(now_ms);
            }
            ServerMessage::NotExecuted { request, refusal } => {
                let Some(writes) = &mut self.writes else { return Flow::GoOn };
                match writes.handle_not_executed(request, refusal, now_ms) {
                    Verdict::GoOn => {
                        if let Some(copy) = writes.goes_back() {
                            self.reads.write_goes_back(copy);
                        }
                    }
                    Verdict::Leave => return Flow::Leave,
                    Verdict::Lost(loss, from) => self.lose(loss, from),
                }
            }
            // The dialer's.
            ServerMessage::Members(_) => {}
            ServerMessage::Administered { .. } => {
                tracing::debug!("an answer to a command that was not given");
                return Flow::Leave;
            }
            ServerMessage::Confirmed { request } => {
                if let Some(alive) = &mut self.alive {
                    alive.confirmed(request);
                }
            }
            ServerMessage::Unconfirmed { request, refusal } => {
                if let Some(alive) = &mut self.alive {
                    alive.unconfirmed_heartbeat(request, now_ms);
                }
                return self.handle_farewell(refusal);
            }
            ServerMessage::Goodbye(refusal) => {
                self.farewells += u32::from(refusal.code.advice() == Advice::Never);
                if self.farewells >= FAREWELLS_MAX {
                    self.lose(Loss::Contradiction(refusal), None);
                } else {
                    self.handle_farewell(refusal);
                }
                return Flow::Leave;
            }
        }
        Flow::GoOn
    }

    /// Time has passed. To be called before the polls.
    pub(crate) fn handle_time(&mut self, now_ms: u64) {
        let is_over = self.alive.as_ref().is_some_and(|alive| now_ms >= alive.lost_at_ms());
        if is_over && self.loss.is_none() {
            self.lose(Loss::Silence { timeout_ms: self.timeout_ms }, None);
        }
    }

    /// Whether to leave this member because it confirms nothing.
    pub(crate) fn wants_another_member(&self, now_ms: u64) -> bool {
        let alive = self.alive.as_ref().filter(|_| self.is_attached && self.loss.is_none());
        alive.is_some_and(|alive| alive.wants_another_member(now_ms))
    }

    /// The heartbeat that is due.
    pub(crate) fn poll_heartbeat(&mut self, now_ms: u64) -> Option<ClientMessage> {
        self.handle_time(now_ms);
        let (request, is_waiting) = (self.next_request, self.is_waiting());
        let alive = self.alive.as_mut().filter(|_| self.is_attached && self.loss.is_none())?;
        alive.poll_heartbeat(request, is_waiting, now_ms).then(|| {
            self.next_request += 1;
            ClientMessage::Heartbeat { request }
        })
    }

    /// Whether a request has been sent here that is not answered.
    fn is_waiting(&self) -> bool {
        self.reads.is_waiting()
            || self.watches.is_waiting()
            || self.writes.as_ref().is_some_and(Writes::is_waiting)
    }

    /// The next request to send. Bodies of any length come as `Write`.
    pub(crate) fn poll_transmit(&mut self, now_ms: u64) -> Option<ClientMessage> {
        self.handle_time(now_ms);
        let message = self.poll_request(now_ms)?;
        if let Some(alive) = &mut self.alive {
            alive.asked(now_ms);
        }
        Some(message)
    }

    fn poll_request(&mut self, now_ms: u64) -> Option<ClientMessage> {
        if !self.is_attached || self.loss.is_some() {
            return None;
        }
        let writes = self.writes.as_mut()?;
        let request = self.next_request;
        self.next_request += 1;
        // Before everything: what is answered on this lane waits for them.
        if let Some(message) = self.watches.poll_first(request, now_ms) {
            return Some(message);
        }
        // First: a read that is asked again on a new lane may have been asked behind them, and has to see them.
        if writes.is_behind() {
            return writes.poll(request, now_ms);
        }
        let again = self.reads.poll_again(request, now_ms);
        if let Some(message) = again.or_else(|| self.watches.poll_again(request, now_ms)) {
            return Some(message);
        }
        let Waiting { token, ask } = self.waiting.pop_front()?;
        let (purpose, body) = match (ask, token) {
            (Ask::Read(consistency, query), Some(token)) => {
                let read = Read::new(token, consistency, query);
                return Some(self.reads.send(request, read));
            }
            (Ask::Watch(ask), token) => return Some(self.watches.ask(token, *ask, request)),
            (Ask::Read(..), None) => return None,
            (Ask::Write(body), _) => (Purpose::Request, body),
            (Ask::Close, _) => (Purpose::Close, body::encode(&Body::CloseSession)),
        };
        writes.number(token, purpose, body);
        writes.poll(request, now_ms)
    }

    /// What became of a request.
    pub(crate) fn poll_outcome(&mut self) -> Option<(Token, Outcome)> {
        self.outcomes.pop_front()
    }

    /// When it is lost, unless something is confirmed before.
    pub(crate) fn lost_at_ms(&self) -> Option<u64> {
        self.alive.as_ref().map(Alive::lost_at_ms)
    }

    /// When to call [`Session::handle_time`] and the polls again, if nothing comes before. In the past: at once.
    pub(crate) fn next_timer_ms(&self, now_ms: u64) -> Option<u64> {
        let alive = self.alive.as_ref().filter(|_| self.loss.is_none())?;
        let mut next_ms = alive.next_timer_ms(self.is_waiting(), now_ms);
        if self.is_attached {
            let held = self.writes.as_ref().and_then(Writes::hold_until_ms);
            // Reads wait for the writes before them.
            let is_behind = self.writes.as_ref().is_some_and(Writes::is_behind);
            let again = self.reads.next_timer_ms().filter(|_| !is_behind);
            let watches = self.watches.next_timer_ms(is_behind);
            for at_ms in [held, again, watches].into_iter().flatten() {
                next_ms = next_ms.min(at_ms);
            }
        }
        Some(next_ms)
    }

    /// Ends it from here: the last handle is gone.
    pub(crate) fn abandon(&mut self) {
        if self.loss.is_none() {
            self.lose(Loss::Dropped, None);
        }
    }

    fn handle_welcome(&mut self, welcome: &Welcome, now_ms: u64) -> Flow {
        let Some(since_ms) = self.attaching_since_ms.take() else { return Flow::Leave };
        // A timeout of 0: the member has lost sight of the session since.
        if self.key.is_some_and(|key| key.id != welcome.session) || welcome.timeout_ms == 0 {
            return Flow::Leave;
        }
        if self.is_attached {
            // To another member, which was asked while this one was silent.
            self.handle_disconnected();
        }
        let is_new = self.key.is_none();
        self.key = Some(SessionKey { id: welcome.session, secret: welcome.secret });
        self.timeout_ms = welcome.timeout_ms;
        self.is_attached = true;
        self.attachment = welcome.attachment;
        let alive = self.alive.get_or_insert_with(|| {
            let mut alive = Alive::unconfirmed(welcome.timeout_ms, since_ms);
            if is_new {
                // The leader opened it after it was asked for. A resumption may be answered without the leader.
                alive.heard(since_ms);
            }
            alive
        });
        alive.attached(now_ms);
        let seed = self.seed;
        let writes = self.writes.get_or_insert_with(|| {
            let mut writes = Writes::after(welcome.last_write, seed.rotate_left(32));
            if !is_new {
                writes.probe();
            }
            writes
        });
        writes.attached();
        Flow::GoOn
    }

    fn handle_farewell(&mut self, refusal: Refusal) -> Flow {
        match refusal.code {
            ErrorCode::NoSession | ErrorCode::SessionEnded => {
                self.lose(Loss::Ended(refusal), None);
                Flow::GoOn
            }
            ErrorCode::SessionMoved | ErrorCode::ShuttingDown => Flow::Leave,
            _ => Flow::GoOn,
        }
    }

    fn settle(&mut self, settled: Settled) {
        self.farewells = 0;
        if let (Some(alive), Some(sent_ms)) = (&mut self.alive, settled.heard_ms) {
            alive.heard(sent_ms);
        }
        let is_close = settled.purpose == Purpose::Close && settled.result.is_ok();
        if let Some(token) = settled.token {
            let outcome = match settled.result {
                Ok((zxid, reply)) => Outcome::Replied(zxid, reply),
                Err(refusal) => Outcome::Refused(refusal),
            };
            self.outcomes.push_back((token, outcome));
        }
        if is_close {
            self.lose(Loss::Closed, Some(settled.number));
        }
    }

    /// Ends everything: writes from `not_executed_from` on, those that were never sent, and reads certainly did nothing.
    fn lose(&mut self, loss: Loss, not_executed_from: Option<u64>) {
        for (token, number) in self.writes.iter_mut().flat_map(Writes::drain) {
            let may_have_happened = not_executed_from.is_none_or(|from| number < from);
            self.outcomes.extend(token.map(|token| (token, lost(&loss, may_have_happened))));
        }
        let watches = self.watches.drain(&mut self.over);
        let waiting = self.waiting.drain(..).filter_map(|waiting| {
            if let Ask::Watch(ask) = waiting.ask {
                self.over.push(ask.outbox);
            }
            waiting.token
        });
        let unsent = self.reads.drain().chain(watches).chain(waiting);
        self.outcomes.extend(unsent.map(|token| (token, lost(&loss, false))));
        self.loss = Some(loss);
    }
}

fn given_up() -> Outcome {
    Outcome::Refused(Refusal::new(ErrorCode::Cancelled, "given up before it was open"))
}

fn lost(loss: &Loss, may_have_happened: bool) -> Outcome {
    Outcome::Lost { loss: loss.clone(), may_have_happened }
}

/// Whether a member that does not attach a lane to a session says that there is none to attach to. That one asks for a
/// credential is not that: another member's clock may be behind its, and the session lives on while its lane stands.
fn is_end(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::NoSession | ErrorCode::SessionEnded | ErrorCode::BadSecret)
}
