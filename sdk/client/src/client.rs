//! The handle that callers hold: it numbers requests within this client, waits for room, and hands them to the owner task. What
//! can be asked is in `tree`, `recipe`, `deploy` and `lock`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::request::{Answer, Body, Call, Reply};
use quorate_wire::message::watch::Watch;
use quorate_wire::message::whoami::Whoami;
use quorate_wire::message::{Consistency, Query, Results, body};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::credential::Credential;
use crate::dial::{Dialer, Link, is_permanent};
use crate::error::{Attempt, ConnectError, Error};
use crate::limits::{
    ANSWER_TIMEOUT, BODY_BYTES_MAX, COMMANDS_MAX, FIRST_DIAL_STAGGER, LOCK_WATCHES_MAX,
    READ_CALL_BYTES_MAX, RECONNECT_MS_FIRST, RECONNECT_MS_MAX, REQUEST_BYTES_MAX, REQUESTS_MAX,
};
use crate::options::Options;
use crate::outbox::{Outbox, Seen};
use crate::owner::{Cancel, NotAttached, Owner, Submission};
use crate::recipe::Types;
use crate::root::{Root, Texts};
use crate::session::{
    Ask, Backoff, Loss, Outcome, Session, SessionKey, SessionState, Token, WatchAsk,
};
use crate::streams::{Expected, Streams};

/// A client with one session. Cheap to clone; all clones share the session.
///
/// When the last clone has been dropped, the connection goes and nothing is sent any more; the session stays until its timeout
/// has passed, and with it its ephemeral znodes and locks. [`Client::close`] ends it at once.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    consistency: Consistency,
    root: Root,
}

struct Shared {
    options: Options,
    key: SessionKey,
    timeout_ms: u64,
    submissions: mpsc::Sender<Submission>,
    cancels: mpsc::UnboundedSender<Cancel>,
    state: watch::Receiver<SessionState>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    lock_watches: Semaphore,
    next_token: AtomicU64,
    owner: Mutex<Option<JoinHandle<()>>>,
    recipes: Mutex<BTreeMap<String, Arc<Types>>>,
    streams: Streams,
    next_stream: AtomicU64,
    next_watch: AtomicU64,
    seen: Seen,
}

impl Client {
    /// Connects and opens a session. Tries all addresses in turn until one gives a session or the time is over.
    ///
    /// To be called inside a tokio runtime. Dropped before it is ready, the attempt is given up; a session that was opened just
    /// then expires after its timeout.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        Self::start(options, None).await
    }

    /// Connects and goes on with a session that another process had, which must be sure to have ended: two that use one session
    /// end it for both ([`Loss::Contradiction`]). Replies that the other process did not get are given up. The timeout of the
    /// options is not used.
    ///
    /// # Errors
    /// See [`ConnectError`]; `Rejected` with `session-ended`, `no-session` or `bad-secret` if there is nothing to go on with.
    pub async fn resume(options: Options, key: SessionKey) -> Result<Self, ConnectError> {
        Self::start(options, Some(key)).await
    }

    /// A new client with the options and the root of this one and a session of its own: for those who go on after the session was
    /// lost. What belonged to the old session does not come back.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn reopen(&self) -> Result<Self, ConnectError> {
        let opened = Self::start(self.shared.options.clone(), None).await?;
        Ok(Self { root: self.root.clone(), ..opened })
    }

    async fn start(options: Options, key: Option<SessionKey>) -> Result<Self, ConnectError> {
        let dialer = Dialer::new(options.clone())?;
        let root = options.root.as_deref().map(|root| Root::whole().at(root)).transpose();
        let root = root.map_err(|refusal| ConnectError::Options(format!("the root: {refusal}")))?;
        let root = root.unwrap_or_else(Root::whole);
        let seed = seed()?;
        let session = Session::new(key, options.session_timeout_ms(), seed);
        let (submissions, submitted) = mpsc::channel(COMMANDS_MAX);
        let (cancels, cancelled) = mpsc::unbounded_channel();
        let clock = Clock::start();
        let streams = Streams::default();
        let (mut owner, state) =
            Owner::new(session, dialer, clock, seed, submitted, cancelled, streams.clone());
        let mut attempts = BTreeMap::new();
        let first = first_link(&mut owner, clock, seed, &mut attempts);
        let link = match tokio::time::timeout(options.connect_timeout, first).await {
            Ok(result) => result?,
            Err(_) => {
                let attempts = attempts.into_iter();
                let listed = attempts.map(|(address, reason)| Attempt { address, reason });
                return Err(ConnectError::Unreachable(listed.collect()));
            }
        };
        let key = owner.session().key().expect("an attached session has a key");
        let seen = owner.session().seen();
        let shared = Shared {
            options,
            key,
            timeout_ms: owner.session().timeout_ms(),
            submissions,
            cancels,
            state,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            bytes: Arc::new(Semaphore::new(REQUEST_BYTES_MAX)),
            lock_watches: Semaphore::new(LOCK_WATCHES_MAX),
            next_token: AtomicU64::new(1),
            owner: Mutex::new(Some(tokio::spawn(owner.run(link)))),
            recipes: Mutex::new(BTreeMap::new()),
            streams,
            next_stream: AtomicU64::new(1),
            next_watch: AtomicU64::new(1),
            seen,
        };
        Ok(Self { shared: Arc::new(shared), consistency: Consistency::Linearizable, root })
    }

    /// This client with another consistency for its reads; the default is linearizable. Clones of it keep that.
    #[must_use]
    pub fn with_consistency(&self, consistency: Consistency) -> Self {
        Self { consistency, ..self.clone() }
    }

    /// This client with a part of its tree as all of it: `/a` is `/app/a` for one with the root `/app`, in everything that names a
    /// znode, on its way out and back. Clones keep the root, and a root below this one adds to it; `/` adds nothing.
    ///
    /// The root need not be there: until it is, requests are refused with `no-node`, and creating `/`, or anything with its missing
    /// parents, creates it. It is not deleted as `/`. It is no protection: rights are given by access lists and rules.
    ///
    /// Not below it are arguments and results of recipes ([`Client::absolute`] is for those), fences, manifests, and the sentences
    /// of refusals, which name whole paths. What is about the whole tree is refused with `bad-arguments`: [`Client::rules`],
    /// [`Client::snapshot`]. Limits of paths count the root.
    ///
    /// # Errors
    /// `bad-path`; `limit` if it is too long or too deep. Nothing is sent.
    pub fn with_root(&self, path: &str) -> Result<Self, Refusal> {
        Ok(Self { root: self.root.at(path)?, ..self.clone() })
    }

    /// The path of what is `/` for this client; `/` without a root.
    #[must_use]
    pub fn root(&self) -> &str {
        self.root.as_str()
    }

    /// A path of this client as one of the whole tree: what a recipe is given as an argument, which knows no root. What does not
    /// begin with `/` is no path, and stays so for the recipe to refuse.
    #[must_use]
    pub fn absolute(&self, path: &str) -> String {
        self.root.outward(path)
    }

    /// The inverse of [`Client::absolute`]; none for a path that is not below the root.
    #[must_use]
    pub fn relative(&self, path: &str) -> Option<String> {
        self.root.inward(path).map(str::to_owned)
    }

    /// Where paths are changed on their way.
    pub(crate) fn mapping(&self) -> &Root {
        &self.root
    }

    /// This client without its root.
    pub(crate) fn of_whole_tree(&self) -> Self {
        Self { root: Root::whole(), ..self.clone() }
    }

    /// Id and secret of the session, for [`Client::resume`].
    #[must_use]
    pub fn session(&self) -> SessionKey {
        self.shared.key
    }

    /// The session's timeout, as the service granted it.
    #[must_use]
    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.timeout_ms)
    }

    /// How the session stands, and every change of it.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.shared.state.clone()
    }

    /// Resolves when the session is lost, and says why. Cancel-safe.
    pub async fn lost(&self) -> Loss {
        let mut state = self.shared.state.clone();
        let lost = state.wait_for(|state| matches!(state, SessionState::Lost(_))).await;
        match lost.as_deref() {
            Ok(SessionState::Lost(loss)) => loss.clone(),
            _ => Loss::Dropped,
        }
    }

    /// Sends a write and waits for its reply. A reply may be a refusal: see [`Client::done`].
    ///
    /// Writes are executed in the order in which they were sent, each exactly once as long as the session lives, whatever
    /// happens to connections and leaders. Dropped after it was sent, the write is carried through all the same, and its reply is
    /// thrown away.
    ///
    /// # Errors
    /// `Refused` if it was not executed at all; `SessionLost`; `BadAnswer`.
    pub async fn write(&self, body: Body) -> Result<(Zxid, Reply), Error> {
        self.send(body).await?.await
    }

    /// As [`Client::write`]; a refusal is an error, too.
    ///
    /// # Errors
    /// As `write`.
    pub async fn done(&self, body: Body) -> Result<(Zxid, Answer), Error> {
        done(self.write(body).await?)
    }

    /// Sends a write and does not wait for its reply: for many in order without waiting for each. Waits only for room, of which
    /// there is [`REQUESTS_MAX`] and [`REQUEST_BYTES_MAX`].
    ///
    /// Cancel-safe: dropped before it is ready, nothing has been sent.
    ///
    /// # Errors
    /// `Refused` with `limit` or `bad-message`; `SessionLost`.
    pub async fn send(&self, body: Body) -> Result<WriteHandle, Error> {
        let encoded = self.checked(body)?;
        let room = self.room(encoded.len()).await;
        let pending = self.submit(Ask::Write(encoded), room).await?;
        Ok(WriteHandle { pending })
    }

    /// As [`Client::send`], for those who would rather not wait: where there is no room, nothing is sent.
    ///
    /// # Errors
    /// `Refused` with `overloaded`, naming the limit, with `limit` for a body that is too large, with `bad-message`; `SessionLost`.
    pub async fn try_send(&self, body: Body) -> Result<WriteHandle, Error> {
        let encoded = self.checked(body)?;
        let full = |what: &str, limit: usize| {
            let message =
                format!("{what} have reached the limit of {limit}: some must be answered first");
            Error::from(Refusal::new(ErrorCode::Overloaded, message))
        };
        let bytes = Arc::clone(&self.shared.bytes).try_acquire_many_owned(permits(encoded.len()));
        let bytes = bytes.map_err(|_| {
            full("the bytes of this client's unanswered requests", REQUEST_BYTES_MAX)
        })?;
        let request = Arc::clone(&self.shared.requests).try_acquire_owned();
        let request =
            request.map_err(|_| full("this client's unanswered requests", REQUESTS_MAX))?;
        let pending = self.submit(Ask::Write(encoded), vec![bytes, request]).await?;
        Ok(WriteHandle { pending })
    }

    /// Reads. Reads see what was written before them on this session; those that are `Stale` promise nothing.
    ///
    /// # Errors
    /// `Refused`, `SessionLost`.
    pub async fn read(&self, query: Query) -> Result<(Zxid, Results), Error> {
        self.send_read(query, 0).await?.await
    }

    /// Sends a recipe call as a read.
    pub(crate) async fn send_read_call(&self, call: Call) -> Result<ReadHandle, Error> {
        let bytes = call.recipe.len() + call.function.len() + call.arguments.len();
        if bytes > READ_CALL_BYTES_MAX {
            let (bytes, max) = (bytes as u64, READ_CALL_BYTES_MAX as u64);
            return Err(Refusal::limit("bytes of a call as a read", bytes, max).into());
        }
        self.send_read(Query::Call(call), bytes).await
    }

    async fn send_read(&self, mut query: Query, bytes: usize) -> Result<ReadHandle, Error> {
        let texts = self.root.query(&mut query)?;
        let room = self.room(bytes).await;
        let pending = self.submit(Ask::Read(self.consistency, query), room).await?;
        Ok(ReadHandle { pending, texts })
    }

    /// A number for a watch, and what its outbox looks at.
    pub(crate) fn next_watch(&self) -> (u64, Seen) {
        let number = self.shared.next_watch.fetch_add(1, Ordering::Relaxed);
        (number, Arc::clone(&self.shared.seen))
    }

    /// Asks for a watch. Its answer says that it is open; dropped before, it goes on until [`Client::end_watch`].
    pub(crate) async fn ask_watch(
        &self,
        mut watch: Watch,
        outbox: Arc<Outbox>,
    ) -> Result<(Zxid, Results), Error> {
        self.root.watch(&mut watch)?;
        let room = self.room(watch.path.len()).await;
        let ask = WatchAsk { consistency: self.consistency, watch, outbox };
        let pending = self.submit(Ask::Watch(Box::new(ask)), room).await?;
        ReadHandle { pending, texts: Texts::Names }.await
    }

    /// Nobody reads this watch any more.
    pub(crate) fn end_watch(&self, watch: u64) {
        // Fails if the session is over, and the watch with it.
        self.shared.cancels.send(Cancel::Watch(watch)).ok();
    }

    /// Why the session is lost, if it is.
    pub(crate) fn loss(&self) -> Option<Loss> {
        match &*self.shared.state.borrow() {
            SessionState::Lost(loss) => Some(loss.clone()),
            _ => None,
        }
    }

    /// Shows who this client is, on the session that it has: as a write in the order of all others, what is sent behind it is done as
    /// whoever it makes of the session. For sessions that are opened, [`Options::credentials`] say it.
    ///
    /// # Errors
    /// `Refused` with `authentication-failed`, or `limit` for too many identities; `Arguments` for a file that can not be read;
    /// `SessionLost`.
    pub async fn authenticate(&self, credential: &Credential) -> Result<(), Error> {
        let shown = credential.load().map_err(Error::Arguments)?;
        let encoded = body::encode_credential(&shown);
        let room = self.room(encoded.len()).await;
        let pending = self.submit(Ask::Write(encoded), room).await?;
        done(WriteHandle { pending }.await?).map(|_| ())
    }

    /// Who this client is for the service, and from where it is connected.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub async fn whoami(&self) -> Result<Whoami, Error> {
        match self.read(Query::Whoami).await?.1 {
            Results::Whoami(whoami) => Ok(whoami),
            _ => Err(Error::BadAnswer("not who this client is".to_owned())),
        }
    }

    /// Takes in a stream that the member will open, under a number of its own.
    pub(crate) fn expect_stream(&self) -> Expected {
        let number = self.shared.next_stream.fetch_add(1, Ordering::Relaxed);
        self.shared.streams.expect(number)
    }

    /// Ends the session: its ephemeral znodes go in the same transaction. What was sent before is answered first; clones of this
    /// client answer `SessionLost` from then on. A session that is lost already is closed in any case.
    ///
    /// # Errors
    /// `Refused`.
    pub async fn close(self) -> Result<(), Error> {
        let closed = match self.submit(Ask::Close, Vec::new()).await {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        let owner = self.shared.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        match closed {
            Ok(Outcome::Replied(..) | Outcome::Lost { .. }) | Err(Error::SessionLost { .. }) => {}
            Ok(other) => return Err(failed(other)),
            Err(error) => return Err(error),
        }
        if let Some(owner) = owner
            && let Err(failed) = owner.await
        {
            tracing::error!(%failed, "the client's task failed");
        }
        Ok(())
    }

    pub(crate) fn recipes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Types>>> {
        self.shared.recipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One permit for each lock whose loss is waited for.
    pub(crate) fn lock_watches(&self) -> &Semaphore {
        &self.shared.lock_watches
    }

    /// A body as it is sent: below the root.
    fn checked(&self, mut body: Body) -> Result<Bytes, Error> {
        self.root.body(&mut body).map_err(Error::Refused)?;
        checked(&body)
    }

    async fn room(&self, bytes: usize) -> Vec<OwnedSemaphorePermit> {
        let bytes = Arc::clone(&self.shared.bytes).acquire_many_owned(permits(bytes)).await;
        let request = Arc::clone(&self.shared.requests).acquire_owned().await;
        bytes.into_iter().chain(request).collect()
    }

    async fn submit(&self, ask: Ask, room: Vec<OwnedSemaphorePermit>) -> Result<Pending, Error> {
        let token = self.shared.next_token.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let submission = Submission { token, ask, answer, room };
        if self.shared.submissions.send(submission).await.is_err() {
            return Err(Error::SessionLost { loss: self.lost().await, may_have_happened: false });
        }
        Ok(Pending { client: self.clone(), token, receiver })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("session", &self.shared.key.id)
            .field("state", &*self.shared.state.borrow())
            .field("consistency", &self.consistency)
            .field("root", &self.root.as_str())
            .finish()
    }
}

/// A write that has been sent. As a future, it gives the transaction and the reply; dropped, the write is carried through.
#[must_use]
pub struct WriteHandle {
    pending: Pending,
}

impl WriteHandle {
    /// Gives the write up: one that was not sent yet will not be, a call that waits is run once more with the reason
    /// "cancelled", everything else is too late. The answer comes in any case.
    pub fn cancel(&self) {
        self.canceller().cancel();
    }

    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { client: self.pending.client.clone(), token: self.pending.token }
    }
}

/// A read that has been sent. As a future, it gives what was found and the last transaction that it reflects.
#[must_use]
pub(crate) struct ReadHandle {
    pending: Pending,
    /// Those of the answer.
    texts: Texts,
}

impl Future for ReadHandle {
    type Output = Result<(Zxid, Results), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.pending).poll(context)) {
            Ok(Outcome::Found(zxid, mut results)) => {
                self.pending.client.root.results(&self.texts, &mut results)?;
                Ok((zxid, results))
            }
            Ok(other) => Err(failed(other)),
            Err(error) => Err(error),
        })
    }
}

/// Gives up a write that somebody else waits for.
pub(crate) struct Canceller {
    client: Client,
    token: Token,
}

impl Canceller {
    pub(crate) fn cancel(&self) {
        // Fails if the session is over: then there is nothing to cancel.
        self.client.shared.cancels.send(Cancel::Request(self.token)).ok();
    }
}

impl Future for WriteHandle {
    type Output = Result<(Zxid, Reply), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.pending).poll(context)) {
            Ok(Outcome::Replied(zxid, reply)) => {
                let mut reply = decode(reply)?;
                self.pending.client.root.reply(&mut reply)?;
                Ok((zxid, reply))
            }
            Ok(other) => Err(failed(other)),
            Err(error) => Err(error),
        })
    }
}

/// A request that the owner has.
struct Pending {
    client: Client,
    token: Token,
    receiver: oneshot::Receiver<Outcome>,
}

impl Future for Pending {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|outcome| {
            // The owner answers all; it is gone only with its runtime.
            outcome.map_err(|_| Error::SessionLost { loss: Loss::Dropped, may_have_happened: true })
        })
    }
}

/// The answer of a reply, or its refusal as an error.
pub(crate) fn done((zxid, reply): (Zxid, Reply)) -> Result<(Zxid, Answer), Error> {
    match reply {
        Reply::Done(answer) => Ok((zxid, answer)),
        Reply::Refused(failure) => Err(Error::Refused(failure)),
    }
}

/// The bytes of a body, if a member will read it.
fn checked(body: &Body) -> Result<Bytes, Error> {
    let encoded = body::encode(body);
    if encoded.len() > BODY_BYTES_MAX {
        let refusal =
            Refusal::limit("bytes of a request", encoded.len() as u64, BODY_BYTES_MAX as u64);
        return Err(refusal.into());
    }
    // A member that can not read a body ends the lane, since nothing else would be in order; so it must not get there.
    match body::decode(encoded.clone()) {
        Ok(_) => Ok(encoded),
        Err(error) => Err(Refusal::new(ErrorCode::BadMessage, error.to_string()).into()),
    }
}

/// Room for a body of so many bytes.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(REQUEST_BYTES_MAX)).unwrap_or(u32::MAX)
}

fn decode(reply: Bytes) -> Result<Reply, Error> {
    Reply::decode(reply).map_err(|error| Error::BadAnswer(error.to_string()))
}

fn failed(outcome: Outcome) -> Error {
    match outcome {
        Outcome::Refused(refusal) => refusal.into(),
        Outcome::Lost { loss, may_have_happened } => Error::SessionLost { loss, may_have_happened },
        Outcome::Replied(..) => Error::BadAnswer("a write's reply to a read".to_owned()),
        Outcome::Found(..) => Error::BadAnswer("a read's reply to a write".to_owned()),
    }
}

fn seed() -> Result<u64, ConnectError> {
    getrandom::u64().map_err(|error| ConnectError::Options(format!("no random bytes: {error}")))
}

/// The first lane that is attached. `attempts` keeps what came of each address.
async fn first_link(
    owner: &mut Owner,
    clock: Clock,
    seed: u64,
    attempts: &mut BTreeMap<String, String>,
) -> Result<Link, ConnectError> {
    let mut backoff = Backoff::new(RECONNECT_MS_FIRST, RECONNECT_MS_MAX, seed);
    let reach = owner.dialer().reach();
    loop {
        let addresses = owner.dialer().candidates(None, clock.now_ms());
        for address in &addresses {
            attempts.entry(address.clone()).or_insert_with(|| "no answer yet".to_owned());
        }
        let mut race = owner.dialer().race(addresses, FIRST_DIAL_STAGGER, ANSWER_TIMEOUT);
        while let Some((address, connected)) = race.next().await {
            let asked = match connected {
                Err(reason) => Err(reason),
                Ok(connection) => {
                    let attach = owner.session().attach(clock.now_ms());
                    reach.attach(address.clone(), connection, attach, ANSWER_TIMEOUT).await
                }
            };
            let reason = match asked.map(|link| (owner.attached(&link), link)) {
                Ok((Ok(()), link)) => return Ok(link),
                Ok((Err(NotAttached::Refused(refusal)), _)) if is_permanent(&refusal) => {
                    return Err(ConnectError::Rejected { address, refusal });
                }
                Ok((Err(reason), _)) => reason.to_string(),
                Err(reason) => reason,
            };
            owner.dialer().note_failed(&address, clock.now_ms());
            attempts.insert(address, reason);
            owner.session().handle_disconnected();
        }
        clock.until(clock.now_ms() + backoff.next_ms()).await;
    }
}
