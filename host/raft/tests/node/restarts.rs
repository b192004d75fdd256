//! What is there after a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::draft::ReadRecords;
use quorate_raft::network::Alone;
use quorate_raft::{Config, Kind, Node, ProposeResult, StartError};
use quorate_store::{Tree, TreeOptions};

use crate::rig::{DEADLINE, Life, open};

/// Proposes so many entries, all in flight together, and waits for all.
fn create_many(life: &Life, prefix: &str, count: u32) {
    let leadership = life.leads();
    let mut script = life.barrier(leadership, 1);
    let proposals: Vec<_> = (0..count)
        .map(|at| {
            let name = format!("/{prefix}{at}");
            life.node.propose(script.create([name.as_str()]), leadership)
        })
        .collect();
    assert!(proposals.into_iter().all(|proposal| proposal.wait().is_taken()));
}

fn entries_told(life: &Life) -> usize {
    let events = life.events.lock().expect("sound");
    events.iter().filter(|event| matches!(event.kind, Kind::Entry { .. })).count()
}

#[test]
fn after_a_crash_every_acknowledged_entry_is_applied_again_from_the_log() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (life, first) = Life::first(directory.path(), Config::new(1));
    create_many(&life, "n", 300);
    let before = life.meta();
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);
    {
        // The premise: nothing of it was in the tree's files.
        let tree = Tree::open(&crashed.join("tree"), &TreeOptions { cache_bytes: 8 << 20 });
        assert_eq!(tree.expect("a tree").reader().meta().zxid.0, 0);
    }

    let life = Life::start(&crashed, Config::new(1));
    let second = life.leads();
    assert!(second.term > first.term, "{second:?} after {first:?}");
    // Led means: the blank entry of the new term is applied, and with it everything before it.
    assert_eq!(life.meta(), before);
    assert!((0..300).all(|at| life.has(&format!("/n{at}"))));
    assert_eq!(entries_told(&life), 301);
    create_many(&life, "m", 10);
    life.shutdown();
}

#[test]
fn a_tree_that_was_flushed_in_between_is_brought_up_from_there() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (life, _) = Life::first(directory.path(), Config::new(1));
    create_many(&life, "a", 50);
    life.store.tree.flush();
    create_many_more(&life, "b", 50);
    let before = life.meta();
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);

    let life = Life::start(&crashed, Config::new(1));
    life.leads();
    assert_eq!(life.meta(), before);
    assert_eq!(entries_told(&life), 51, "only what the tree had lost");
    life.shutdown();
}

/// As `create_many`, in the next epoch.
fn create_many_more(life: &Life, prefix: &str, count: u32) {
    let leadership = life.leads();
    let mut script = life.barrier(leadership, 2);
    for at in 0..count {
        let name = format!("/{prefix}{at}");
        assert!(life.node.propose(script.create([name.as_str()]), leadership).wait().is_taken());
    }
}

#[test]
fn an_orderly_restart_replays_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, _) = Life::first(directory.path(), Config::new(1));
    create_many(&life, "n", 20);
    let before = life.meta();
    life.shutdown();
    let life = Life::start(directory.path(), Config::new(1));
    life.leads();
    assert_eq!(life.meta(), before);
    assert_eq!(entries_told(&life), 0);
    life.shutdown();
}

#[test]
fn the_log_is_purged_behind_a_flush_and_a_restart_needs_no_more() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let config = Config { log_keep_entries: 16, history_keep: Duration::ZERO, ..Config::new(1) };
    let (life, _) = Life::first(directory.path(), config.clone());
    create_many(&life, "n", 200);
    life.runtime.block_on(life.node.flush());
    let until = Instant::now() + DEADLINE;
    let purged = loop {
        let metrics = life.node.metrics();
        if let Some(purged) = metrics.purged {
            assert!(Some(purged) < metrics.flushed, "{metrics:?}");
            break purged.index;
        }
        assert!(Instant::now() < until, "{metrics:?}");
        std::thread::yield_now();
    };
    assert!((150..200).contains(&purged), "{purged}");
    create_many_more(&life, "m", 5);
    let before = life.meta();
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);

    let life = Life::start(&crashed, config);
    life.leads();
    assert_eq!(life.meta(), before);
    assert!(life.has("/n0") && life.has("/m4"));
    assert!(life.node.metrics().purged.map(|at| at.index) >= Some(purged));
    life.shutdown();
}

#[test]
fn a_log_of_too_many_bytes_is_purged_behind_a_flush_and_a_restart_needs_no_more() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    // Neither the number of entries nor time makes it flush or purge: a test lasts less than a minute.
    let config = Config { log_keep_bytes: 8 << 10, ..Config::new(1) };
    let (life, _) = Life::first(directory.path(), config.clone());
    create_many(&life, "n", 500);
    let until = Instant::now() + DEADLINE;
    let purged = loop {
        let metrics = life.node.metrics();
        if let Some(purged) = metrics.purged
            && life.store.log.last_beyond(0, 8 << 10).is_none()
        {
            assert!(Some(purged) <= metrics.flushed, "{metrics:?}");
            break purged.index;
        }
        assert!(Instant::now() < until, "{metrics:?}");
        std::thread::yield_now();
    };
    let last = life.node.metrics().last_log.expect("a log");
    // A record of these has more than 64 bytes and less than 512.
    assert!((last - 128..last - 16).contains(&purged), "{purged} of {last}");
    create_many_more(&life, "m", 5);
    let before = life.meta();
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);

    let life = Life::start(&crashed, config);
    life.leads();
    assert_eq!(life.meta(), before);
    assert!(life.has("/n0") && life.has("/n499") && life.has("/m4"));
    life.shutdown();
}

#[test]
fn many_entries_flush_the_tree_by_themselves() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config { flush_after_entries: 50, ..Config::new(1) };
    let (life, _) = Life::first(directory.path(), config);
    create_many(&life, "n", 100);
    let until = Instant::now() + DEADLINE;
    while life.node.metrics().flushed.is_none_or(|at| at.index < 100) {
        assert!(Instant::now() < until, "{:?}", life.node.metrics());
        std::thread::yield_now();
    }
    life.shutdown();
}

#[test]
fn a_log_that_lost_its_entries_is_refused() {
    let [directory, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (life, _) = Life::first(
        directory.path(),
        Config { log_keep_entries: 4, history_keep: Duration::ZERO, ..Config::new(1) },
    );
    create_many(&life, "n", 40);
    life.runtime.block_on(life.node.flush());
    let until = Instant::now() + DEADLINE;
    while life.node.metrics().purged.is_none() {
        assert!(Instant::now() < until, "{:?}", life.node.metrics());
        std::thread::yield_now();
    }
    life.shutdown();
    // The purged log of one member with the empty tree of another.
    let mut store = open(directory.path());
    store.tree = open(other.path()).tree;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Node::start(Config::new(1), store, Arc::new(Alone), Box::new(|_applied| ()));
    let refused = runtime.block_on(started).err();
    assert!(matches!(refused, Some(StartError::Recovery(_))), "{refused:?}");
}

#[test]
fn a_tree_whose_log_is_gone_is_refused_and_votes_for_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, _) = Life::first(directory.path(), Config::new(1));
    create_many(&life, "n", 40);
    life.shutdown();
    std::fs::remove_dir_all(directory.path().join("log")).expect("removed");
    let store = open(directory.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let started = Node::start(Config::new(1), store, Arc::new(Alone), Box::new(|_applied| ()));
    let refused = runtime.block_on(started).err();
    assert!(
        matches!(&refused, Some(StartError::Recovery(why)) if why.contains("log was lost")),
        "{refused:?}"
    );
}

#[test]
fn a_discarded_entry_is_discarded_again_by_a_replay() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    assert!(life.node.propose(script.create(["/a"]), leadership).wait().is_taken());
    let mut forged = script.clone();
    forged.zxid = forged.zxid.next();
    let result = life.node.propose(forged.create(["/forged"]), leadership).wait();
    assert!(matches!(result, ProposeResult::Discarded { .. }), "{result:?}");
    assert!(life.node.propose(script.create(["/b"]), leadership).wait().is_taken());
    let before = life.meta();
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);
    let life = Life::start(&crashed, Config::new(1));
    life.leads();
    assert_eq!(life.meta(), before);
    assert!(life.has("/b") && !life.has("/forged"));
    life.shutdown();
}
