//! `quorate auth grant`, `revoke` and `default`: changes of rules. They know no znodes.

use std::process::ExitCode;

use clap::ValueEnum;
use quorate_core::access::{AccessChange, Identity, Object, Permissions, Rule, Stance};
use serde_json::json;

use super::typed;
use crate::connect::Global;
use crate::output::{FAINT, NAME};

/// On what, for whom, and what.
#[derive(Debug, clap::Args)]
struct RuleText {
    /// On what: a path, `recipe:NAME`, `recipe:*`, `cluster`
    object: String,
    /// For whom: `x509:SUBJECT`, `token:NAME`, `digest:USER:HASH`, `ip:ADDRESS/BITS`, `world:anyone`
    identity: String,
    /// What: `all` or letters of cdrwa on a path (create, delete, read, write, admin); `call`, `call:FUNCTION`, `deploy` on a
    /// recipe; `operate`, `admin` on the cluster; names with commas between
    permissions: String,
    /// Although nobody could change the rules then, or you could not; for super alone
    #[arg(long)]
    force: bool,
}

impl RuleText {
    fn parse(&self) -> anyhow::Result<(Object, Rule)> {
        let (permissions, function) = match self.permissions.split_once(':') {
            Some((permissions, function)) => (permissions, Some(function.to_owned())),
            None => (self.permissions.as_str(), None),
        };
        let permissions = typed(Permissions::parse(permissions))?;
        let rule = Rule { who: typed(Identity::parse(&self.identity))?, function, permissions };
        Ok((typed(Object::parse(&self.object))?, rule))
    }
}

/// `quorate auth grant`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate auth grant cluster x509:CN=ops operate,admin     # the first rule: who looks after the cluster
  quorate auth grant /app x509:CN=app-owner all
  quorate auth grant /app token:reader r
  quorate auth grant recipe:lock world:anyone call
  quorate auth grant recipe:queue token:worker call:take")]
pub struct Grant {
    #[command(flatten)]
    rule: RuleText,
}

/// `quorate auth revoke`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "When the last rule on an object goes, the rules around it decide again, or the default.

Examples:
  quorate auth revoke /app token:reader r
  quorate auth revoke recipe:queue token:worker call:take"
)]
pub struct Revoke {
    #[command(flatten)]
    rule: RuleText,
}

impl Grant {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let (object, rule) = self.rule.parse()?;
        let told = format!("{object}: {rule}");
        let change = AccessChange::Grant(object, rule);
        apply(global, change, self.rule.force, "granted", &told).await
    }
}

impl Revoke {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let (object, rule) = self.rule.parse()?;
        let told = format!("{object}: {rule}");
        let change = AccessChange::Revoke(object, rule);
        apply(global, change, self.rule.force, "revoked", &told).await
    }
}

/// What holds where there are no rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// Everything is permitted
    Open,
    /// Nothing is permitted
    Deny,
}

/// `quorate auth default`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A switch to deny is refused while you would lose the cluster by it: grant it to yourself first.

Examples:
  quorate auth default deny"
)]
pub struct Default {
    /// What holds
    stance: Word,
    /// Although you could not look after the cluster then; for super alone
    #[arg(long)]
    force: bool,
}

impl Default {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let stance = if self.stance == Word::Deny { Stance::Deny } else { Stance::Open };
        let change = AccessChange::SetStance(stance);
        apply(global, change, self.force, "default", stance.name()).await
    }
}

async fn apply(
    global: &Global,
    change: AccessChange,
    is_forced: bool,
    word: &str,
    told: &str,
) -> anyhow::Result<ExitCode> {
    let make =
        async |client: quorate_client::Client| Ok(client.change_access(change, is_forced).await?);
    let zxid = global.with_client(make).await?;
    let json = || json!({ word: told, "zxid": zxid.0 });
    global.output().show(json, |out| {
        writeln!(out, "{word} {NAME}{told}{NAME:#} {FAINT}(zxid {}){FAINT:#}", zxid.0)
    })?;
    Ok(ExitCode::SUCCESS)
}
