//! Which lane serves which session, and which of its requests are unanswered. Shared by the lanes' tasks, the thread that
//! applies and the thread that sequences; every lock is held for a few map operations and never across a wait.
//!
//! What waits here is handed to the leader by its bringer if there is a route at that moment, and else by
//! [`Registry::open_route`], never by both, and nothing overtakes what is handed over again: the gate orders the two.
//!
//! A reply that finds no lane, or a full one, is not lost: it is kept in the tree, and the client that resumes and sends
//! again gets it. A lane that is full is cut off for that reason, with its position known to its client.

mod attachment;
mod ended;
mod lane;
mod members;
mod route;
mod turned;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{SessionId, WriteNumber, Zxid};
use quorate_core::path::Path;
use quorate_core::read::Read;
use quorate_core::request::{Class, Request};
use quorate_core::session::Opening;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_wire::link::{Tag, ToLeader};
use quorate_wire::message::ServerMessage;
use tokio::sync::{Notify, oneshot, watch};

pub use self::attachment::Attachment;
use self::attachment::WaitingWrite;
pub use self::lane::ClientLane;
use self::route::Gate;
pub use self::route::Way;
pub use self::turned::NotTaken;
use self::turned::Place;
use crate::audit::Audit;
use crate::leader::SequencerHandle;
use crate::limits;
use crate::principals::{Kind, Principals};
use crate::watches::Watches;

/// A session that is being opened.
struct Awaited {
    opening: Opening,
    answer: oneshot::Sender<Result<SessionId, Refusal>>,
}

impl Awaited {
    fn request(&self, token: u64, tag: Tag) -> ToLeader {
        ToLeader::OpenSession { tag, token, opening: self.opening.clone() }
    }
}

/// The lanes of this member.
pub struct Registry {
    sessions: RwLock<HashMap<SessionId, Arc<Attachment>>>,
    /// The highest write that was taken here, of each session that had a lane here and lives.
    taken: Mutex<HashMap<SessionId, Arc<AtomicU64>>>,
    /// Why no lane is attached any more. Set while `sessions` is locked for writing: every lane either is there when the
    /// goodbyes are said, or is turned away.
    closed: OnceLock<Refusal>,
    openings: Mutex<BTreeMap<u64, Awaited>>,
    next_token: AtomicU64,
    gate: RwLock<Gate>,
    route_changed: watch::Sender<()>,
    total_bytes: Arc<AtomicUsize>,
    /// The last transaction that was applied here and whose replies are queued.
    zxid: AtomicU64,
    /// Told whenever that has advanced.
    advanced: Notify,
    /// Told when the tree was replaced by a snapshot.
    replaced: watch::Sender<()>,
    /// Where clients reach the service.
    members: Mutex<Vec<String>>,
    watches: Arc<Watches>,
    sequencer: SequencerHandle,
    audit: Audit,
    principals: Principals,
    /// The last epoch that was this member's own.
    own: Mutex<Option<Tag>>,
}

impl Registry {
    /// No lanes yet.
    #[must_use]
    pub fn new(sequencer: SequencerHandle) -> Self {
        Self::with_audit(sequencer, Audit::default())
    }

    /// No lanes yet; this audit log may have writes refused.
    #[must_use]
    pub fn with_audit(sequencer: SequencerHandle, audit: Audit) -> Self {
        Self {
            sessions: RwLock::default(),
            taken: Mutex::default(),
            closed: OnceLock::new(),
            openings: Mutex::default(),
            next_token: AtomicU64::new(1),
            gate: RwLock::default(),
            route_changed: watch::Sender::new(()),
            total_bytes: Arc::default(),
            zxid: AtomicU64::new(0),
            advanced: Notify::new(),
            replaced: watch::Sender::new(()),
            members: Mutex::default(),
            watches: Arc::default(),
            sequencer,
            audit,
            principals: Principals::default(),
            own: Mutex::default(),
        }
    }

    /// The tree stands at this transaction, at least, and the replies of it and of those before are queued.
    pub fn advance(&self, zxid: Zxid) {
        self.zxid.fetch_max(zxid.0, Ordering::AcqRel);
        self.advanced.notify_waiters();
    }

    /// The last transaction that was applied here and whose replies are queued.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        Zxid(self.zxid.load(Ordering::Acquire))
    }

    /// Returns when this transaction has been applied here and its reply is queued. Cancel-safe.
    pub async fn reached(&self, zxid: Zxid) {
        loop {
            let mut advanced = std::pin::pin!(self.advanced.notified());
            advanced.as_mut().enable();
            if self.zxid() >= zxid {
                return;
            }
            advanced.await;
        }
    }

    /// The tree was replaced by this one, out of a snapshot. Replies that went by meanwhile are in no entry that comes here:
    /// whoever keeps the link to the leader opens a new one, over which all is handed over again.
    pub fn installed(&self, tree: &(impl Read + ?Sized)) {
        let zxid = tree.meta().zxid;
        self.watches.installed(zxid);
        self.advance(zxid);
        self.check_sessions(tree);
        self.replaced.send_modify(|()| {});
    }

    /// Tells when the tree is replaced by a snapshot.
    #[must_use]
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// Attaches a lane to a session, of which its client has sent writes up to `sent` before, anywhere. An older attachment of
    /// the session is over.
    ///
    /// # Errors
    /// What [`Registry::goodbye`] was called with; `session-moved` for a lane whose client has given it up, and may have another
    /// one by now.
    pub fn attach(
        &self,
        session: SessionId,
        lane: impl Into<ClientLane>,
        sent: WriteNumber,
    ) -> Result<Arc<Attachment>, Refusal> {
        let lane = lane.into();
        if lane.is_gone() {
            let message = "the client has left before its session was attached";
            return Err(Refusal::new(ErrorCode::SessionMoved, message));
        }
        let taken = lock(&self.taken).entry(session).or_default().clone();
        let number = self.next_token.fetch_add(1, Ordering::Relaxed);
        let total_bytes = self.total_bytes.clone();
        let outbox = self.watches.outbox();
        let attachment =
            Arc::new(Attachment::new(number, session, lane, outbox, total_bytes, taken));
        // Before it can be found: see `Attachment::is_replaced_by`.
        attachment.note_doubtful(sent);
        let before = {
            let mut sessions = write(&self.sessions);
            if let Some(refusal) = self.closed.get() {
                return Err(refusal.clone());
            }
            sessions.insert(session, attachment.clone())
        };
        if let Some(before) = before {
            moved(&before, "a newer connection has taken the session over");
            // A write that is being taken there has been, once this lock is had; none comes after it.
            drop(lock(&before.waiting));
        }
        attachment.note_doubtful(attachment.taken());
        Ok(attachment)
    }

    /// What is asked on this lane counts for the principal of its session. To be called before anything is.
    pub fn count_for(&self, attachment: &Attachment, principal: &str) {
        if let Some(principal) = self.principals.named(principal) {
            attachment.count_for(principal);
        }
    }

    /// A lane has ended, and its watches with it. The session lives on.
    pub fn detach(&self, attachment: &Attachment) {
        attachment.end();
        self.watches.forget(attachment.number);
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
    pub async fn open_session(&self, opening: Opening) -> Result<SessionId, Refusal> {
        let (answer, receiver) = oneshot::channel();
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        let opening = Awaited { opening, answer };
        let _forget = Forget { registry: self, token };
        {
            let gate = self.gate();
            if gate.route.as_ref().is_some_and(|route| self.is_overloaded(route, Class::Ordinary)) {
                return Err(crate::leader::overloaded());
            }
            // Noted before it is handed over: the answer may be there before the next line is.
            let mut openings = lock(&self.openings);
            if let Some(route) = &gate.route {
                self.hand_over(route, opening.request(token, route.tag), 0);
            }
            openings.insert(token, opening);
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
        let gate = self.gate();
        let mut waiting = lock(&attachment.waiting);
        if attachment.is_over() {
            return Ok(());
        }
        let principal = attachment.principal();
        let place = self.place(&waiting, principal, gate.route.as_ref(), &request, bytes)?;
        attachment.note_taken(request.write);
        let is_parked = matches!(place, Place::Joined { is_parked: true });
        let entry = WaitingWrite {
            request_id,
            request: request.clone(),
            bytes,
            is_parked,
            _counted: principal
                .map(|one| [one.add(Kind::Writes, 1), one.add(Kind::WriteBytes, bytes)]),
        };
        waiting.bytes += bytes;
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(before) = waiting.writes.insert(request.write, entry) {
            waiting.bytes -= before.bytes;
            self.total_bytes.fetch_sub(before.bytes, Ordering::Relaxed);
            if before.request.hash != request.hash
                && let Some(auditor) = attachment.auditor()
            {
                // Another request had its number, and may be executed: nobody waits for its answer any more.
                auditor.unanswered(&before.request, before.bytes);
            }
            if matches!(place, Place::New) {
                // One of the two may be answered while the other is on its way.
                waiting.doubtful = waiting.doubtful.max(request.write);
            }
        }
        // Handed over under the locks: the writes of a session reach the sequencer in their order, and behind those that are
        // handed over again.
        if let (Some(route), Place::New) = (&gate.route, place) {
            self.hand_over(route, attachment.submission(route.tag, request), bytes);
        }
        Ok(())
    }

    /// Asks the leader to confirm that it has heard of the session.
    ///
    /// # Errors
    /// `no-leader`, `overloaded`.
    pub fn heartbeat(&self, attachment: &Attachment, request_id: u64) -> Result<(), Refusal> {
        let gate = self.gate();
        let Some(route) = &gate.route else {
            return Err(Refusal::new(
                ErrorCode::NoLeader,
                "no leader is known here at this moment",
            ));
        };
        let mut waiting = lock(&attachment.waiting);
        if waiting.heartbeats.len() >= limits::OUTSTANDING_HEARTBEATS_MAX {
            return Err(Refusal::new(
                ErrorCode::Overloaded,
                "too many heartbeats wait for the leader",
            ));
        }
        let token = self.next_token.fetch_add(1, Ordering::Relaxed);
        waiting.heartbeats.push_back((token, request_id));
        let (tag, session) = (route.tag, attachment.session);
        self.hand_over(route, ToLeader::Heartbeat { tag, token, session }, 0);
        Ok(())
    }

    /// What became of this heartbeat, and of those before it that are still unanswered. Never of a later one: the leader has
    /// not heard that yet, and its client counts from when it was sent.
    fn confirm(&self, token: u64, session: SessionId, confirmed: Result<(), Refusal>) {
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
            attachment.send(&match &confirmed {
                Ok(()) => ServerMessage::Confirmed { request },
                Err(refusal) => ServerMessage::Unconfirmed { request, refusal: refusal.clone() },
            });
        }
    }

    /// A session was opened, or not.
    fn opened(&self, token: u64, session: Result<SessionId, Refusal>) {
        if let Some(opening) = lock(&self.openings).remove(&token)
            && opening.answer.send(session).is_err()
        {
            tracing::debug!("a client left before its session was open; it expires");
        }
    }

    /// A reply that was kept from before, for a write that was sent again.
    fn answer_kept(
        &self,
        token: u64,
        session: SessionId,
        write: WriteNumber,
        zxid: Zxid,
        reply: Bytes,
    ) {
        if let Some(attachment) = self.current(session, token) {
            attachment.answer(write, |request| ServerMessage::Reply {
                request,
                zxid,
                events: attachment.events(),
                reply,
            });
        }
    }

    /// A call that waits, and was sent again: the reads behind it on its new lane need not wait for it.
    fn answer_parked(&self, token: u64, session: SessionId, write: WriteNumber) {
        if let Some(attachment) = self.current(session, token) {
            attachment.note_parked(write);
        }
    }

    /// A write that was not executed.
    fn answer_refused(&self, token: u64, session: SessionId, write: WriteNumber, refusal: Refusal) {
        if let Some(attachment) = self.current(session, token) {
            attachment.refuse(write, refusal);
        }
    }

    /// The watches of this member's clients.
    #[must_use]
    pub fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    /// An entry has been applied here: its events go out, then its replies, and then readers may see it. `before`: the data
    /// that it has replaced, if that was wanted while it was applied.
    pub fn applied(&self, entry: &Entry, before: Option<&BTreeMap<Path, Bytes>>) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        self.watches.applied(transactions, before);
        for transaction in transactions {
            self.reply_with(transaction);
            self.end_sessions(transaction);
        }
        if let Some(last) = transactions.last() {
            self.advance(last.zxid);
        }
    }

    fn reply_with(&self, transaction: &Transaction) {
        for change in &transaction.changes {
            if let Change::IdentityAdded { session, held } = change
                && let Some(attachment) = read(&self.sessions).get(session)
                && let Some(auditor) = attachment.auditor()
            {
                auditor.identify(held.identity.masked().to_string());
            }
        }
        let (Origin::Write { session, write, hash, .. } | Origin::Rerun { session, write, hash }) =
            transaction.origin
        else {
            return;
        };
        let Some(attachment) = read(&self.sessions).get(&session).cloned() else { return };
        if attachment.is_replaced_by(write) {
            return moved(&attachment, "the session is used on a later connection, elsewhere");
        }
        // The reply is that of the request that was executed. Another one that has its number hears from the leader.
        if !attachment.waits_for(write, hash) {
            return;
        }
        match &transaction.outcome {
            Outcome::None => {}
            Outcome::Parked(_) => attachment.note_parked(write),
            Outcome::Replied(reply) => attachment.answer(write, |request| ServerMessage::Reply {
                request,
                zxid: transaction.zxid,
                events: attachment.events(),
                reply: reply.clone(),
            }),
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

    fn current(&self, session: SessionId, token: u64) -> Option<Arc<Attachment>> {
        read(&self.sessions).get(&session).filter(|attachment| attachment.number == token).cloned()
    }
}

/// Ends an attachment that is not the current one of its session.
fn moved(attachment: &Attachment, why: &str) {
    attachment.send(&ServerMessage::Goodbye(Refusal::new(ErrorCode::SessionMoved, why)));
    attachment.end();
}

/// Takes an opening back when nobody waits for it any more.
struct Forget<'a> {
    registry: &'a Registry,
    token: u64,
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
