//! The tree against the core's own tree in memory, and what a crash leaves of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::read::{Direction, MemoryTree, Read};
use quorate_store::{OpenError, Tree, TreeOptions};

/// Makes this binary write a tree there and end without closing it.
const WRITE: &str = "QUORATE_STORE_TEST_WRITE";
const APPLIED: &[u8] = b"applied";

fn open(path: &Path) -> Tree {
    Tree::open(path, &TreeOptions { cache_bytes: 8 << 20 }).unwrap()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(value: Option<Bytes>) -> Option<u64> {
    Some(u64::from_le_bytes(value?.as_ref().try_into().unwrap()))
}

fn all(read: &dyn Read, from: &[u8], to: &[u8], direction: Direction) -> Vec<(Bytes, Bytes)> {
    read.range(from, to, direction).collect()
}

fn key() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(0..4_u8, 0..4).prop_map(Bytes::from)
}

type Batch = BTreeMap<Bytes, Option<Bytes>>;

fn batch() -> impl Strategy<Value = Batch> {
    let value = proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    proptest::collection::btree_map(key(), proptest::option::weighted(0.6, value), 0..12)
}

fn check(read: &dyn Read, model: &MemoryTree, ends: &[(Bytes, Bytes)]) {
    for (from, to) in ends {
        assert_eq!(read.get(from), model.get(from));
        for direction in [Direction::Forward, Direction::Backward] {
            let expected = all(model, from, to, direction);
            assert_eq!(all(read, from, to, direction), expected, "{from:?}..{to:?} {direction:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_reads_like_the_one_in_memory(
        batches in proptest::collection::vec((batch(), 0..8_u8), 1..30),
        ends in proptest::collection::vec((key(), key()), 10),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let model = MemoryTree::new();
        let mut tree = open(directory.path());
        for (batch, then) in batches {
            let before = MemoryTree::new();
            before.commit(model.records().into_iter().map(|(k, v)| (k, Some(v))).collect());
            {
                let snapshot = tree.snapshot();
                tree.commit(batch.clone());
                model.commit(batch);
                check(&tree.reader(), &model, &ends);
                check(&snapshot, &before, &ends);
            }
            match then {
                0 => tree.flush(),
                1 => {
                    drop(tree);
                    tree = open(directory.path());
                }
                _ => {}
            }
        }
        check(&tree.reader(), &model, &ends);
    }
}

#[test]
fn what_is_flushed_is_told_apart_from_what_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let tree = open(directory.path());
    for applied in 1..=3_u64 {
        let value = Bytes::copy_from_slice(&applied.to_le_bytes());
        tree.commit([(bytes("applied"), Some(value)), (bytes("x"), Some(bytes("y")))]);
        assert_eq!(number(tree.reader().get(APPLIED)), Some(applied));
        assert_eq!(number(tree.flushed_get(APPLIED)), (applied > 1).then(|| applied - 1));
        tree.flush();
        assert_eq!(number(tree.flushed_get(APPLIED)), Some(applied));
    }
}

#[test]
fn after_a_kill_the_tree_is_at_an_older_commit_and_not_before_the_flushed_one() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tree::writes_a_tree_and_aborts_if_told_to"])
        .env(WRITE, directory.path())
        .output()
        .unwrap()
        .status;
    assert!(!status.success(), "the other process ends by a signal");
    let tree = open(directory.path());
    let reader = tree.reader();
    let applied = number(reader.get(APPLIED)).unwrap();
    assert!((1000..2500).contains(&applied), "{applied}");
    // Each commit has written one key and deleted the one of ten commits before.
    let keys = all(&reader, b"key", b"kez", Direction::Forward);
    let expected = (applied - 9..=applied).map(|commit| bytes(&format!("key{commit:08}")));
    assert_eq!(
        keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
}

/// The other process of the test above; alone it checks nothing.
#[test]
fn writes_a_tree_and_aborts_if_told_to() {
    let Some(path) = std::env::var_os(WRITE) else { return };
    let tree = open(Path::new(&path));
    for commit in 1..=2500_u64 {
        let applied = Bytes::copy_from_slice(&commit.to_le_bytes());
        let mut writes = vec![
            (bytes("applied"), Some(applied)),
            // Some KiB each, so that RocksDB flushes by itself, too.
            (bytes(&format!("key{commit:08}")), Some(Bytes::from(vec![7; 3000]))),
        ];
        if commit > 10 {
            writes.push((bytes(&format!("key{:08}", commit - 10)), None));
        }
        tree.commit(writes);
        if commit == 1000 {
            tree.flush();
        }
    }
    std::process::abort();
}

#[test]
fn a_checkpoint_is_what_was_flushed_and_does_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let tree = open(&directory.path().join("tree"));
    tree.commit([(bytes("a"), Some(bytes("flushed"))), (bytes("b"), Some(bytes("flushed")))]);
    tree.flush();
    tree.commit([(bytes("a"), Some(bytes("in memory")))]);
    let copy = directory.path().join("copy");
    let checkpoint = tree.checkpoint(&copy).unwrap();
    tree.commit([(bytes("a"), Some(bytes("after")))]);
    tree.flush();
    assert_eq!(checkpoint.get(b"a").unwrap(), Some(bytes("flushed")));
    let records = || checkpoint.records(b"a", b"z").map(|record| record.unwrap().0);
    assert_eq!(records().collect::<Vec<_>>(), [bytes("a"), bytes("b")]);
    assert_eq!(tree.reader().get(b"a"), Some(bytes("after")));
    assert!(tree.checkpoint(&copy).is_err(), "it exists");
    let mut scan = records();
    assert_eq!(scan.next(), Some(bytes("a")));
    drop(scan);
    let mut scan = checkpoint.records(b"a", b"z");
    drop(checkpoint);
    assert!(copy.is_dir(), "somebody reads it");
    assert_eq!(scan.by_ref().count(), 2);
    drop(scan);
    assert!(!copy.exists());
}

#[test]
fn a_tree_that_is_open_or_damaged_is_refused_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let tree = open(directory.path());
    let refusal = |path: &Path| match Tree::open(path, &TreeOptions::default()) {
        Err(refusal @ OpenError::Tree { .. }) => refusal.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    assert!(refusal(directory.path()).contains(&*directory.path().to_string_lossy()));
    tree.commit([(bytes("a"), Some(bytes("b")))]);
    drop(tree);
    std::fs::write(directory.path().join("CURRENT"), b"MANIFEST-999999\n").unwrap();
    refusal(directory.path());
}

#[test]
#[should_panic(expected = "this member must not go on with it")]
fn a_damaged_block_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let tree = open(directory.path());
    let write = |key: u32| (bytes(&format!("{key:08}")), Some(Bytes::from(vec![7; 100])));
    tree.commit((0..2000).map(write));
    drop(tree);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut table = std::fs::read(&path).unwrap();
            table[1000..1100].fill(0x55);
            std::fs::write(&path, table).unwrap();
        }
    }
    let tree = open(directory.path());
    all(&tree.reader(), b"0", b"9", Direction::Forward);
}
