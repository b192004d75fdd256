//! How transactions become entries: batches, their caps, the pipeline, and what leaves when.

use std::sync::Arc;

use quorate_core::error::ErrorCode;
use quorate_core::ids::{WriteNumber, Zxid};
use quorate_core::limits;
use quorate_core::request::{Body, LifetimeKind, Request};
use quorate_core::session::Acks;
use quorate_core::transaction::{Entry, EntryBody, Transaction};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Output, Submission};

use crate::harness::World;
use crate::harness::client::{Told, call, create, delete, hash_of, set};

pub fn transactions(entry: &Entry) -> &[Transaction] {
    match &entry.body {
        EntryBody::Batch { transactions, .. } => transactions,
        EntryBody::Barrier => &[],
    }
}

/// Everything happens but the telling: what is applied is not yet known to the sequencer.
fn apply_all(world: &mut World) {
    while world.append(0) {}
    while world.commit() {}
    while world.apply(0) {}
}

#[test]
fn a_release_and_the_grant_that_it_makes_possible_are_in_one_entry() {
    let mut world = World::ready(1, 2);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    let first = world.send(0, call("acquire", "/l"));
    let second = world.send(1, call("acquire", "/l"));
    world.settle();
    let holder = world.clients[0].value(first).unwrap();
    assert!(world.clients[1].waiting.contains(&second));
    world.send(0, call("release", holder.split_once(' ').unwrap().1));
    world.step(0);
    let batches = world.batches(0);
    assert_eq!(batches.len(), 1, "one entry");
    assert_eq!(transactions(batches[0]).len(), 2, "the release and the grant");
    world.settle();
    assert!(world.clients[1].value(second).is_some());
    assert_eq!(world.history.grants, 2);
}

#[test]
fn a_batch_is_closed_at_its_count_of_transactions() {
    let mut world = World::ready(1, 1);
    for number in 0..=limits::BATCH_TRANSACTIONS_MAX {
        world.send(0, create(&format!("/n{number}"), "", LifetimeKind::Persistent));
    }
    world.step(0);
    let sizes: Vec<_> =
        world.batches(0).into_iter().map(|entry| transactions(entry).len()).collect();
    assert_eq!(sizes, [limits::BATCH_TRANSACTIONS_MAX, 1]);
}

#[test]
fn a_batch_is_closed_at_its_bytes() {
    let mut world = World::ready(1, 1);
    let data = "x".repeat(limits::BATCH_BYTES_MAX / 4);
    for number in 0..8 {
        world.send(0, create(&format!("/n{number}"), &data, LifetimeKind::Persistent));
    }
    world.step(0);
    let sizes: Vec<_> =
        world.batches(0).into_iter().map(|entry| transactions(entry).len()).collect();
    assert_eq!(sizes, [4, 4]);
}

#[test]
fn execution_goes_on_while_batches_are_in_flight_up_to_the_depth_of_the_pipeline() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    for number in 0..limits::BATCHES_IN_FLIGHT_MAX + 5 {
        world.send(0, set("/n", &number.to_string()));
        world.step(0);
    }
    let depth = limits::BATCHES_IN_FLIGHT_MAX;
    assert_eq!(world.batches(0).len(), depth, "no more than this in flight");
    for pair in world.batches(0).windows(2) {
        let last = transactions(pair[0]).last().unwrap().zxid;
        let EntryBody::Batch { base, .. } = &pair[1].body else { panic!("a batch") };
        assert_eq!(*base, last, "each batch says what it builds on");
    }
    world.settle();
    assert_eq!(world.history.last(), Zxid(depth as u64 + 5 + 1 + 1));
    assert_eq!(world.members[0].sequencer.dirty_count(), 0);
}

#[test]
fn a_waiting_batch_is_filled_up_while_the_pipeline_is_full() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    for number in 0..limits::BATCHES_IN_FLIGHT_MAX + 9 {
        world.send(0, set("/n", &number.to_string()));
        world.step(0);
    }
    assert!(world.append(0) && world.commit() && world.apply(0) && world.tell(0));
    world.step(0);
    let last = world.batches(0).pop().unwrap();
    assert_eq!(transactions(last).len(), 9, "all that was executed in the meantime");
}

#[test]
fn no_reply_leaves_before_its_entry_has_been_applied() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.append(0);
    world.commit();
    assert!(world.clients[0].told.is_empty());
    world.apply(0);
    assert!(world.clients[0].answer(write).is_some());
}

#[test]
fn a_resend_of_a_write_in_flight_is_answered_when_it_is_applied() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.members[0].said.clear();
    world.resend_all(0);
    world.step(0);
    assert!(world.members[0].said.is_empty(), "nothing leaves: {:?}", world.members[0].said);
    apply_all(&mut world);
    assert!(world.members[0].said.is_empty(), "the sequencer has not heard of it");
    while world.tell(0) {}
    let kept = |output: &Output| matches!(output, Output::Answer { write: of, answer: DirectAnswer::Kept { .. }, .. } if *of == write);
    assert!(world.members[0].said.iter().any(kept));
    assert_eq!(world.history.executed.len(), 1);
}

#[test]
fn a_resend_of_an_applied_write_gets_its_kept_reply() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    let request = world.clients[0].unanswered[&write].clone();
    world.settle();
    let token = world.clients[0].token;
    world.handle(0, Input::Submit(Submission { token, request }));
    world.step(0);
    let Some(Told::Replied { zxid, reply }) = world.clients[0].told.get(&write).cloned() else {
        panic!("answered")
    };
    let Some(Output::Answer { answer, .. }) = world.members[0].said.last() else { panic!("said") };
    assert_eq!(*answer, DirectAnswer::Kept { zxid, reply: reply.encode() });
    assert!(world.batches(0).is_empty(), "nothing was executed");
}

#[test]
fn a_refusal_waits_for_everything_that_it_may_be_based_on() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    let session = world.clients[0].session.unwrap();
    let body = set("/n", "x");
    let early = Arc::new(Request {
        session,
        write: WriteNumber(5),
        hash: hash_of(&body),
        acks: Acks::default(),
        body,
        address: None,
    });
    let token = world.clients[0].token;
    world.handle(0, Input::Submit(Submission { token, request: early }));
    world.step(0);
    let refused = |world: &World| {
        world.members[0].said.iter().any(|output| {
            matches!(output, Output::Answer { answer: DirectAnswer::Refused(refusal), .. }
                if refusal.code == ErrorCode::ResendFrom)
        })
    };
    assert!(!refused(&world), "it says what the last write was, and that one may still be lost");
    apply_all(&mut world);
    assert!(!refused(&world));
    while world.tell(0) {}
    assert!(refused(&world));
}

#[test]
fn held_answers_leave_in_the_order_in_which_they_were_made() {
    let mut world = World::ready(1, 2);
    for round in 0..3 {
        for client in [0, 1] {
            world.send(client, create(&format!("/{client}-{round}"), "", LifetimeKind::Persistent));
            world.resend_all(client);
        }
        world.step(0);
    }
    world.members[0].said.clear();
    apply_all(&mut world);
    while world.tell(0) {}
    let zxids: Vec<_> = world.members[0]
        .said
        .iter()
        .filter_map(|output| match output {
            Output::Answer { answer: DirectAnswer::Kept { zxid, .. }, .. } => Some(*zxid),
            _ => None,
        })
        .collect();
    assert!(zxids.len() >= 6 && zxids.iter().max() == zxids.last(), "{zxids:?}");
}

#[test]
fn a_tree_that_runs_ahead_of_what_is_told_does_not_show_in_scans() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/q/a", "", LifetimeKind::Persistent));
    world.settle();
    for item in ["x", "y", "z"] {
        world.send(0, call("put", &format!("/q/a {item}")));
    }
    world.step(0);
    let one = world.send(0, call("take", "/q/a"));
    world.step(0);
    // The tree has both batches, the sequencer has heard of none, or of the first only.
    apply_all(&mut world);
    let two = world.send(0, call("take", "/q/a"));
    world.step(0);
    world.tell(0);
    let three = world.send(0, call("take", "/q/a"));
    world.step(0);
    world.settle();
    let values = [one, two, three].map(|write| world.clients[0].value(write).unwrap());
    assert_eq!(values, ["x", "y", "z"]);
    world.history.check_items();
}

#[test]
fn new_requests_and_wakes_take_turns() {
    let mut world = World::ready(1, 3);
    for path in ["/a", "/b", "/n"] {
        world.send(2, create(path, "", LifetimeKind::Persistent));
    }
    world.settle();
    world.send(0, call("rally", "/a/1 /b/1"));
    world.send(1, call("rally", "/b/1 /a/1"));
    for _ in 0..100 {
        world.send(2, set("/n", "x"));
    }
    while world.members[0].sequencer.queued_count() > 0 {
        world.step(0);
    }
    world.pass(10);
    world.step(0);
    let session = world.clients[2].session.unwrap();
    let order: Vec<bool> = world
        .batches(0)
        .into_iter()
        .flat_map(transactions)
        .map(|one| one.origin.write().is_some_and(|(of, _)| of == session))
        .collect();
    let last = order.iter().rposition(|is_new| *is_new).unwrap();
    let storm = order[..last].iter().filter(|is_new| !**is_new).count();
    assert!(last <= 210, "100 new requests are done after {last} transactions");
    assert!(storm >= 90, "only {storm} wakes ran beside 100 new requests");
}

#[test]
fn one_error_changes_nothing_and_takes_a_zxid() {
    let mut world = World::ready(1, 1);
    let before = world.zxid(0);
    world.send(0, create("/n", "old", LifetimeKind::Persistent));
    let refused = world.send(0, call("refuse", "/n"));
    let missing = world.send(0, delete("/none"));
    world.settle();
    assert_eq!(world.zxid(0), Zxid(before.0 + 3));
    assert_eq!(world.clients[0].value(refused).as_deref(), Some("refused"));
    assert_eq!(world.clients[0].code(missing), Some(ErrorCode::NoNode));
    assert!(world.history.transactions.iter().rev().nth(1).unwrap().changes.is_empty());
}

#[test]
fn a_full_queue_refuses_and_numbers_stay_dense() {
    let mut world = World::ready(1, 1);
    let count = limits::SEQUENCER_QUEUE_MAX + 3;
    let body = set("/n", "x");
    for _ in 0..count {
        world.send(0, body.clone());
    }
    let refused = world.members[0].said.iter().filter(|output| {
        matches!(output, Output::Answer { answer: DirectAnswer::Refused(refusal), .. }
            if refusal.code == ErrorCode::Overloaded)
    });
    assert_eq!(refused.count(), 3);
    assert_eq!(world.members[0].sequencer.queued_count(), limits::SEQUENCER_QUEUE_MAX);
    assert_eq!(world.clients[0].told.len(), 0);
    // Kept replies are capped too; what matters here is that each write that ran is the next one.
    world.clients[0].resend = false;
    world.step(0);
    apply_all(&mut world);
    while world.tell(0) {}
    let ran = world.history.executed.len() as u64;
    let last = world.history.executed.last().unwrap().1;
    assert_eq!(last, WriteNumber(ran), "dense");
}

#[test]
fn what_a_session_acknowledges_makes_room_for_more() {
    let mut world = World::ready(1, 1);
    let session = world.clients[0].session.unwrap();
    let token = world.clients[0].token;
    let submit = |world: &mut World, write: u64, low: u64| {
        let body = Body::Cancel(WriteNumber(0));
        let request = Request {
            session,
            write: WriteNumber(write),
            hash: hash_of(&body),
            acks: Acks { low: WriteNumber(low), ranges: Vec::new() },
            body,
            address: None,
        };
        world.members[0].said.clear();
        let request = Arc::new(request);
        world.handle(0, Input::Submit(Submission { token, request }));
        world.settle();
        world.members[0].said.iter().find_map(|output| match output {
            Output::Answer { answer: DirectAnswer::Refused(refusal), .. } => Some(refusal.code),
            _ => None,
        })
    };
    let max = limits::KEPT_REPLIES_MAX;
    for write in 1..=max {
        assert_eq!(submit(&mut world, write, 0), None, "write {write}");
    }
    let over = Some(ErrorCode::TooManyUnacknowledged);
    assert_eq!(submit(&mut world, max + 1, 0), over);
    assert_eq!(submit(&mut world, max + 1, 1), None, "the acknowledgement rides on the write");
    assert_eq!(submit(&mut world, 1, 1), Some(ErrorCode::AlreadyAcknowledged));
}
