//! One lane that serves one session: what was asked on it and is unanswered. It does not know the other sessions, nor how
//! requests reach the leader.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use quorate_core::error::Refusal;
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::request::Request;
use quorate_net::{LaneError, TrySendError};
use quorate_wire::link::{Tag, ToLeader};
use quorate_wire::message::ServerMessage;
use tokio::sync::Notify;

use super::lane::ClientLane;
use super::lock;
use super::turned::is_final;
use crate::audit::Auditor;
use crate::principals::{Counted, Principal};
use crate::watches::Outbox;

/// One lane, attached to one session.
pub struct Attachment {
    /// Unique on this member; the highest of a session is the one that counts.
    pub number: u64,
    /// The session.
    pub session: SessionId,
    lane: ClientLane,
    /// Events on their way to its client.
    pub(crate) outbox: Arc<Outbox>,
    pub(super) waiting: Mutex<Waiting>,
    /// Bytes that wait on all lanes of this member.
    total_bytes: Arc<AtomicUsize>,
    /// The highest write that a lane of this session has taken here.
    taken: Arc<AtomicU64>,
    /// Told whenever a write was answered or parked.
    settled: Notify,
    /// Told when this attachment is over.
    over: Notify,
    is_over: AtomicBool,
    /// Whether it has had its first word.
    pub(super) is_welcomed: AtomicBool,
    /// Why nothing is read on it any more.
    session_ended: OnceLock<Refusal>,
    /// Set before anything is asked on the lane, if there is an audit log.
    auditor: OnceLock<Auditor>,
    /// Set before anything is asked on the lane, if its session has one.
    principal: OnceLock<Arc<Principal>>,
}

#[derive(Default)]
pub(super) struct Waiting {
    pub(super) writes: BTreeMap<WriteNumber, WaitingWrite>,
    pub(super) bytes: usize,
    /// Of the writes up to this one there may be copies of which nothing is known here: taken by an older lane or
    /// another member, executed before this member was started, or taken twice by this lane.
    pub(super) doubtful: WriteNumber,
    /// How many of these were taken because they were sent before, without a look at what they add to.
    pub(super) again_count: usize,
    /// Tokens of heartbeats, each used once, and their requests, oldest first.
    pub(super) heartbeats: VecDeque<(u64, u64)>,
}

pub(super) struct WaitingWrite {
    pub(super) request_id: u64,
    pub(super) request: Arc<Request>,
    pub(super) bytes: usize,
    /// Its first run was applied and it waits: reads of its session need not wait for it (DESIGN D12).
    pub(super) is_parked: bool,
    /// What its principal has of it: one write, and its bytes.
    pub(super) _counted: Option<[Counted; 2]>,
}

impl Attachment {
    pub(super) fn new(
        number: u64,
        session: SessionId,
        lane: ClientLane,
        outbox: Arc<Outbox>,
        total_bytes: Arc<AtomicUsize>,
        taken: Arc<AtomicU64>,
    ) -> Self {
        Self {
            number,
            session,
            lane,
            outbox,
            waiting: Mutex::default(),
            total_bytes,
            taken,
            settled: Notify::new(),
            over: Notify::new(),
            is_over: AtomicBool::new(false),
            is_welcomed: AtomicBool::new(false),
            session_ended: OnceLock::new(),
            auditor: OnceLock::new(),
            principal: OnceLock::new(),
        }
    }

    /// From now on what is asked on this lane is told to the audit log. The first one counts.
    pub fn audit_with(&self, auditor: Auditor) {
        self.auditor.get_or_init(|| auditor);
    }

    /// The audit log of this lane.
    #[must_use]
    pub fn auditor(&self) -> Option<&Auditor> {
        self.auditor.get()
    }

    /// From now on what is asked on this lane is counted for this principal, too. The first one counts.
    pub(super) fn count_for(&self, principal: Arc<Principal>) {
        self.principal.get_or_init(|| principal);
    }

    /// Whose session it is, if it has a principal.
    #[must_use]
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.get()
    }

    /// The highest write that a lane of this session has taken on this member.
    pub(super) fn taken(&self) -> WriteNumber {
        WriteNumber(self.taken.load(Ordering::Acquire))
    }

    pub(super) fn note_taken(&self, write: WriteNumber) {
        self.taken.fetch_max(write.0, Ordering::AcqRel);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// A write of this lane, for the leader.
    pub(super) fn submission(&self, tag: Tag, request: Arc<Request>) -> ToLeader {
        ToLeader::Submit { tag, token: self.number, request }
    }

    pub(super) fn note_session_ended(&self, refusal: Refusal) {
        self.session_ended.get_or_init(|| refusal);
    }

    /// Refuses what is not for a session that has ended, as far as this member has applied it.
    ///
    /// # Errors
    /// `session-ended`; `no-session`, if that was so long ago that it is forgotten.
    pub fn require_session(&self) -> Result<(), Refusal> {
        self.session_ended.get().cloned().map_or(Ok(()), Err)
    }

    /// From where the client is connected, as this member sees it.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.lane.address()
    }

    /// Waits until this attachment is over. Cancel-safe.
    pub async fn over(&self) {
        loop {
            let told = self.over.notified();
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Waits until every write that was submitted before this call has been answered or has parked. Cancel-safe.
    pub async fn writes_settled(&self) {
        let Some(last) = self.last_unsettled(None) else { return };
        loop {
            let told = self.settled.notified();
            if self.last_unsettled(Some(last)).is_none() || self.is_over.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Whether reads of this session need not wait for its writes.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.last_unsettled(None).is_none()
    }

    /// The last write up to `bound` that is neither answered nor parked.
    fn last_unsettled(&self, bound: Option<WriteNumber>) -> Option<WriteNumber> {
        let waiting = lock(&self.waiting);
        let unsettled =
            |(number, write): (&WriteNumber, &WaitingWrite)| (!write.is_parked).then_some(*number);
        match bound {
            Some(bound) => waiting.writes.range(..=bound).rev().find_map(unsettled),
            None => waiting.writes.iter().rev().find_map(unsettled),
        }
    }

    /// Sends a message if the lane has room. A client that does not read what it asked for is cut off. Nothing is sent on an
    /// attachment that is over: its events have ended with it, and no reply may go without those before it.
    pub fn send(&self, message: &ServerMessage) {
        if self.is_over() {
            return;
        }
        match self.lane.try_send(message.encode()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::info!(
                    session = self.session.0,
                    "the client does not read its replies: its lane is cut"
                );
                self.end();
            }
            Err(TrySendError::Refused(_, error @ LaneError::BudgetSpent { .. })) => {
                tracing::info!(session = self.session.0, %error, "its lane is cut");
                self.end();
            }
            Err(TrySendError::Refused(_, error)) => {
                tracing::debug!(session = self.session.0, %error, "a message found its lane ended");
                self.end();
            }
        }
    }

    /// Sends a message once the lane has room: a client that does not read what it asked for holds up its own lane.
    /// Nothing is sent if the attachment is over before. Cancel-safe.
    pub async fn deliver(&self, frame: Bytes) {
        tokio::select! {
            biased;
            () = self.over() => {}
            sent = self.lane.send(frame) => {
                if let Err(error) = sent {
                    tracing::debug!(session = self.session.0, %error, "a message found its lane ended");
                    self.end();
                }
            }
        }
    }

    /// The number of the last event that was queued for its client.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.outbox.count()
    }

    /// Ends it because of what its client does, or does not do.
    pub(crate) fn cut(&self, why: &str) {
        tracing::info!(session = self.session.0, why, "a client's lane is cut");
        self.end();
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.outbox.end();
        self.over.notify_waiters();
        self.settled.notify_waiters();
    }

    pub(super) fn answer(&self, write: WriteNumber, message: impl FnOnce(u64) -> ServerMessage) {
        let (taken, message) = {
            let mut waiting = lock(&self.waiting);
            // Not asked for on this lane (yet): the client that sends it again gets the kept reply.
            let Some(taken) = waiting.writes.remove(&write) else { return };
            waiting.bytes -= taken.bytes;
            self.total_bytes.fetch_sub(taken.bytes, Ordering::Relaxed);
            let message = message(taken.request_id);
            // Before anybody finds it settled: a read that waits for it must not be answered before a refusal, behind which its
            // client asks that read again.
            self.send(&message);
            (taken, message)
        };
        if let Some(auditor) = self.auditor() {
            auditor.answered(&taken.request, taken.bytes, &message);
        }
        self.settled.notify_waiters();
    }

    /// The leader does not execute a write. If a copy of it may be on its way that the leader has not seen, only a refusal
    /// that holds for that one too may be passed on; else the lane ends, and its client sends again on another one.
    pub(super) fn refuse(&self, write: WriteNumber, refusal: Refusal) {
        let is_doubtful = {
            let waiting = lock(&self.waiting);
            write <= waiting.doubtful && waiting.writes.contains_key(&write)
        };
        if is_doubtful && !is_final(refusal.code) {
            self.send(&ServerMessage::Goodbye(refusal));
            self.end();
        } else {
            self.answer(write, |request| ServerMessage::NotExecuted { request, refusal });
        }
    }

    /// Whether this request waits here for its reply.
    pub(super) fn waits_for(&self, write: WriteNumber, hash: u128) -> bool {
        lock(&self.waiting).writes.get(&write).is_some_and(|waiting| waiting.request.hash == hash)
    }

    /// Whether a write of the session that was executed says that there is a later attachment, at another member: it was
    /// neither taken here nor sent before this lane came. The client has left, without a word that came through; what waits
    /// here waits there, too, and what still comes in on this lane it sends again there.
    pub(super) fn is_replaced_by(&self, write: WriteNumber) -> bool {
        // The leader executes a write after it was taken: so it is noted by now.
        write > self.taken().max(lock(&self.waiting).doubtful)
    }

    pub(super) fn note_parked(&self, write: WriteNumber) {
        if let Some(waiting) = lock(&self.waiting).writes.get_mut(&write) {
            waiting.is_parked = true;
        }
        self.settled.notify_waiters();
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let waiting = lock(&self.waiting);
        self.total_bytes.fetch_sub(waiting.bytes, Ordering::Relaxed);
        if let Some(auditor) = self.auditor() {
            for write in waiting.writes.values() {
                auditor.unanswered(&write.request, write.bytes);
            }
        }
    }
}
