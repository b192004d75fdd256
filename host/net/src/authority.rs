//! A certificate authority of our own: makes its certificate and signs servers'. It does not know
//! where they are kept.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::der;
use crate::files::{read_certificates, read_key};
use crate::identity::{IdentityError, IdentityFiles};
use crate::limits::{AUTHORITY_VALIDITY, CERTIFICATE_BACKDATE, CERTIFICATE_VALIDITY};
use crate::verify::check_key;

/// The subject of an authority that was given no name.
pub(crate) const AUTHORITY_NAME: &str = "Quorate certificate authority";
/// The subject of every server certificate made here. Clients look at the alternative names only.
const SERVER_NAME: &str = "Quorate server";

/// A certificate and its key, both as PEM text.
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A new authority of that name, valid from `now` on.
pub(crate) fn make_authority(name: &str, now: SystemTime) -> Result<Made, IdentityError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = authority_params(name);
    validity(&mut params, AUTHORITY_VALIDITY, now);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// An authority that can sign: the subject of its certificate, and its key.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Reads it from its two files, of which the first may be of somebody else's making.
    ///
    /// # Errors
    /// Each names the file; `KeyMismatch` if they do not belong together.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        let chain = read_certificates(certificate)?;
        let secret = read_key(key)?;
        let (file, cause) = (certificate.to_owned(), "it holds no certificate".to_owned());
        let first = chain.first().ok_or(IdentityError::Unusable { file, cause })?;
        let files = IdentityFiles {
            authority: certificate.to_owned(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        check_key(&files, &chain, &secret)?;
        let secret = KeyPair::try_from(&secret).map_err(|error| IdentityError::Unusable {
            file: key.to_owned(),
            cause: error.to_string(),
        })?;
        // What is signed must name its issuer byte for byte, and only such names can be made here.
        let found = der::certificate(first).map(|parsed| parsed.subject);
        let name = found
            .filter(|subject| subject.is_common_name_alone)
            .and_then(|subject| std::str::from_utf8(subject.common_name?).ok());
        let Some(name) = name else {
            let cause = "its subject is more than a common name: sign with the tools that made it";
            return Err(IdentityError::Unusable {
                file: certificate.to_owned(),
                cause: cause.to_owned(),
            });
        };
        Ok(Self(Issuer::new(authority_params(name), secret)))
    }

    /// A certificate for `names` (host names and IP addresses), for both ends of a connection.
    pub(crate) fn make_server(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<Made, IdentityError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = subject(SERVER_NAME);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // The second is what a member needs that dials another.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params, CERTIFICATE_VALIDITY, now);
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl Authority {
    /// A certificate for the client of that name, good for connecting to servers and for nothing else: without alternative
    /// names, by which alone servers and members are known.
    pub(crate) fn make_client(
        &self,
        name: &str,
        valid: Duration,
        now: SystemTime,
    ) -> Result<Made, IdentityError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        validity(&mut params, valid, now);
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
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
