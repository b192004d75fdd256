//! What is queued for one attachment's event lane, and how much that may be. Frames are counted as they are queued: the number
//! of the last one is what replies carry. It does not know what frames say, nor who writes them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::limits;

/// Bytes that a frame costs beside its payload.
const FRAME_COST_BYTES: usize = 64;

/// Memory that all outboxes of a member share, beyond the part that each has to itself.
pub(super) struct Budget {
    bytes_max: usize,
    lent: AtomicUsize,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, lent: AtomicUsize::new(0) }
    }

    /// Lends so many bytes more to an outbox that holds so many. None may hold more than a part of what is left: those that
    /// nobody reads leave something to the others.
    fn lend(&self, held: usize, more: usize) -> bool {
        self.lend_of(self.bytes_max, held, more)
    }

    /// The same for what is told however much is queued, out of a part: the rest is for what happens now.
    fn lend_past(&self, held: usize, more: usize) -> bool {
        self.lend_of(self.bytes_max / limits::EVENT_QUEUE_PAST_DIVISOR, held, more)
    }

    fn lend_of(&self, bytes_max: usize, held: usize, more: usize) -> bool {
        let share = |lent: usize| {
            let sum = lent.checked_add(more)?;
            let left = bytes_max.checked_sub(sum)?;
            (held + more <= left / limits::EVENT_QUEUE_SHARE_DIVISOR).then_some(sum)
        };
        self.lent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, share).is_ok()
    }

    /// The same where it can not be refused.
    fn take(&self, more: usize) {
        self.lent.fetch_add(more, Ordering::AcqRel);
    }

    fn give_back(&self, bytes: usize) {
        self.lent.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// Why nothing was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotQueued {
    /// The client is too far behind.
    Full,
    /// The attachment is over, or its event lane.
    Ended,
}

/// One attachment's events on their way.
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Frames that were ever queued.
    count: AtomicU64,
    is_ended: AtomicBool,
    /// Told when there is something to write, or never will be.
    filled: Notify,
    /// Told when something was written, or nothing more is taken.
    eased: Notify,
    /// Whoever reads history for this attachment has it: one at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// What they, and those that are being written, cost.
    bytes: usize,
    /// What of this came out of the budget.
    lent: usize,
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_COST_BYTES
}

fn beyond_own(bytes: usize) -> usize {
    bytes.saturating_sub(limits::EVENT_QUEUE_BYTES_OWN)
}

impl Outbox {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            queue: Mutex::default(),
            count: AtomicU64::new(0),
            is_ended: AtomicBool::new(false),
            filled: Notify::new(),
            eased: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            budget,
        }
    }

    /// The number of the last frame that was queued; 0 before the first.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    /// Queues all of these or none.
    pub(super) fn push(&self, frames: Vec<Bytes>) -> Result<(), NotQueued> {
        let more: usize = frames.iter().map(cost).sum();
        let mut queue = self.lock();
        if self.is_ended() {
            return Err(NotQueued::Ended);
        }
        let bytes = queue.bytes + more;
        let lent = beyond_own(bytes);
        if lent > queue.lent {
            let is_too_much = bytes > limits::EVENT_QUEUE_BYTES_MAX
                || !self.budget.lend(queue.lent, lent - queue.lent);
            if is_too_much {
                return Err(NotQueued::Full);
            }
            queue.lent = lent;
        }
        self.append(queue, frames, bytes);
        Ok(())
    }

    /// Queues what must be told however much is queued. Nothing happens if the outbox has ended; one that is told without end and
    /// not read is ended: its client finds out, and goes on from its positions. Whether the outboxes' memory had room for it.
    pub(super) fn push_always(&self, frames: Vec<Bytes>) -> bool {
        let more: usize = frames.iter().map(cost).sum();
        let mut queue = self.lock();
        if self.is_ended() {
            return true;
        }
        let bytes = queue.bytes + more;
        if bytes > limits::EVENT_QUEUE_BYTES_END {
            drop(queue);
            self.end();
            return true;
        }
        let lent = beyond_own(bytes);
        let mut has_room = true;
        if lent > queue.lent {
            has_room = self.budget.lend_past(queue.lent, lent - queue.lent);
            if !has_room {
                self.budget.take(lent - queue.lent);
            }
            queue.lent = lent;
        }
        self.append(queue, frames, bytes);
        has_room
    }

    fn append(&self, mut queue: MutexGuard<'_, Queue>, frames: Vec<Bytes>, bytes: usize) {
        queue.bytes = bytes;
        self.count.fetch_add(frames.len() as u64, Ordering::AcqRel);
        queue.frames.extend(frames);
        drop(queue);
        self.filled.notify_one();
    }

    /// The next frame to write; none when the outbox has ended. It counts until [`Outbox::written`]. Cancel-safe.
    pub async fn next(&self) -> Option<Bytes> {
        loop {
            let mut filled = std::pin::pin!(self.filled.notified());
            filled.as_mut().enable();
            if self.is_ended() {
                return None;
            }
            if let Some(frame) = self.lock().frames.pop_front() {
                return Some(frame);
            }
            filled.await;
        }
    }

    /// A frame has been handed on: there is room again.
    pub fn written(&self, frame_bytes: usize) {
        let mut queue = self.lock();
        // Nothing is counted any more if it has ended meanwhile.
        queue.bytes = queue.bytes.saturating_sub(frame_bytes + FRAME_COST_BYTES);
        let lent = beyond_own(queue.bytes).min(queue.lent);
        let returned = queue.lent - lent;
        queue.lent = lent;
        drop(queue);
        self.budget.give_back(returned);
        self.eased.notify_waiters();
    }

    /// Returns when little enough is queued for somebody who reads history to add to it, or the outbox has ended. Cancel-safe.
    pub(super) async fn eased(&self) {
        loop {
            let mut eased = std::pin::pin!(self.eased.notified());
            eased.as_mut().enable();
            if self.is_ended() || self.lock().bytes <= limits::EVENT_QUEUE_BYTES_OWN {
                return;
            }
            eased.await;
        }
    }

    /// Nothing is queued from now on, and what is queued is dropped. One frame more is counted than there will ever be, so that
    /// no reply is taken for one that came behind all events: those that are not queued any more are missing, too.
    pub(crate) fn end(&self) {
        let mut queue = self.lock();
        if !self.is_ended.swap(true, Ordering::AcqRel) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        let returned = std::mem::take(&mut *queue).lent;
        drop(queue);
        self.budget.give_back(returned);
        self.filled.notify_waiters();
        self.eased.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All frames that are queued, as if they were written.
    #[cfg(test)]
    pub(super) fn drain(&self) -> Vec<Bytes> {
        let frames: Vec<Bytes> = self.lock().frames.drain(..).collect();
        for frame in &frames {
            self.written(frame.len());
        }
        frames
    }

    /// Bytes that are queued, and what they cost beside.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Bytes {
        vec![0; bytes].into()
    }

    #[test]
    fn frames_are_counted_and_taken_all_or_none() {
        let outbox = Outbox::new(Arc::new(Budget::new(usize::MAX)));
        outbox.push(vec![frame(1), frame(2)]).unwrap();
        assert_eq!(outbox.count(), 2);
        let half = limits::EVENT_QUEUE_BYTES_MAX / 2;
        assert_eq!(outbox.push(vec![frame(half), frame(half)]), Err(NotQueued::Full));
        assert_eq!(outbox.count(), 2);
        outbox.push_always(vec![frame(half), frame(half)]);
        assert_eq!(outbox.drain().len(), 4);
        assert_eq!(outbox.bytes(), 0);
        outbox.end();
        assert_eq!(outbox.push(vec![frame(1)]), Err(NotQueued::Ended));
        outbox.end();
        assert_eq!(outbox.count(), 5, "one that never comes");
    }

    #[test]
    fn outboxes_that_nobody_reads_leave_something_to_the_others_and_give_all_back() {
        let budget = Arc::new(Budget::new(64 << 20));
        let outboxes: Vec<Outbox> = (0..30).map(|_| Outbox::new(budget.clone())).collect();
        for outbox in &outboxes {
            while outbox.push(vec![frame(64 << 10)]).is_ok() {}
        }
        let other = Outbox::new(budget.clone());
        other.push(vec![frame(256 << 10)]).unwrap();
        drop((outboxes, other));
        assert_eq!(budget.lent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn whoever_writes_learns_of_the_end() {
        let outbox = Arc::new(Outbox::new(Arc::new(Budget::new(1 << 20))));
        outbox.push(vec![frame(3)]).unwrap();
        let taken = outbox.next().await.unwrap();
        outbox.written(taken.len());
        let waits = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.next().await }
        });
        outbox.end();
        assert_eq!(waits.await.unwrap(), None);
        outbox.written(3);
        outbox.eased().await;
    }
}
