//! Which lane serves which session, and which of its requests are unanswered. Shared by the lanes' tasks, the thread that
//! applies and the thread that sequences; every lock is held for a few map operations and never across a wait.
//!
//! A reply that finds no lane, or a full one, is not lost: it is kept in the tree, and the client that resumes and sends
//! again gets it. A lane that is full is cut off for that reason, with its position known to its client.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::Request;
use quorate_core::transaction::{Entry, EntryBody, Outcome};
use quorate_net::{LaneHandle, TrySendError};
use quorate_sequencer::{Input, Submission, Token};
use quorate_wire::message::ServerMessage;
use tokio::sync::{Notify, oneshot};

use crate::leader::SequencerHandle;
use crate::limits;

/// Number of the last event queued for a session. There are no event streams yet: nothing was queued.
const NO_EVENTS: u64 = 0;

/// One lane, attached to one session.
pub struct Attachment {
    /// Unique on this member; the highest of a session is the one that counts.
    pub number: Token,
    /// The session.
    pub session: SessionId,
    lane: LaneHandle,
    waiting: Mutex<Waiting>,
    /// Told whenever a write was answered or parked.
    settled: Notify,
    /// Told when this attachment is over.
    over: Notify,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    writes: BTreeMap<WriteNumber, WaitingWrite>,
    bytes: usize,
    /// Heartbeat tokens and their requests, oldest first.
    heartbeats: Vec<u64>,
}

struct WaitingWrite {
    request_id: u64,
    request: Arc<Request>,
    bytes: usize,
    /// Its first run was applied and it waits: reads of its session need not wait for it (DESIGN D12).
    is_parked: bool,
}

/// An opening session.
struct Opening {
    input: Input,
    answer: oneshot::Sender<Result<SessionId, Refusal>>,
}

/// The lanes of this member.
pub struct Registry {
    sessions: RwLock<HashMap<SessionId, Arc<Attachment>>>,
    openings: Mutex<BTreeMap<Token, Opening>>,
    next_token: AtomicU64,
    is_ready: AtomicBool,
    /// The last transaction that was applied here and whose replies are queued.
    zxid: AtomicU64,
    sequencer: SequencerHandle,
}

impl Registry {
    /// No lanes yet.
    #[must_use]
    pub fn new(sequencer: SequencerHandle) -> Self {
        Self {
            sessions: RwLock::default(),
            openings: Mutex::default(),
            next_token: AtomicU64::new(1),
            is_ready: AtomicBool::new(false),
            zxid: AtomicU64::new(0),
            sequencer,
        }
    }

    /// The tree stands at this transaction, at least.
    pub fn advance(&self, zxid: Zxid) {
        self.zxid.fetch_max(zxid.0, Ordering::AcqRel);
    }

    /// The last transaction that was applied here and whose replies are queued.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        Zxid(self.zxid.load(Ordering::Acquire))
    }

    /// Whether writes are executed at this moment.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Attaches a lane to a session. An older attachment of the session is over.
    pub fn attach(&self, session: SessionId, lane: LaneHandle) -> Arc<Attachment> {
        let attachment = Arc::new(Attachment {
            number: self.next_token.fetch_add(1, Ordering::Relaxed),
            session,
            lane,
            waiting: Mutex::default(),
            settled: Notify::new(),
            over: Notify::new(),
            is_over: AtomicBool::new(false),
        });
        let before = write(&self.sessions).insert(session, attachment.clone());
        if let Some(before) = before {
            let refusal = Refusal::new(
                ErrorCode::SessionMoved,
                "a newer connection has taken the session over",
            );
            before.send(&ServerMessage::Goodbye(refusal));
            before.end();
        }
        attachment
    }

    /// A lane has ended. The session lives on.
    pub fn detach(&self, attachment: &Attachment) {
        attachment.end();
        let mut sessions = write(&self.sessions);
        if sessions
            .get(&attachment.session)
            .is_some_and(|current| current.number == attachment.number)
        {
            sessions.remove(&attachment.session);
        }
    }

    /// Sessions with a lane here.
    #[must_use]
    pub fn count(&self) -> usize {
        read(&self.sessions).len()
    }

    /// Asks for a session; the answer comes when its transaction has been applied.
    pub fn open_session(
        &self,
        timeout_ms: u64,
        secret_hash: [u8; 32],
        principal: String,
    ) -> oneshot::Receiver<Result<SessionId, Refusal>> {
        let (sender, receiver) = oneshot::channel();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let input = Input::OpenSession { token, timeout_ms, secret_hash, principal };
        lock(&self.openings).insert(token, Opening { input: input.clone(), answer: sender });
        self.sequencer.send(input);
        receiver
    }

    /// Takes a write of this lane on its way.
    ///
    /// # Errors
    /// `overloaded`, when too many of its writes wait already: the number is not consumed.
    pub fn submit(
        &self,
        attachment: &Attachment,
        request_id: u64,
        request: Arc<Request>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let mut waiting = lock(&attachment.waiting);
        if waiting.writes.len() >= limits::OUTSTANDING_WRITES_MAX
            || waiting.bytes + bytes > limits::OUTSTANDING_BYTES_MAX
        {
            let message = format!(
                "{} writes of {} bytes of this session wait already; the limits are {} and {}",
                waiting.writes.len(),
                waiting.bytes,
                limits::OUTSTANDING_WRITES_MAX,
                limits::OUTSTANDING_BYTES_MAX
            );
            return Err(Refusal::new(ErrorCode::Overloaded, message));
        }
        let entry = WaitingWrite { request_id, request: request.clone(), bytes, is_parked: false };
        waiting.bytes += bytes;
        if let Some(before) = waiting.writes.insert(request.write, entry) {
            waiting.bytes -= before.bytes;
        }
        // Sent under the lock: the writes of a session reach the sequencer in the order of this map.
        self.sequencer.send(Input::Submit(Submission { token: attachment.number, request }));
        Ok(())
    }

    /// Asks the leader to confirm that it has heard of the session.
    ///
    /// # Errors
    /// `no-leader`, `overloaded`.
    pub fn heartbeat(&self, attachment: &Attachment, request_id: u64) -> Result<(), Refusal> {
        if !self.is_ready() {
            return Err(Refusal::new(
                ErrorCode::NoLeader,
                "no leader is known here at this moment",
            ));
        }
        let mut waiting = lock(&attachment.waiting);
        if waiting.heartbeats.len() >= limits::OUTSTANDING_HEARTBEATS_MAX {
            return Err(Refusal::new(
                ErrorCode::Overloaded,
                "too many heartbeats wait for the leader",
            ));
        }
        waiting.heartbeats.push(request_id);
        self.sequencer
            .send(Input::Heartbeat { token: attachment.number, session: attachment.session });
        Ok(())
    }

    /// The leader has heard of the session: confirms the oldest heartbeat.
    pub fn confirm(&self, token: Token, session: SessionId, is_live: bool) {
        let Some(attachment) = self.current(session, token) else { return };
        let request = {
            let mut waiting = lock(&attachment.waiting);
            if waiting.heartbeats.is_empty() {
                return;
            }
            waiting.heartbeats.remove(0)
        };
        attachment.send(&if is_live {
            ServerMessage::Confirmed { request }
        } else {
            let refusal =
                Refusal::new(ErrorCode::SessionEnded, format!("session {session} has ended"));
            ServerMessage::Unconfirmed { request, refusal }
        });
    }

    /// Executing begins: everything that is unanswered is submitted again, each session's writes in order.
    pub fn resubmit(&self) {
        self.is_ready.store(true, Ordering::Release);
        let openings: Vec<Input> =
            lock(&self.openings).values().map(|opening| opening.input.clone()).collect();
        for input in openings {
            self.sequencer.send(input);
        }
        let mut attachments: Vec<Arc<Attachment>> =
            read(&self.sessions).values().cloned().collect();
        attachments.sort_by_key(|attachment| attachment.number);
        for attachment in attachments {
            let waiting = lock(&attachment.waiting);
            for write in waiting.writes.values() {
                let submission =
                    Submission { token: attachment.number, request: write.request.clone() };
                self.sequencer.send(Input::Submit(submission));
            }
        }
    }

    /// Executing has stopped: heartbeats can not be confirmed now.
    pub fn pause(&self) {
        self.is_ready.store(false, Ordering::Release);
        for attachment in read_all(&self.sessions) {
            let heartbeats = std::mem::take(&mut lock(&attachment.waiting).heartbeats);
            for request in heartbeats {
                let refusal = Refusal::new(ErrorCode::NoLeader, "the leader is changing");
                attachment.send(&ServerMessage::Unconfirmed { request, refusal });
            }
        }
    }

    /// A session was opened, or not.
    pub fn opened(&self, token: Token, session: Result<SessionId, Refusal>) {
        if let Some(opening) = lock(&self.openings).remove(&token)
            && opening.answer.send(session).is_err()
        {
            tracing::debug!("a client left before its session was open; it expires");
        }
    }

    /// A reply that was kept from before, for a write that was sent again.
    pub fn answer_kept(
        &self,
        token: Token,
        session: SessionId,
        write: WriteNumber,
        zxid: Zxid,
        reply: Bytes,
    ) {
        if let Some(attachment) = self.current(session, token) {
            attachment.answer(write, |request| ServerMessage::Reply {
                request,
                zxid,
                events: NO_EVENTS,
                reply,
            });
        }
    }

    /// A write that was not executed.
    pub fn answer_refused(
        &self,
        token: Token,
        session: SessionId,
        write: WriteNumber,
        refusal: Refusal,
    ) {
        if let Some(attachment) = self.current(session, token) {
            attachment.answer(write, |request| ServerMessage::NotExecuted { request, refusal });
        }
    }

    /// An entry has been applied here: its replies go out.
    pub fn applied(&self, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for transaction in transactions {
            self.advance(transaction.zxid);
            let Some((session, write)) = transaction.origin.write() else { continue };
            let Some(attachment) = read(&self.sessions).get(&session).cloned() else { continue };
            match &transaction.outcome {
                Outcome::None => {}
                Outcome::Parked(_) => attachment.note_parked(write),
                Outcome::Replied(reply) => {
                    attachment.answer(write, |request| ServerMessage::Reply {
                        request,
                        zxid: transaction.zxid,
                        events: NO_EVENTS,
                        reply: reply.clone(),
                    })
                }
            }
        }
    }

    /// Tells every lane why it ends.
    pub fn goodbye(&self, refusal: &Refusal) {
        for attachment in read_all(&self.sessions) {
            attachment.send(&ServerMessage::Goodbye(refusal.clone()));
            attachment.end();
        }
    }

    fn current(&self, session: SessionId, token: Token) -> Option<Arc<Attachment>> {
        read(&self.sessions).get(&session).filter(|attachment| attachment.number == token).cloned()
    }
}

impl Attachment {
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

    /// Sends a message if the lane has room. A client that does not read what it asked for is cut off.
    pub fn send(&self, message: &ServerMessage) {
        match self.lane.try_send(message.encode()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                tracing::info!(
                    session = self.session.0,
                    "the client does not read its replies: its lane is cut"
                );
                self.end();
            }
            Err(TrySendError::Refused(_, error)) => {
                tracing::debug!(session = self.session.0, %error, "a message found its lane ended");
                self.end();
            }
        }
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.over.notify_waiters();
        self.settled.notify_waiters();
    }

    fn answer(&self, write: WriteNumber, message: impl FnOnce(u64) -> ServerMessage) {
        let taken = {
            let mut waiting = lock(&self.waiting);
            let taken = waiting.writes.remove(&write);
            waiting.bytes -= taken.as_ref().map_or(0, |write| write.bytes);
            taken
        };
        // Not asked for on this lane (yet): the client that sends it again gets the kept reply.
        let Some(taken) = taken else { return };
        self.send(&message(taken.request_id));
        self.settled.notify_waiters();
    }

    fn note_parked(&self, write: WriteNumber) {
        if let Some(waiting) = lock(&self.waiting).writes.get_mut(&write) {
            waiting.is_parked = true;
        }
        self.settled.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn read_all(sessions: &RwLock<HashMap<SessionId, Arc<Attachment>>>) -> Vec<Arc<Attachment>> {
    let mut all: Vec<Arc<Attachment>> = read(sessions).values().cloned().collect();
    all.sort_by_key(|attachment| attachment.number);
    all
}
