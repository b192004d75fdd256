//! Reading PEM files within a limit, and writing them whole or not at all. It does not know what a
//! certificate says.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::identity::IdentityError;
use crate::limits::PEM_FILE_BYTES_MAX;

/// Whether others than the owner may read a file that is written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    Public,
    OwnerOnly,
}

/// The certificates of a PEM file, at least one.
pub(crate) fn read_certificates(
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    certificates(&read(file)?, file)
}

/// The certificates of PEM text, at least one. Errors name it as this file.
pub(crate) fn certificates(
    pem: &[u8],
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(file, &error))?;
    if chain.is_empty() {
        return Err(not_pem(file, &pem::Error::NoItemsFound));
    }
    Ok(chain)
}

/// The private key of a PEM file. Warns if others than its owner may read it.
pub(crate) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let bytes = read(file)?;
    if let Ok(metadata) = fs::metadata(file)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(file = %file.display(), "private key can be read by others, chmod 600 it");
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| not_pem(file, &error))
}

/// All of a file within the limit.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, IdentityError> {
    let unreadable = |cause| IdentityError::Unreadable { file: file.to_owned(), cause };
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(PEM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > PEM_FILE_BYTES_MAX {
        let cause = format!("longer than {PEM_FILE_BYTES_MAX} bytes");
        return Err(IdentityError::NotPem { file: file.to_owned(), cause });
    }
    Ok(bytes)
}

/// What is wrong with a file, without quoting it.
pub(crate) fn not_pem(file: &Path, error: &pem::Error) -> IdentityError {
    // The variants that quote the file are not passed on: a quoted line may be part of a key.
    let cause = match error {
        pem::Error::NoItemsFound => "no item of the expected kind in it".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "a section has no END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        other => other.to_string(),
    };
    IdentityError::NotPem { file: file.to_owned(), cause }
}

/// Makes a directory, with its parents, that only its owner may look into: keys will lie there.
pub(crate) fn make_directory(directory: &Path) -> Result<(), IdentityError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|cause| IdentityError::Unwritable { file: directory.to_owned(), cause })
}

/// Writes `file` so that it is there whole or not at all, also after a crash: a new file beside it,
/// synced, renamed over it.
pub(crate) fn write_whole(file: &Path, text: &str, secrecy: Secrecy) -> Result<(), IdentityError> {
    write(file, text, secrecy)
        .map_err(|cause| IdentityError::Unwritable { file: file.to_owned(), cause })
}

fn write(file: &Path, text: &str, secrecy: Secrecy) -> io::Result<()> {
    let mode = match secrecy {
        Secrecy::Public => 0o644,
        Secrecy::OwnerOnly => 0o600,
    };
    let mut beside: PathBuf = file.to_owned();
    beside.as_mut_os_string().push(format!(".{}.new", std::process::id()));
    // Left over by a process of the same number that was killed here.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()?;
    fs::rename(&beside, file)?;
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
