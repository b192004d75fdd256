//! The small file by which commands find the `quorate dev` of this user without flags. It does not know how to connect.
//!
//! It lies beside the default data directory, not in `XDG_RUNTIME_DIR`: that one is not set in shells of cron, su and ssh
//! without a login, and a command must find there what another shell started. The price is a file that outlives a killed
//! server; a command that meets one says which file told it the address. Of several servers the last started wins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

/// Where a `quorate dev` is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevFile {
    /// Its UDP address, as clients of this machine reach it.
    pub address: SocketAddr,
    /// The addresses of further members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<SocketAddr>,
    /// The certificate that clients must be given.
    pub ca: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// `$XDG_DATA_HOME/quorate`, else `~/.local/share/quorate`.
///
/// # Errors
/// If neither `XDG_DATA_HOME` nor `HOME` is set to an absolute path.
pub fn home() -> anyhow::Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("quorate"))
        .ok_or_else(|| {
            anyhow!("neither XDG_DATA_HOME nor HOME is set: name a directory with --data")
        })
}

/// The file.
///
/// # Errors
/// As [`home`].
pub fn path() -> anyhow::Result<PathBuf> {
    Ok(home()?.join("dev.json"))
}

impl DevFile {
    /// For a server of this process.
    #[must_use]
    pub fn new(address: SocketAddr, ca: &Path) -> Self {
        let mut address = address;
        if address.ip().is_unspecified() {
            // Listens everywhere; clients of this machine take the way that is always there.
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let ca = fs::canonicalize(ca).unwrap_or_else(|_| ca.to_owned());
        Self { address, others: Vec::new(), ca, pid: process::id() }
    }

    /// Reads the file; none if no server has been started.
    ///
    /// # Errors
    /// If the file is there and is not one of ours.
    pub fn load(file: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} can not be read", file.display()));
            }
        };
        let found = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged: delete it and start `quorate dev` again", file.display())
        })?;
        Ok(Some(found))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it can not be written.
    pub fn store(&self, file: &Path) -> anyhow::Result<()> {
        let told = || format!("{} can not be written", file.display());
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(told)?;
        }
        let fresh = file.with_extension(format!("json.{}", self.pid));
        let text = serde_json::to_string(self).with_context(told)?;
        fs::write(&fresh, text + "\n").with_context(told)?;
        fs::rename(&fresh, file).with_context(told)
    }

    /// Deletes the file, if it still is this server's.
    pub fn withdraw(&self, file: &Path) {
        if matches!(Self::load(file), Ok(Some(found)) if found == *self)
            && let Err(error) = fs::remove_file(file)
        {
            tracing::warn!(%error, file = %file.display(), "the file that leads clients here stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_and_only_its_owner_withdraws_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("deep/dev.json");
        assert_eq!(DevFile::load(&file).expect("none"), None);
        let first = DevFile::new("127.0.0.1:1".parse().expect("valid"), Path::new("/ca.pem"));
        let second = DevFile { address: "127.0.0.1:2".parse().expect("valid"), ..first.clone() };
        first.store(&file).expect("written");
        second.store(&file).expect("written");
        first.withdraw(&file);
        assert_eq!(DevFile::load(&file).expect("there"), Some(second.clone()));
        second.withdraw(&file);
        assert_eq!(DevFile::load(&file).expect("gone"), None);
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_loopback() {
        let file = DevFile::new("0.0.0.0:4747".parse().expect("valid"), Path::new("/ca.pem"));
        assert_eq!(file.address.to_string(), "127.0.0.1:4747");
    }
}
