//! Certificates on disk: made, found, renewed, and refused with the file's name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use quorate_net::limits::{AUTHORITY_VALIDITY, CERTIFICATE_RENEW_AHEAD, CERTIFICATE_VALIDITY};
use quorate_net::{Identity, IdentityError, IdentityFiles, IdentityOrigin, TrustAnchors};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn open(directory: &Path, names: &[&str], now: SystemTime) -> Result<Identity, IdentityError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Identity::open_or_make(directory, &names, 1, now)
}

fn files(directory: &Path) -> IdentityFiles {
    IdentityFiles {
        authority: directory.join("ca.pem"),
        certificate: directory.join("server.pem"),
        key: directory.join("server-key.pem"),
    }
}

#[test]
fn the_first_start_makes_all_and_the_next_finds_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/certificates");
    let now = SystemTime::now();
    let made = open(&path, &["quorate.test", "10.1.2.3"], now).unwrap();
    assert_eq!(made.origin, IdentityOrigin::Made);
    assert_eq!(made.authority_file, path.join("ca.pem"));
    let found = open(&path, &["quorate.test", "10.1.2.3"], now).unwrap();
    assert_eq!(found.origin, IdentityOrigin::Found);
    let names = ["localhost", "127.0.0.1", "::1", "quorate.test", "10.1.2.3"].map(str::to_owned);
    Identity::load(&files(&path), &names, None, now).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "the directory that was made has mode {mode:o}");
    let mut listed: Vec<(String, u32)> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    listed.sort();
    for (name, mode) in &listed {
        let is_key = name.ends_with("-key.pem");
        assert!(!is_key || *mode == 0o600, "{name} has mode {mode:o}");
    }
    let names: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["ca-key.pem", "ca.pem", "server-key.pem", "server.pem"]);
}

#[test]
fn a_certificate_is_renewed_in_time_under_the_same_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    let authority = fs::read(path.join("ca.pem")).unwrap();

    let early = now + CERTIFICATE_VALIDITY - CERTIFICATE_RENEW_AHEAD - DAY;
    assert_eq!(open(path, &[], early).unwrap().origin, IdentityOrigin::Found);
    let late = now + CERTIFICATE_VALIDITY - CERTIFICATE_RENEW_AHEAD + DAY;
    assert_eq!(open(path, &[], late).unwrap().origin, IdentityOrigin::Renewed);
    let much_later = now + AUTHORITY_VALIDITY - CERTIFICATE_VALIDITY;
    assert_eq!(open(path, &[], much_later).unwrap().origin, IdentityOrigin::Renewed);
    assert_eq!(fs::read(path.join("ca.pem")).unwrap(), authority);
}

#[test]
fn a_new_name_and_a_lost_key_are_mended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    assert_eq!(open(path, &["a.test"], now).unwrap().origin, IdentityOrigin::Renewed);
    assert_eq!(open(path, &["a.test"], now).unwrap().origin, IdentityOrigin::Found);
    fs::remove_file(path.join("server-key.pem")).unwrap();
    assert_eq!(open(path, &[], now).unwrap().origin, IdentityOrigin::Renewed);
    // As a crash between the writes of key and certificate leaves it.
    fs::copy(path.join("ca-key.pem"), path.join("server-key.pem")).unwrap();
    assert_eq!(open(path, &[], now).unwrap().origin, IdentityOrigin::Renewed);
}

#[test]
fn without_the_authoritys_key_a_good_certificate_serves_as_long_as_it_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    fs::remove_file(path.join("ca-key.pem")).unwrap();
    let late = now + CERTIFICATE_VALIDITY - DAY;
    assert_eq!(open(path, &[], late).unwrap().origin, IdentityOrigin::Found);
    let error = open(path, &[], now + CERTIFICATE_VALIDITY + DAY).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, IdentityError::AuthorityKeyMissing { .. }), "{error:?}");
    assert!(text.contains("server.pem") && text.contains("expired"), "{text}");
    assert!(text.contains("ca-key.pem"), "{text}");
}

#[test]
fn each_fault_names_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    let files = files(path);
    let names = ["localhost".to_owned()];
    let load = |files: &IdentityFiles, now| Identity::load(files, &names, None, now).unwrap_err();

    let expired = load(&files, now + CERTIFICATE_VALIDITY + DAY);
    assert!(matches!(&expired, IdentityError::Expired { file } if *file == files.certificate));
    let early = load(&files, now - 30 * DAY);
    assert!(matches!(&early, IdentityError::NotYetValid { file } if *file == files.certificate));
    let name = Identity::load(&files, &["other.test".to_owned()], None, now).unwrap_err();
    assert!(matches!(&name, IdentityError::WrongName { name, .. } if name == "other.test"));
    let no_name = Identity::load(&files, &["a b".to_owned()], None, now).unwrap_err();
    assert!(matches!(&no_name, IdentityError::BadName { name } if name == "a b"));

    let missing = path.join("missing.pem");
    let unreadable = load(&IdentityFiles { key: missing.clone(), ..files.clone() }, now);
    assert!(matches!(&unreadable, IdentityError::Unreadable { file, .. } if *file == missing));
    let mixed = load(&IdentityFiles { key: path.join("ca-key.pem"), ..files.clone() }, now);
    assert!(
        matches!(&mixed, IdentityError::KeyMismatch { key, .. } if key.ends_with("ca-key.pem"))
    );
    let swapped = load(&IdentityFiles { key: files.certificate.clone(), ..files.clone() }, now);
    assert!(matches!(&swapped, IdentityError::NotPem { file, .. } if *file == files.certificate));
}

#[test]
fn a_foreign_authority_and_a_file_that_is_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    let files = files(path);
    let names = ["localhost".to_owned()];
    let load = |files: &IdentityFiles, now| Identity::load(files, &names, None, now).unwrap_err();

    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path(), &[], now).unwrap();
    let authority = elsewhere.path().join("ca.pem");
    let foreign = load(&IdentityFiles { authority: authority.clone(), ..files.clone() }, now);
    assert!(
        matches!(&foreign, IdentityError::WrongAuthority { authority: a, .. } if *a == authority),
        "{foreign:?}"
    );

    let noise = path.join("noise.pem");
    for text in
        ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"]
    {
        fs::write(&noise, text).unwrap();
        let error = TrustAnchors::load(&noise).unwrap_err();
        assert!(
            matches!(&error, IdentityError::NotPem { file, .. } if *file == noise),
            "{error:?}"
        );
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = TrustAnchors::from_pem(broken.as_bytes()).unwrap_err();
    assert!(matches!(&error, IdentityError::Unusable { .. }), "{error:?}");
    let error = TrustAnchors::from_pem(b"no PEM at all").unwrap_err();
    let said = "the PEM given is not a usable PEM file: no item of the expected kind in it";
    assert_eq!(error.to_string(), said);
    fs::write(&noise, broken).unwrap();
    let error = TrustAnchors::load(&noise).unwrap_err();
    assert!(matches!(&error, IdentityError::Unusable { file, .. } if *file == noise), "{error:?}");
}

#[test]
fn files_that_are_not_understood_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let now = SystemTime::now();
    open(path, &[], now).unwrap();
    fs::write(path.join("server.pem"), "somebody's notes").unwrap();
    let error = open(path, &[], now).unwrap_err();
    assert!(matches!(error, IdentityError::NotPem { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(path.join("server.pem")).unwrap(), "somebody's notes");
}
