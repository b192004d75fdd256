//! `quorate snapshot save`. It does not know what is in the file's blocks.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::{Client, Error, SnapshotPlace};
use quorate_core::error::ErrorCode;
use quorate_core::level::Level;
use quorate_wire::snapshot::{Decoder, Item, Summary};

use super::{described, digest};
use crate::connect::Global;
use crate::failure::Usage;
use crate::output::{FAINT, NAME};

/// Times that a stream may break off one after the other without a byte having come.
const FRUITLESS_MAX: u32 = 5;
/// Pause before the next attempt: a member that sends as many snapshots as it may needs some time for one.
const PAUSE: Duration = Duration::from_millis(500);

/// `quorate snapshot save`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate snapshot save monday.snapshot
  quorate snapshot save \"/backup/$(date +%F).snapshot\" --output json

The member goes on serving. The file is written as FILE.part and gets its name when all of it has been verified.
It is of the whole tree: with a root (--root, QUORATE_ROOT) nothing is saved.")]
pub struct Save {
    /// The file to write; it must not be there
    file: PathBuf,
}

impl Save {
    /// Runs it.
    ///
    /// # Errors
    /// If the file is there, the disk refuses, or no member sends a sound snapshot.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        global.of_whole_tree("a snapshot is")?;
        let name = self.file.display();
        if self.file.try_exists().with_context(|| format!("{name} can not be looked at"))? {
            return Err(Usage(format!("{name} is there already: name a new file")).into());
        }
        let mut part = Part::begin(&self.file, global.level)?;
        let received = global.with_client(async |client| receive(&client, &mut part).await).await;
        part.bar.finish_and_clear();
        let summary = match received {
            Ok(summary) => part.keep(&self.file, summary)?,
            Err(error) => {
                part.discard();
                return Err(error);
            }
        };
        global.output().show(
            || described(&summary),
            |out| {
                let digest = digest(summary.meta.digest);
                let (zxid, znodes) = (summary.meta.zxid.0, summary.znodes);
                writeln!(out, "{NAME}{name}{NAME:#}  {} bytes, verified", summary.bytes)?;
                writeln!(out, "zxid       {zxid}  {FAINT}digest {digest}{FAINT:#}")?;
                writeln!(out, "znodes     {znodes}")
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Receives the whole stream, however often it breaks off.
async fn receive(client: &Client, part: &mut Part) -> anyhow::Result<Summary> {
    let mut fruitless = 0;
    loop {
        let before = part.bytes;
        match receive_some(client, part).await {
            Ok(()) => {
                part.decoder.finish()?;
                let summary = part.summary.take();
                return summary.context("the snapshot has no end");
            }
            Err(Stopped::ForGood(error)) => return Err(error),
            Err(Stopped::Broken(why)) => {
                fruitless = if part.bytes > before { 0 } else { fruitless + 1 };
                if fruitless > FRUITLESS_MAX {
                    return Err(why.context("no member sends a snapshot"));
                }
                tracing::info!(bytes = part.bytes, why = %format!("{why:#}"), "goes on");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Why a stream is not at its end.
enum Stopped {
    /// Another attempt may do.
    Broken(anyhow::Error),
    /// None will.
    ForGood(anyhow::Error),
}

async fn receive_some(client: &Client, part: &mut Part) -> Result<(), Stopped> {
    let go_on = part.identity.map(|identity| SnapshotPlace { identity, offset: part.bytes });
    let mut stream = client.snapshot(go_on).await.map_err(|error| {
        let is_passing = match &error {
            Error::BadAnswer(_) => true,
            Error::Refused(failure) => matches!(
                failure.refusal.code,
                ErrorCode::Overloaded | ErrorCode::NoLeader | ErrorCode::ShuttingDown
            ),
            _ => false,
        };
        if is_passing { Stopped::Broken(error.into()) } else { Stopped::ForGood(error.into()) }
    })?;
    if go_on != Some(stream.place()) {
        part.begin_again(stream.place().identity).map_err(Stopped::ForGood)?;
    }
    loop {
        match stream.next().await {
            Ok(Some(bytes)) => part.take(&bytes).map_err(Stopped::ForGood)?,
            Ok(None) => return Ok(()),
            Err(broken) => return Err(Stopped::Broken(broken.into())),
        }
    }
}

/// The file while it arrives.
struct Part {
    path: PathBuf,
    file: File,
    identity: Option<[u8; 16]>,
    bytes: u64,
    known: Level,
    decoder: Decoder,
    summary: Option<Summary>,
    bar: ProgressBar,
}

impl Part {
    fn begin(file: &Path, known: Level) -> anyhow::Result<Self> {
        let mut name = file.file_name().context("name a file")?.to_owned();
        name.push(".part");
        let path = file.with_file_name(name);
        let opened = File::create(&path);
        let file = opened.with_context(|| format!("{} can not be written", path.display()))?;
        let bar = if io::stderr().is_terminal() {
            ProgressBar::new_spinner().with_style(style())
        } else {
            ProgressBar::hidden()
        };
        let decoder = Decoder::new(known);
        Ok(Self { path, file, identity: None, bytes: 0, known, decoder, summary: None, bar })
    }

    fn begin_again(&mut self, identity: [u8; 16]) -> anyhow::Result<()> {
        let opened = File::create(&self.path);
        self.file =
            opened.with_context(|| format!("{} can not be written", self.path.display()))?;
        self.identity = Some(identity);
        self.bytes = 0;
        self.decoder = Decoder::new(self.known);
        self.summary = None;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.decoder.handle(bytes);
        while let Some(item) = self.decoder.poll()? {
            if let Item::End(summary) = item {
                self.summary = Some(*summary);
            }
        }
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("{} can not be written", self.path.display()))?;
        self.bytes += bytes.len() as u64;
        self.bar.set_position(self.bytes);
        Ok(())
    }

    /// Gives the file its name, for good.
    fn keep(self, file: &Path, summary: Summary) -> anyhow::Result<Summary> {
        let kept = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.path, file)?;
            let directory = std::path::absolute(file)?;
            directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        kept().with_context(|| format!("{} can not be written", file.display()))?;
        Ok(summary)
    }

    fn discard(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a part of a snapshot stays");
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
