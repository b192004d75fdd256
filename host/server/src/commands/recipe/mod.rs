//! `quorate recipe`: its subcommands, and those of them that only ask the service. Building is `build`, uploads are `upload`.

mod build;
mod logs;
mod manifest;
mod new;
mod sdk;
mod test;

pub mod upload;
mod wit;

use std::io::{self, Write};
use std::process::ExitCode;

use quorate_client::History;
use quorate_core::deployment::{Instances, Version};
use serde_json::{Value, json};

use crate::connect::Global;
use crate::output::{FAINT, GOOD, NAME};
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
    Logs(logs::Logs),
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
