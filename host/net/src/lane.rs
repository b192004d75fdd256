//! A lane: one long-lived bidirectional stream of frames, in order, each way. It does not know what
//! frames say.
//!
//! The bytes are described in [`crate::frame`]. Sending goes through a queue and one task that
//! writes all that has queued at once, so that many frames share a packet; nothing is ever held
//! back to wait for more. Both halves of a lane are independent: finishing one leaves the other
//! open.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

use crate::budget::QueueBudget;
use crate::close::{CloseCode, CloseReason};
use crate::frame::{Decoder, Encoder, FrameTooLong};
use crate::limits::{
    FRAME_BYTES_MAX, FRAME_QUEUE_COST_BYTES, LANE_QUEUE_BYTES_MAX, READ_PIECES_MAX,
};

/// What a lane may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// Largest payload of a frame in bytes, both ways. Both ends must agree on it.
    pub frame_bytes_max: u32,
    /// Bytes that may wait to be written, each frame counted with [`FRAME_QUEUE_COST_BYTES`] on
    /// top.
    pub queue_bytes_max: u32,
    /// Of these, bytes that the lane has to itself. Those above it come out of its [`QueueBudget`],
    /// if it has one.
    pub queue_bytes_own: u32,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: FRAME_BYTES_MAX,
            queue_bytes_max: LANE_QUEUE_BYTES_MAX,
            queue_bytes_own: LANE_QUEUE_BYTES_MAX,
        }
    }
}

/// Why a lane does not carry frames any more, or did not take one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaneError {
    /// The peer announced a frame over the limit. The lane is of no more use; close the connection
    /// with [`CloseCode::ProtocolError`].
    #[error("protocol error: {0}")]
    FrameTooLong(FrameTooLong),
    /// The peer ended the lane inside a frame. As `FrameTooLong`.
    #[error("protocol error: the lane ended inside a frame")]
    Truncated,
    /// A frame to be sent is over the limit. It was not taken; the lane goes on.
    #[error("a frame of {bytes} bytes is over the limit of {bytes_max}")]
    PayloadTooLong {
        /// Bytes of the frame.
        bytes: usize,
        /// Bytes that the lane allows.
        bytes_max: u32,
    },
    /// This lane is behind with more than its own part, and holds its share of what the lanes that
    /// share its budget have left. The frame was not taken; the lane goes on.
    #[error("it is behind, and the queues of all lanes hold {lent} of {bytes_max} bytes")]
    BudgetSpent {
        /// Bytes that are lent.
        lent: usize,
        /// Bytes of the budget.
        bytes_max: usize,
    },
    /// The peer dropped its sender, or cut it with another code.
    #[error("the peer cut the lane with code {code}")]
    CutByPeer {
        /// Mostly [`CloseCode::Abandoned`].
        code: u64,
    },
    /// The peer does not read any more.
    #[error("the peer stopped reading the lane with code {code}")]
    StoppedByPeer {
        /// Mostly [`CloseCode::Abandoned`].
        code: u64,
    },
    /// The connection ended.
    #[error("connection {0}")]
    ConnectionLost(CloseReason),
    /// This side has finished or dropped its [`LaneSender`].
    #[error("the lane has been finished")]
    Finished,
    /// Not everything could be delivered by the deadline of `finish`.
    #[error("the lane's last frames were not acknowledged in time")]
    FinishTimedOut,
}

/// Why [`LaneSender::try_send`] did not take a frame. Both give it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrySendError {
    /// The queue is full at this moment.
    Full(Bytes),
    /// The frame or the lane is at fault.
    Refused(Bytes, LaneError),
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the lane's queue is full"),
            Self::Refused(_, error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TrySendError {}

/// The sending half of a lane, with the task that writes. One owner; [`LaneSender::handle`] gives
/// others a way in.
///
/// `finish` delivers what has queued. Dropping does not: the task is aborted, what was not yet
/// written is lost, and the peer sees the lane cut with [`CloseCode::Abandoned`] after what had
/// arrived. Once it is gone, handles answer `Finished`.
#[derive(Debug)]
pub struct LaneSender {
    handle: LaneHandle,
    writer: JoinHandle<Result<(), LaneError>>,
}

/// Sends into a lane that somebody else owns. Cheap to clone; does not keep the lane open.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    shared: Arc<Shared>,
}

/// The receiving half of a lane. Dropping it tells the peer to stop ([`CloseCode::Abandoned`]).
///
/// What is not received stays at the peer, beyond one stream window: not to call `recv` is
/// back-pressure.
///
/// A small frame is a slice of the buffer in which its packet came, up to 64 KiB: copy what is to
/// be kept for long.
#[derive(Debug)]
pub struct LaneReceiver {
    stream: RecvStream,
    decoder: Decoder,
    // Once set, the answer for ever: the end, or the first error.
    ended: Option<Result<(), LaneError>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    // The writer sleeps here while the queue is empty.
    work: Notify,
    // One permit per byte of room; closed when nothing more is taken.
    room: Semaphore,
    // Told whenever less is unwritten, or nothing more is taken: whoever waits for a spent budget
    // may need none of it by then.
    eased: Notify,
    limits: LaneLimits,
    budget: Option<QueueBudget>,
}

#[derive(Debug)]
struct Queue {
    encoder: Encoder,
    // Of what the writer has not taken.
    cost: usize,
    // Of what has not been written.
    unwritten: usize,
    // Of this, what came out of the budget.
    lent: usize,
    // What the writer is to set before it writes on.
    priority: Option<i32>,
    state: QueueState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum QueueState {
    Open,
    // Nothing more is taken; the writer writes the rest and ends.
    Finishing,
    Ended(LaneError),
}

pub(crate) fn lane(
    send: SendStream,
    receive: RecvStream,
    limits: LaneLimits,
    budget: Option<QueueBudget>,
    priority: i32,
) -> (LaneSender, LaneReceiver) {
    let decoder = Decoder::new(limits.frame_bytes_max);
    let receiver = LaneReceiver { stream: receive, decoder, ended: None };
    (sender(send, limits, budget, priority), receiver)
}

pub(crate) fn sender(
    send: SendStream,
    limits: LaneLimits,
    budget: Option<QueueBudget>,
    priority: i32,
) -> LaneSender {
    // Fails if the peer has stopped the stream already; the first write will say so.
    send.set_priority(priority).ok();
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue {
            encoder: Encoder::default(),
            cost: 0,
            unwritten: 0,
            lent: 0,
            priority: None,
            state: QueueState::Open,
        }),
        work: Notify::new(),
        room: Semaphore::new(limits.queue_bytes_max as usize),
        eased: Notify::new(),
        limits,
        budget,
    });
    let writer = Writer { shared: Arc::clone(&shared), stream: send, is_finished: false };
    LaneSender { handle: LaneHandle { shared }, writer: tokio::spawn(writer.run()) }
}

impl LaneSender {
    /// A way in for another task.
    #[must_use]
    pub fn handle(&self) -> LaneHandle {
        self.handle.clone()
    }

    /// Changes the priority of this direction, from the next frame on. For lanes that the peer has
    /// opened, whose first frame says what they are for.
    pub fn set_priority(&self, priority: i32) {
        self.handle.shared.lock().priority = Some(priority);
    }

    /// See [`LaneHandle::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, frame: Bytes) -> Result<(), LaneError> {
        self.handle.send(frame).await
    }

    /// See [`LaneHandle::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, frame: Bytes) -> Result<(), TrySendError> {
        self.handle.try_send(frame)
    }

    /// Takes no more frames, delivers those that have queued, ends the lane in this direction, and
    /// waits until the peer's machine has acknowledged all of it (which does not say that the peer
    /// has read it), at most for `deadline`. Senders that still wait for room get `Finished`.
    /// Afterwards the writing task has ended, whatever the result.
    ///
    /// Not cancel-safe: dropped halfway, it is as if the sender had been dropped.
    ///
    /// # Errors
    /// `FinishTimedOut` (the rest is cut off), `StoppedByPeer`, `ConnectionLost`.
    pub async fn finish(mut self, deadline: Duration) -> Result<(), LaneError> {
        self.handle.shared.stop_taking(QueueState::Finishing);
        self.handle.shared.work.notify_one();
        if let Ok(ended) = tokio::time::timeout(deadline, &mut self.writer).await {
            return ended.unwrap_or(Err(LaneError::Finished));
        }
        self.writer.abort();
        // It may have come to its end in this very moment: then that counts.
        (&mut self.writer).await.unwrap_or(Err(LaneError::FinishTimedOut))
    }
}

impl Drop for LaneSender {
    fn drop(&mut self) {
        self.handle.shared.stop_taking(QueueState::Ended(LaneError::Finished));
        self.writer.abort();
    }
}

impl LaneHandle {
    /// Queues a frame, and waits while the queue is full or its budget spent: a peer that does not
    /// read holds its senders up here. Frames of one caller keep their order; waiting callers are served in
    /// theirs.
    ///
    /// Cancel-safe: dropped before it is ready, the frame has not been queued.
    ///
    /// # Errors
    /// `PayloadTooLong`; else what ended the lane. A frame that was queued before the end may or
    /// may not have arrived.
    pub async fn send(&self, frame: Bytes) -> Result<(), LaneError> {
        // Room freed goes to those who wait for it first, so this does not overtake them.
        let frame = match self.try_send(frame) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(frame)) => frame,
            Err(TrySendError::Refused(frame, LaneError::BudgetSpent { .. })) => frame,
            Err(TrySendError::Refused(_, error)) => return Err(error),
        };
        let (bytes, cost) = self.shared.measure(&frame)?;
        match self.shared.room.acquire_many(cost).await {
            Ok(room) => {
                self.shared.push_when_lent(bytes, cost, frame).await?;
                room.forget();
                Ok(())
            }
            Err(_closed) => Err(self.shared.end_reason()),
        }
    }

    /// Queues a frame if there is room at once.
    ///
    /// # Errors
    /// `Full`; `Refused` with `BudgetSpent`, or as `send`. All give the frame back.
    pub fn try_send(&self, frame: Bytes) -> Result<(), TrySendError> {
        let (bytes, cost) = match self.shared.measure(&frame) {
            Ok(measured) => measured,
            Err(error) => return Err(TrySendError::Refused(frame, error)),
        };
        match self.shared.room.try_acquire_many(cost) {
            Ok(room) => {
                self.shared
                    .push(bytes, cost, frame)
                    .map_err(|(frame, error)| TrySendError::Refused(frame, error))?;
                room.forget();
                Ok(())
            }
            Err(tokio::sync::TryAcquireError::NoPermits) => Err(TrySendError::Full(frame)),
            Err(tokio::sync::TryAcquireError::Closed) => {
                Err(TrySendError::Refused(frame, self.shared.end_reason()))
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic under this lock can only be a failed allocation in the encoder, which is whole
        // before and after.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The frame's length and what it takes of the queue's room: all of it, for frames larger than
    /// the queue.
    fn measure(&self, frame: &Bytes) -> Result<(u32, u32), LaneError> {
        let bytes_max = self.limits.frame_bytes_max;
        match u32::try_from(frame.len()) {
            Ok(bytes) if bytes <= bytes_max => {
                let cost = bytes.saturating_add(FRAME_QUEUE_COST_BYTES);
                Ok((bytes, cost.min(self.limits.queue_bytes_max)))
            }
            _ => Err(LaneError::PayloadTooLong { bytes: frame.len(), bytes_max }),
        }
    }

    fn push(&self, bytes: u32, cost: u32, frame: Bytes) -> Result<(), (Bytes, LaneError)> {
        let mut queue = self.lock();
        match &queue.state {
            QueueState::Open => {}
            QueueState::Finishing => return Err((frame, LaneError::Finished)),
            QueueState::Ended(error) => return Err((frame, error.clone())),
        }
        let unwritten = queue.unwritten + cost as usize;
        if let Some(budget) = &self.budget {
            let lent = unwritten.saturating_sub(self.limits.queue_bytes_own as usize);
            if lent > queue.lent {
                if let Err(spent) = budget.lend(queue.lent, lent - queue.lent) {
                    return Err((frame, spent));
                }
                queue.lent = lent;
            }
        }
        let was_empty = queue.encoder.is_empty();
        queue.encoder.push(bytes, frame);
        queue.cost += cost as usize;
        queue.unwritten = unwritten;
        drop(queue);
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    /// As `push`, and waits while the budget is spent. Cancel-safe.
    async fn push_when_lent(&self, bytes: u32, cost: u32, frame: Bytes) -> Result<(), LaneError> {
        let mut frame = frame;
        loop {
            let mut eased = std::pin::pin!(self.eased.notified());
            eased.as_mut().enable();
            let returned = self.budget.as_ref().map(|budget| budget.0.returned.notified());
            let mut returned = std::pin::pin!(returned);
            if let Some(returned) = returned.as_mut().as_pin_mut() {
                returned.enable();
            }
            frame = match self.push(bytes, cost, frame) {
                Ok(()) => return Ok(()),
                Err((frame, LaneError::BudgetSpent { .. })) => frame,
                Err((_, error)) => return Err(error),
            };
            if let Some(returned) = returned.as_pin_mut() {
                tokio::select! {
                    () = returned => {}
                    () = eased => {}
                }
            }
        }
    }

    /// So much has been written: there is room again.
    fn written(&self, cost: usize) {
        let mut queue = self.lock();
        queue.unwritten -= cost;
        let lent = queue.unwritten.saturating_sub(self.limits.queue_bytes_own as usize);
        let returned = queue.lent.saturating_sub(lent);
        queue.lent -= returned;
        drop(queue);
        self.give_back(returned);
        self.room.add_permits(cost);
        self.eased.notify_waiters();
    }

    /// The writer has ended: what waits will never be written.
    fn drop_unwritten(&self) {
        let mut queue = self.lock();
        queue.encoder = Encoder::default();
        let returned = std::mem::take(&mut queue.lent);
        drop(queue);
        self.give_back(returned);
    }

    fn give_back(&self, bytes: usize) {
        if let Some(budget) = self.budget.as_ref().filter(|_| bytes > 0) {
            budget.give_back(bytes);
        }
    }

    /// Sets the first reason for which nothing more is taken; later ones change nothing, except
    /// that an end follows finishing.
    fn stop_taking(&self, state: QueueState) {
        let mut queue = self.lock();
        if !matches!(queue.state, QueueState::Ended(_)) {
            queue.state = state;
        }
        drop(queue);
        self.room.close();
        self.eased.notify_waiters();
    }

    fn end_reason(&self) -> LaneError {
        match &self.lock().state {
            QueueState::Ended(error) => error.clone(),
            QueueState::Open | QueueState::Finishing => LaneError::Finished,
        }
    }
}

/// The task behind a [`LaneSender`].
struct Writer {
    shared: Arc<Shared>,
    stream: SendStream,
    is_finished: bool,
}

impl Writer {
    async fn run(mut self) -> Result<(), LaneError> {
        let ended = self.write_until_finished().await;
        if let Err(error) = &ended {
            self.shared.stop_taking(QueueState::Ended(error.clone()));
        }
        ended
    }

    async fn write_until_finished(&mut self) -> Result<(), LaneError> {
        let mut chunks = Vec::new();
        loop {
            let (cost, priority, state) = {
                let mut queue = self.shared.lock();
                queue.encoder.take(&mut chunks);
                (std::mem::take(&mut queue.cost), queue.priority.take(), queue.state.clone())
            };
            if let Some(priority) = priority {
                // Fails if the peer has stopped the stream: the write will say so.
                self.stream.set_priority(priority).ok();
            }
            if !chunks.is_empty() {
                self.stream.write_all_chunks(&mut chunks).await.map_err(write_error)?;
                chunks.clear();
                self.shared.written(cost);
                continue;
            }
            match state {
                QueueState::Open => self.shared.work.notified().await,
                QueueState::Finishing => break,
                QueueState::Ended(error) => return Err(error),
            }
        }
        // Fails only if the stream has been finished or reset, which nobody else does.
        self.stream.finish().map_err(|_| LaneError::Finished)?;
        let stopped = self.stream.stopped().await;
        self.is_finished = true;
        match stopped {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(LaneError::StoppedByPeer { code: code.into_inner() }),
            Err(quinn::StoppedError::ConnectionLost(error)) => {
                Err(LaneError::ConnectionLost(error.into()))
            }
            Err(quinn::StoppedError::ZeroRttRejected) => Err(early_data_refused()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop_taking(QueueState::Ended(LaneError::Finished));
        self.shared.drop_unwritten();
        if !self.is_finished {
            // Fails if the stream or its connection has ended: then there is nobody to tell.
            self.stream.reset(CloseCode::Abandoned.varint()).ok();
        }
    }
}

impl LaneReceiver {
    /// The next frame; `None` once the peer has finished the lane and all its frames have been
    /// received.
    ///
    /// Cancel-safe: dropped before it is ready, no byte is lost.
    ///
    /// # Errors
    /// `FrameTooLong`, `Truncated`, `CutByPeer`, `ConnectionLost`, each only after all frames that
    /// came whole before it, and from then on always the same one.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, LaneError> {
        loop {
            if let Some(frame) = self.recv_ready()? {
                return Ok(Some(frame));
            }
            if let Some(Ok(())) = self.ended {
                return Ok(None);
            }
            self.read().await;
        }
    }

    /// The next frame that has already been taken out of QUIC, without waiting and without looking
    /// for more. After a `recv`, call it until `None` to handle a burst at once.
    ///
    /// # Errors
    /// As `recv`.
    pub fn recv_ready(&mut self) -> Result<Option<Bytes>, LaneError> {
        match self.decoder.next_frame() {
            Ok(Some(frame)) => Ok(Some(frame)),
            Ok(None) => match &self.ended {
                Some(Err(error)) => Err(error.clone()),
                _ => Ok(None),
            },
            Err(too_long) => {
                let error = LaneError::FrameTooLong(too_long);
                if self.ended.is_none() {
                    // Fails if the peer has ended the stream already.
                    self.stream.stop(CloseCode::ProtocolError.varint()).ok();
                    self.ended = Some(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Waits for at least one frame, and appends it and those that came with it to `frames`,
    /// `frames_max` at most. Returns how many; 0 is the end (or `frames_max` = 0).
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// As `recv`, and only if nothing was appended.
    pub async fn recv_many(
        &mut self,
        frames: &mut Vec<Bytes>,
        frames_max: usize,
    ) -> Result<usize, LaneError> {
        if frames_max == 0 {
            return Ok(0);
        }
        let Some(first) = self.recv().await? else {
            return Ok(0);
        };
        frames.push(first);
        let mut count = 1;
        while count < frames_max
            && let Ok(Some(frame)) = self.recv_ready()
        {
            frames.push(frame);
            count += 1;
        }
        Ok(count)
    }

    /// Takes what has arrived out of QUIC, or waits for it. Cancel-safe, as quinn's `read_chunks`
    /// is.
    async fn read(&mut self) {
        let mut pieces = [const { Bytes::new() }; READ_PIECES_MAX];
        match self.stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => {
                for piece in pieces.into_iter().take(count) {
                    self.decoder.feed(piece);
                }
            }
            Ok(None) if self.decoder.is_at_boundary() => self.ended = Some(Ok(())),
            Ok(None) => self.ended = Some(Err(LaneError::Truncated)),
            Err(error) => self.ended = Some(Err(read_error(error))),
        }
    }
}

impl Drop for LaneReceiver {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Fails if the stream has ended, seen or not.
            self.stream.stop(CloseCode::Abandoned.varint()).ok();
        }
    }
}

fn write_error(error: WriteError) -> LaneError {
    match error {
        WriteError::Stopped(code) => LaneError::StoppedByPeer { code: code.into_inner() },
        WriteError::ConnectionLost(error) => LaneError::ConnectionLost(error.into()),
        WriteError::ClosedStream => LaneError::Finished,
        WriteError::ZeroRttRejected => early_data_refused(),
    }
}

fn read_error(error: ReadError) -> LaneError {
    match error {
        ReadError::Reset(code) => LaneError::CutByPeer { code: code.into_inner() },
        ReadError::ConnectionLost(error) => LaneError::ConnectionLost(error.into()),
        // The two are ours: the stream was stopped here, or read out of order.
        ReadError::ClosedStream | ReadError::IllegalOrderedRead => LaneError::Finished,
        ReadError::ZeroRttRejected => early_data_refused(),
    }
}

/// Unreachable while 0-RTT is off (see `tls`); said honestly all the same.
fn early_data_refused() -> LaneError {
    LaneError::ConnectionLost(CloseReason::Transport("early data was refused".to_owned()))
}
