//! What is above the feature level of this build is neither applied nor started on.

use std::sync::Arc;

use quorate_core::draft::ReadRecords;
use quorate_core::level::Level;
use quorate_raft::network::Alone;
use quorate_raft::{Config, LevelTooHigh, Node, StartError};

use crate::rig::{DEADLINE, Life, open};

const TOO_HIGH: LevelTooHigh = LevelTooHigh { found: Level(3), known: Level(2) };

fn knows(level: u32) -> Config {
    Config { level: Level(level), ..Config::new(1) }
}

/// Why a member does not start.
fn refusal(directory: &std::path::Path, config: Config) -> StartError {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = open(directory);
    let listener = Box::new(|applied| panic!("told of {applied:?}"));
    let node = runtime.block_on(Node::start(config, store, Arc::new(Alone), listener));
    let refusal = node.err().expect("it does not start");
    runtime.shutdown_timeout(DEADLINE);
    refusal
}

#[test]
fn an_entry_that_raises_the_level_above_this_build_s_stops_it_and_is_not_applied() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), knows(2));
    let mut script = life.barrier(leadership, 1);
    let before = life.node.propose(script.create(["/before"]), leadership);
    assert!(before.wait().is_taken());
    let raised = life.node.propose(script.raise(Level(2)), leadership);
    assert!(raised.wait().is_taken());
    let meta = life.meta();

    let raised = life.node.propose(script.raise(Level(3)), leadership);
    let behind = life.node.propose(script.create(["/behind"]), leadership);
    assert!(!raised.wait().is_taken() && !behind.wait().is_taken());
    let why = life.runtime.block_on(async {
        tokio::time::timeout(DEADLINE, life.node.stopped()).await.expect("it stops in time")
    });
    assert_eq!(why, Some(TOO_HIGH.to_string()));
    assert_eq!(life.meta(), meta, "nothing of it was applied");
    assert_eq!(life.node.tree().level(), Level(2));
    life.shutdown();

    // Its log has the raise now, and goes on only with what understands it.
    let refused = refusal(directory.path(), knows(2));
    assert!(matches!(refused, StartError::Level(TOO_HIGH)), "{refused}");
    let life = Life::start(directory.path(), knows(3));
    life.leads();
    assert_eq!(life.node.tree().level(), Level(3));
    assert!(life.has("/behind"));
    life.shutdown();
}

#[test]
fn a_member_does_not_start_on_a_tree_above_its_level() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), knows(3));
    let mut script = life.barrier(leadership, 1);
    assert!(life.node.propose(script.raise(Level(3)), leadership).wait().is_taken());
    life.shutdown();
    for _ in 0..2 {
        let refused = refusal(directory.path(), knows(2));
        assert!(matches!(refused, StartError::Level(TOO_HIGH)), "{refused}");
    }
    let life = Life::start(directory.path(), knows(3));
    life.leads();
    life.shutdown();
}
