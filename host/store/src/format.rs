//! The file `FORMAT`: which format this directory has and whose it is. It does not know what an identity means.
//!
//! ```text
//! 0   8  magic "QUORATE\n"
//! 8   4  format version, little-endian
//! 12  4  length of the identity, little-endian, at most IDENTITY_BYTES_MAX
//! 16  n  identity: bytes of the caller (cluster, member)
//! 16+n 4 crc32c of all bytes before, little-endian
//! ```
//!
//! The version covers everything below the directory: log, tree keys and their values. The magic and the position of
//! the version never change, so that every later program can say what it has found.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::OpenError;
use crate::modes::FILE_MODE;

/// Version of everything that is stored below the data directory.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// Most bytes of an identity. A cluster's and a member's id are some dozens; this bounds what is read from a disk.
pub(crate) const IDENTITY_BYTES_MAX: usize = 4096;

const MAGIC: [u8; 8] = *b"QUORATE\n";
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
const FILE_BYTES_MAX: u64 = (HEADER_BYTES + IDENTITY_BYTES_MAX + CHECKSUM_BYTES) as u64;

/// The bytes of the file. The identity has been checked against [`IDENTITY_BYTES_MAX`].
fn encode(identity: &[u8]) -> Vec<u8> {
    let length = u32::try_from(identity.len()).expect("an identity has at most 4096 bytes");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + identity.len() + CHECKSUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(identity);
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the identity out of the file.
///
/// # Errors
/// Foreign (no magic), unknown version (before anything behind it is looked at), corrupt, or the disk's own.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    let file_bytes = fs::metadata(path).map_err(OpenError::io(path, "read"))?.len();
    if file_bytes > FILE_BYTES_MAX {
        let cause = format!("a file of {file_bytes} bytes where at most {FILE_BYTES_MAX} belong");
        return Err(OpenError::Foreign { path: path.to_owned(), cause });
    }
    let bytes = fs::read(path).map_err(OpenError::io(path, "read"))?;
    decode(path, &bytes)
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, OpenError> {
    if !bytes.starts_with(&MAGIC) {
        let cause = "the file does not begin with our magic".to_owned();
        return Err(OpenError::Foreign { path: path.to_owned(), cause });
    }
    let at = |offset: usize| {
        let field = bytes.get(offset..offset + 4)?;
        field.try_into().ok().map(u32::from_le_bytes)
    };
    let truncated = || OpenError::corrupt(path, bytes.len() as u64, "the file ends too early");
    let found = at(8).ok_or_else(truncated)?;
    if found != FORMAT_VERSION {
        return Err(OpenError::UnknownVersion {
            path: path.to_owned(),
            found,
            known: FORMAT_VERSION,
        });
    }
    let length = at(12).ok_or_else(truncated)? as usize;
    if length > IDENTITY_BYTES_MAX || bytes.len() != HEADER_BYTES + length + CHECKSUM_BYTES {
        let cause = format!("an identity of {length} bytes in a file of {}", bytes.len());
        return Err(OpenError::corrupt(path, 12, cause));
    }
    let body = HEADER_BYTES + length;
    if at(body) != Some(crc32c::crc32c(&bytes[..body])) {
        return Err(OpenError::corrupt(path, body as u64, "the checksum does not match"));
    }
    Ok(bytes[HEADER_BYTES..body].to_vec())
}

/// Writes the file so that it is there whole or not at all: temporary file, sync, rename, sync of the directory.
///
/// # Errors
/// The disk's own; an identity over the limit is `InvalidInput`.
pub(crate) fn write(directory: &Path, name: &str, identity: &[u8]) -> Result<(), OpenError> {
    let path = directory.join(name);
    if identity.len() > IDENTITY_BYTES_MAX {
        let cause = format!("{} bytes of identity, limit {IDENTITY_BYTES_MAX}", identity.len());
        let source = io::Error::new(io::ErrorKind::InvalidInput, cause);
        return Err(OpenError::Io { path, doing: "write", source });
    }
    let temporary = directory.join(temporary_name(name));
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE);
        let mut file = options.open(&temporary)?;
        file.write_all(&encode(identity))?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(OpenError::io(&path, "write"))
}

/// Name of the file while it is being written; a left-over of a crash is overwritten.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damaged_byte_of_the_file_is_refused() {
        let path = Path::new("FORMAT");
        let whole = encode(b"cluster 7, member 2");
        assert_eq!(decode(path, &whole).ok().as_deref(), Some(b"cluster 7, member 2".as_slice()));
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            assert!(decode(path, &damaged).is_err(), "byte {position}");
            assert!(decode(path, &whole[..position]).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn another_version_is_named_before_anything_behind_it_is_read() {
        // An older and a newer one.
        for version in [FORMAT_VERSION - 1, FORMAT_VERSION + 1] {
            let mut bytes = encode(b"me");
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            bytes.truncate(12);
            let refusal = decode(Path::new("FORMAT"), &bytes).expect_err("another version");
            let OpenError::UnknownVersion { found, known, .. } = refusal else {
                panic!("{refusal}");
            };
            assert_eq!((found, known), (version, FORMAT_VERSION));
        }
    }
}
