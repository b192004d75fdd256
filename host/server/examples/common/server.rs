//! A server of a benchmark's own: the binary `quorate` that was built beside it, as a process. It knows nothing of what is
//! measured.
#![allow(dead_code, reason = "each benchmark needs a part of it")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_client::{Authority, Client, Options};

/// Time without a change after which the disk is said to be at rest.
pub const REST: Duration = Duration::from_secs(5);
/// Between two looks at the disk.
const LOOK: Duration = Duration::from_millis(250);

/// A running `quorate dev`.
pub struct Server {
    child: Child,
    address: String,
    ca: PathBuf,
    /// When the process was started.
    pub started: Instant,
    /// How long it took until it served.
    pub served: Duration,
}

impl Server {
    /// Starts it and waits for the line that says where it is.
    pub fn start(directory: &Path, listen: &str) -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let beside = here.ancestors().nth(2).context("a directory above this program")?;
        let started = Instant::now();
        let mut child = Command::new(beside.join("quorate"))
            .args(["dev", "--output", "json", "--listen", listen, "--data"])
            .arg(directory.join("data"))
            .env("XDG_DATA_HOME", directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the binary `quorate` is not beside this program: build it first")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("its standard output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let served = started.elapsed();
        let told: serde_json::Value =
            serde_json::from_str(&line).context("the server did not say where it is")?;
        let text = |key: &str| told[key].as_str().map(str::to_owned).context("an address and a ca");
        Ok(Self { child, address: text("address")?, ca: text("ca")?.into(), started, served })
    }

    /// With a session that outlives the opening of all the others.
    pub fn options(&self) -> Options {
        let mut options = Options::new([self.address.clone()], Authority::File(self.ca.clone()));
        // None of them may expire while the others are being opened.
        options.session_timeout = Some(Duration::from_secs(600));
        options
    }

    /// A client of its own session.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(self.options()).await?)
    }

    /// Threads of the process.
    pub fn threads_count(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
        line.map_or_else(|| "?".to_owned(), |count| count.trim().to_owned())
    }

    /// SIGKILL; the address, for the next one.
    pub fn kill(mut self) -> anyhow::Result<String> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.address.clone())
    }

    /// SIGTERM, and how long it takes to end.
    pub fn stop(mut self) -> anyhow::Result<(String, Duration)> {
        let began = Instant::now();
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a process")?, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok((self.address.clone(), began.elapsed()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where it was stopped.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until flushes and compactions of the server in this directory have ended.
pub async fn settle(directory: &Path) {
    let tree = directory.join("data/tree");
    let (mut bytes, mut since) = (disk_bytes(&tree), Instant::now());
    while since.elapsed() < REST {
        tokio::time::sleep(LOOK).await;
        let now = disk_bytes(&tree);
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
}

/// What the files of a directory take of the disk.
pub fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.blocks() * 512)
        .sum()
}
