//! The native face: connections of clients, one lane a session. It reads frames, hands writes on in their order, settles
//! how fresh a read must be, and lets go when the lane is over. What a frame's fields mean is quorate-wire's.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::codec::Malformed;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{NamespaceId, SessionId, WriteNumber, Zxid};
use quorate_core::limits as core_limits;
use quorate_core::request::{Body, Request};
use quorate_core::session::{Acks, Session};
use quorate_net::{
    BulkReceiver, CloseCode, Connection, LaneLimits, LaneReceiver, LaneSender, Server,
};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Hello, LANE_FRAME_BYTES_MAX, PROTOCOL, Query, Results,
    ServerMessage, Welcome, body, bulk,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::compile::Compiler;
use crate::leader::SequencerHandle;
use crate::limits;
use crate::reads::Reads;
use crate::registry::{Attachment, Registry};

/// Waits until this member has applied all that was acknowledged anywhere before the call.
pub trait Barrier: Send + Sync {
    /// One barrier; callers share as they like.
    ///
    /// # Errors
    /// `no-leader`.
    fn pass(&self) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>>;
}

/// What every lane needs.
pub struct Face {
    /// Who waits for what.
    pub registry: Arc<Registry>,
    /// The way to the sequencer.
    pub sequencer: SequencerHandle,
    /// The applied tree.
    pub reads: Reads,
    /// Freshness.
    pub barrier: Arc<dyn Barrier>,
    /// What is deployed is compiled first; unset until the member has started.
    pub compiler: Arc<OnceLock<Mutex<Compiler>>>,
    /// Name and version, for clients.
    pub agent: String,
    /// Addresses at which clients reach the service.
    pub members: Vec<String>,
}

impl Face {
    /// What is going to be activated is compiled in the background, in case it is not yet: until then it is answered
    /// `compiling`.
    fn prepare_for(&self, body: &Body) {
        let component = match body {
            Body::Deploy(deploy) => Some(deploy.component),
            Body::Rollback { recipe, version } => {
                self.reads.tree().version(recipe, *version).map(|version| version.component)
            }
            _ => None,
        };
        if let (Some(component), Some(compiler)) = (component, self.compiler.get()) {
            compiler.lock().unwrap_or_else(PoisonError::into_inner).want(component);
        }
    }
}

/// Serves clients until told to stop; then says goodbye and waits for the connections to end.
pub async fn serve(face: Arc<Face>, mut server: Server, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = server.accept() => {
                let Some(connection) = connection else { break };
                connections.spawn(Lane::serve(face.clone(), connection, stop.clone()));
            }
            Some(ended) = connections.join_next() => report(ended),
            _ = stop.changed() => break,
        }
    }
    server.stop_accepting();
    face.registry.goodbye(&Refusal::new(ErrorCode::ShuttingDown, "this member is shutting down"));
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if timeout(limits::FAREWELL, drained).await.is_err() {
        connections.abort_all();
    }
    if server.shutdown(limits::FAREWELL).await.is_err() {
        tracing::debug!("connections were still closing at the end");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the task of a connection has panicked; the others go on");
    }
}

/// Why a lane ends.
enum Ended {
    /// The client is gone, or has finished.
    Client,
    /// The client broke the protocol.
    Protocol(String),
    /// Another lane has the session, or the member shuts down; the client has been told.
    Over,
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A message that waits behind a bulk body.
enum Held {
    Write { request: u64, write: WriteNumber, acks: Acks, body: Bytes },
    Bulk { request: u64, write: WriteNumber, acks: Acks, bulk: u64, bytes: u64 },
    Read(WaitingRead),
}

struct WaitingRead {
    request: u64,
    consistency: Consistency,
    query: Query,
}

/// One connection's lane while it is attached.
struct Lane {
    face: Arc<Face>,
    attachment: Arc<Attachment>,
    /// Messages behind a body that is still arriving, in order, each with its bytes.
    held: VecDeque<(usize, Held)>,
    held_bytes: usize,
    /// When the body that is waited for must be there.
    body_due: Option<Instant>,
    /// Bodies that have arrived: their number and bytes.
    bodies: mpsc::Receiver<Result<(u64, Bytes), String>>,
    arrived: Vec<(u64, Bytes)>,
    reads: JoinSet<()>,
    reads_room: Arc<Semaphore>,
}

impl Lane {
    async fn serve(face: Arc<Face>, connection: Connection, stop: watch::Receiver<bool>) {
        if *stop.borrow() {
            connection.close(CloseCode::ShuttingDown, "shutting down");
            return;
        }
        let lane_limits = LaneLimits {
            frame_bytes_max: LANE_FRAME_BYTES_MAX,
            queue_bytes_max: limits::LANE_QUEUE_BYTES_MAX,
        };
        let hello = timeout(limits::HELLO_TIMEOUT, receive_hello(&connection, lane_limits)).await;
        let (hello, sender, receiver) = match hello {
            Ok(Ok(parts)) => parts,
            Ok(Err(Ended::Protocol(why))) => {
                tracing::debug!(remote = %connection.remote_address(), why, "no hello");
                connection.close(CloseCode::ProtocolError, &why);
                return;
            }
            Ok(Err(_)) => return,
            Err(_) => {
                connection.close(CloseCode::ProtocolError, "no hello in time");
                return;
            }
        };
        match attach(&face, &hello, &sender).await {
            Ok((attachment, welcome)) => {
                tracing::debug!(session = welcome.session.0, agent = hello.agent, "attached");
                attachment.send(&ServerMessage::Welcome(welcome));
                let ended = Self::run(&face, &attachment, &connection, receiver).await;
                face.registry.detach(&attachment);
                finish(connection, sender, ended).await;
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "not attached");
                if sender.try_send(ServerMessage::Rejected(refusal).encode()).is_ok() {
                    finish(connection, sender, Ended::Over).await;
                }
            }
        }
    }

    async fn run(
        face: &Arc<Face>,
        attachment: &Arc<Attachment>,
        connection: &Connection,
        mut receiver: LaneReceiver,
    ) -> Ended {
        // One body at a time is read, so the memory of a lane's bodies is bounded by one and the queue's one.
        let (bodies_in, bodies) = mpsc::channel(1);
        let mut bulk_reader = JoinSet::new();
        bulk_reader.spawn(read_bodies(connection.clone(), bodies_in));
        let mut lane = Self {
            face: face.clone(),
            attachment: attachment.clone(),
            held: VecDeque::new(),
            held_bytes: 0,
            body_due: None,
            bodies,
            arrived: Vec::new(),
            reads: JoinSet::new(),
            reads_room: Arc::new(Semaphore::new(limits::OUTSTANDING_READS_MAX)),
        };
        let mut frames = Vec::with_capacity(limits::BURST_FRAMES_MAX);
        loop {
            let body_due = lane.body_due;
            tokio::select! {
                received = receiver.recv_many(&mut frames, limits::BURST_FRAMES_MAX),
                    if lane.has_room() =>
                {
                    match received {
                        Ok(0) => return Ended::Client,
                        Ok(_) => {
                            if let Err(ended) = lane.handle_frames(frames.drain(..)).await {
                                return ended;
                            }
                        }
                        Err(error) => return Ended::Protocol(error.to_string()),
                    }
                }
                Some(body) = lane.bodies.recv(), if lane.wants_body() => {
                    match body {
                        Ok(body) => lane.arrived.push(body),
                        Err(why) => return Ended::Protocol(why),
                    }
                    if lane.arrived.len() > limits::BODIES_ARRIVED_MAX {
                        let why = "bodies come in another order than they are asked for";
                        return Ended::Protocol(why.to_owned());
                    }
                    if let Err(ended) = lane.release_held().await {
                        return ended;
                    }
                }
                () = sleep_until(body_due.unwrap_or_else(Instant::now)), if body_due.is_some() => {
                    return Ended::Protocol(format!(
                        "the body of a bulk write did not arrive within {} s",
                        limits::BODY_TIMEOUT.as_secs()
                    ));
                }
                Some(_) = lane.reads.join_next() => {}
                () = attachment.over() => return Ended::Over,
            }
        }
    }

    /// Whether more may be held behind a body. Else the lane is not read, which holds its client back.
    fn has_room(&self) -> bool {
        self.held.len() < limits::OUTSTANDING_WRITES_MAX
            && self.held_bytes < limits::OUTSTANDING_BYTES_MAX
    }

    /// Whether the next body is taken in: the lane waits for one, or has none that was not asked for.
    fn wants_body(&self) -> bool {
        self.arrived.is_empty() || !self.held.is_empty()
    }

    fn hold(&mut self, bytes: usize, message: Held) {
        self.held_bytes += bytes;
        self.held.push_back((bytes, message));
    }

    /// Handles a burst: writes go on one by one, reads together, so that they share a barrier.
    async fn handle_frames(&mut self, frames: impl Iterator<Item = Bytes>) -> Result<(), Ended> {
        let mut reads = Vec::new();
        for frame in frames {
            let frame_bytes = frame.len();
            let message = ClientMessage::decode(owned(frame))?;
            let is_held = !self.held.is_empty();
            match message {
                ClientMessage::Hello(_) => {
                    return Err(Ended::Protocol("a second hello".to_owned()));
                }
                ClientMessage::Write { request, write, acks, body } if is_held => {
                    self.hold(frame_bytes, Held::Write { request, write, acks, body });
                }
                ClientMessage::Write { request, write, acks, body } => {
                    self.submit(request, write, acks, body)?
                }
                ClientMessage::BulkWrite { request, write, acks, bulk, bytes } => {
                    self.hold(frame_bytes, Held::Bulk { request, write, acks, bulk, bytes });
                }
                ClientMessage::Read { request, consistency, query } => {
                    let read = WaitingRead { request, consistency, query };
                    if is_held {
                        self.hold(frame_bytes, Held::Read(read));
                    } else {
                        reads.push(read);
                    }
                }
                ClientMessage::Heartbeat { request } => {
                    if let Err(refusal) = self.face.registry.heartbeat(&self.attachment, request) {
                        self.attachment.send(&ServerMessage::Unconfirmed { request, refusal });
                    }
                }
            }
        }
        self.answer_reads(reads).await;
        if self.held.is_empty() { Ok(()) } else { self.release_held().await }
    }

    /// Lets go what waited behind bodies that are there now.
    async fn release_held(&mut self) -> Result<(), Ended> {
        let mut reads = Vec::new();
        while let Some((frame_bytes, first)) = self.held.pop_front() {
            self.held_bytes -= frame_bytes;
            match first {
                Held::Write { request, write, acks, body } => {
                    self.answer_reads(std::mem::take(&mut reads)).await;
                    self.submit(request, write, acks, body)?;
                }
                Held::Read(read) => reads.push(read),
                Held::Bulk { request, write, acks, bulk, bytes } => {
                    let Some(at) = self.arrived.iter().position(|(number, _)| *number == bulk)
                    else {
                        let first = Held::Bulk { request, write, acks, bulk, bytes };
                        self.held.push_front((frame_bytes, first));
                        self.held_bytes += frame_bytes;
                        break;
                    };
                    self.body_due = None;
                    let (_, body) = self.arrived.swap_remove(at);
                    if body.len() as u64 != bytes {
                        return Err(Ended::Protocol(format!(
                            "a body of {} bytes was announced as {bytes}",
                            body.len()
                        )));
                    }
                    self.answer_reads(std::mem::take(&mut reads)).await;
                    self.submit(request, write, acks, body)?;
                }
            }
        }
        self.body_due = match self.held.front() {
            None => None,
            Some(_) => self.body_due.or_else(|| Some(Instant::now() + limits::BODY_TIMEOUT)),
        };
        self.answer_reads(reads).await;
        Ok(())
    }

    fn submit(
        &self,
        request_id: u64,
        write: WriteNumber,
        acks: Acks,
        bytes: Bytes,
    ) -> Result<(), Ended> {
        let refuse = |refusal| {
            self.attachment.send(&ServerMessage::NotExecuted { request: request_id, refusal });
        };
        if self.face.sequencer.is_overloaded() {
            refuse(crate::leader::overloaded());
            return Ok(());
        }
        let hash = body::hash(&bytes);
        let weight = bytes.len();
        let body = body::decode(bytes)?;
        self.face.prepare_for(&body);
        let request = Request { session: self.attachment.session, write, hash, acks, body };
        if let Err(refusal) =
            self.face.registry.submit(&self.attachment, request_id, Arc::new(request), weight)
        {
            refuse(refusal);
        }
        Ok(())
    }

    async fn answer_reads(&mut self, reads: Vec<WaitingRead>) {
        let mut linearizable = Vec::new();
        let mut session = Vec::new();
        for read in reads {
            match read.consistency {
                Consistency::Stale => answer(&self.face, &self.attachment, read).await,
                Consistency::Session if self.attachment.is_settled() => {
                    answer(&self.face, &self.attachment, read).await;
                }
                Consistency::Session => session.push(read),
                Consistency::Linearizable => linearizable.push(read),
            }
        }
        for (mut reads, is_linearizable) in [(session, false), (linearizable, true)] {
            while !reads.is_empty() {
                // What waited behind a body may be more than there is room for at once.
                let rest = reads.split_off(reads.len().min(limits::BURST_FRAMES_MAX));
                self.start_reads(std::mem::replace(&mut reads, rest), is_linearizable).await;
            }
        }
    }

    async fn start_reads(&mut self, reads: Vec<WaitingRead>, is_linearizable: bool) {
        let Ok(count) = u32::try_from(reads.len()) else { return };
        // Waits for room: the lane is not read further, which holds its client back.
        let Ok(room) = self.reads_room.clone().acquire_many_owned(count).await else { return };
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        self.reads.spawn(async move {
            let _room = room;
            answer_when_fresh(&face, &attachment, reads, is_linearizable).await;
        });
    }
}

/// Waits for the session's earlier writes, then for the read index, then answers (DESIGN D12).
async fn answer_when_fresh(
    face: &Face,
    attachment: &Attachment,
    reads: Vec<WaitingRead>,
    is_linearizable: bool,
) {
    let fresh = async {
        attachment.writes_settled().await;
        if is_linearizable { face.barrier.pass().await } else { Ok(()) }
    };
    let refusal = match timeout(limits::READ_TIMEOUT, fresh).await {
        Ok(Ok(())) => None,
        Ok(Err(refusal)) => Some(refusal),
        Err(_) => {
            Some(Refusal::new(ErrorCode::NoLeader, "the read could not be made fresh in time"))
        }
    };
    for read in reads {
        match &refusal {
            None => answer(face, attachment, read).await,
            Some(refusal) => {
                let refused = read_reply(face.registry.zxid(), read.request, Err(refusal.clone()));
                attachment.deliver(refused).await;
            }
        }
    }
}

async fn answer(face: &Face, attachment: &Attachment, read: WaitingRead) {
    // Taken first: the answer reflects at least this transaction.
    let zxid = face.registry.zxid();
    let reply = read_reply(zxid, read.request, face.reads.answer(&read.query));
    let reply = if reply.len() > LANE_FRAME_BYTES_MAX as usize {
        let message = format!(
            "an answer of {} bytes; a frame has at most {LANE_FRAME_BYTES_MAX}",
            reply.len()
        );
        read_reply(zxid, read.request, Err(Refusal::new(ErrorCode::LimitPassed, message)))
    } else {
        reply
    };
    attachment.deliver(reply).await;
}

fn read_reply(zxid: Zxid, request: u64, results: Result<Results, Refusal>) -> Bytes {
    ServerMessage::ReadReply { request, zxid, events: 0, results }.encode()
}

/// A frame that may wait for long does not keep alive the packet of which it is a small part.
fn owned(frame: Bytes) -> Bytes {
    if frame.len() < limits::SLICED_FRAME_BYTES_MAX {
        Bytes::copy_from_slice(&frame)
    } else {
        frame
    }
}

async fn receive_hello(
    connection: &Connection,
    lane_limits: LaneLimits,
) -> Result<(Hello, LaneSender, LaneReceiver), Ended> {
    let (sender, mut receiver) =
        connection.accept_lane(lane_limits).await.map_err(|_| Ended::Client)?;
    let frame = match receiver.recv().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(Ended::Client),
        Err(error) => return Err(Ended::Protocol(error.to_string())),
    };
    match ClientMessage::decode(frame)? {
        ClientMessage::Hello(hello) => Ok((hello, sender, receiver)),
        _ => Err(Ended::Protocol("the first frame is no hello".to_owned())),
    }
}

/// Attaches a lane to a new session or an old one.
async fn attach(
    face: &Face,
    hello: &Hello,
    sender: &LaneSender,
) -> Result<(Arc<Attachment>, Welcome), Refusal> {
    if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL) {
        let message = format!(
            "this server speaks protocol {PROTOCOL}; the client speaks {} to {}",
            hello.protocol_min, hello.protocol_max
        );
        return Err(Refusal::new(ErrorCode::BadProtocolVersion, message));
    }
    if hello.namespace != NamespaceId::DEFAULT {
        let message = format!("there is no namespace {} here", hello.namespace.0);
        return Err(Refusal::new(ErrorCode::BadArguments, message));
    }
    let (id, secret) = match hello.attach {
        Attach::New { timeout_ms } => open(face, timeout_ms).await?,
        Attach::Resume { session, secret } => {
            within(limits::ATTACH_TIMEOUT, face.barrier.pass()).await?;
            check_secret(face.reads.tree().session(session), session, &secret)?;
            (session, secret)
        }
    };
    // Attached before the record is read: a write that is applied in between answers this lane, or is in the record.
    let attachment = face.registry.attach(id, sender.handle());
    let record = face.reads.tree().session(id);
    let welcome = Welcome {
        protocol: PROTOCOL,
        agent: face.agent.clone(),
        session: id,
        secret,
        timeout_ms: record.as_ref().map_or(0, |record| record.timeout_ms),
        attachment: attachment.number,
        zxid: face.registry.zxid(),
        last_write: record.map_or(WriteNumber(0), |record| record.last_write),
        members: face.members.clone(),
    };
    Ok((attachment, welcome))
}

async fn open(face: &Face, timeout_ms: u64) -> Result<(SessionId, [u8; 32]), Refusal> {
    let timeout_ms = match timeout_ms {
        0 => core_limits::SESSION_TIMEOUT_MS_DEFAULT,
        asked => {
            asked.clamp(core_limits::SESSION_TIMEOUT_MS_MIN, core_limits::SESSION_TIMEOUT_MS_MAX)
        }
    };
    let mut secret = [0; core_limits::SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| {
        Refusal::new(ErrorCode::Internal, format!("no random bytes for a secret: {error}"))
    })?;
    let hash: [u8; 32] = Sha256::digest(secret).into();
    let opened = face.registry.open_session(timeout_ms, hash, String::new());
    Ok((within(limits::ATTACH_TIMEOUT, opened).await?, secret))
}

fn check_secret(record: Option<Session>, id: SessionId, secret: &[u8; 32]) -> Result<(), Refusal> {
    let Some(record) = record else {
        return Err(Refusal::new(ErrorCode::NoSession, format!("session {id} is not known here")));
    };
    let hash: [u8; 32] = Sha256::digest(secret).into();
    if hash != record.secret_hash {
        return Err(Refusal::new(
            ErrorCode::BadSecret,
            format!("this is not the secret of session {id}"),
        ));
    }
    Ok(())
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    match timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(ErrorCode::NoLeader, "no leader answered in time")),
    }
}

/// Reads the bodies of bulk writes, one after the other.
async fn read_bodies(connection: Connection, bodies: mpsc::Sender<Result<(u64, Bytes), String>>) {
    while let Ok(stream) = connection.accept_bulk().await {
        let body = read_body(stream).await;
        if bodies.send(body).await.is_err() {
            return;
        }
    }
}

async fn read_body(mut stream: BulkReceiver) -> Result<(u64, Bytes), String> {
    let kind = stream.kind().await.map_err(|error| error.to_string())?;
    if kind != bulk::WRITE_BODY {
        return Err(format!("a bulk stream of the unknown kind {kind}"));
    }
    let whole = stream
        .recv_to_end(core_limits::FRAME_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())?;
    bulk::split(whole).map_err(|error| error.to_string())
}

/// Ends a lane: what has queued is delivered if the client still reads.
async fn finish(connection: Connection, sender: LaneSender, ended: Ended) {
    match ended {
        Ended::Client => connection.close(CloseCode::Normal, ""),
        Ended::Protocol(why) => {
            tracing::debug!(remote = %connection.remote_address(), why, "a client broke the protocol");
            let refusal = Refusal::new(ErrorCode::BadMessage, why.clone());
            if sender.try_send(ServerMessage::Goodbye(refusal).encode()).is_ok()
                && sender.finish(limits::FAREWELL).await.is_err()
            {
                tracing::debug!("the client left without its goodbye");
            }
            connection.close(CloseCode::ProtocolError, &why);
        }
        Ended::Over => {
            if sender.finish(limits::FAREWELL).await.is_err() {
                tracing::debug!("the client left without its goodbye");
            }
            connection.close(CloseCode::Normal, "");
        }
    }
}
