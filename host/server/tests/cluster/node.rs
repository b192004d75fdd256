//! One member as a process: its files, how it is started, and how it is killed, paused and ended. It does not know the others.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use quorate_net::issue;
use quorate_relay::Relay;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::harness::{Home, ended, send};

/// How long anything here may take on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The level at which members and clients log, if it is not to be info.
pub const LOG_VARIABLE: &str = "QUORATE_TEST_LOG";
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks again and again until there is something, which must be within [`PATIENCE`].
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut look_again = tokio::time::interval(LOOK_EVERY);
    loop {
        look_again.tick().await;
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
    }
}

/// A member, running or not.
pub struct Node {
    /// Its number.
    pub number: u64,
    /// Where its process listens.
    pub listen: SocketAddr,
    /// What stands before its port; everybody is told the relay's address.
    pub relay: Relay,
    /// Of its configuration, log, certificates and, unless told otherwise, data.
    pub directory: PathBuf,
    /// Its data.
    pub data: PathBuf,
    /// Network namespace in which it runs, if it has one of its own: nobody is told of the relay then.
    pub namespace: Option<String>,
    /// Further lines of its configuration.
    pub further: String,
    /// Whether it is started as a build of the version before, which knows one feature level less.
    pub is_older: bool,
    child: Option<Child>,
    is_paused: bool,
}

/// The build of the version before: an example of this crate.
pub fn older() -> &'static str {
    static THERE: OnceLock<String> = OnceLock::new();
    THERE.get_or_init(|| {
        let binary =
            Path::new(env!("CARGO_BIN_EXE_quorate")).with_file_name("examples").join("older");
        assert!(
            binary.exists(),
            "{}: build it with `cargo build -p quorate-server --examples`",
            binary.display()
        );
        binary.to_str().expect("UTF-8").to_owned()
    })
}

/// Where a member listens that has a network namespace of its own.
pub fn address_in_namespace(number: u64) -> SocketAddr {
    let host = u8::try_from(number).expect("few members");
    SocketAddr::from(([10, 77, 0, host], 7_000))
}

/// A UDP port of loopback that nobody has now.
pub fn free_port() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound")
}

impl Node {
    /// Certificates and a place, but no process yet.
    pub async fn new(home: &Home, authority: &Path, number: u64) -> Self {
        Self::named(home, authority, number, &format!("member-{number}")).await
    }

    /// As `new`, in a directory of this name: for a second one of the same number.
    pub async fn named(home: &Home, authority: &Path, number: u64, name: &str) -> Self {
        let directory = home.path().join(name);
        std::fs::create_dir(&directory).expect("a new directory");
        let names = [address_in_namespace(number).ip().to_string()];
        issue::member(
            &directory.join("certificates"),
            authority,
            number,
            &names,
            SystemTime::now(),
        )
        .expect("a certificate");
        let listen = free_port();
        let relay = Relay::start(listen, number).await.expect("a relay");
        let data = directory.join("data");
        let further = String::new();
        Self {
            number,
            listen,
            relay,
            directory,
            data,
            namespace: None,
            further,
            is_older: false,
            child: None,
            is_paused: false,
        }
    }

    /// What others dial: the relay, or the member itself in its own namespace.
    pub fn address(&self) -> String {
        match self.namespace {
            None => self.relay.address().to_string(),
            Some(_) => self.listen.to_string(),
        }
    }

    /// Starts the process; it may end at once.
    pub fn spawn(&mut self, home: &Home) {
        assert!(self.child.is_none(), "member {} runs already", self.number);
        let level = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
        let text = format!(
            "member = {number}\ndata = {data:?}\ncertificates = {certificates:?}\nlisten = \"{listen}\"\n\
             address = {address:?}\nadvertise = [{address:?}]\nlog_level = {level:?}\n{further}\n",
            number = self.number,
            data = self.data,
            certificates = self.directory.join("certificates"),
            listen = self.listen,
            address = self.address(),
            further = self.further,
        );
        let config = self.directory.join("quorate.toml");
        std::fs::write(&config, text).expect("written");
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let serve = ["serve", "--config"];
        let mut command = match &self.namespace {
            None if self.is_older => home.command_named(older(), &serve),
            None => home.command(&serve),
            Some(namespace) => {
                let quorate = env!("CARGO_BIN_EXE_quorate");
                let within = ["netns", "exec", namespace, quorate];
                home.command_named("ip", &[&within[..], &serve].concat())
            }
        };
        command.arg(config).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("it starts"));
    }

    /// Starts the process and waits until it serves.
    pub async fn start(&mut self, home: &Home) {
        let before = self.log().matches("serving clients").count();
        self.spawn(home);
        let what = format!("member {} serves", self.number);
        until(&what, async || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
            assert!(ended.is_none(), "member {} has ended: {}", self.number, self.log());
            (self.log().matches("serving clients").count() > before).then_some(())
        })
        .await;
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("log.txt")
    }

    /// All that it has said, at every start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until it has said something.
    pub async fn says(&self, text: &str) {
        let what = format!("member {} says {text:?}", self.number);
        until(&what, async || self.log().contains(text).then_some(())).await;
    }

    /// Whether the process is there and takes part.
    pub fn is_up(&self) -> bool {
        self.child.is_some() && !self.is_paused
    }

    /// The process.
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("it runs")
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it ran");
        child.wait().expect("it has ended");
        self.is_paused = false;
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        send(self.child(), Signal::STOP);
        self.is_paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        send(self.child(), Signal::CONT);
        self.is_paused = false;
    }

    /// SIGTERM, and the code with which it has ended.
    pub fn stop(&mut self) -> i32 {
        send(self.child(), Signal::TERM);
        self.end()
    }

    /// Waits until it has ended by itself, and gives its code.
    pub fn end(&mut self) -> i32 {
        let mut child = self.child.take().expect("it runs");
        ended(&mut child)
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started");
        child.try_wait().expect("its state").is_some()
    }

    /// As `end`, without keeping the relay's tasks from their work.
    pub async fn ends(&mut self) -> i32 {
        let what = format!("member {} ends by itself", self.number);
        until(&what, async || self.has_ended().then_some(())).await;
        self.end()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
