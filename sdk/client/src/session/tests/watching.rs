//! The session's watches against members that lag, forget, cut events in pieces, answer late and vanish, but keep the promises
//! of docs/protocol.md; and the oracle that knows what happened.

mod one;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::ids::Zxid;
use quorate_core::limits::SECRET_BYTES;
use quorate_wire::message::watch::{
    Event, EventKind, EventMessage, Previous, Scope, Watch, WatchEnd, Watched,
};
use quorate_wire::message::{
    ClientMessage, Consistency, PROTOCOLS, Query, Results, ServerMessage, Welcome,
};

use super::world::{SESSION, TIMEOUT_MS};
use crate::outbox::{End, Notice, Outbox};

use super::super::*;

const MEMBERS: usize = 3;
/// A watch is about one of so many paths; each transaction touches one of them twice.
const PATHS: u8 = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open {
        path: u8,
        back: Option<u8>,
    },
    Close(u8),
    Write(u8),
    Read,
    /// Somebody else writes.
    Happen(u8),
    Apply {
        member: u8,
        most: u8,
        in_pieces: bool,
    },
    Forget {
        member: u8,
        keep: u8,
    },
    Connect(u8),
    Drop,
    /// A request reaches the member.
    Deliver,
    /// One of the answers that the member has made goes on the lane.
    Send(u8),
    Answer,
    Event,
    Progress,
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS;
    prop_oneof![
        2 => (path(), prop::option::of(0_u8..6)).prop_map(|(path, back)| Step::Open { path, back }),
        1 => any::<u8>().prop_map(Step::Close),
        3 => path().prop_map(Step::Write),
        2 => Just(Step::Read),
        3 => path().prop_map(Step::Happen),
        6 => (any::<u8>(), 1_u8..4, any::<bool>())
            .prop_map(|(member, most, in_pieces)| Step::Apply { member, most, in_pieces }),
        1 => (any::<u8>(), 0_u8..9).prop_map(|(member, keep)| Step::Forget { member, keep }),
        3 => any::<u8>().prop_map(Step::Connect),
        1 => Just(Step::Drop),
        8 => Just(Step::Deliver),
        8 => any::<u8>().prop_map(Step::Send),
        8 => Just(Step::Answer),
        8 => Just(Step::Event),
        1 => Just(Step::Progress),
        3 => Just(Step::Take),
    ]
}

fn name(path: u8) -> String {
    format!("/{path}")
}

/// What the client knows of a watch, and what it was told.
struct Told {
    path: u8,
    outbox: Arc<Outbox>,
    token: Token,
    from: Option<Zxid>,
    /// Everything later has to come. None: it is not known yet.
    start: Option<Zxid>,
    told: Vec<Zxid>,
    /// It has been answered: from now on replies come behind its events. Before, the past is on its way.
    is_answered: bool,
    end: Option<End>,
}

/// The lane of the moment, with what is on its way.
#[derive(Default)]
struct Lane {
    member: usize,
    requests: VecDeque<ClientMessage>,
    /// Watches that begin where the member has not come yet.
    early: Vec<(u64, Watch)>,
    /// Writes whose transaction the member has yet to apply.
    unapplied: Vec<(u64, Zxid)>,
    open: BTreeMap<u64, String>,
    /// Made, and not yet on the lane.
    made: Vec<ServerMessage>,
    answers: VecDeque<ServerMessage>,
    frames: VecDeque<EventMessage>,
    frames_count: u64,
    attachment: u64,
}

struct World {
    session: Session,
    now_ms: u64,
    attachment: u64,
    lane: Option<Lane>,
    /// The member that could not serve a watch.
    left: Option<usize>,
    /// The path of each transaction, from zxid 1 on.
    log: Vec<u8>,
    applied: [usize; MEMBERS],
    /// The lowest position that each has the events behind.
    oldest: [usize; MEMBERS],
    executed: BTreeMap<u64, Zxid>,
    watches: BTreeMap<u64, Told>,
    requests: BTreeSet<Token>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let session = Session::new(None, TIMEOUT_MS, 42);
        Self {
            session,
            now_ms: 1,
            attachment: 0,
            lane: None,
            left: None,
            log: vec![0; 4],
            applied: [4; MEMBERS],
            oldest: [0; MEMBERS],
            executed: BTreeMap::new(),
            watches: BTreeMap::new(),
            requests: BTreeSet::new(),
            next: 1,
        }
    }

    fn zxid(&self) -> Zxid {
        Zxid(self.log.len() as u64)
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        self.next - 1
    }

    fn take_step(&mut self, step: Step) {
        match step {
            Step::Open { path, back } => self.open(path, back),
            Step::Close(which) => {
                if let Some(id) = self.pick(which) {
                    self.watches.remove(&id).expect("it was picked").outbox.abandon();
                    let flow = self.session.close_watch(id, self.now_ms);
                    self.follow(flow);
                }
            }
            Step::Write(path) => {
                let token = self.token();
                self.requests.insert(token);
                self.session.submit(token, Ask::Write(Bytes::copy_from_slice(&[path])));
            }
            Step::Read => {
                let token = self.token();
                self.requests.insert(token);
                let query = Query::Stat("/".to_owned());
                self.session.submit(token, Ask::Read(Consistency::Session, query));
            }
            Step::Happen(path) => self.log.push(path),
            Step::Apply { member, most, in_pieces } => {
                for _ in 0..most {
                    self.apply(usize::from(member) % MEMBERS, in_pieces);
                }
            }
            Step::Forget { member, keep } => {
                let member = usize::from(member) % MEMBERS;
                let oldest = self.applied[member].saturating_sub(usize::from(keep));
                self.oldest[member] = self.oldest[member].max(oldest);
            }
            Step::Connect(member) => self.connect(usize::from(member) % MEMBERS),
            Step::Drop => self.drop_lane(),
            Step::Deliver => self.deliver(),
            Step::Send(which) => self.send(usize::from(which)),
            Step::Answer => {
                if let Some(message) = self.lane.as_mut().and_then(|lane| lane.answers.pop_front())
                {
                    let flow = self.session.handle_message(message, self.now_ms);
                    self.follow(flow);
                }
            }
            Step::Event => {
                if let Some(frame) = self.lane.as_mut().and_then(|lane| lane.frames.pop_front()) {
                    let flow = self.session.handle_event(frame, self.now_ms);
                    self.follow(flow);
                }
            }
            Step::Progress => {
                if let Some(lane) = &mut self.lane
                    && lane.frames_count > 0
                {
                    let zxid = Zxid(self.applied[lane.member] as u64);
                    lane.event(EventMessage::Progress { zxid });
                }
            }
            Step::Take => self.take(),
        }
        self.pump();
    }

    fn pick(&self, which: u8) -> Option<u64> {
        let count = self.watches.len().max(1);
        self.watches.keys().nth(usize::from(which) % count).copied()
    }

    fn open(&mut self, path: u8, back: Option<u8>) {
        let token = self.token();
        let from = back.map(|back| Zxid(self.zxid().0.saturating_sub(u64::from(back))));
        let outbox = Arc::new(Outbox::new(self.session.seen(), from, 1 << 20, true));
        let watch = Watch {
            watch: token,
            path: name(path),
            scope: Scope::Node,
            from,
            once: false,
            with_data: false,
            with_previous: false,
            first: None,
        };
        let told = Told {
            path,
            outbox: outbox.clone(),
            token,
            from,
            start: None,
            told: Vec::new(),
            is_answered: false,
            end: None,
        };
        self.watches.insert(token, told);
        let ask = WatchAsk { consistency: Consistency::Session, watch, outbox };
        self.session.submit(token, Ask::Watch(Box::new(ask)));
    }

    fn connect(&mut self, member: usize) {
        if self.lane.is_some() {
            return;
        }
        // Who has left one member goes to the next.
        let member = self.left.take().map_or(member, |left| (left + 1) % MEMBERS);
        self.attachment += 1;
        self.session.attach(self.now_ms);
        let welcome = Welcome {
            protocol: PROTOCOLS.max,
            agent: "fake".to_owned(),
            session: SESSION,
            secret: [1; SECRET_BYTES],
            timeout_ms: TIMEOUT_MS,
            attachment: self.attachment,
            zxid: Zxid(self.applied[member] as u64),
            last_write: WriteNumber(0),
            members: Vec::new(),
        };
        let flow = self.session.handle_message(ServerMessage::Welcome(welcome), self.now_ms);
        assert_eq!(flow, Flow::GoOn);
        self.session.set_address(&name(u8::try_from(member).expect("few")), MEMBERS);
        let attachment = self.attachment;
        self.lane = Some(Lane { member, attachment, ..Lane::default() });
    }

    fn drop_lane(&mut self) {
        self.lane = None;
        self.session.handle_disconnected();
    }

    fn follow(&mut self, flow: Flow) {
        match flow {
            Flow::GoOn => {}
            Flow::Leave => {
                self.left = self.lane.as_ref().map(|lane| lane.member);
                self.drop_lane();
            }
            Flow::Rejected(refusal) => panic!("nobody rejected: {refusal}"),
        }
    }

    /// A member applies the next transaction: its events are queued, then what it lets be answered.
    fn apply(&mut self, member: usize, in_pieces: bool) {
        let Some(path) = self.log.get(self.applied[member]).copied() else { return };
        self.applied[member] += 1;
        let zxid = Zxid(self.applied[member] as u64);
        let Some(lane) = self.lane.as_mut().filter(|lane| lane.member == member) else { return };
        let watching: Vec<u64> =
            lane.open.iter().filter(|(_, at)| **at == name(path)).map(|(id, _)| *id).collect();
        lane.tell(&watching, zxid, path, in_pieces);
        let applied = self.applied[member] as u64;
        let (now, later) = lane.unapplied.drain(..).partition(|(_, zxid)| zxid.0 <= applied);
        lane.unapplied = later;
        let now: Vec<(u64, Zxid)> = now;
        lane.made.extend(now.into_iter().map(|(request, zxid)| replied(request, zxid)));
        for (request, watch) in std::mem::take(&mut lane.early) {
            self.watch(request, watch);
        }
    }

    /// The next request reaches the member.
    fn deliver(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        let Some(message) = lane.requests.pop_front() else { return };
        let applied = Zxid(self.applied[lane.member] as u64);
        match message {
            ClientMessage::Read { request, query: Query::Watch(watch), .. } => {
                self.watch(request, watch);
            }
            ClientMessage::Read { request, query: Query::Unwatch(id), .. } => {
                lane.open.remove(&id);
                lane.made.push(found(request, applied, Results::Unwatched));
            }
            ClientMessage::Read { request, .. } => {
                lane.made.push(found(request, applied, Results::Logs(Vec::new())));
            }
            ClientMessage::Heartbeat { request } => {
                lane.answers.push_back(ServerMessage::Confirmed { request });
            }
            ClientMessage::Write { request, write, body, .. } => {
                let next = self.executed.len() as u64 + 1;
                assert!(write.0 <= next, "nothing is lost here");
                if write.0 == next {
                    self.log.push(*body.first().unwrap_or(&0) % PATHS);
                    self.executed.insert(next, Zxid(self.log.len() as u64));
                }
                let zxid = self.executed[&write.0];
                match zxid <= applied {
                    true => lane.made.push(replied(request, zxid)),
                    false => lane.unapplied.push((request, zxid)),
                }
            }
            other => panic!("a session never sends {other:?}"),
        }
    }

    fn watch(&mut self, request: u64, watch: Watch) {
        let Some(lane) = &mut self.lane else { return };
        let applied = self.applied[lane.member];
        let from = watch.from.map_or(applied, |from| usize::try_from(from.0).expect("few"));
        if from > applied {
            lane.early.push((request, watch));
            return;
        }
        let oldest = self.oldest[lane.member];
        let watched = if from < oldest {
            Watched::NotHere { oldest: Zxid(oldest as u64) }
        } else {
            for at in from..applied {
                if name(self.log[at]) == watch.path {
                    lane.tell(&[watch.watch], Zxid(at as u64 + 1), self.log[at], at % 2 == 0);
                }
            }
            let before = lane.open.insert(watch.watch, watch.path);
            assert_eq!(before, None, "opened twice");
            Watched::Open { first: None }
        };
        lane.made.push(found(request, Zxid(applied as u64), Results::Watched(watched)));
    }

    fn send(&mut self, which: usize) {
        let Some(lane) = &mut self.lane else { return };
        if lane.made.is_empty() {
            return;
        }
        let mut message = lane.made.remove(which % lane.made.len());
        if let ServerMessage::Reply { events, .. } | ServerMessage::ReadReply { events, .. } =
            &mut message
        {
            *events = lane.frames_count;
        }
        lane.answers.push_back(message);
    }

    fn pump(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.requests.extend(self.session.poll_heartbeat(self.now_ms));
            while let Some(message) = self.session.poll_transmit(self.now_ms) {
                lane.requests.push_back(message);
            }
        }
        while let Some((token, outcome)) = self.session.poll_outcome() {
            if let Some(told) = self.watches.get_mut(&token) {
                let Outcome::Found(zxid, _) = outcome else { continue };
                told.start = Some(told.from.unwrap_or(zxid));
                continue;
            }
            match outcome {
                Outcome::Replied(zxid, _) | Outcome::Found(zxid, _) => {
                    self.requests.remove(&token);
                    self.check_told_up_to(zxid);
                }
                // A watch that was given up.
                Outcome::Refused(_) => {}
                Outcome::Lost { .. } => panic!("the session lives"),
            }
        }
    }

    /// The reader of each open watch takes what is there.
    fn take(&mut self) {
        for told in self.watches.values_mut().filter(|told| told.start.is_some()) {
            while let Some(notice) = told.outbox.try_take() {
                match notice {
                    Notice::Change(change) => {
                        assert_eq!(change.events.len(), 2, "a transaction is told as a whole");
                        told.told.push(change.zxid);
                    }
                    Notice::Progress(zxid) => assert!(told.outbox.position() >= zxid),
                }
            }
        }
        for told in self.watches.values_mut() {
            told.is_answered |= told.outbox.is_open();
            told.end = told.end.take().or_else(|| told.outbox.take_end());
        }
        self.check();
    }

    fn expected(&self, told: &Told, to: Zxid) -> Vec<Zxid> {
        let Some(start) = told.start else { return Vec::new() };
        let all = self.log.iter().zip(1..).map(|(path, zxid)| (*path, Zxid(zxid)));
        let its = all.filter(|(path, zxid)| *path == told.path && *zxid > start && *zxid <= to);
        its.map(|(_, zxid)| zxid).collect()
    }

    /// Each was told the first of what it was to be told, once, in order, and nothing below its position is missing.
    fn check(&self) {
        for told in self.watches.values().filter(|told| told.start.is_some()) {
            let expected = self.expected(told, self.zxid());
            assert!(expected.starts_with(&told.told), "{:?} of {expected:?}", told.told);
            let below = self.expected(told, told.outbox.position());
            assert_eq!(below, told.told, "below the position {}", told.outbox.position());
        }
    }

    /// A reply that reflects this transaction has been handed over.
    fn check_told_up_to(&mut self, zxid: Zxid) {
        self.take();
        for told in self.watches.values() {
            let open = told.is_answered && told.start.is_some() && told.end.is_none();
            let expected = self.expected(told, zxid);
            let has = told.told.starts_with(&expected);
            assert!(
                !open || has,
                "a reply at {zxid} overtook events: {:?} of {expected:?}",
                told.told
            );
        }
    }

    /// All members catch up and forget nothing more: everything is told in the end.
    fn settle(&mut self) {
        for round in 0..2_000_u16 {
            for member in 0..3 {
                self.take_step(Step::Apply { member, most: 20, in_pieces: false });
            }
            for step in
                [Step::Connect(round.to_le_bytes()[0]), Step::Deliver, Step::Send(0), Step::Event]
            {
                self.take_step(step);
            }
            self.take_step(Step::Answer);
            self.take_step(Step::Take);
            self.now_ms += 100;
            let is_quiet = self.lane.as_ref().is_some_and(Lane::is_quiet);
            let is_open = |told: &Told| told.start.is_some() || told.has_ended();
            if is_quiet && self.requests.is_empty() && self.watches.values().all(is_open) {
                break;
            }
        }
        self.take();
        assert!(self.requests.is_empty(), "{:?} were not answered", self.requests);
        for told in self.watches.values() {
            match &told.end {
                None => {
                    let expected = self.expected(told, self.zxid());
                    assert_eq!(told.told, expected, "watch {} from {:?}", told.token, told.start);
                }
                Some(End::Compacted { oldest }) => {
                    let position = told.outbox.position();
                    assert!(position < *oldest, "it was not to be ended");
                    for has in self.oldest {
                        assert!(position.0 < has as u64, "a member has it: {:?}", self.oldest);
                    }
                }
                Some(other) => panic!("it ended with {other:?}"),
            }
        }
    }
}

impl Told {
    fn has_ended(&self) -> bool {
        self.end.is_some()
    }
}

impl Lane {
    fn event(&mut self, frame: EventMessage) {
        self.frames.push_back(frame);
        self.frames_count += 1;
    }

    /// Two events of one transaction, for each of these watches.
    fn tell(&mut self, watches: &[u64], zxid: Zxid, path: u8, in_pieces: bool) {
        let event = |version| Event {
            path: name(path),
            kind: EventKind::Set,
            version,
            data: None,
            previous: Previous::None,
        };
        let frame = |watch, events, has_more| EventMessage::Events {
            watch,
            zxid,
            time_ms: zxid.0,
            events,
            has_more,
        };
        // The pieces of one watch's events stand between those of the others.
        for &watch in watches.iter().filter(|_| in_pieces) {
            self.begin();
            self.event(frame(watch, vec![event(1)], true));
        }
        for &watch in watches {
            self.begin();
            let events = if in_pieces { vec![event(2)] } else { vec![event(1), event(2)] };
            self.event(frame(watch, events, false));
        }
    }

    fn begin(&mut self) {
        if self.frames_count == 0 {
            let attachment = self.attachment;
            self.frames.push_back(EventMessage::Head { session: SESSION, attachment });
        }
    }

    fn is_quiet(&self) -> bool {
        self.requests.is_empty()
            && self.early.is_empty()
            && self.unapplied.is_empty()
            && self.made.is_empty()
            && self.answers.is_empty()
            && self.frames.is_empty()
    }
}

fn replied(request: u64, zxid: Zxid) -> ServerMessage {
    ServerMessage::Reply { request, zxid, events: 0, reply: Bytes::new() }
}

fn found(request: u64, zxid: Zxid, results: Results) -> ServerMessage {
    ServerMessage::ReadReply { request, zxid, events: 0, results: Ok(results) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_event_is_told_once_in_order_and_before_every_reply_that_reflects_it(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take_step(step);
        }
        world.settle();
    }
}
