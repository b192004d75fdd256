//! `quorate status`. It does not know how the figures are made.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::connect::Global;
use crate::duration;
use crate::output::{FAINT, NAME};

/// `quorate status`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate status
  quorate status --output json | jq .zxid")]
pub struct Status {}

impl Status {
    /// Runs it.
    ///
    /// # Errors
    /// If no member can be reached.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let status = global.with_client(async |client| Ok(client.status().await?)).await?;
        let json = || {
            json!({
                "member": status.member,
                "version": status.version,
                "role": status.role,
                "term": status.term.0,
                "epoch": status.epoch.0,
                "zxid": status.zxid.0,
                "applied_index": status.applied_index,
                "digest": format!("{:032x}", status.digest),
                "sessions": status.sessions,
                "cpu_us": status.cpu_us,
                "memory_bytes": status.memory_bytes,
                "uptime_ms": status.uptime_ms,
                "feature_level": status.level.0,
                "cluster_level": status.cluster_level.0,
            })
        };
        global.output().show(json, |out| {
            let role = &status.role;
            writeln!(
                out,
                "member {}   {NAME}{role}{NAME:#} in term {}",
                status.member, status.term.0
            )?;
            writeln!(out, "version    {}", status.version)?;
            let (level, knows) = (status.cluster_level, status.level);
            writeln!(out, "level      {level}  {FAINT}this member knows {knows}{FAINT:#}")?;
            writeln!(
                out,
                "zxid       {}  {FAINT}digest {:032x}{FAINT:#}",
                status.zxid.0, status.digest
            )?;
            writeln!(out, "log        applied to {}", status.applied_index)?;
            writeln!(out, "sessions   {}", status.sessions)?;
            writeln!(out, "memory     {:.1} MiB", status.memory_bytes as f64 / (1024.0 * 1024.0))?;
            writeln!(out, "cpu        {}", duration::show(Duration::from_micros(status.cpu_us)))?;
            writeln!(out, "uptime     {}", duration::show(Duration::from_millis(status.uptime_ms)))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
