//! Tests: a member whose directory is an older copy has forgotten what it promised.

use std::collections::BTreeMap;

use crate::rig::{DEADLINE, copy};
use crate::world::{World, wait};

#[test]
fn a_log_that_was_rolled_back_counts_for_nothing_and_harms_nobody() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let victim = world.others(leader)[0];
    let saved = world.path(99);
    copy(&world.path(victim), &saved);
    let names: Vec<String> = (0..50).map(|number| format!("/n{number}")).collect();
    world.write(leader, &names.iter().map(String::as_str).collect::<Vec<_>>());
    world.agree_on("/n49");
    world.kill(victim);
    std::fs::remove_dir_all(world.path(victim)).expect("removed");
    copy(&saved, &world.path(victim));
    world.start(victim);
    world.write(leader, &["/after"]);
    // It is asked again and again, and believed nothing: its log does not grow.
    let life = &world.members[&leader];
    let refused = wait(|| {
        let why = life.node.reverted();
        why.contains_key(&victim).then_some(why)
    });
    assert!(refused[&victim].contains("older copy"), "{refused:?}");
    assert_eq!(world.leader(), leader);
    // Who leads no more names nobody any more.
    let third = world.members.keys().copied().find(|member| ![leader, victim].contains(member));
    let handed_over = life.node.transfer_leader(third.expect("one more"), DEADLINE);
    life.runtime.block_on(handed_over).expect("it leads no more");
    assert_eq!(life.node.reverted(), BTreeMap::new());
    let tree = world.members[&victim].node.tree();
    let node = quorate_core::draft::ReadRecords::node(&tree, &crate::rig::path("/after"));
    assert!(node.is_none());
}

#[test]
fn a_member_that_has_lost_what_it_acknowledged_is_told_and_takes_no_part_any_more() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let victim = world.others(leader)[0];
    let saved = world.path(99);
    copy(&world.path(victim), &saved);
    world.write(leader, &["/b", "/c"]);
    world.agree_on("/c");
    world.kill(victim);
    std::fs::remove_dir_all(world.path(victim)).expect("removed");
    copy(&saved, &world.path(victim));
    world.start(victim);
    let life = &world.members[&victim];
    let ended = async { tokio::time::timeout(DEADLINE, life.node.stopped()).await };
    let ended = life.runtime.block_on(ended);
    assert_eq!(ended, Ok(None), "it takes part, and votes");
}
