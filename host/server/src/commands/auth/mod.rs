//! `quorate auth`: who somebody is for the service, and rules on subtrees, recipes and the cluster. Access lists of znodes are
//! `quorate acl`'s.

mod check;
mod list;
mod rules;
mod token;
mod whoami;

use std::process::ExitCode;

use quorate_core::error::Refusal;

use crate::connect::Global;
use crate::failure::Usage;

/// `quorate auth`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --root /app a path is below that, also in what is shown; recipes and the cluster are as ever. All rules are not listed
then: those above the root decide below it, too.

Examples:
  quorate auth whoami --token-file ci.token
  quorate auth token ci --valid 8h --authority authority
  quorate auth grant /apps/web token:ci rw
  quorate auth check me write /apps/web
  quorate auth list"
)]
pub struct Auth {
    #[command(subcommand)]
    command: Command,
}

/// What can be done.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show who you are for the service
    Whoami(whoami::Whoami),
    /// Make a token: a name, for a time, signed by an authority
    Token(token::Token),
    /// Permit something on a subtree, a recipe or the cluster
    Grant(rules::Grant),
    /// Take back what was permitted
    Revoke(rules::Revoke),
    /// Say what holds where there are no rules: open or deny
    Default(rules::Default),
    /// Show the rules
    List(list::List),
    /// Say whether somebody may do something, and which rule decides
    Check(check::Check),
}

impl Auth {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Whoami(whoami) => whoami.run(global).await,
            Command::Token(token) => token.run(global),
            Command::Grant(grant) => grant.run(global).await,
            Command::Revoke(revoke) => revoke.run(global).await,
            Command::Default(default) => default.run(global).await,
            Command::List(list) => list.run(global).await,
            Command::Check(check) => check.run(global).await,
        }
    }
}

/// What was typed and means nothing is told like any other wrong usage.
pub(super) fn typed<T>(parsed: Result<T, Refusal>) -> anyhow::Result<T> {
    Ok(parsed.map_err(|refusal| Usage(refusal.message))?)
}
