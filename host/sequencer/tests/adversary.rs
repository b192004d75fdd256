//! Questions that somebody who wishes us ill would ask.

use std::sync::Arc;

use quorate_core::draft::ReadRecords;
use quorate_core::error::ErrorCode;
use quorate_core::ids::WriteNumber;
use quorate_core::limits;
use quorate_core::request::LifetimeKind;
use quorate_core::session::End;
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Output, Submission, Token};

use crate::harness::World;
use crate::harness::client::{call, create, delete};

fn overloaded(world: &World) -> usize {
    let is_overloaded = |output: &&Output| match output {
        Output::Answer { answer: DirectAnswer::Refused(refusal), .. } => {
            refusal.code == ErrorCode::Overloaded
        }
        Output::SessionOpened { session: Err(refusal), .. } => {
            refusal.code == ErrorCode::Overloaded
        }
        _ => false,
    };
    world.members[0].said.iter().filter(is_overloaded).count()
}

/// What each lane was told of this write that makes no transaction.
fn refusals(world: &World, of: WriteNumber) -> Vec<(Token, ErrorCode)> {
    let refusal = |output: &Output| match output {
        Output::Answer { token, write, answer: DirectAnswer::Refused(refusal), .. } => {
            (*write == of).then_some((*token, refusal.code))
        }
        _ => None,
    };
    world.members[0].said.iter().filter_map(refusal).collect()
}

/// A session that nobody else uses, and requests of it that fill the queue to the brim.
fn fill_queue(world: &mut World, client: usize) {
    let request = world.clients[client].request(create("/full", "", LifetimeKind::Persistent));
    let token = world.clients[client].token;
    while world.members[0].sequencer.queued_count() < limits::SEQUENCER_QUEUE_MAX {
        let request = request.clone();
        world.handle(0, Input::Submit(Submission { token, request }));
    }
}

#[test]
fn an_opening_that_is_asked_for_again_leaves_an_orphan_that_expires() {
    let mut world = World::ready(1, 0);
    let client = world.open(0, 10_000);
    world.step(0);
    // The entry is applied, but its proposer is told that it was refused.
    assert!(world.append_and_lose_answer(0));
    world.settle();
    assert_eq!(world.history.live.len(), 2, "one more than was asked for");
    assert_eq!(world.clients[client].opened, 1, "one answer");
    for _ in 0..26 {
        world.pass_slowly(500);
        world.heartbeat(client);
    }
    assert_eq!(world.history.live.len(), 1);
    assert!(world.history.live.contains(&world.clients[client].session.unwrap()));
}

#[test]
fn the_queue_takes_no_more_openings_than_requests() {
    let mut world = World::ready(1, 1);
    fill_queue(&mut world, 0);
    world.open(0, 10_000);
    assert_eq!(world.members[0].sequencer.queued_count(), limits::SEQUENCER_QUEUE_MAX);
    assert_eq!(overloaded(&world), 1, "it is told so");
}

#[test]
fn a_full_queue_takes_what_only_frees_something() {
    let mut world = World::ready(1, 3);
    world.send(1, create("/n", "", LifetimeKind::Persistent));
    world.settle();
    fill_queue(&mut world, 0);
    let refused = world.send(2, create("/more", "", LifetimeKind::Persistent));
    let deletion = world.send(1, delete("/n"));
    assert_eq!(overloaded(&world), 1);
    assert_eq!(refusals(&world, deletion), []);
    assert_eq!(refusals(&world, refused).len(), 1);
    assert_eq!(world.members[0].sequencer.queued_count(), limits::SEQUENCER_QUEUE_MAX + 1);
}

#[test]
fn a_full_queue_does_not_tell_that_an_executed_write_was_not_executed() {
    let mut world = World::ready(1, 2);
    let write = world.send(1, create("/n", "", LifetimeKind::Persistent));
    let request = world.clients[1].unanswered[&write].clone();
    world.settle();
    fill_queue(&mut world, 0);
    let token = world.clients[1].token;
    world.handle(0, Input::Submit(Submission { token, request }));
    assert_eq!(overloaded(&world), 0);
    let kept = |output: &Output| {
        matches!(output, Output::Answer { answer: DirectAnswer::Kept { .. }, .. })
    };
    assert!(world.members[0].said.iter().any(kept));
}

#[test]
fn a_full_queue_does_not_tell_that_a_write_is_not_executed_whose_first_copy_waits_in_it() {
    let mut world = World::ready(1, 2);
    let write = world.send(1, create("/n", "", LifetimeKind::Persistent));
    let request = world.clients[1].unanswered[&write].clone();
    fill_queue(&mut world, 0);
    // On a new lane, as the same and as another request.
    let token = Token::local(world.clients[1].token.number + 1_000);
    world.handle(0, Input::Submit(Submission { token, request: request.clone() }));
    assert_eq!(overloaded(&world), 0, "it is going to be executed");
    let mut other = (*request).clone();
    other.hash += 1;
    world.handle(0, Input::Submit(Submission { token, request: Arc::new(other) }));
    assert_eq!(overloaded(&world), 1, "this one is not");
    world.settle();
    assert!(world.has(0, "/n"));
}

#[test]
fn a_direct_answer_to_a_queued_write_goes_to_the_lane_that_sent_it_last() {
    let mut world = World::ready(1, 2);
    let mut request =
        (*world.clients[1].request(create("/n", "", LifetimeKind::Persistent))).clone();
    request.write = WriteNumber(7);
    let request = Arc::new(request);
    let (old, new) = (world.clients[1].token, Token::local(world.clients[1].token.number + 1_000));
    world.handle(0, Input::Submit(Submission { token: old, request: request.clone() }));
    fill_queue(&mut world, 0);
    world.handle(0, Input::Submit(Submission { token: new, request }));
    world.members[0].said.clear();
    world.settle();
    assert_eq!(refusals(&world, WriteNumber(7)), [(new, ErrorCode::ResendFrom)]);
}

#[test]
fn a_gap_before_an_old_copy_is_not_told_of_a_new_one_that_comes_behind_what_was_missing() {
    let mut world = World::ready(1, 2);
    let body = |path| create(path, "", LifetimeKind::Persistent);
    let first = world.clients[1].request(body("/first"));
    let mut second = (*world.clients[1].request(body("/second"))).clone();
    second.write = first.write.next();
    let (write, second) = (second.write, Arc::new(second));
    let (old, new) = (world.clients[1].token, Token::local(world.clients[1].token.number + 1_000));
    // The first one found the queue full on the old lane. The new lane sends both.
    let sent = [(old, &second), (new, &first), (new, &second)];
    for (token, request) in sent {
        world.handle(0, Input::Submit(Submission { token, request: request.clone() }));
    }
    world.settle();
    assert!(world.has(0, "/second"));
    assert_eq!(refusals(&world, write), [(old, ErrorCode::ResendFrom)]);
}

#[test]
fn a_full_queue_does_not_strand_waiting_calls_after_a_fail_over() {
    let mut world = World::ready(2, 2);
    world.send(0, create("/q", "", LifetimeKind::Persistent));
    let waits = world.send(1, call("take", "/q"));
    world.settle();
    // Another leader opens; so much is submitted again that the queue is full when the waiting call comes.
    world.elect(0, 0);
    let held = std::mem::take(&mut world.clients[1].unanswered);
    world.settle();
    fill_queue(&mut world, 0);
    world.clients[1].unanswered = held;
    world.resend_all(1);
    assert_eq!(overloaded(&world), 0, "it was executed: there is nothing to refuse");
    world.step(0);
    assert_eq!(world.members[0].sequencer.parked_count(), 1, "it waits again");
    assert!(world.clients[1].unanswered.contains_key(&waits));
}

#[test]
fn a_confirmation_from_before_a_refusal_is_kept_by_the_next_epoch() {
    let mut world = World::ready(1, 2);
    world.pass_slowly(10_000);
    world.heartbeat(0);
    assert_eq!(world.clients[0].alive_from_ms, world.now.monotonic_ms);
    world.send(1, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.refuse(0);
    // From the confirmed heartbeat on the client counts on its full timeout.
    world.pass_slowly(10_000);
    assert!(world.history.ended.is_empty());
}

#[test]
fn a_leader_without_a_quorum_confirms_and_only_its_gateway_can_know_better() {
    // A record of what the sequencer does not know: the gateway must ask raft before it passes a confirmation on.
    let mut world = World::ready(2, 1);
    world.elect(1, 0);
    while world.tell(1) {}
    while world.append(1) {}
    while world.commit() {}
    while world.apply(1) {}
    while world.tell(1) {}
    world.serving = 0;
    world.members[0].said.clear();
    let before = world.clients[0].alive_from_ms;
    world.pass(100);
    world.heartbeat(0);
    let confirmed =
        |output: &Output| matches!(output, Output::HeartbeatConfirmed { is_live: true, .. });
    assert!(world.members[0].said.iter().any(confirmed), "it believes that it leads");
    assert_eq!(world.clients[0].alive_from_ms, before, "the gateway does not pass it on");
}

#[test]
fn a_session_closed_by_another_of_its_attachments_ends_for_all() {
    let mut world = World::ready(2, 1);
    let close = world.send(0, quorate_core::request::Body::CloseSession);
    world.move_client(0, 1);
    world.settle();
    assert!(world.clients[0].answer(close).is_some());
    let session = world.clients[0].session.unwrap();
    assert_eq!(world.history.ended[&session].0, End::Closed);
}

#[test]
fn a_run_that_changes_nothing_in_an_empty_batch_proposes_nothing() {
    let mut world = World::ready(1, 2);
    world.send(1, create("/q", "", LifetimeKind::Persistent));
    world.send(0, call("sleep", "/ 60000"));
    world.settle();
    let before = world.log.len();
    let zxid = world.zxid(0);
    // A second leader, the same term: the call runs again, and waits on without a word.
    world.blink();
    world.settle();
    assert_eq!(world.log.len(), before + 1, "the barrier alone");
    assert_eq!(world.zxid(0), zxid);
    let write = world.send(1, create("/after", "", LifetimeKind::Persistent));
    world.settle();
    assert!(world.clients[1].answer(write).is_some());
}

#[test]
fn a_resend_that_differs_is_refused_and_changes_nothing() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    let mut other = (*world.clients[0].unanswered[&write]).clone();
    world.settle();
    other.hash ^= 1;
    let token = world.clients[0].token;
    world.members[0].said.clear();
    world.handle(0, Input::Submit(Submission { token, request: Arc::new(other) }));
    world.settle();
    assert!(matches!(
        world.members[0].said.as_slice(),
        [Output::Answer { answer: DirectAnswer::Refused(refusal), .. }]
            if refusal.code == ErrorCode::ResendDiffers
    ));
}

#[test]
fn a_write_that_overtakes_its_elders_is_sent_back_and_then_executed_in_order() {
    let mut world = World::ready(1, 1);
    let first = world.clients[0].request(create("/a", "", LifetimeKind::Persistent)).write;
    let second = world.send(0, create("/a/b", "", LifetimeKind::Persistent));
    world.settle();
    assert!(world.clients[0].answer(first).is_some());
    assert!(world.clients[0].answer(second).is_some());
}

#[test]
fn a_long_queue_of_recipe_calls_does_not_keep_the_leader_from_its_inputs() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/q", "", LifetimeKind::Persistent));
    world.settle();
    for item in 0..3_000 {
        world.send(0, call("put", &format!("/q {item}")));
    }
    let before = world.members[0].recipes.runs().len();
    world.step(0);
    let ran = world.members[0].recipes.runs().len() - before;
    assert!(ran <= 256, "{ran} runs of up to 100 ms in one step");
    let due = world.members[0].sequencer.next_timer_ms();
    assert_eq!(due, Some(world.now.monotonic_ms), "there is more to do at once");
    let mut steps = 0;
    while world.members[0].sequencer.queued_count() > 0 && steps < 100 {
        world.step(0);
        while world.append(0) {}
        while world.commit() {}
        while world.apply(0) {}
        while world.tell(0) {}
        steps += 1;
    }
    assert_eq!(world.members[0].sequencer.queued_count(), 0);
}

#[test]
fn a_foreign_entry_in_the_middle_of_a_run_is_seen_at_the_next_step() {
    // The guard of a step looks before it executes; what changes below it during the step is the wrapper's to prevent.
    let mut world = World::ready(2, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.settle();
    let tree = world.members[0].tree.clone();
    let meddle = move || {
        let mut draft = quorate_core::draft::Draft::new(tree.clone());
        let mut meta = tree.meta();
        meta.term = meta.term.next();
        draft.put_meta(meta);
        tree.commit(draft.into_parts().1);
    };
    world.members[0].recipes.0.lock().unwrap().meddle = Some(Box::new(meddle));
    world.send(0, call("meddle", "/n"));
    world.step(0);
    let proposed = world.batches(0).len();
    world.send(0, create("/more", "", LifetimeKind::Persistent));
    world.step(0);
    assert_eq!(world.batches(0).len(), proposed);
    assert!(!world.members[0].sequencer.is_ready());
}
