//! `quorate call`: one function of a recipe, with arguments and result as WAVE text. It knows no recipe.

use std::process::ExitCode;
use std::time::Duration;

use quorate_client::wave::{self, CallText};
use quorate_client::{Called, Client};
use quorate_wire::value::{Function, Value};
use serde_json::{Value as Json, json};

use crate::connect::Global;
use crate::duration;
use crate::failure::REFUSED;
use crate::json;
use crate::signals::{Ask, Signals};

/// `quorate call`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Arguments and result are WAVE, the text form of WIT values; `quorate recipe inspect NAME` shows the types.
A call that waits is cancelled by Ctrl-C; a second Ctrl-C ends the command at once.
When the result is err(...), the exit code is 1, and the call has changed nothing.

Examples:
  quorate call counter 'add(\"/hits\", 1)'
  quorate call queue 'offer(\"/jobs\", \"build 7\")'
  quorate call queue 'take(\"/jobs\", some(5000))'
  quorate call lock 'holder(\"/deploys/web\")' --output json"
)]
pub struct Call {
    /// The recipe
    name: String,
    /// The call, such as 'add("/hits", 1)'
    call: String,
    /// Cancel the call after this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

/// How a call ended.
enum Ended {
    Called(Called, Function),
    /// Ctrl-C came twice.
    Abandoned(Ask),
}

impl Call {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let text = CallText::parse(&self.call).map_err(quorate_client::Error::from)?;
        let (called, function) =
            match global.with_client(async |client| self.call(&client, &text).await).await? {
                Ended::Called(called, function) => (called, function),
                Ended::Abandoned(ask) => return Ok(ask.exit_code()),
            };
        let shown = called.value.as_ref().zip(function.result.as_ref());
        let json = || {
            let value = shown.map_or(Json::Null, |(value, kind)| json::value(value, kind));
            json!({ "zxid": called.zxid.0, "value": value })
        };
        global.output().show(json, |out| match shown {
            Some((value, kind)) => writeln!(out, "{}", wave::show(value, kind)),
            None => Ok(()),
        })?;
        Ok(match called.value {
            Some(Value::Result(Err(_))) => ExitCode::from(REFUSED),
            _ => ExitCode::SUCCESS,
        })
    }

    async fn call(&self, client: &Client, text: &CallText) -> anyhow::Result<Ended> {
        let mut signals = Signals::take()?;
        let recipe = client.recipe(&self.name);
        let types = recipe.interface().await?;
        let function = types.function(text.function()).map_err(quorate_client::Error::from)?;
        let arguments = text.arguments(function).map_err(quorate_client::Error::from)?;
        let mut call = recipe.start(text.function(), arguments).await?;
        let timeout = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let called = tokio::select! {
            called = &mut call => called?,
            () = timeout => {
                call.cancel();
                (&mut call).await?
            }
            _ = signals.next() => {
                call.cancel();
                tokio::select! {
                    called = &mut call => called?,
                    ask = signals.next() => return Ok(Ended::Abandoned(ask)),
                }
            }
        };
        // A call whose types had changed was made by the new ones.
        let types = recipe.interface().await?;
        let function = types.function(text.function()).map_err(quorate_client::Error::from)?;
        Ok(Ended::Called(called, function.clone()))
    }
}
