//! Looks whether the certificate files of this member, or of the authorities of its clients, have changed, and hands on what they hold if it can be used. It does not
//! know who shows a certificate to whom.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use quorate_net::{Identity, IdentityError, TrustAnchors};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;

use crate::limits;

/// The files that count, in the directory of the certificates.
const FILES: [&str; 3] = ["ca.pem", "server.pem", "server-key.pem"];

/// What the files hold; none for one that can not be read.
type Contents = [Option<Vec<u8>>; FILES.len() + 1];

/// Where the files are, and what the certificate in them must say.
#[derive(Debug, Clone)]
pub struct Renewal {
    directory: PathBuf,
    names: Vec<String>,
    member: u64,
    /// Of the authorities of clients, where it is another file.
    clients: Option<PathBuf>,
    seen: Contents,
}

impl Renewal {
    /// Takes the files as they are now for known: to be made before they are read for the first time.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        names: Vec<String>,
        member: u64,
        clients: Option<PathBuf>,
    ) -> Self {
        let seen = contents(&directory, clients.as_deref());
        Self { directory, names, member, clients, seen }
    }

    /// Looks now and then, and when it is asked to; never ends. A change that can not be used is said once, and what was
    /// shown before is shown on.
    pub async fn watch(mut self, asked: Arc<Notify>, renewed: mpsc::Sender<Identity>) {
        let mut looks = tokio::time::interval(limits::CERTIFICATES_LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = asked.notified() => {}
            }
            // Elsewhere: a file system that hangs must not hold up a worker.
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            // The runtime ends.
            let Ok((renewal, found)) = looked.await else { return };
            self = renewal;
            match found {
                None => {}
                Some(Ok(identity)) => {
                    let sent = renewed.send(identity).await;
                    if sent.is_err() {
                        return;
                    }
                }
                Some(Err(why)) => tracing::warn!(
                    why,
                    "the changed certificate files can not be used: the certificate before is shown on"
                ),
            }
        }
    }

    fn reload(&self) -> Result<Identity, IdentityError> {
        let found = Identity::reload(&self.directory, &self.names, self.member, SystemTime::now())?;
        let clients = self.clients.as_deref().map(TrustAnchors::load).transpose()?;
        Ok(Identity { clients, ..found })
    }

    /// What the files hold, if that is new.
    fn look(&mut self) -> Option<Result<Identity, String>> {
        let now = contents(&self.directory, self.clients.as_deref());
        if now == self.seen {
            return None;
        }
        self.seen = now;
        Some(self.reload().map_err(|error| error.to_string()))
    }
}

fn contents(directory: &Path, clients: Option<&Path>) -> Contents {
    let [one, two, three] = FILES.map(|name| Some(directory.join(name)));
    [one, two, three, clients.map(Path::to_owned)].map(|file| {
        let file = std::fs::File::open(file?).ok()?;
        let mut bytes = Vec::new();
        file.take(limits::CERTIFICATE_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use quorate_net::issue;

    use super::*;

    #[test]
    fn a_change_is_seen_once_and_a_bad_one_is_told_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        Identity::open_or_make(&path, &[], 1, SystemTime::now()).unwrap();
        let mut renewal = Renewal::new(path.clone(), Vec::new(), 1, None);
        assert!(renewal.look().is_none());
        // A name that the certificate lacks: made anew, by the authority beside it.
        Identity::open_or_make(&path, &["renewed.test".to_owned()], 1, SystemTime::now()).unwrap();
        assert!(renewal.look().unwrap().is_ok());
        assert!(renewal.look().is_none());
        std::fs::write(path.join("server.pem"), "nonsense").unwrap();
        let why = renewal.look().unwrap().unwrap_err();
        assert!(why.contains("server.pem"), "{why}");
        assert!(renewal.look().is_none());
        std::fs::remove_file(path.join("ca.pem")).unwrap();
        let why = renewal.look().unwrap().unwrap_err();
        assert!(why.contains("ca.pem"), "{why}");
        assert!(!path.join("ca.pem").exists(), "nothing is made");
    }

    #[test]
    fn a_changed_authority_of_clients_is_seen_too() {
        let directory = tempfile::tempdir().unwrap();
        let (path, clients) = (directory.path().join("own"), directory.path().join("clients"));
        Identity::open_or_make(&path, &[], 1, SystemTime::now()).unwrap();
        issue::authority(&clients, None, SystemTime::now()).unwrap();
        let file = clients.join(issue::AUTHORITY_FILE);
        let mut renewal = Renewal::new(path, Vec::new(), 1, Some(file.clone()));
        assert!(renewal.look().is_none());
        std::fs::remove_dir_all(&clients).unwrap();
        issue::authority(&clients, None, SystemTime::now()).unwrap();
        assert!(renewal.look().unwrap().unwrap().clients.is_some());
        std::fs::write(&file, "nonsense").unwrap();
        assert!(renewal.look().unwrap().unwrap_err().contains("ca.pem"));
    }
}
