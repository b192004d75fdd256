//! `quorate import`: what `quorate export` has written becomes znodes again. Which of them are sent together, and what happens
//! to those that are there already, is `import/batches`'.

mod batches;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::Client;
use quorate_core::path::Path;
use serde_json::json;

use self::batches::{Counts, Import as Work};
use super::archive::{Reader, Totals};
use crate::connect::Global;
use crate::failure::hinted;
use crate::output::NAME;
use crate::signals::{Ask, Signals};

/// Between two steps of the progress.
const TICK: Duration = Duration::from_millis(100);

/// What happens to a znode that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// It stays as it is
    Skip,
    /// It gets the data of the file, unless it has them; how long it lives stays
    Overwrite,
    /// The import ends
    Fail,
}

/// `quorate import`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file is read twice: first to its end, so that one that is torn or was changed does nothing. What is written then are
transactions of some hundred znodes, many at a time: others see it happen. Missing parents of the top are created.

After an error or Ctrl-C, what has been created is there, and the same command with --on-conflict skip goes on with it.

Examples:
  quorate import config.jsonl
  quorate import config.jsonl --to /config-copy
  quorate import config.jsonl --on-conflict overwrite --dry-run"
)]
pub struct Import {
    /// What `quorate export` has written
    file: PathBuf,
    /// The znode at the top from now on; else as in the file
    #[arg(long, value_name = "PATH")]
    to: Option<String>,
    /// What happens to a znode that is there already
    #[arg(long, value_enum, default_value = "fail")]
    on_conflict: OnConflict,
    /// Only look what would happen
    #[arg(long)]
    dry_run: bool,
}

/// How it ended.
struct Ended {
    counts: Counts,
    asked: Option<Ask>,
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// For a file that is not whole, with the line; what the service refuses, with the line.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let name = self.file.display().to_string();
        let totals = self.verify().with_context(|| name.clone())?;
        let (top, to) = self.tops()?;
        let done =
            global.with_client(async |client| self.write(&client, &top, &to, totals).await).await;
        let Ended { counts, asked } = done.with_context(|| name.clone())?;
        global.output().show(
            || json!({
                "file": name, "path": to.as_str(), "znodes": totals.znodes, "created": counts.created,
                "overwritten": counts.overwritten, "unchanged": counts.unchanged, "skipped": counts.skipped,
                "dry_run": self.dry_run, "complete": asked.is_none(),
            }),
            |out| {
                let would = if self.dry_run { "would be " } else { "" };
                write!(out, "{NAME}{to}{NAME:#}  {} of {} znodes {would}created", counts.created, totals.znodes)?;
                for (count, what) in [
                    (counts.overwritten, "overwritten"),
                    (counts.unchanged, "had the same data"),
                    (counts.skipped, "skipped"),
                ] {
                    if count > 0 {
                        write!(out, ", {count} {what}")?;
                    }
                }
                if asked.is_some() {
                    write!(out, "; the same command with --on-conflict skip goes on")?;
                }
                writeln!(out)
            },
        )?;
        Ok(asked.map_or(ExitCode::SUCCESS, Ask::exit_code))
    }

    /// Reads the file to its end: what is in it.
    fn verify(&self) -> anyhow::Result<Totals> {
        let mut reader = self.open()?;
        let top = Path::parse(&reader.head().path)?;
        while let Some(znode) = reader.next()? {
            let number = reader.number();
            anyhow::ensure!(
                top.covers(&znode.path),
                "line {number}: {} is not below {top}, as the first line says",
                znode.path
            );
        }
        Ok(reader.totals())
    }

    fn open(&self) -> anyhow::Result<Reader<BufReader<File>>> {
        let file = File::open(&self.file).context("it can not be read")?;
        Reader::begin(BufReader::with_capacity(256 * 1024, file))
    }

    /// The top in the file, and where it goes.
    fn tops(&self) -> anyhow::Result<(Path, Path)> {
        let top = Path::parse(&self.open()?.head().path)?;
        let to = match &self.to {
            Some(to) => Path::parse(to)?,
            None => top.clone(),
        };
        Ok((top, to))
    }

    async fn write(
        &self,
        client: &Client,
        top: &Path,
        to: &Path,
        totals: Totals,
    ) -> anyhow::Result<Ended> {
        let mut signals = Signals::take()?;
        let bar = if io::stderr().is_terminal() {
            ProgressBar::new(totals.znodes).with_style(style())
        } else {
            ProgressBar::hidden()
        };
        let work = Work::new(client, self.on_conflict, self.dry_run);
        let reader = self.open()?;
        let mut written = std::pin::pin!(work.run(reader, top, to));
        let mut asked = None;
        let ended = loop {
            tokio::select! {
                ended = &mut written => break ended,
                ask = signals.next() => {
                    if asked.replace(ask).is_some() {
                        // A second Ctrl-C does not wait for what is under way.
                        break Ok(());
                    }
                    work.stop();
                }
                () = tokio::time::sleep(TICK) => bar.set_position(work.counts().seen()),
            }
        };
        bar.finish_and_clear();
        let counts = work.counts();
        match ended {
            // Asked for when all was done already.
            Ok(()) if counts.seen() == totals.znodes => Ok(Ended { counts, asked: None }),
            Ok(()) => Ok(Ended { counts, asked }),
            Err(error) if counts.created > 0 && !self.dry_run => Err(hinted(
                error,
                format!(
                    "{} znodes are created; the same command with --on-conflict skip goes on.",
                    counts.created
                ),
            )),
            Err(error) => Err(error),
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos} of {len} znodes  {per_sec}  {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
