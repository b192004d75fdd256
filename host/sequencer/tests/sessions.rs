//! The life of sessions: expiry, stalls, new leaders, and what is remembered of the ended.

use quorate_core::draft::ReadRecords;
use quorate_core::error::ErrorCode;
use quorate_core::limits;
use quorate_core::request::{Answer, Body, LifetimeKind};
use quorate_core::session::End;
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Output, Submission};

use crate::batches::transactions;
use crate::harness::World;
use crate::harness::client::{call, create};

/// Time passes, and these clients send heartbeats.
fn pass_with_heartbeats(world: &mut World, ms: u64, alive: &[usize]) {
    for _ in 0..ms / 500 {
        world.pass_slowly(500);
        alive.iter().for_each(|&client| world.heartbeat(client));
    }
}

fn end_of(world: &World, client: usize) -> Option<End> {
    world.history.ended.get(&world.clients[client].session.unwrap()).map(|(end, _)| *end)
}

#[test]
fn an_expiry_deletes_ephemerals_and_wakes_their_waiters_in_the_same_entry() {
    let mut world = World::ready(1, 2);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    world.send(0, call("acquire", "/l"));
    let waits = world.send(1, call("acquire", "/l"));
    pass_with_heartbeats(&mut world, 11_000, &[1]);
    assert!(world.clients[1].value(waits).is_none());
    let expiring = loop {
        world.pass(100);
        world.heartbeat(1);
        world.step(0);
        if let Some(entry) = world.batches(0).pop() {
            break entry;
        }
    };
    assert_eq!(transactions(expiring).len(), 2, "the expiry, and the grant");
    world.settle();
    assert_eq!(end_of(&world, 0), Some(End::Expired));
    assert!(world.clients[1].value(waits).is_some());
    assert_eq!(end_of(&world, 1), None);
}

#[test]
fn heartbeats_keep_a_session() {
    let mut world = World::ready(1, 2);
    pass_with_heartbeats(&mut world, 30_000, &[0]);
    assert_eq!((end_of(&world, 0), end_of(&world, 1)), (None, Some(End::Expired)));
}

#[test]
fn writes_keep_a_session() {
    let mut world = World::ready(1, 1);
    for round in 0..10 {
        world.send(0, create(&format!("/{round}"), "", LifetimeKind::Persistent));
        world.pass_slowly(5_000);
    }
    assert_eq!(end_of(&world, 0), None);
}

#[test]
fn a_heartbeat_for_an_ended_session_is_told_so_when_that_is_certain() {
    let mut world = World::ready(1, 1);
    world.send(0, Body::CloseSession);
    world.step(0);
    world.members[0].said.clear();
    world.heartbeat(0);
    assert!(world.members[0].said.is_empty());
    world.settle();
    let told = world.members[0]
        .said
        .iter()
        .any(|output| matches!(output, Output::HeartbeatConfirmed { is_live: false, .. }));
    assert!(told);
}

#[test]
fn a_stall_of_the_leader_expires_nobody() {
    let mut world = World::ready(1, 2);
    world.pass_slowly(9_000);
    world.pass(60_000);
    world.settle();
    assert_eq!((end_of(&world, 0), end_of(&world, 1)), (None, None));
    pass_with_heartbeats(&mut world, 5_000, &[0]);
    assert_eq!((end_of(&world, 0), end_of(&world, 1)), (None, Some(End::Expired)));
}

#[test]
fn a_sign_of_life_right_after_a_stall_gives_one_timeout_and_not_the_stall_on_top() {
    let mut world = World::ready(1, 1);
    world.pass(600_000);
    world.heartbeat(0);
    world.settle();
    world.pass_slowly(20_000);
    assert_eq!(end_of(&world, 0), Some(End::Expired), "silent for twice its timeout");
}

#[test]
fn a_new_leader_gives_a_full_timeout() {
    let mut world = World::ready(2, 1);
    world.pass_slowly(10_000);
    world.elect(1, 0);
    world.pass_slowly(10_000);
    assert_eq!(end_of(&world, 0), None);
    world.pass_slowly(2_000);
    assert_eq!(end_of(&world, 0), Some(End::Expired));
}

#[test]
fn a_reopened_epoch_gives_a_full_timeout() {
    let mut world = World::ready(1, 2);
    world.pass_slowly(10_000);
    world.send(1, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.refuse(0);
    world.pass_slowly(10_000);
    assert_eq!(end_of(&world, 0), None);
    pass_with_heartbeats(&mut world, 2_000, &[1]);
    assert_eq!(end_of(&world, 0), Some(End::Expired));
}

#[test]
fn an_expiry_that_is_not_applied_has_not_happened() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/e", "", LifetimeKind::Ephemeral));
    world.settle();
    for _ in 0..113 {
        world.pass(100);
        world.step(0);
    }
    assert_eq!(world.batches(0).len(), 1, "the expiry");
    world.refuse(0);
    world.settle();
    assert!(world.has(0, "/e"));
    let write = world.send(0, create("/f", "", LifetimeKind::Ephemeral));
    world.settle();
    assert!(world.clients[0].answer(write).is_some());
}

#[test]
fn an_ended_session_answers_for_its_past_until_it_is_forgotten() {
    let mut world = World::ready(1, 2);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    let request = world.clients[0].unanswered[&write].clone();
    world.send(0, Body::CloseSession);
    world.settle();
    let session = world.clients[0].session.unwrap();
    let token = world.clients[0].token;
    let ask = |world: &mut World| {
        world.members[0].said.clear();
        let request = request.clone();
        world.handle(0, Input::Submit(Submission { token, request }));
        world.settle();
        match world.members[0].said.last() {
            Some(Output::Answer { answer: DirectAnswer::Refused(refusal), .. }) => {
                Some(refusal.code)
            }
            Some(Output::Answer { answer: DirectAnswer::Kept { .. }, .. }) => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&mut world), None, "the kept reply");
    world.now.wall = world.now.wall.plus(limits::TOMBSTONE_MS - 5_000);
    pass_with_heartbeats(&mut world, 4_000, &[1]);
    assert!(world.members[0].tree.session(session).is_some());
    pass_with_heartbeats(&mut world, 4_000, &[1]);
    assert!(world.members[0].tree.session(session).is_none(), "forgotten");
    world.clients[0].session = None;
    assert_eq!(ask(&mut world), Some(ErrorCode::NoSession));
}

#[test]
fn a_write_after_the_close_is_not_executed() {
    let mut world = World::ready(1, 1);
    let close = world.send(0, Body::CloseSession);
    let late = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.settle();
    assert_eq!(world.clients[0].answer(close), Some(&Answer::Done));
    assert_eq!(world.clients[0].code(late), Some(ErrorCode::SessionEnded));
    assert!(!world.has(0, "/n"));
}

#[test]
fn a_call_that_waits_when_its_session_closes_in_the_same_batch_is_dropped_without_a_run() {
    let mut world = World::ready(1, 2);
    world.send(1, create("/l", "", LifetimeKind::Persistent));
    world.send(1, call("acquire", "/l"));
    let waits = world.send(0, call("acquire", "/l"));
    let close = world.send(0, Body::CloseSession);
    world.step(0);
    assert_eq!(world.batches(0).len(), 1, "all in one");
    world.settle();
    assert_eq!(world.clients[0].answer(close), Some(&Answer::Done));
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
    assert_eq!(world.members[0].recipes.reasons("acquire").len(), 2, "no run for it");
    // Who sends it again learns that the session is over, and not that it had the reply.
    world.resend_all(0);
    world.settle();
    assert_eq!(world.clients[0].code(waits), Some(ErrorCode::SessionEnded));
}

#[test]
fn a_wake_that_is_queued_for_a_call_of_a_closing_session_finds_nothing() {
    let mut world = World::ready(1, 3);
    world.send(2, create("/q", "", LifetimeKind::Persistent));
    world.send(0, call("take", "/q"));
    world.settle();
    // The put wakes the taker; its session is closed by the next request, before or after the taker's turn.
    world.send(1, call("put", "/q x"));
    world.send(0, Body::CloseSession);
    world.settle();
    world.history.check_items();
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
}

#[test]
fn many_expiries_at_once_fill_batches_and_no_more() {
    let mut world = World::ready(1, 0);
    let count = limits::BATCH_TRANSACTIONS_MAX + 200;
    for _ in 0..count {
        world.open(0, 2_000);
    }
    world.settle();
    for _ in 0..60 {
        world.pass(100);
        world.step(0);
    }
    let sizes: Vec<_> =
        world.batches(0).into_iter().map(|entry| transactions(entry).len()).collect();
    assert!(sizes.iter().all(|size| *size <= limits::BATCH_TRANSACTIONS_MAX), "{sizes:?}");
    world.settle();
    world.pass(100);
    world.settle();
    assert_eq!(world.history.ended.len(), count);
}

#[test]
fn expiries_do_not_pile_up_behind_a_pipeline_that_stands_still() {
    let mut world = World::ready(1, 1);
    let count = limits::BATCH_TRANSACTIONS_MAX * 2;
    for _ in 0..count {
        world.open(0, 2_000);
    }
    world.settle();
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    // The pipeline fills and nothing is applied any more.
    while world.batches(0).len() < limits::BATCHES_IN_FLIGHT_MAX {
        world.send(0, create("/n", "", LifetimeKind::Persistent));
        world.step(0);
    }
    for _ in 0..60 {
        world.pass(100);
        world.step(0);
    }
    world.settle();
    for one in &world.log {
        assert!(transactions(&one.entry).len() <= limits::BATCH_TRANSACTIONS_MAX);
    }
}
