//! `quorate auth check`: whether somebody may do something, and what decides.

use std::process::ExitCode;

use quorate_core::access::{Identity, Object, Permissions};
use serde_json::json;

use super::typed;
use crate::connect::Global;
use crate::output::{BAD, FAINT, GOOD, NAME};

/// `quorate auth check`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit status is 0 if they may, and 1 if not. Nothing is tried: it is only asked.

Examples:
  quorate auth check me write /app/config
  quorate auth check token:worker call:take recipe:queue
  quorate auth check world:anyone read /"
)]
pub struct Check {
    /// Who: an identity, or `me`; several with + between, for somebody who has them all
    identity: String,
    /// What: `read`, `write`, `create`, `delete`, `admin`, `call`, `call:FUNCTION`, `deploy`, `operate`
    permission: String,
    /// To what: a path, `recipe:NAME`, `recipe:*`, `cluster`
    object: String,
}

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let who = match self.identity.as_str() {
            "me" => None,
            all => {
                let parsed = all.split('+').map(|one| typed(Identity::parse(one)));
                Some(parsed.collect::<anyhow::Result<Vec<_>>>()?)
            }
        };
        let (permission, function) = match self.permission.split_once(':') {
            Some((permission, function)) => (permission, Some(function.to_owned())),
            None => (self.permission.as_str(), None),
        };
        let permission = typed(Permissions::parse(permission))?;
        let object = typed(Object::parse(&self.object))?;
        let ask = async |client: quorate_client::Client| {
            Ok(client.may(who, permission, object, function).await?)
        };
        let verdict = global.with_client(ask).await?;
        let json = || json!({ "allowed": verdict.is_allowed, "decided_by": verdict.decider });
        global.output().show(json, |out| {
            let Self { identity, permission, object } = &self;
            let told = format!("{NAME}{identity}{NAME:#} {permission} {object}");
            let decider = &verdict.decider;
            if verdict.is_allowed {
                writeln!(out, "{GOOD}yes{GOOD:#} {told} {FAINT}({decider}){FAINT:#}")
            } else {
                writeln!(out, "{BAD}no{BAD:#}  {told} {FAINT}({decider}){FAINT:#}")
            }
        })?;
        Ok(if verdict.is_allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
