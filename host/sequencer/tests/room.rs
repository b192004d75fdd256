//! A disk that fills: what is refused, what goes on, and what becomes of it when the leader changes.

use quorate_core::deployment::Manifest;
use quorate_core::error::ErrorCode;
use quorate_core::ids::WriteNumber;
use quorate_core::path::Path;
use quorate_core::request::{Body, Deploy, LifetimeKind, Reply};
use quorate_sequencer::Input;
use quorate_sequencer::room::Reserve;

use crate::harness::World;
use crate::harness::client::{Told, call, create, delete, set};

const RESERVE: u64 = 4_000;

fn report(world: &mut World, member: usize, free_bytes: u64) {
    let reserve = Reserve::of(RESERVE);
    let now = world.now;
    world.members[member].sequencer.handle(Input::Disk { member: 1, free_bytes, reserve }, now);
}

fn code(world: &World, client: usize, write: WriteNumber) -> Option<ErrorCode> {
    match &world.clients[client].told[&write] {
        Told::Replied { reply: Reply::Done(_), .. } => None,
        Told::Replied { reply: Reply::Refused(failure), .. } => Some(failure.refusal.code),
        Told::Refused(refusal) => panic!("not executed: {refusal}"),
    }
}

fn outcome(world: &mut World, client: usize, body: Body) -> Option<ErrorCode> {
    let write = world.send(client, body);
    world.settle();
    code(world, client, write)
}

fn znode(path: &str) -> Body {
    create(path, "", LifetimeKind::Persistent)
}

#[test]
fn growing_writes_are_refused_below_the_reserve_and_taken_again_above_it() {
    let mut world = World::ready(1, 2);
    for path in ["/l", "/a", "/b"] {
        assert_eq!(outcome(&mut world, 0, znode(path)), None);
    }
    assert_eq!(outcome(&mut world, 0, set("/a", "1234")), None);
    report(&mut world, 0, RESERVE - 1);
    assert_eq!(outcome(&mut world, 0, znode("/c")), Some(ErrorCode::DiskFull));
    assert_eq!(outcome(&mut world, 0, set("/a", "12345")), Some(ErrorCode::DiskFull));
    assert_eq!(outcome(&mut world, 0, call("acquire", "/l")), Some(ErrorCode::DiskFull));
    assert_eq!(outcome(&mut world, 0, set("/a", "4321")), None);
    assert_eq!(outcome(&mut world, 0, delete("/b")), None);
    let third = world.open(0, 10_000);
    world.settle();
    assert_eq!(outcome(&mut world, third, Body::CloseSession), None);
    // More than the lower threshold, less than the higher one.
    report(&mut world, 0, RESERVE + 1);
    assert_eq!(outcome(&mut world, 0, znode("/c")), Some(ErrorCode::DiskFull));
    report(&mut world, 0, 2 * RESERVE);
    assert_eq!(outcome(&mut world, 0, znode("/c")), None);
}

#[test]
fn a_lock_changes_hands_and_a_session_expires_on_a_full_disk() {
    let mut world = World::ready(1, 3);
    world.send(0, znode("/l"));
    let holder = world.send(0, call("acquire", "/l"));
    let second = world.send(1, call("acquire", "/l"));
    let third = world.send(2, call("acquire", "/l"));
    world.settle();
    report(&mut world, 0, 0);
    let grant = world.clients[0].value(holder).unwrap();
    world.send(0, call("release", grant.split_once(' ').unwrap().1));
    world.settle();
    assert!(world.clients[1].value(second).is_some(), "the release passes the lock on");
    world.clients[1].is_dead = true;
    for _ in 0..60 {
        for client in [0, 2] {
            world.heartbeat(client);
        }
        world.pass_slowly(250);
    }
    assert!(world.clients[2].value(third).is_some(), "the expiry passes the lock on");
    assert_eq!(world.history.grants, 3);
}

#[test]
fn a_refusal_for_room_is_kept_and_a_leader_with_room_gives_the_same_answer() {
    let mut world = World::ready(2, 1);
    report(&mut world, 0, 0);
    let refused = world.send(0, znode("/c"));
    world.step(0);
    world.append(0);
    // Committed, and nobody was told; the next leader's disk has room.
    world.commit();
    world.elect(1, 1);
    world.settle();
    assert_eq!(code(&world, 0, refused), Some(ErrorCode::DiskFull));
    assert!(!world.has(1, "/c"));
    assert_eq!(outcome(&mut world, 0, znode("/c")), None);
}

#[test]
fn a_report_outlives_the_epoch_and_the_leadership() {
    let mut world = World::ready(1, 1);
    report(&mut world, 0, 0);
    world.blink();
    world.settle();
    assert_eq!(outcome(&mut world, 0, znode("/c")), Some(ErrorCode::DiskFull));
    world.send(0, set("/", "x"));
    world.step(0);
    world.refuse(0);
    world.settle();
    assert_eq!(outcome(&mut world, 0, znode("/c")), Some(ErrorCode::DiskFull));
}

#[test]
fn a_deployment_that_the_disk_has_no_room_for_ends_nobodys_wait() {
    let mut world = World::ready(1, 3);
    world.send(0, znode("/l"));
    world.send(0, call("acquire", "/l"));
    let waits = world.send(1, call("acquire", "/l"));
    world.settle();
    world.members[0].recipes.0.lock().unwrap().changed_functions = vec!["acquire".to_owned()];
    report(&mut world, 0, 0);
    let new = Body::Deploy(Deploy {
        recipe: "lock".to_owned(),
        component: [2; 32],
        manifest: Manifest::for_root(Path::root()),
        breaking_allowed: false,
    });
    assert_eq!(outcome(&mut world, 2, new.clone()), Some(ErrorCode::DiskFull));
    assert!(world.clients[1].unanswered.contains_key(&waits), "it waits on");
    report(&mut world, 0, 2 * RESERVE);
    assert_eq!(outcome(&mut world, 2, new), None);
    assert_eq!(world.clients[1].code(waits), Some(ErrorCode::SignatureChanged));
}
