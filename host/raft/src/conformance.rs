//! Our log and our tree on a real disk, as openraft sees them: its own suite for storage, and snapshots that travel as
//! bytes.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::read::{Direction, Read};
use quorate_store::{Log, LogOptions, Tree, TreeOptions};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::apply::{Applier, is_half_installed};
use crate::log_store::LogStore;
use crate::namespace::{END, Scoped, key};
use crate::position::Position;
use crate::snapshot::SnapshotData;
use crate::standing::Standing;
use crate::state_machine::{JOBS_MAX, StateMachine};
use crate::types::{SnapshotMeta, TypeConfig, log_id};

const NAMESPACE: NamespaceId = NamespaceId(3);

fn open_tree(directory: &Path) -> Arc<Tree> {
    let options = TreeOptions { cache_bytes: 8 << 20 };
    Arc::new(Tree::open(directory, &options).expect("a tree"))
}

fn state_machine(tree: &Arc<Tree>, log_store: &LogStore) -> StateMachine {
    let (jobs, receiver) = mpsc::channel(JOBS_MAX);
    let applier = Applier {
        tree: Arc::clone(tree),
        namespace: NAMESPACE,
        listener: Box::new(|_applied| ()),
        recent: log_store.recent(),
        term: watch::channel(Term(0)).0,
        applying_term: Arc::default(),
        index: watch::channel(None).0,
        digests: Arc::default(),
    };
    std::thread::spawn(move || applier.run(receiver));
    StateMachine::new(Arc::clone(tree), NAMESPACE, jobs)
}

fn build(directory: &Path) -> (LogStore, StateMachine, Arc<Tree>) {
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let fatal = Box::new(|error: &io::Error| panic!("{error}"));
    let log = Log::open(&directory.join("log"), options, fatal).expect("a log");
    let tree = open_tree(&directory.join("tree"));
    let log_store = LogStore::new(Arc::new(log), NAMESPACE);
    let machine = state_machine(&tree, &log_store);
    (log_store, machine, tree)
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().expect("a directory");
        let (log_store, machine, _) = build(directory.path());
        Ok((directory, log_store, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_storage_is_what_openraft_expects() {
    Suite::test_all(Builder).await.expect("the suite");
}

fn standing() -> Standing {
    let applied = log_id(Position { term: Term(4), index: 90 });
    Standing { applied: Some(applied), ..Standing::default() }
}

/// A tree with records of its own and of another namespace.
fn fill(tree: &Tree, records: u32, value_bytes: usize) {
    let value = |seed: u32| {
        let low = u8::try_from(seed % 251).expect("below 251");
        Some(Bytes::from(vec![low; value_bytes]))
    };
    tree.commit(
        (0..records)
            .map(|at| (key(NAMESPACE, &[&[0x10], &at.to_be_bytes()[..]].concat()), value(at))),
    );
    tree.commit([(key(NamespaceId(4), b"\x10other"), value(1))]);
    tree.commit(standing().writes(NAMESPACE));
}

fn records(tree: &Tree) -> Vec<(Bytes, Bytes)> {
    let scoped = Scoped { namespace: NAMESPACE, reader: tree.reader() };
    scoped.range(&[], END, Direction::Forward).collect()
}

/// Builds a snapshot of the tree and writes it to a file.
async fn export(machine: &mut StateMachine, path: &Path) -> SnapshotMeta {
    let mut builder = machine.try_create_snapshot_builder(true).await.expect("a builder");
    let snapshot = builder.build_snapshot().await.expect("a snapshot");
    let mut file = File::create(path).expect("a file");
    snapshot.snapshot.write_to(&mut file).expect("written");
    snapshot.meta
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_snapshot_replaces_one_namespace() {
    let directory = tempfile::tempdir().expect("a directory");
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    for path in [&one, &two] {
        fs::create_dir(path).expect("a directory");
    }
    let (_, mut source, source_tree) = build(&one);
    fill(&source_tree, 3000, 400);
    let file = directory.path().join("snapshot");
    let meta = export(&mut source, &file).await;
    assert_eq!(meta, standing().meta());

    let (_, mut target, target_tree) = build(&two);
    fill(&target_tree, 5000, 10);
    target.install_snapshot(&meta, SnapshotData::File(file)).await.expect("installed");
    assert!(records(&target_tree) == records(&source_tree));
    assert_eq!(target.applied_state().await.expect("a state").0, meta.last_log_id);
    let reader = target_tree.reader();
    assert!(!is_half_installed(&reader, NAMESPACE));
    assert!(reader.get(&key(NamespaceId(4), b"\x10other")).is_some_and(|kept| kept.len() == 10));
    let current = target.get_current_snapshot().await.expect("readable").expect("there");
    assert_eq!(current.meta, meta);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log_store, mut machine, tree) = build(directory.path());
    fill(&tree, 600, 1000);
    let file = directory.path().join("snapshot");
    let meta = export(&mut machine, &file).await;
    let sound = fs::read(&file).expect("readable");
    let before = records(&tree);
    let step = sound.len() / 97;
    let positions =
        (0..60).chain((60..sound.len()).step_by(step)).chain(sound.len() - 20..sound.len());
    let mut damaged: Vec<Vec<u8>> = positions
        .map(|at| {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x40;
            bytes
        })
        .collect();
    damaged.push(sound[..sound.len() - 1].to_vec());
    damaged.push([&sound[..], &[0]].concat());
    damaged.push(Vec::new());
    for bytes in damaged {
        fs::write(&file, bytes).expect("written");
        // A failed installation ends the apply thread, as it ends the process.
        let mut machine = state_machine(&tree, &log_store);
        machine
            .install_snapshot(&meta, SnapshotData::File(file.clone()))
            .await
            .expect_err("damaged");
    }
    assert!(records(&tree) == before);
    assert!(!is_half_installed(&tree.reader(), NAMESPACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_place_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, mut machine, tree) = build(directory.path());
    fill(&tree, 10, 10);
    let file = directory.path().join("snapshot");
    let mut meta = export(&mut machine, &file).await;
    meta.last_log_id = Some(log_id(Position { term: Term(4), index: 91 }));
    machine.install_snapshot(&meta, SnapshotData::File(file)).await.expect_err("another place");
    assert_eq!(records(&tree).len(), 10);
}
