//! A server that dies without a word, and another on its port: how soon its clients know.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use quorate_net::lane::LaneLimits;
use quorate_net::{
    BindError, Client, ClientConfig, CloseReason, Connection, Identity, Protocol, Server,
    ServerConfig,
};

use crate::rig::{DEADLINE, until, within};

/// Longer than any deadline here: what ends a connection in these tests is not its silence.
const IDLE: Duration = Duration::from_secs(120);
const _: () = assert!(IDLE.as_secs() > 2 * DEADLINE.as_secs());

fn config(listen: SocketAddr, identity: &Identity) -> ServerConfig {
    let (server, trust) = (identity.server.clone(), identity.trust.clone());
    ServerConfig { idle_timeout: IDLE, ..ServerConfig::new(listen, server, trust) }
}

/// A server with a runtime of its own, which can be taken from it: it is gone then as if it had been killed.
struct Mortal {
    address: SocketAddr,
    die: mpsc::Sender<()>,
    life: JoinHandle<()>,
}

impl Mortal {
    fn start(identity: &Identity) -> Self {
        let config = config("127.0.0.1:0".parse().unwrap(), identity);
        let (bound, is_bound) = mpsc::channel();
        let (die, dies) = mpsc::channel::<()>();
        let life = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let accepting = runtime.spawn(async move {
                let mut server = Server::bind(&config).unwrap();
                bound.send(server.local_address()).unwrap();
                let mut connections = Vec::new();
                while let Some(connection) = server.accept().await {
                    connections.push(connection);
                }
            });
            dies.recv().unwrap();
            // The tasks that would say goodbye go first, and with them what they held.
            drop(runtime);
            drop(accepting);
        });
        Self { address: is_bound.recv().unwrap(), die, life }
    }

    fn kill(self) -> SocketAddr {
        self.die.send(()).unwrap();
        self.life.join().unwrap();
        self.address
    }
}

async fn connect(client: &Client, address: SocketAddr, identity: &Identity) -> Connection {
    let connecting = client.connect(address, "localhost", &identity.trust, Protocol::Client);
    within(connecting).await.unwrap()
}

#[tokio::test]
async fn a_server_killed_and_started_again_ends_the_connections_of_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
    let identity = open();
    let killed = Mortal::start(&identity);
    let client =
        Client::bind(ClientConfig { idle_timeout: IDLE, ..ClientConfig::default() }).unwrap();
    let connection = connect(&client, killed.address, &identity).await;
    let (sender, _receiver) = connection.open_lane(LaneLimits::default()).await.unwrap();
    sender.send(Bytes::from_static(b"to the first")).await.unwrap();
    let address = killed.kill();

    // As a new process would: everything from the files.
    let mut again = None;
    until("the port is free again", || {
        again = Server::bind(&config(address, &open())).ok();
        again.is_some()
    })
    .await;
    sender.send(Bytes::from_static(b"to nobody it knows")).await.unwrap();
    assert_eq!(within(connection.closed()).await, CloseReason::Reset);
    // It serves as the one before did.
    connect(&client, address, &identity).await;
}

#[tokio::test]
async fn many_connections_are_ended_by_one_restart() {
    const CONNECTIONS: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
    let killed = Mortal::start(&identity);
    let client =
        Client::bind(ClientConfig { idle_timeout: IDLE, ..ClientConfig::default() }).unwrap();
    let mut lanes = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = connect(&client, killed.address, &identity).await;
        let lane = connection.open_lane(LaneLimits::default()).await.unwrap();
        lanes.push((connection, lane));
    }
    let address = killed.kill();
    let mut again = None;
    until("the port is free again", || {
        again = match Server::bind(&config(address, &identity)) {
            Ok(server) => Some(server),
            Err(BindError::Address { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        again.is_some()
    })
    .await;
    for (_, (sender, _)) in &lanes {
        sender.send(Bytes::from_static(b"hello?")).await.unwrap();
    }
    within(async {
        for (connection, _) in &lanes {
            assert_eq!(connection.closed().await, CloseReason::Reset);
        }
    })
    .await;
}
