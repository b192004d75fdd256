//! `quorate cluster`: who belongs to the cluster, and how it is. What the commands do is the members'.

use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;
use quorate_client::Status;
use quorate_client::admin::{self, ClusterStatus, Command, MemberLine, Outcome};
use serde_json::{Value, json};

use super::levels::Levels;
use crate::connect::Global;
use crate::duration;
use crate::failure::Usage;
use crate::output::{BAD, FAINT, GOOD, NAME};

/// `quorate cluster`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate cluster status
  quorate cluster add 4=four.example:4747 && quorate cluster promote 4
  quorate cluster remove 2")]
pub struct Cluster {
    #[command(subcommand)]
    command: Change,
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Make a new cluster of members that wait for one
    #[command(
        after_help = "Each member runs with a number of its own (`member = N` in its configuration), on an empty directory.
The command is given to one of them; the addresses are those at which the members reach each other.

Examples:
  quorate cluster init 1=one.example:4747 2=two.example:4747 3=three.example:4747 --connect one.example:4747 --ca ca.pem"
    )]
    Init {
        /// Number and address of each member
        #[arg(required = true, value_name = "N=HOST:PORT", value_parser = member)]
        members: Vec<(u64, String)>,
    },
    /// Show every member: role, log, lag, digest, disk
    #[command(
        after_help = "Also answered by a member that has no leader, or waits for a cluster. Exit code 1 if a member does not answer,
no leader is known, or digests differ.

Examples:
  quorate cluster status
  quorate cluster status --output json | jq '.members[] | select(.error)'"
    )]
    Status,
    /// Add a running member that waits; it gets the log, and does not vote before it is promoted
    #[command(after_help = "Give a replacement a number that was never used.

Examples:
  quorate cluster add 4=four.example:4747
  quorate cluster add 4=four.example:4747 && quorate cluster promote 4")]
    Add {
        /// Number and address of the member
        #[arg(value_name = "N=HOST:PORT", value_parser = member)]
        member: (u64, String),
    },
    /// Make a member a voter, once it has caught up
    #[command(after_help = "Examples:
  quorate cluster promote 4")]
    Promote {
        /// Number of the member
        #[arg(value_name = "N")]
        member: u64,
        /// How long to wait until it has caught up
        #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "60s")]
        wait: Duration,
    },
    /// Take a member out, alive or dead
    #[command(
        after_help = "Refused if too few of the other voters are alive. A member that was removed can be ended, and its directory
deleted; its number is not used again.

Examples:
  quorate cluster remove 2"
    )]
    Remove {
        /// Number of the member
        #[arg(value_name = "N")]
        member: u64,
    },
    /// Hand the leadership to another voter
    #[command(after_help = "Examples:
  quorate cluster transfer-leader 3")]
    TransferLeader {
        /// Number of the member
        #[arg(value_name = "N")]
        to: u64,
    },
}

fn member(text: &str) -> Result<(u64, String), String> {
    let form = || format!("{text:?} is not a number and an address, like 4=four.example:4747");
    let (number, address) = text.split_once('=').ok_or_else(form)?;
    let number: u64 = number.parse().map_err(|_| form())?;
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if number == 0 || port.is_none() {
        return Err(form());
    }
    Ok((number, address.to_owned()))
}

/// How often a promotion is tried while the member catches up.
const RETRY_EVERY: Duration = Duration::from_millis(500);

impl Cluster {
    /// Runs it.
    ///
    /// # Errors
    /// If no member can be reached, or the cluster refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let done = |what: String| {
            global.output().show(|| json!({ "done": what }), |out| writeln!(out, "{what}"))
        };
        match self.command {
            Change::Status => return status(global).await,
            Change::Init { members } => {
                let names: Vec<String> = members.iter().map(|(n, _)| n.to_string()).collect();
                give(global, Command::Initialize { members }).await?;
                done(format!("a new cluster of the members {}", names.join(", ")))?;
            }
            Change::Add { member: (member, address) } => {
                give(global, Command::Add { member, address }).await?;
                done(format!(
                    "member {member} gets the log; `quorate cluster promote {member}` lets it vote"
                ))?;
            }
            Change::Promote { member, wait } => {
                promote(global, member, wait).await?;
                done(format!("member {member} votes"))?;
            }
            Change::Remove { member } => {
                give(global, Command::Remove { member }).await?;
                done(format!("member {member} belongs to the cluster no more"))?;
            }
            Change::TransferLeader { to } => {
                give(global, Command::TransferLeader { to }).await?;
                done(format!("member {to} has been asked to lead, and another than before leads"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn give(global: &Global, command: Command) -> anyhow::Result<Outcome> {
    Ok(admin::command(global.options()?, command).await?)
}

/// A member that has just been added needs a while for the log.
async fn promote(global: &Global, member: u64, wait: Duration) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + wait;
    let mut is_told = false;
    loop {
        match admin::command(global.options()?, Command::Promote { member }).await {
            Ok(_) => return Ok(()),
            Err(admin::AdminError::Refused(refusal))
                if refusal.code == quorate_core::error::ErrorCode::NotCaughtUp
                    && tokio::time::Instant::now() < until =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    global
                        .output()
                        .say(format_args!("{FAINT}waiting: {}{FAINT:#}", refusal.message));
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn status(global: &Global) -> anyhow::Result<ExitCode> {
    let Outcome::Status(status) = give(global, Command::Status).await? else {
        anyhow::bail!(Usage("the member did not say how the cluster is".to_owned()));
    };
    let worries = worries(&status);
    global
        .output()
        .show(|| as_json(&status, &worries), |out| write!(out, "{}", Table(&status, &worries)))?;
    Ok(if worries.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a person should know at once.
fn worries(status: &ClusterStatus) -> Vec<String> {
    let mut worries = Vec::new();
    if status.cluster.is_none() {
        worries.push(format!(
            "member {} waits for a cluster: `quorate cluster init`, or `quorate cluster add` at one",
            status.asked
        ));
    } else if status.leader.is_none() {
        worries.push("no leader is known: nothing can be written".to_owned());
    }
    if !status.trouble.is_empty() {
        worries.push(format!("member {} says: {}", status.asked, status.trouble));
    }
    if status.is_changing {
        worries.push("a change of the voters is under way".to_owned());
    }
    for line in &status.members {
        if let Err(why) = &line.status {
            worries.push(format!("member {} does not answer: {why}", line.member));
        }
    }
    let voters = status.members.iter().filter(|line| line.is_voter).count();
    let alive = status.members.iter().filter(|line| line.is_voter && line.status.is_ok()).count();
    let needed = voters / 2 + 1;
    if voters > 0 && alive < needed {
        worries.push(format!("{alive} of {voters} voters answer; {needed} are needed"));
    } else if voters > 1 && alive == needed {
        worries.push(format!("{alive} of {voters} voters answer: one more loss stops the cluster"));
    }
    worries.extend(divergence(status));
    worries
}

/// Members that stand at the same transaction must have the same digest.
fn divergence(status: &ClusterStatus) -> Option<String> {
    let found: Vec<&Status> =
        status.members.iter().filter_map(|line| line.status.as_ref().ok()).collect();
    let (one, other) = found.iter().enumerate().find_map(|(at, one)| {
        let rest = found.get(at + 1..)?;
        let other =
            rest.iter().find(|other| other.zxid == one.zxid && other.digest != one.digest)?;
        Some((one, other))
    })?;
    Some(format!(
        "members {} and {} differ at zxid {}: their digests are not the same",
        one.member, other.member, one.zxid.0
    ))
}

fn as_json(status: &ClusterStatus, worries: &[String]) -> Value {
    let members: Vec<Value> = status.members.iter().map(member_json).collect();
    json!({
        "cluster": status.cluster.map(hex),
        "asked": status.asked,
        "leader": status.leader,
        "changing": status.is_changing,
        "level": Levels::of(status).map(|levels| levels.as_json()),
        "worries": worries,
        "members": members,
    })
}

fn member_json(line: &MemberLine) -> Value {
    let mut value = json!({
        "member": line.member,
        "address": line.address,
        "voter": line.is_voter,
    });
    match &line.status {
        Err(why) => value["error"] = json!(why),
        Ok(status) => {
            value["status"] = json!({
                "role": status.role,
                "version": status.version,
                "term": status.term.0,
                "epoch": status.epoch.0,
                "last_index": status.last_index,
                "committed_index": status.committed_index,
                "applied_index": status.applied_index,
                "zxid": status.zxid.0,
                "digest": format!("{:032x}", status.digest),
                "sessions": status.sessions,
                "disk_free_bytes": status.disk_free_bytes,
                "memory_bytes": status.memory_bytes,
                "uptime_ms": status.uptime_ms,
                "feature_level": status.level.0,
                "cluster_level": status.cluster_level.0,
            });
        }
    }
    value
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The table for people.
struct Table<'a>(&'a ClusterStatus, &'a [String]);

const HEADS: [&str; 12] = [
    "member",
    "role",
    "term",
    "log",
    "applied",
    "lag",
    "zxid",
    "digest",
    "sessions",
    "disk free",
    "level",
    "version",
];

impl std::fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(status, worries) = self;
        let cluster = status.cluster.map_or_else(|| "none".to_owned(), hex);
        writeln!(f, "cluster {NAME}{cluster}{NAME:#}, seen from member {}", status.asked)?;
        let last = status
            .members
            .iter()
            .filter_map(|line| line.status.as_ref().ok())
            .map(|found| found.last_index)
            .max()
            .unwrap_or(0);
        let rows: Vec<(Style, Vec<String>)> =
            status.members.iter().map(|line| row(line, status.leader, last)).collect();
        let mut widths = HEADS.map(str::len);
        for (_, row) in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        writeln!(f, "{FAINT}{}{FAINT:#}", line(&HEADS.map(str::to_owned)))?;
        for ((style, row), found) in rows.iter().zip(&status.members) {
            writeln!(f, "{style}{}{style:#}", line(row))?;
            if let Err(why) = &found.status {
                writeln!(f, "{FAINT}        no answer at {}: {why}{FAINT:#}", found.address)?;
            }
        }
        if let Some(levels) = Levels::of(status) {
            writeln!(f, "{levels}")?;
        }
        for worry in *worries {
            writeln!(f, "{BAD}!{BAD:#} {worry}")?;
        }
        Ok(())
    }
}

fn row(line: &MemberLine, leader: Option<u64>, last: u64) -> (Style, Vec<String>) {
    let member = line.member.to_string();
    let Ok(status) = &line.status else {
        let role = if line.is_voter { "voter?" } else { "learner?" };
        return (BAD, vec![member, role.to_owned()]);
    };
    let style = if leader == Some(line.member) { GOOD } else { Style::new() };
    let digest = format!("{:032x}", status.digest);
    let gib = status.disk_free_bytes as f64 / f64::from(1 << 30);
    let version = status.version.trim_start_matches("quorate/").to_owned();
    let row = vec![
        member,
        status.role.clone(),
        status.term.0.to_string(),
        status.last_index.to_string(),
        status.applied_index.to_string(),
        last.saturating_sub(status.applied_index).to_string(),
        status.zxid.0.to_string(),
        digest[..8].to_owned(),
        status.sessions.to_string(),
        format!("{gib:.1} GiB"),
        status.level.to_string(),
        version,
    ];
    (style, row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_a_number_and_an_address() {
        assert_eq!(member("4=four.example:4747"), Ok((4, "four.example:4747".to_owned())));
        assert_eq!(member("4=[2001:db8::4]:47"), Ok((4, "[2001:db8::4]:47".to_owned())));
        for bad in ["4", "four.example:4747", "0=a:1", "x=a:1", "4=a", "4=a:b", "4=a:70000"] {
            assert!(member(bad).is_err(), "{bad}");
        }
    }
}
