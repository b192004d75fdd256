//! Signed tokens: a name, for a time, vouched for by an authority. Made with the authority's key, and verified with its
//! certificate, which every member and client has. It does not know what the name may do.
//!
//! A token is a JWS in its compact form (RFC 7515) with ES256 (RFC 7518, 3.4), and its claims are those of a JWT (RFC 7519):
//! `sub`, `exp`, `nbf`, and if they are given `aud` and `jti`. Its type, `quorate+jwt`, must be named, so that nothing else
//! that the key may ever sign is taken for one (RFC 8725, 3.11). That the key signs certificates too is no danger: what is
//! signed of a token begins with the letter e, and of a certificate with the byte 0x30.
//!
//! The key id is the beginning of the SHA-256 of the key's encoded public half. It only chooses among several authorities;
//! which algorithm a key is for is said by the certificate and never by the token.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use serde::{Deserialize, Serialize};

use crate::files::{read_certificates, read_key};
use crate::identity::{IdentityError, IdentityFiles, TrustAnchors};
use crate::issue::{AUTHORITY_FILE, AUTHORITY_KEY_FILE};
use crate::limits::{CREDENTIAL_VALIDITY_MAX, NAME_BYTES_MAX, TOKEN_BYTES_MAX, TOKEN_LEEWAY};
use crate::names::is_name;
use crate::verify::check_key;

const ALGORITHM: &str = "ES256";
const TYPE: &str = "quorate+jwt";
/// What stands before the point of a P-256 key in a certificate (RFC 5480): id-ecPublicKey, prime256v1, a string of bits.
const P256_PREFIX: [u8; 25] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
/// Bytes of such a point, without the mark that its two coordinates are written out.
const POINT_BYTES: usize = 64;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// From when on it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub expires: SystemTime,
    /// The cluster that it is for; none: every cluster of the authority.
    pub audience: Option<String>,
}

/// Why a token is not believed. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is too long.
    #[error("the token has {bytes} bytes; the limit is {TOKEN_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not of the form of a token, or a part of it is not.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// It names another algorithm, or none.
    #[error("the token is not signed with {ALGORITHM}, and only that is taken")]
    WrongAlgorithm,
    /// It is a signed something, and no token of this service.
    #[error("the token is not of the type {TYPE}")]
    WrongType,
    /// No authority that is trusted has this key.
    #[error(
        "the token is signed with the key {key_id:?}, which is no trusted authority's: was it made for another cluster, or \
         before the authority was changed?"
    )]
    UnknownKey {
        /// As it is named in the token.
        key_id: String,
    },
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    WrongSignature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet: are the clocks right?")]
    NotYetValid,
    /// It is valid for too long a time.
    #[error("the token is valid for more than {} days", CREDENTIAL_VALIDITY_MAX.as_secs() / 86_400)]
    TooLongValid,
    /// It is for another cluster.
    #[error("the token is for another cluster")]
    WrongAudience,
    /// The name is empty, too long, or holds control characters.
    #[error(
        "the token's subject is no name of 1 to {NAME_BYTES_MAX} bytes without control characters"
    )]
    WrongName,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
    #[serde(default)]
    kid: String,
    /// Extensions that must be understood. There are none.
    #[serde(default, skip_serializing)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    nbf: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
}

/// Makes a token, signed by the authority in a directory of [`AUTHORITY_FILE`] and [`AUTHORITY_KEY_FILE`]. Its times are kept in
/// seconds, the end rounded down.
///
/// # Errors
/// `NotMade` for a name that no token may have, or a time that is too long or empty; what is wrong with the authority's files,
/// `Unusable` for a key that is not of the curve P-256.
pub fn issue(authority: &Path, token: &Token) -> Result<String, IdentityError> {
    let claims = Claims {
        sub: token.name.clone(),
        exp: seconds(token.expires),
        nbf: seconds(token.not_before),
        aud: token.audience.clone(),
    };
    check_claims(&claims).map_err(|error| IdentityError::NotMade(error.to_string()))?;
    if claims.exp <= claims.nbf {
        return Err(IdentityError::NotMade("its end is not after its beginning".to_owned()));
    }
    let files = IdentityFiles {
        authority: authority.join(AUTHORITY_FILE),
        certificate: authority.join(AUTHORITY_FILE),
        key: authority.join(AUTHORITY_KEY_FILE),
    };
    let chain = read_certificates(&files.certificate)?;
    let secret = read_key(&files.key)?;
    check_key(&files, &chain, &secret)?;
    let unusable =
        |cause: &str| IdentityError::Unusable { file: files.key.clone(), cause: cause.to_owned() };
    let PrivateKeyDer::Pkcs8(pkcs8) = &secret else {
        return Err(unusable(
            "tokens are signed with a key in PKCS #8: convert it, as with `openssl pkcs8 -topk8 -nocrypt`",
        ));
    };
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        pkcs8.secret_pkcs8_der(),
        &random,
    );
    let pair =
        pair.map_err(|_| unusable("tokens are signed with a key of the curve P-256 only"))?;
    let header = Header {
        alg: ALGORITHM.to_owned(),
        typ: TYPE.to_owned(),
        kid: pair.public_key().as_ref().get(1..).map(key_id).unwrap_or_default(),
        crit: None,
    };
    let failed = |error: &dyn std::fmt::Display| IdentityError::NotMade(error.to_string());
    let part = |json: Result<Vec<u8>, serde_json::Error>| {
        json.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|error| failed(&error))
    };
    let signed =
        format!("{}.{}", part(serde_json::to_vec(&header))?, part(serde_json::to_vec(&claims))?);
    let signature = pair.sign(&random, signed.as_bytes()).map_err(|error| failed(&error))?;
    let made = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    if made.len() > TOKEN_BYTES_MAX {
        return Err(failed(&TokenError::TooLong { bytes: made.len() }));
    }
    Ok(made)
}

impl TrustAnchors {
    /// What a token says, if one of these authorities has signed it and it is valid at `now`, for this cluster. A token from
    /// up to [`TOKEN_LEEWAY`] ahead is taken, for clocks that differ; one whose end has come is not.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify_token(
        &self,
        token: &str,
        cluster: Option<&str>,
        now: SystemTime,
    ) -> Result<Token, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let claims = verify_signature(&self.roots, token)?;
        check_claims(&claims)?;
        let now_s = seconds(now);
        if now_s >= claims.exp {
            return Err(TokenError::Expired);
        }
        if now_s.saturating_add(TOKEN_LEEWAY.as_secs()) < claims.nbf {
            return Err(TokenError::NotYetValid);
        }
        if claims.aud.as_deref().is_some_and(|audience| Some(audience) != cluster) {
            return Err(TokenError::WrongAudience);
        }
        let moment = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let (Some(not_before), Some(expires)) = (moment(claims.nbf), moment(claims.exp)) else {
            return Err(TokenError::Malformed("a time is out of range"));
        };
        Ok(Token { name: claims.sub, not_before, expires, audience: claims.aud })
    }
}

/// What holds for those that are made and for those that are taken.
fn check_claims(claims: &Claims) -> Result<(), TokenError> {
    if !is_name(&claims.sub) {
        return Err(TokenError::WrongName);
    }
    if claims.exp.saturating_sub(claims.nbf) > CREDENTIAL_VALIDITY_MAX.as_secs() {
        return Err(TokenError::TooLongValid);
    }
    Ok(())
}

/// The claims of a token, once its signature has been verified: nothing of them is looked at before.
fn verify_signature(roots: &RootCertStore, token: &str) -> Result<Claims, TokenError> {
    let malformed = TokenError::Malformed;
    let (signed, signature) = token.rsplit_once('.').ok_or(malformed("it has no three parts"))?;
    let (header, claims) = signed.split_once('.').ok_or(malformed("it has no three parts"))?;
    let decode = |part: &str, what: &'static str| {
        URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(what))
    };
    let header = decode(header, "its header is not base64url")?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| malformed("its header is not a header's JSON"))?;
    if header.alg != ALGORITHM {
        return Err(TokenError::WrongAlgorithm);
    }
    if header.typ != TYPE {
        return Err(TokenError::WrongType);
    }
    if header.crit.is_some() {
        return Err(malformed("it asks for extensions, of which none is known"));
    }
    let signature = decode(signature, "its signature is not base64url")?;
    let mut keys = roots.roots.iter().filter_map(|root| point(&root.subject_public_key_info));
    let Some(point) = keys.find(|point| key_id(point) == header.kid) else {
        let shown = header.kid.chars().filter(|char| char.is_ascii_alphanumeric()).take(32);
        return Err(TokenError::UnknownKey { key_id: shown.collect() });
    };
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], point].concat());
    key.verify(signed.as_bytes(), &signature).map_err(|_| TokenError::WrongSignature)?;
    let claims = decode(claims, "its claims are not base64url")?;
    serde_json::from_slice(&claims)
        .map_err(|_| malformed("its claims are not `sub`, `exp` and `nbf` in JSON"))
}

/// The point of an authority's key, if it is of P-256.
fn point(subject_public_key_info: &[u8]) -> Option<&[u8]> {
    subject_public_key_info.strip_prefix(&P256_PREFIX).filter(|point| point.len() == POINT_BYTES)
}

/// How a key is named: 16 hexadecimal digits.
fn key_id(point: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, &[&P256_PREFIX, point].concat());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
