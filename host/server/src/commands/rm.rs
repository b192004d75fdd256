//! `quorate rm`: one znode, or all below it, too, in one transaction or in parts. Parts are `subtree`'s work; this tells how far it is.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::Client;
use quorate_core::error::ErrorCode;
use quorate_core::request::{Answer, Operation};
use serde_json::json;

use super::conditions::Conditions;
use super::subtree::Deletion;
use crate::connect::Global;
use crate::failure::{Usage, hinted};
use crate::output::NAME;
use crate::signals::{Ask, Signals};

/// `quorate rm`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "--recursive is one transaction, and refused for more znodes than that may change (16,384). With --in-parts there is no
bound: it deletes from the bottom up, in transactions of some hundred znodes each. Others see that happen, and a znode that is
created meanwhile stops it. After Ctrl-C, or an error, what was not deleted is still there, and the same command goes on with it.

Examples:
  quorate rm /hello
  quorate rm /hello --version 3
  quorate rm /jobs --recursive
  quorate rm /jobs --recursive --in-parts"
)]
pub struct Rm {
    /// Which
    path: String,
    /// All below it, too, in one transaction
    #[arg(long, short)]
    recursive: bool,
    /// However much it is, step by step
    #[arg(long, requires = "recursive", conflicts_with_all = ["version", "fields", "fence"])]
    in_parts: bool,
    #[command(flatten)]
    conditions: Conditions,
}

/// Between two steps of the progress.
const TICK: Duration = Duration::from_millis(100);

/// How a recursive deletion ended.
enum Ended {
    Done,
    Stopped(Ask),
}

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if self.recursive && self.path == "/" {
            let told = "the root can not be deleted: name what is below it";
            return Err(Usage(told.to_owned()).into());
        }
        let (ended, deleted) = global
            .with_client(async |client| {
                if self.in_parts {
                    return self.delete_all(&client).await;
                }
                Ok((Ended::Done, self.delete(&client).await?))
            })
            .await?;
        let is_done = matches!(ended, Ended::Done);
        let json = || json!({ "path": self.path, "deleted": deleted, "complete": is_done });
        global.output().show(json, |out| match (&ended, deleted) {
            (Ended::Stopped(_), count) => writeln!(
                out,
                "{NAME}{}{NAME:#} is still there; {count} znodes below it are deleted, and the same command goes on",
                self.path
            ),
            (Ended::Done, 1) => writeln!(out, "{NAME}{}{NAME:#} is deleted", self.path),
            (Ended::Done, count) => {
                writeln!(out, "{NAME}{}{NAME:#} is deleted, {count} znodes in all", self.path)
            }
        })?;
        Ok(match ended {
            Ended::Done => ExitCode::SUCCESS,
            Ended::Stopped(ask) => ask.exit_code(),
        })
    }

    /// In one transaction; how many znodes.
    async fn delete(&self, client: &Client) -> anyhow::Result<u64> {
        let (path, condition) = (self.path.clone(), self.conditions.condition());
        let operation = if self.recursive {
            Operation::DeleteTree { path, condition }
        } else {
            Operation::Delete { path, condition }
        };
        match self.conditions.execute(client, operation).await {
            Ok((_, Answer::Deleted { count })) => Ok(count),
            Ok(_) => Ok(1),
            Err(error) if self.recursive && error.code() == ErrorCode::LimitPassed => {
                Err(hinted(error, "--in-parts deletes it in many transactions."))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_all(&self, client: &Client) -> anyhow::Result<(Ended, u64)> {
        let mut signals = Signals::take()?;
        let bar = ProgressBar::new_spinner().with_style(style());
        let deletion = Deletion::default();
        let mut work = std::pin::pin!(deletion.run(client, &self.path));
        let mut asked = None;
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                ask = signals.next() => {
                    asked = Some(ask);
                    if deletion.stop() {
                        // A second Ctrl-C does not wait for the transaction under way.
                        break Ok(false);
                    }
                }
                () = tokio::time::sleep(TICK) => {
                    bar.set_position(deletion.deleted());
                    bar.tick();
                }
            }
        };
        bar.finish_and_clear();
        let deleted = deletion.deleted();
        match (ended, asked) {
            (Ok(false), Some(ask)) => Ok((Ended::Stopped(ask), deleted)),
            (Ok(_), _) => Ok((Ended::Done, deleted)),
            (Err(error), _) if deleted > 0 => Err(hinted(
                error,
                format!(
                    "{deleted} znodes are deleted, the others are still there; the same command goes on."
                ),
            )),
            (Err(error), _) => Err(error),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos} znodes deleted")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
