//! Compiled code on disk: used when whole, made anew when not.

use std::path::PathBuf;
use std::time::SystemTime;

use quorate_engine::{Engine, Options};
use quorate_wire::value::Value;

use crate::guests;
use crate::support::{Bench, digest};

struct Member {
    directory: tempfile::TempDir,
}

impl Member {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    /// A process with this member's cache, which has prepared the guest.
    fn start(&self) -> Engine {
        let cache = Some(self.directory.path().join("cache"));
        let engine = Engine::new(&Options { cache, ..Options::default() }).expect("an engine");
        let bytes = guests::various();
        engine.prepare(digest(&bytes), bytes).expect("admitted");
        engine
    }

    fn file(&self) -> PathBuf {
        let entries = std::fs::read_dir(self.directory.path().join("cache")).expect("a directory");
        let mut files: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry").path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    fn written(&self) -> SystemTime {
        let metadata = std::fs::metadata(self.file()).expect("metadata");
        metadata.modified().expect("a time")
    }
}

fn works(engine: Engine) {
    let component = digest(&guests::various());
    let mut bench = Bench::on(engine, component);
    assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)));
}

#[test]
fn code_is_compiled_once_and_loaded_afterwards() {
    let member = Member::new();
    works(member.start());
    let written = member.written();
    works(member.start());
    assert_eq!(member.written(), written, "it was not compiled again");
}

#[test]
fn damaged_and_foreign_code_is_compiled_again() {
    let member = Member::new();
    works(member.start());
    let good = std::fs::read(member.file()).expect("readable");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let truncated = good[..good.len() - 1].to_vec();
    for bad in [flipped, truncated, Vec::new(), b"QRTCODE1".to_vec(), vec![0; 100]] {
        std::fs::write(member.file(), &bad).expect("writable");
        works(member.start());
        assert_eq!(std::fs::read(member.file()).expect("readable").len(), good.len());
    }
    // Another component's code, whole, under this one's name.
    let other = Member::new();
    let cache = Some(other.directory.path().join("cache"));
    let engine = Engine::new(&Options { cache, ..Options::default() }).expect("an engine");
    let bytes = guests::tree();
    engine.prepare(digest(&bytes), bytes).expect("admitted");
    std::fs::copy(other.file(), member.file()).expect("copied");
    works(member.start());
}

#[test]
fn forgetting_a_component_removes_its_code() {
    let member = Member::new();
    let engine = member.start();
    let file = member.file();
    engine.forget(&digest(&guests::various()));
    assert!(!file.exists());
}
