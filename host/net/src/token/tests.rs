//! Tokens that are believed, and the many that are not.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use super::*;
use crate::issue::authority;

const CLUSTER: &str = "00112233445566778899aabbccddeeff";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The time of all tests here.
const NOW: u64 = 1_800_000_000;

struct Desk {
    _directory: tempfile::TempDir,
    path: PathBuf,
    trust: TrustAnchors,
}

fn desk() -> Desk {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    authority(&path, None, at(NOW)).unwrap();
    let trust = TrustAnchors::load(&path.join(AUTHORITY_FILE)).unwrap();
    Desk { _directory: directory, path, trust }
}

fn token() -> Token {
    let (not_before, expires) = (at(NOW), at(NOW + 3600));
    Token { name: "ann".to_owned(), not_before, expires, audience: None }
}

impl Desk {
    fn issue(&self, token: &Token) -> String {
        issue(&self.path, token).unwrap()
    }

    fn verify(&self, token: &str) -> Result<Token, TokenError> {
        self.trust.verify_token(token, Some(CLUSTER), at(NOW + 1))
    }

    /// Signs any header and claims, rightly.
    fn sign(&self, header: &str, claims: &str) -> String {
        let PrivateKeyDer::Pkcs8(key) = read_key(&self.path.join(AUTHORITY_KEY_FILE)).unwrap()
        else {
            panic!("a key of another form")
        };
        let random = SystemRandom::new();
        let key = key.secret_pkcs8_der();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).unwrap();
        let header = header.replace("KID", &key_id(&pair.public_key().as_ref()[1..]));
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = pair.sign(&random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

const HEADER: &str = r#"{"alg":"ES256","typ":"quorate+jwt","kid":"KID"}"#;

fn claims(more: &str) -> String {
    format!(r#"{{"sub":"ann","nbf":{NOW},"exp":{}{more}}}"#, NOW + 3600)
}

#[test]
fn a_token_says_what_was_signed() {
    let desk = desk();
    assert_eq!(desk.verify(&desk.issue(&token())), Ok(token()));
    let for_cluster = Token { audience: Some(CLUSTER.to_owned()), ..token() };
    assert_eq!(desk.verify(&desk.issue(&for_cluster)), Ok(for_cluster));
    // As other tools make them, with claims that mean nothing here.
    assert_eq!(desk.verify(&desk.sign(HEADER, &claims(r#","iat":5,"jti":"x""#))), Ok(token()));
}

#[test]
fn a_token_holds_for_its_time_and_its_beginning_has_a_leeway() {
    let desk = desk();
    let text = desk.issue(&token());
    let verify = |now| desk.trust.verify_token(&text, None, at(now)).map(|_| ());
    assert_eq!(verify(NOW - TOKEN_LEEWAY.as_secs() - 1), Err(TokenError::NotYetValid));
    assert_eq!(verify(NOW - TOKEN_LEEWAY.as_secs()), Ok(()));
    assert_eq!(verify(NOW + 3599), Ok(()));
    assert_eq!(verify(NOW + 3600), Err(TokenError::Expired));
    assert_eq!(verify(NOW * 2), Err(TokenError::Expired));
}

#[test]
fn a_token_for_another_cluster_is_refused_and_so_is_one_for_any_where_none_is_known() {
    let desk = desk();
    let text = desk.issue(&Token { audience: Some("another".to_owned()), ..token() });
    assert_eq!(desk.verify(&text), Err(TokenError::WrongAudience));
    assert_eq!(desk.trust.verify_token(&text, None, at(NOW)), Err(TokenError::WrongAudience));
}

#[test]
fn a_signature_of_anybody_else_is_refused() {
    let (desk, elsewhere) = (desk(), desk());
    let foreign = desk.verify(&elsewhere.issue(&token()));
    assert!(matches!(foreign, Err(TokenError::UnknownKey { .. })), "{foreign:?}");
    // With our key's name on it.
    let ours = desk.issue(&token());
    let (header, _) = ours.split_once('.').unwrap();
    let forged = elsewhere.sign(HEADER, &claims(""));
    let (_, rest) = forged.split_once('.').unwrap();
    assert_eq!(desk.verify(&format!("{header}.{rest}")), Err(TokenError::WrongSignature));
}

#[test]
fn both_of_two_authorities_are_believed() {
    let (one, two) = (desk(), desk());
    let certificates =
        [&one, &two].map(|desk| std::fs::read(desk.path.join(AUTHORITY_FILE)).unwrap());
    let both = TrustAnchors::from_pem(&certificates.concat()).unwrap();
    for desk in [one, two] {
        assert!(both.verify_token(&desk.issue(&token()), None, at(NOW)).is_ok());
    }
}

#[test]
fn no_changed_byte_of_a_token_is_believed() {
    let desk = desk();
    let text = desk.issue(&token());
    for index in 0..text.len() {
        for byte in [b'A', b'B', b'.', b'_'] {
            let mut changed = text.clone().into_bytes();
            if changed[index] == byte {
                continue;
            }
            changed[index] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(desk.verify(&changed).is_err(), "byte {index} as {}", char::from(byte));
        }
    }
    for length in 0..text.len() {
        assert!(desk.verify(&text[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn the_algorithm_is_not_the_tokens_to_choose() {
    let desk = desk();
    for alg in ["none", "None", "", "HS256", "ES384", "RS256", "es256"] {
        let header = HEADER.replace("ES256", alg);
        assert_eq!(
            desk.verify(&desk.sign(&header, &claims(""))),
            Err(TokenError::WrongAlgorithm),
            "{alg}"
        );
    }
    // The form of an unsigned one: nothing behind the last dot.
    let signed = desk.sign(&HEADER.replace("ES256", "none"), &claims(""));
    let (unsigned, _) = signed.rsplit_once('.').unwrap();
    assert_eq!(desk.verify(&format!("{unsigned}.")), Err(TokenError::WrongAlgorithm));
    let signed = desk.sign(HEADER, &claims(""));
    let (unsigned, _) = signed.rsplit_once('.').unwrap();
    assert_eq!(desk.verify(&format!("{unsigned}.")), Err(TokenError::WrongSignature));
    for header in [r#"{"alg":"ES256","kid":"KID"}"#, r#"{"alg":"ES256","typ":"JWT","kid":"KID"}"#] {
        assert_eq!(desk.verify(&desk.sign(header, &claims(""))), Err(TokenError::WrongType));
    }
    let critical = r#"{"alg":"ES256","typ":"quorate+jwt","kid":"KID","crit":["exp"]}"#;
    let refused = desk.verify(&desk.sign(critical, &claims("")));
    assert!(matches!(refused, Err(TokenError::Malformed(_))), "{refused:?}");
}

#[test]
fn what_is_signed_and_makes_no_sense_is_refused() {
    let desk = desk();
    let verify = |claims: &str| desk.verify(&desk.sign(HEADER, claims));
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"sub":"ann"}"#,
        r#"{"sub":"ann","nbf":1}"#,
        r#"{"sub":7,"nbf":1,"exp":2}"#,
        r#"{"sub":"ann","nbf":-1,"exp":2}"#,
        r#"{"sub":"ann","nbf":1,"exp":1e300}"#,
        r#"{"sub":"ann","sub":"bob","nbf":1,"exp":2}"#,
    ] {
        assert!(matches!(verify(bad), Err(TokenError::Malformed(_))), "{bad}");
    }
    let named = |name: &str| verify(&claims("").replace("ann", name));
    assert_eq!(named(""), Err(TokenError::WrongName));
    assert_eq!(named("a\\n"), Err(TokenError::WrongName));
    assert_eq!(named(&"n".repeat(NAME_BYTES_MAX + 1)), Err(TokenError::WrongName));
    let for_ever = format!(r#"{{"sub":"ann","nbf":0,"exp":{}}}"#, u64::MAX);
    assert_eq!(verify(&for_ever), Err(TokenError::TooLongValid));
    let long = claims(&format!(r#","x":"{}""#, "x".repeat(TOKEN_BYTES_MAX)));
    assert!(matches!(verify(&long), Err(TokenError::TooLong { .. })));
}

#[test]
fn what_can_not_be_believed_is_not_made() {
    let desk = desk();
    let refused = |token: Token| match issue(&desk.path, &token) {
        Err(IdentityError::NotMade(why)) => why,
        other => panic!("{other:?}"),
    };
    refused(Token { name: String::new(), ..token() });
    refused(Token { expires: at(NOW), ..token() });
    let long = at(NOW) + CREDENTIAL_VALIDITY_MAX + Duration::from_secs(1);
    let why = refused(Token { expires: long, ..token() });
    assert!(why.contains("400 days"), "{why}");
    let longest =
        Token { name: "n".repeat(NAME_BYTES_MAX), audience: Some(CLUSTER.to_owned()), ..token() };
    assert!(desk.verify(&desk.issue(&longest)).is_ok());
}

#[test]
fn only_keys_of_p256_sign_and_the_refusal_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let params = rcgen::CertificateParams::default();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(directory.path().join(AUTHORITY_FILE), certificate.pem()).unwrap();
    std::fs::write(directory.path().join(AUTHORITY_KEY_FILE), key.serialize_pem()).unwrap();
    let refused = issue(directory.path(), &token()).unwrap_err().to_string();
    assert!(refused.contains("P-256"), "{refused}");
    let trust = TrustAnchors::load(&directory.path().join(AUTHORITY_FILE)).unwrap();
    let text = desk().issue(&token());
    assert!(matches!(trust.verify_token(&text, None, at(NOW)), Err(TokenError::UnknownKey { .. })));
}
