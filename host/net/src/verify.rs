//! What a certificate must be, checked with the code that handshakes run: right chain, key, time,
//! names and purposes. It does not know where certificates come from.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::CertificateError;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::identity::{IdentityError, IdentityFiles, TrustAnchors, member_name};
use crate::tls;

/// Whether a chain that a handshake has verified leads to one of these authorities, as that of a client. Why not, for people.
pub(crate) fn check_client(
    trust: &TrustAnchors,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<(), String> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&trust.roots), tls::provider())
            .build()
            .map_err(|error| error.to_string())?;
    let (end_entity, intermediates) = chain.split_first().ok_or("it holds no certificate")?;
    let verified = verifier.verify_client_cert(end_entity, intermediates, unix_time(now));
    verified.map(|_| ()).map_err(|error| error.to_string())
}

/// Whether the first certificate of a chain that a handshake has verified is that of the member with
/// this number.
pub(crate) fn is_of_member(chain: &[CertificateDer<'static>], member: u64) -> bool {
    let Some(end_entity) = chain.first() else { return false };
    let Ok(name) = ServerName::try_from(member_name(member)) else { return false };
    ParsedCertificate::try_from(end_entity)
        .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

/// A host name or IP address as TLS takes it.
pub(crate) fn parse_name(name: &str) -> Result<ServerName<'static>, IdentityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(ServerName::from(address));
    }
    ServerName::try_from(name.to_owned())
        .map_err(|_| IdentityError::BadName { name: name.to_owned() })
}

pub(crate) fn check_key(
    files: &IdentityFiles,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), IdentityError> {
    let unusable = |file: &Path, error: &rustls::Error| IdentityError::Unusable {
        file: file.to_owned(),
        cause: error.to_string(),
    };
    let signing_key = tls::provider()
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|error| unusable(&files.key, &error))?;
    match CertifiedKey::new(chain.to_vec(), signing_key).keys_match() {
        Ok(()) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::KeyMismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
        }),
        Err(error) => Err(unusable(&files.certificate, &error)),
    }
}

/// Verifies the chain as a client's handshake does that asks for `name`.
pub(crate) fn verify(
    files: &IdentityFiles,
    trust: &TrustAnchors,
    chain: &[CertificateDer<'static>],
    name: &str,
    now: SystemTime,
) -> Result<(), IdentityError> {
    let file = files.certificate.clone();
    let unusable = |cause: String| IdentityError::Unusable { file: file.clone(), cause };
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&trust.roots), tls::provider())
            .build()
            .map_err(|error| unusable(error.to_string()))?;
    let Some((end_entity, intermediates)) = chain.split_first() else {
        return Err(unusable("it holds no certificate".to_owned()));
    };
    let server_name = parse_name(name)?;
    let verified =
        verifier.verify_server_cert(end_entity, intermediates, &server_name, &[], unix_time(now));
    match verified {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(files, error, name)),
    }
}

/// Verifies the chain as a member's handshake does that is dialled with it.
pub(crate) fn verify_as_client(
    files: &IdentityFiles,
    trust: &TrustAnchors,
    chain: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<(), IdentityError> {
    let file = files.certificate.clone();
    let unusable = |cause: String| IdentityError::Unusable { file: file.clone(), cause };
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&trust.roots), tls::provider())
            .build()
            .map_err(|error| unusable(error.to_string()))?;
    let Some((end_entity, intermediates)) = chain.split_first() else {
        return Err(unusable("it holds no certificate".to_owned()));
    };
    match verifier.verify_client_cert(end_entity, intermediates, unix_time(now)) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(files, error, "")),
    }
}

fn unix_time(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn refused(files: &IdentityFiles, error: rustls::Error, name: &str) -> IdentityError {
    let file = files.certificate.clone();
    let error = match error {
        rustls::Error::InvalidCertificate(error) => error,
        error => return IdentityError::Unusable { file, cause: error.to_string() },
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            IdentityError::Expired { file }
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            IdentityError::NotYetValid { file }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            IdentityError::WrongName { file, name: name.to_owned() }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            IdentityError::WrongAuthority { file, authority: files.authority.clone() }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            IdentityError::WrongPurpose { file }
        }
        other => IdentityError::Unusable { file, cause: other.to_string() },
    }
}
