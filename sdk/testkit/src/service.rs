//! The service in one thread: the real sequencer over a tree in memory, in virtual time. What the sequencer proposes is
//! applied at once, as a cluster of one would have it. It does not know what is called, or what for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_core::apply::{self, Applied};
use quorate_core::change::Change;
use quorate_core::draft::Draft;
use quorate_core::error::Refusal;
use quorate_core::ids::{CallId, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::Recipes;
use quorate_core::request::{Body, Failure, Reply, Request};
use quorate_core::session::{Acks, Opening};
use quorate_core::transaction::{Entry, EntryBody, Outcome, Transaction};
use quorate_sequencer::liveness::STALL_MS;
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Leadership, Now, Output, Sequencer, Submission, Token};

/// Virtual time begins here: somewhere in 2026, in milliseconds of Unix time, so that recipes see times as they will be.
const BEGINNING: Millis = Millis(1_790_000_000_000);
/// There is one leadership, and it does not end.
const TERM: Term = Term(1);

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has been sent, and nothing is known yet.
    Sent,
    /// A call that waits.
    Parked,
    /// It was answered by this transaction; one that was refused without a transaction has none.
    Answered(Option<Zxid>, Reply),
    /// Its session ended first.
    Dropped,
}

/// A session as its client has it.
#[derive(Debug, Default)]
struct Client {
    last_write: WriteNumber,
    /// Writes without an answer.
    open: BTreeSet<WriteNumber>,
    /// It sends no heartbeats any more.
    is_silent: bool,
    /// The transaction in which the session ended.
    ended: Option<Zxid>,
}

pub(crate) struct Service {
    tree: Arc<MemoryTree>,
    sequencer: Sequencer,
    /// Milliseconds since the beginning.
    clock_ms: u64,
    clients: BTreeMap<SessionId, Client>,
    fates: BTreeMap<CallId, Fate>,
    /// Writes in the order in which they were answered, or dropped.
    ended: VecDeque<CallId>,
    /// The session that was opened last.
    opened: Option<Result<SessionId, Refusal>>,
}

impl Service {
    /// An empty tree that has all features, ready to execute.
    pub(crate) fn new(recipes: Box<dyn Recipes + Send>) -> Self {
        let tree = Arc::new(MemoryTree::new());
        let mut draft = Draft::new(tree.clone());
        let newest = Change::LevelRaised { level: Level::NEWEST };
        apply::change(&mut draft, Zxid(0), Millis(0), &newest);
        apply::seal(&mut draft);
        tree.commit(draft.into_parts().1);
        let sequencer = Sequencer::new(tree.clone(), recipes);
        let mut service = Self {
            tree,
            sequencer,
            clock_ms: 0,
            clients: BTreeMap::new(),
            fates: BTreeMap::new(),
            ended: VecDeque::new(),
            opened: None,
        };
        service.sequencer.handle(Input::Lead(Leadership { term: TERM }), service.now());
        service.settle();
        service
    }

    pub(crate) fn tree(&self) -> &Arc<MemoryTree> {
        &self.tree
    }

    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Opens a session, which lives until it is silenced, or is told to end.
    ///
    /// # Errors
    /// Too many sessions.
    pub(crate) fn open_session(&mut self) -> Result<SessionId, Refusal> {
        let timeout_ms = limits::SESSION_TIMEOUT_MS_DEFAULT;
        let opening = Opening { timeout_ms, ..Opening::default() };
        let input = Input::OpenSession { token: Token::local(0), opening };
        self.sequencer.handle(input, self.now());
        self.settle();
        let session = self.opened.take().expect("an idle sequencer answers at once")?;
        self.clients.insert(session, Client::default());
        Ok(session)
    }

    /// Sends a write and lets everything happen that follows from it.
    pub(crate) fn write(&mut self, session: SessionId, body: Body) -> CallId {
        let id = self.submit(session, body);
        self.settle();
        id
    }

    /// Sends a write; nothing happens before [`Service::settle`].
    pub(crate) fn submit(&mut self, session: SessionId, body: Body) -> CallId {
        let client = self.clients.entry(session).or_default();
        client.last_write = client.last_write.next();
        let write = client.last_write;
        let answered = client.open.first().map_or(write.0, |open| open.0) - 1;
        client.open.insert(write);
        let id = CallId { session, write };
        self.fates.insert(id, Fate::Sent);
        let acks = Acks { low: WriteNumber(answered), ranges: Vec::new() };
        // Nothing is ever sent twice: the hash has nothing to tell apart.
        let request = Arc::new(Request {
            session,
            write,
            hash: u128::from(write.0),
            acks,
            body,
            address: None,
        });
        self.sequencer
            .handle(Input::Submit(Submission { token: Token::local(0), request }), self.now());
        id
    }

    /// From now on the session sends no heartbeats: it expires when its time has passed.
    pub(crate) fn silence(&mut self, session: SessionId) {
        if let Some(client) = self.clients.get_mut(&session) {
            client.is_silent = true;
        }
    }

    /// Lets time pass, from one timer to the next. In between, those who live show it.
    pub(crate) fn advance(&mut self, milliseconds: u64) {
        let goal = self.clock_ms.saturating_add(milliseconds);
        while self.clock_ms < goal {
            let hop = goal.min(self.clock_ms + STALL_MS);
            let timer = self.sequencer.next_timer_ms().filter(|at| *at > self.clock_ms);
            self.clock_ms = timer.map_or(hop, |at| at.min(hop));
            let alive = |client: &Client| !client.is_silent && client.ended.is_none();
            let now = self.now();
            for (&session, _) in self.clients.iter().filter(|(_, client)| alive(client)) {
                self.sequencer.handle(Input::Heartbeat { token: Token::local(0), session }, now);
            }
            self.settle();
        }
    }

    /// What became of a write, if it was sent.
    pub(crate) fn fate(&self, id: CallId) -> Option<&Fate> {
        self.fates.get(&id)
    }

    /// The next write that was answered, or dropped.
    pub(crate) fn poll_ended(&mut self) -> Option<CallId> {
        self.ended.pop_front()
    }

    /// The transaction in which a session ended.
    pub(crate) fn ended_at(&self, session: SessionId) -> Option<Zxid> {
        self.clients.get(&session)?.ended
    }

    fn now(&self) -> Now {
        Now { wall: BEGINNING.plus(self.clock_ms), monotonic_ms: self.clock_ms }
    }

    /// Goes on until nothing more happens at this time.
    pub(crate) fn settle(&mut self) {
        loop {
            self.sequencer.step(self.now());
            // A step ends early when it has run much.
            let mut is_idle = self.sequencer.next_timer_ms().is_none_or(|at| at > self.clock_ms);
            while let Some(output) = self.sequencer.poll_output() {
                is_idle = false;
                self.carry_out(output);
            }
            if is_idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Propose { epoch, batch, entry } => {
                self.apply(&entry);
                self.sequencer.handle(Input::Applied { epoch, batch }, self.now());
            }
            Output::SessionOpened { session, .. } => self.opened = Some(session),
            Output::Answer { session, write, answer: DirectAnswer::Refused(refusal), .. } => {
                let id = CallId { session, write };
                let reply = Reply::Refused(Failure::from(refusal));
                self.end(id, Fate::Answered(None, reply));
            }
            // Nothing is sent twice.
            Output::Answer { answer: DirectAnswer::Kept { .. } | DirectAnswer::Parked, .. } => {}
            Output::Ready { .. } | Output::HeartbeatConfirmed { .. } => {}
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let mut draft = Draft::new(self.tree.clone());
        let applied = apply::entry(&mut draft, entry, TERM);
        assert_eq!(applied, Applied::Taken, "entries are applied in the order of their proposal");
        apply::seal(&mut draft);
        let (_, writes) = draft.into_parts();
        self.tree.commit(writes);
        if let EntryBody::Batch { transactions, .. } = &entry.body {
            transactions.iter().for_each(|one| self.take_note(one));
        }
    }

    /// What a transaction says to those who sent writes.
    fn take_note(&mut self, transaction: &Transaction) {
        let answered = transaction.origin.write();
        if let Some((session, write)) = answered {
            let id = CallId { session, write };
            match &transaction.outcome {
                Outcome::Replied(reply) => {
                    let reply = Reply::decode(reply.clone()).expect("the core has written it");
                    self.end(id, Fate::Answered(Some(transaction.zxid), reply));
                }
                Outcome::Parked(_) => drop(self.fates.insert(id, Fate::Parked)),
                Outcome::None => {}
            }
        }
        for change in &transaction.changes {
            if let Change::SessionEnded { session, .. } = change {
                self.session_ended(*session, transaction.zxid);
            }
        }
    }

    fn session_ended(&mut self, session: SessionId, zxid: Zxid) {
        let Some(client) = self.clients.get_mut(&session) else { return };
        client.ended = Some(zxid);
        for write in std::mem::take(&mut client.open) {
            let id = CallId { session, write };
            if self.fates.get(&id) == Some(&Fate::Parked) {
                self.end(id, Fate::Dropped);
            }
        }
    }

    fn end(&mut self, id: CallId, fate: Fate) {
        if let Some(client) = self.clients.get_mut(&id.session) {
            client.open.remove(&id.write);
        }
        self.fates.insert(id, fate);
        self.ended.push_back(id);
    }
}
