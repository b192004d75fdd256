//! Compiled code on the member's own disk, by component and engine. A file is used only if it is whole and was made for
//! both; anything else in the directory costs a compilation, never a wrong result.

use std::fs::{DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::deployment::ComponentDigest;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::artefact::Trusted;

const MAGIC: &[u8; 8] = b"QRTCODE1";
const HASH_BYTES: usize = 32;

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// What code must have been compiled for.
    engine_hash: u64,
    files_written: AtomicU64,
}

impl Cache {
    /// Uses this directory, which is made if it is missing: readable and writable by its owner only.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn open(directory: &Path, engine: &Engine) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine_hash = hasher.finish();
        Ok(Self { directory: directory.to_owned(), engine_hash, files_written: AtomicU64::new(0) })
    }

    /// The component, if its code is here and whole.
    pub(crate) fn load(&self, digest: &ComponentDigest, engine: &Engine) -> Option<Component> {
        let path = self.path(digest);
        let file = match std::fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(?path, %error, "compiled code can not be read: compiling again");
                return None;
            }
        };
        let Some(code) = self.code(digest, &file) else {
            tracing::warn!(?path, "compiled code is damaged: compiling again");
            return None;
        };
        match Trusted::checked(code).load(engine) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(?path, %error, "compiled code does not load: compiling again");
                None
            }
        }
    }

    /// Keeps a component's code. A failure costs a compilation later, so it is only logged.
    pub(crate) fn store(&self, digest: &ComponentDigest, component: &Component) {
        let path = self.path(digest);
        let written = match component.serialize() {
            Ok(code) => self.write(digest, &path, &code).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!(?path, error, "compiled code can not be kept");
        }
    }

    /// Removes a component's code.
    pub(crate) fn remove(&self, digest: &ComponentDigest) {
        let path = self.path(digest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(?path, %error, "compiled code can not be removed");
            }
            _ => {}
        }
    }

    fn path(&self, digest: &ComponentDigest) -> PathBuf {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        self.directory.join(format!("{hex}-{:016x}.cwasm", self.engine_hash))
    }

    /// Magic, hash, code.
    fn code(&self, digest: &ComponentDigest, file: &[u8]) -> Option<Vec<u8>> {
        let rest = file.strip_prefix(MAGIC)?;
        let (hash, code) = rest.split_at_checked(HASH_BYTES)?;
        (hash == self.hash(digest, code)).then(|| code.to_vec())
    }

    /// Covers what the code is of and for, so that a renamed file is not taken for another's.
    fn hash(&self, digest: &ComponentDigest, code: &[u8]) -> [u8; HASH_BYTES] {
        let mut hasher = Sha256::new();
        hasher.update(digest);
        hasher.update(self.engine_hash.to_le_bytes());
        hasher.update(code);
        hasher.finalize().into()
    }

    /// Whole or not at all: written aside, synced, renamed, and the directory synced.
    fn write(&self, digest: &ComponentDigest, path: &Path, code: &[u8]) -> io::Result<()> {
        let number = self.files_written.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let result = self.write_aside(&aside, digest, code).and_then(|()| {
            std::fs::rename(&aside, path)?;
            File::open(&self.directory)?.sync_all()
        });
        if result.is_err()
            && let Err(error) = std::fs::remove_file(&aside)
        {
            tracing::debug!(path = ?aside, %error, "nothing to remove");
        }
        result
    }

    fn write_aside(&self, aside: &Path, digest: &ComponentDigest, code: &[u8]) -> io::Result<()> {
        let mut file = File::create(aside)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.hash(digest, code))?;
        file.write_all(code)?;
        file.sync_all()
    }
}
