//! Clients, and the part of a gateway that serves them: unanswered requests are kept, sent again in order when an epoch
//! opens, and answered from applied entries. What a client was told is never taken back: each second answer must be the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::{
    Answer, Body, Call, LifetimeKind, Operation, Reply, Request, Sequence,
};
use quorate_core::session::Acks;
use quorate_sequencer::Token;

/// What a client was told about a write, once and for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It was executed.
    Replied { zxid: Zxid, reply: Reply },
    /// It was not.
    Refused(Refusal),
}

/// A client with one session.
pub struct Client {
    /// Comes back with direct answers. The attachment, in the words of the gateway.
    pub token: Token,
    /// The member whose gateway it is connected to.
    pub member: usize,
    pub timeout_ms: u64,
    pub session: Option<SessionId>,
    /// How often the answer to its opening came.
    pub opened: u32,
    pub open_refused: Option<Refusal>,
    pub next_write: WriteNumber,
    pub unanswered: BTreeMap<WriteNumber, Arc<Request>>,
    /// Of the unanswered ones: their first run was applied.
    pub waiting: BTreeSet<WriteNumber>,
    pub told: BTreeMap<WriteNumber, Told>,
    /// Which write gives up which.
    pub cancels: BTreeMap<WriteNumber, WriteNumber>,
    /// Must send what is unanswered again, from the lowest.
    pub resend: bool,
    /// Heartbeats that are on their way: when they were sent.
    pub heartbeats: Vec<u64>,
    /// When the last confirmed heartbeat was sent: the client's own count begins there.
    pub alive_from_ms: u64,
    pub is_dead: bool,
    pub is_closed: bool,
}

impl Client {
    pub fn new(token: Token, member: usize, timeout_ms: u64, now_ms: u64) -> Self {
        Self {
            token,
            member,
            timeout_ms,
            session: None,
            opened: 0,
            open_refused: None,
            next_write: WriteNumber(1),
            unanswered: BTreeMap::new(),
            waiting: BTreeSet::new(),
            told: BTreeMap::new(),
            cancels: BTreeMap::new(),
            resend: false,
            heartbeats: Vec::new(),
            alive_from_ms: now_ms,
            is_dead: false,
            is_closed: false,
        }
    }

    /// The next write, with the acknowledgement of everything up to the first unanswered one.
    pub fn request(&mut self, body: Body) -> Arc<Request> {
        let write = self.next_write;
        self.next_write = write.next();
        if let Body::Cancel(given_up) = body {
            self.cancels.insert(write, given_up);
        }
        let low = self.unanswered.keys().next().map_or(write.0, |first| first.0) - 1;
        let request = Arc::new(Request {
            session: self.session.expect("the session is open"),
            write,
            hash: hash_of(&body),
            acks: Acks { low: WriteNumber(low), ranges: Vec::new() },
            body,
            address: None,
        });
        self.unanswered.insert(write, request.clone());
        request
    }

    /// It was executed, and this is what came of it.
    pub fn reply(&mut self, write: WriteNumber, zxid: Zxid, reply: &Bytes) {
        let reply = Reply::decode(reply.clone()).expect("our own bytes");
        let told = Told::Replied { zxid, reply };
        let before = self.told.insert(write, told.clone());
        assert!(
            before.is_none() || before.as_ref() == Some(&told),
            "write {write} of {:?} was told {before:?}, and then {told:?}",
            self.session
        );
        self.unanswered.remove(&write);
        self.waiting.remove(&write);
    }

    /// It is a call that waits.
    pub fn park(&mut self, write: WriteNumber) {
        if self.unanswered.contains_key(&write) {
            self.waiting.insert(write);
        }
    }

    /// It was not executed.
    pub fn refuse(&mut self, write: WriteNumber, refusal: Refusal) {
        if !self.unanswered.contains_key(&write) {
            return;
        }
        match refusal.code {
            ErrorCode::ResendFrom | ErrorCode::Overloaded | ErrorCode::TooManyUnacknowledged => {
                self.resend = true;
            }
            _ => {
                self.unanswered.remove(&write);
                self.waiting.remove(&write);
                self.told.insert(write, Told::Refused(refusal));
            }
        }
    }

    /// The answer to a write that was done.
    pub fn answer(&self, write: WriteNumber) -> Option<&Answer> {
        match self.told.get(&write) {
            Some(Told::Replied { reply: Reply::Done(answer), .. }) => Some(answer),
            _ => None,
        }
    }

    /// The value that a call returned.
    pub fn value(&self, write: WriteNumber) -> Option<String> {
        match self.answer(write) {
            Some(Answer::Called(value)) => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }

    /// The code with which a write was refused, executed or not.
    pub fn code(&self, write: WriteNumber) -> Option<ErrorCode> {
        match self.told.get(&write) {
            Some(Told::Refused(refusal)) => Some(refusal.code),
            Some(Told::Replied { reply: Reply::Refused(failure), .. }) => {
                Some(failure.refusal.code)
            }
            _ => None,
        }
    }
}

/// Equal for equal bodies; the wire hashes the body's bytes.
pub fn hash_of(body: &Body) -> u128 {
    format!("{body:?}").bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub fn call(function: &str, arguments: &str) -> Body {
    call_of("lock", function, arguments)
}

pub fn call_of(recipe: &str, function: &str, arguments: &str) -> Body {
    Body::Single(Operation::Call(Call {
        recipe: recipe.to_owned(),
        function: function.to_owned(),
        signature: 0,
        arguments: Bytes::copy_from_slice(arguments.as_bytes()),
    }))
}

pub fn create(path: &str, data: &str, lifetime: LifetimeKind) -> Body {
    Body::Single(Operation::Create {
        path: path.to_owned(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        lifetime,
        sequence: Sequence::None,
        parents: true,
        acl: None,
    })
}

pub fn set(path: &str, data: &str) -> Body {
    let data = Bytes::copy_from_slice(data.as_bytes());
    Body::Single(Operation::Set { path: path.to_owned(), data, condition: Condition::ANY })
}

pub fn delete(path: &str) -> Body {
    Body::Single(Operation::Delete { path: path.to_owned(), condition: Condition::ANY })
}
