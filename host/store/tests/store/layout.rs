//! The data directory: made once, opened by one, refused when it is not ours.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use quorate_store::{DataDirectory, Log, LogOptions, OpenError};

/// Makes this binary hold the directory that it names until its input ends.
const HOLD: &str = "QUORATE_STORE_TEST_HOLD";

fn open(path: &Path) -> Result<DataDirectory, OpenError> {
    DataDirectory::open(path, || b"cluster 1 member 2".to_vec())
}

#[test]
fn a_new_directory_gets_the_identity_and_keeps_it() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("some/where");
    let data = open(&path).unwrap();
    assert!(data.is_new());
    assert!(data.free_bytes().unwrap() > 0);
    drop(data);
    let data = DataDirectory::open(&path, || panic!("it has an identity")).unwrap();
    assert!(!data.is_new());
    assert_eq!(data.identity(), b"cluster 1 member 2");
    assert_eq!(data.log_path(), path.join("log"));
}

#[test]
fn what_is_made_is_its_owner_s_alone() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("some/where");
    let data = open(&path).unwrap();
    data.keep_note("MEMBER", b"a note").unwrap();
    let log = Log::open(&data.log_path(), LogOptions::default(), Box::new(|_| ())).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for directory in [&parent.path().join("some"), &path, &data.log_path()] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    let mut found = 0;
    for directory in [&path, &data.log_path()] {
        for entry in fs::read_dir(directory).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                assert_eq!(mode(&file), 0o600, "{}", file.display());
                found += 1;
            }
        }
    }
    assert!(found >= 4, "FORMAT, LOCK, MEMBER and a segment of the log");
    log.close().unwrap();
}

#[test]
fn an_interrupted_creation_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("FORMAT.new"), b"QUOR").unwrap();
    fs::write(directory.path().join("LOCK"), b"").unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    assert!(open(directory.path()).unwrap().is_new());
    assert!(!open(directory.path()).unwrap().is_new());
}

#[test]
fn certificates_may_be_there_before_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("certificates")).unwrap();
    assert!(open(directory.path()).unwrap().is_new());
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), b"years of work").unwrap();
    let refusal = open(directory.path()).unwrap_err();
    assert!(matches!(refusal, OpenError::Foreign { .. }));
    let message = refusal.to_string();
    assert!(message.contains("thesis.tex") && message.contains("name an empty"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_format_file_that_is_not_ours_newer_or_damaged_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("FORMAT");
    drop(open(directory.path()).unwrap());
    let good = fs::read(&path).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(directory.path()).unwrap_err()
    };
    assert!(matches!(refusal(b"SQLite format 3"), OpenError::Foreign { .. }));
    assert!(matches!(refusal(&vec![7; 1 << 20]), OpenError::Foreign { .. }));
    let (ours, mut newer) = (good[8], good.clone());
    newer[8] += 1;
    let next = u32::from(newer[8]);
    let newer = refusal(&newer);
    assert!(matches!(newer, OpenError::UnknownVersion { found, .. } if found == next), "{newer}");
    let told = format!("the format version is {next}, this program reads {ours}");
    assert!(newer.to_string().contains(&told), "{newer}");
    let mut damaged = good.clone();
    damaged[20] ^= 1;
    assert!(matches!(refusal(&damaged), OpenError::Corrupt { .. }));
    fs::write(&path, &good).unwrap();
    open(directory.path()).unwrap();
}

#[test]
fn an_identity_over_the_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = DataDirectory::open(directory.path(), || vec![0; 4097]).unwrap_err();
    assert!(refusal.to_string().contains("4097 bytes of identity, limit 4096"), "{refusal}");
    assert!(open(directory.path()).unwrap().is_new());
}

#[test]
fn a_directory_that_is_in_use_is_refused_with_its_holder() {
    let directory = tempfile::tempdir().unwrap();
    let data = open(directory.path()).unwrap();
    let refusal = open(directory.path()).unwrap_err();
    assert!(matches!(refusal, OpenError::Locked { .. }));
    assert!(refusal.to_string().contains(&format!("process {}", std::process::id())));
    drop(data);
    open(directory.path()).unwrap();
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "layout::holds_a_directory_if_told_to", "--nocapture"])
        .env(HOLD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("held")));
    let refusal = open(directory.path()).unwrap_err().to_string();
    assert!(refusal.contains(&format!("process {}", child.id())), "{refusal}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!open(directory.path()).unwrap().is_new());
}

/// The other process of the test above; alone it checks nothing.
#[test]
fn holds_a_directory_if_told_to() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    let data = open(Path::new(&path)).unwrap();
    println!("held");
    std::io::stdin().lines().for_each(drop);
    drop(data);
}
