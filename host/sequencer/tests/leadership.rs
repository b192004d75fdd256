//! Refusals, lost answers, barriers, and leaders that come and go.

use quorate_core::ids::{Epoch, Term};
use quorate_core::limits;
use quorate_core::recipe::Reason;
use quorate_core::request::LifetimeKind;
use quorate_core::transaction::EntryBody;
use quorate_sequencer::Output;

use crate::harness::World;
use crate::harness::client::{call, create, set};

fn readies(world: &World, member: usize) -> usize {
    world.members[member].said.iter().filter(|said| matches!(said, Output::Ready { .. })).count()
}

#[test]
fn a_refusal_within_a_term_drops_what_was_executed_ahead_and_reopens() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    let zxid = world.zxid(0);
    assert!(world.members[0].sequencer.dirty_count() > 0);
    let resets = world.members[0].recipes.0.lock().unwrap().resets;
    assert!(world.refuse(0) && world.tell(0));
    assert_eq!(world.members[0].sequencer.dirty_count(), 0, "the overlay is gone");
    assert!(!world.members[0].sequencer.is_ready());
    assert_eq!(world.members[0].recipes.0.lock().unwrap().resets, resets + 1);
    let barrier = world.batches(0).pop().unwrap();
    assert_eq!((barrier.term, barrier.epoch), (Term(1), Epoch(2)));
    assert!(matches!(barrier.body, EntryBody::Barrier));
    world.settle();
    assert!(world.clients[0].answer(write).is_some(), "submitted again, and executed");
    assert_eq!(world.zxid(0), zxid.next());
}

#[test]
fn what_waits_behind_a_full_pipeline_is_dropped_with_it() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    for number in 0..limits::BATCHES_IN_FLIGHT_MAX + 4 {
        world.send(0, set("/n", &number.to_string()));
        world.step(0);
    }
    assert_eq!(world.batches(0).len(), limits::BATCHES_IN_FLIGHT_MAX);
    assert!(world.refuse(0) && world.tell(0));
    world.settle();
    assert!(world.clients[0].unanswered.is_empty());
    assert_eq!(world.history.executed.len(), limits::BATCHES_IN_FLIGHT_MAX + 5);
}

#[test]
fn nothing_is_executed_before_the_barrier_is_applied() {
    let mut world = World::ready(1, 1);
    world.elect(0, 0);
    while world.tell(0) {}
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    assert_eq!(world.batches(0).len(), 1, "the barrier, and no more");
    assert_eq!(world.members[0].sequencer.queued_count(), 0);
}

#[test]
fn an_entry_behind_a_refused_one_is_discarded_and_its_caller_served_again() {
    let mut world = World::ready(1, 1);
    let one = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    let two = world.send(0, set("/n", "x"));
    world.step(0);
    assert!(world.refuse(0), "the first is not taken");
    assert!(world.append(0) && world.commit() && world.apply(0), "the second is");
    assert!(!world.has(0, "/n"), "and is discarded");
    world.settle();
    assert!(world.clients[0].answer(one).is_some() && world.clients[0].answer(two).is_some());
    assert_eq!(world.history.executed.len(), 2);
}

#[test]
fn an_entry_that_was_refused_and_is_applied_all_the_same_counts_once() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    assert!(world.append_and_lose_answer(0) && world.tell(0));
    world.settle();
    assert!(world.clients[0].answer(write).is_some());
    assert_eq!(world.history.executed.len(), 1);
    assert_eq!(readies(&world, 0), 2);
}

#[test]
fn a_refused_barrier_is_tried_again_after_a_while() {
    let mut world = World::ready(1, 1);
    world.elect(0, 0);
    while world.tell(0) {}
    assert!(world.refuse(0) && world.tell(0));
    world.step(0);
    assert!(world.batches(0).is_empty(), "not at once");
    let due = world.members[0].sequencer.next_timer_ms().expect("it says when");
    assert!(due > world.now.monotonic_ms);
    world.pass(due - world.now.monotonic_ms);
    world.settle();
    assert!(world.members[0].sequencer.is_ready());
}

#[test]
fn a_barrier_whose_answer_was_lost_does_no_harm() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.elect(0, 0);
    while world.tell(0) {}
    assert!(world.append_and_lose_answer(0) && world.tell(0));
    world.pass(100);
    world.settle();
    assert!(world.members[0].sequencer.is_ready());
    assert!(world.clients[0].answer(write).is_some());
}

#[test]
fn a_leader_that_is_told_twice_in_one_term_opens_a_new_epoch() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.blink();
    while world.tell(0) {}
    world.settle();
    assert_eq!(world.history.executed.len(), 1);
    assert!(world.has(0, "/n"));
}

#[test]
fn a_leader_that_blinks_while_its_barrier_is_in_flight_opens_once() {
    let mut world = World::ready(1, 0);
    world.elect(0, 0);
    while world.tell(0) {}
    world.append(0);
    world.blink();
    while world.tell(0) {}
    let before = readies(&world, 0);
    world.settle();
    assert!(world.members[0].sequencer.is_ready());
    assert_eq!(readies(&world, 0), before + 1, "no epoch was opened for nothing");
}

#[test]
fn an_answer_from_an_earlier_term_is_not_taken_for_one_of_this_term() {
    // The barrier of an earlier term is applied; its proposer hears of it only when it leads again.
    let mut world = World::new(1);
    world.elect(0, 0);
    while world.tell(0) {}
    world.append(0);
    world.commit();
    world.apply(0);
    let late = world.members[0].notices.pop_front().unwrap();
    world.elect(0, 0);
    while world.tell(0) {}
    world.members[0].notices.push_back(late);
    while world.tell(0) {}
    assert!(!world.members[0].sequencer.is_ready(), "the barrier of this term is not applied");
    world.settle();
    assert!(world.members[0].sequencer.is_ready());
}

#[test]
fn a_late_refusal_from_an_earlier_term_drops_nothing() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.refuse(0);
    let late = world.members[0].notices.pop_front().unwrap();
    world.elect(0, 0);
    world.settle();
    let before = readies(&world, 0);
    world.members[0].notices.push_back(late);
    world.settle();
    assert_eq!(readies(&world, 0), before);
}

#[test]
fn a_leader_that_hears_of_its_barrier_after_another_led_does_not_execute() {
    let mut world = World::ready(2, 1);
    world.elect(0, 0);
    while world.tell(0) {}
    world.append(0);
    // The other member commits this barrier, opens its own epoch, and the first applies both before it hears anything.
    world.elect(1, 1);
    while world.tell(1) {}
    world.append(1);
    world.commit();
    while world.apply(0) {}
    world.members[0].notices.rotate_left(1);
    world.tell(0);
    assert!(!world.members[0].sequencer.is_ready());
    world.settle();
    assert!(world.members[1].sequencer.is_ready());
}

#[test]
fn a_leader_that_is_replaced_and_has_not_heard_executes_nothing_more() {
    let mut world = World::ready(2, 1);
    world.send(0, create("/p/x", "", LifetimeKind::Persistent));
    world.settle();
    // In its overlay /p has one child. Another leader adds one that the old one never executed.
    world.send(0, create("/p/y", "", LifetimeKind::Persistent));
    world.step(0);
    world.send(0, crate::harness::client::delete("/p/y"));
    world.step(0);
    world.elect(1, 0);
    while world.tell(1) {}
    let stale = std::mem::take(&mut world.members[0].notices);
    world.append(1);
    while world.commit() {}
    world.apply(1);
    world.tell(1);
    let other = world.open(1, 10_000);
    world.step(1);
    world.append(1);
    while world.commit() {}
    while world.apply(0) {}
    let proposed = world.batches(0).len();
    world.serving = 0;
    world.send(0, crate::harness::client::delete("/p/x"));
    world.step(0);
    assert_eq!(world.batches(0).len(), proposed, "it sees that the tree is another's");
    world.members[0].notices = stale;
    world.serving = 1;
    world.settle();
    assert!(world.clients[other].session.is_some());
}

#[test]
fn a_new_leader_serves_what_the_old_one_left_unanswered() {
    let mut world = World::ready(2, 2);
    world.clients[1].member = 1;
    let cut = world.send(0, create("/cut", "", LifetimeKind::Persistent));
    let kept = world.send(1, create("/kept", "", LifetimeKind::Persistent));
    world.step(0);
    world.append(0);
    world.elect(1, 1);
    world.settle();
    assert!(world.clients[0].answer(cut).is_some() && world.clients[1].answer(kept).is_some());
    assert_eq!(world.history.executed.len(), 2);
    assert_eq!(world.members[0].tree.records(), world.members[1].tree.records());
}

#[test]
fn a_kept_reply_is_found_after_a_fail_over() {
    let mut world = World::ready(2, 1);
    let write = world.send(0, create("/n", "", LifetimeKind::Persistent));
    world.step(0);
    world.append(0);
    world.commit();
    // The client is connected to a member that dies before it answers.
    world.elect(1, 0);
    world.clients[0].member = 1;
    world.clients[0].told.clear();
    world.settle();
    assert!(world.clients[0].answer(write).is_some());
    assert_eq!(world.history.executed.len(), 1);
}

#[test]
fn a_parked_call_goes_on_with_its_state_after_a_fail_over() {
    let mut world = World::ready(2, 2);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    let held = world.send(0, call("acquire", "/l"));
    let waits = world.send(1, call("acquire", "/l"));
    world.settle();
    let holder = world.clients[0].value(held).unwrap();
    world.elect(1, 0);
    world.settle();
    assert_eq!(world.members[1].sequencer.parked_count(), 1);
    let runs = world.members[1].recipes.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].reason, Reason::Changed);
    assert!(runs[0].state.starts_with(b"/l/w-"), "its place in the line");
    world.send(0, call("release", holder.split_once(' ').unwrap().1));
    world.settle();
    assert!(world.clients[1].value(waits).is_some());
}

#[test]
fn a_deadline_that_passes_between_two_leaders_is_met_at_once() {
    let mut world = World::ready(2, 1);
    let write = world.send(0, call("sleep", "/ 5000"));
    world.settle();
    world.pass(6_000);
    world.elect(1, 0);
    world.settle();
    assert_eq!(world.clients[0].value(write).as_deref(), Some("timed out"));
    assert_eq!(world.members[1].recipes.reasons("sleep"), [Reason::TimedOut]);
}

#[test]
fn a_restarted_member_leads_again() {
    let mut world = World::ready(1, 2);
    let write = world.send(1, call("take", "/"));
    world.settle();
    world.members[0].restart();
    world.leader = None;
    world.elect(0, 0);
    world.settle();
    assert!(world.clients[1].unanswered.contains_key(&write));
    assert_eq!(world.members[0].sequencer.parked_count(), 1);
    let again = world.send(0, create("/again", "", LifetimeKind::Persistent));
    world.settle();
    assert!(world.clients[0].answer(again).is_some());
}
