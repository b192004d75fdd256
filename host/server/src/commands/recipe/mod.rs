//! `quorate recipe`: its subcommands, and those of them that only ask the service. Building is `build`, uploads are `upload`.

mod build;
mod manifest;
mod new;
mod test;

pub mod upload;
mod wit;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use quorate_client::{Client, History, LogLine};
use quorate_core::deployment::{Instances, Version};
use serde_json::{Value, json};

use crate::connect::Global;
use crate::output::{FAINT, GOOD, NAME, Output};
use crate::signals::Signals;
use crate::{duration, json};

/// `quorate recipe`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate recipe new my-semaphore && cd my-semaphore
  quorate recipe build && quorate recipe test
  quorate recipe deploy
  quorate recipe inspect my-semaphore
  quorate recipe history my-semaphore
  quorate recipe rollback my-semaphore 1")]
pub struct Recipe {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make the crate of a new recipe
    New(new::New),
    /// Build the recipe in a directory
    Build(build::Build),
    /// Run the scenarios of the recipe in a directory
    Test(test::Test),
    /// Put a recipe into service
    Deploy(upload::Deploy),
    /// List the recipes in service
    List(List),
    /// Show what a recipe's functions take and give
    Inspect(Inspect),
    /// Show the versions of a recipe
    History(OfRecipe),
    /// Put an earlier version back into service
    Rollback(Rollback),
    /// Take a recipe out of service; its versions and its data stay
    Remove(OfRecipe),
    /// Show what a recipe has logged on the member that is asked
    Logs(Logs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  quorate recipe list\n  quorate recipe list --output json | jq -r '.recipes[].name'"
)]
struct List {}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  quorate recipe inspect lock\n  quorate recipe inspect counter --output json"
)]
struct Inspect {
    /// The recipe
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  quorate recipe history lock\n  quorate recipe remove my-semaphore"
)]
struct OfRecipe {
    /// The recipe
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  quorate recipe rollback my-semaphore 1")]
struct Rollback {
    /// The recipe
    name: String,
    /// One of its versions
    version: u64,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  quorate recipe logs my-semaphore\n  quorate recipe logs my-semaphore --follow"
)]
struct Logs {
    /// The recipe
    name: String,
    /// At most so many lines, the last ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Go on with new lines until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

/// Between two looks at a log that is followed.
const FOLLOW: Duration = Duration::from_millis(500);

impl Recipe {
    /// Runs it.
    ///
    /// # Errors
    /// What the service, the compiler or the disk refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let output = global.output();
        match self.command {
            Command::New(new) => new.run(output)?,
            Command::Build(build) => build.run(output)?,
            Command::Test(test) => return test.run(output),
            Command::Deploy(deploy) => deploy.run(global).await?,
            Command::List(List {}) => list(global).await?,
            Command::Inspect(Inspect { name }) => inspect(global, &name).await?,
            Command::History(OfRecipe { name }) => history(global, &name).await?,
            Command::Rollback(Rollback { name, version }) => {
                rollback(global, &name, version).await?
            }
            Command::Remove(OfRecipe { name }) => {
                global.with_client(async |client| Ok(client.remove_recipe(&name).await?)).await?;
                output.show(
                    || json!({ "name": name, "removed": true }),
                    |out| {
                        writeln!(
                            out,
                            "{NAME}{name}{NAME:#} is out of service; its versions and data stay"
                        )
                    },
                )?;
            }
            Command::Logs(logs) => logs.run(global).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(global: &Global) -> anyhow::Result<()> {
    let lines = global.with_client(async |client| Ok(client.list_recipes().await?)).await?;
    let json = || {
        let recipes = lines.iter().map(|line| json!({ "name": line.name, "version": line.active, "changed_zxid": line.changed.0 }));
        json!({ "recipes": recipes.collect::<Vec<_>>() })
    };
    global.output().show(json, |out| {
        lines.iter().try_for_each(|line| {
            write!(out, "{NAME}{:<24}{NAME:#} ", line.name)?;
            match line.active {
                Some(version) => writeln!(
                    out,
                    "version {version:<5} {FAINT}since zxid {}{FAINT:#}",
                    line.changed.0
                ),
                None => {
                    writeln!(out, "{FAINT}out of service since zxid {}{FAINT:#}", line.changed.0)
                }
            }
        })
    })
}

async fn inspect(global: &Global, name: &str) -> anyhow::Result<()> {
    let types =
        global.with_client(async |client| Ok(client.recipe(name).interface().await?)).await?;
    let json = || {
        let interfaces = types.interfaces.iter().map(|interface| {
            let functions = interface.functions.iter().map(|function| {
                let parameters = function
                    .parameters
                    .iter()
                    .map(|(name, kind)| json!({ "name": name, "type": kind.to_string() }));
                json!({
                    "name": function.name,
                    "parameters": parameters.collect::<Vec<_>>(),
                    "result": function.result.as_ref().map(ToString::to_string),
                    "text": function.to_string(),
                })
            });
            json!({ "name": interface.name, "functions": functions.collect::<Vec<_>>() })
        });
        json!({ "name": name, "version": types.version, "interfaces": interfaces.collect::<Vec<_>>() })
    };
    global.output().show(json, |out| {
        writeln!(out, "{FAINT}// {name}, version {}{FAINT:#}", types.version)?;
        types.interfaces.iter().try_for_each(|interface| writeln!(out, "{}", wit::show(interface)))
    })
}

async fn history(global: &Global, name: &str) -> anyhow::Result<()> {
    let History { active, versions } =
        global.with_client(async |client| Ok(client.history(name).await?)).await?;
    let json = || {
        let versions = versions.iter().map(|version| version_json(version, active));
        json!({ "name": name, "active": active, "versions": versions.collect::<Vec<_>>() })
    };
    global.output().show(json, |out| {
        versions.iter().try_for_each(|version| show_version(out, version, active))
    })
}

fn version_json(version: &Version, active: Option<u64>) -> Value {
    json!({
        "version": version.number,
        "active": active == Some(version.number),
        "component": json::hex(&version.component),
        "root": version.manifest.root.as_str(),
        "instances": if version.manifest.instances == Instances::Reused { "reused" } else { "fresh" },
        "principal": version.principal,
        "deployed_ms": version.deployed.0,
    })
}

fn show_version(out: &mut dyn Write, version: &Version, active: Option<u64>) -> io::Result<()> {
    let digest = json::hex(&version.component);
    let is_active = active == Some(version.number);
    let state = if is_active { "active" } else { "" };
    writeln!(
        out,
        "version {:<5} {GOOD}{state:<7}{GOOD:#} {}  {FAINT}component {}  root {}{FAINT:#}",
        version.number,
        duration::moment(version.deployed.0),
        digest.get(..12).unwrap_or(&digest),
        version.manifest.root.as_str(),
    )
}

async fn rollback(global: &Global, name: &str, version: u64) -> anyhow::Result<()> {
    let active = global
        .with_client(async |client| upload::until_compiled(|| client.rollback(name, version)).await)
        .await?;
    global.output().show(
        || json!({ "name": name, "version": active }),
        |out| writeln!(out, "{NAME}{name}{NAME:#} is at version {active}"),
    )
}

impl Logs {
    async fn run(self, global: &Global) -> anyhow::Result<()> {
        let output = global.output();
        global
            .with_client(async |client| {
                let lines = client.logs(&self.name, self.limit).await?;
                show_lines(output, &lines)?;
                if self.follow {
                    let mut signals = Signals::take()?;
                    tokio::select! {
                        followed = self.follow(&client, lines, output) => followed?,
                        _ = signals.next() => {}
                    }
                }
                Ok(())
            })
            .await
    }

    /// Looks again and again. The log is a ring in the member's memory; lines that come faster than we look are missed.
    async fn follow(
        &self,
        client: &Client,
        mut seen: Vec<LogLine>,
        output: Output,
    ) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(FOLLOW).await;
            let lines = client.logs(&self.name, self.limit).await?;
            show_lines(output, news(&seen, &lines))?;
            seen = lines;
        }
    }
}

/// What of `now` comes behind all of `seen`: the longest end of `seen` that `now` begins with is known.
fn news<'a>(seen: &[LogLine], now: &'a [LogLine]) -> &'a [LogLine] {
    let known = (0..=seen.len().min(now.len())).rev().find(|&count| seen.ends_with(&now[..count]));
    &now[known.unwrap_or(0)..]
}

fn show_lines(output: Output, lines: &[LogLine]) -> anyhow::Result<()> {
    lines.iter().try_for_each(|line| {
        let level = match line.level {
            0 => "debug",
            1 => "info",
            2 => "warn",
            _ => "error",
        };
        let json = || json!({ "time_ms": line.time_ms, "zxid": line.zxid.0, "level": level, "message": line.message });
        output.show(json, |out| {
            let moment = duration::moment(line.time_ms);
            writeln!(out, "{FAINT}{moment}{FAINT:#} {level:<5} {}", line.message.escape_debug())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::ids::Zxid;

    fn lines(numbers: &[u64]) -> Vec<LogLine> {
        let line = |&number| LogLine {
            time_ms: number,
            zxid: Zxid(number),
            level: 1,
            message: String::new(),
        };
        numbers.iter().map(line).collect()
    }

    #[test]
    fn a_followed_log_shows_each_line_once() {
        assert_eq!(news(&lines(&[1, 2, 3]), &lines(&[2, 3, 4])), lines(&[4]));
        assert_eq!(news(&lines(&[1, 2]), &lines(&[1, 2])), lines(&[]));
        assert_eq!(news(&lines(&[]), &lines(&[1])), lines(&[1]));
        assert_eq!(news(&lines(&[1, 2]), &lines(&[7, 8])), lines(&[7, 8]));
    }
}
