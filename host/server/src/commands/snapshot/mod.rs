//! `quorate snapshot ...`: the tree as a file. It does not know what is in the file's blocks.

mod inspect;
mod restore;
mod save;

use std::process::ExitCode;

use quorate_core::ids::{NamespaceId, Term};
use quorate_wire::snapshot::{FORMAT, Summary};
use serde_json::{Value, json};

use crate::connect::Global;

/// `quorate snapshot`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate snapshot save monday.snapshot
  quorate snapshot inspect monday.snapshot
  quorate snapshot restore monday.snapshot --data /var/lib/quorate")]
pub struct Snapshot {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a member's tree to a file, verified while it arrives; writes go on meanwhile
    Save(save::Save),
    /// Verify a snapshot and say what is in it
    Inspect(inspect::Inspect),
    /// Make the data directory of a new cluster of one member from a snapshot
    Restore(restore::Restore),
}

impl Snapshot {
    /// Runs it.
    ///
    /// # Errors
    /// As the command.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Save(save) => save.run(global).await,
            Command::Inspect(inspect) => inspect.run(global),
            Command::Restore(restore) => restore.run(global).await,
        }
    }
}

/// What a sound snapshot is, for machines.
fn described(summary: &Summary) -> Value {
    let Summary { head, meta, level, records, znodes, sessions, recipes, bytes } = summary;
    json!({
        "format": FORMAT,
        "namespace": head.namespace.0,
        "term": head.place.map(|(Term(term), _)| term),
        "index": head.place.map(|(_, index)| index),
        "zxid": meta.zxid.0,
        "feature_level": level.0,
        "time_ms": meta.time.0,
        "digest": digest(meta.digest),
        "znodes": znodes,
        "sessions": sessions,
        "recipes": recipes,
        "records": records,
        "bytes": bytes,
    })
}

fn digest(digest: u128) -> String {
    format!("{digest:032x}")
}

/// `default`, or its number.
fn namespace_name(namespace: NamespaceId) -> String {
    match namespace {
        NamespaceId::DEFAULT => "default".to_owned(),
        NamespaceId(number) => number.to_string(),
    }
}
