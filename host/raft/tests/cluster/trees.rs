//! Tests: whole trees that are sent to members whose log ends too early.

use quorate_core::draft::ReadRecords;
use quorate_core::ids::Zxid;
use quorate_core::transaction::EntryBody;
use quorate_raft::{Config, HistoryError, Node};

use crate::world::{World, wait};

/// Entries of one go: many times what the log keeps.
const WRITES: usize = 300;
/// Entries that the log keeps.
const KEPT: u64 = 64;

fn keeps_little(config: &mut Config) {
    config.log_keep_entries = KEPT;
    config.history_keep = std::time::Duration::ZERO;
    config.flush_after_entries = 16;
}

/// Writes so much that a log which keeps nothing for anybody would have lost what stands at its end now.
fn write_more(world: &World, leader: u64, round: u64) {
    let names: Vec<String> = (0..WRITES).map(|number| format!("/r{round}-{number}")).collect();
    world.write(leader, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let node = &world.members[&leader].node;
    let last = node.metrics().last_log.expect("a log");
    let is_flushed = || node.metrics().flushed.is_some_and(|at| at.index + KEPT / 2 > last);
    wait(|| is_flushed().then_some(()));
}

fn has_caught_up(world: &World, leader: u64, member: u64) -> bool {
    let [ahead, behind] = [leader, member].map(|one| world.members[&one].node.metrics().applied);
    ahead.is_some() && ahead == behind
}

/// What its tree has skipped is gone, and said to be; everything behind it is there.
fn has_history_behind_its_tree(node: &Node) {
    let history = node.history();
    let Err(HistoryError::Gone { oldest }) = history.read(Zxid(0), usize::MAX) else {
        panic!("it has what it was never sent")
    };
    let (mut at, last) = (oldest, node.tree().meta().zxid);
    assert!(at > Zxid(0) && at < last, "{at} {last}");
    while at < last {
        for entry in history.read(at, usize::MAX).expect("retained") {
            let EntryBody::Batch { base, transactions } = &entry.body else { panic!("{entry:?}") };
            assert!(*base <= at, "a hole behind {at}");
            at = transactions.last().expect("not empty").zxid;
        }
    }
}

#[test]
fn a_member_arrives_while_its_cluster_goes_on_writing() {
    let mut world = World::configured(1, keeps_little);
    let leader = world.leader();
    write_more(&world, leader, 0);
    wait(|| world.members[&leader].node.metrics().purged);
    world.start(2);
    world.trees.close();
    let node = world.members[&leader].node.clone();
    let added = node.add_learner(2, world.contact(2));
    world.members[&leader].runtime.block_on(added).expect("added");
    let mut sent = 0;
    loop {
        wait(|| (world.trees.arrived() > sent || has_caught_up(&world, leader, 2)).then_some(()));
        if world.trees.arrived() == sent {
            break;
        }
        sent += 1;
        // The first attempt may end before its tree has begun to move; the second is the one that counts.
        assert!(sent <= 2, "it is sent tree after tree");
        write_more(&world, leader, sent);
        world.trees.let_one_through();
    }
    world.agree_on(&format!("/r{sent}-{}", WRITES - 1));
    has_history_behind_its_tree(&world.members[&2].node);
    // Nothing is kept for it any more.
    let caught_up = node.metrics().last_log;
    write_more(&world, leader, 9);
    wait(|| (node.metrics().purged.map(|at| at.index) > caught_up).then_some(()));
}
