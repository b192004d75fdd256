//! Strangers on the port are no reason to wake anybody: nothing here may log a warning or an error.
//! One test, since it listens to the whole process.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::QuicClientConfig;
use quorate_net::lane::LaneLimits;
use quorate_net::{Client, ClientConfig, CloseCode, Identity, Protocol, Server, ServerConfig};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, span};

const DEADLINE: Duration = Duration::from_secs(30);

/// Keeps what is logged at WARN and above.
#[derive(Clone, Default)]
struct Loud(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Loud {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{} {}:", event.metadata().level(), event.metadata().target());
        event.record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

#[tokio::test]
async fn strangers_on_the_port_are_refused_without_a_warning() {
    let loud = Loud::default();
    tracing::subscriber::set_global_default(loud.clone()).unwrap();
    tracing::warn!("heard");
    let heard = loud.0.lock().unwrap().drain(..).collect::<Vec<_>>();
    assert_eq!(heard.len(), 1, "the listener hears: {heard:?}");

    let directory = tempfile::tempdir().unwrap();
    let identity = Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut server =
        Server::bind(&ServerConfig::new(listen, identity.server.clone(), identity.trust.clone()))
            .unwrap();
    let address = server.local_address();

    // A browser, with a name for the protocol that nobody here speaks, and an authority that it
    // does not know.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    for alpn in ["h3", "quorate/1"] {
        tls.alpn_protocols = vec![alpn.into()];
        let crypto = QuicClientConfig::try_from(tls.clone()).unwrap();
        let endpoint = quinn::Endpoint::client(listen).unwrap();
        let settings = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(settings, address, "localhost").unwrap();
        let refused = tokio::time::timeout(DEADLINE, connecting).await.unwrap();
        assert!(refused.is_err(), "{alpn}");
    }

    // Noise: nothing, one byte, text, packets that begin like QUIC of this and of an unknown
    // version.
    let socket = UdpSocket::bind(listen).unwrap();
    let mut versioned = vec![0xc0, 0xff, 0xff, 0xff, 0xff, 8];
    versioned.resize(1200, 7);
    let mut initial = vec![0xc3, 0, 0, 0, 1, 8];
    initial.resize(1200, 7);
    for noise in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", &versioned, &initial] {
        socket.send_to(noise, address).unwrap();
    }

    // A client that is fine, then breaks the rules, then vanishes.
    let client = Client::bind(ClientConfig::default()).unwrap();
    let connecting = client.connect(address, "localhost", &identity.trust, Protocol::Client);
    let (connected, accepted) = tokio::join!(connecting, server.accept());
    let (connected, accepted) = (connected.unwrap(), accepted.unwrap());
    let limits = LaneLimits { frame_bytes_max: 10, ..LaneLimits::default() };
    let (sender, _receiver) = connected.open_lane(LaneLimits::default()).await.unwrap();
    sender.send(bytes::Bytes::from_static(b"more than ten bytes")).await.unwrap();
    let (_sender, mut receiver) = accepted.accept_lane(limits).await.unwrap();
    assert!(tokio::time::timeout(DEADLINE, receiver.recv()).await.unwrap().is_err());
    accepted.close(CloseCode::ProtocolError, "frame too long");
    tokio::time::timeout(DEADLINE, connected.closed()).await.unwrap();
    server.shutdown(DEADLINE).await.unwrap();

    let heard = loud.0.lock().unwrap().clone();
    assert_eq!(heard, Vec::<String>::new());
}
