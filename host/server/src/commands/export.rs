//! `quorate export`: a subtree as a file of JSON lines. The form of the file is `archive`'s.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use quorate_client::admin::{self, Command, Outcome};
use quorate_client::{Client, Scan};
use quorate_core::znode::Lifetime;
use serde_json::json;

use super::archive::{self, FORMAT, Head, Totals, Writer, Znode};
use crate::connect::Global;
use crate::failure::Usage;
use crate::json::hex;
use crate::output::{FAINT, NAME};

/// Znodes between two looks of the progress.
const PROGRESS_EVERY: u64 = 1000;
/// How long a member may take to say which cluster it belongs to.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(2);
/// Times that a file is begun again because the stream broke off.
const ATTEMPTS_MAX: u32 = 5;

/// `quorate export`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "All of it is of one state of the tree. The file has a line of JSON for each znode, with its data as text where it is text, else as
base64; a first line says what it is, and a last one how many there are, with a checksum. Ephemeral znodes belong to sessions
and are left out, and counted. Counters of sequential names and access lists are not in it, nor are recipes: for a
backup of all, see `quorate snapshot save`.

A file is written as FILE.part and gets its name when it is complete. With --root, its paths are those below the root.

Examples:
  quorate export /config > config.jsonl
  quorate export / -o \"all-$(date +%F).jsonl\"
  quorate import config.jsonl --to /config-copy"
)]
pub struct Export {
    /// The znode at the top
    path: String,
    /// The file to write, which must not be there; else standard output
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What has been written.
struct Exported {
    head: Head,
    totals: Totals,
}

impl Export {
    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses; if the file is there, or can not be written; if the stream breaks off on standard output.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Some(file) = &self.file else {
            let out = BufWriter::new(io::stdout());
            global.with_client(async |client| self.write(&client, global, out).await).await?;
            return Ok(ExitCode::SUCCESS);
        };
        let name = file.display();
        if file.try_exists().with_context(|| format!("{name} can not be looked at"))? {
            return Err(Usage(format!("{name} is there already: name a new file")).into());
        }
        let part = part(file)?;
        let exported = self.to_file(global, &part).await;
        let kept = exported.and_then(|exported| keep(&part, file).map(|()| exported));
        let Exported { head, totals } = match kept {
            Ok(exported) => exported,
            Err(error) => {
                // What is torn helps nobody; it may never have been made.
                fs::remove_file(&part).ok();
                return Err(error);
            }
        };
        let Totals { znodes, bytes, ephemerals } = totals;
        global.output().show(
            || json!({ "file": file.display().to_string(), "path": head.path, "zxid": head.zxid, "znodes": znodes, "bytes": bytes, "ephemerals": ephemerals }),
            |out| {
                writeln!(out, "{NAME}{name}{NAME:#}  {znodes} znodes, {bytes} bytes of data {FAINT}(zxid {}){FAINT:#}", head.zxid)?;
                if ephemerals > 0 {
                    writeln!(out, "{ephemerals} ephemeral znodes are left out")?;
                }
                Ok(())
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }

    /// However often the stream breaks off: what has come is of a state that is gone then.
    async fn to_file(&self, global: &Global, part: &FilePath) -> anyhow::Result<Exported> {
        let name = part.display();
        global
            .with_client(async |client| {
                let mut attempts = 0;
                loop {
                    attempts += 1;
                    let file =
                        File::create(part).with_context(|| format!("{name} can not be written"))?;
                    let out = BufWriter::new(file);
                    match self.write(&client, global, out).await {
                        Err(error) if is_broken(&error) && attempts < ATTEMPTS_MAX => {
                            global.output().note(format_args!("{error:#}; begun again"));
                        }
                        ended => return ended,
                    }
                }
            })
            .await
    }

    async fn write(
        &self,
        client: &Client,
        global: &Global,
        out: impl Write,
    ) -> anyhow::Result<Exported> {
        let bar = if io::stderr().is_terminal() {
            ProgressBar::new_spinner().with_style(style())
        } else {
            ProgressBar::hidden()
        };
        let time = quorate_gateway::audit::rfc3339(now_ms());
        let mut scan = client.scan(&self.path).await?;
        let head = Head {
            quorate_export: FORMAT,
            path: self.path.clone(),
            zxid: scan.zxid().0,
            cluster: cluster(global).await,
            time,
        };
        let totals = write_all(&mut scan, &head, out, &bar).await;
        bar.finish_and_clear();
        Ok(Exported { head, totals: totals? })
    }
}

async fn write_all(
    scan: &mut Scan,
    head: &Head,
    out: impl Write,
    bar: &ProgressBar,
) -> anyhow::Result<Totals> {
    const UNWRITABLE: &str = "the export can not be written";
    let mut writer = Writer::begin(out, head).context(UNWRITABLE)?;
    while let Some(found) = scan.next().await? {
        let lifetime = match found.stat.lifetime {
            Lifetime::Persistent => None,
            Lifetime::Container => Some(archive::Lifetime::Container),
            Lifetime::Ttl(ms) => Some(archive::Lifetime::TtlMs(ms)),
            Lifetime::Ephemeral(_) | Lifetime::CallOwned(_) => {
                writer.skip_ephemeral();
                continue;
            }
        };
        let data = found.data.unwrap_or_default();
        writer.znode(&Znode { path: found.path, data, lifetime }).context(UNWRITABLE)?;
        if writer.totals().znodes.is_multiple_of(PROGRESS_EVERY) {
            bar.set_position(writer.totals().znodes);
        }
    }
    Ok(writer.finish().context(UNWRITABLE)?.1)
}

/// The cluster, if the asked member says which.
async fn cluster(global: &Global) -> Option<String> {
    let mut options = global.options().ok()?;
    options.connect_timeout = CLUSTER_PATIENCE;
    match tokio::time::timeout(CLUSTER_PATIENCE, admin::command(options, Command::Status)).await {
        Ok(Ok(Outcome::Status(status))) => status.cluster.map(|cluster| hex(&cluster)),
        _ => None,
    }
}

fn is_broken(error: &anyhow::Error) -> bool {
    error.is::<quorate_client::ScanBroken>()
}

/// The name that a file has until it is complete.
fn part(file: &FilePath) -> anyhow::Result<PathBuf> {
    let mut name = file.file_name().context("name a file")?.to_owned();
    name.push(".part");
    Ok(file.with_file_name(name))
}

/// Gives the file its name, for good.
fn keep(part: &FilePath, file: &FilePath) -> anyhow::Result<()> {
    let kept = || -> io::Result<()> {
        File::open(part)?.sync_all()?;
        fs::rename(part, file)?;
        let directory = std::path::absolute(file)?;
        directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    kept().with_context(|| format!("{} can not be written", file.display()))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {pos} znodes {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
