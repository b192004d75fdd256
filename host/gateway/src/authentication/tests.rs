//! What is shown, and what it makes of whoever shows it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use quorate_net::{Token, issue, token};

use super::*;

const HOUSE: [u8; HOUSE_SECRET_BYTES] = [7; HOUSE_SECRET_BYTES];
const CLUSTER: &str = "00112233445566778899aabbccddeeff";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

struct Desk {
    directory: tempfile::TempDir,
    authentication: Authentication,
}

fn trust(directory: &Path) -> TrustAnchors {
    TrustAnchors::load(&directory.join(issue::AUTHORITY_FILE)).unwrap()
}

fn desk(anonymous: Anonymous) -> Desk {
    let directory = tempfile::tempdir().unwrap();
    issue::authority(directory.path(), None, now()).unwrap();
    let cluster = Box::new(|| Some(CLUSTER.to_owned()));
    let authentication = Authentication::new(trust(directory.path()), anonymous, HOUSE, cluster);
    Desk { directory, authentication }
}

impl Desk {
    fn token(&self, name: &str, seconds: u64) -> Credential {
        let made = Token {
            name: name.to_owned(),
            not_before: now(),
            expires: now() + Duration::from_secs(seconds),
            audience: Some(CLUSTER.to_owned()),
        };
        Credential::Token(token::issue(self.directory.path(), &made).unwrap())
    }

    fn known(&self, names: &[&str], credentials: &[Credential]) -> Result<Vec<String>, Refusal> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let known = self.authentication.known(names, credentials, now())?;
        assert!(known.is_sorted_by(|a, b| a.identity < b.identity), "{known:?}");
        let text = |held: Held| match held.expires {
            Some(Millis(at)) => format!("{} until {}", held.identity, at / 1000 - 1_800_000_000),
            None => held.identity.to_string(),
        };
        Ok(known.into_iter().map(text).collect())
    }
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: password.to_owned() }
}

#[test]
fn what_has_expired_vouches_for_nobody() {
    let held = |text: &str, expires: Option<u64>| Held {
        identity: Identity::parse(text).unwrap(),
        expires: expires.map(Millis),
    };
    let desk = |anonymous| desk(anonymous).authentication;
    let token = held("token:ci", Some(1_000));
    let password = held("digest:ann:x+L4EihwQJnnn+F1+VlPm5MJ/vE=", None);
    let (required, served) = (desk(Anonymous::Refused), desk(Anonymous::Served));
    let known = [password, token.clone()];
    assert_eq!(required.check_still_somebody(&known, Millis(999)), Ok(()));
    let refusal = required.check_still_somebody(&known, Millis(1_000)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::AuthenticationRequired);
    assert!(refusal.message.contains("expired"), "{refusal}");
    assert_eq!(served.check_still_somebody(&known, Millis(1_000)), Ok(()));
    let with_certificate = [token, held("x509:CN=ann", None)];
    assert_eq!(required.check_still_somebody(&with_certificate, Millis(1_000)), Ok(()));
    let nobody = required.check_still_somebody(&[], Millis(1_000)).unwrap_err();
    assert!(nobody.message.contains("nothing was shown"), "{nobody}");
}

#[test]
fn each_kind_of_credential_makes_an_identity_of_its_own() {
    let desk = desk(Anonymous::Served);
    let shown = [desk.token("ci", 60), password("super", "admin")];
    assert_eq!(
        desk.known(&["CN=ann", "DNS=host"], &shown).unwrap(),
        [
            "digest:super:xQJmxLMiHGwaqBvst5y6rkB6HQs=",
            "x509:CN=ann",
            "x509:DNS=host",
            "token:ci until 60",
        ]
    );
    assert_eq!(desk.known(&[], &[Credential::House(HOUSE)]).unwrap(), ["super:"]);
    assert!(desk.known(&[], &[]).unwrap().is_empty());
    // One identity for each name, for as long as the longest.
    let twice = [desk.token("ci", 60), desk.token("ci", 90), desk.token("ci", 30)];
    assert_eq!(desk.known(&[], &twice).unwrap(), ["token:ci until 90"]);
}

#[test]
fn what_is_not_accepted_refuses_all_of_it_and_is_not_quoted() {
    let desk = desk(Anonymous::Served);
    let Credential::Token(elsewhere) = desk_token_of_another() else { panic!() };
    let expired = desk.token("ci", 1);
    let late = now() + Duration::from_secs(1);
    let refused = desk.authentication.show(&expired, late).unwrap_err();
    assert_eq!(refused.code, ErrorCode::AuthenticationFailed);
    assert_eq!(refused.message, "the token has expired");
    for bad in [
        Credential::Token(elsewhere),
        Credential::Token("hunter2".to_owned()),
        password("an:n", "hunter2"),
        password("ann", &"hunter2".repeat(1000)),
        Credential::House([8; HOUSE_SECRET_BYTES]),
    ] {
        let refused = desk.known(&["CN=ann"], &[desk.token("ci", 60), bad]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AuthenticationFailed, "{refused}");
        assert!(!refused.message.contains("hunter2"), "{refused}");
    }
}

fn desk_token_of_another() -> Credential {
    desk(Anonymous::Served).token("ci", 60)
}

#[test]
fn where_nobody_anonymous_is_served_a_password_is_not_enough() {
    let desk = desk(Anonymous::Refused);
    for (shown, why) in
        [(vec![], "nothing was shown"), (vec![password("a", "b")], "a password alone")]
    {
        let refused = desk.known(&[], &shown).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AuthenticationRequired);
        assert!(
            refused.message.contains(why) && refused.message.contains("--token-file"),
            "{refused}"
        );
    }
    desk.known(&["CN=ann"], &[]).unwrap();
    desk.known(&[], &[desk.token("ci", 60)]).unwrap();
    desk.known(&[], &[Credential::House(HOUSE)]).unwrap();
}

#[test]
fn the_principal_is_the_certificates_common_name_then_a_token_then_a_password() {
    let desk = desk(Anonymous::Served);
    let principal = |names: &[&str], shown: &[Credential]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        principal(&desk.authentication.known(names, shown, now()).unwrap())
    };
    let (token, password) = (desk.token("ci", 60), password("super", "admin"));
    let all = [password.clone(), token.clone()];
    assert_eq!(principal(&["DNS=a", "CN=b"], &all), "x509:CN=b");
    assert_eq!(principal(&["URI=a", "DNS=b"], &all), "x509:DNS=b");
    assert_eq!(principal(&[], &all), "token:ci");
    assert_eq!(principal(&[], &[password]), "digest:super:xQJmxLMiHGwaqBvst5y6rkB6HQs=");
    assert_eq!(principal(&[], &[Credential::House(HOUSE)]), "");
    // What is the longest name, that a session takes, too.
    let long = "n".repeat(quorate_net::limits::NAME_BYTES_MAX);
    let longest = [format!("EMAIL={long}")];
    let names = [longest[0].as_str()];
    let shown = [self::password(&long, "p"), desk.token(&long, 60)];
    for known in [principal(&names, &[]), principal(&[], &shown[..1]), principal(&[], &shown[1..])]
    {
        assert!(known.len() > 200 && known.len() <= quorate_core::limits::PRINCIPAL_BYTES_MAX);
    }
}

#[test]
fn renewed_authorities_are_believed_and_the_old_ones_are_not() {
    let (desk, other) = (desk(Anonymous::Served), desk(Anonymous::Served));
    let credential = other.token("ci", 60);
    assert!(desk.authentication.show(&credential, now()).is_err());
    let directory = tempfile::tempdir().unwrap();
    let identity =
        quorate_net::Identity::open_or_make(directory.path(), &[], 1, SystemTime::now()).unwrap();
    let clients = Some(trust(other.directory.path()));
    desk.authentication.renew(&quorate_net::Identity { clients, ..identity });
    assert!(desk.authentication.show(&credential, now()).is_ok());
    assert!(desk.authentication.show(&desk.token("ci", 60), now()).is_err());
}

#[test]
fn a_credential_that_is_sent_again_has_its_hash_and_another_one_another() {
    let desk = desk(Anonymous::Served);
    let all = [desk.token("a", 60), desk.token("b", 60), password("a", "b"), password("a", "c")];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            assert_eq!(hash(one) == hash(other), at == other_at);
        }
    }
    let short = password("a", "b");
    let body = quorate_wire::message::body::encode_credential(&short);
    assert_ne!(
        hash(&short),
        quorate_wire::message::body::hash(&body),
        "that one can be turned back"
    );
}
