//! `quorate dev --members N`: a cluster on this machine, a process for each member, started again when they end. What a member
//! does is `quorate serve`'s; this one only starts and ends them.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use quorate_client::admin::{self, Command, Outcome};
use quorate_client::{Authority, Options};
use quorate_net::issue;
use serde_json::json;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dev::deploy_builtin;
use crate::connect::Global;
use crate::dev_file::{self, DevFile};
use crate::failure::Usage;
use crate::output::{FAINT, NAME, Output, TITLE};
use crate::signals::Signals;

/// Members of one machine's cluster.
pub const MEMBERS_MAX: u64 = 9;
/// A member that has ended is started again after this.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// How long the members may take to answer, and to elect a leader.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a member may take to end; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Where one member is.
#[derive(Debug, Clone)]
struct Place {
    number: u64,
    address: SocketAddr,
    directory: PathBuf,
}

impl Place {
    fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("quorate.toml")
    }

    /// Writes its configuration and certificates, if they are not there.
    fn prepare(&self, authority: &Path, log_level: &str) -> anyhow::Result<()> {
        let data = self.directory.join("data");
        let certificates = self.directory.join("certificates");
        if !certificates.try_exists()? {
            issue::member(&certificates, authority, self.number, &[], SystemTime::now())?;
        }
        let text = format!(
            "# Written by `quorate dev --members`, anew at each start.\nmember = {}\ndata = {data:?}\ncertificates = {certificates:?}\n\
             listen = \"{}\"\nlog_level = {log_level:?}\n",
            self.number, self.address,
        );
        std::fs::write(self.configuration(), text).context("the configuration can not be written")
    }

    fn start(&self) -> anyhow::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log());
        let log = log.with_context(|| format!("{} can not be written", self.log().display()))?;
        let program = std::env::current_exe().context("where this program is")?;
        let mut command = tokio::process::Command::new(program);
        command.arg("serve").arg("--config").arg(self.configuration());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        // Ctrl-C at the terminal is for the one that looks after them.
        command.process_group(0);
        command.spawn().with_context(|| format!("member {} can not be started", self.number))
    }
}

/// The process ids of members that run, by number.
type Pids = Arc<Mutex<std::collections::BTreeMap<u64, u32>>>;

/// Runs a cluster until a signal asks to end.
///
/// # Errors
/// If it does not come into being.
pub async fn run(
    members: u64,
    directory: Option<PathBuf>,
    first: SocketAddr,
    log_level: &str,
    global: &Global,
) -> anyhow::Result<ExitCode> {
    if !(1..=MEMBERS_MAX).contains(&members) {
        bail!(Usage(format!("--members takes 1 to {MEMBERS_MAX}")));
    }
    let output = global.output();
    let mut signals = Signals::take()?;
    let directory = match directory {
        Some(directory) => std::path::absolute(directory)?,
        None => dev_file::home()?.join("cluster"),
    };
    let authority = directory.join("authority");
    if !authority.try_exists()? {
        issue::authority(&authority, None, SystemTime::now())?;
    }
    let places = places(members, &directory, first)?;
    for place in &places {
        std::fs::create_dir_all(&place.directory)
            .with_context(|| format!("{} can not be made", place.directory.display()))?;
        place.prepare(&authority, log_level)?;
    }
    let (stop, stopped) = watch::channel(false);
    let pids = Pids::default();
    let mut keepers = JoinSet::new();
    for place in &places {
        keepers.spawn(keep(place.clone(), Arc::clone(&pids), stopped.clone(), output));
    }
    let ca = authority.join(issue::AUTHORITY_FILE);
    let file = dev_file::path();
    let mut found = DevFile::new(places[0].address, &ca);
    found.others = places[1..].iter().map(|place| place.address).collect();
    let ready = async {
        initialize(&places, &ca).await?;
        deploy_builtin(options(&places, &ca, global), global.level).await?;
        if let Ok(file) = &file {
            found.store(file)?;
        }
        announce(&places, &pids, &found, output)
    };
    let result = tokio::select! {
        ready = ready => match ready {
            Ok(()) => { signals.next().await; Ok(()) }
            Err(error) => Err(error.context(format!("the members' logs are in {}", directory.display()))),
        },
        _ = signals.next() => Ok(()),
        Some(ended) = keepers.join_next() => match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(anyhow!("a member is not looked after any more")),
        },
    };
    output.say(format_args!("{FAINT}ending the members{FAINT:#}"));
    stop.send_replace(true);
    let ended = async { while keepers.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => {}
        _ = signals.next() => output.say("the members are killed"),
    }
    if let Ok(file) = &file {
        found.withdraw(file);
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn places(members: u64, directory: &Path, first: SocketAddr) -> anyhow::Result<Vec<Place>> {
    // Held until all are taken, so that they are different ones.
    let mut held = Vec::new();
    let mut places = Vec::new();
    for number in 1..=members {
        let mut address = first;
        if first.port() == 0 {
            let socket = UdpSocket::bind(first).context("a free port")?;
            address = socket.local_addr()?;
            held.push(socket);
        } else {
            let port = u64::from(first.port()) + number - 1;
            address.set_port(u16::try_from(port).context("the ports end at 65535")?);
        }
        places.push(Place { number, address, directory: directory.join(number.to_string()) });
    }
    Ok(places)
}

/// Runs one member, again and again.
async fn keep(
    place: Place,
    pids: Pids,
    mut stop: watch::Receiver<bool>,
    output: Output,
) -> anyhow::Result<()> {
    let lock = || pids.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut child = place.start()?;
        let pid = child.id().unwrap_or_default();
        lock().insert(place.number, pid);
        let status = tokio::select! {
            status = child.wait() => status.context("a member's end")?,
            _ = stop.changed() => {
                end(&mut child).await;
                return Ok(());
            }
        };
        lock().remove(&place.number);
        output.say(format_args!(
            "member {} (process {pid}) has ended: {status}; it is started again in {} s",
            place.number,
            RESTART_AFTER.as_secs()
        ));
        tokio::select! {
            () = tokio::time::sleep(RESTART_AFTER) => {}
            _ = stop.changed() => return Ok(()),
        }
    }
}

async fn end(child: &mut Child) {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid {
        // One that is paused hears the other signal first.
        for signal in [rustix::process::Signal::TERM, rustix::process::Signal::CONT] {
            if let Err(error) = rustix::process::kill_process(pid, signal) {
                tracing::debug!(%error, "a member has ended already");
            }
        }
    }
    if tokio::time::timeout(END_TIMEOUT, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(%error, "a member can not be killed");
    }
}

fn options(places: &[Place], ca: &Path, global: &Global) -> Options {
    let addresses = places.iter().map(|place| place.address.to_string());
    let mut options = Options::new(addresses, Authority::File(ca.to_owned()));
    options.connect_timeout = global.connect_timeout.max(READY_TIMEOUT);
    options
}

/// Makes the members a cluster, if they are none yet, and waits for a leader.
async fn initialize(places: &[Place], ca: &Path) -> anyhow::Result<()> {
    let ready = async {
        let mut has_asked = false;
        loop {
            let address = places[0].address.to_string();
            let options = Options::new([address], Authority::File(ca.to_owned()));
            match admin::command(options.clone(), Command::Status).await {
                Ok(Outcome::Status(status)) if status.leader.is_some() => return Ok(()),
                Ok(Outcome::Status(status)) if status.members.len() < 2 && !has_asked => {
                    let members =
                        places.iter().map(|place| (place.number, place.address.to_string()));
                    let command = Command::Initialize { members: members.collect() };
                    match admin::command(options, command).await {
                        Ok(_) => has_asked = true,
                        // The others may not have started yet.
                        Err(admin::AdminError::Refused(refusal)) => {
                            tracing::debug!(%refusal, "the cluster is not made yet");
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(READY_TIMEOUT, ready).await {
        Ok(ready) => ready,
        Err(_) => Err(anyhow!("the members have not elected a leader within {READY_TIMEOUT:?}")),
    }
}

fn announce(places: &[Place], pids: &Pids, found: &DevFile, output: Output) -> anyhow::Result<()> {
    let pids = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let pid = |number: u64| pids.get(&number).copied().unwrap_or_default();
    let addresses: Vec<String> = places.iter().map(|place| place.address.to_string()).collect();
    let json = || {
        let members: Vec<_> = places
            .iter()
            .map(|place| {
                json!({
                    "member": place.number,
                    "address": place.address,
                    "pid": pid(place.number),
                    "log": place.log(),
                })
            })
            .collect();
        json!({ "members": members, "ca": found.ca, "pid": found.pid })
    };
    output.show(json, |out| {
        let count = places.len();
        writeln!(out, "{TITLE}quorate{TITLE:#}: a cluster of {count} on this machine")?;
        for place in places {
            writeln!(
                out,
                "  member {}  {NAME}{}{NAME:#}  process {:<7} log {}",
                place.number,
                place.address,
                pid(place.number),
                place.log().display()
            )?;
        }
        writeln!(out, "\nIn another shell:")?;
        for command in [
            "quorate cluster status".to_owned(),
            "quorate lock /deploys/web -- sleep 60".to_owned(),
            format!("kill -9 {}      # it is started again", pid(1)),
            format!("kill -STOP {}   # and kill -CONT", pid(1)),
        ] {
            writeln!(out, "  {NAME}{command}{NAME:#}")?;
        }
        writeln!(
            out,
            "\n{FAINT}Elsewhere: --connect {} --ca {}",
            addresses.join(","),
            found.ca.display()
        )?;
        writeln!(out, "Ctrl-C ends the members; their data stays.{FAINT:#}")
    })
}
