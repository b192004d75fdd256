//! The native face: connections of clients, one lane a session. It reads frames, hands writes on in their order, settles
//! how fresh a read must be, and lets go when the lane is over. What a frame's fields mean is quorate-wire's.

mod attach;
mod audited;
mod bodies;
mod calls;
mod commands;
mod reading;
mod scans;
mod watching;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quorate_core::access::Held;
use quorate_core::codec::Malformed;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{NamespaceId, SessionId, WriteNumber, Zxid};
use quorate_core::limits as core_limits;
use quorate_core::request::{Body, Request};
use quorate_core::session::{Acks, Session};
use quorate_net::{
    CloseCode, Connection, Identity, LaneError, LaneLimits, LaneReceiver, LaneSender, Protocol,
    QueueBudget, Server,
};
use quorate_wire::message::body::FromClient;
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Credential, Hello, LANE_FRAME_BYTES_MAX, PROTOCOLS, Query,
    Results, ServerMessage, Welcome, body, protocols,
};
use quorate_wire::protocol::Versions;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::audited::{audit_attach, audit_read};
use self::bodies::read_bodies;
use self::commands::{Given, administer};
use crate::administration::Administration;
use crate::audit::Audit;
use crate::authentication::{self, Authentication};
use crate::backlog::{Backlog, Message, WaitingRead};
use crate::compile::Compiler;
use crate::leader::SequencerHandle;
use crate::limits;
use crate::mesh::Mesh;
use crate::read_calls::{LaneShare, ReadCalls};
use crate::reads::{Client, Reads};
use crate::registry::{Attachment, NotTaken, Registry};
use crate::scans::ScanRoom;
use crate::snapshots::{self, Snapshots};

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
    /// Recipe calls that only read.
    pub read_calls: Arc<ReadCalls>,
    /// Freshness.
    pub barrier: Arc<dyn Barrier>,
    /// The tree as a stream.
    pub snapshots: Arc<dyn Snapshots>,
    /// Room for subtrees as streams.
    pub scan_room: ScanRoom,
    /// What is deployed is compiled first; unset until the member has started.
    pub compiler: Arc<OnceLock<Mutex<Compiler>>>,
    /// What queues on all lanes beyond their own part.
    pub lane_queues: QueueBudget,
    /// Name and version, for clients.
    pub agent: String,
    /// Connections of other members, on the same port.
    pub mesh: Arc<Mesh>,
    /// Commands to the cluster.
    pub administration: Administration,
    /// Who did what.
    pub audit: Audit,
    /// Who clients are.
    pub authentication: Arc<Authentication>,
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

/// Shows another certificate from now on.
fn renew(face: &Face, server: &Server, identity: Identity) {
    face.authentication.renew(&identity);
    match server.renew(identity.server, identity.trust, identity.clients) {
        Ok(()) => tracing::info!("a renewed certificate is shown to all who connect from now on"),
        Err(error) => tracing::warn!(%error, "a renewed certificate can not be shown"),
    }
}

/// Serves clients until told to stop, with the certificate that was renewed last; then says goodbye and waits for the connections to end.
pub async fn serve(
    face: Arc<Face>,
    mut server: Server,
    mut renewed: mpsc::Receiver<Identity>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = server.accept() => {
                let Some(connection) = connection else { break };
                match connection.protocol() {
                    Protocol::Client => {
                        connections.spawn(Lane::serve(face.clone(), connection, stop.clone()));
                    }
                    Protocol::Member => {
                        connections.spawn(face.mesh.clone().serve(connection, stop.clone()));
                    }
                }
            }
            Some(ended) = connections.join_next() => report(ended),
            Some(identity) = renewed.recv() => renew(&face, &server, identity),
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
    /// Another lane has the session, the member shuts down, or can say nothing true; the client has been told.
    Over,
}

impl From<Malformed> for Ended {
    fn from(error: Malformed) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// One connection's lane while it is attached.
struct Lane {
    face: Arc<Face>,
    attachment: Arc<Attachment>,
    /// What waits behind a body that is still arriving.
    backlog: Backlog,
    /// Bodies as they arrive: their number and bytes.
    bodies: mpsc::Receiver<Result<(u64, Bytes), String>>,
    reads: JoinSet<()>,
    reads_room: Arc<Semaphore>,
    /// Answers that are computed and not sent.
    read_turns: Arc<Semaphore>,
    calls: LaneShare,
    /// For what goes beside the lane.
    connection: Connection,
    snapshot_room: Arc<Semaphore>,
    /// Whether a task writes the attachment's events.
    has_event_lane: bool,
    scan_room: ScanRoom,
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
            queue_bytes_own: limits::LANE_QUEUE_BYTES_OWN,
        };
        let hello = receive_hello(&connection, lane_limits, &face.lane_queues);
        let hello = timeout(limits::HELLO_TIMEOUT, hello).await;
        let (hello, sender, receiver) = match hello {
            Ok(Ok((First::Session(hello), sender, receiver))) => (hello, sender, receiver),
            Ok(Ok((First::Command(first), sender, receiver))) => {
                let ended = administer(&face, &connection, first, &sender, receiver, stop).await;
                finish(connection, sender, ended).await;
                return;
            }
            Ok(Ok((First::Refused(refusal), sender, _))) => {
                return reject(connection, sender, refusal).await;
            }
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
        let attached = attach::attach(&face, &connection, &hello, &sender).await;
        audit_attach(&face, &hello, &connection, &attached);
        match attached {
            Ok((attachment, welcome)) => {
                tracing::debug!(session = attachment.session.0, agent = hello.agent, "attached");
                face.registry.welcome(&attachment, welcome);
                let ended = Self::run(&face, &attachment, &connection, receiver).await;
                face.registry.detach(&attachment);
                finish(connection, sender, ended).await;
            }
            Err(refusal) => reject(connection, sender, refusal).await,
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
            backlog: Backlog::default(),
            bodies,
            reads: JoinSet::new(),
            reads_room: Arc::new(Semaphore::new(limits::OUTSTANDING_READS_MAX)),
            read_turns: Arc::new(Semaphore::new(limits::READS_PER_LANE_TURN)),
            calls: LaneShare::of(attachment.principal().cloned()),
            connection: connection.clone(),
            snapshot_room: Arc::new(Semaphore::new(limits::SNAPSHOTS_PER_LANE_MAX)),
            has_event_lane: false,
            scan_room: ScanRoom::of_lane(),
        };
        let mut frames = Vec::with_capacity(limits::BURST_FRAMES_MAX);
        loop {
            let body_due = lane.backlog.due();
            tokio::select! {
                received = receiver.recv_many(&mut frames, limits::BURST_FRAMES_MAX),
                    if lane.backlog.has_room() =>
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
                Some(body) = lane.bodies.recv(), if lane.backlog.wants_body() => {
                    let taken = body.and_then(|(number, body)| lane.backlog.handle_body(number, body));
                    if let Err(why) = taken {
                        return Ended::Protocol(why);
                    }
                    if let Err(ended) = lane.release_held().await {
                        return ended;
                    }
                }
                () = sleep_until(body_due.unwrap_or_else(Instant::now)), if body_due.is_some() => {
                    if let Err(why) = lane.backlog.handle_time(Instant::now()) {
                        return Ended::Protocol(why);
                    }
                }
                Some(_) = lane.reads.join_next() => {}
                () = attachment.over() => return Ended::Over,
            }
        }
    }

    /// Handles a burst: writes go on one by one, reads together, so that they share a barrier.
    async fn handle_frames(&mut self, frames: impl Iterator<Item = Bytes>) -> Result<(), Ended> {
        let mut reads = Vec::new();
        for frame in frames {
            let frame_bytes = frame.len();
            let message = take_in(frame)?;
            let is_held = !self.backlog.is_empty();
            match message {
                ClientMessage::Hello(_) => {
                    return Err(Ended::Protocol("a second hello".to_owned()));
                }
                ClientMessage::Write { request, write, acks, body } if is_held => {
                    let message = Message::Write { request, write, acks, body };
                    self.backlog.hold(frame_bytes, message);
                }
                ClientMessage::Write { request, write, acks, body } => {
                    self.submit(request, write, acks, body)?
                }
                ClientMessage::BulkWrite { request, write, acks, bulk, bytes } => {
                    let message = Message::Bulk { request, write, acks, bulk, bytes };
                    self.backlog.hold(frame_bytes, message);
                }
                ClientMessage::Read { request, consistency, query } => {
                    let read = WaitingRead { request, consistency, query };
                    if is_held {
                        self.backlog.hold(frame_bytes, Message::Read(read));
                    } else {
                        reads.push(read);
                    }
                }
                ClientMessage::Administer { .. } => {
                    let cause = "a command to the cluster on the lane of a session";
                    return Err(Ended::Protocol(cause.to_owned()));
                }
                ClientMessage::Heartbeat { request } => {
                    if let Err(refusal) = self.face.registry.heartbeat(&self.attachment, request) {
                        self.attachment.send(&ServerMessage::Unconfirmed { request, refusal });
                    }
                }
            }
        }
        self.answer_reads(reads).await;
        if self.backlog.is_empty() { Ok(()) } else { self.release_held().await }
    }

    /// Lets go what waited behind bodies that are there now.
    async fn release_held(&mut self) -> Result<(), Ended> {
        let mut reads = Vec::new();
        while let Some(message) =
            self.backlog.poll_release(Instant::now()).map_err(Ended::Protocol)?
        {
            match message {
                Message::Write { request, write, acks, body } => {
                    self.answer_reads(std::mem::take(&mut reads)).await;
                    self.submit(request, write, acks, body)?;
                }
                Message::Read(read) => reads.push(read),
                Message::Bulk { .. } => {
                    return Err(Ended::Protocol("a bulk write without its body".to_owned()));
                }
            }
        }
        self.answer_reads(reads).await;
        Ok(())
    }

    fn client(&self) -> Client {
        let address = Some(self.connection.proven_address());
        Client { session: self.attachment.session, address }
    }

    fn submit(
        &self,
        request_id: u64,
        write: WriteNumber,
        acks: Acks,
        bytes: Bytes,
    ) -> Result<(), Ended> {
        let weight = bytes.len();
        let (hash, body) = match body::decode_from_client(bytes.clone())? {
            FromClient::Body(body) => (body::hash(&bytes), body),
            FromClient::Credential(credential) => {
                let now = SystemTime::now();
                let shown = self.face.authentication.show(&credential, now);
                (authentication::hash(&credential), Body::Identify(shown))
            }
        };
        self.face.prepare_for(&body);
        let Client { session, address } = self.client();
        let request = Request { session, write, hash, acks, body, address };
        let request = Arc::new(request);
        let taken =
            self.face.registry.submit(&self.attachment, request_id, request.clone(), weight);
        if let (Err(not_taken), Some(auditor)) = (&taken, self.attachment.auditor()) {
            auditor.not_taken(&request, weight, not_taken.refusal());
        }
        match taken {
            Ok(()) => Ok(()),
            Err(NotTaken::NotExecuted(refusal)) => {
                let refused = ServerMessage::NotExecuted { request: request_id, refusal };
                self.attachment.send(&refused);
                Ok(())
            }
            Err(NotTaken::Unknown(refusal)) => {
                self.attachment.send(&ServerMessage::Goodbye(refusal));
                Err(Ended::Over)
            }
        }
    }

    async fn answer_reads(&mut self, reads: Vec<WaitingRead>) {
        let mut linearizable = Vec::new();
        let mut session = Vec::new();
        for read in reads {
            if let Err(refusal) = self.attachment.require_session() {
                scans::refuse(&self.face, &self.attachment, &read, refusal).await;
                continue;
            }
            let WaitingRead { request, consistency, query } = read;
            let read = match query {
                Query::Call(call) => {
                    self.start_call(request, consistency, call).await;
                    continue;
                }
                Query::Watch(watch) => {
                    self.start_watch(request, consistency, watch).await;
                    continue;
                }
                Query::Unwatch(watch) => {
                    self.end_watch(request, watch).await;
                    continue;
                }
                query => WaitingRead { request, consistency, query },
            };
            match consistency {
                _ if snapshots::is_asked_for(&read.query) => self.start_snapshot(read).await,
                _ if crate::scans::is_asked_for(&read.query) => self.start_scan(read).await,
                Consistency::Stale => {
                    answer(&self.face, self.client(), &self.attachment, read).await
                }
                Consistency::Session if self.attachment.is_settled() => {
                    answer(&self.face, self.client(), &self.attachment, read).await;
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
        let Some((reads, counted)) = self.counted(reads).await else { return };
        // Waits for room: the lane is not read further, which holds its client back.
        let Ok(room) = self.reads_room.clone().acquire_many_owned(count).await else { return };
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        let turns = self.read_turns.clone();
        let client = self.client();
        self.reads.spawn(async move {
            let _room = (room, counted);
            answer_when_fresh(&face, client, &attachment, &turns, reads, is_linearizable).await;
        });
    }
}

/// Waits for the session's earlier writes, then for the read index, then answers (DESIGN D12).
async fn answer_when_fresh(
    face: &Face,
    client: Client,
    attachment: &Attachment,
    turns: &Semaphore,
    reads: Vec<WaitingRead>,
    is_linearizable: bool,
) {
    let refusal = fresh(face, attachment, is_linearizable).await.err();
    for read in reads {
        // An answer that its client does not take holds up those behind it, which are not computed yet.
        let Ok(_turn) = turns.acquire().await else { return };
        match &refusal {
            None => answer(face, client, attachment, read).await,
            Some(refusal) => reading::refuse(face, attachment, read, refusal).await,
        }
    }
}

async fn fresh(face: &Face, attachment: &Attachment, is_linearizable: bool) -> Result<(), Refusal> {
    let fresh = async {
        attachment.writes_settled().await;
        if is_linearizable { face.barrier.pass().await } else { Ok(()) }
    };
    timeout(limits::READ_TIMEOUT, fresh).await.unwrap_or_else(|_| {
        Err(Refusal::new(ErrorCode::NoLeader, "the read could not be made fresh in time"))
    })?;
    attachment.require_session()
}

async fn answer(face: &Face, client: Client, attachment: &Attachment, read: WaitingRead) {
    let (zxid, results) = match (face.audit.admit_read(&read.query), &read.query) {
        (Err(refusal), _) => (face.registry.zxid(), Err(refusal)),
        (Ok(()), Query::Whoami) => face.reads.whoami(client.session, client.address),
        (Ok(()), query) => face.reads.answer(client, query),
    };
    audit_read(attachment, &read.query, zxid, &results);
    deliver(face, attachment, read.request, zxid, results).await;
}

async fn deliver(
    face: &Face,
    attachment: &Attachment,
    request: u64,
    zxid: Zxid,
    results: Result<Results, Refusal>,
) {
    // The tree is ahead of the replies for a moment: no reader sees what its client has not been told, if it was to be.
    face.registry.reached(zxid).await;
    let reply = read_reply(attachment, zxid, request, results);
    let reply = if reply.len() > LANE_FRAME_BYTES_MAX as usize {
        let message = format!(
            "an answer of {} bytes; a frame has at most {LANE_FRAME_BYTES_MAX}",
            reply.len()
        );
        let refusal = Refusal::new(ErrorCode::LimitPassed, message);
        read_reply(attachment, zxid, request, Err(refusal))
    } else {
        reply
    };
    attachment.deliver(reply).await;
}

/// To be made when readers may see `zxid`: all events up to it are queued by then.
fn read_reply(
    attachment: &Attachment,
    zxid: Zxid,
    request: u64,
    results: Result<Results, Refusal>,
) -> Bytes {
    ServerMessage::ReadReply { request, zxid, events: attachment.events(), results }.encode()
}

/// A message that may wait for long does not keep alive the packet of which its frame is a small part.
fn take_in(frame: Bytes) -> Result<ClientMessage, Malformed> {
    let is_slice = frame.len() < limits::SLICED_FRAME_BYTES_MAX;
    ClientMessage::decode(if is_slice { Bytes::copy_from_slice(&frame) } else { frame })
}

/// What a lane begins with.
enum First {
    /// It is for a session.
    Session(Hello),
    /// It is for commands to the cluster.
    Command(Given),
    /// Its client speaks no protocol that is spoken here.
    Refused(Refusal),
}

async fn receive_hello(
    connection: &Connection,
    lane_limits: LaneLimits,
    lane_queues: &QueueBudget,
) -> Result<(First, LaneSender, LaneReceiver), Ended> {
    let accepted = connection.accept_lane_within(lane_limits, lane_queues).await;
    let (sender, mut receiver) = accepted.map_err(|_| Ended::Client)?;
    let frame = match receiver.recv().await {
        Ok(Some(frame)) => frame,
        Ok(None) => return Err(Ended::Client),
        Err(error) => return Err(Ended::Protocol(error.to_string())),
    };
    // Told before the rest is read, which may have another form in another version.
    if let Some(Err(refusal)) = protocols(&frame).map(protocol_with) {
        return Ok((First::Refused(refusal), sender, receiver));
    }
    match ClientMessage::decode(frame)? {
        ClientMessage::Hello(hello) => Ok((First::Session(hello), sender, receiver)),
        ClientMessage::Administer { request, credentials, command } => {
            Ok((First::Command(Given { request, credentials, command }), sender, receiver))
        }
        _ => Err(Ended::Protocol("the first frame is no hello".to_owned())),
    }
}

/// Tells a client why its lane is not attached.
async fn reject(connection: Connection, sender: LaneSender, refusal: Refusal) {
    tracing::debug!(%refusal, "not attached");
    if sender.try_send(ServerMessage::Rejected(refusal).encode()).is_ok() {
        finish(connection, sender, Ended::Over).await;
    }
}

/// The protocol to speak with a client.
fn protocol_with(client: Versions) -> Result<u32, Refusal> {
    PROTOCOLS.common(client).ok_or_else(|| {
        let message = format!(
            "this server speaks the protocols {PROTOCOLS} with clients; this client {client}"
        );
        Refusal::new(ErrorCode::BadProtocolVersion, message)
    })
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_small_frame_does_not_keep_its_packet_alive() {
        let message = ClientMessage::Write {
            request: 1,
            write: WriteNumber(1),
            acks: Acks::default(),
            body: Bytes::from_static(b"a body"),
        };
        let frame = message.encode();
        let mut packet = vec![0; 64 * 1024];
        packet[100..100 + frame.len()].copy_from_slice(&frame);
        let packet = Bytes::from(packet);
        let taken = take_in(packet.slice(100..100 + frame.len())).unwrap();
        assert_eq!(taken, message);
        assert!(packet.is_unique(), "the message is a slice of it");
    }
}
