//! `quorate auth list`: the rules that there are.

use std::process::ExitCode;

use quorate_core::access::Object;
use serde_json::json;

use super::typed;
use crate::connect::Global;
use crate::output::{FAINT, NAME};

/// `quorate auth list`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate auth list
  quorate auth list /app
  quorate auth list recipe:lock --output json")]
pub struct List {
    /// Only the rules on just this: a path, `recipe:NAME`, `recipe:*`, `cluster`
    object: Option<String>,
}

impl List {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if self.object.is_none() {
            global.of_whole_tree("all rules are")?;
        }
        let object = self.object.as_deref().map(|text| typed(Object::parse(text))).transpose()?;
        let look = async |client: quorate_client::Client| {
            Ok(match object {
                Some(object) => client.rules_on(object).await?,
                None => client.rules().await?,
            })
        };
        let all = global.with_client(look).await?;
        let json = || {
            let rules = all.rules.iter().flat_map(|(object, rules)| {
                rules.all().iter().map(|rule| {
                    json!({
                        "object": object.to_string(),
                        "identity": rule.who.to_string(),
                        "permissions": rule.permissions.words(),
                        "function": rule.function,
                    })
                })
            });
            json!({ "default": all.stance.name(), "rules": rules.collect::<Vec<_>>() })
        };
        global.output().show(json, |out| {
            for (object, rules) in &all.rules {
                for rule in rules.all() {
                    writeln!(out, "{NAME}{object}{NAME:#}  {rule}")?;
                }
            }
            writeln!(out, "{FAINT}where nothing is said: {}{FAINT:#}", all.stance.name())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
