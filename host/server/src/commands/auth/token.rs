//! `quorate auth token`: a signed token, printed. It asks no server, and does not know how tokens are signed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quorate_net::{IdentityError, Token as Made, issue};
use serde_json::json;

use crate::connect::Global;
use crate::duration;
use crate::failure::{Usage, hinted};

/// `quorate auth token`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A token can not be taken back: give it a short time. Whoever has it is who it names, so keep it as a password.

Examples:
  quorate auth token ci --valid 8h --authority authority > ci.token
  quorate auth token ann --valid 30m
  quorate auth token ci --valid 1h --authority authority --cluster 6a5f0c3e9b1d4f7788c2a1b0d9e8f706"
)]
pub struct Token {
    /// Whose it is: identity token:NAME
    #[arg(value_name = "NAME")]
    name: String,
    /// How long it is valid; 400 days at most
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    valid: Duration,
    /// Directory of the authority that signs: its ca.pem and ca-key.pem [default: where the certificate of --ca is]
    #[arg(long, value_name = "DIR")]
    authority: Option<PathBuf>,
    /// Only for the cluster with this id, as `quorate cluster status` shows it
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
}

impl Token {
    /// Runs it.
    ///
    /// # Errors
    /// If the authority's files can not be used, or no token may be so.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let authority = match self.authority {
            Some(authority) => authority,
            None => global.authority_directory()?,
        };
        let not_before = SystemTime::now();
        let expires = not_before.checked_add(self.valid).ok_or_else(|| {
            Usage("--valid is too long: a token is valid for 400 days at most".to_owned())
        })?;
        let made = Made { name: self.name, not_before, expires, audience: self.cluster };
        let token = quorate_net::token::issue(&authority, &made).map_err(advised)?;
        let expires_ms = expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let expires_ms = u64::try_from(expires_ms).unwrap_or(u64::MAX) / 1000 * 1000;
        let output = global.output();
        output.note(format_args!("valid until {}", duration::moment(expires_ms)));
        output.show(
            || {
                let identity = format!("token:{}", made.name);
                json!({ "token": token, "identity": identity, "expires_ms": expires_ms })
            },
            |out| writeln!(out, "{token}"),
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What can be done about it.
fn advised(error: IdentityError) -> anyhow::Error {
    match &error {
        IdentityError::NotMade(_) => Usage(error.to_string()).into(),
        IdentityError::Unreadable { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
            let hint = format!(
                "--authority is a directory with {} and {}, as `quorate cert authority --out DIR` makes it.",
                issue::AUTHORITY_FILE,
                issue::AUTHORITY_KEY_FILE
            );
            hinted(error, hint)
        }
        _ => error.into(),
    }
}
