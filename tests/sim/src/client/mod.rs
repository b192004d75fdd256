//! A client: a process with a clock of its own that opens sessions, numbers its writes, sends them again, moves between
//! members, and declares its session lost by itself (DESIGN D5, D11). What it asks for is next door in `wishes`.

mod watching;
mod wishes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::{Body, Request};
use quorate_core::session::Acks;

use crate::check::event::{Answered, Event};
use crate::lane::{Found, ToClient, ToMember};
use crate::member::drift;
use crate::member::gateway::Lane;
use crate::mutant::Mutant;
use crate::process::{Clock, Process};
use crate::random::Random;
use crate::runtime::MemberRuntime;
use crate::wire::{Address, CLIENTS_FROM, Wire};
use crate::world::World;
use watching::Watching;
use wishes::{Wish, Wishes};

/// Writes of one client under way at most.
const UNANSWERED_MAX: usize = 5;

/// What clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Whatever they like.
    Busy,
    /// Ask for nothing more, and get answers for what is open.
    Finishing,
}

struct Pending {
    request: Arc<Request>,
    wish: Wish,
    /// When it was first sent, on the client's clock.
    since_ms: u64,
    is_given_up: bool,
}

struct Session {
    id: SessionId,
    timeout_ms: u64,
    /// When the last confirmed heartbeat was sent: its count begins there.
    alive_from_ms: u64,
    next_write: WriteNumber,
    pending: BTreeMap<WriteNumber, Pending>,
}

enum Connection {
    /// To nobody.
    None,
    /// A member is dialled, or has been asked to attach.
    Asked(Option<Rc<Wire>>, u64),
    /// A lane that serves the session.
    Attached(Rc<Wire>),
}

struct State {
    session: Option<Session>,
    connection: Connection,
    /// Sent heartbeats, by request: when.
    heartbeats: BTreeMap<u64, u64>,
    heartbeat_due_ms: u64,
    /// Reads under way.
    reads: BTreeMap<u64, Wish>,
    /// When the opening that is under way was sent.
    opened_from_ms: u64,
    wishes: Wishes,
    watching: Watching,
}

/// A client.
pub struct Client {
    number: u64,
    world: Rc<World>,
    process: Rc<Process>,
    clock: Rc<Clock>,
    random: Random,
    phase: Cell<Phase>,
    state: RefCell<State>,
}

impl Client {
    /// One that begins at once.
    #[must_use]
    pub fn start(world: &Rc<World>, number: u64) -> Rc<Self> {
        let random = Random::new(world.seed, 1_000 + number);
        let clock = Rc::new(Clock::new(drift(&random)));
        let process = Process::new(format!("client {number}"), clock.clone(), world.panics.clone());
        let client = Rc::new(Self {
            number,
            world: world.clone(),
            process: process.clone(),
            clock,
            random,
            phase: Cell::new(Phase::Busy),
            state: RefCell::new(State {
                session: None,
                connection: Connection::None,
                heartbeats: BTreeMap::new(),
                heartbeat_due_ms: 0,
                reads: BTreeMap::new(),
                opened_from_ms: 0,
                wishes: Wishes::default(),
                watching: Watching::default(),
            }),
        });
        world.net.listen(client.address(), process.clone());
        drop(process.spawn(client.clone().live()));
        client
    }

    fn address(&self) -> Address {
        CLIENTS_FROM + self.number
    }

    /// Its process, for pauses.
    #[must_use]
    pub fn process(&self) -> &Rc<Process> {
        &self.process
    }

    /// What it is to do from now on.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// Whether nothing is open that it wants an answer to.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let state = self.state.borrow();
        let pending = state.session.as_ref().map_or(0, |session| session.pending.len());
        pending == 0 && state.reads.is_empty()
    }

    /// What it waits for, for people.
    #[must_use]
    pub fn waits_for(&self) -> String {
        let state = self.state.borrow();
        let Some(session) = &state.session else { return "no session".to_owned() };
        let writes: Vec<String> = session
            .pending
            .iter()
            .map(|(write, pending)| format!("{write}: {:?}", pending.request.body))
            .collect();
        let how = match &state.connection {
            Connection::None => "nowhere",
            Connection::Asked(..) => "asking",
            Connection::Attached(..) => "attached",
        };
        format!("session {} ({how}) waits for {writes:?}, {} reads", session.id, state.reads.len())
    }

    async fn live(self: Rc<Self>) {
        loop {
            let pause = 1 + self.random.below(60);
            MemberRuntime::sleep(Duration::from_millis(pause)).await;
            self.act();
        }
    }

    fn act(self: &Rc<Self>) {
        let now_ms = self.clock.monotonic_ms();
        self.look_at_session(now_ms);
        let dials = match &self.state.borrow().connection {
            Connection::None => true,
            // Nobody answers: another one is asked.
            Connection::Asked(_, since_ms) => now_ms > since_ms + 3_000,
            Connection::Attached(..) => false,
        };
        if dials {
            self.disconnect();
            self.dial(now_ms);
            return;
        }
        let Some(wire) = self.attached() else { return };
        self.send_heartbeat(&wire, now_ms);
        match self.phase.get() {
            Phase::Busy => self.be_busy(&wire, now_ms),
            Phase::Finishing => self.give_up_waiting(&wire, now_ms),
        }
    }

    fn be_busy(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) {
        if self.random.one_in(400) {
            self.world.trace(|| format!("client {} moves", self.number));
            self.disconnect();
            return;
        }
        if self.random.one_in(500) {
            // It stops without a word, and comes back as somebody else.
            self.world.trace(|| format!("client {} stops", self.number));
            self.lose_session(now_ms);
            return;
        }
        let has_room = {
            let state = self.state.borrow();
            let pending = state.session.as_ref().map_or(0, |session| session.pending.len());
            pending + state.reads.len() < UNANSWERED_MAX
        };
        if has_room && self.random.one_in(2) {
            self.wish(wire, now_ms);
        }
    }

    /// Calls that wait are cancelled, each once.
    fn give_up_waiting(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) {
        let given_up = {
            let mut state = self.state.borrow_mut();
            let Some(session) = &mut state.session else { return };
            let waiting = session.pending.iter_mut().find(|(_, pending)| {
                !pending.is_given_up && pending.wish.waits() && now_ms > pending.since_ms + 1_000
            });
            waiting.map(|(write, pending)| {
                pending.is_given_up = true;
                *write
            })
        };
        match given_up {
            Some(write) => self.write(wire, Body::Cancel(write), Wish::Cancel, now_ms),
            None => self.release_all(wire, now_ms),
        }
    }

    // --- the session ------------------------------------------------------------------------------------------------

    fn look_at_session(&self, now_ms: u64) {
        let is_over = self
            .state
            .borrow()
            .session
            .as_ref()
            .is_some_and(|session| now_ms >= session.alive_from_ms + session.timeout_ms);
        if is_over {
            self.world.trace(|| format!("client {} gives its session up", self.number));
            self.lose_session(now_ms);
        }
    }

    /// The session is over for this client: what is unanswered stays so.
    fn lose_session(&self, _now_ms: u64) {
        let session = self.state.borrow_mut().session.take();
        if let Some(session) = session {
            let until_ns = 0;
            self.world.see(&Event::Believes { session: session.id, until_ns });
            self.watches_nothing(session.id);
        }
        let mut state = self.state.borrow_mut();
        state.reads.clear();
        state.wishes = Wishes::default();
        drop(state);
        self.disconnect();
    }

    fn believe(&self) {
        let state = self.state.borrow();
        let Some(session) = &state.session else { return };
        let mut patience_ms = session.timeout_ms;
        if self.world.has(Mutant::LateBelief) {
            patience_ms += patience_ms / 2;
        }
        let until_ms = session.alive_from_ms + patience_ms;
        let until_ns = self.clock.world_at(until_ms * 1_000_000);
        self.world.see(&Event::Believes { session: session.id, until_ns });
    }

    fn send_heartbeat(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) {
        let request = {
            let mut state = self.state.borrow_mut();
            if now_ms < state.heartbeat_due_ms {
                return;
            }
            let Some(session) = &state.session else { return };
            state.heartbeat_due_ms = now_ms + session.timeout_ms / 4;
            let request = self.world.next();
            state.heartbeats.insert(request, now_ms);
            request
        };
        self.say(wire, ToMember::Heartbeat { request });
    }

    // --- the connection ---------------------------------------------------------------------------------------------

    fn attached(&self) -> Option<Rc<Wire>> {
        match &self.state.borrow().connection {
            Connection::Attached(wire) => Some(wire.clone()),
            _ => None,
        }
    }

    fn disconnect(&self) {
        self.watch_is_cut();
        let before = std::mem::replace(&mut self.state.borrow_mut().connection, Connection::None);
        match before {
            Connection::Attached(wire) | Connection::Asked(Some(wire), _) => wire.close(0),
            Connection::Asked(None, _) | Connection::None => {}
        }
        let mut state = self.state.borrow_mut();
        state.heartbeats.clear();
        state.heartbeat_due_ms = 0;
    }

    fn dial(self: &Rc<Self>, now_ms: u64) {
        let members: Vec<u64> = self.world.members.borrow().keys().copied().collect();
        let Some(member) = self.random.pick(&members).copied() else { return };
        let attempt = now_ms;
        self.state.borrow_mut().connection = Connection::Asked(None, attempt);
        let client = self.clone();
        drop(self.process.spawn(async move {
            let net = client.world.net.clone();
            let dialled = net.dial(client.address(), member, |_wire| ()).await;
            let is_current = matches!(
                &client.state.borrow().connection,
                Connection::Asked(None, at) if *at == attempt
            );
            match dialled {
                Some(wire) if is_current => client.ask_to_attach(wire, attempt),
                Some(wire) => wire.close(0),
                None if is_current => client.disconnect(),
                None => {}
            }
        }));
    }

    fn ask_to_attach(self: &Rc<Self>, wire: Rc<Wire>, attempt: u64) {
        let (session, timeout_ms) = {
            let mut state = self.state.borrow_mut();
            state.connection = Connection::Asked(Some(wire.clone()), attempt);
            state.opened_from_ms = self.clock.monotonic_ms();
            match &state.session {
                Some(session) => (Some(session.id), session.timeout_ms),
                None => (None, 2_000 + 500 * self.random.below(9)),
            }
        };
        if session.is_none() {
            self.state.borrow_mut().wishes.timeout_ms = timeout_ms;
        }
        self.say(&wire, ToMember::Attach { session, timeout_ms });
        let client = self.clone();
        drop(self.process.spawn(async move {
            wire.closed(0).await;
            if client.is_current(&wire) {
                client.disconnect();
            }
        }));
    }

    fn is_current(&self, wire: &Rc<Wire>) -> bool {
        match &self.state.borrow().connection {
            Connection::Attached(one) | Connection::Asked(Some(one), _) => Rc::ptr_eq(one, wire),
            _ => false,
        }
    }

    fn say(self: &Rc<Self>, wire: &Rc<Wire>, message: ToMember) {
        let (world, lane) = (self.world.clone(), Lane { client: self.clone(), wire: wire.clone() });
        let member = wire.end(1);
        wire.send(0, move || {
            if let Some(running) = world.member(member).and_then(|member| member.running()) {
                running.gateway.receive(&running, lane.clone(), message.clone());
            }
        });
    }

    // --- writes -----------------------------------------------------------------------------------------------------

    fn write(self: &Rc<Self>, wire: &Rc<Wire>, body: Body, wish: Wish, now_ms: u64) {
        let request = {
            let mut state = self.state.borrow_mut();
            let Some(session) = &mut state.session else { return };
            let write = session.next_write;
            session.next_write = write.next();
            let low = session.pending.keys().next().map_or(write.0, |first| first.0) - 1;
            let request = Arc::new(Request {
                session: session.id,
                write,
                hash: hash_of(&body),
                acks: Acks { low: WriteNumber(low), ranges: Vec::new() },
                body,
                address: None,
            });
            let pending =
                Pending { request: request.clone(), wish, since_ms: now_ms, is_given_up: false };
            session.pending.insert(write, pending);
            request
        };
        self.say(wire, ToMember::Write(request));
    }

    /// Sends all that is unanswered again, in order.
    fn resend(self: &Rc<Self>, wire: &Rc<Wire>) {
        let requests: Vec<_> = {
            let state = self.state.borrow();
            let pending = state.session.iter().flat_map(|session| session.pending.values());
            pending.map(|pending| pending.request.clone()).collect()
        };
        for request in requests {
            self.say(wire, ToMember::Write(request));
        }
        let reads: Vec<u64> = self.state.borrow().reads.keys().copied().collect();
        for request in reads {
            self.read_again(wire, request);
        }
    }

    // --- what members say -------------------------------------------------------------------------------------------

    /// A member says something on this connection.
    pub fn hear(self: &Rc<Self>, wire: &Rc<Wire>, message: ToClient) {
        if self.is_current(wire) && !self.holds(&message) {
            self.take_in(wire, message);
        }
    }

    /// A message whose events are there.
    fn take_in(self: &Rc<Self>, wire: &Rc<Wire>, message: ToClient) {
        match message {
            ToClient::Attached(session) => self.be_attached(wire, session),
            ToClient::Rejected(code) => {
                if is_end(code) {
                    self.lose_session(self.clock.monotonic_ms());
                } else {
                    self.disconnect();
                }
            }
            ToClient::Reply { write, zxid, reply, .. } => self.replied(write, zxid, &reply),
            ToClient::NotExecuted { write, refusal } => self.refused(wire, write, refusal.code),
            ToClient::Confirmed { request } => {
                {
                    let mut state = self.state.borrow_mut();
                    let Some(sent_ms) = state.heartbeats.remove(&request) else { return };
                    let Some(session) = &mut state.session else { return };
                    session.alive_from_ms = session.alive_from_ms.max(sent_ms);
                }
                self.world.count(|counts| counts.heartbeats += 1);
                self.believe();
            }
            ToClient::Unconfirmed { request, code } => {
                self.state.borrow_mut().heartbeats.remove(&request);
                if is_end(code) {
                    self.lose_session(self.clock.monotonic_ms());
                } else if self.random.one_in(4) {
                    self.disconnect();
                }
            }
            ToClient::Found { request, zxid, found, .. } => self.found(wire, request, zxid, found),
            ToClient::Watched { zxid, .. } => self.watched(zxid),
            ToClient::NotHere { .. } => self.lacks_the_past(wire),
            ToClient::Changed { number, zxid } => self.event(wire, number, Some(zxid)),
            ToClient::WatchEnded { number } => self.event(wire, number, None),
        }
    }

    fn be_attached(self: &Rc<Self>, wire: &Rc<Wire>, id: SessionId) {
        let is_new = {
            let mut state = self.state.borrow_mut();
            state.connection = Connection::Attached(wire.clone());
            let is_new = state.session.is_none();
            if is_new {
                state.session = Some(Session {
                    id,
                    timeout_ms: state.wishes.timeout_ms,
                    alive_from_ms: state.opened_from_ms,
                    next_write: WriteNumber(1),
                    pending: BTreeMap::new(),
                });
            }
            is_new
        };
        if is_new {
            self.world.see(&Event::Opened { session: id });
            self.believe();
        }
        let (number, member) = (self.number, wire.end(1));
        self.world.trace(|| format!("client {number} is attached to member {member} as {id}"));
        self.watch(wire);
        self.resend(wire);
    }

    fn replied(self: &Rc<Self>, write: WriteNumber, zxid: Zxid, reply: &bytes::Bytes) {
        let Some((session, pending)) = self.take(write) else { return };
        let reply = reply.clone();
        self.world.see(&Event::Replied { session, write, zxid, reply: reply.clone() });
        self.world.count(|counts| counts.replies += 1);
        self.settle(session, pending.wish, &reply);
    }

    fn take(&self, write: WriteNumber) -> Option<(SessionId, Pending)> {
        let mut state = self.state.borrow_mut();
        let session = state.session.as_mut()?;
        let pending = session.pending.remove(&write)?;
        Some((session.id, pending))
    }

    fn refused(self: &Rc<Self>, wire: &Rc<Wire>, write: WriteNumber, code: ErrorCode) {
        match code {
            ErrorCode::ResendFrom | ErrorCode::Overloaded | ErrorCode::TooManyUnacknowledged => {
                self.resend(wire);
            }
            code if is_end(code) => self.lose_session(self.clock.monotonic_ms()),
            _ => {
                let Some((session, pending)) = self.take(write) else { return };
                self.world.see(&Event::Refused { session, write, code });
                if let Some(operation) = pending.wish.operation() {
                    let answer = Answered::NotAsked;
                    self.world.see(&Event::Returned { operation, answer });
                }
            }
        }
    }

    fn found(self: &Rc<Self>, wire: &Rc<Wire>, request: u64, zxid: Zxid, found: Option<Found>) {
        let Some(found) = found else {
            // It could not be made fresh.
            return self.read_again(wire, request);
        };
        let Some(wish) = self.state.borrow_mut().reads.remove(&request) else { return };
        if matches!(wish, Wish::Look(_)) {
            self.world.see(&Event::Shown { read: request, zxid });
            self.world.count(|counts| counts.session_reads += 1);
            return;
        }
        self.world.count(|counts| counts.reads += 1);
        self.read(&wish, found);
    }

    fn read_again(self: &Rc<Self>, wire: &Rc<Wire>, request: u64) {
        let (path, is_linearizable) = {
            let state = self.state.borrow();
            let Some(wish) = state.reads.get(&request) else { return };
            let Some(path) = wish.path() else { return };
            (path, !matches!(wish, Wish::Look(_)))
        };
        self.say(wire, ToMember::Read { request, path, is_linearizable });
    }
}

fn is_end(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::SessionEnded | ErrorCode::NoSession)
}

/// Equal for equal bodies; the wire hashes the body's bytes.
fn hash_of(body: &Body) -> u128 {
    format!("{body:?}").bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
