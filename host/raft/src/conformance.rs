//! Our log and our tree on a real disk, as openraft sees them: its own suite for storage, and snapshots that travel as
//! bytes.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::StorageError;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_core::change::Change;
use quorate_core::draft::{Draft, Meta};
use quorate_core::ids::{Millis, NamespaceId, Term, Zxid};
use quorate_core::level::Level;
use quorate_core::read::{Direction, MemoryTree, Read};
use quorate_core::znode::Lifetime;
use quorate_core::{apply, path};
use quorate_store::{Log, LogOptions, Tree, TreeOptions};
use quorate_wire::snapshot::Encoder;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::apply::Applier;
use crate::log_store::LogStore;
use crate::namespace::{END, Scoped, key};
use crate::position::Position;
use crate::retention::{Purge, Retention};
use crate::snapshot::{self, Checkpoints, Identity, Incoming, SnapshotData};
use crate::standing::Standing;
use crate::state_machine::{JOBS_MAX, StateMachine};
use crate::types::{SnapshotMeta, TypeConfig, log_id};

mod overtaken;

const NAMESPACE: NamespaceId = NamespaceId(3);
/// Entries that a checkpoint may be behind the tree to be given to a member.
const BEHIND_MAX: u64 = 5;

fn open_tree(directory: &Path) -> Arc<Tree> {
    let options = TreeOptions { cache_bytes: 8 << 20 };
    Arc::new(Tree::open(directory, &options).expect("a tree"))
}

fn state_machine(tree: &Arc<Tree>, log_store: &LogStore) -> StateMachine {
    let (jobs, receiver) = mpsc::channel(JOBS_MAX);
    let applier = Applier {
        tree: Arc::clone(tree),
        namespace: NAMESPACE,
        level: Level::NEWEST,
        too_high: Arc::default(),
        listener: Box::new(|_applied| ()),
        recent: log_store.recent(),
        term: watch::channel(Term(0)).0,
        applying_term: Arc::default(),
        index: watch::channel(None).0,
        digests: Arc::default(),
        tail: Arc::default(),
        wanted: crate::before::Wanted::default(),
    };
    std::thread::spawn(move || applier.run(receiver));
    let checkpoints =
        Checkpoints::open(Arc::clone(tree), NAMESPACE, BEHIND_MAX, Arc::default()).expect("opened");
    StateMachine::new(Arc::clone(tree), NAMESPACE, jobs, Arc::new(checkpoints))
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

fn standing(index: u64) -> Standing {
    let applied = log_id(Position { term: Term(4), index });
    Standing { applied: Some(applied), ..Standing::default() }
}

/// A tree with so many znodes, after the entry of this index, and a record of another namespace.
fn fill(tree: &Tree, index: u64, nodes: u32, value_bytes: usize) {
    let memory = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(Arc::clone(&memory));
    let changes = (0..nodes).map(|at| Change::NodeCreated {
        path: path::Path::parse(&format!("/n{at}")).expect("valid"),
        data: Bytes::from(vec![u8::try_from(at % 251).expect("below 251"); value_bytes]),
        lifetime: Lifetime::Persistent,
        acl: None,
    });
    for change in changes {
        apply::change(&mut draft, Zxid(index), Millis(1), &change);
    }
    draft.put_meta(Meta { zxid: Zxid(index), ..Meta::default() });
    apply::seal(&mut draft);
    let (_, writes) = draft.into_parts();
    tree.commit(writes.into_iter().map(|(tail, value)| (key(NAMESPACE, &tail), value)));
    tree.commit([(key(NamespaceId(4), b"\x10other"), Some(Bytes::from(vec![1; value_bytes])))]);
    tree.commit(standing(index).writes(NamespaceId(4)));
    tree.commit(standing(index).writes(NAMESPACE));
}

fn records(tree: &Tree) -> Vec<(Bytes, Bytes)> {
    let scoped = Scoped { namespace: NAMESPACE, reader: tree.reader() };
    scoped.range(&[], END, Direction::Forward).collect()
}

/// Builds a snapshot of the tree; gives what openraft is told, and the stream.
async fn export(machine: &mut StateMachine) -> (SnapshotMeta, Vec<u8>) {
    let mut builder = machine.try_create_snapshot_builder(true).await.expect("a builder");
    builder.build_snapshot().await.expect("a snapshot");
    let current = machine.get_current_snapshot().await.expect("readable").expect("there");
    let mut stream = Vec::new();
    let outgoing = current.snapshot.outgoing().expect("a stream");
    snapshot::write_all(&outgoing, &mut stream).expect("written");
    (current.meta, stream)
}

/// What a member has when this stream has arrived.
fn receive(directory: &Path, stream: &[u8]) -> io::Result<SnapshotData> {
    let mut incoming = Incoming::begin(directory, Identity([1; 16]), Level::NEWEST)?;
    incoming.write(stream)?;
    incoming.finish()
}

struct Two {
    directory: TempDir,
    source: StateMachine,
    source_tree: Arc<Tree>,
    target: StateMachine,
    target_tree: Arc<Tree>,
}

fn two() -> Two {
    let directory = tempfile::tempdir().expect("a directory");
    let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
    for path in [&one, &two] {
        fs::create_dir(path).expect("a directory");
    }
    let (_, source, source_tree) = build(&one);
    let (_, target, target_tree) = build(&two);
    Two { directory, source, source_tree, target, target_tree }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_snapshot_replaces_one_namespace() {
    let Two { directory, mut source, source_tree, mut target, target_tree } = two();
    fill(&source_tree, 90, 3000, 400);
    let (meta, stream) = export(&mut source).await;
    assert_eq!(meta, standing(90).meta());

    fill(&target_tree, 7, 5000, 10);
    let reader = target_tree.reader();
    let data = receive(&directory.path().join("incoming"), &stream).expect("sound");
    target.install_snapshot(&meta, data).await.expect("installed");
    assert!(records(&target_tree) == records(&source_tree));
    assert_eq!(target.applied_state().await.expect("a state").0, meta.last_log_id);
    assert!(reader.get(&key(NamespaceId(4), b"\x10other")).is_some_and(|kept| kept.len() == 10));
    let other = Standing::read(&reader, NamespaceId(4)).expect("readable");
    assert_eq!(other, standing(7));
    let current = target.get_current_snapshot().await.expect("readable").expect("there");
    assert_eq!(current.meta, meta);
    assert_eq!(fs::read_dir(directory.path().join("incoming")).expect("listed").count(), 0);
    drop(target_tree);
    // It is on the disk: an opening finds nothing else.
    let two = directory.path().join("two");
    let names: Vec<_> = fs::read_dir(&two).expect("listed").map(|it| it.expect("one")).collect();
    assert!(names.iter().any(|name| name.file_name() == "tree.1"), "{names:?}");
    assert!(!two.join("tree").exists(), "the old one is closed and deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_says_where_its_bytes_stand_whatever_is_written_meanwhile() {
    let Two { directory: _directory, mut source, source_tree, .. } = two();
    fill(&source_tree, 90, 20, 10);
    export(&mut source).await;
    fill(&source_tree, 91, 30, 10);
    source_tree.flush();
    let current = source.get_current_snapshot().await.expect("readable").expect("there");
    fill(&source_tree, 92, 40, 10);
    source_tree.flush();
    let mut stream = Vec::new();
    snapshot::write_all(&current.snapshot.outgoing().expect("a stream"), &mut stream)
        .expect("written");
    let directory = tempfile::tempdir().expect("a directory");
    let SnapshotData::Received(received) = receive(directory.path(), &stream).expect("sound")
    else {
        panic!("it was received")
    };
    let said = snapshot::standing(&received.summary().head).expect("readable");
    assert_eq!(said.meta(), current.meta);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log_store, mut machine, tree) = build(directory.path());
    fill(&tree, 90, 600, 1000);
    let (meta, sound) = export(&mut machine).await;
    let before = records(&tree);
    let incoming = directory.path().join("incoming");
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
    for bytes in &damaged {
        assert!(receive(&incoming, bytes).is_err(), "damaged");
    }
    // What rots between the arrival and the installation.
    for bytes in damaged.iter().step_by(20) {
        let data = receive(&incoming, &sound).expect("sound");
        fs::write(incoming.join(format!("{}.part", Identity([1; 16]))), bytes).expect("written");
        // A failed installation ends the apply thread, as it ends the process.
        let mut machine = state_machine(&tree, &log_store);
        machine.install_snapshot(&meta, data).await.expect_err("damaged");
    }
    assert!(records(&tree) == before);
    assert!(!directory.path().join("tree.1").exists() && directory.path().join("tree").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_place_or_namespace_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log_store, mut machine, tree) = build(directory.path());
    fill(&tree, 90, 10, 10);
    let (meta, stream) = export(&mut machine).await;
    let before = records(&tree);
    let incoming = directory.path().join("incoming");
    let mut other = meta.clone();
    other.last_log_id = Some(log_id(Position { term: Term(4), index: 91 }));
    let data = receive(&incoming, &stream).expect("sound");
    machine.install_snapshot(&other, data).await.expect_err("another place");

    let head = snapshot::head(&standing(90), NamespaceId(4));
    let empty = Encoder::after(0).finish(&head, Meta::default());
    let stream = [Encoder::head(&head), empty].concat();
    let data = receive(&incoming, &stream).expect("sound");
    let mut machine = state_machine(&tree, &log_store);
    machine.install_snapshot(&meta, data).await.expect_err("another namespace");
    assert!(records(&tree) == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_at_any_offset_with_the_same_bytes() {
    let Two { directory: _directory, mut source, source_tree, .. } = two();
    fill(&source_tree, 90, 12_000, 1000);
    let (_, stream) = export(&mut source).await;
    assert!(stream.len() > 10 << 20);
    let current = source.get_current_snapshot().await.expect("readable").expect("there");
    let outgoing = current.snapshot.outgoing().expect("a stream");
    for offset in [0, 1, 300_000, 5 << 20, (8 << 20) + 1, stream.len() - 1, stream.len()] {
        let mut reader = outgoing.reader(offset as u64).expect("readable");
        let mut at = offset;
        for pieces in [1, 100_000, 1 << 20] {
            let piece = reader.read(pieces).expect("readable");
            assert!(piece.len() <= pieces);
            assert!(piece[..] == stream[at..at + piece.len()], "from {offset}");
            at += piece.len();
            assert_eq!(reader.offset(), at as u64);
        }
    }
    let beyond = outgoing.reader(stream.len() as u64 + 1).err();
    assert_eq!(beyond.map(|error| error.kind()), Some(io::ErrorKind::InvalidInput));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_shared_few_and_gone_when_nobody_has_used_them_for_a_while() {
    let directory = tempfile::tempdir().expect("a directory");
    let tree = open_tree(&directory.path().join("tree"));
    let left = directory.path().join("checkpoints/3/7");
    fs::create_dir_all(&left).expect("a directory");
    let checkpoints = Checkpoints::open(Arc::clone(&tree), NAMESPACE, BEHIND_MAX, Arc::default())
        .expect("opened");
    assert!(!left.exists(), "of an earlier life");
    let fill = |index: u64| {
        fill(&tree, index, 3, 10);
        tree.flush();
    };
    let place = |outgoing: &Arc<snapshot::Outgoing>| outgoing.place().map(|at| at.index);
    let kept = || fs::read_dir(directory.path().join("checkpoints/3")).expect("listed").count();
    fill(90);
    let first = checkpoints.for_member().expect("made");
    fill(95);
    let shared = checkpoints.for_member().expect("made");
    assert_eq!(shared.identity(), first.identity());
    assert_eq!(checkpoints.find(first.identity()).map(|it| place(&it)), Some(Some(90)));
    drop(shared);
    fill(96);
    let second = checkpoints.for_member().expect("made");
    assert_eq!((place(&second), kept()), (Some(96), 2));
    let third = checkpoints.with_entry(96).expect("made");
    assert_ne!(third.identity(), second.identity(), "a client has none of a member's");
    fill(200);
    // All are in use: a member gets what there is, an operator is told to wait.
    assert_eq!((place(&checkpoints.for_member().expect("there")), kept()), (Some(96), 3));
    let refused = checkpoints.with_entry(200).err();
    assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    let identity = first.identity();
    drop(first);
    let fourth = checkpoints.with_entry(200).expect("made");
    assert_eq!((place(&fourth), kept()), (Some(200), 3));
    assert!(checkpoints.find(identity).is_none());
    drop((third, fourth));

    let now = Instant::now();
    checkpoints.tidy(now + Duration::from_secs(60));
    assert_eq!(kept(), 3);
    checkpoints.tidy(now + Duration::from_secs(130));
    assert_eq!(kept(), 1, "one is in use");
    drop(second);
    checkpoints.tidy(now + Duration::from_secs(140));
    assert_eq!(kept(), 1, "it was in use a moment ago");
    checkpoints.tidy(now + Duration::from_secs(260));
    assert_eq!(kept(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hold_what_they_have_leave_a_checkpoint_for_members() {
    let directory = tempfile::tempdir().expect("a directory");
    let tree = open_tree(&directory.path().join("tree"));
    let retention: Arc<Retention> = Arc::default();
    let checkpoints =
        Checkpoints::open(Arc::clone(&tree), NAMESPACE, BEHIND_MAX, Arc::clone(&retention));
    let checkpoints = checkpoints.expect("opened");
    let fill = |index: u64| {
        fill(&tree, index, 3, 10);
        tree.flush();
    };
    let place = |outgoing: &Arc<snapshot::Outgoing>| outgoing.place().map(|at| at.index);
    fill(90);
    let first = checkpoints.with_entry(90).expect("made");
    fill(120);
    let second = checkpoints.with_entry(120).expect("made");
    fill(150);
    assert!(checkpoints.with_entry(150).is_err(), "clients have all that they may have");
    let of_member = checkpoints.for_member().expect("made");
    assert_eq!(place(&of_member), Some(150), "and not an old one of a client's");
    drop((first, second));

    // One that is being sent stays the one while the log is kept behind it, however old; then no more.
    let identity = of_member.identity();
    drop(of_member);
    let now = Instant::now();
    retention.begin(2, 150, now);
    fill(400);
    drop(checkpoints.with_entry(400).expect("made"));
    assert_eq!(checkpoints.for_member().expect("there").identity(), identity);
    let purge = Purge { usual: 300, at_least: 200 };
    retention.purge(purge, Some(&[(2, None)].into()), now);
    assert_eq!(place(&checkpoints.for_member().expect("made")), Some(400));
}
