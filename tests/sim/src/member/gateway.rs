//! Which lane serves which session, and which of its requests are unanswered: the model of host/gateway's registry on a
//! member of a cluster. Requests go up the link to the leader, tagged with the epoch that is open; replies come from this
//! member's own apply; what the leader answers directly waits until this member has applied what it is based on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use openraft::AsyncRuntime;
use quorate_core::draft::ReadRecords;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::request::Request;
use quorate_core::transaction::{Entry, EntryBody, Outcome, Transaction};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Submission, Token};

use super::Running;
use super::link::{FromLeader, Tag, Up};
use super::watches::{self, Outbox, Past};
use crate::client::Client;
use crate::lane::{Found, ToClient, ToMember};
use crate::mutant::Mutant;
use crate::process::world_sleep;
use crate::runtime::MemberRuntime;
use crate::signal::Signal;
use crate::wire::Wire;

/// How long a read or an attach waits for its consistency.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lane from a client, at the member's end.
#[derive(Clone)]
pub struct Lane {
    /// Who is there.
    pub client: Rc<Client>,
    /// The connection; the client dialled.
    pub wire: Rc<Wire>,
}

impl Lane {
    /// Brings a message to the client.
    pub fn say(&self, message: ToClient) {
        let (client, wire) = (self.client.clone(), self.wire.clone());
        self.wire.send(1, move || client.hear(&wire, message.clone()));
    }
}

struct Waiting {
    request: Arc<Request>,
    is_parked: bool,
}

/// One lane, attached to one session.
struct Attachment {
    number: Token,
    session: SessionId,
    lane: Lane,
    waiting: RefCell<BTreeMap<WriteNumber, Waiting>>,
    heartbeats: RefCell<VecDeque<(Token, u64)>>,
    settled: Signal,
    outbox: Rc<Outbox>,
}

/// An opening session.
struct Opening {
    lane: Lane,
    timeout_ms: u64,
}

/// The lanes of a member.
#[derive(Default)]
pub struct Gateway {
    sessions: RefCell<BTreeMap<SessionId, Rc<Attachment>>>,
    openings: RefCell<BTreeMap<Token, Opening>>,
    up: RefCell<Option<Up>>,
    /// The epoch in which writes are executed at this moment.
    gate: Cell<Option<Tag>>,
    /// Direct answers that wait until this member has applied what they are based on, in order.
    held: RefCell<VecDeque<(Zxid, FromLeader)>>,
    /// The last transaction that was applied here and whose replies are under way.
    zxid: Cell<Zxid>,
    past: Past,
}

impl Attachment {
    fn answer(&self, write: WriteNumber, message: ToClient) {
        if self.waiting.borrow_mut().remove(&write).is_some() {
            self.lane.say(message);
        }
        self.settled.ring();
    }

    fn note_parked(&self, write: WriteNumber) {
        if let Some(waiting) = self.waiting.borrow_mut().get_mut(&write) {
            waiting.is_parked = true;
        }
        self.settled.ring();
    }

    /// Waits until each write up to this one has been answered or has parked.
    async fn settled(&self, last: WriteNumber) {
        loop {
            let seen = self.settled.count();
            let is_settled = {
                let waiting = self.waiting.borrow();
                waiting.range(..=last).all(|(_, write)| write.is_parked)
            };
            if is_settled {
                return;
            }
            self.settled.after(seen).await;
        }
    }
}

impl Gateway {
    /// The tree stands at this transaction, before anything is applied.
    pub fn begin(&self, zxid: Zxid) {
        self.past.begin(zxid);
        self.advance(zxid);
    }

    /// The tree stands at this transaction, at least.
    pub fn advance(&self, zxid: Zxid) {
        self.zxid.set(self.zxid.get().max(zxid));
    }

    /// The process is gone. What it held of clients is let go, or it would stay in memory for ever.
    pub fn forget(&self) {
        self.sessions.take();
        self.openings.take();
        self.up.take();
        self.held.take();
    }

    /// The link, if there is one.
    #[must_use]
    pub fn up(&self) -> Option<Up> {
        self.up.borrow().clone()
    }

    /// A link is there; nothing is sent on it before it says which epoch is open.
    pub fn link(&self, up: Up) {
        *self.up.borrow_mut() = Some(up);
    }

    /// The link is gone, or leads to the wrong member.
    pub fn unlink(&self, running: &Running) {
        self.pause(running);
        self.up.borrow_mut().take();
    }

    fn pause(&self, running: &Running) {
        let had = self.gate.take();
        if had.is_some() {
            running.world.trace(|| format!("member {} has no open epoch", running.member));
        }
        for attachment in self.attachments() {
            for (_, request) in attachment.heartbeats.take() {
                let code = ErrorCode::NoLeader;
                attachment.lane.say(ToClient::Unconfirmed { request, code });
            }
        }
    }

    /// In the order in which they were attached.
    fn attachments(&self) -> Vec<Rc<Attachment>> {
        let mut all: Vec<_> = self.sessions.borrow().values().cloned().collect();
        all.sort_by_key(|attachment| attachment.number);
        all
    }

    fn send_up(&self, running: &Rc<Running>, input: Input) {
        if let (Some(tag), Some(up)) = (self.gate.get(), self.up()) {
            up.send(running, tag, input);
        }
    }

    fn submit(&self, running: &Rc<Running>, attachment: &Attachment, request: Arc<Request>) {
        self.send_up(running, Input::Submit(Submission { token: attachment.number, request }));
    }

    // --- what the leader says ---------------------------------------------------------------------------------------

    /// The leader says something, on this connection, or on none if this member leads.
    pub fn hear(&self, running: &Rc<Running>, from: Option<&Rc<Wire>>, message: FromLeader) {
        if !self.up().is_some_and(|up| up.is(from)) {
            return;
        }
        match message {
            FromLeader::Opened(tag) => self.resubmit(running, tag),
            FromLeader::Closed(tag) => {
                if self.gate.get() == Some(tag) {
                    self.pause(running);
                }
            }
            FromLeader::Confirmed { token, session, is_live } => {
                self.confirm(token, session, is_live);
            }
            FromLeader::Answer { zxid, .. } | FromLeader::SessionOpened { zxid, .. } => {
                let overtakes = running.world.has(Mutant::ReplyOvertakes);
                let zxid = if overtakes { Zxid(0) } else { zxid };
                self.held.borrow_mut().push_back((zxid, message));
                self.release_held(running);
            }
        }
    }

    fn release_held(&self, running: &Rc<Running>) {
        loop {
            let is_due =
                self.held.borrow().front().is_some_and(|(zxid, _)| *zxid <= self.zxid.get());
            if !is_due {
                return;
            }
            let Some((_, message)) = self.held.borrow_mut().pop_front() else { return };
            match message {
                FromLeader::Answer { token, session, write, answer, .. } => {
                    self.answer(token, session, write, answer);
                }
                FromLeader::SessionOpened { token, session, .. } => {
                    let Some(opening) = self.openings.borrow_mut().remove(&token) else { continue };
                    match session {
                        Ok(session) => self.attach(running, session, opening.lane),
                        Err(refusal) => opening.lane.say(ToClient::Rejected(refusal.code)),
                    }
                }
                _ => {}
            }
        }
    }

    fn answer(&self, token: Token, session: SessionId, write: WriteNumber, answer: DirectAnswer) {
        let attachment = self.sessions.borrow().get(&session).cloned();
        let Some(attachment) = attachment.filter(|one| one.number == token) else { return };
        match answer {
            DirectAnswer::Kept { zxid, reply } => {
                let events = attachment.outbox.count();
                attachment.answer(write, ToClient::Reply { write, zxid, events, reply });
            }
            DirectAnswer::Parked => attachment.note_parked(write),
            DirectAnswer::Refused(refusal) => {
                attachment.answer(write, ToClient::NotExecuted { write, refusal });
            }
        }
    }

    fn confirm(&self, token: Token, session: SessionId, is_live: bool) {
        let Some(attachment) = self.sessions.borrow().get(&session).cloned() else { return };
        let mut heartbeats = attachment.heartbeats.borrow_mut();
        let Some(at) = heartbeats.iter().position(|(number, _)| *number == token) else { return };
        for (_, request) in heartbeats.drain(..=at) {
            let code = ErrorCode::SessionEnded;
            attachment.lane.say(if is_live {
                ToClient::Confirmed { request }
            } else {
                ToClient::Unconfirmed { request, code }
            });
        }
    }

    /// An epoch is open: everything that is unanswered is submitted again, each session's writes in order.
    fn resubmit(&self, running: &Rc<Running>, tag: Tag) {
        let (world, member) = (&running.world, running.member);
        world.trace(|| format!("member {member} submits again for {}/{}", tag.term, tag.epoch));
        self.gate.set(Some(tag));
        let openings: Vec<(Token, u64)> =
            self.openings.borrow().iter().map(|(token, one)| (*token, one.timeout_ms)).collect();
        for (token, timeout_ms) in openings {
            self.send_up(running, open_session(token, timeout_ms));
        }
        for attachment in self.attachments() {
            let requests: Vec<_> =
                attachment.waiting.borrow().values().map(|one| one.request.clone()).collect();
            world.count(|counts| counts.resubmitted += requests.len() as u64);
            for request in requests {
                self.submit(running, &attachment, request);
            }
        }
    }

    // --- what this member applies -----------------------------------------------------------------------------------

    /// An entry has been applied here: its replies go out.
    pub fn applied(&self, running: &Running, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        let is_late = running.world.has(Mutant::EventsBehindReplies);
        if !is_late {
            self.queue_events(transactions);
        }
        for transaction in transactions {
            self.advance(transaction.zxid);
            let Some((session, write)) = transaction.origin.write() else { continue };
            let Some(attachment) = self.sessions.borrow().get(&session).cloned() else { continue };
            match &transaction.outcome {
                Outcome::None => {}
                Outcome::Parked(_) => attachment.note_parked(write),
                Outcome::Replied(reply) => {
                    let (zxid, reply) = (transaction.zxid, reply.clone());
                    let events = attachment.outbox.count();
                    attachment.answer(write, ToClient::Reply { write, zxid, events, reply });
                }
            }
        }
        if is_late {
            self.queue_events(transactions);
        }
        self.release(running);
    }

    fn queue_events(&self, transactions: &[Transaction]) {
        let attachments = self.attachments();
        let outboxes = attachments.iter().map(|attachment| &*attachment.outbox);
        watches::applied(&self.past, outboxes, transactions);
    }

    /// The tree was replaced: those that wait are answered from the replies that were kept.
    pub fn installed(&self, running: &Running) {
        let tree = &running.standing.tree;
        let attachments = self.attachments();
        let outboxes = attachments.iter().map(|attachment| &*attachment.outbox);
        watches::installed(&self.past, outboxes, tree.meta().zxid);
        self.advance(tree.meta().zxid);
        for attachment in self.attachments() {
            let session = attachment.session;
            let writes: Vec<WriteNumber> = attachment.waiting.borrow().keys().copied().collect();
            for write in writes {
                if let Some(kept) = tree.kept_reply(session, write) {
                    let (zxid, reply) = (kept.zxid, kept.reply);
                    let events = attachment.outbox.count();
                    attachment.answer(write, ToClient::Reply { write, zxid, events, reply });
                } else if tree.parked(session, write).is_some() {
                    attachment.note_parked(write);
                }
            }
        }
        self.release(running);
    }

    fn release(&self, running: &Running) {
        let running = running.world.member(running.member).and_then(|member| member.running());
        if let Some(running) = running {
            self.release_held(&running);
        }
    }

    // --- what clients say -------------------------------------------------------------------------------------------

    /// A client says something on its lane.
    pub fn receive(&self, running: &Rc<Running>, lane: Lane, message: ToMember) {
        match message {
            ToMember::Attach { session: None, timeout_ms } => {
                let token = Token::local(running.world.next());
                self.openings.borrow_mut().insert(token, Opening { lane, timeout_ms });
                self.send_up(running, open_session(token, timeout_ms));
            }
            ToMember::Attach { session: Some(session), .. } => {
                drop(running.process.spawn(resume(running.clone(), session, lane)));
            }
            ToMember::Write(request) => {
                let Some(attachment) = self.of(&lane) else { return };
                let waiting = Waiting { request: request.clone(), is_parked: false };
                attachment.waiting.borrow_mut().insert(request.write, waiting);
                self.submit(running, &attachment, request);
            }
            ToMember::Heartbeat { request } => {
                let Some(attachment) = self.of(&lane) else { return };
                if self.gate.get().is_none() {
                    lane.say(ToClient::Unconfirmed { request, code: ErrorCode::NoLeader });
                    return;
                }
                let token = Token::local(running.world.next());
                attachment.heartbeats.borrow_mut().push_back((token, request));
                let session = attachment.session;
                self.send_up(running, Input::Heartbeat { token, session });
            }
            ToMember::Watch { from } => {
                let Some(attachment) = self.of(&lane) else { return };
                drop(running.process.spawn(watch(running.clone(), attachment, from)));
            }
            ToMember::Read { request, path, is_linearizable } => {
                let Some(attachment) = self.of(&lane) else { return };
                let asked = Asked { request, path, is_linearizable };
                drop(running.process.spawn(read(running.clone(), attachment, asked)));
            }
        }
    }

    fn of(&self, lane: &Lane) -> Option<Rc<Attachment>> {
        let sessions = self.sessions.borrow();
        sessions.values().find(|one| Rc::ptr_eq(&one.lane.wire, &lane.wire)).cloned()
    }

    fn attach(&self, running: &Rc<Running>, session: SessionId, lane: Lane) {
        let attachment = Rc::new(Attachment {
            number: Token::local(running.world.next()),
            session,
            lane: lane.clone(),
            waiting: RefCell::default(),
            heartbeats: RefCell::default(),
            settled: Signal::default(),
            outbox: Rc::default(),
        });
        let before = self.sessions.borrow_mut().insert(session, attachment.clone());
        if let Some(before) = before.filter(|one| !Rc::ptr_eq(&one.lane.wire, &lane.wire)) {
            // A newer connection has taken the session over.
            before.lane.wire.close(1);
        }
        lane.say(ToClient::Attached(session));
        let running = running.clone();
        let process = running.process.clone();
        let (outbox, to) = (attachment.outbox.clone(), lane.clone());
        drop(process.spawn(outbox.write(running.clone(), to)));
        drop(process.spawn(async move {
            lane.wire.closed(1).await;
            let mut sessions = running.gateway.sessions.borrow_mut();
            if sessions.get(&session).is_some_and(|one| one.number == attachment.number) {
                sessions.remove(&session);
            }
        }));
    }
}

fn open_session(token: Token, timeout_ms: u64) -> Input {
    Input::OpenSession { token, timeout_ms, secret_hash: [7; 32], principal: String::new() }
}

/// Returns when this member has applied everything that was acknowledged anywhere before the call; false if that can not be
/// had in time.
async fn barrier(running: &Rc<Running>) -> bool {
    let passed = async {
        loop {
            let up = running.gateway.up();
            let index = match up {
                Some(up) => up.read_index(running).await,
                None => None,
            };
            match index {
                Some(index) => return running.applied_to(index).await,
                None => world_sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let patience = pin!(MemberRuntime::sleep(PATIENCE));
    matches!(select(pin!(passed), patience).await, Either::Left(_))
}

/// A session goes on here, if it lives.
async fn resume(running: Rc<Running>, session: SessionId, lane: Lane) {
    if !barrier(&running).await {
        lane.say(ToClient::Rejected(ErrorCode::NoLeader));
        return;
    }
    match running.standing.tree.session(session) {
        Some(record) if record.is_live() => running.gateway.attach(&running, session, lane),
        Some(_) => lane.say(ToClient::Rejected(ErrorCode::SessionEnded)),
        None => lane.say(ToClient::Rejected(ErrorCode::NoSession)),
    }
}

/// A watch, once this member has applied its position.
async fn watch(running: Rc<Running>, attachment: Rc<Attachment>, from: Option<Zxid>) {
    let position = from.unwrap_or_default();
    while running.gateway.zxid.get() < position {
        world_sleep(Duration::from_millis(5)).await;
    }
    let tree = running.standing.tree.meta().zxid;
    attachment.outbox.watch(&running.gateway.past, tree, from, &attachment.lane);
}

struct Asked {
    request: u64,
    path: String,
    is_linearizable: bool,
}

/// A read: behind the earlier writes of its session, then, if it is linearizable, behind the read index (DESIGN D12).
async fn read(running: Rc<Running>, attachment: Rc<Attachment>, asked: Asked) {
    let Asked { request, path, is_linearizable } = asked;
    let last = attachment.waiting.borrow().keys().next_back().copied().unwrap_or_default();
    let is_fresh = if running.world.has(Mutant::StaleReads) {
        true
    } else {
        let settled = pin!(attachment.settled(last));
        let patience = pin!(MemberRuntime::sleep(PATIENCE));
        let is_settled = matches!(select(settled, patience).await, Either::Left(_));
        is_settled && (!is_linearizable || barrier(&running).await)
    };
    let zxid = running.gateway.zxid.get();
    let found = is_fresh.then(|| find(&running, &path));
    let events = attachment.outbox.count();
    attachment.lane.say(ToClient::Found { request, zxid, events, found });
}

fn find(running: &Running, path: &str) -> Found {
    let path = Path::parse(path).ok()?;
    let (data, stat) = query::get(&running.standing.tree, &path).ok()?;
    Some((data, stat.version))
}
