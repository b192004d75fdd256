//! `quorate lock`: a command that runs while a lock is held. How locks work is the recipe's.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;

use anyhow::Context;
use quorate_client::{Client, LockError, LockGuard, LockOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::connect::Global;
use crate::failure::{LOCK_LOST, REFUSED, hinted};
use crate::output::{NAME, Output};
use crate::signals::{Ask, Signals};
use crate::{duration, fence};

/// `quorate lock`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The command sees its fencing token as QUORATE_FENCE: a number larger than that of every holder before. \
Show it to what the lock protects, so that it can refuse a holder that has been overtaken.
What it changes in this service it can have refused once the lock is lost: QUORATE_GRANT is for --fence and for `fence` in a multi.
Signals are passed on. When the lock is lost (with its session, or because somebody deleted its znode or removed the recipe), the command gets SIGTERM and five seconds later SIGKILL, and the exit code is 75.
With --root /app the lock /a is the one that others have as /app/a.
Else the exit code is the command's; 128 and the signal's number if a signal ended it; 1 if the lock was not got.

Examples:
  quorate lock /deploys/web -- ./deploy.sh
  quorate lock /deploys/web --timeout 0 -- ./deploy.sh      # do not wait
  quorate lock /jobs/nightly --note \"$USER, nightly\" -- sh -c 'echo token $QUORATE_FENCE'"
)]
pub struct Lock {
    /// The lock
    path: String,
    /// Give up after this time [default: wait for ever]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Who asks and why, for `quorate call lock 'holder("...")'` [default: user, host, command]
    #[arg(long)]
    note: Option<String>,
    /// The name under which the recipe is deployed
    #[arg(long, default_value = "lock")]
    recipe: String,
    /// Time without a sign of life after which others may get the lock
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    session_timeout: Option<Duration>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// How long a command may take to end after the lock was lost.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Exit codes of shells for a command that is not there, and for one that can not be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// Bytes of the note that is made when none is given.
const NOTE_BYTES_MAX: usize = 256;

impl Lock {
    /// Runs it.
    ///
    /// # Errors
    /// If the lock is not got, for another reason than the timeout.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::take()?;
        let output = global.output();
        let mut options = global.options()?;
        options.session_timeout = self.session_timeout;
        let client = tokio::select! {
            client = Client::connect(options) => client?,
            ask = signals.next() => return Ok(ask.exit_code()),
        };
        let ended = self.hold(&client, &mut signals, output).await;
        // The lock is given back with the session, in any case.
        crate::connect::goodbye(client).await;
        ended
    }

    async fn hold(
        &self,
        client: &Client,
        signals: &mut Signals,
        output: Output,
    ) -> anyhow::Result<ExitCode> {
        let options = LockOptions {
            recipe: self.recipe.clone(),
            timeout: self.timeout,
            note: Some(self.note.clone().unwrap_or_else(|| self.made_note())),
            ..LockOptions::default()
        };
        output.note(format_args!("waiting for {}", self.path));
        let got = tokio::select! {
            got = client.lock(&self.path, options) => got,
            ask = signals.next() => return Ok(ask.exit_code()),
        };
        let guard = match got {
            Ok(guard) => guard,
            Err(LockError::Call(error)) => return Err(error.into()),
            Err(error @ LockError::TimedOut) => {
                let hint = format!(
                    "`quorate call {} 'holder(\"{}\")'` shows who has it.",
                    self.recipe,
                    client.absolute(&self.path)
                );
                return Err(hinted(error, hint));
            }
            Err(error) => return Err(error.into()),
        };
        output.note(format_args!("holding {} with token {}", self.path, guard.token()));
        let child = self.spawn(&guard);
        let code = match child {
            Ok(child) => Running { child, path: &self.path, output }.run(&guard, signals).await?,
            Err(error) => {
                let is_missing = error.kind() == std::io::ErrorKind::NotFound;
                let command = self
                    .command
                    .first()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                output.say(format_args!("error: {command} can not be run: {error}"));
                ExitCode::from(if is_missing { NOT_FOUND } else { NOT_RUN })
            }
        };
        if code != ExitCode::from(LOCK_LOST) {
            match guard.release().await {
                Ok(()) => output.note(format_args!("released {}", self.path)),
                Err(error) => {
                    output.say(format_args!(
                        "error: {} was not held any more at the end: {error}",
                        self.path
                    ));
                    return Ok(if code == ExitCode::SUCCESS {
                        ExitCode::from(REFUSED)
                    } else {
                        code
                    });
                }
            }
        }
        Ok(code)
    }

    fn spawn(&self, guard: &LockGuard) -> std::io::Result<Child> {
        let (name, arguments) = self.command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        Command::new(name)
            .args(arguments)
            .env("QUORATE_FENCE", guard.token().to_string())
            .env("QUORATE_GRANT", fence::show(&guard.fence()))
            .spawn()
    }

    /// `user@host: command`, for those who wait.
    fn made_note(&self) -> String {
        let user = std::env::var("USER").unwrap_or_else(|_| "someone".to_owned());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        let mut note = format!("{user}@{}: {}", host.trim(), words.join(" "));
        note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
        note
    }
}

/// A command that runs while the lock is held.
struct Running<'a> {
    child: Child,
    path: &'a str,
    output: Output,
}

impl Running<'_> {
    async fn run(mut self, guard: &LockGuard, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let lost = guard.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                status = self.child.wait() => return Ok(exit_code(status.context("the command can not be waited for")?)),
                ask = signals.next() => self.forward(ask),
                lost = &mut lost => {
                    self.output.say(format_args!("error: the lock {NAME}{}{NAME:#} is lost: {lost}; ending the command", self.path));
                    self.end().await?;
                    return Ok(ExitCode::from(LOCK_LOST));
                }
            }
        }
    }

    /// Ctrl-C on a terminal has reached the command already, as all processes in the foreground.
    fn forward(&self, ask: Ask) {
        if ask != Ask::Interrupt || !std::io::stdin().is_terminal() {
            self.send(ask.signal());
        }
    }

    fn send(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, "the command has ended before");
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.send(Signal::TERM);
        if tokio::time::timeout(LAST_WORDS, self.child.wait()).await.is_err() {
            self.child.kill().await.context("the command can not be ended")?;
        }
        Ok(())
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
