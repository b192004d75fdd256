//! What stands in PEM files of certificates and keys, for people. It verifies nothing.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::close::printable;
use crate::der::{self, Name};
use crate::files::{not_pem, read};
use crate::identity::{IdentityError, member_name};

/// What a PEM file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Its certificates, in their order.
    pub certificates: Vec<Described>,
    /// Its private key, of which nothing is told.
    pub key: Option<KeyFile>,
}

/// How a private key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFile {
    /// Whether users other than the file's owner may read it.
    pub is_readable_by_others: bool,
}

/// A certificate. Texts are without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whose it is.
    pub subject: String,
    /// Who signed it, as it claims.
    pub issuer: String,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// Whether subject and issuer are one.
    pub is_self_signed: bool,
    /// Alternative names that it is for, without those of members.
    pub names: Vec<String>,
    /// Whether it is for clients and for nobody else: its subject says whose it is.
    pub is_for_clients_only: bool,
    /// Members that it is for: one, in those made here.
    pub members: Vec<u64>,
    /// From when on it is valid.
    pub valid_from: SystemTime,
    /// Until when it is valid.
    pub valid_until: SystemTime,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// Reads a PEM file.
///
/// # Errors
/// `Unreadable`; `NotPem`, also for a file with neither a certificate nor a key; `Unusable` for a
/// certificate that can not be read.
pub fn pem_file(file: &Path) -> Result<PemFile, IdentityError> {
    let bytes = read(file)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(file, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes);
    if certificates.is_empty()
        && let Err(error) = &key
    {
        return Err(not_pem(file, error));
    }
    let key = key.is_ok().then(|| KeyFile {
        is_readable_by_others: fs::metadata(file)
            .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0),
    });
    let certificates =
        certificates.iter().map(|der| describe(der, file)).collect::<Result<Vec<_>, _>>()?;
    Ok(PemFile { certificates, key })
}

fn describe(bytes: &CertificateDer<'_>, file: &Path) -> Result<Described, IdentityError> {
    let parsed = der::certificate(bytes).ok_or_else(|| IdentityError::Unusable {
        file: file.to_owned(),
        cause: "a certificate in it is malformed".to_owned(),
    })?;
    let mut names = Vec::new();
    let mut members = Vec::new();
    for name in parsed.dns_names {
        match std::str::from_utf8(name).ok().and_then(member_of) {
            Some(member) => members.push(member),
            None => names.push(printable(name)),
        }
    }
    names.extend(parsed.addresses.into_iter().filter_map(address));
    names.extend(parsed.emails.into_iter().chain(parsed.uris).map(printable));
    let moment = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    Ok(Described {
        subject: common_name(&parsed.subject),
        issuer: common_name(&parsed.issuer),
        is_authority: parsed.is_authority,
        is_self_signed: parsed.subject.raw == parsed.issuer.raw,
        is_for_clients_only: parsed
            .purposes
            .is_some_and(|purposes| purposes.is_for_clients && !purposes.is_for_servers),
        names,
        members,
        valid_from: moment(parsed.valid_from),
        valid_until: moment(parsed.valid_until),
        fingerprint: hexadecimal(digest::digest(&digest::SHA256, bytes).as_ref()),
    })
}

fn common_name(name: &Name<'_>) -> String {
    name.common_name.map_or_else(|| "(no common name)".to_owned(), printable)
}

pub(crate) fn member_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("member-")?.split('.').next()?.parse().ok()?;
    (member_name(number) == name).then_some(number)
}

pub(crate) fn address(bytes: &[u8]) -> Option<String> {
    let address = <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.ok().map(|address| address.to_string())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
