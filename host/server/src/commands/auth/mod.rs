//! `quorate auth`: who somebody is for the service. It does not know how that is proved, nor what follows from it.

mod token;
mod whoami;

use std::process::ExitCode;

use crate::connect::Global;

/// `quorate auth`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate auth whoami --token-file ci.token
  quorate auth token ci --valid 8h --authority authority")]
pub struct Auth {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show who you are for the service
    Whoami(whoami::Whoami),
    /// Make a token: a name, for a time, signed by an authority
    Token(token::Token),
}

impl Auth {
    /// Runs it.
    ///
    /// # Errors
    /// As its subcommands.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Whoami(whoami) => whoami.run(global).await,
            Command::Token(token) => token.run(global),
        }
    }
}
