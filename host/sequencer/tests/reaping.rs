//! Containers and TTL znodes: when the leader deletes them, across refusals and leaders, and beside the writes of others.

use quorate_core::limits;
use quorate_core::request::{Answer, LifetimeKind};

use crate::batches::transactions;
use crate::harness::World;
use crate::harness::client::{call, create, delete, set};

#[test]
fn a_ttl_znode_goes_when_it_was_not_set_for_so_long() {
    let mut world = World::ready(3, 1);
    world.send(0, create("/t", "", LifetimeKind::Ttl(1_000)));
    world.settle();
    world.pass_slowly(900);
    world.send(0, set("/t", "x"));
    world.settle();
    world.pass_slowly(900);
    assert!(world.has(0, "/t"));
    world.pass_slowly(300);
    assert!((0..3).all(|member| !world.has(member, "/t")), "deleted everywhere");
}

#[test]
fn a_container_goes_after_its_last_child_and_wakes_who_waits_for_that() {
    let mut world = World::ready(1, 2);
    world.send(0, create("/l", "", LifetimeKind::Container));
    world.send(0, create("/l/w-0", "", LifetimeKind::Persistent));
    let waits = world.send(1, call("acquire", "/l"));
    world.settle();
    assert_eq!(world.clients[1].answer(waits), None);
    world.send(0, delete("/l/w-0"));
    world.settle();
    let Some(Answer::Called(_)) = world.clients[1].answer(waits) else { panic!("not granted") };
    assert!(world.has(0, "/l"), "the lock's own znode is a child");

    world.send(0, create("/c/d", "", LifetimeKind::Container));
    world.send(0, create("/c/d/e", "", LifetimeKind::Persistent));
    world.send(0, delete("/c/d/e"));
    world.settle();
    for _ in 0..limits::CONTAINER_EMPTY_MS / 500 {
        assert!(world.has(0, "/c/d"));
        world.pass_slowly(500);
        world.heartbeat(0);
        world.heartbeat(1);
    }
    world.pass_slowly(100);
    assert!(!world.has(0, "/c/d"));
    assert!(world.has(0, "/c"), "its parent is no container");
}

#[test]
fn a_deletion_that_raft_refused_is_made_again() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/t", "", LifetimeKind::Ttl(1_000)));
    world.settle();
    world.pass(999);
    world.step(0);
    assert!(world.batches(0).is_empty());
    world.pass(101);
    world.step(0);
    assert_eq!(world.batches(0).len(), 1, "the deletion");
    world.refuse(0);
    world.settle();
    world.pass_slowly(100);
    assert!(!world.has(0, "/t"));
}

#[test]
fn a_deletion_that_raft_refused_late_is_made_again() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/t", "", LifetimeKind::Ttl(1_000)));
    world.settle();
    world.pass(1_100);
    world.step(0);
    assert_eq!(world.batches(0).len(), 1, "the deletion");
    for _ in 0..3 {
        world.pass(200);
        world.step(0);
    }
    assert_eq!(world.batches(0).len(), 1, "looks that find nothing more");
    world.refuse(0);
    world.settle();
    world.pass_slowly(100);
    assert!(!world.has(0, "/t"));
}

#[test]
fn the_next_leader_deletes_what_the_last_one_did_not() {
    let mut world = World::ready(3, 1);
    world.send(0, create("/t", "", LifetimeKind::Ttl(1_000)));
    world.settle();
    world.pass(1_100);
    // Proposed by the old leader, and cut from its log; set under the new one before its turn comes.
    world.step(0);
    assert_eq!(world.batches(0).len(), 1);
    world.elect(1, 0);
    world.settle();
    world.pass_slowly(100);
    assert!((0..3).all(|member| !world.has(member, "/t")));
}

#[test]
fn many_deletions_leave_room_for_the_writes_of_others() {
    let mut world = World::ready(1, 1);
    for number in 0..2_000 {
        world.send(0, create(&format!("/t/{number}"), "", LifetimeKind::Ttl(10)));
        if number % 100 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.pass(100);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    let first = world.batches(0).into_iter().next().map(transactions).unwrap_or_default();
    let of_clients = first.iter().filter(|one| one.origin.write().is_some()).count();
    assert!(of_clients == 1 && first.len() > 100, "{of_clients} of {}", first.len());
    world.settle();
    assert!(world.clients[0].answer(write).is_some());
    world.pass_slowly(1_000);
    assert!(!world.has(0, "/t/1999"));
}
