//! `quorate quota`: what may be in subtrees. It does not know how that is counted.

use std::io::Write;
use std::process::ExitCode;

use quorate_client::Client;
use quorate_core::query::quota::QuotaUse;
use quorate_core::quota::{Bounds, Quota as Bound};
use serde_json::{Value as Json, json};

use crate::connect::Global;
use crate::failure::Usage;
use crate::output::{FAINT, NAME};

/// `quorate quota`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A quota bounds a subtree: its top, which need not be there, with all below. A subtree may be under several, and \
every one of them holds.
What is there stays. Above a hard bound, what would grow further is refused: with quota-passed, or with
too-many-writes. Above a soft one it goes on, is counted, and the leader's log warns of it. Deletions are always free.
With --root, those at and below the root are listed; others above it hold as well.

Examples:
  quorate quota set /apps/web --znodes 10000 --bytes 64000000 --bytes-soft 48000000
  quorate quota set /apps/batch --writes 50
  quorate quota list
  quorate quota remove /apps/web"
)]
pub struct Quota {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Bound what may be in a subtree, in place of the quota that it has
    Set(Set),
    /// List quotas, and how much of each is used
    #[command(after_help = "Examples:
  quorate quota list")]
    List {},
    /// Remove the quota of a subtree
    #[command(after_help = "Examples:
  quorate quota remove /apps/web")]
    Remove {
        /// The top of the subtree
        path: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate quota set /apps/web --znodes 10000 --bytes 64000000 --bytes-soft 48000000
  quorate quota set /apps/batch --writes 50")]
struct Set {
    /// The top of the subtree
    path: String,
    /// Refuse more znodes than this, the top included
    #[arg(long, value_name = "N")]
    znodes: Option<u64>,
    /// Count creations and settings while there are more znodes than this
    #[arg(long, value_name = "N")]
    znodes_soft: Option<u64>,
    /// Refuse more bytes of data than this
    #[arg(long, value_name = "N")]
    bytes: Option<u64>,
    /// Count creations and settings while there are more bytes of data than this
    #[arg(long, value_name = "N")]
    bytes_soft: Option<u64>,
    /// Refuse more creations and settings a second than this; a second's worth may come at once
    #[arg(long, value_name = "N")]
    writes: Option<u64>,
    /// Count creations and settings above so many a second
    #[arg(long, value_name = "N")]
    writes_soft: Option<u64>,
}

impl Quota {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Set(set) => {
                let (path, quota) = set.quota();
                if quota.is_empty() {
                    let missing = "a quota needs a bound at least: --znodes, --bytes or --writes, or one of their soft ones";
                    return Err(Usage(missing.to_owned()).into());
                }
                let done = async |client: Client| Ok(client.set_quota(&path, Some(quota)).await?);
                global.with_client(done).await?;
                global.output().show(
                    || json!({ "path": path, "quota": bounds_json(&quota) }),
                    |out| writeln!(out, "{NAME}{path}{NAME:#} may have {}", text(&quota)),
                )?;
            }
            Command::Remove { path } => {
                let done = async |client: Client| Ok(client.set_quota(&path, None).await?);
                global.with_client(done).await?;
                global.output().show(
                    || json!({ "path": path, "quota": null }),
                    |out| writeln!(out, "{NAME}{path}{NAME:#} has no quota"),
                )?;
            }
            Command::List {} => {
                let all = global.with_client(all).await?;
                let json = || Json::Array(all.iter().map(use_json).collect());
                global.output().show(json, |out| {
                    if all.is_empty() {
                        writeln!(out, "{FAINT}there are no quotas{FAINT:#}")?;
                    }
                    all.iter().try_for_each(|found| show(found, out))
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Set {
    fn quota(self) -> (String, Bound) {
        let quota = Bound {
            znodes: Bounds { soft: self.znodes_soft, hard: self.znodes },
            bytes: Bounds { soft: self.bytes_soft, hard: self.bytes },
            writes_per_s: Bounds { soft: self.writes_soft, hard: self.writes },
        };
        (self.path, quota)
    }
}

async fn all(client: Client) -> anyhow::Result<Vec<QuotaUse>> {
    let mut all: Vec<QuotaUse> = Vec::new();
    loop {
        let after = all.last().map(|last| last.path.clone());
        let page = client.quotas_page(after).await?;
        all.extend(page.children);
        if !page.has_more {
            return Ok(all);
        }
    }
}

fn show(found: &QuotaUse, out: &mut dyn Write) -> std::io::Result<()> {
    let quota = &found.metered.quota;
    writeln!(out, "{NAME}{}{NAME:#}  {}", found.path, text(quota))?;
    writeln!(
        out,
        "  {FAINT}there {} {}, {}{FAINT:#}{}",
        if found.used.znodes == 1 { "is" } else { "are" },
        counted(found.used.znodes, ["znode", "znodes"]),
        counted(found.used.bytes, ["byte", "bytes"]),
        match found.metered.warned_count {
            0 => String::new(),
            count => {
                format!("; {} above a soft bound", counted(count, ["write", "writes"]))
            }
        }
    )
}

/// The bounds that there are, in words.
fn text(quota: &Bound) -> String {
    let named = [
        (["znode", "znodes"], quota.znodes),
        (["byte", "bytes"], quota.bytes),
        (["write a second", "writes a second"], quota.writes_per_s),
    ];
    let one = |(name, bounds): ([&str; 2], Bounds)| match bounds {
        Bounds { soft: None, hard: None } => None,
        Bounds { soft: None, hard: Some(hard) } => Some(counted(hard, name)),
        Bounds { soft: Some(soft), hard: None } => Some(format!("{} (soft)", counted(soft, name))),
        Bounds { soft: Some(soft), hard: Some(hard) } => {
            Some(format!("{} (soft {soft})", counted(hard, name)))
        }
    };
    named.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
}

/// So many of them: what one is called, and what several are.
fn counted(count: u64, [one, several]: [&str; 2]) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

fn bounds_json(quota: &Bound) -> Json {
    let one = |bounds: Bounds| json!({ "soft": bounds.soft, "hard": bounds.hard });
    json!({
        "znodes": one(quota.znodes),
        "bytes": one(quota.bytes),
        "writes_per_s": one(quota.writes_per_s),
    })
}

fn use_json(found: &QuotaUse) -> Json {
    json!({
        "path": found.path,
        "znodes": found.used.znodes,
        "bytes": found.used.bytes,
        "warned": found.metered.warned_count,
        "quota": bounds_json(&found.metered.quota),
    })
}

#[cfg(test)]
mod tests {
    use quorate_core::quota::{Metered, Used};

    use super::*;

    fn shown(used: Used, warned_count: u64, bound: u64) -> String {
        let both = Bounds { soft: Some(bound), hard: Some(bound) };
        let quota = Bound { znodes: both, bytes: both, writes_per_s: both };
        let metered = Metered { quota, warned_count, ..Metered::default() };
        let mut out = Vec::new();
        let found = QuotaUse { path: "/a".to_owned(), used, metered };
        show(&found, &mut out).expect("memory takes all");
        String::from_utf8(anstream::adapter::strip_bytes(&out).into_vec()).expect("text")
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!(
            shown(Used { znodes: 1, bytes: 1 }, 1, 1),
            "/a  1 znode (soft 1), 1 byte (soft 1), 1 write a second (soft 1)\n  there is 1 znode, 1 byte; 1 write above a soft bound\n"
        );
        assert_eq!(
            shown(Used { znodes: 0, bytes: 2 }, 0, 2),
            "/a  2 znodes (soft 2), 2 bytes (soft 2), 2 writes a second (soft 2)\n  there are 0 znodes, 2 bytes\n"
        );
    }
}
