//! What has come for one watch and was not taken yet: a queue between the owner, which never waits, and the stream's reader. It
//! has bounds, and the position behind which nothing is missing; it knows neither the lane nor the session. What is taken is
//! seen from the client's root.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, Zxid};
use quorate_wire::message::watch::Event;

use crate::root::{Root, Senseless};

/// What counts for a change beside its events.
const CHANGE_BYTES: usize = 64;

/// What one transaction did, as far as a watch is about it: all of it, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The transaction.
    pub zxid: Zxid,
    /// Its time.
    pub time: Millis,
    /// One at least.
    pub events: Vec<Event>,
}

impl Change {
    fn weight(&self) -> usize {
        CHANGE_BYTES + self.events.iter().map(Event::weight).sum::<usize>()
    }
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Something has happened.
    Change(Change),
    /// All that happened up to this transaction has been told. Only where it was asked for.
    Progress(Zxid),
}

/// Why nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The watch was for one transaction, which has come.
    Fired,
    /// No member has the events behind the position any more.
    Compacted {
        /// The lowest position that one has the events behind.
        oldest: Zxid,
    },
    /// The reader did not take what came.
    Slow,
    /// The service refuses the watch, or to go on with it.
    Refused(Refusal),
    /// The session is lost.
    SessionOver,
}

/// The highest zxid of which the member has said, on this attachment, that all events up to it have come.
pub(crate) type Seen = Arc<AtomicU64>;

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(usize, Notice)>,
    bytes: usize,
    /// All up to it is queued, or was taken.
    position: Zxid,
    /// All up to it was taken.
    taken: Zxid,
    /// While the watch is open: what [`Seen`] was when it became so. Only what is seen from then on says something of it.
    open_since: Option<u64>,
    end: Option<End>,
    waker: Option<Waker>,
    is_abandoned: bool,
}

/// The queue of one watch.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    seen: Seen,
    bytes_max: usize,
    wants_progress: bool,
    root: Root,
}

/// The queue is full: its reader is slow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    /// An empty one. A single change may be larger than `bytes_max`, when nothing else is queued.
    pub(crate) fn new(seen: Seen, from: Option<Zxid>, bytes_max: usize, progress: bool) -> Self {
        let position = from.unwrap_or_default();
        let state = Mutex::new(State { position, taken: position, ..State::default() });
        Self { state, seen, bytes_max, wants_progress: progress, root: Root::whole() }
    }

    /// For a client with this root.
    pub(crate) fn with_root(self, root: &Root) -> Self {
        Self { root: root.clone(), ..self }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a change, which is behind the position.
    pub(crate) fn push(&self, change: Change) -> Result<(), Full> {
        let mut state = self.lock();
        let weight = change.weight();
        if !state.queue.is_empty() && state.bytes + weight > self.bytes_max {
            return Err(Full);
        }
        state.position = change.zxid;
        state.bytes += weight;
        state.queue.push_back((weight, Notice::Change(change)));
        wake(state);
        Ok(())
    }

    /// All up to this transaction has come, if the watch is open. Queues a mark, if they are wanted: in the place of one that
    /// nobody has taken.
    pub(crate) fn progress(&self, zxid: Zxid) {
        let mut state = self.lock();
        if state.open_since.is_none() {
            return;
        }
        state.position = state.position.max(zxid);
        if !self.wants_progress {
            return;
        }
        match state.queue.back_mut() {
            Some((_, Notice::Progress(last))) => *last = zxid.max(*last),
            _ => {
                state.bytes += CHANGE_BYTES;
                state.queue.push_back((CHANGE_BYTES, Notice::Progress(zxid)));
            }
        }
        wake(state);
    }

    /// The watch is open, and all up to this transaction is queued.
    pub(crate) fn opened(&self, zxid: Zxid) {
        let mut state = self.lock();
        state.position = state.position.max(zxid);
        // What is queued already has come behind what its reader knows: with the read that the watch began with, for one.
        let next = match state.queue.front() {
            Some((_, Notice::Change(change))) => Zxid(change.zxid.0.saturating_sub(1)),
            Some((_, Notice::Progress(zxid))) => *zxid,
            None => state.position,
        };
        state.taken = state.taken.max(next.min(state.position));
        state.open_since = Some(self.seen.load(Ordering::Acquire));
    }

    /// The watch is not open any more, before [`Seen`] is set back. The position, behind which it is to be opened again.
    pub(crate) fn closed(&self) -> Zxid {
        let mut state = self.lock();
        state.position = self.position_of(&state);
        if state.queue.is_empty() {
            state.taken = state.position;
        }
        state.open_since = None;
        state.position
    }

    /// Forgets what came before the answer that says from where on: it will come again.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        *state = State {
            waker: state.waker.take(),
            is_abandoned: state.is_abandoned,
            ..State::default()
        };
    }

    /// Nothing more comes. The first reason counts.
    pub(crate) fn end(&self, end: End) {
        let mut state = self.lock();
        state.position = self.position_of(&state);
        state.open_since = None;
        state.end.get_or_insert(end);
        wake(state);
    }

    /// Whether the watch is open.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open_since.is_some()
    }

    /// What was queued last: events up to it have come before. It does not count what is only [`Seen`].
    pub(crate) fn queued(&self) -> Zxid {
        self.lock().position
    }

    fn position_of(&self, state: &State) -> Zxid {
        let seen = self.seen.load(Ordering::Acquire);
        match state.open_since {
            Some(since) if seen > since => state.position.max(Zxid(seen)),
            _ => state.position,
        }
    }

    /// All up to it was taken by the reader.
    pub(crate) fn position(&self) -> Zxid {
        let state = self.lock();
        if state.queue.is_empty() { self.position_of(&state) } else { state.taken }
    }

    /// Takes the next notice; `None` behind the last one.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Notice>> {
        let mut state = self.lock();
        match self.take(&mut state) {
            Some(notice) => Poll::Ready(Some(notice)),
            None if state.end.is_some() => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes the next notice, if there is one.
    pub(crate) fn try_take(&self) -> Option<Notice> {
        self.take(&mut self.lock())
    }

    /// Whether there is a next notice, as soon as that is known.
    pub(crate) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if !state.queue.is_empty() || state.end.is_some() {
            return Poll::Ready(!state.queue.is_empty());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn take(&self, state: &mut State) -> Option<Notice> {
        let (weight, mut notice) = state.queue.pop_front()?;
        let (zxid, seen) = match &mut notice {
            Notice::Progress(zxid) => (*zxid, Ok(())),
            Notice::Change(change) => {
                let events = &mut change.events;
                (change.zxid, events.iter_mut().try_for_each(|event| self.root.event(event)))
            }
        };
        if let Err(why) = seen {
            state.break_off(&why);
            return None;
        }
        state.bytes -= weight;
        state.taken = zxid;
        Some(notice)
    }

    /// Why nothing more comes: said once.
    pub(crate) fn take_end(&self) -> Option<End> {
        let mut state = self.lock();
        state.end.as_mut().map(|end| std::mem::replace(end, End::Fired))
    }

    /// Nobody reads any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.is_abandoned = true;
        state.queue.clear();
        state.bytes = 0;
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().is_abandoned
    }
}

impl State {
    /// What has come is not for this client, nor is what comes behind it: the stream ends where it was.
    fn break_off(&mut self, why: &Senseless) {
        self.queue.clear();
        self.bytes = 0;
        self.is_abandoned = true;
        self.open_since = None;
        self.position = self.taken;
        self.end = Some(End::Refused(Refusal::new(ErrorCode::BadMessage, why.to_string())));
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
