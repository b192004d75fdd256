//! `quorate cert`: an authority, members' certificates that a member starts with, what they say, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::Home;

/// An authority in `authority` and member 7's files in `seven`.
fn made() -> Home {
    let home = Home::new();
    home.ok(&["cert", "authority", "--out", "authority", "--name", "Quorate, tests"]);
    let names = ["--name", "quorate-7.test", "10.1.2.3"];
    let member = ["cert", "member", "7", "--authority", "authority", "--out", "seven"];
    home.ok(&[&member[..], &names].concat());
    home
}

fn files(home: &Home, directory: &str) -> Vec<(String, u32)> {
    let mut files: Vec<(String, u32)> = fs::read_dir(home.path().join(directory))
        .expect("a directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let mode = entry.metadata().expect("metadata").permissions().mode() & 0o777;
            (entry.file_name().into_string().expect("UTF-8"), mode)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_authority_and_a_member_are_shown_as_they_were_asked_for() {
    let home = made();
    let expected = |files: &[(&str, u32)]| -> Vec<(String, u32)> {
        files.iter().map(|(name, mode)| ((*name).to_owned(), *mode)).collect()
    };
    assert_eq!(files(&home, "authority"), expected(&[("ca-key.pem", 0o600), ("ca.pem", 0o644)]));
    let seven = [("ca.pem", 0o644), ("server-key.pem", 0o600), ("server.pem", 0o644)];
    assert_eq!(files(&home, "seven"), expected(&seven));

    let shown = home.json(&["cert", "show", "seven"]);
    let [authority, key, member] = [0, 1, 2].map(|at| shown["files"][at].clone());
    let authority = &authority["certificates"][0];
    assert_eq!(authority["what"], "authority");
    assert_eq!(authority["subject"], "Quorate, tests");
    assert_eq!(authority["self_signed"], true);
    assert_eq!(key["key"], json!({ "readable_by_others": false }));
    assert_eq!(key["certificates"], json!([]));
    assert!(member["file"].as_str().is_some_and(|file| file.ends_with("seven/server.pem")));
    let member = &member["certificates"][0];
    assert_eq!(member["what"], "member");
    assert_eq!(member["members"], json!([7]));
    assert_eq!(member["signed_by"], "Quorate, tests");
    assert_eq!(
        member["names"],
        json!(["localhost", "quorate-7.test", "127.0.0.1", "::1", "10.1.2.3"])
    );
    assert_eq!(member["days_left"], 364);
    let from = member["valid_from_ms"].as_u64().expect("a time");
    let until = member["valid_until_ms"].as_u64().expect("a time");
    assert_eq!((until - from) / 1000, 365 * 24 * 3600 + 3600);
    assert_eq!(member["fingerprint"].as_str().map(str::len), Some(64));

    let text = home.ok(&["cert", "show", "seven/server.pem"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("FILE        WHAT    MEMBER  VALID FROM  UNTIL"), "{text}");
    assert!(lines[1].starts_with("server.pem  member  7       20"), "{text}");
    assert!(lines[1].contains("  364        Quorate, tests  localhost quorate-7.test"), "{text}");
    let all = home.ok(&["cert", "show", "authority"]);
    assert!(all.contains("ca-key.pem  key\n"), "{all}");
}

#[test]
fn a_member_starts_with_them_and_without_the_authoritys_key() {
    let home = made();
    home.ok(&["cert", "member", "1", "--authority", "authority", "--out", "data/certificates"]);
    let before = fs::read(home.path().join("data/certificates/server.pem")).expect("a file");
    let server = home.dev();
    let connect = ["--connect", server.address(), "--ca", "authority/ca.pem"];
    let status = home.json(&[&["status"], &connect[..]].concat());
    assert_eq!(status["role"], "leader");
    let after = fs::read(home.path().join("data/certificates/server.pem")).expect("a file");
    assert!(before == after, "the certificate was made anew");
    assert!(!home.path().join("data/certificates/ca-key.pem").exists());
}

#[test]
fn a_member_that_has_the_key_of_a_named_authority_renews_by_itself() {
    let home = made();
    home.ok(&["cert", "member", "9", "--authority", "authority", "--out", "data/certificates"]);
    let certificates = home.path().join("data/certificates");
    fs::copy(home.path().join("authority/ca-key.pem"), certificates.join("ca-key.pem"))
        .expect("copied");
    // Member 1 finds the certificate of member 9.
    let _server = home.dev();
    let shown = home.json(&["cert", "show", "data/certificates/server.pem"]);
    let member = &shown["files"][0]["certificates"][0];
    assert_eq!((&member["members"], &member["signed_by"]), (&json!([1]), &json!("Quorate, tests")));
}

#[test]
fn nothing_is_overwritten() {
    let home = made();
    for arguments in [
        &["cert", "authority", "--out", "authority"][..],
        &["cert", "authority", "--out", "seven"],
        &["cert", "member", "7", "--authority", "authority", "--out", "seven"],
    ] {
        let before = [files(&home, "authority"), files(&home, "seven")];
        let done = home.run(arguments);
        assert_eq!((done.code, &*done.stdout), (1, ""), "{arguments:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("is there already, and nothing was written"),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("--out"), "{}", done.stderr);
        assert_eq!([files(&home, "authority"), files(&home, "seven")], before);
    }
    // Beside the copy of another authority neither.
    home.ok(&["cert", "authority", "--out", "other"]);
    let mixed = home.run(&["cert", "member", "8", "--authority", "authority", "--out", "other"]);
    assert_eq!(mixed.code, 1, "{}", mixed.stderr);
    assert!(mixed.stderr.contains("ca.pem is there already"), "{}", mixed.stderr);
    assert!(!home.path().join("other/server.pem").exists());
}

#[test]
fn refusals_say_what_to_do() {
    let home = made();
    let member = |number, rest: &[&str]| {
        home.run(&[&["cert", "member", number, "--out", "new"], rest].concat())
    };
    for (number, rest, says) in [
        ("0", &["--authority", "authority"][..], "0 is not in 1.."),
        ("-1", &["--authority", "authority"], "-1"),
        ("1", &[], "--authority"),
        ("1", &["--authority", "authority", "--name", "a b"], "neither a host name nor an IP"),
        ("1", &["--authority", "authority", "--name", ""], "neither a host name nor an IP"),
    ] {
        let done = member(number, rest);
        assert_eq!((done.code, &*done.stdout), (2, ""), "{number} {rest:?}: {}", done.stderr);
        assert!(done.stderr.contains(says), "{number} {rest:?}: {}", done.stderr);
    }
    let too_long = "x".repeat(65);
    for name in ["", &too_long, "a\nb"] {
        let done = home.run(&["cert", "authority", "--out", "new", "--name", name]);
        assert_eq!(done.code, 2, "{name:?}: {}", done.stderr);
        assert!(done.stderr.contains("1 to 64 printable characters"), "{}", done.stderr);
    }

    let nowhere = member("1", &["--authority", "nowhere"]);
    assert_eq!(nowhere.code, 1);
    assert!(nowhere.stderr.contains("nowhere/ca.pem can not be read"), "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("quorate cert authority --out DIR"), "{}", nowhere.stderr);
    let key = home.path().join("authority/ca-key.pem");
    home.ok(&["cert", "authority", "--out", "other"]);
    fs::copy(home.path().join("other/ca-key.pem"), &key).expect("copied");
    let foreign = member("1", &["--authority", "authority"]);
    assert_eq!(foreign.code, 1);
    assert!(foreign.stderr.contains("is not the key of the certificate in"), "{}", foreign.stderr);
    fs::remove_file(key).expect("removed");
    let keyless = member("1", &["--authority", "authority"]);
    assert_eq!(keyless.code, 1);
    assert!(keyless.stderr.contains("ca-key.pem can not be read"), "{}", keyless.stderr);
    assert!(!home.path().join("new").exists());
}

#[test]
fn what_is_no_certificate_is_named_and_not_quoted() {
    let home = made();
    fs::write(home.path().join("notes.pem"), "somebody's secret notes").expect("written");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(home.path().join("broken.pem"), broken).expect("written");
    fs::create_dir(home.path().join("empty")).expect("made");
    for (path, says) in [
        ("notes.pem", "notes.pem is not a usable PEM file"),
        ("broken.pem", "broken.pem can not be used"),
        ("missing.pem", "missing.pem can not be read"),
        ("empty", "has no file that ends in .pem"),
        (".", "broken.pem can not be used"),
    ] {
        let done = home.run(&["cert", "show", path, "--output", "json"]);
        assert_eq!((done.code, &*done.stdout), (1, ""), "{path}: {}", done.stderr);
        let told: Value = serde_json::from_str(&done.stderr).expect("JSON");
        let message = told["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(says) && !message.contains("secret"), "{path}: {message}");
    }
    fs::set_permissions(
        home.path().join("seven/server-key.pem"),
        fs::Permissions::from_mode(0o644),
    )
    .expect("set");
    let text = home.ok(&["cert", "show", "seven"]);
    assert!(text.contains("key that others can read"), "{text}");
}
