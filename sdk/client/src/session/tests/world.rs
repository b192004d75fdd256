//! A member that drops connections, holds old copies back, reorders replies and refuses at will, but keeps the service's
//! promises; and the oracle that knows what was executed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::limits::SECRET_BYTES;
use quorate_core::session::Acks;
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, PROTOCOLS, Query, Results, ServerMessage, Welcome,
};

use super::super::*;

pub(super) const TIMEOUT_MS: u64 = 60_000;
pub(super) const SESSION: SessionId = SessionId(7);
/// Replies that the fake keeps: few, so that acknowledgements matter.
pub(super) const KEPT_MAX: usize = 6;

pub(super) fn refusal(code: ErrorCode) -> Refusal {
    Refusal::new(code, "as the test wants it")
}

/// A write as it lies in the network.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) request: u64,
    pub(super) number: u64,
    pub(super) acks: Acks,
    pub(super) body: Bytes,
}

/// The replicated part of the service: one session.
#[derive(Default)]
pub(super) struct Service {
    last: u64,
    kept: BTreeMap<u64, (Bytes, Zxid)>,
    acked: BTreeSet<u64>,
    executed: Vec<(Bytes, Zxid)>,
    zxid: u64,
}

impl Service {
    pub(super) fn execute(&mut self, copy: &Copy) -> ServerMessage {
        let request = copy.request;
        let no = |code| ServerMessage::NotExecuted { request, refusal: refusal(code) };
        let reply = |zxid: Zxid, body: &Bytes| ServerMessage::Reply {
            request,
            zxid,
            events: 0,
            reply: body.clone(),
        };
        if copy.number <= self.last {
            return match self.kept.get(&copy.number) {
                Some((body, zxid)) if *body == copy.body => reply(*zxid, body),
                Some(_) => no(ErrorCode::ResendDiffers),
                None => no(ErrorCode::AlreadyAcknowledged),
            };
        }
        if copy.number != self.last + 1 {
            return no(ErrorCode::ResendFrom);
        }
        let is_acked = |number: u64| {
            let write = WriteNumber(number);
            write <= copy.acks.low
                || copy.acks.ranges.iter().any(|(from, to)| (*from..=*to).contains(&write))
        };
        if self.kept.keys().filter(|number| !is_acked(**number)).count() >= KEPT_MAX {
            return no(ErrorCode::TooManyUnacknowledged);
        }
        self.kept.retain(|number, _| !is_acked(*number));
        self.acked.extend((1..=self.last).filter(|number| is_acked(*number)));
        self.last = copy.number;
        self.zxid += 1;
        let zxid = Zxid(self.zxid);
        self.kept.insert(copy.number, (copy.body.clone(), zxid));
        self.executed.push((copy.body.clone(), zxid));
        reply(zxid, &copy.body)
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Submit { is_odd: bool },
    Read,
    Cancel,
    Connect { is_strict: bool },
    Drop { delivered: bool },
    Deliver,
    Refuse(u8),
    Answer { from_end: bool },
    Stale,
    Wait(u16),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(|is_odd| Step::Submit { is_odd }),
        2 => Just(Step::Read),
        1 => Just(Step::Cancel),
        3 => any::<bool>().prop_map(|is_strict| Step::Connect { is_strict }),
        2 => any::<bool>().prop_map(|delivered| Step::Drop { delivered }),
        8 => Just(Step::Deliver),
        2 => any::<u8>().prop_map(Step::Refuse),
        6 => any::<bool>().prop_map(|from_end| Step::Answer { from_end }),
        2 => Just(Step::Stale),
        2 => (0_u16..200).prop_map(Step::Wait),
    ]
}

/// Refusals that pass.
pub(super) const PASSING: [ErrorCode; 6] = [
    ErrorCode::Overloaded,
    ErrorCode::NoLeader,
    ErrorCode::NotExecuted,
    ErrorCode::TooManyUnacknowledged,
    ErrorCode::Internal,
    ErrorCode::DiskFull,
];

pub(super) struct World {
    session: Session,
    service: Service,
    now_ms: u64,
    is_connected: bool,
    /// The member refuses odd bodies for ever; others take them.
    is_strict: bool,
    lane: VecDeque<ClientMessage>,
    answers: VecDeque<ServerMessage>,
    /// Copies that left through connections that are gone.
    stale: VecDeque<Copy>,
    submitted: Vec<(Token, Bytes)>,
    reads: BTreeSet<Token>,
    cancelled: BTreeSet<Token>,
    outcomes: BTreeMap<Token, Outcome>,
    next_token: Token,
}

pub(super) fn is_odd(body: &Bytes) -> bool {
    body.first() == Some(&b'o')
}

impl World {
    pub(super) fn new(key: Option<SessionKey>, service: Service) -> Self {
        Self {
            session: Session::new(key, TIMEOUT_MS, 42),
            service,
            now_ms: 1,
            is_connected: false,
            is_strict: false,
            lane: VecDeque::new(),
            answers: VecDeque::new(),
            stale: VecDeque::new(),
            submitted: Vec::new(),
            reads: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            next_token: 1,
        }
    }

    pub(super) fn take_step(&mut self, step: Step) {
        match step {
            Step::Submit { is_odd } => self.submit(is_odd),
            Step::Read => {
                let token = self.token();
                self.reads.insert(token);
                let query = Query::Stat("/".to_owned());
                self.session.submit(token, Ask::Read(Consistency::Linearizable, query));
            }
            Step::Cancel => {
                if let Some((token, _)) = self.submitted.last() {
                    self.cancelled.insert(*token);
                    self.session.cancel(*token);
                }
            }
            Step::Connect { is_strict } if !self.is_connected => self.connect(is_strict),
            Step::Connect { .. } => {}
            Step::Drop { delivered } => self.drop_connection(delivered),
            Step::Deliver => self.deliver(None),
            Step::Refuse(which) => {
                self.deliver(Some(PASSING[usize::from(which) % PASSING.len()]));
            }
            Step::Answer { from_end } => {
                // What a read waited for is said before its answer.
                let is_read = matches!(self.answers.back(), Some(ServerMessage::ReadReply { .. }));
                let message = match from_end && !is_read {
                    true => self.answers.pop_back(),
                    false => self.answers.pop_front(),
                };
                if let Some(message) = message {
                    self.hand_over(message);
                }
            }
            Step::Stale => {
                if let Some(copy) = self.stale.pop_front() {
                    self.service.execute(&copy);
                }
            }
            Step::Wait(ms) => self.now_ms += u64::from(ms),
        }
        self.pump();
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token - 1
    }

    fn submit(&mut self, is_odd: bool) {
        let token = self.token();
        let kind = if is_odd { 'o' } else { 'e' };
        let body = Bytes::from(format!("{kind}{token}"));
        self.submitted.push((token, body.clone()));
        self.session.submit(token, Ask::Write(body));
    }

    fn connect(&mut self, is_strict: bool) {
        self.is_connected = true;
        self.is_strict = is_strict;
        let attach = self.session.attach(self.now_ms);
        let is_new = matches!(attach, Attach::New { .. });
        assert!(!is_new || self.service.executed.is_empty());
        let welcome = Welcome {
            protocol: PROTOCOLS.max,
            agent: "fake".to_owned(),
            session: SESSION,
            secret: [1; SECRET_BYTES],
            timeout_ms: TIMEOUT_MS,
            attachment: 1,
            zxid: Zxid(self.service.zxid),
            // This member lags: the number is a lower bound.
            last_write: WriteNumber(self.service.last.saturating_sub(3)),
            members: Vec::new(),
        };
        assert_eq!(
            self.session.handle_message(ServerMessage::Welcome(welcome), self.now_ms),
            Flow::GoOn
        );
    }

    fn drop_connection(&mut self, delivered: bool) {
        let copies = self.lane.drain(..).filter_map(|message| match message {
            ClientMessage::Write { request, write, acks, body } => {
                Some(Copy { request, number: write.0, acks, body })
            }
            _ => None,
        });
        let strict = self.is_strict;
        if delivered {
            self.stale.extend(copies.filter(|copy| !(strict && is_odd(&copy.body))));
        } else {
            drop(copies);
        }
        self.answers.clear();
        self.is_connected = false;
        self.session.handle_disconnected();
    }

    /// The next message on the lane reaches the service, or is refused on the way.
    fn deliver(&mut self, refused: Option<ErrorCode>) {
        let Some(message) = self.lane.pop_front() else { return };
        let answer = match message {
            ClientMessage::Write { request, write, acks, body } => {
                let copy = Copy { request, number: write.0, acks, body };
                let code = match refused {
                    Some(code) => Some(code),
                    None if self.is_strict && is_odd(&copy.body) => Some(ErrorCode::LimitPassed),
                    None => None,
                };
                match code {
                    Some(code) => ServerMessage::NotExecuted { request, refusal: refusal(code) },
                    None => self.service.execute(&copy),
                }
            }
            ClientMessage::Read { request, .. } => ServerMessage::ReadReply {
                request,
                zxid: Zxid(self.service.zxid),
                events: 0,
                results: refused.map_or(Ok(Results::Logs(Vec::new())), |code| Err(refusal(code))),
            },
            ClientMessage::Heartbeat { request } => ServerMessage::Confirmed { request },
            other => panic!("a session never sends {other:?}"),
        };
        self.answers.push_back(answer);
    }

    fn hand_over(&mut self, message: ServerMessage) {
        match self.session.handle_message(message, self.now_ms) {
            Flow::GoOn => {}
            Flow::Leave => self.drop_connection(false),
            Flow::Rejected(refusal) => panic!("nobody rejected: {refusal}"),
        }
    }

    fn pump(&mut self) {
        self.lane.extend(self.session.poll_heartbeat(self.now_ms));
        while let Some(message) = self.session.poll_transmit(self.now_ms) {
            assert!(self.is_connected, "sent without a connection: {message:?}");
            self.lane.push_back(message);
        }
        while let Some((token, outcome)) = self.session.poll_outcome() {
            let before = self.outcomes.insert(token, outcome);
            assert!(before.is_none(), "two outcomes for request {token}");
        }
    }

    /// The network heals: everything is answered in the end.
    pub(super) fn settle(&mut self) {
        self.is_strict = false;
        for _ in 0..5_000 {
            if self.outcomes.len() == self.submitted.len() + self.reads.len() {
                break;
            }
            self.take_step(Step::Connect { is_strict: false });
            if self.answers.is_empty() && self.lane.is_empty() {
                self.take_step(Step::Wait(100));
            }
            self.take_step(Step::Deliver);
            self.take_step(Step::Answer { from_end: false });
        }
        while let Some(copy) = self.stale.pop_front() {
            self.service.execute(&copy);
        }
    }

    pub(super) fn check(&self) {
        let executed: Vec<&Bytes> = self
            .service
            .executed
            .iter()
            .map(|(body, _)| body)
            .filter(|body| matches!(body.first(), Some(b'o' | b'e')))
            .collect();
        let mut expected = Vec::new();
        for (token, body) in &self.submitted {
            let outcome = self.outcomes.get(token).expect("every caller is answered");
            match outcome {
                Outcome::Replied(zxid, reply) => {
                    assert_eq!(reply, body, "the reply is this write's");
                    let there = self.service.executed.contains(&(body.clone(), *zxid));
                    assert!(there, "write {token} was executed in transaction {zxid}");
                    expected.push(body);
                }
                Outcome::Refused(refusal) => {
                    let is_known = is_odd(body)
                        || self.cancelled.contains(token)
                        || refusal.code == ErrorCode::DiskFull;
                    assert!(is_known, "write {token} was refused: {refusal}");
                }
                other => panic!("write {token} came to {other:?}"),
            }
        }
        assert_eq!(executed, expected, "each once, in order, and nothing else");
        for read in &self.reads {
            let Outcome::Found(found, _) = self.outcomes[read] else { continue };
            for (write, _) in self.submitted.iter().filter(|(write, _)| write < read) {
                if let Outcome::Replied(zxid, _) = self.outcomes[write] {
                    assert!(zxid <= found, "read {read} does not see write {write} before it");
                }
            }
        }
    }
}
