//! `quorate dev`: one member for this machine, ready to be used. How a member works is the gateway's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use quorate_client::{
    Authority, Client, ConnectError, Credential, Error, Options as ClientOptions,
};
use quorate_core::error::ErrorCode;
use quorate_core::level::Level;
use quorate_gateway::member::{Member, Options, StartError};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::{demo, dev_cluster, recipe::upload};
use crate::builtin::{self, Builtin};
use crate::config;
use crate::connect::{Global, goodbye};
use crate::dev_file::{self, DevFile};
use crate::failure::hinted;
use crate::output::{FAINT, NAME, Output, TITLE};
use crate::signals::{Ask, Signals};
use crate::telemetry::{self, LogFormat};

/// A member that starts knows of its leader by then, if there is one.
const LEADER_SOON: Duration = Duration::from_secs(2);
/// Before the built-in recipes are deployed again, when the leader went meanwhile.
const DEPLOY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// `quorate dev`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Other shells of this user need no flags: they find the server that was started last.

Examples:
  quorate dev
  quorate dev --data /tmp/try --listen 127.0.0.1:0
  quorate dev --demo
  quorate dev --members 3"
)]
pub struct Dev {
    /// Directory for all state; made if it is not there [default: ~/.local/share/quorate/dev]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A cluster of this many members, a process for each, on neighbouring ports [its default directory is
    /// ~/.local/share/quorate/cluster]
    #[arg(long, value_name = "N", conflicts_with = "demo")]
    members: Option<u64>,
    /// UDP address for clients; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = config::LISTEN)]
    listen: SocketAddr,
    /// First show how three clients contend for a lock
    #[arg(long)]
    demo: bool,
    /// Level of the log on standard error: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

impl Dev {
    /// Runs until a signal asks to end.
    ///
    /// # Errors
    /// If the member does not start, or can not go on.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        telemetry::start(&self.log_level, LogFormat::Text)?;
        if let Some(members) = self.members {
            let Self { data, listen, log_level, .. } = self;
            let cluster = dev_cluster::run(members, data, listen, &log_level, global);
            return Box::pin(cluster).await;
        }
        let output = global.output();
        let mut signals = Signals::take()?;
        let data = match &self.data {
            Some(data) => data.clone(),
            None => dev_file::home()?.join("dev"),
        };
        let options = Options::new(data.clone(), self.listen);
        let member = start(Options { level: global.level, ..options }).await?;
        let file = dev_file::path();
        let found = DevFile::new(member.address(), member.authority_file());
        let ready = async {
            deploy_builtin_when_led(&member, client_options(&member, global), global.level).await?;
            if let Ok(file) = &file {
                found.store(file)?;
            }
            if self.demo {
                demo::run(&client_options(&member, global), output).await?;
            }
            announce(&member, &data, &found, output)
        };
        let ready = tokio::select! {
            ready = ready => ready.map(|()| None),
            ask = signals.next() => Ok(Some(ask)),
            why = member.failed() => Err(failed(&why)),
        };
        let ended = match ready {
            Ok(None) => serve(member, &mut signals, output, HangUp::Ends).await,
            Ok(Some(_)) => Ok(stop(member, &mut signals, output).await),
            Err(error) => {
                member.shutdown().await;
                Err(error)
            }
        };
        if let Ok(file) = &file {
            found.withdraw(file);
        }
        ended
    }
}

/// How long built-in recipes wait for the feature level that this binary knows: members that have just met raise it within a
/// second, and in a cluster of two versions it does not come.
const LEVEL_PATIENCE: Duration = Duration::from_secs(3);
const LEVEL_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts a member; a refusal says what to do.
///
/// # Errors
/// If it does not start.
pub async fn start(options: Options) -> anyhow::Result<Member> {
    let listen = options.listen;
    match Box::pin(Member::start(options)).await {
        Ok(member) => Ok(member),
        Err(error @ StartError::Bind(_)) => Err(hinted(
            error,
            format!(
                "Another server may run on {listen} already: use that one, end it, or choose another address \
                 (--listen 127.0.0.1:0 takes a free port)."
            ),
        )),
        Err(error) => Err(error.into()),
    }
}

/// What SIGHUP asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// To end: the terminal has gone.
    Ends,
    /// To look at the certificates: nobody sits before a service.
    Renews,
}

/// Returns when a signal asks to end.
pub async fn to_end(signals: &mut Signals, member: &Member, hang_up: HangUp) {
    while signals.next().await == Ask::HangUp && hang_up == HangUp::Renews {
        member.look_at_certificates();
    }
}

/// Serves until a signal asks to end, or the member can not go on.
///
/// # Errors
/// If the member can not go on.
pub async fn serve(
    member: Member,
    signals: &mut Signals,
    output: Output,
    hang_up: HangUp,
) -> anyhow::Result<ExitCode> {
    let failure = tokio::select! {
        () = to_end(signals, &member, hang_up) => None,
        why = member.failed() => Some(why),
    };
    let stopped = stop(member, signals, output).await;
    failure.map_or(Ok(stopped), |why| Err(failed(&why)))
}

/// Ends in order; another signal ends at once.
pub async fn stop(member: Member, signals: &mut Signals, output: Output) -> ExitCode {
    output.say(format_args!("{FAINT}ending; Ctrl-C again ends at once{FAINT:#}"));
    tokio::select! {
        () = member.shutdown() => ExitCode::SUCCESS,
        ask = signals.next() => ask.exit_code(),
    }
}

/// What is said of a member that can not go on.
pub fn failed(why: &str) -> anyhow::Error {
    anyhow!("this member can not go on: {why}")
}

/// For a client of the member in this process.
pub fn client_options(member: &Member, global: &Global) -> ClientOptions {
    let found = DevFile::new(member.address(), member.authority_file());
    let authority = Authority::File(member.authority_file().to_owned());
    let mut options = ClientOptions::new([found.address.to_string()], authority);
    options.connect_timeout = global.connect_timeout;
    options.credentials.push(Credential::AsSent(member.house_credential()));
    options
}

/// As [`deploy_builtin`], when there is a leader, for as long as that takes: a member may be started long before its cluster.
///
/// # Errors
/// If one is refused.
pub async fn deploy_builtin_when_led(
    member: &Member,
    options: ClientOptions,
    known: Level,
) -> anyhow::Result<()> {
    loop {
        if timeout(LEADER_SOON, member.led()).await.is_err() {
            tracing::info!("the built-in recipes wait for a leader");
            member.led().await;
        }
        match deploy_builtin(options.clone(), known).await {
            Err(error) if is_passing(&error) => {
                tracing::info!(reason = %format!("{error:#}"), "the built-in recipes are not deployed yet");
                sleep(DEPLOY_AGAIN_AFTER).await;
            }
            deployed => return deployed,
        }
    }
}

/// Whether it may go well when there is a leader again.
fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let connecting = cause.downcast_ref::<ConnectError>();
        let asking = cause.downcast_ref::<Error>();
        matches!(connecting, Some(ConnectError::Unreachable(_)))
            || asking.is_some_and(|error| {
                matches!(error, Error::SessionLost { .. }) || error.code() == ErrorCode::NoLeader
            })
    })
}

/// Deploys the built-in recipes that are not in service, or not as this binary, which knows this feature level, has them for
/// the level that the cluster has.
///
/// # Errors
/// If there is no leader in time, or one is refused.
pub async fn deploy_builtin(options: ClientOptions, known: Level) -> anyhow::Result<()> {
    let client = Client::connect(options).await.context("the first client of this server")?;
    let level = level_of(&client, known).await?;
    for builtin in builtin::ALL {
        if !is_current(&client, builtin, level).await? {
            let version = upload::deploy(
                &client,
                builtin.name,
                builtin.component,
                builtin.manifest(level)?,
                true,
                |_| {},
            )
            .await
            .with_context(|| format!("the built-in recipe {}", builtin.name))?;
            tracing::info!(recipe = builtin.name, version, "deployed");
        }
    }
    goodbye(client).await;
    Ok(())
}

/// The level of the cluster. That of a new one is about to rise when its members have just met.
async fn level_of(client: &Client, known: Level) -> anyhow::Result<Level> {
    let until = Instant::now() + LEVEL_PATIENCE;
    loop {
        let level = client.status().await?.cluster_level;
        if level >= known || Instant::now() >= until {
            return Ok(level);
        }
        tokio::time::sleep(LEVEL_LOOK_EVERY).await;
    }
}

async fn is_current(client: &Client, builtin: &Builtin, level: Level) -> anyhow::Result<bool> {
    let history = match client.history(builtin.name).await {
        Ok(history) => history,
        Err(error) if error.code() == ErrorCode::NoRecipe => return Ok(false),
        Err(error) => return Err(Error::into(error)),
    };
    let digest: [u8; 32] = Sha256::digest(builtin.component).into();
    let manifest = builtin.manifest(level)?;
    let active = history.versions.iter().find(|version| Some(version.number) == history.active);
    Ok(active.is_some_and(|active| active.component == digest && active.manifest == manifest))
}

fn announce(member: &Member, data: &Path, found: &DevFile, output: Output) -> anyhow::Result<()> {
    let recipes: Vec<&str> = builtin::ALL.iter().map(|builtin| builtin.name).collect();
    let json = || {
        json!({
            "address": found.address,
            "listen": member.address(),
            "ca": found.ca,
            "data": data,
            "recipes": recipes,
            "pid": found.pid,
        })
    };
    output.show(json, |out| {
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            out,
            "{TITLE}quorate {version}{TITLE:#} serves clients at {NAME}{}{NAME:#}/udp",
            member.address()
        )?;
        writeln!(out, "  data     {}", data.display())?;
        writeln!(out, "  recipes  {}", recipes.join(", "))?;
        writeln!(out, "\nIn another shell:")?;
        for command in [
            "quorate lock /deploys/web -- sleep 5",
            "quorate call counter 'add(\"/hits\", 1)'",
            "quorate create /hello world && quorate get /hello",
            "quorate recipe new my-semaphore",
        ] {
            writeln!(out, "  {NAME}{command}{NAME:#}")?;
        }
        writeln!(
            out,
            "\n{FAINT}Elsewhere: --connect {} --ca {}",
            member.address(),
            found.ca.display()
        )?;
        writeln!(out, "Ctrl-C ends the server; its data stays.{FAINT:#}")
    })
}
