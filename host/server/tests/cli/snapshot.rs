//! Snapshots: saved from a server that goes on, looked at, and made a new cluster of; and what is no snapshot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use quorate_core::draft::Meta;
use quorate_core::ids::{NamespaceId, Term};
use quorate_wire::snapshot::{Encoder, Head};

use crate::harness::{Home, Server, until};

/// A server with some znodes and a lock that is held by a process that is killed.
fn served(home: &Home) -> Server {
    let server = home.dev();
    for at in 0..20 {
        home.ok(&["create", &format!("/n{at}"), &format!("data {at}")]);
    }
    let mut holder = home.command(&["lock", "/deploys", "--", "sh", "-c", "echo held; cat"]);
    let mut holder = holder.stdin(Stdio::piped()).spawn().expect("it starts");
    until("the lock is held", || home.json(&["ls", "/"]).to_string().contains("n19"));
    let mut line = String::new();
    let stdout = holder.stdout.as_mut().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    assert_eq!(line, "held\n");
    holder.kill().expect("it ran");
    holder.wait().expect("it has ended");
    server
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_snapshot_becomes_a_new_cluster_with_the_same_digest() {
    let home = Home::new();
    let server = served(&home);
    let saved = home.json(&["snapshot", "save", "monday.snapshot"]);
    home.ok(&["create", "/after"]);
    drop(server);
    assert!(!home.path().join("monday.snapshot.part").exists());
    let inspected = home.json(&["snapshot", "inspect", "monday.snapshot"]);
    for key in ["digest", "zxid", "znodes", "sessions", "recipes", "bytes", "term", "index"] {
        assert_eq!(inspected[key], saved[key], "{key}");
    }
    assert_eq!(inspected["is_verified"], true);
    assert!(inspected["sessions"].as_u64().expect("a number") >= 1);
    let told = home.ok(&["snapshot", "inspect", "monday.snapshot"]);
    assert!(told.contains("verified   yes") && told.contains("namespace  default"), "{told}");

    let restored = home.json(&["snapshot", "restore", "monday.snapshot", "--data", "new/data"]);
    assert_eq!(restored["restored_digest"], saved["digest"]);
    let server =
        home.server(&["dev", "--data", "new/data", "--listen", "127.0.0.1:0", "--output", "json"]);
    assert_eq!(home.ok(&["get", "/n7"]), "data 7");
    assert_eq!(home.run(&["stat", "/after"]).code, 1, "it was written afterwards");
    let status = home.json(&["status"]);
    assert!(status["term"].as_u64() > saved["term"].as_u64(), "{status} after {saved}");
    assert!(status["zxid"].as_u64() > saved["zxid"].as_u64(), "{status} after {saved}");
    assert!(status["applied_index"].as_u64() > saved["index"].as_u64(), "{status} after {saved}");
    // Nobody comes back for the lock of the old cluster: it goes with its session.
    until("the lock is free", || home.run(&["lock", "/deploys", "--", "true"]).code == 0);

    // And the new cluster lives: it restarts on what it has, and a snapshot of it is one like any other.
    home.ok(&["set", "/n7", "changed"]);
    let address = server.address().to_owned();
    server.kill();
    let server =
        home.server(&["dev", "--data", "new/data", "--listen", &address, "--output", "json"]);
    assert_eq!(home.ok(&["get", "/n7"]), "changed");
    home.ok(&["snapshot", "save", "tuesday.snapshot"]);
    drop(server);
    home.ok(&["snapshot", "restore", "tuesday.snapshot", "--data", "newer"]);
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_a_server_that_is_not_leaves_nothing() {
    let home = Home::new();
    let address = home.dev().address().to_owned();
    fs::write(home.path().join("there"), b"years of work").expect("written");
    let refused = home.run(&["snapshot", "save", "there", "--connect", &address]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert_eq!(fs::read(home.path().join("there")).expect("readable"), b"years of work");
    let refused = home.run(&["snapshot", "save", "new", "--connect-timeout", "1s"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(!home.path().join("new").exists() && !home.path().join("new.part").exists());
}

/// A file, why it is refused, and whether its head can be shown all the same.
fn wrong_files(home: &Home, sound: &[u8]) -> Vec<(PathBuf, &'static str, bool)> {
    let mut flipped = sound.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    let mut newer = sound.to_vec();
    newer[8 + 17] = 9;
    let length = u32::from_le_bytes(newer[..4].try_into().expect("four bytes")) as usize;
    let checksum = crc32c(&newer[8..8 + length]);
    newer[4..8].copy_from_slice(&checksum.to_le_bytes());
    let files: [(&str, Vec<u8>, &str, bool); 6] = [
        ("cut", sound[..sound.len() - 30].to_vec(), "too early", true),
        ("flipped", flipped, "its checksum", true),
        ("newer", newer, "has format 9, this program reads format 2", false),
        ("longer", [sound, b"x"].concat(), "something follows", true),
        ("text", b"a text that is no snapshot at all".to_vec(), "this is not a snapshot", false),
        ("empty", Vec::new(), "too early", false),
    ];
    files
        .into_iter()
        .map(|(name, bytes, why, has_head)| {
            let path = home.path().join(name);
            fs::write(&path, bytes).expect("written");
            (path, why, has_head)
        })
        .collect()
}

/// Bit by bit: a test needs no fast one.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[test]
fn what_is_no_sound_snapshot_is_refused_with_a_reason_and_leaves_nothing_behind() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["create", "/n", "data"]);
    home.ok(&["snapshot", "save", "sound"]);
    drop(server);
    let sound = fs::read(home.path().join("sound")).expect("readable");
    let data = home.path().join("new");
    for (file, why, has_head) in wrong_files(&home, &sound) {
        let inspected = home.run(&["snapshot", "inspect", text(&file)]);
        let said = format!("{}{}", inspected.stdout, inspected.stderr);
        assert_eq!(inspected.code, 1, "{file:?}: {said}");
        assert!(said.contains(why), "{file:?}: {said}");
        assert_eq!(inspected.stdout.contains("namespace  default"), has_head, "{file:?}: {said}");
        let refused = home.run(&["snapshot", "restore", text(&file), "--data", "new"]);
        assert_eq!(refused.code, 1, "{file:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(why), "{file:?}: {}", refused.stderr);
        assert!(!data.exists(), "{file:?}");
    }
    let missing = home.run(&["snapshot", "restore", "missing", "--data", "new"]);
    assert!(missing.code == 1 && missing.stderr.contains("missing"), "{}", missing.stderr);
    assert!(!data.exists());
    // An empty directory stays one, with what its file system has put there.
    fs::create_dir_all(data.join("lost+found")).expect("a directory");
    let refused = home.run(&["snapshot", "restore", "cut", "--data", "new"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert_eq!(fs::read_dir(&data).expect("listed").count(), 1);
    home.ok(&["snapshot", "restore", "sound", "--data", "new"]);
}

#[test]
fn a_snapshot_of_another_namespace_and_an_empty_one_are_refused() {
    let home = Home::new();
    let write = |name: &str, namespace: NamespaceId, place| {
        let head = Head { namespace, place, membership: Bytes::from_static(&[1, 0, 0, 0]) };
        let end = Encoder::after(0).finish(&head, Meta::default());
        let stream = [Encoder::head(&head), end].concat();
        fs::write(home.path().join(name), stream).expect("written");
    };
    write("other", NamespaceId(7), Some((Term(1), 9)));
    write("nothing", NamespaceId::DEFAULT, None);
    for (name, why) in [("other", "of namespace 7"), ("nothing", "nothing was ever applied")] {
        assert_eq!(home.json(&["snapshot", "inspect", name])["is_verified"], true);
        let refused = home.run(&["snapshot", "restore", name, "--data", "new"]);
        assert!(refused.code == 1 && refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!home.path().join("new").exists());
    }
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["snapshot", "save", "sound"]);
    fs::create_dir(home.path().join("thesis")).expect("a directory");
    fs::write(home.path().join("thesis/thesis.tex"), b"years of work").expect("written");
    for (data, found) in [("thesis", "thesis.tex"), ("data", "")] {
        let refused = home.run(&["snapshot", "restore", "sound", "--data", data]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
        assert!(refused.stderr.contains(found), "{}", refused.stderr);
    }
    assert_eq!(fs::read_dir(home.path().join("thesis")).expect("listed").count(), 1);
    assert_eq!(home.json(&["status"])["role"], "leader", "the server's own directory too");
    drop(server);
}
