//! Which lane serves which session, and which of its requests are unanswered. Shared by the lanes' tasks, the thread that
//! applies and the thread that sequences; every lock is held for a few map operations and never across a wait.
//!
//! What waits here is sent to the sequencer by its bringer if executing goes on at that moment, and else by
//! [`Registry::resubmit`], never by both, and nothing overtakes what is submitted again: the gate orders the two.
//!
//! A reply that finds no lane, or a full one, is not lost: it is kept in the tree, and the client that resumes and sends
//! again gets it. A lane that is full is cut off for that reason, with its position known to its client.

mod turned;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::request::Request;
use quorate_core::transaction::{Entry, EntryBody, Outcome};
use quorate_net::{LaneError, LaneHandle, TrySendError};
use quorate_sequencer::{Input, Submission, Token};
use quorate_wire::message::ServerMessage;
use tokio::sync::{Notify, oneshot};

pub use self::turned::NotTaken;
use self::turned::Place;
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
    /// Bytes that wait on all lanes of this member.
    total_bytes: Arc<AtomicUsize>,
    /// The highest write that a lane of this session has taken here.
    taken: Arc<AtomicU64>,
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
    /// Of the writes up to this one there may be copies of which nothing is known here: taken by an older lane, executed
    /// before this member was started, or taken twice by this lane.
    doubtful: WriteNumber,
    /// Tokens of heartbeats, each used once, and their requests, oldest first.
    heartbeats: VecDeque<(Token, u64)>,
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
    /// The highest write that was taken here, of each session that had a lane here and lives.
    taken: Mutex<HashMap<SessionId, Arc<AtomicU64>>>,
    /// Why no lane is attached any more. Set while `sessions` is locked for writing: every lane either is there when the
    /// goodbyes are said, or is turned away.
    closed: OnceLock<Refusal>,
    openings: Mutex<BTreeMap<Token, Opening>>,
    next_token: AtomicU64,
    /// Whether writes are executed. Held for reading while something is handed to the sequencer, for writing while that
    /// changes.
    gate: RwLock<bool>,
    total_bytes: Arc<AtomicUsize>,
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
            taken: Mutex::default(),
            closed: OnceLock::new(),
            openings: Mutex::default(),
            next_token: AtomicU64::new(1),
            gate: RwLock::new(false),
            total_bytes: Arc::default(),
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
        *read(&self.gate)
    }

    /// Attaches a lane to a session. An older attachment of the session is over.
    ///
    /// # Errors
    /// What [`Registry::goodbye`] was called with.
    pub fn attach(&self, session: SessionId, lane: LaneHandle) -> Result<Arc<Attachment>, Refusal> {
        let taken = lock(&self.taken).entry(session).or_default().clone();
        let attachment = Arc::new(Attachment {
            number: self.next_token.fetch_add(1, Ordering::Relaxed),
            session,
            lane,
            waiting: Mutex::default(),
            total_bytes: self.total_bytes.clone(),
            taken,
            settled: Notify::new(),
            over: Notify::new(),
            is_over: AtomicBool::new(false),
        });
        let before = {
            let mut sessions = write(&self.sessions);
            if let Some(refusal) = self.closed.get() {
                return Err(refusal.clone());
            }
            sessions.insert(session, attachment.clone())
        };
        if let Some(before) = before {
            let refusal = Refusal::new(
                ErrorCode::SessionMoved,
                "a newer connection has taken the session over",
            );
            before.send(&ServerMessage::Goodbye(refusal));
            before.end();
            // A write that is being taken there has been, once this lock is had; none comes after it.
            drop(lock(&before.waiting));
        }
        attachment.note_executed(WriteNumber(attachment.taken.load(Ordering::Acquire)));
        Ok(attachment)
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

    /// Asks for a session; returns when its transaction has been applied. Dropped before, the session may be opened all
    /// the same, and expires.
    ///
    /// # Errors
    /// `overloaded`, and as the sequencer.
    pub async fn open_session(
        &self,
        timeout_ms: u64,
        secret_hash: [u8; 32],
        principal: String,
    ) -> Result<SessionId, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let input = Input::OpenSession { token, timeout_ms, secret_hash, principal };
        let _forget = Forget { registry: self, token };
        {
            let is_ready = read(&self.gate);
            lock(&self.openings).insert(token, Opening { input: input.clone(), answer: sender });
            if *is_ready {
                self.sequencer.send(input);
            }
        }
        receiver.await.unwrap_or_else(|_| {
            Err(Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down"))
        })
    }

    /// Takes a write of this lane on its way. Nothing is taken on a lane that is over.
    ///
    /// # Errors
    /// `overloaded`, when too many writes wait already, and whether that means that this one is not executed.
    pub fn submit(
        &self,
        attachment: &Attachment,
        request_id: u64,
        request: Arc<Request>,
        bytes: usize,
    ) -> Result<(), NotTaken> {
        let is_ready = read(&self.gate);
        let mut waiting = lock(&attachment.waiting);
        if attachment.is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        let place = self.place(&waiting, &request, bytes)?;
        attachment.taken.fetch_max(request.write.0, Ordering::AcqRel);
        let entry = WaitingWrite { request_id, request: request.clone(), bytes, is_parked: false };
        waiting.bytes += bytes;
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(before) = waiting.writes.insert(request.write, entry) {
            waiting.bytes -= before.bytes;
            self.total_bytes.fetch_sub(before.bytes, Ordering::Relaxed);
            // One of the two may be answered while the other is on its way.
            waiting.doubtful = waiting.doubtful.max(request.write);
        }
        // Sent under the locks: the writes of a session reach the sequencer in their order, and behind those that are
        // submitted again.
        if *is_ready && matches!(place, Place::New) {
            self.sequencer.send(Input::Submit(Submission { token: attachment.number, request }));
        }
        Ok(())
    }

    /// Asks the leader to confirm that it has heard of the session.
    ///
    /// # Errors
    /// `no-leader`, `overloaded`.
    pub fn heartbeat(&self, attachment: &Attachment, request_id: u64) -> Result<(), Refusal> {
        let is_ready = read(&self.gate);
        if !*is_ready {
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
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        waiting.heartbeats.push_back((token, request_id));
        self.sequencer.send(Input::Heartbeat { token, session: attachment.session });
        Ok(())
    }

    /// The leader has heard this heartbeat of the session: confirms it, and those before it that are still unanswered.
    /// Never a later one: the leader has not heard that yet, and its client counts from when it was sent.
    pub fn confirm(&self, token: Token, session: SessionId, is_live: bool) {
        let Some(attachment) = read(&self.sessions).get(&session).cloned() else { return };
        let requests: Vec<u64> = {
            let mut waiting = lock(&attachment.waiting);
            let Some(at) = waiting.heartbeats.iter().position(|(number, _)| *number == token)
            else {
                return;
            };
            waiting.heartbeats.drain(..=at).map(|(_, request)| request).collect()
        };
        for request in requests {
            attachment.send(&if is_live {
                ServerMessage::Confirmed { request }
            } else {
                let refusal =
                    Refusal::new(ErrorCode::SessionEnded, format!("session {session} has ended"));
                ServerMessage::Unconfirmed { request, refusal }
            });
        }
    }

    /// Executing begins: everything that is unanswered is submitted again, each session's writes in order.
    pub fn resubmit(&self) {
        let mut is_ready = write(&self.gate);
        *is_ready = true;
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
        *write(&self.gate) = false;
        for attachment in read_all(&self.sessions) {
            let heartbeats = std::mem::take(&mut lock(&attachment.waiting).heartbeats);
            for (_, request) in heartbeats {
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

    /// A call that waits, and was sent again: the reads behind it on its new lane need not wait for it.
    pub fn answer_parked(&self, token: Token, session: SessionId, write: WriteNumber) {
        if let Some(attachment) = self.current(session, token) {
            attachment.note_parked(write);
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
            for change in &transaction.changes {
                if let Change::SessionEnded { session, .. } | Change::SessionForgotten { session } =
                    change
                {
                    lock(&self.taken).remove(session);
                }
            }
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

    /// Tells every lane why it ends, those too that come later.
    pub fn goodbye(&self, refusal: &Refusal) {
        {
            let _sessions = write(&self.sessions);
            self.closed.get_or_init(|| refusal.clone());
        }
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
            sent = self.lane.send(frame) => {
                if let Err(error) = sent {
                    tracing::debug!(session = self.session.0, %error, "a message found its lane ended");
                    self.end();
                }
            }
            () = self.over() => {}
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
            let bytes = taken.as_ref().map_or(0, |write| write.bytes);
            waiting.bytes -= bytes;
            self.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
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

impl Drop for Attachment {
    fn drop(&mut self) {
        let bytes = lock(&self.waiting).bytes;
        self.total_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Takes an opening back when nobody waits for it any more.
struct Forget<'a> {
    registry: &'a Registry,
    token: Token,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.registry.openings).remove(&self.token);
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

#[cfg(test)]
mod tests;
