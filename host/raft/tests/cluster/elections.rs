//! Tests: who leads, and what is lost with a leader: nothing that was acknowledged.

use quorate_core::ids::Epoch;
use quorate_raft::{BarrierError, ProposeResult};

use crate::rig::Script;
use crate::world::{World, wait};

#[test]
fn three_members_apply_the_same() {
    let world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a", "/b", "/c"]);
    world.agree_on("/c");
}

#[test]
fn what_was_acknowledged_survives_the_leader_and_it_catches_up_when_it_returns() {
    let mut world = World::of(3);
    let first = world.leader();
    world.write(first, &["/a"]);
    world.kill(first);
    let second = world.leader();
    assert_ne!(second, first);
    world.write(second, &["/b"]);
    world.agree_on("/a");
    world.start(first);
    world.agree_on("/b");
}

#[test]
fn a_leader_that_is_cut_off_confirms_nothing_and_its_entries_are_overwritten() {
    let world = World::of(3);
    let old = world.leader();
    world.write(old, &["/a"]);
    world.agree_on("/a");
    let leadership = world.leadership(old);
    world.isolate(old);
    let others: Vec<u64> = world.members.keys().copied().filter(|one| *one != old).collect();
    // It may not know yet that nobody hears it.
    let node = &world.members[&old].node;
    let zxid = quorate_core::draft::ReadRecords::meta(&node.tree()).zxid;
    let mut script = Script { term: leadership.term, epoch: Epoch(1), zxid };
    let lost = node.propose(script.create(["/lost"]), leadership);
    let read = world.members[&old].runtime.block_on(node.read_index());
    assert!(matches!(read, Err(BarrierError::NoQuorum | BarrierError::NotLeader(_))), "{read:?}");
    let new = world.leader_among(&others);
    world.write(new, &["/b"]);
    world.heal();
    world.agree_on("/b");
    let result = lost.wait();
    assert!(matches!(result, ProposeResult::Lost | ProposeResult::Refused(_)), "{result:?}");
    let tree = world.members[&old].node.tree();
    let node = quorate_core::draft::ReadRecords::node(&tree, &crate::rig::path("/lost"));
    assert!(node.is_none());
}

#[test]
fn a_read_index_covers_what_was_acknowledged_and_followers_wait_for_it() {
    let world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a", "/b"]);
    let life = &world.members[&leader];
    let index = life.runtime.block_on(life.node.read_index()).expect("a quorum").index;
    for life in world.members.values() {
        life.runtime.block_on(life.node.wait_applied(index)).expect("raft lives");
        let found =
            quorate_core::draft::ReadRecords::node(&life.node.tree(), &crate::rig::path("/b"));
        assert!(found.is_some());
    }
}

#[test]
fn all_members_have_the_same_digests_at_the_same_indexes() {
    let world = World::of(3);
    let leader = world.leader();
    let names: Vec<String> = (0..200).map(|number| format!("/n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.write(leader, &names);
    world.agree_on("/n199");
    let all: Vec<_> = world.members.values().map(|life| life.node.digests()).collect();
    assert!(all[0].len() >= 3, "{:?}", all[0]);
    wait(|| all.iter().all(|one| *one == all[0]).then_some(()));
}
