//! `quorate auth whoami`. It does not know how identities are proved.

use std::process::ExitCode;

use quorate_client::Whoami as Found;
use quorate_core::access::Held;
use serde_json::{Value, json};

use crate::connect::Global;
use crate::duration;
use crate::output::{BAD, FAINT, NAME};

/// `quorate auth whoami`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate auth whoami
  quorate auth whoami --cert ann/client.pem --key ann/client-key.pem
  quorate auth whoami --user ann:password.txt --output json | jq -r '.identities[].identity'")]
pub struct Whoami {}

impl Whoami {
    /// Runs it.
    ///
    /// # Errors
    /// If no member can be reached, or what is shown is not accepted.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let found = global.with_client(async |client| Ok(client.whoami().await?)).await?;
        let Found { principal, identities, address, time } = &found;
        let address = address.map(|address| address.to_string());
        let json = || {
            let identities: Vec<Value> = identities
                .iter()
                .map(|held| {
                    json!({
                        "identity": held.identity.to_string(),
                        "expires_ms": held.expires.map(|at| at.0),
                        "expired": !held.is_at(*time),
                    })
                })
                .collect();
            json!({
                "principal": principal,
                "identities": identities,
                "address": address,
            })
        };
        global.output().show(json, |out| {
            let shown = if principal.is_empty() { "(anonymous)" } else { principal };
            writeln!(out, "principal   {NAME}{shown}{NAME:#}")?;
            for (at, held) in identities.iter().enumerate() {
                let head = if at == 0 { "identities" } else { "" };
                write!(out, "{head:<12}{}", held.identity)?;
                match held {
                    Held { expires: None, .. } => {}
                    Held { expires: Some(_), .. } if !held.is_at(*time) => {
                        write!(out, "  {BAD}expired{BAD:#}")?;
                    }
                    Held { expires: Some(at), .. } => {
                        write!(out, "  {FAINT}until {}{FAINT:#}", duration::moment(at.0))?;
                    }
                }
                writeln!(out)?;
            }
            writeln!(out, "address     {}", address.as_deref().unwrap_or("unknown"))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
