//! `quorate call`: one function of a recipe, with arguments and result as WAVE text. It knows no recipe.

use std::process::ExitCode;
use std::time::Duration;

use quorate_client::wave::{self, CallText};
use quorate_client::{Called, Client, Consistency, Error};
use quorate_wire::value::{Function, Value};
use serde_json::{Value as Json, json};

use crate::connect::Global;
use crate::duration;
use crate::failure::{self, REFUSED};
use crate::json;
use crate::signals::{Ask, Signals};

/// `quorate call`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Arguments and result are WAVE, the text form of WIT values; `quorate recipe inspect NAME` shows the types.
When the result is err(...), the exit code is 1, and the call has changed nothing.
A call that waits is cancelled by Ctrl-C: what it answers then is shown, and the exit code is 130, unless it had got what it
waited for just before. A second Ctrl-C ends the command at once.
Arguments are given to the recipe as they are, and results shown as they come: --root does not change paths in them.

Examples:
  quorate call counter 'add(\"/hits\", 1)'
  quorate call queue 'offer(\"/jobs\", \"build 7\")'
  quorate call queue 'take(\"/jobs\", some(5000))'
  quorate call lock 'holder(\"/deploys/web\")' --output json
  quorate call queue 'size(\"/jobs\")' --consistency stale

A function that the recipe's manifest lists as read-only is called as a read: the member that answers runs it on the tree that it
has, beside everything else, and refuses whatever would change something or wait. --read-only does so with any function."
)]
pub struct Call {
    /// The recipe
    name: String,
    /// The call, such as 'add("/hits", 1)'
    call: String,
    /// Cancel the call after this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// Call it as a read, whatever the manifest says
    #[arg(long)]
    read_only: bool,
    /// How fresh the tree must be on which a read is run: as all reads, by default, with what was acknowledged anywhere
    #[arg(long, value_enum, default_value_t)]
    consistency: Freshness,
}

/// `--consistency`
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Freshness {
    /// Sees all that was acknowledged before, anywhere
    #[default]
    Linearizable,
    /// Sees what this session has seen or written
    Session,
    /// Sees what the member has
    Stale,
}

impl From<Freshness> for Consistency {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Linearizable => Self::Linearizable,
            Freshness::Session => Self::Session,
            Freshness::Stale => Self::Stale,
        }
    }
}

/// How a call ended, and the signal that asked it to.
struct Ended {
    /// None if a second signal came before the answer.
    called: Option<Result<(Called, Function), Error>>,
    asked: Option<Ask>,
}

impl Call {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let text = CallText::parse(&self.call).map_err(Error::from)?;
        let Ended { called, asked } =
            global.with_client(async |client| self.call(&client, &text).await).await?;
        let (called, function) = match (called, asked) {
            (Some(Ok(answered)), _) => answered,
            (Some(Err(error)), Some(ask)) => {
                failure::report(global.output(), &error.into());
                return Ok(ask.exit_code());
            }
            (Some(Err(error)), None) => return Err(error.into()),
            (None, asked) => return Ok(asked.unwrap_or(Ask::Interrupt).exit_code()),
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
        Ok(match (called.value, asked) {
            (Some(Value::Result(Err(_))), Some(ask)) => ask.exit_code(),
            (Some(Value::Result(Err(_))), None) => ExitCode::from(REFUSED),
            _ => ExitCode::SUCCESS,
        })
    }

    async fn call(&self, client: &Client, text: &CallText) -> anyhow::Result<Ended> {
        let mut signals = Signals::take()?;
        let recipe = client.with_consistency(self.consistency.into()).recipe(&self.name);
        let types = recipe.interface().await?;
        let function = types.function(text.function()).map_err(Error::from)?;
        let arguments = text.arguments(function).map_err(Error::from)?;
        let mut call = if self.read_only {
            recipe.start_read_only(text.function(), arguments).await?
        } else {
            recipe.start(text.function(), arguments).await?
        };
        let timeout = async {
            match self.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let mut asked = None;
        let called = tokio::select! {
            called = &mut call => called,
            () = timeout => {
                call.cancel();
                (&mut call).await
            }
            ask = signals.next() => {
                asked = Some(ask);
                call.cancel();
                tokio::select! {
                    called = &mut call => called,
                    _ = signals.next() => return Ok(Ended { called: None, asked }),
                }
            }
        };
        let called = match called {
            Ok(called) => called,
            Err(error) => return Ok(Ended { called: Some(Err(error)), asked }),
        };
        // A call whose types had changed was made by the new ones.
        let types = recipe.interface().await?;
        let function = types.function(text.function()).map_err(Error::from)?;
        Ok(Ended { called: Some(Ok((called, function.clone()))), asked })
    }
}
