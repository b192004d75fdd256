//! `quorate rm`: one znode, or all below it, too. The service deletes one at a time; what is more than that is put together here.

use std::process::ExitCode;

use quorate_client::{Client, Error};
use serde_json::json;

use crate::connect::Global;
use crate::failure::Usage;
use crate::output::NAME;

/// `quorate rm`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "--recursive deletes from the bottom up, in transactions of some hundred znodes each: others see it happen, \
and one that is created meanwhile stops it.

Examples:
  quorate rm /hello
  quorate rm /hello --version 3
  quorate rm /jobs --recursive"
)]
pub struct Rm {
    /// Which
    path: String,
    /// Only if it has this version
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// All below it first
    #[arg(long, short, conflicts_with = "version")]
    recursive: bool,
}

/// Znodes that `rm --recursive` deletes at most: it keeps their paths in memory.
const RECURSIVE_MAX: usize = 100_000;
/// Deletions of one transaction: others get their turn in between.
const DELETIONS_PER_MULTI: usize = 256;

impl Rm {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let deleted = global
            .with_client(async |client| {
                if self.recursive {
                    return self.delete_all(&client).await;
                }
                client.delete(&self.path, self.version).await?;
                Ok(1)
            })
            .await?;
        let json = || json!({ "path": self.path, "deleted": deleted });
        global.output().show(json, |out| match deleted {
            1 => writeln!(out, "{NAME}{}{NAME:#} is deleted", self.path),
            count => writeln!(out, "{NAME}{}{NAME:#} is deleted, {count} znodes in all", self.path),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn delete_all(&self, client: &Client) -> anyhow::Result<usize> {
        if self.path == "/" {
            return Err(
                Usage("the root can not be deleted: name what is below it".to_owned()).into()
            );
        }
        client.stat(&self.path).await?;
        let mut paths = vec![self.path.clone()];
        let mut next = 0;
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            let mut children = client.children(&path);
            while let Some(name) = children.next().await? {
                paths.push(format!("{path}/{name}"));
                anyhow::ensure!(
                    paths.len() <= RECURSIVE_MAX,
                    "{} has more than the {RECURSIVE_MAX} znodes that are deleted at once: delete its parts",
                    self.path
                );
            }
        }
        // Parents were found before their children.
        paths.reverse();
        for some in paths.chunks(DELETIONS_PER_MULTI) {
            let multi = some.iter().fold(client.multi(), |multi, path| multi.delete(path, None));
            match multi.await {
                Ok(_) => {}
                Err(Error::Refused(failure)) => {
                    let at = failure.operation.and_then(|at| some.get(at as usize)).cloned();
                    let told = anyhow::Error::from(Error::Refused(failure));
                    return Err(match at {
                        Some(path) => told.context(format!(
                            "{path} changed meanwhile; what was not deleted is still there"
                        )),
                        None => told,
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(paths.len())
    }
}
