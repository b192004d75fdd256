//! A certificate authority of our own: makes its certificate and signs servers'. It does not know
//! where they are kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::identity::IdentityError;
use crate::limits::{AUTHORITY_VALIDITY, CERTIFICATE_BACKDATE, CERTIFICATE_VALIDITY};

/// The subject of every authority made here. Constant, so that its key alone is enough to sign
/// again.
const AUTHORITY_NAME: &str = "Quorate certificate authority";
/// The subject of every server certificate made here. Clients look at the alternative names only.
const SERVER_NAME: &str = "Quorate server";

/// A certificate and its key, both as PEM text.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A new authority, valid from `now` on.
pub(crate) fn make_authority(now: SystemTime) -> Result<Made, IdentityError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = authority_params();
    validity(&mut params, AUTHORITY_VALIDITY, now);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A server certificate for `names` (host names and IP addresses), signed by the authority with
/// that key.
pub(crate) fn make_server(
    authority_key: &str,
    names: &[String],
    now: SystemTime,
) -> Result<Made, IdentityError> {
    let authority_key = KeyPair::from_pem(authority_key).map_err(failed)?;
    let issuer = Issuer::new(authority_params(), authority_key);
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = subject(SERVER_NAME);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The second is what a member needs that dials another.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    validity(&mut params, CERTIFICATE_VALIDITY, now);
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn validity(params: &mut CertificateParams, validity: Duration, now: SystemTime) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since_epoch.saturating_sub(CERTIFICATE_BACKDATE);
    params.not_after = epoch + since_epoch + validity;
}

fn failed(error: rcgen::Error) -> IdentityError {
    IdentityError::NotMade(error.to_string())
}
