//! The queue between whoever tells events and the thread that writes them. It does not know files: a sink takes the lines.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::{Event, What};
use super::{limits, line, now_ms};

/// Where lines go.
pub(super) trait Sink: Send {
    /// Appends some of these whole lines, in their order; how many bytes of them. None of them if it fails.
    fn append(&mut self, lines: &[u8]) -> io::Result<usize>;

    /// What was appended survives a failure of the machine.
    fn sync(&mut self) -> io::Result<()>;
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    /// Events for which there was no room.
    lost: u64,
    /// What waits is to be written and synced at once.
    is_urgent: bool,
    is_ending: bool,
}

/// Shared by all who tell events and by the thread that writes them.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Told when the thread has something to do.
    filled: Condvar,
    /// Bytes of what waits, and of what is being written.
    bytes: AtomicUsize,
    /// The disk has refused the last time.
    is_failing: AtomicBool,
}

impl Queue {
    /// Takes an event, or counts it as lost.
    pub(super) fn push(&self, event: Event, is_urgent: bool) {
        let weight = event.weight();
        let mut waiting = self.lock();
        if self.bytes.load(Ordering::Relaxed) + weight > limits::QUEUE_BYTES_MAX {
            waiting.lost += 1;
            return;
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        // The thread is asleep, or lingers: it is woken once for all that comes meanwhile.
        let is_wanted = waiting.events.is_empty() || (is_urgent && !waiting.is_urgent);
        waiting.is_urgent |= is_urgent;
        waiting.events.push(event);
        drop(waiting);
        if is_wanted {
            self.filled.notify_one();
        }
    }

    /// Whether what is told now will be written, as far as can be known.
    pub(super) fn is_well(&self) -> bool {
        !self.is_failing.load(Ordering::Relaxed)
            && self.bytes.load(Ordering::Relaxed) <= limits::QUEUE_BYTES_REFUSED
    }

    /// Ends the thread when all that waits is written.
    pub(super) fn end(&self) {
        self.lock().is_ending = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do: events, the end, or that so much time has passed.
    fn take(&self, patience: Option<Duration>) -> Waiting {
        let mut waiting = self.lock();
        let until = patience.map(|patience| Instant::now() + patience);
        while waiting.events.is_empty() && waiting.lost == 0 && !waiting.is_ending {
            waiting = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.filled
                        .wait_timeout(waiting, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
        let lingers = |waiting: &mut Waiting| {
            !waiting.events.is_empty() && !waiting.is_urgent && !waiting.is_ending
        };
        let (mut waiting, _) = self
            .filled
            .wait_timeout_while(waiting, limits::LINGER, lingers)
            .unwrap_or_else(PoisonError::into_inner);
        let is_ending = waiting.is_ending;
        std::mem::replace(&mut *waiting, Waiting { is_ending, ..Waiting::default() })
    }
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) queue: Arc<Queue>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) member: u64,
    /// When the first line that is not synced was appended.
    pub(super) unsynced: Option<Instant>,
}

impl Writer {
    /// Until the end is asked for and all is written, or can not be.
    pub(super) fn run(mut self) {
        loop {
            let patience =
                self.unsynced.map(|since| limits::SYNC_EVERY.saturating_sub(since.elapsed()));
            let taken = self.queue.take(patience);
            let is_ending = taken.is_ending;
            let is_urgent = taken.is_urgent || is_ending;
            let is_written = self.write(taken);
            let is_due = self.unsynced.is_some_and(|since| since.elapsed() >= limits::SYNC_EVERY);
            if is_due || (is_urgent && self.unsynced.is_some()) {
                self.sync();
            }
            if is_ending && (!is_written || self.queue.lock().events.is_empty()) {
                return;
            }
        }
    }

    /// Writes what was taken, however often the disk refuses. Not, if the member ends and the disk refuses on.
    fn write(&mut self, taken: Waiting) -> bool {
        let mut lines = Vec::new();
        let mut is_written = true;
        let mut weight = 0;
        for event in &taken.events {
            line::write(self.member, event, &mut lines);
            weight += event.weight();
            if lines.len() >= limits::CHUNK_BYTES {
                is_written = is_written && self.append(&mut lines);
            }
        }
        if taken.lost > 0 {
            tracing::warn!(
                lost = taken.lost,
                "events are missing in the audit log: it was written too slowly"
            );
            let what = What::Lost(taken.lost);
            let lost = Event { time_ms: now_ms(), who: Arc::default(), what };
            line::write(self.member, &lost, &mut lines);
        }
        is_written = is_written && self.append(&mut lines);
        self.queue.bytes.fetch_sub(weight, Ordering::Relaxed);
        if !is_written {
            let lost = taken.events.len();
            tracing::warn!(lost, "the member ends, and these events are not in the audit log");
        }
        is_written
    }

    /// Appends lines and forgets them.
    fn append(&mut self, lines: &mut Vec<u8>) -> bool {
        let mut rest = &lines[..];
        let mut gives_up = None;
        while !rest.is_empty() {
            match self.sink.append(rest) {
                Ok(taken) => {
                    rest = &rest[taken..];
                    self.unsynced.get_or_insert_with(Instant::now);
                    if self.queue.is_failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("the audit log is written again");
                    }
                }
                Err(error) => {
                    if !self.queue.is_failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "the audit log can not be written; tried again until it can");
                    }
                    if !self.waits_for_the_disk(&mut gives_up) {
                        return false;
                    }
                }
            }
        }
        lines.clear();
        true
    }

    /// A pause. Not for ever, once the end was asked for.
    fn waits_for_the_disk(&self, gives_up: &mut Option<Instant>) -> bool {
        let waiting = self.queue.lock();
        if waiting.is_ending {
            let until = *gives_up.get_or_insert_with(|| Instant::now() + limits::FAREWELL);
            if Instant::now() >= until {
                return false;
            }
        }
        let was_ending = waiting.is_ending;
        drop(
            self.queue
                .filled
                .wait_timeout_while(waiting, limits::RETRY_EVERY, |waiting| {
                    waiting.is_ending == was_ending
                })
                .unwrap_or_else(PoisonError::into_inner),
        );
        true
    }

    fn sync(&mut self) {
        self.unsynced = None;
        if let Err(error) = self.sink.sync() {
            tracing::warn!(%error, "the audit log can not be synced: its last lines may not survive a failure of the machine");
        }
    }
}
