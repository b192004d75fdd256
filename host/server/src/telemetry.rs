//! Where log lines go: standard error, as text for people or JSON for machines. What is logged is decided where it happens.

use std::io::IsTerminal;

use anyhow::Context;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Packets that break QUIC are a stranger's fault. openraft tells its life at info, and warns of votes that have been
/// overtaken, as at each first start.
const QUIET: &str = "quinn_proto=error,quinn=error,openraft=error";

/// Starts logging. `level` is a level, or directives as in `info,quorate_gateway=debug`.
///
/// # Errors
/// For directives that make no sense.
pub fn start(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{level}"))
        .with_context(|| format!("\"{level}\" is no log level: error, warn, info, debug, trace"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging can not be started: {error}"))
}
