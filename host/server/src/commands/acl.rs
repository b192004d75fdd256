//! `quorate acl`: the access list of one znode. Rules on subtrees are `quorate auth`'s.

use std::io::{self, Write};
use std::process::ExitCode;

use quorate_core::access::{Acl as AccessList, AclEntry};
use quorate_core::znode::Stat;
use serde_json::json;

use super::auth::typed;
use crate::connect::Global;
use crate::failure::Usage;
use crate::output::{FAINT, NAME};

/// `quorate acl`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate acl get /app
  quorate acl set /app auth::cdrwa world:anyone:r")]
pub struct Acl {
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show a znode's own access list
    Get(Get),
    /// Set a znode's own access list, or take it away
    Set(Set),
}

/// `quorate acl get`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate acl get /app")]
struct Get {
    /// Which
    path: String,
}

/// `quorate acl set`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate acl set /app x509:CN=owner:cdrwa world:anyone:r
  quorate acl set /app auth::cdrwa          # those identities that you have
  quorate acl set /app --none               # rules decide again")]
struct Set {
    /// Which
    path: String,
    /// Its lines: SCHEME:ID:PERMISSIONS, of cdrwa (create, delete, read, write, admin)
    #[arg(required_unless_present = "none", value_name = "ENTRY")]
    entries: Vec<String>,
    /// No list of its own: rules on the subtree decide, or the default
    #[arg(long, conflicts_with = "entries")]
    none: bool,
    /// Only if the list has this version
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Although nobody could change the list then; for super alone
    #[arg(long)]
    force: bool,
}

impl Acl {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Get(get) => get.run(global).await,
            Command::Set(set) => set.run(global).await,
        }
    }
}

/// A list from its lines.
pub(super) fn parse(lines: &[String]) -> anyhow::Result<AccessList> {
    let entries = lines.iter().map(|line| {
        typed(AclEntry::parse(line)).map_err(|error| Usage(format!("{line}: {error}")).into())
    });
    Ok(AccessList { entries: entries.collect::<anyhow::Result<_>>()? })
}

impl Get {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let look = async |client: quorate_client::Client| Ok(client.acl(&self.path).await?);
        let (acl, stat) = global.with_client(look).await?;
        show(global, &self.path, acl.as_ref(), &stat)
    }
}

impl Set {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let acl = if self.none { None } else { Some(parse(&self.entries)?) };
        let set = async |client: quorate_client::Client| {
            client.set_acl(&self.path, acl, self.version, self.force).await?;
            Ok(client.acl(&self.path).await?)
        };
        let (acl, stat) = global.with_client(set).await?;
        show(global, &self.path, acl.as_ref(), &stat)
    }
}

fn show(
    global: &Global,
    path: &str,
    acl: Option<&AccessList>,
    stat: &Stat,
) -> anyhow::Result<ExitCode> {
    let lines =
        || acl.map(|acl| acl.entries.iter().map(ToString::to_string).collect::<Vec<String>>());
    let json = || json!({ "path": path, "acl": lines(), "version": stat.aversion });
    let human = |out: &mut dyn Write| -> io::Result<()> {
        match lines() {
            None => writeln!(out, "{NAME}{path}{NAME:#} has no list of its own: rules decide")?,
            Some(lines) => lines.iter().try_for_each(|line| writeln!(out, "{line}"))?,
        }
        writeln!(out, "{FAINT}version {}{FAINT:#}", stat.aversion)
    };
    global.output().show(json, human)?;
    Ok(ExitCode::SUCCESS)
}
