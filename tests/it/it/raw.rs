//! A member and a client without any cleverness: sends what it is told, waits for the answer to a request, with a deadline.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::ids::{NamespaceId, SessionId, WriteNumber, Zxid};
use quorate_core::limits::CHUNK_BYTES_MAX;
use quorate_core::request::{
    Answer, Body, Call, Chunk, Deploy, LifetimeKind, Operation, Reply, Sequence,
};
use quorate_core::session::Acks;
use quorate_gateway::member::{Member, Options};
use quorate_net::{
    Client, ClientConfig, Connection, LaneLimits, LaneReceiver, LaneSender, Protocol, TrustAnchors,
};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Hello, PROTOCOLS, Query, Results, ServerMessage, Welcome,
    body, bulk,
};
use quorate_wire::value::{self, Interface, Limits, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

/// Nothing in these tests takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A member on a directory that is gone with it.
pub struct Rig {
    pub directory: tempfile::TempDir,
    pub member: Option<Member>,
}

impl Rig {
    pub async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let member = Some(start(directory.path()).await?);
        Ok(Self { directory, member })
    }

    pub fn address(&self) -> SocketAddr {
        self.member.as_ref().unwrap().address()
    }

    pub fn authority(&self) -> PathBuf {
        self.member.as_ref().unwrap().authority_file().to_owned()
    }

    /// An orderly stop and a start on the same directory; the port may be another.
    pub async fn restart(&mut self) -> Result<()> {
        self.member.take().unwrap().shutdown().await;
        self.member = Some(start(self.directory.path()).await?);
        Ok(())
    }

    pub async fn stop(mut self) {
        self.member.take().unwrap().shutdown().await;
    }

    pub async fn client(&self) -> Result<Raw> {
        Raw::connect(self, Attach::New { timeout_ms: 10_000, credentials: Vec::new() }).await
    }
}

/// A free port of this machine.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub async fn start(directory: &Path) -> Result<Member> {
    start_at(directory, ANY_PORT).await
}

pub async fn start_at(directory: &Path, listen: SocketAddr) -> Result<Member> {
    Ok(Member::start(Options::new(directory.join("data"), listen)).await?)
}

/// One lane.
pub struct Raw {
    pub welcome: Welcome,
    pub connection: Connection,
    sender: LaneSender,
    receiver: LaneReceiver,
    _client: Client,
    next_write: u64,
    next_request: u64,
    /// Messages that came while another was waited for.
    pub aside: VecDeque<ServerMessage>,
}

impl Raw {
    pub async fn connect(rig: &Rig, attach: Attach) -> Result<Self> {
        Self::connect_at(rig.address(), &rig.authority(), attach).await
    }

    pub async fn connect_at(address: SocketAddr, authority: &Path, attach: Attach) -> Result<Self> {
        let (client, connection, sender, mut receiver) = lane_at(address, authority).await?;
        let hello = Hello {
            protocols: PROTOCOLS,
            namespace: NamespaceId::DEFAULT,
            agent: "test".to_owned(),
            attach,
        };
        sender.send(ClientMessage::Hello(hello).encode()).await?;
        let frame = timeout(PATIENCE, receiver.recv()).await??.context("the lane ended")?;
        let welcome = match ServerMessage::decode(frame)? {
            ServerMessage::Welcome(welcome) => welcome,
            other => bail!("no welcome: {other:?}"),
        };
        let next_write = welcome.last_write.0 + 1;
        Ok(Self {
            welcome,
            connection,
            sender,
            receiver,
            _client: client,
            next_write,
            next_request: 1,
            aside: VecDeque::new(),
        })
    }

    /// What resumes this session elsewhere.
    pub fn resume(&self) -> Attach {
        let Welcome { session, secret, .. } = self.welcome;
        Attach::Resume { session, secret, sent: WriteNumber(self.next_write - 1) }
    }

    pub fn session(&self) -> SessionId {
        self.welcome.session
    }

    pub async fn send(&self, message: &ClientMessage) -> Result<()> {
        Ok(self.sender.send(message.encode()).await?)
    }

    pub async fn send_frame(&self, frame: Bytes) -> Result<()> {
        Ok(self.sender.send(frame).await?)
    }

    pub async fn receive(&mut self) -> Result<ServerMessage> {
        let frame =
            timeout(PATIENCE, self.receiver.recv()).await.context("no message in time")??;
        Ok(ServerMessage::decode(frame.context("the lane ended")?)?)
    }

    /// Sends the next write; its request id.
    pub async fn start_write(&mut self, body: &Body) -> Result<u64> {
        let write = self.next_write;
        self.next_write += 1;
        self.send_write(write, body).await
    }

    /// Sends a write under this number; its request id.
    pub async fn send_write(&mut self, write: u64, body: &Body) -> Result<u64> {
        let request = self.next_request;
        self.next_request += 1;
        let body = body::encode(body);
        self.send(&ClientMessage::Write {
            request,
            write: WriteNumber(write),
            acks: Acks::default(),
            body,
        })
        .await?;
        Ok(request)
    }

    /// Announces the next write with its body on a stream of its own; its request id. The body is not sent.
    pub async fn announce(&mut self, bulk: u64, bytes: u64) -> Result<u64> {
        let (write, request) = (self.next_write, self.next_request);
        self.next_write += 1;
        self.next_request += 1;
        let (write, acks) = (WriteNumber(write), Acks::default());
        self.send(&ClientMessage::BulkWrite { request, write, acks, bulk, bytes }).await?;
        Ok(request)
    }

    /// Sends a body on a stream of its own.
    pub async fn send_bulk(&self, number: u64, body: Bytes) -> Result<()> {
        let mut stream = self.connection.open_bulk(bulk::WRITE_BODY).await?;
        stream.send(bulk::head(number)).await?;
        stream.send(body).await?;
        Ok(stream.finish(PATIENCE).await?)
    }

    /// The next write, its body on a stream of its own; its request id.
    pub async fn start_bulk_write(&mut self, body: &Body) -> Result<u64> {
        let (bulk, body) = (self.next_request, body::encode(body));
        let request = self.announce(bulk, body.len() as u64).await?;
        self.send_bulk(bulk, body).await?;
        Ok(request)
    }

    /// Sends a read; its request id.
    pub async fn start_read(&mut self, consistency: Consistency, query: Query) -> Result<u64> {
        let request = self.next_request;
        self.next_request += 1;
        self.send(&ClientMessage::Read { request, consistency, query }).await?;
        Ok(request)
    }

    /// The answer to this request; others are laid aside.
    pub async fn answer(&mut self, request: u64) -> Result<ServerMessage> {
        let is_it = |message: &ServerMessage| match message {
            ServerMessage::Reply { request: id, .. }
            | ServerMessage::NotExecuted { request: id, .. }
            | ServerMessage::ReadReply { request: id, .. }
            | ServerMessage::Confirmed { request: id }
            | ServerMessage::Unconfirmed { request: id, .. } => *id == request,
            _ => false,
        };
        if let Some(at) = self.aside.iter().position(is_it) {
            return self.aside.remove(at).context("just found");
        }
        loop {
            let message = self.receive().await?;
            if is_it(&message) {
                return Ok(message);
            }
            self.aside.push_back(message);
        }
    }

    pub async fn reply(&mut self, request: u64) -> Result<(Zxid, Reply)> {
        match self.answer(request).await? {
            ServerMessage::Reply { zxid, reply, .. } => Ok((zxid, Reply::decode(reply)?)),
            other => bail!("no reply: {other:?}"),
        }
    }

    pub async fn write(&mut self, body: &Body) -> Result<(Zxid, Reply)> {
        let request = self.start_write(body).await?;
        self.reply(request).await
    }

    pub async fn done(&mut self, body: &Body) -> Result<Answer> {
        match self.write(body).await? {
            (_, Reply::Done(answer)) => Ok(answer),
            (_, Reply::Refused(failure)) => bail!("refused: {}", failure.refusal),
        }
    }

    pub async fn read(&mut self, consistency: Consistency, query: Query) -> Result<Results> {
        let request = self.start_read(consistency, query).await?;
        match self.answer(request).await? {
            ServerMessage::ReadReply { results, .. } => Ok(results?),
            other => bail!("no results: {other:?}"),
        }
    }

    pub async fn heartbeat(&mut self) -> Result<ServerMessage> {
        let request = self.next_request;
        self.next_request += 1;
        self.send(&ClientMessage::Heartbeat { request }).await?;
        self.answer(request).await
    }

    /// Uploads a component and deploys it, once the member has compiled it.
    pub async fn deploy(&mut self, deploy: Deploy, component: &[u8]) -> Result<u64> {
        for (index, bytes) in component.chunks(CHUNK_BYTES_MAX).enumerate() {
            let chunk = Chunk {
                component: deploy.component,
                index: u32::try_from(index)?,
                total_bytes: component.len() as u64,
                bytes: Bytes::copy_from_slice(bytes),
            };
            self.done(&Body::StoreChunk(chunk)).await?;
        }
        timeout(PATIENCE, async {
            loop {
                match self.write(&Body::Deploy(deploy.clone())).await?.1 {
                    Reply::Done(Answer::Activated { version }) => return Ok(version),
                    Reply::Refused(failure) if failure.refusal.code.name() == "compiling" => {}
                    other => bail!("not deployed: {other:?}"),
                }
            }
        })
        .await?
    }

    /// A call, encoded by the function's type as the member describes it.
    pub async fn call_body(
        &mut self,
        recipe: &str,
        function: &str,
        arguments: &[Value],
    ) -> Result<Body> {
        let results =
            self.read(Consistency::Linearizable, Query::Interface(recipe.to_owned())).await?;
        let Results::Interface { interfaces, .. } = results else {
            bail!("no interface: {results:?}")
        };
        let interface = Interface::decode(interfaces[0].clone())?;
        let found = interface.function(function).context("no such function")?;
        Ok(Body::Single(Operation::Call(Call {
            recipe: recipe.to_owned(),
            function: function.to_owned(),
            signature: u128::from(found.signature_hash()),
            arguments: value::encode_arguments(found, arguments, Limits::VALUE)?,
        })))
    }
}

/// A connection and its lane, before any hello.
pub async fn lane(rig: &Rig) -> Result<(Client, Connection, LaneSender, LaneReceiver)> {
    lane_at(rig.address(), &rig.authority()).await
}

async fn lane_at(
    address: SocketAddr,
    authority: &Path,
) -> Result<(Client, Connection, LaneSender, LaneReceiver)> {
    let client = Client::bind(ClientConfig::default())?;
    let trust = TrustAnchors::load(authority)?;
    let connection = client.connect(address, "localhost", &trust, Protocol::Client).await?;
    let limits = LaneLimits {
        frame_bytes_max: quorate_wire::message::LANE_FRAME_BYTES_MAX,
        ..LaneLimits::default()
    };
    let (sender, receiver) = connection.open_lane(limits).await?;
    Ok((client, connection, sender, receiver))
}

pub fn create(path: &str, data: &str) -> Body {
    Body::Single(Operation::Create {
        path: path.to_owned(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::None,
        parents: false,
        acl: None,
    })
}

pub fn set(path: &str, data: &str) -> Body {
    Body::Single(Operation::Set {
        path: path.to_owned(),
        data: Bytes::copy_from_slice(data.as_bytes()),
        condition: Condition::ANY,
    })
}

pub fn digest(component: &[u8]) -> [u8; 32] {
    Sha256::digest(component).into()
}
