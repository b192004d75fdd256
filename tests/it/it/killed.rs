//! A member that is killed in the middle of writes: what was acknowledged is there, and nothing is there twice. The
//! member runs in a process of its own: this binary, started again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quorate_client::{Authority, Client, Options};
use quorate_core::request::{Answer, Reply};
use quorate_net::limits::IDLE_TIMEOUT;
use quorate_wire::message::{Attach, Consistency, Query, Results, ServerMessage};
use tokio::time::timeout;

use crate::raw::{ANY_PORT, Raw, create, set, start_at};

/// Directory of the member that the child is to be; not set: no child.
const DIRECTORY: &str = "QUORATE_IT_MEMBER";
/// Address at which the child is to listen.
const LISTEN: &str = "QUORATE_IT_LISTEN";
const READY: &str = "member at ";
const ROUNDS: usize = 3;
/// Writes that are acknowledged before the kill, and those on their way at that moment.
const ACKNOWLEDGED: usize = 200;
const IN_FLIGHT: usize = 32;

/// The child's part, not a test of its own: a member until its parent is gone.
#[tokio::test(flavor = "multi_thread")]
async fn member_of_a_child_process() -> Result<()> {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return Ok(()) };
    let listen = std::env::var(LISTEN)?.parse()?;
    let member = start_at(Path::new(&directory), listen).await?;
    let authority = member.authority_file().to_string_lossy().into_owned();
    writeln!(std::io::stdout(), "\n{READY}{} {authority}", member.address())?;
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(wait).await??;
    member.shutdown().await;
    Ok(())
}

struct Process {
    child: Child,
    address: SocketAddr,
    authority: PathBuf,
}

impl Process {
    fn start(directory: &Path, listen: SocketAddr) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["killed::member_of_a_child_process", "--exact", "--nocapture"])
            .env(DIRECTORY, directory)
            .env(LISTEN, listen.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("its output")?);
        for line in stdout.lines() {
            if let Some((address, authority)) =
                line?.strip_prefix(READY).and_then(|at| at.split_once(' '))
            {
                let (address, authority) = (address.parse()?, PathBuf::from(authority));
                return Ok(Self { child, address, authority });
            }
        }
        bail!("the member has ended before it was ready: {}", child.wait()?)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed already, in most cases.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn version_of(message: ServerMessage) -> Result<u64> {
    let ServerMessage::Reply { reply, .. } = message else { bail!("no reply: {message:?}") };
    match Reply::decode(reply)? {
        Reply::Done(Answer::Stat(stat)) => Ok(stat.version),
        other => bail!("not set: {other:?}"),
    }
}

/// Write 1 creates `/count`; write n sets it, so its version then is n - 1, whenever and however often it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_a_kill_and_none_happens_twice() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut attach = Attach::New { timeout_ms: 600_000, credentials: Vec::new() };
    let mut acknowledged = 0;
    let mut sent = 0;
    for round in 0..=ROUNDS {
        let mut process = Process::start(directory.path(), ANY_PORT)?;
        let mut client = Raw::connect_at(process.address, &process.authority, attach).await?;
        assert!(client.welcome.last_write.0 >= acknowledged, "acknowledged and gone");
        assert!(client.welcome.last_write.0 <= sent, "never sent");
        attach = client.resume();
        if round == 0 {
            client.done(&create("/count", "")).await?;
            (sent, acknowledged) = (1, 1);
        }
        // All that is unanswered first, in order.
        let mut waiting = BTreeMap::new();
        for write in acknowledged + 1..=sent {
            waiting.insert(client.send_write(write, &set("/count", "x")).await?, write);
        }
        for (request, write) in std::mem::take(&mut waiting) {
            assert_eq!(version_of(client.answer(request).await?)?, write - 1);
            acknowledged = write;
        }
        let read = client.read(Consistency::Linearizable, Query::Stat("/count".to_owned())).await?;
        let Results::Stat(stat) = read else { bail!("{read:?}") };
        assert_eq!(stat.version, sent - 1);
        if round == ROUNDS {
            process.kill()?;
            break;
        }
        for _ in 0..ACKNOWLEDGED {
            while waiting.len() < IN_FLIGHT {
                sent += 1;
                waiting.insert(client.send_write(sent, &set("/count", "x")).await?, sent);
            }
            let (request, write) = waiting.pop_first().context("in flight")?;
            assert_eq!(version_of(client.answer(request).await?)?, write - 1);
            acknowledged = write;
        }
        process.kill()?;
    }
    Ok(())
}

/// A client that waits for its server by silence needs the idle timeout. It is told by the next server's first packet.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_at_once_when_its_server_was_killed_and_started_again() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut process = Process::start(directory.path(), ANY_PORT)?;
    let address = process.address;
    let authority = Authority::File(process.authority.clone());
    // Heartbeats, which tell of a dead server too, come rarely.
    let client = Client::connect(Options {
        session_timeout: Some(20 * IDLE_TIMEOUT),
        ..Options::new([address.to_string()], authority)
    })
    .await?;
    client.create("/count").await?;
    for round in 0..ROUNDS {
        client.set("/count", "x", None).await?;
        process.kill()?;
        let killed = Instant::now();
        let writer = client.clone();
        let written = tokio::spawn(async move { writer.set("/count", "x", None).await });
        process = Process::start(directory.path(), address)?;
        let ready = Instant::now();
        timeout(IDLE_TIMEOUT / 2, written).await.context("by silence alone")???;
        let (gap, behind) = (killed.elapsed(), ready.elapsed());
        writeln!(
            std::io::stdout(),
            "round {round}: {gap:?} after the kill, {behind:?} after the start"
        )?;
    }
    process.kill()
}
