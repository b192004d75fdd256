//! A member for the tests of the client: the real sequencer over a tree in memory, behind the real transport. It has no raft,
//! no sandbox and no second member; recipes are closures. What it can do beside is to break: cut lanes, swallow replies, refuse.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use quorate_core::access::Asker;
use quorate_core::apply::{self, Applied};
use quorate_core::draft::{Draft, ReadRecords};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::{Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::read::{MemoryTree, SharedRead};
use quorate_core::request::Request;
use quorate_core::session::Opening;
use quorate_core::transaction::{Entry, EntryBody, Outcome};
use quorate_net::{
    CloseCode, Connection, Identity, LaneLimits, Server, ServerConfig, TrustAnchors,
};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Leadership, Now, Output, Sequencer, Submission, Token};
use quorate_wire::message::query::Status;
use quorate_wire::message::scan::Item;
use quorate_wire::message::watch::{EventMessage, Watch, WatchEnd, Watched};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Hello, PROTOCOLS, Query, Results, ServerMessage, Welcome,
    body, bulk,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::events::{History, Watching, send_events};
use super::recipes::{Closures, interfaces, seed};

const SECRET: [u8; 32] = [7; 32];
const LIMITS: LaneLimits = LaneLimits {
    frame_bytes_max: 5 * 1024 * 1024,
    queue_bytes_max: 8 * 1024 * 1024,
    queue_bytes_own: 8 * 1024 * 1024,
};

/// What a test does to the member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Cut the first lane after this many writes, whether they have been answered or not; each later one after so many more.
    pub(super) cut_after_writes: Option<u64>,
    /// Confirm no heartbeat and execute nothing: no leader.
    pub(super) is_leaderless: bool,
    /// Say of `add` that it only reads.
    pub(super) lists_add: bool,
    /// Events of one frame at most; 0: all.
    pub(super) events_per_frame: usize,
}

/// One lane's session: where answers go, and under which request numbers.
struct Attached {
    token: Token,
    messages: mpsc::UnboundedSender<ServerMessage>,
    writes: BTreeMap<WriteNumber, u64>,
    heartbeats: Vec<u64>,
    watching: Watching,
}

struct World {
    tree: Arc<MemoryTree>,
    sequencer: Sequencer,
    attached: BTreeMap<SessionId, Attached>,
    opened: BTreeMap<Token, Result<SessionId, Refusal>>,
    next_token: u64,
    origin: Instant,
    faults: Faults,
    /// Calls that are still refused with `compiling`.
    compiling: Arc<AtomicU32>,
    /// Writes that came on lanes, copies included.
    writes_count: u64,
    history: History,
}

/// A running member.
pub(super) struct Member {
    world: Arc<Mutex<World>>,
    pub(super) address: SocketAddr,
    pub(super) trust: TrustAnchors,
    identity: Arc<Identity>,
    /// Of the certificates, until nobody needs them.
    directory: Arc<tempfile::TempDir>,
    cut: watch::Sender<u64>,
    /// Events of its clients wait on their way.
    pub(super) holds_events: Arc<watch::Sender<bool>>,
    /// The lowest position that it has the events behind.
    pub(super) oldest: Arc<AtomicU64>,
    task: JoinHandle<()>,
    ticker: JoinHandle<()>,
}

impl Member {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now())
            .expect("certificates");
        let tree = Arc::new(MemoryTree::new());
        seed(&tree);
        let compiling = Arc::new(AtomicU32::new(0));
        let sequencer =
            Sequencer::new(tree.clone(), Box::new(Closures { compiling: compiling.clone() }));
        let mut world = World {
            tree,
            sequencer,
            attached: BTreeMap::new(),
            opened: BTreeMap::new(),
            next_token: 1,
            origin: Instant::now(),
            faults: Faults::default(),
            compiling,
            writes_count: 0,
            history: History::default(),
        };
        world.handle(Input::Lead(Leadership { term: Term(1) }));
        let world = Arc::new(Mutex::new(world));
        Self::of(world, Arc::new(identity), Arc::new(directory))
    }

    /// Another way to the same service, as a second member is one.
    pub(super) fn beside(&self) -> Self {
        Self::of(self.world.clone(), self.identity.clone(), self.directory.clone())
    }

    fn of(
        world: Arc<Mutex<World>>,
        identity: Arc<Identity>,
        directory: Arc<tempfile::TempDir>,
    ) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, trust) = (identity.server.clone(), identity.trust.clone());
        let server =
            Server::bind(&ServerConfig::new(listen, server, trust.clone())).expect("a port");
        let (cut, cuts) = watch::channel(0);
        let address = server.local_address();
        let holds_events = Arc::new(watch::Sender::new(false));
        let oldest = Arc::new(AtomicU64::new(0));
        let ways = Ways {
            world: world.clone(),
            cuts,
            held: holds_events.subscribe(),
            oldest: oldest.clone(),
        };
        let task = tokio::spawn(serve(server, ways));
        let ticked = world.clone();
        let ticker = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_millis(10));
            loop {
                interval.tick().await;
                lock(&ticked).step();
            }
        });
        Self { world, address, trust, identity, directory, cut, holds_events, oldest, task, ticker }
    }

    /// Ends all lanes without a word; the member goes on.
    pub(super) fn cut_lanes(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        lock(&self.world).faults = faults;
    }

    /// So many calls are refused as if their code were being compiled.
    pub(super) fn compile_during(&self, calls: u32) {
        lock(&self.world).compiling.store(calls, Ordering::SeqCst);
    }

    pub(super) fn compiling_left(&self) -> u32 {
        lock(&self.world).compiling.load(Ordering::SeqCst)
    }

    pub(super) fn writes_count(&self) -> u64 {
        lock(&self.world).writes_count
    }

    pub(super) fn tree(&self) -> Arc<MemoryTree> {
        lock(&self.world).tree.clone()
    }

    /// Lanes that were attached, at any member of the service.
    pub(super) fn attached_count(&self) -> u64 {
        lock(&self.world).next_token - 1
    }

    /// Watches that are open, at any member of the service.
    pub(super) fn watches_count(&self) -> usize {
        lock(&self.world).attached.values().map(|attached| attached.watching.open_count()).sum()
    }

    /// Tells all clients that they have been sent everything.
    pub(super) fn tell_progress(&self) {
        let mut world = lock(&self.world);
        let zxid = world.tree.meta().zxid;
        for attached in world.attached.values_mut() {
            attached.watching.progress(zxid);
        }
    }

    /// Ends all watches.
    pub(super) fn end_watches(&self, end: &WatchEnd) {
        let mut world = lock(&self.world);
        let zxid = world.tree.meta().zxid;
        for attached in world.attached.values_mut() {
            attached.watching.end_all(zxid, end);
        }
    }

    pub(super) fn parked_count(&self) -> usize {
        lock(&self.world).sequencer.parked_count()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
        self.ticker.abort();
    }
}

fn lock(world: &Mutex<World>) -> std::sync::MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.origin.elapsed().as_millis()).expect("a short test");
        Now { wall: Millis(1_800_000_000_000 + monotonic_ms), monotonic_ms }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.sequencer.handle(input, now);
        self.step();
    }

    /// Everything that is proposed is committed and applied at once.
    fn step(&mut self) {
        let now = self.now();
        self.sequencer.step(now);
        while let Some(output) = self.sequencer.poll_output() {
            match output {
                Output::Propose { epoch, batch, entry } => {
                    self.apply(&entry);
                    self.sequencer.handle(Input::Applied { epoch, batch }, now);
                    self.sequencer.step(now);
                }
                Output::Ready { .. } => {}
                Output::Answer { token, session, write, answer } => match answer {
                    DirectAnswer::Kept { zxid, reply } => {
                        self.answer(session, write, Some(token), |request, events| {
                            ServerMessage::Reply { request, zxid, events, reply }
                        });
                    }
                    DirectAnswer::Refused(refusal) => {
                        self.answer(session, write, Some(token), |request, _| {
                            ServerMessage::NotExecuted { request, refusal }
                        });
                    }
                    DirectAnswer::Parked => {}
                },
                Output::SessionOpened { token, session } => {
                    self.opened.insert(token, session);
                }
                Output::HeartbeatConfirmed { token, session, is_live } => {
                    self.confirm(token, session, is_live);
                }
            }
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let told = self.history.record(&self.tree, entry);
        let mut draft = Draft::new(self.tree.clone());
        assert_eq!(apply::entry(&mut draft, entry, Term(1)), Applied::Taken);
        apply::seal(&mut draft);
        self.tree.commit(draft.into_parts().1);
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for (transaction, told) in transactions.iter().zip(told) {
            for attached in self.attached.values_mut() {
                attached.watching.tell(&told, self.faults.events_per_frame);
            }
            if let (Some((session, write)), Outcome::Replied(reply)) =
                (transaction.origin.write(), &transaction.outcome)
            {
                let (zxid, reply) = (transaction.zxid, reply.clone());
                self.answer(session, write, None, |request, events| ServerMessage::Reply {
                    request,
                    zxid,
                    events,
                    reply,
                });
            }
        }
    }

    fn answer(
        &mut self,
        session: SessionId,
        write: WriteNumber,
        token: Option<Token>,
        message: impl FnOnce(u64, u64) -> ServerMessage,
    ) {
        let Some(attached) = self.attached.get_mut(&session) else { return };
        if token.is_none_or(|token| token == attached.token)
            && let Some(request) = attached.writes.remove(&write)
        {
            // The lane may be gone.
            attached.messages.send(message(request, attached.watching.frames_count())).ok();
        }
    }

    fn confirm(&mut self, token: Token, session: SessionId, is_live: bool) {
        let Some(attached) = self.attached.get_mut(&session) else { return };
        if attached.token != token || attached.heartbeats.is_empty() {
            return;
        }
        let request = attached.heartbeats.remove(0);
        let refusal = Refusal::new(ErrorCode::SessionEnded, "it has ended");
        let message = match is_live {
            true => ServerMessage::Confirmed { request },
            false => ServerMessage::Unconfirmed { request, refusal },
        };
        attached.messages.send(message).ok();
    }

    fn attach(
        &mut self,
        attach: Attach,
        messages: mpsc::UnboundedSender<ServerMessage>,
        frames: mpsc::UnboundedSender<EventMessage>,
    ) -> Result<(SessionId, Token), Refusal> {
        let token = Token::local(self.next_token);
        self.next_token += 1;
        let id = match attach {
            Attach::New { timeout_ms, .. } => {
                let timeout_ms = if timeout_ms == 0 { 10_000 } else { timeout_ms };
                let opening = Opening { timeout_ms, ..Opening::default() };
                self.handle(Input::OpenSession { token, opening });
                self.opened.remove(&token).expect("sessions open at once here")?
            }
            Attach::Resume { session, secret, .. } => {
                let known = self.tree.session(session).filter(|_| secret == SECRET);
                known.ok_or_else(|| Refusal::new(ErrorCode::NoSession, "unknown"))?;
                session
            }
        };
        let attached = Attached {
            token,
            messages,
            writes: BTreeMap::new(),
            heartbeats: Vec::new(),
            watching: Watching::new(frames),
        };
        self.attached.insert(id, attached);
        let record = self.tree.session(id).expect("it was there just now");
        let welcome = Welcome {
            protocol: PROTOCOLS.max,
            agent: "test".to_owned(),
            session: id,
            secret: SECRET,
            timeout_ms: record.timeout_ms,
            attachment: token.number,
            zxid: self.tree.meta().zxid,
            last_write: record.last_write,
            members: Vec::new(),
        };
        self.attached[&id].messages.send(ServerMessage::Welcome(welcome)).ok();
        Ok((id, token))
    }

    fn submit(&mut self, session: SessionId, token: Token, request_id: u64, request: Request) {
        self.writes_count += 1;
        let Some(attached) = self.attached.get_mut(&session).filter(|a| a.token == token) else {
            return;
        };
        if self.faults.is_leaderless {
            let refusal = Refusal::new(ErrorCode::NoLeader, "no leader");
            let message = ServerMessage::NotExecuted { request: request_id, refusal };
            attached.messages.send(message).ok();
            return;
        }
        attached.writes.insert(request.write, request_id);
        self.handle(Input::Submit(Submission { token, request: Arc::new(request) }));
    }

    fn heartbeat(&mut self, session: SessionId, token: Token, request: u64) {
        let is_leaderless = self.faults.is_leaderless;
        let Some(attached) = self.attached.get_mut(&session) else { return };
        if is_leaderless {
            let refusal = Refusal::new(ErrorCode::NoLeader, "no leader");
            attached.messages.send(ServerMessage::Unconfirmed { request, refusal }).ok();
            return;
        }
        attached.heartbeats.push(request);
        self.handle(Input::Heartbeat { token, session });
    }

    fn watch(
        &mut self,
        session: SessionId,
        watch: &Watch,
        oldest: Zxid,
    ) -> Result<Results, Refusal> {
        Path::parse(&watch.path)?;
        if watch.from.is_some_and(|from| from < oldest) {
            return Ok(Results::Watched(Watched::NotHere { oldest }));
        }
        let first = watch.first.as_ref().map(|first| self.read(session, first));
        let (history, per_frame) = (&self.history, self.faults.events_per_frame);
        if let Some(attached) = self.attached.get_mut(&session) {
            attached.watching.open(watch, history, per_frame);
        }
        Ok(Results::Watched(Watched::Open { first: first.map(Box::new) }))
    }

    fn read(&self, session: SessionId, query: &Query) -> Result<Results, Refusal> {
        let read = &*self.tree;
        Ok(match query {
            Query::Get(path) => {
                let (data, stat) = tree::get(read, &Path::parse(path)?)?;
                Results::Node { data, stat }
            }
            Query::Stat(path) => Results::Stat(tree::stat(read, &Path::parse(path)?)?),
            Query::Children { path, page, with_data: false } => {
                Results::Names(tree::children(read, &Path::parse(path)?, page)?)
            }
            Query::Children { path, page, with_data: true } => {
                Results::Children(tree::children_with_data(read, &Path::parse(path)?, page)?)
            }
            Query::Many(queries) => {
                Results::Many(queries.iter().map(|query| self.read(session, query)).collect())
            }
            Query::Ephemerals { session, prefix, after, limit } => {
                let (prefix, after) = (Path::parse(prefix)?, after.as_deref());
                Results::Names(tree::ephemerals::ephemerals(
                    read,
                    *session,
                    &prefix,
                    after,
                    *limit,
                    |_| true,
                ))
            }
            Query::Quotas { after, .. } => {
                let after = after.as_deref().map(Path::parse).transpose()?;
                // Pages of two, so that some have nothing for whoever sees a part.
                Results::Quotas(tree::quota::quotas(read, after.as_ref(), 2, |_| true))
            }
            Query::Interface(_) => {
                let listed: &[&str] =
                    if self.faults.lists_add { &["get", "add"] } else { &["get"] };
                let read_only = listed.iter().map(|&function| function.to_owned()).collect();
                Results::Interface { version: 1, interfaces: interfaces(), read_only }
            }
            Query::Call(call) => {
                let tree = self.tree.clone();
                let mut recipes = Closures { compiling: self.compiling.clone() };
                let asker = Asker::of_session(session, None, tree.meta().time);
                Results::Called(execute::read_call(tree, &asker, call, &mut recipes).1?)
            }
            Query::Status => Results::Status(status(self.tree.meta().zxid)),
            other => return Err(Refusal::new(ErrorCode::BadArguments, format!("{other:?}"))),
        })
    }
}

fn status(zxid: Zxid) -> Status {
    Status {
        member: 1,
        version: "test".to_owned(),
        role: "leader".to_owned(),
        term: Term(1),
        epoch: quorate_core::ids::Epoch(1),
        zxid,
        leader: Some(1),
        last_index: 0,
        committed_index: 0,
        applied_index: 0,
        digest: 0,
        sessions: 1,
        cpu_us: 0,
        memory_bytes: 0,
        uptime_ms: 0,
        disk_free_bytes: 0,
        level: Level::NEWEST,
        cluster_level: Level::NEWEST,
    }
}

/// What a member's lanes share.
#[derive(Clone)]
struct Ways {
    world: Arc<Mutex<World>>,
    cuts: watch::Receiver<u64>,
    held: watch::Receiver<bool>,
    oldest: Arc<AtomicU64>,
}

async fn serve(mut server: Server, ways: Ways) {
    let mut lanes = tokio::task::JoinSet::new();
    while let Some(connection) = server.accept().await {
        lanes.spawn(serve_lane(connection, ways.clone()));
    }
}

/// Serves until the lane ends or is cut.
async fn serve_lane(connection: Connection, ways: Ways) {
    let Ways { world, mut cuts, held, oldest } = ways;
    cuts.mark_unchanged();
    let Ok((sender, mut receiver)) = connection.accept_lane(LIMITS).await else { return };
    let Ok(Some(frame)) = receiver.recv().await else { return };
    let Ok(ClientMessage::Hello(Hello { attach, .. })) = ClientMessage::decode(frame) else {
        panic!("the first frame is a hello")
    };
    let (messages, mut answers) = mpsc::unbounded_channel();
    let (frames, events) = mpsc::unbounded_channel();
    let attached = lock(&world).attach(attach, messages, frames);
    let (session, token) = match attached {
        Ok(attached) => attached,
        Err(refusal) => {
            sender.send(ServerMessage::Rejected(refusal).encode()).await.ok();
            sender.finish(Duration::from_secs(1)).await.ok();
            return;
        }
    };
    let head = EventMessage::Head { session, attachment: token.number };
    let mut sending = tokio::task::JoinSet::new();
    sending.spawn(send_events(connection.clone(), head, events, held));
    let mut executed = 0_u64;
    loop {
        tokio::select! {
            frame = receiver.recv() => {
                let Ok(Some(frame)) = frame else { return };
                let message = ClientMessage::decode(frame).expect("a client's message");
                executed += u64::from(take(&world, &connection, (session, token), &oldest, message).await);
                let faults = lock(&world).faults;
                if faults.cut_after_writes.is_some_and(|most| executed >= most * token.number) {
                    connection.close(CloseCode::Internal, "cut by the test");
                    return;
                }
            }
            Some(answer) = answers.recv() => {
                if sender.send(answer.encode()).await.is_err() {
                    return;
                }
            }
            _ = cuts.changed() => {
                connection.close(CloseCode::Internal, "cut by the test");
                return;
            }
        }
    }
}

/// Handles a message; whether it was a write.
async fn take(
    world: &Mutex<World>,
    connection: &Connection,
    (session, token): (SessionId, Token),
    oldest: &AtomicU64,
    message: ClientMessage,
) -> bool {
    let (request, write, acks, body) = match message {
        ClientMessage::Write { request, write, acks, body } => (request, write, acks, body),
        ClientMessage::BulkWrite { request, write, acks, bulk: number, bytes } => {
            let body = read_bulk(connection, number).await;
            let Some(body) = body else { return false };
            assert_eq!(body.len() as u64, bytes);
            (request, write, acks, body)
        }
        ClientMessage::Read {
            request, query: Query::Scan { bulk, path, with_data, .. }, ..
        } => {
            scan(world, connection, session, request, (bulk, &path, with_data)).await;
            return false;
        }
        ClientMessage::Read { request, consistency, query } => {
            let mut world = lock(world);
            let is_leaderless = world.faults.is_leaderless;
            let results = match &query {
                _ if is_leaderless && consistency != Consistency::Stale => {
                    Err(Refusal::new(ErrorCode::NoLeader, "no leader"))
                }
                Query::Watch(watch) => {
                    world.watch(session, watch, Zxid(oldest.load(Ordering::SeqCst)))
                }
                Query::Unwatch(watch) => {
                    if let Some(attached) = world.attached.get_mut(&session) {
                        attached.watching.close(*watch);
                    }
                    Ok(Results::Unwatched)
                }
                query => world.read(session, query),
            };
            let zxid = world.tree.meta().zxid;
            if let Some(attached) = world.attached.get(&session) {
                let events = attached.watching.frames_count();
                let answer = ServerMessage::ReadReply { request, zxid, events, results };
                attached.messages.send(answer).ok();
            }
            return false;
        }
        ClientMessage::Heartbeat { request } => {
            lock(world).heartbeat(session, token, request);
            return false;
        }
        ClientMessage::Hello(_) | ClientMessage::Administer { .. } => panic!("a second hello"),
    };
    let hash = body::hash(&body);
    let body = body::decode(body).expect("a client's body");
    let request_read = Request { session, write, hash, acks, body, address: None };
    lock(world).submit(session, token, request, request_read);
    true
}

/// Answers a scan, and sends it.
async fn scan(
    world: &Mutex<World>,
    connection: &Connection,
    session: SessionId,
    request: u64,
    (number, path, with_data): (u64, &str, bool),
) {
    let mut items = BytesMut::new();
    {
        let world = lock(world);
        let path = Path::parse(path).expect("a path");
        let tree: SharedRead = world.tree.clone();
        let scanned = tree::scan::Scan::new(tree, path, None, with_data);
        let results = scanned.map(|scanned| {
            let mut count = 0;
            for found in scanned {
                count += 1;
                Item::Znode(found).write(&mut items);
            }
            Item::End { count }.write(&mut items);
            Results::Scan { mark: request }
        });
        let zxid = world.tree.meta().zxid;
        if let Some(attached) = world.attached.get(&session) {
            let events = attached.watching.frames_count();
            let answer = ServerMessage::ReadReply { request, zxid, events, results };
            attached.messages.send(answer).ok();
        }
    }
    // The connection may be gone.
    if let Ok(mut stream) = connection.open_bulk(bulk::SCAN).await
        && stream.send(bulk::scan_head(number, request)).await.is_ok()
        && stream.send(items.freeze()).await.is_ok()
    {
        tokio::spawn(stream.finish(Duration::from_secs(5)));
    }
}

async fn read_bulk(connection: &Connection, number: u64) -> Option<Bytes> {
    let mut stream = connection.accept_bulk().await.ok()?;
    assert_eq!(stream.kind().await.ok()?, bulk::WRITE_BODY);
    let whole = stream.recv_to_end(8 * 1024 * 1024).await.ok()?;
    let (head, body) = bulk::split(whole).expect("a head");
    assert_eq!(head, number, "one at a time, in order");
    Some(body)
}
