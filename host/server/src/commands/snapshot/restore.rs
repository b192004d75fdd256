//! `quorate snapshot restore`. It does not know how a data directory is laid out.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use quorate_gateway::restore::{Refused, restore_into};

use super::{described, digest, inspect};
use crate::connect::Global;
use crate::output::{FAINT, NAME};

/// `quorate snapshot restore`
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate snapshot restore monday.snapshot --data /var/lib/quorate
  quorate serve --config /etc/quorate.toml

The new cluster goes on with the snapshot's zxids and sessions. Sessions whose clients do not come back expire after their
timeout. What was written after the snapshot was taken is gone: do not let clients of the old cluster go on with both.")]
pub struct Restore {
    /// The file
    file: PathBuf,
    /// The directory to make: a new or an empty one
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The number of the new cluster's one member
    #[arg(long, value_name = "N", default_value = "1")]
    member: NonZeroU64,
}

impl Restore {
    /// Runs it.
    ///
    /// # Errors
    /// If the file is not sound or the directory not empty: it is then as it was.
    pub async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let restored = restore_into(&self.file, &self.data, self.member.get(), global.level);
        let restored = restored.await;
        let restored = restored.map_err(|refused| self.failure(refused))?;
        let stated = restored.summary.meta.digest;
        anyhow::ensure!(
            restored.digest == stated,
            "the restored tree has the digest {}, the snapshot {}: do not use {}",
            digest(restored.digest),
            digest(stated),
            self.data.display()
        );
        let json = || {
            let mut told = described(&restored.summary);
            told["restored_digest"] = digest(restored.digest).into();
            told["member"] = self.member.get().into();
            told
        };
        global.output().show(json, |out| {
            let (data, member) = (self.data.display(), self.member);
            writeln!(out, "{NAME}{data}{NAME:#} is member {member} of a new cluster")?;
            let (zxid, digest) = (restored.summary.meta.zxid.0, digest(restored.digest));
            writeln!(out, "snapshot   zxid {zxid}  {FAINT}digest {digest}{FAINT:#}")?;
            writeln!(out, "restored   zxid {zxid}  {FAINT}digest {digest}{FAINT:#}")
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn failure(&self, refused: Refused) -> anyhow::Error {
        match refused.unsound() {
            Some(unsound) => inspect::refused(&self.file, unsound),
            None => refused.into(),
        }
    }
}
