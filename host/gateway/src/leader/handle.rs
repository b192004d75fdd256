//! The way to the sequencer's thread: its inbox, whose order is the order in which everything happens to the sequencer. It
//! does not know what becomes of what it carries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_core::error::Refusal;
use quorate_core::ids::{Epoch, Term, Zxid};
use quorate_core::request::Class;
use quorate_core::transaction::{Entry, EntryBody};
use quorate_sequencer::Input;
use quorate_wire::link::ToLeader;

use crate::limits;
use crate::links::LinkEvent;
use crate::quorum::Confirmed;

/// What the thread is told.
pub(super) enum Message {
    /// Something about this member.
    Input(Input),
    /// This member's registry hands a request over.
    Handed(ToLeader),
    /// Something about the link of this number.
    Link(u64, LinkEvent),
    /// An entry came out of the log here, taken or discarded.
    Entry { term: Term, epoch: Epoch, base: Option<Zxid>, is_taken: bool },
    /// A quorum has answered in this round, or not.
    Quorum { round: u64, outcome: Result<Confirmed, Refusal> },
    /// End.
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
    last_link: AtomicU64,
}

impl SequencerHandle {
    /// A way to a thread that is yet to be started with [`super::start`].
    #[must_use]
    pub fn new() -> Self {
        Self { inbox: Arc::default() }
    }

    /// Brings an input that no client asked for.
    pub fn send(&self, input: Input) {
        self.push(Message::Input(input));
    }

    /// Brings a request of this member's own clients.
    pub(crate) fn hand_over(&self, request: ToLeader) {
        self.push(Message::Handed(request));
    }

    /// A number for a new link: higher than all before, never 0.
    pub(crate) fn next_link(&self) -> u64 {
        self.inbox.last_link.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Brings what has happened to a link.
    pub(crate) fn tell_link(&self, number: u64, event: LinkEvent) {
        self.push(Message::Link(number, event));
    }

    /// Brings the outcome of a round.
    pub(super) fn tell_quorum(&self, round: u64, outcome: Result<Confirmed, Refusal>) {
        self.push(Message::Quorum { round, outcome });
    }

    /// Whether so much waits that requests of this class should be refused.
    #[must_use]
    pub fn is_overloaded(&self, class: Class) -> bool {
        lock(&self.inbox.messages).len() >= class.places(limits::SEQUENCER_INBOX_MAX)
    }

    /// An entry was applied here, or discarded.
    pub fn applied(&self, entry: &Entry, is_taken: bool) {
        let base = base_of(entry);
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

    pub(super) fn note_epoch(&self, epoch: Epoch) {
        self.inbox.epoch.store(epoch.0, Ordering::Relaxed);
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
    pub(super) fn take(&self, patience: Duration) -> VecDeque<Message> {
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

/// What an entry builds on; none for a barrier.
pub(super) fn base_of(entry: &Entry) -> Option<Zxid> {
    match &entry.body {
        EntryBody::Barrier => None,
        EntryBody::Batch { base, .. } => Some(*base),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
