//! The certificate and key that a client shows, from files. It does not know whom it is shown to.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::der;
use crate::files::{read_certificates, read_key};
use crate::identity::{IdentityError, IdentityFiles};
use crate::verify::check_key;

/// A certificate chain and key with which a client proves who it is. Shows nothing of the key when it is printed.
#[derive(Debug)]
pub struct ClientIdentity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Clone for ClientIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl ClientIdentity {
    /// Reads the PEM files: the client's certificate, followed by those between it and its authority, if any; and its key.
    /// That they belong together and are valid at `now` is found out here; whether their authority is trusted, the server
    /// knows.
    ///
    /// # Errors
    /// `Unreadable`, `NotPem`, `Unusable`, `KeyMismatch`, `Expired`, `NotYetValid`; each names the file.
    pub fn load(certificate: &Path, key: &Path, now: SystemTime) -> Result<Self, IdentityError> {
        let chain = read_certificates(certificate)?;
        let secret = read_key(key)?;
        let files = IdentityFiles {
            authority: certificate.to_owned(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        check_key(&files, &chain, &secret)?;
        let file = certificate.to_owned();
        let parsed = chain.first().and_then(|first| der::certificate(first));
        let Some(parsed) = parsed else {
            let cause = "its first certificate is malformed".to_owned();
            return Err(IdentityError::Unusable { file, cause });
        };
        let moment = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        if now > moment(parsed.valid_until) {
            return Err(IdentityError::Expired { file });
        }
        if now < moment(parsed.valid_from) {
            return Err(IdentityError::NotYetValid { file });
        }
        Ok(Self { chain, key: secret })
    }
}
