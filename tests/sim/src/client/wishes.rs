//! What a client asks for, and what it makes of the answers: counters, znodes, locks, a queue, ephemeral znodes. It knows
//! neither sessions nor connections.

use std::rc::Rc;

use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::ids::SessionId;
use quorate_core::request::{Answer, Body, LifetimeKind, Operation, Reply, Sequence};
use quorate_history::models::{CounterCall, QueueAnswer, QueueCall, ZnodeAnswer, ZnodeCall};

use super::Client;
use crate::check::event::{Answered, Event, Question};
use crate::lane::{Found, ToMember};
use crate::recipes::{COUNTERS, CROWD, LOCKS, QUEUE, ZNODES, call, number};
use crate::wire::Wire;

/// What one request is about.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// A counter is added to.
    Add(u64),
    /// A counter is read.
    Count(u64, String),
    /// A znode is created, set or deleted.
    Znode(u64),
    /// A znode is read.
    Get(u64, String),
    /// A znode is read as it is for the session.
    Look(String),
    /// An item is put.
    Put(u64),
    /// An item is taken, when there is one.
    Take(u64),
    /// A lock is acquired.
    Acquire(String),
    /// A lock is given back.
    Release,
    /// An ephemeral znode is made.
    Join,
    /// A waiting call is given up.
    Cancel,
}

/// What a client has in mind.
#[derive(Default)]
pub(super) struct Wishes {
    /// Of the session that it opens.
    pub timeout_ms: u64,
    /// Locks that it holds, with the znodes that hold them, and when it gives them back.
    held: Vec<(String, String, u64)>,
    /// Versions of znodes, as they were seen last.
    versions: Vec<u64>,
}

impl Wish {
    /// Whether it may wait for ever.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Acquire(_) | Self::Take(_))
    }

    /// The operation of a history.
    pub(super) fn operation(&self) -> Option<u64> {
        match self {
            Self::Add(operation)
            | Self::Count(operation, _)
            | Self::Znode(operation)
            | Self::Get(operation, _)
            | Self::Put(operation)
            | Self::Take(operation) => Some(*operation),
            _ => None,
        }
    }

    /// What is read.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Self::Count(_, path) | Self::Get(_, path) | Self::Look(path) => Some(path.clone()),
            _ => None,
        }
    }
}

fn code_of(reply: &Reply) -> Option<ErrorCode> {
    match reply {
        Reply::Refused(failure) => Some(failure.refusal.code),
        Reply::Done(_) => None,
    }
}

fn value_of(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Done(Answer::Called(value)) => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    }
}

impl Client {
    fn called(&self, object: &str, question: Question) -> u64 {
        let operation = self.world.next();
        let object = object.to_owned();
        self.world.see(&Event::Called { operation, object, question });
        operation
    }

    /// Asks for something.
    pub(super) fn wish(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) {
        if self.release_due(wire, now_ms) {
            return;
        }
        let object = self.random.below(2);
        let counter = COUNTERS[usize::from(object == 1)];
        match self.random.below(18) {
            16..=17 => self.ask(wire, Wish::Look(counter.to_owned())),
            0..=2 => {
                let operation = self.called(counter, Question::Counter(CounterCall::Add(1)));
                let body = call("add", &format!("{counter} 1"));
                self.write(wire, body, Wish::Add(operation), now_ms);
            }
            3..=4 => {
                let operation = self.called(counter, Question::Counter(CounterCall::Get));
                self.ask(wire, Wish::Count(operation, counter.to_owned()));
            }
            5..=8 => self.znode(wire, now_ms),
            9..=10 => {
                let path = format!("{ZNODES}/{}", self.random.below(3));
                let operation = self.called(&path, Question::Znode(ZnodeCall::Get));
                self.ask(wire, Wish::Get(operation, path));
            }
            11 => {
                let item = self.world.next();
                let operation = self.called(QUEUE, Question::Queue(QueueCall::Offer(item)));
                let body = call("put", &format!("{QUEUE} {item}"));
                self.write(wire, body, Wish::Put(operation), now_ms);
            }
            12 if !self.waits_for_item() => {
                let operation = self.called(QUEUE, Question::Queue(QueueCall::Take));
                self.write(wire, call("take", QUEUE), Wish::Take(operation), now_ms);
            }
            13..=14 => {
                let lock = LOCKS[usize::from(object == 1)];
                if !self.wants(lock) {
                    let patience = if self.random.one_in(4) { " 900" } else { "" };
                    let body = call("acquire", &format!("{lock}{patience}"));
                    self.write(wire, body, Wish::Acquire(lock.to_owned()), now_ms);
                }
            }
            _ => {
                let body = Body::Single(Operation::Create {
                    path: format!("{CROWD}/x-"),
                    data: Bytes::new(),
                    lifetime: LifetimeKind::Ephemeral,
                    sequence: Sequence::Native,
                    parents: false,
                    acl: None,
                });
                self.write(wire, body, Wish::Join, now_ms);
            }
        }
    }

    fn waits_for_item(&self) -> bool {
        self.any_pending(|wish| matches!(wish, Wish::Take(_)))
    }

    /// Whether it holds this lock, waits for it, or is giving one back.
    fn wants(&self, lock: &str) -> bool {
        let holds = self.state.borrow().wishes.held.iter().any(|(held, ..)| held == lock);
        holds || self.any_pending(|wish| matches!(wish, Wish::Acquire(wanted) if wanted == lock))
    }

    fn any_pending(&self, is: impl Fn(&Wish) -> bool) -> bool {
        let state = self.state.borrow();
        let mut pending = state.session.iter().flat_map(|session| session.pending.values());
        pending.any(|pending| is(&pending.wish))
    }

    fn ask(self: &Rc<Self>, wire: &Rc<Wire>, wish: Wish) {
        let Some(path) = wish.path() else { return };
        let request = self.world.next();
        let is_linearizable = !matches!(wish, Wish::Look(_));
        if let (false, Some(session)) = (is_linearizable, self.session_id()) {
            self.world.see(&Event::Asked { session, read: request });
        }
        self.state.borrow_mut().reads.insert(request, wish);
        self.say(wire, ToMember::Read { request, path, is_linearizable });
    }

    fn znode(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) {
        let path = format!("{ZNODES}/{}", self.random.below(3));
        let serial = self.world.next();
        let data = Bytes::from(serial.to_string());
        let version = {
            let state = self.state.borrow();
            let seen = self.random.pick(&state.wishes.versions).copied();
            seen.filter(|_| self.random.one_in(2))
        };
        let (question, operation) = match self.random.below(6) {
            0..=1 => {
                let lifetime = LifetimeKind::Persistent;
                let sequence = Sequence::None;
                let path = path.clone();
                let create =
                    Operation::Create { path, data, lifetime, sequence, parents: false, acl: None };
                (ZnodeCall::Create(serial), create)
            }
            2 => {
                let delete = Operation::Delete { path: path.clone(), condition: version.into() };
                (ZnodeCall::Delete(version), delete)
            }
            _ => {
                let set = Operation::Set { path: path.clone(), data, condition: version.into() };
                (ZnodeCall::Set(serial, version), set)
            }
        };
        let asked = self.called(&path, Question::Znode(question));
        self.write(wire, Body::Single(operation), Wish::Znode(asked), now_ms);
    }

    /// Gives a lock back whose time has come. Whether there was one.
    fn release_due(self: &Rc<Self>, wire: &Rc<Wire>, now_ms: u64) -> bool {
        let due = {
            let mut state = self.state.borrow_mut();
            let held = &mut state.wishes.held;
            let at = held.iter().position(|(_, _, until_ms)| *until_ms <= now_ms);
            at.map(|at| held.remove(at))
        };
        let Some((lock, holder, _)) = due else { return false };
        self.world.trace(|| format!("client {} gives {holder} back", self.number));
        if let Some(session) = self.session_id() {
            self.world.see(&Event::LeavesLock { session, lock });
        }
        self.write(wire, call("release", &holder), Wish::Release, now_ms);
        true
    }

    /// Gives back whatever it holds.
    pub(super) fn release_all(self: &Rc<Self>, wire: &Rc<Wire>, _now_ms: u64) {
        let _released = self.release_due(wire, u64::MAX);
    }

    fn session_id(&self) -> Option<SessionId> {
        self.state.borrow().session.as_ref().map(|session| session.id)
    }

    /// A write was executed.
    pub(super) fn settle(&self, session: SessionId, wish: Wish, reply: &Bytes) {
        let Ok(reply) = Reply::decode(reply.clone()) else {
            self.world.panics.borrow_mut().push("a reply that can not be read".to_owned());
            return;
        };
        let answer =
            match &wish {
                Wish::Add(_) => {
                    value_of(&reply).and_then(|value| value.parse().ok()).map(Answered::Counter)
                }
                Wish::Znode(_) => self.znode_answer(&reply).map(Answered::Znode),
                Wish::Put(_) => value_of(&reply).map(|_| Answered::Queue(QueueAnswer::Offered)),
                Wish::Take(_) => {
                    let item = value_of(&reply).and_then(|value| value.parse().ok());
                    Some(item.map_or(Answered::NotAsked, |item| {
                        Answered::Queue(QueueAnswer::Item(item))
                    }))
                }
                Wish::Acquire(lock) => {
                    if let Some(value) = value_of(&reply) {
                        self.granted(session, lock, &value);
                    }
                    return;
                }
                _ => return,
            };
        let Some(operation) = wish.operation() else { return };
        match answer {
            Some(answer) => self.world.see(&Event::Returned { operation, answer }),
            None => {
                let message = format!("{wish:?} is answered {reply:?}");
                self.world.panics.borrow_mut().push(message);
            }
        }
    }

    fn granted(&self, session: SessionId, lock: &str, value: &str) {
        let Some((token, holder)) = value.split_once(' ') else { return };
        if token.parse::<u64>().is_err() {
            // It gave up.
            return;
        }
        self.world.trace(|| format!("client {} holds {holder} in {session}", self.number));
        self.world.see(&Event::HoldsLock { session, lock: lock.to_owned() });
        self.world.count(|counts| counts.grants += 1);
        let until_ms = self.clock.monotonic_ms() + self.random.below(400);
        let held = (lock.to_owned(), holder.to_owned(), until_ms);
        self.state.borrow_mut().wishes.held.push(held);
    }

    fn znode_answer(&self, reply: &Reply) -> Option<ZnodeAnswer> {
        let version = match reply {
            Reply::Done(Answer::Created { stat, .. } | Answer::Stat(stat)) => Some(stat.version),
            Reply::Done(_) => None,
            Reply::Refused(_) => {
                return match code_of(reply)? {
                    ErrorCode::NoNode => Some(ZnodeAnswer::NoNode),
                    ErrorCode::NodeExists => Some(ZnodeAnswer::Exists),
                    ErrorCode::BadVersion => Some(ZnodeAnswer::BadVersion),
                    _ => None,
                };
            }
        };
        if let Some(version) = version {
            let mut state = self.state.borrow_mut();
            let versions = &mut state.wishes.versions;
            versions.push(version);
            if versions.len() > 4 {
                versions.remove(0);
            }
        }
        Some(ZnodeAnswer::Done(version))
    }

    /// A read was answered.
    pub(super) fn read(&self, wish: &Wish, found: Found) {
        let answer = match wish {
            Wish::Count(..) => {
                let data = found.map(|(data, _)| data).unwrap_or_default();
                Answered::Counter(number(&data))
            }
            _ => Answered::Znode(match found {
                None => ZnodeAnswer::NoNode,
                Some((data, version)) => {
                    let serial = u64::try_from(number(&data)).unwrap_or(0);
                    ZnodeAnswer::Is(serial, version)
                }
            }),
        };
        if let Some(operation) = wish.operation() {
            self.world.see(&Event::Returned { operation, answer });
        }
    }
}
