//! The thread around the sequencer, as host/gateway's `leader` is: brings it inputs and the time, carries out what it wants
//! done, and tells whoever is linked when an epoch opens and closes. The sequencer itself is the product's.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::select;
use openraft::AsyncRuntime;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::{Epoch, Millis, SessionId, Term, Zxid};
use quorate_core::transaction::{Entry, EntryBody};
use quorate_sequencer::{Input, Now, Output, Sequencer, Token};

use super::Running;
use super::link::{Down, FromLeader, Tag};
use crate::check::event::Event;
use crate::mutant::Mutant;
use crate::process::{world_ns, world_sleep};
use crate::recipes::Kit;
use crate::runtime::MemberRuntime;
use crate::signal::Signal;

/// How often the sequencer steps without an input.
const TICK: Duration = Duration::from_millis(20);

/// Milliseconds that a thread stalls at most: a few elections.
const STALL_MS_MAX: u64 = 2_500;

enum Message {
    Input(Input),
    /// What came over a link, for one epoch only.
    Tagged {
        tag: Tag,
        from: Down,
        input: Input,
    },
    /// An entry came out of the log here, taken or discarded.
    Entry {
        term: Term,
        epoch: Epoch,
        base: Option<Zxid>,
        is_taken: bool,
    },
}

/// A heartbeat that the sequencer has heard, and that waits for a quorum.
struct Heard {
    token: Token,
    session: SessionId,
    is_live: bool,
    tag: Tag,
    heard_ns: u64,
}

/// What others see of the sequencer's thread.
#[derive(Default)]
pub struct Leader {
    inbox: RefCell<VecDeque<Message>>,
    filled: Signal,
    links: RefCell<Vec<Down>>,
    routes: RefCell<BTreeMap<Token, Down>>,
    open: Cell<Option<Tag>>,
    heard: RefCell<Vec<Heard>>,
    has_heard: Signal,
    /// Milliseconds for which the thread stands still as soon as it has executed something, once.
    pub stalls_ms: Cell<u64>,
}

/// A proposal that has not come out of the log yet.
struct Proposed {
    epoch: Epoch,
    batch: u64,
    base: Option<Zxid>,
}

fn base_of(entry: &Entry) -> Option<Zxid> {
    match &entry.body {
        EntryBody::Barrier => None,
        EntryBody::Batch { base, .. } => Some(*base),
    }
}

impl Leader {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The epoch that is open.
    #[must_use]
    pub fn open_tag(&self) -> Option<Tag> {
        self.open.get()
    }

    /// Whether an epoch is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open_tag().is_some()
    }

    /// Brings an input.
    pub fn send(&self, input: Input) {
        self.push(Message::Input(input));
    }

    /// Something came over a link, meant for this epoch.
    pub fn receive(&self, tag: Tag, from: Down, input: Input) {
        self.push(Message::Tagged { tag, from, input });
    }

    /// An entry was applied here, or discarded.
    pub fn applied(&self, entry: &Entry, is_taken: bool) {
        let (term, epoch, base) = (entry.term, entry.epoch, base_of(entry));
        self.push(Message::Entry { term, epoch, base, is_taken });
    }

    /// A member is linked from now on.
    pub fn link(&self, link: Down) {
        if let Some(tag) = self.open.get() {
            link.send(FromLeader::Opened(tag));
        }
        let mut links = self.links.borrow_mut();
        links.retain(|link| !link.is_closed());
        links.push(link);
    }

    /// The process is gone. What it held of others is let go: members hold each other by their links, and would stay in
    /// memory for ever.
    pub fn forget(&self) {
        self.links.take();
        self.routes.take();
        self.inbox.take();
    }

    fn push(&self, message: Message) {
        self.inbox.borrow_mut().push_back(message);
        self.filled.ring();
    }

    fn tell_all(&self, message: &FromLeader) {
        let links = self.links.borrow().clone();
        for link in links {
            link.send(message.clone());
        }
    }
}

impl Running {
    /// The body of the thread.
    pub async fn sequence(self: Rc<Self>) {
        let mut thread = Thread {
            sequencer: Sequencer::new(self.standing.tree.clone(), Box::new(Kit)),
            running: self.clone(),
            proposed: VecDeque::new(),
            term: Term(0),
        };
        loop {
            let patience = thread.patience();
            let seen = self.leader.filled.count();
            if self.leader.inbox.borrow().is_empty() {
                let filled = pin!(self.leader.filled.after(seen));
                select(filled, pin!(MemberRuntime::sleep(patience))).await;
            }
            if self.world.random.one_in(8) {
                world_sleep(Duration::from_micros(self.world.random.below(1_000))).await;
            }
            let messages = self.leader.inbox.take();
            for message in messages {
                thread.handle(message);
            }
            self.stall().await;
            thread.step();
            self.stall().await;
            let outputs = thread.outputs();
            if !outputs.is_empty() {
                self.stand_still(self.leader.stalls_ms.take()).await;
            }
            thread.carry_out_all(outputs);
        }
    }

    /// Now and then the thread is not run for a while, and everything else of the process is.
    async fn stall(&self) {
        let (world, random) = (&self.world, &self.world.random);
        let stalls_of_10000 = world.stalls_of_10000.get();
        if stalls_of_10000 > 0 && random.below(10_000) < stalls_of_10000 {
            self.stand_still(random.below(STALL_MS_MAX)).await;
        }
    }

    async fn stand_still(&self, ms: u64) {
        if ms > 0 {
            self.world.count(|counts| counts.stalls += 1);
            self.world.trace(|| format!("the sequencer of member {} stalls", self.member));
            world_sleep(Duration::from_millis(ms)).await;
        }
    }

    /// Confirms heartbeats, each after a quorum round that began after it was heard.
    pub async fn confirm(self: Rc<Self>) {
        let mut seen = 0;
        loop {
            self.leader.has_heard.after(seen).await;
            seen = self.leader.has_heard.count();
            let heard = self.leader.heard.take();
            let alone = self.world.has(Mutant::HeartbeatAlone);
            let led = if alone { None } else { self.read_index().await };
            for one in heard {
                let Heard { token, session, is_live, tag, heard_ns } = one;
                // A quorum for a later term says nothing for this one: another member may have led in between.
                let is_confirmed = led.is_some_and(|(term, _)| {
                    let is_open = self.leader.open.get() == Some(tag) && term == tag.term;
                    is_open || self.world.has(Mutant::LaterQuorum)
                });
                if !is_confirmed && !alone {
                    continue;
                }
                if is_live {
                    let term = tag.term;
                    self.world.see(&Event::Confirmed { term, session, heard_ns });
                }
                let route = self.leader.routes.borrow_mut().remove(&token);
                if let Some(route) = route {
                    route.send(FromLeader::Confirmed { token, session, is_live });
                }
            }
        }
    }
}

struct Thread {
    sequencer: Sequencer,
    running: Rc<Running>,
    proposed: VecDeque<Proposed>,
    term: Term,
}

impl Thread {
    fn now(&self) -> Now {
        let clock = &self.running.process.clock;
        Now { wall: Millis(clock.wall_ms()), monotonic_ms: clock.monotonic_ms() }
    }

    fn patience(&self) -> Duration {
        let now_ms = self.now().monotonic_ms;
        let timer = self.sequencer.next_timer_ms();
        let timer = timer.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        timer.map_or(TICK, |timer| timer.min(TICK))
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Input(input) => self.handle_input(input),
            Message::Tagged { tag, from, input } => {
                let is_open = self.running.leader.open.get() == Some(tag);
                if !is_open {
                    self.running.world.count(|counts| counts.stale_tags += 1);
                }
                if is_open || self.running.world.has(Mutant::AnyTag) {
                    let token = match &input {
                        Input::OpenSession { token, .. } | Input::Heartbeat { token, .. } => *token,
                        Input::Submit(submission) => submission.token,
                        _ => return,
                    };
                    self.running.leader.routes.borrow_mut().insert(token, from);
                    self.handle_input(input);
                }
            }
            Message::Entry { term, epoch, base, is_taken } => {
                self.handle_entry(term, epoch, base, is_taken);
            }
        }
    }

    fn handle_input(&mut self, input: Input) {
        match &input {
            Input::Lead(leadership) => {
                self.term = leadership.term;
                self.proposed.clear();
            }
            Input::Follow => self.proposed.clear(),
            _ => {}
        }
        let now = self.now();
        self.sequencer.handle(input, now);
        self.close_unless_ready();
    }

    /// Tells the sequencer which of its proposals came out of the log.
    fn handle_entry(&mut self, term: Term, epoch: Epoch, base: Option<Zxid>, is_taken: bool) {
        if term != self.term {
            return;
        }
        let Some(at) = self.proposed.iter().position(|one| one.epoch == epoch && one.base == base)
        else {
            return;
        };
        let Some(found) = self.proposed.drain(..=at).next_back() else { return };
        let (epoch, batch) = (found.epoch, found.batch);
        self.handle_input(if is_taken {
            Input::Applied { epoch, batch }
        } else {
            Input::Refused { epoch, batch }
        });
    }

    fn step(&mut self) {
        let now = self.now();
        self.sequencer.step(now);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.sequencer.poll_output()).collect()
    }

    fn carry_out_all(&mut self, outputs: Vec<Output>) {
        self.close_unless_ready();
        for output in outputs {
            self.carry_out(output);
        }
    }

    fn close_unless_ready(&self) {
        let leader = &self.running.leader;
        if !self.sequencer.is_ready()
            && let Some(tag) = leader.open.take()
        {
            leader.routes.borrow_mut().clear();
            leader.tell_all(&FromLeader::Closed(tag));
        }
    }

    fn carry_out(&mut self, output: Output) {
        let running = self.running.clone();
        match output {
            Output::Propose { epoch, batch, entry } => {
                self.proposed.push_back(Proposed { epoch, batch, base: base_of(&entry) });
                if running.world.has(Mutant::AnswerBeforeCommit) {
                    running.gateway.applied(&running, &entry);
                }
                running.propose(epoch, batch, &entry);
            }
            Output::Ready { epoch } => self.open(epoch),
            Output::Answer { token, session, write, answer } => {
                let zxid = running.standing.tree.meta().zxid;
                self.route(token, FromLeader::Answer { token, session, write, answer, zxid });
            }
            Output::SessionOpened { token, session } => {
                let zxid = running.standing.tree.meta().zxid;
                self.route(token, FromLeader::SessionOpened { token, session, zxid });
            }
            Output::HeartbeatConfirmed { token, session, is_live } => {
                let (heard_ns, open) = (world_ns(), running.leader.open_tag());
                let late = || Tag { term: self.term, epoch: Epoch(0) };
                let late = running.world.has(Mutant::LaterQuorum).then(late);
                if let Some(tag) = open.or(late) {
                    let heard = Heard { token, session, is_live, tag, heard_ns };
                    running.leader.heard.borrow_mut().push(heard);
                    running.leader.has_heard.ring();
                }
            }
        }
    }

    fn route(&self, token: Token, message: FromLeader) {
        let route = self.running.leader.routes.borrow().get(&token).cloned();
        if let Some(route) = route {
            route.send(message);
        }
    }

    fn open(&self, epoch: Epoch) {
        // It may have been told to follow since.
        if !self.sequencer.is_ready() {
            return;
        }
        let (world, member, term) = (&self.running.world, self.running.member, self.term);
        world.trace(|| format!("member {member} executes in {term}/{epoch}"));
        world.count(|counts| {
            counts.leaderships += u64::from(epoch == Epoch(1));
            counts.reopened += u64::from(epoch != Epoch(1));
        });
        world.see(&Event::Ready { term, member });
        let tag = Tag { term, epoch };
        self.running.leader.open.set(Some(tag));
        self.running.leader.tell_all(&FromLeader::Opened(tag));
    }
}
