//! Finds a member and attaches a lane to it. It knows addresses, certificates and the first two frames; not what sessions mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quorate_core::error::Refusal;
use quorate_net::{
    Client as Endpoint, ClientConfig, ClientIdentity, Connection, LaneLimits, LaneReceiver,
    LaneSender, Protocol, TrustAnchors,
};
use quorate_wire::message::{Attach, ClientMessage, Credential, Hello, PROTOCOLS, ServerMessage};

use crate::credential::{self, Certificate};
use crate::error::ConnectError;
use crate::limits::FAILED_MS;
use crate::options::Options;
use crate::race::Race;

/// Resolved addresses of one name that are tried.
const RESOLVED_MAX: usize = 4;
/// Addresses of members that are remembered beside those of the options.
const LEARNED_MAX: usize = 64;
/// A connection is idle for at most this part of the session's timeout before it counts as broken.
const IDLE_DIVISOR: u32 = 2;
const IDLE_MIN: Duration = Duration::from_secs(1);

/// Largest frame that a member sends: a reply of the largest size.
const FRAME_BYTES_MAX: u32 = quorate_wire::message::LANE_FRAME_BYTES_MAX;

/// A lane with what its peer said first.
pub(crate) struct Link {
    pub(crate) address: String,
    pub(crate) connection: Connection,
    pub(crate) sender: LaneSender,
    pub(crate) receiver: LaneReceiver,
    pub(crate) first: ServerMessage,
}

/// Knows the addresses, and which of them are worth trying first.
pub(crate) struct Dialer {
    reach: Arc<Reach>,
    learned: Vec<String>,
    turn: usize,
    /// Addresses that failed or fell silent, and when.
    failed: BTreeMap<String, u64>,
}

/// The way to an address.
pub(crate) struct Reach {
    endpoint: Endpoint,
    trust: TrustAnchors,
    options: Options,
    /// The certificate as it was read last.
    identity: Mutex<Option<ClientIdentity>>,
}

impl Dialer {
    /// To be called inside a tokio runtime.
    pub(crate) fn new(options: Options) -> Result<Self, ConnectError> {
        if options.addresses.is_empty() {
            return Err(ConnectError::Options("there is no address to connect to".to_owned()));
        }
        let trust = options.authority.load()?;
        let identity = read_identity(&options).map_err(ConnectError::Options)?;
        // What can not be read now should not be found out by whoever waits for a session.
        credential::load_all(&options.credentials).map_err(ConnectError::Options)?;
        let defaults = ClientConfig::default();
        let idle = options.session_timeout.map_or(defaults.idle_timeout, |timeout| {
            (timeout / IDLE_DIVISOR).clamp(IDLE_MIN, defaults.idle_timeout)
        });
        let connect_timeout = options.connect_timeout.min(defaults.connect_timeout);
        let config = ClientConfig { connect_timeout, idle_timeout: idle, ..defaults };
        let endpoint =
            Endpoint::bind(config).map_err(|error| ConnectError::Options(error.to_string()))?;
        let reach = Arc::new(Reach { endpoint, trust, options, identity: Mutex::new(identity) });
        Ok(Self { reach, learned: Vec::new(), turn: 0, failed: BTreeMap::new() })
    }

    fn addresses(&self) -> impl Iterator<Item = &String> {
        self.reach.options.addresses.iter().chain(&self.learned)
    }

    /// Addresses to try, all together.
    pub(crate) fn addresses_count(&self) -> usize {
        self.addresses().count()
    }

    /// Takes over what a member says about the others.
    pub(crate) fn learn(&mut self, members: &[String]) {
        let given = &self.reach.options.addresses;
        let new = members.iter().filter(|member| !given.contains(member));
        self.learned = new.take(LEARNED_MAX).cloned().collect();
        let known: Vec<String> = self.addresses().cloned().collect();
        self.failed.retain(|address, _| known.contains(address));
    }

    /// An address is of no use at present: it is tried behind the others for a while.
    pub(crate) fn note_failed(&mut self, address: &str, now_ms: u64) {
        self.failed.insert(address.to_owned(), now_ms);
    }

    /// All addresses but one, in the order in which they are to be tried: those that failed lately last, and else each time
    /// another one first.
    pub(crate) fn candidates(&mut self, but: Option<&str>, now_ms: u64) -> Vec<String> {
        let mut all: Vec<String> = self.addresses().cloned().collect();
        let first = self.turn % all.len();
        self.turn = first + 1;
        all.rotate_left(first);
        all.retain(|address| Some(address.as_str()) != but);
        let failed_ms = |address: &String| {
            self.failed.get(address).copied().filter(|at| now_ms < at + FAILED_MS).unwrap_or(0)
        };
        all.sort_by_key(failed_ms);
        all
    }

    /// Begins to connect to the first of these addresses that answers.
    pub(crate) fn race(
        &self,
        addresses: Vec<String>,
        stagger: Duration,
        patience: Duration,
    ) -> Race {
        Race::new(Arc::clone(&self.reach), addresses, stagger, patience)
    }

    /// The way to addresses.
    pub(crate) fn reach(&self) -> Arc<Reach> {
        Arc::clone(&self.reach)
    }
}

impl Reach {
    /// On a connection, opens a lane and waits for the answer to `Hello`, whatever it is; no longer than this. Cancel-safe:
    /// dropped, the attempt is given up, and the connection with it.
    pub(crate) async fn attach(
        &self,
        address: String,
        connection: Connection,
        attach: Attach,
        patience: Duration,
    ) -> Result<Link, String> {
        let attach = match attach {
            Attach::New { timeout_ms, .. } => {
                Attach::New { timeout_ms, credentials: self.credentials()? }
            }
            resumed @ Attach::Resume { .. } => resumed,
        };
        let hello = ClientMessage::Hello(Hello {
            protocols: PROTOCOLS,
            namespace: self.options.namespace,
            agent: self.options.agent.clone(),
            attach,
        });
        self.ask_on(address, connection, &hello, patience).await
    }

    /// What shows who this client is, read anew.
    pub(crate) fn credentials(&self) -> Result<Vec<Credential>, String> {
        credential::load_all(&self.options.credentials)
    }

    /// The certificate to show. One that can not be used any more leaves the one before: it may be half written.
    fn identity(&self) -> Option<ClientIdentity> {
        let mut last = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        match read_identity(&self.options) {
            Ok(read) => *last = read,
            Err(why) => {
                tracing::warn!(why, "the client's certificate is shown as it was read before")
            }
        }
        last.clone()
    }

    /// Sends a first frame on a lane of this connection, and waits for the answer to it, whatever it is. Cancel-safe: dropped,
    /// the attempt is given up.
    pub(crate) async fn ask_on(
        &self,
        address: String,
        connection: Connection,
        first: &ClientMessage,
        patience: Duration,
    ) -> Result<Link, String> {
        let limits = LaneLimits { frame_bytes_max: FRAME_BYTES_MAX, ..LaneLimits::default() };
        let (sender, mut receiver) =
            connection.open_lane(limits).await.map_err(|error| error.to_string())?;
        let exchange = async {
            sender.send(first.encode()).await.map_err(|error| error.to_string())?;
            let frame = receiver.recv().await.map_err(|error| error.to_string())?;
            let frame = frame.ok_or("the member ended the lane without an answer")?;
            match ServerMessage::decode(frame).map_err(|error| error.to_string())? {
                ServerMessage::Welcome(welcome) if !PROTOCOLS.has(welcome.protocol) => {
                    let protocol = welcome.protocol;
                    Err(format!(
                        "the member wants to speak protocol {protocol}, this client speaks {PROTOCOLS}"
                    ))
                }
                answer => Ok(answer),
            }
        };
        let first = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| format!("no answer to the first frame within {patience:?}"))??;
        Ok(Link { address, connection, sender, receiver, first })
    }

    /// Connects to the first address of a name that answers, each within this time. Cancel-safe.
    pub(crate) async fn connect(
        &self,
        address: &str,
        patience: Duration,
    ) -> Result<Connection, String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let server_name = self.options.server_name.as_deref().unwrap_or(host);
        let resolved: Vec<_> = tokio::net::lookup_host(address)
            .await
            .map_err(|error| format!("the address can not be resolved: {error}"))?
            .take(RESOLVED_MAX)
            .collect();
        let mut failed = "the name has no address".to_owned();
        for resolved in resolved {
            let identity = self.identity();
            let connecting = self.endpoint.connect_as(
                identity.as_ref(),
                resolved,
                server_name,
                &self.trust,
                Protocol::Client,
            );
            match tokio::time::timeout(patience, connecting).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = error.to_string(),
                Err(_) => failed = format!("no connection within {patience:?}"),
            }
        }
        Err(failed)
    }
}

fn read_identity(options: &Options) -> Result<Option<ClientIdentity>, String> {
    let Some(Certificate { certificate, key }) = &options.certificate else { return Ok(None) };
    let read = ClientIdentity::load(certificate, key, SystemTime::now());
    read.map(Some).map_err(|error| error.to_string())
}

/// Whether a member that refuses a session would be followed by all others, for ever.
pub(crate) fn is_permanent(refusal: &Refusal) -> bool {
    use quorate_core::error::Advice;
    matches!(refusal.code.advice(), Advice::Never | Advice::NewSession)
}
