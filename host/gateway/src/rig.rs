//! For tests: lanes over loopback QUIC, each seen from both ends.

use std::time::{Duration, SystemTime};

use quorate_net::{
    Client, ClientConfig, Connection, Identity, LaneHandle, LaneLimits, LaneReceiver, LaneSender,
    Protocol, Server, ServerConfig,
};
use quorate_wire::message::{LANE_FRAME_BYTES_MAX, ServerMessage};
use tokio::time::timeout;

use crate::limits;

/// No test waits longer for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    server: Server,
    client: Client,
    identity: Identity,
    _directory: tempfile::TempDir,
}

/// A lane that the client has opened.
pub(crate) struct Lane {
    /// The member's end.
    pub(crate) to_client: LaneSender,
    /// The client's end.
    pub(crate) receiver: LaneReceiver,
    others: (Connection, Connection, LaneSender, LaneReceiver),
}

impl Rig {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(&ServerConfig::new(
            listen,
            identity.server.clone(),
            identity.trust.clone(),
        ))
        .unwrap();
        let client = Client::bind(ClientConfig::default()).unwrap();
        Self { server, client, identity, _directory: directory }
    }

    pub(crate) async fn lane(&mut self) -> Lane {
        let lane_limits = LaneLimits {
            frame_bytes_max: LANE_FRAME_BYTES_MAX,
            queue_bytes_max: limits::LANE_QUEUE_BYTES_MAX,
            queue_bytes_own: limits::LANE_QUEUE_BYTES_OWN,
        };
        let address = self.server.local_address();
        let trust = &self.identity.trust;
        let connecting = self.client.connect(address, "localhost", trust, Protocol::Client);
        let (connected, accepted) = tokio::join!(connecting, self.server.accept());
        let (connected, accepted) = (connected.unwrap(), accepted.unwrap());
        let (to_member, receiver) = connected.open_lane(lane_limits).await.unwrap();
        to_member.send(bytes::Bytes::new()).await.unwrap();
        let (to_client, from_client) = accepted.accept_lane(lane_limits).await.unwrap();
        Lane { to_client, receiver, others: (connected, accepted, to_member, from_client) }
    }
}

impl Lane {
    /// What an attachment sends on.
    pub(crate) fn handle(&self) -> (LaneHandle, Connection) {
        (self.to_client.handle(), self.others.1.clone())
    }

    pub(crate) async fn receive(&mut self) -> ServerMessage {
        let frame = timeout(PATIENCE, self.receiver.recv()).await.expect("in time");
        ServerMessage::decode(frame.unwrap().expect("a frame")).unwrap()
    }
}
