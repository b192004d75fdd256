//! The thread around the sequencer: brings it inputs and the time, carries out what it wants done, and tells this member's
//! registry and the links of others which epoch is open. The sequencer's state is touched by this thread alone.
//!
//! A request counts only under the epoch that is open: what was handed over under an earlier one, or over a link that was
//! replaced, is dropped, since it has been handed over again. So an answer that leaves is the only word on its request.

mod confirmations;
mod handle;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Millis, Term, Zxid};
use quorate_core::transaction::Entry;
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Now, Output, Reserve, Sequencer, Submission, Token};
use quorate_wire::link::{Answer, Tag, ToLeader};
use tokio::sync::watch;

use self::confirmations::{Confirmations, Heard};
pub use self::handle::SequencerHandle;
use self::handle::{Message, base_of};
use crate::limits;
use crate::links::{LinkEvent, Links};
use crate::quorum::{Confirmed, Rounds};
use crate::registry::{Registry, Way};

/// Where the sequencer's entries go. Called in the order in which they must stand in the log.
pub trait Propose: Send {
    /// Proposes an entry under the leadership that it names. If it is not taken, or that can never be known,
    /// [`SequencerHandle::refused`] is called with the same epoch and batch, once, from any thread.
    fn propose(&mut self, epoch: Epoch, batch: u64, entry: Arc<Entry>);
}

/// What the thread works with beside the sequencer.
pub struct Surroundings {
    /// This member's lanes.
    pub registry: Arc<Registry>,
    /// The log.
    pub propose: Box<dyn Propose>,
    /// Asks a quorum whether this member leads: before heartbeats are confirmed.
    pub rounds: Rounds,
    /// The highest term of which an entry is being applied here, or was: set before the entry can be seen in the tree.
    pub applying_term: Arc<AtomicU64>,
}

/// The sequencer's thread.
pub struct Running {
    /// To be joined after [`SequencerHandle::stop`].
    pub thread: JoinHandle<()>,
    /// Closed when the thread has ended, by a panic too: without it nothing is executed, and the process must end.
    pub ended: watch::Receiver<()>,
}

/// Starts the thread. It ends with [`SequencerHandle::stop`].
///
/// # Errors
/// If the operating system gives no thread.
pub fn start(
    handle: SequencerHandle,
    sequencer: Sequencer,
    surroundings: Surroundings,
) -> std::io::Result<Running> {
    let (alive, ended) = watch::channel(());
    let thread = std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || {
        let _alive = alive;
        Leader::new(handle, sequencer, surroundings).run();
    })?;
    Ok(Running { thread, ended })
}

/// A proposal that has not come out of the log yet.
struct Proposed {
    epoch: Epoch,
    batch: u64,
    base: Option<Zxid>,
}

struct Leader {
    handle: SequencerHandle,
    sequencer: Sequencer,
    around: Surroundings,
    links: Links,
    confirmations: Confirmations,
    proposed: VecDeque<Proposed>,
    /// The leadership that the sequencer was told of.
    leading: Option<Term>,
    /// The epoch that is open, and has been told to be.
    open: Option<Tag>,
    began: Instant,
}

impl Leader {
    fn new(handle: SequencerHandle, sequencer: Sequencer, around: Surroundings) -> Self {
        Self {
            handle,
            sequencer,
            around,
            links: Links::default(),
            confirmations: Confirmations::default(),
            proposed: VecDeque::new(),
            leading: None,
            open: None,
            began: Instant::now(),
        }
    }

    fn run(&mut self) {
        loop {
            let messages = self.handle.take(self.patience());
            let now = self.now();
            for message in messages {
                if matches!(message, Message::Stop) {
                    return;
                }
                self.handle_message(message, now);
            }
            self.step(now);
        }
    }

    fn handle_message(&mut self, message: Message, now: Now) {
        match message {
            Message::Input(input) => self.handle_input(input, now),
            Message::Handed(request) => self.handle_request(0, request, now),
            Message::Link(number, event) => self.handle_link(number, event, now),
            Message::Entry { term, epoch, base, is_taken } => {
                self.handle_entry(term, epoch, base, is_taken, now)
            }
            Message::Quorum { round, outcome } => self.handle_quorum(round, outcome),
            Message::Stop => {}
        }
    }

    fn step(&mut self, now: Now) {
        self.sequencer.step(now);
        self.stop_if_superseded(now);
        self.close_unless_ready();
        while let Some(output) = self.sequencer.poll_output() {
            self.carry_out(output);
        }
        self.ask_quorum();
    }

    fn handle_input(&mut self, input: Input, now: Now) {
        match &input {
            Input::Lead(leadership) => {
                self.leading = Some(leadership.term);
                self.proposed.clear();
            }
            Input::Follow => {
                self.leading = None;
                self.proposed.clear();
            }
            Input::Refused { epoch, batch } => {
                tracing::debug!(epoch = epoch.0, batch, "a proposal was refused")
            }
            _ => {}
        }
        self.sequencer.handle(input, now);
        self.close_unless_ready();
    }

    /// A request that this member (link 0) or another one hands over.
    fn handle_request(&mut self, link: u64, request: ToLeader, now: Now) {
        let (tag, input) = match request {
            ToLeader::Submit { tag, token: number, request } => {
                let token = Token { link, number };
                (tag, Input::Submit(Submission { token, request }))
            }
            ToLeader::OpenSession { tag, token: number, opening } => {
                let token = Token { link, number };
                (tag, Input::OpenSession { token, opening })
            }
            ToLeader::Heartbeat { tag, token: number, session } => {
                (tag, Input::Heartbeat { token: Token { link, number }, session })
            }
            ToLeader::Room { free_bytes, refused_below_bytes, taken_from_bytes } => {
                let reserve = Reserve { refused_below_bytes, taken_from_bytes };
                if let Some(member) = self.links.member_of(link) {
                    self.handle_input(Input::Disk { member, free_bytes, reserve }, now);
                }
                return;
            }
            // Answered beside this thread.
            ToLeader::ReadIndex { .. } => return,
        };
        // Of another epoch: its bringer hands it over again, or has done so.
        if self.open == Some(tag) {
            self.handle_input(input, now);
        }
    }

    fn handle_link(&mut self, number: u64, event: LinkEvent, now: Now) {
        match event {
            LinkEvent::Attached { member, outbox } => {
                self.links.attach(number, member, outbox, self.open);
            }
            LinkEvent::Frame { message, room } => {
                if self.links.is_attached(number) {
                    self.handle_request(number, message, now);
                }
                drop(room);
            }
            LinkEvent::Detached => self.links.detach(number),
        }
    }

    /// Inputs end an epoch, and a step does when it finds the entries of another leader applied.
    fn close_unless_ready(&mut self) {
        if self.sequencer.is_ready() {
            return;
        }
        let Some(tag) = self.open.take() else { return };
        self.confirmations.clear();
        self.around.registry.pause(tag);
        self.links.closed(tag);
    }

    /// While an entry of another leader is applied, whatever is executed may have read a mixture of two states. Raft refuses
    /// what is proposed on it; nothing else refuses what would be answered on it.
    fn stop_if_superseded(&mut self, now: Now) {
        let Some(term) = self.leading else { return };
        if self.around.applying_term.load(Ordering::Acquire) <= term.0 {
            return;
        }
        tracing::info!(term = term.0, "entries of a later term are applied: stopping");
        self.handle_input(Input::Follow, now);
        while self.sequencer.poll_output().is_some() {}
    }

    /// Tells the sequencer which of its proposals came out of the log.
    fn handle_entry(
        &mut self,
        term: Term,
        epoch: Epoch,
        base: Option<Zxid>,
        is_taken: bool,
        now: Now,
    ) {
        if Some(term) != self.leading {
            return;
        }
        let Some(at) = self.proposed.iter().position(|one| one.epoch == epoch && one.base == base)
        else {
            return;
        };
        let Some(found) = self.proposed.drain(..=at).next_back() else { return };
        let (epoch, batch) = (found.epoch, found.batch);
        let input = if is_taken {
            Input::Applied { epoch, batch }
        } else {
            Input::Refused { epoch, batch }
        };
        self.handle_input(input, now);
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Propose { epoch, batch, entry } => {
                self.proposed.push_back(Proposed { epoch, batch, base: base_of(&entry) });
                self.around.propose.propose(epoch, batch, entry);
            }
            Output::Ready { epoch } => self.open(epoch),
            Output::Answer { token, session, write, answer } => {
                let answer = match answer {
                    DirectAnswer::Kept { zxid, reply } => {
                        Answer::Kept { session, write, zxid, reply }
                    }
                    DirectAnswer::Parked => Answer::Parked { session, write },
                    DirectAnswer::Refused(refusal) => Answer::Refused { session, write, refusal },
                };
                self.answer(token, answer);
            }
            Output::SessionOpened { token, session } => {
                self.answer(token, Answer::Opened(session));
            }
            Output::HeartbeatConfirmed { token, session, is_live } => {
                if self.open.is_some() {
                    self.confirmations.add(Heard { token, session, is_live });
                }
            }
        }
    }

    fn open(&mut self, epoch: Epoch) {
        self.handle.note_epoch(epoch);
        // It may have been told to follow since.
        let Some(term) = self.leading.filter(|_| self.sequencer.is_ready()) else { return };
        let tag = Tag { term, epoch };
        self.open = Some(tag);
        self.around.registry.open_route(tag, Way::Local);
        self.links.open(tag);
    }

    /// Answers whoever asked. What an epoch that has ended since would say is not said: the request is handed over again.
    fn answer(&mut self, token: Token, answer: Answer) {
        let Some(tag) = self.open else { return };
        if token.link == 0 {
            self.around.registry.handle_answer(tag, token.number, answer);
        } else {
            let zxid = self.around.registry.zxid();
            self.links.answer(token.link, zxid, token.number, answer);
        }
    }

    fn ask_quorum(&mut self) {
        let Some(round) = self.open.and_then(|tag| self.confirmations.poll_round(tag)) else {
            return;
        };
        let handle = self.handle.clone();
        self.around.rounds.ask_with(move |outcome| handle.tell_quorum(round, outcome));
    }

    fn handle_quorum(&mut self, round: u64, outcome: Result<Confirmed, Refusal>) {
        // A quorum for a later term says nothing for this one: another member may have led in between, and expired sessions
        // that are alive here.
        let outcome = outcome.and_then(|confirmed| {
            let is_ours = self.open.is_some_and(|tag| tag.term == confirmed.term);
            let replaced = || Refusal::new(ErrorCode::NoLeader, "the leader is changing");
            if is_ours { Ok(()) } else { Err(replaced()) }
        });
        for Heard { token, session, is_live } in self.confirmations.handle_round(round, self.open) {
            self.answer(
                token,
                match &outcome {
                    Ok(()) => Answer::Confirmed { session, is_live },
                    Err(refusal) => Answer::Unconfirmed { session, refusal: refusal.clone() },
                },
            );
        }
    }

    fn patience(&self) -> Duration {
        let now_ms = self.now().monotonic_ms;
        let timer = self
            .sequencer
            .next_timer_ms()
            .map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        timer.map_or(limits::TICK, |timer| timer.min(limits::TICK))
    }

    fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall: Millis(millis(since_epoch)), monotonic_ms: millis(self.began.elapsed()) }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The refusal while so much waits that no more is taken.
#[must_use]
pub fn overloaded() -> Refusal {
    Refusal::new(ErrorCode::Overloaded, "too many requests wait for execution; try again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use quorate_core::deployment::{ComponentDigest, Version};
    use quorate_core::read::{MemoryTree, SharedRead};
    use quorate_core::recipe::{Recipes, Run, RunEnd};
    use quorate_core::txn::Txn;
    use quorate_sequencer::Leadership;

    use super::*;

    pub(super) struct NoRecipes;

    impl Recipes for NoRecipes {
        fn run(&mut self, _run: &Run<'_>, _txn: Txn) -> (Txn, RunEnd) {
            unreachable!("nothing is called")
        }

        fn check(
            &mut self,
            _component: &ComponentDigest,
            _previous: Option<&ComponentDigest>,
        ) -> Result<Vec<String>, Refusal> {
            unreachable!("nothing is deployed")
        }

        fn migrate(
            &mut self,
            _version: &Version,
            _previous: Option<u64>,
            _txn: Txn,
        ) -> (Txn, Result<(), Refusal>) {
            unreachable!("nothing is deployed")
        }

        fn reset(&mut self) {}
    }

    struct Panics;

    impl Propose for Panics {
        fn propose(&mut self, _epoch: Epoch, _batch: u64, _entry: Arc<Entry>) {
            panic!("a defect, for this test");
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_seen() {
        let handle = SequencerHandle::new();
        let tree: SharedRead = Arc::new(MemoryTree::new());
        let registry = Arc::new(Registry::new(handle.clone()));
        let sequencer = Sequencer::new(tree, Box::new(NoRecipes));
        let (rounds, _asked) = Rounds::by_hand();
        let around = Surroundings {
            registry,
            propose: Box::new(Panics),
            rounds,
            applying_term: Arc::default(),
        };
        let mut running = start(handle.clone(), sequencer, around).unwrap();
        handle.send(Input::Lead(Leadership { term: Term(1) }));
        assert!(running.ended.changed().await.is_err());
        assert!(running.thread.join().is_err());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod cluster;
#[cfg(test)]
mod leadership;
