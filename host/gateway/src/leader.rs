//! The thread around the sequencer: brings it inputs and the time, carries out what it wants done. The sequencer's state
//! is touched by this thread alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Millis, Term, Zxid};
use quorate_core::transaction::{Entry, EntryBody};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Now, Output, Sequencer};
use tokio::sync::watch;

use crate::limits;
use crate::registry::Registry;

/// Where the sequencer's entries go. Called in the order in which they must stand in the log.
pub trait Propose: Send {
    /// Proposes an entry under the leadership that it names. If it is not taken, or that can never be known,
    /// [`SequencerHandle::refused`] is called with the same epoch and batch, once, from any thread.
    fn propose(&mut self, epoch: Epoch, batch: u64, entry: Arc<Entry>);
}

enum Message {
    Input(Input),
    /// An entry came out of the log here, taken or discarded.
    Entry {
        term: Term,
        epoch: Epoch,
        base: Option<Zxid>,
        is_taken: bool,
    },
    Stop,
}

/// The way to the sequencer's thread. Cheap to clone.
#[derive(Clone)]
pub struct SequencerHandle {
    inbox: Arc<Inbox>,
}

/// Messages on their way. Bounded where requests come in; what the pipeline itself says always passes, or it would wait
/// for itself.
#[derive(Default)]
struct Inbox {
    messages: Mutex<VecDeque<Message>>,
    is_filled: Condvar,
    epoch: AtomicU64,
}

impl SequencerHandle {
    /// A way to a thread that is yet to be started with [`start`].
    #[must_use]
    pub fn new() -> Self {
        Self { inbox: Arc::default() }
    }

    /// Brings an input.
    pub fn send(&self, input: Input) {
        self.push(Message::Input(input));
    }

    /// Whether so much waits that requests should be refused.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        lock(&self.inbox.messages).len() >= limits::SEQUENCER_INBOX_MAX
    }

    /// An entry was applied here, or discarded.
    pub fn applied(&self, entry: &Entry, is_taken: bool) {
        let base = match &entry.body {
            EntryBody::Barrier => None,
            EntryBody::Batch { base, .. } => Some(*base),
        };
        self.push(Message::Entry { term: entry.term, epoch: entry.epoch, base, is_taken });
    }

    /// An entry was not taken, or nobody will ever know.
    pub fn refused(&self, epoch: Epoch, batch: u64) {
        self.send(Input::Refused { epoch, batch });
    }

    /// The epoch that was opened last on this member; 0 if none was.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.inbox.epoch.load(Ordering::Relaxed))
    }

    /// Ends the thread once it has handled what came before.
    pub fn stop(&self) {
        self.push(Message::Stop);
    }

    fn push(&self, message: Message) {
        lock(&self.inbox.messages).push_back(message);
        self.inbox.is_filled.notify_one();
    }

    /// Everything that has come, after a wait of at most `patience` if that is nothing.
    fn take(&self, patience: Duration) -> VecDeque<Message> {
        let mut messages = lock(&self.inbox.messages);
        if messages.is_empty() {
            messages = self
                .inbox
                .is_filled
                .wait_timeout(messages, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        std::mem::take(&mut messages)
    }
}

impl Default for SequencerHandle {
    fn default() -> Self {
        Self::new()
    }
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
    registry: Arc<Registry>,
    propose: Box<dyn Propose>,
) -> std::io::Result<Running> {
    let (alive, ended) = watch::channel(());
    let thread = std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || {
        let _alive = alive;
        Leader {
            handle,
            sequencer,
            registry,
            propose,
            proposed: VecDeque::new(),
            term: Term(0),
            began: Instant::now(),
        }
        .run();
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
    registry: Arc<Registry>,
    propose: Box<dyn Propose>,
    proposed: VecDeque<Proposed>,
    term: Term,
    began: Instant,
}

impl Leader {
    fn run(&mut self) {
        loop {
            let messages = self.handle.take(self.patience());
            let now = self.now();
            for message in messages {
                match message {
                    Message::Input(input) => self.handle_input(input, now),
                    Message::Entry { term, epoch, base, is_taken } => {
                        self.handle_entry(term, epoch, base, is_taken, now)
                    }
                    Message::Stop => return,
                }
            }
            self.step(now);
        }
    }

    fn step(&mut self, now: Now) {
        self.sequencer.step(now);
        self.pause_unless_ready();
        while let Some(output) = self.sequencer.poll_output() {
            self.carry_out(output);
        }
    }

    fn handle_input(&mut self, input: Input, now: Now) {
        match &input {
            Input::Lead(leadership) => {
                self.term = leadership.term;
                self.proposed.clear();
            }
            Input::Follow => {
                self.proposed.clear();
                self.registry.pause();
            }
            Input::Refused { epoch, batch } => {
                tracing::debug!(epoch = epoch.0, batch, "a proposal was refused")
            }
            _ => {}
        }
        self.sequencer.handle(input, now);
        self.pause_unless_ready();
    }

    /// Inputs end an epoch, and a step does when it finds the entries of another leader applied.
    fn pause_unless_ready(&self) {
        if !self.sequencer.is_ready() && self.registry.is_ready() {
            self.registry.pause();
        }
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
        if term != self.term {
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
                let base = match &entry.body {
                    EntryBody::Barrier => None,
                    EntryBody::Batch { base, .. } => Some(*base),
                };
                self.proposed.push_back(Proposed { epoch, batch, base });
                self.propose.propose(epoch, batch, entry);
            }
            Output::Ready { epoch } => {
                self.handle.inbox.epoch.store(epoch.0, Ordering::Relaxed);
                // It may have been told to follow since.
                if self.sequencer.is_ready() {
                    self.registry.resubmit();
                }
            }
            Output::Answer { token, session, write, answer } => match answer {
                DirectAnswer::Kept { zxid, reply } => {
                    self.registry.answer_kept(token, session, write, zxid, reply)
                }
                DirectAnswer::Parked => self.registry.answer_parked(token, session, write),
                DirectAnswer::Refused(refusal) => {
                    self.registry.answer_refused(token, session, write, refusal)
                }
            },
            Output::SessionOpened { token, session } => self.registry.opened(token, session),
            Output::HeartbeatConfirmed { token, session, is_live } => {
                self.registry.confirm(token, session, is_live)
            }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut running = start(handle.clone(), sequencer, registry, Box::new(Panics)).unwrap();
        handle.send(Input::Lead(Leadership { term: Term(1) }));
        assert!(running.ended.changed().await.is_err());
        assert!(running.thread.join().is_err());
    }
}

#[cfg(test)]
mod leadership;
