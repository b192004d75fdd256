//! Parked calls: what wakes them, how they end, and what is left of them.

use std::sync::Arc;

use quorate_core::deployment::Manifest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{Millis, WriteNumber};
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::recipe::Reason;
use quorate_core::request::{Answer, Body, Call, Deploy, LifetimeKind, Operation, Request};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Output, Submission};

use crate::batches::transactions;
use crate::harness::World;
use crate::harness::client::{call, create, delete, set};

/// A world with a lock at `/l` that client 0 holds and client 1 waits for; the holder's znode, and the waiting write.
fn contended() -> (World, String, WriteNumber) {
    let mut world = World::ready(1, 3);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    let held = world.send(0, call("acquire", "/l"));
    let waits = world.send(1, call("acquire", "/l"));
    world.settle();
    let holder = world.clients[0].value(held).unwrap();
    let holder = holder.split_once(' ').unwrap().1.to_owned();
    assert!(world.clients[1].waiting.contains(&waits));
    (world, holder, waits)
}

fn deploy(component: u8) -> Body {
    Body::Deploy(Deploy {
        recipe: "lock".to_owned(),
        component: [component; 32],
        manifest: Manifest::for_root(Path::root()),
        breaking_allowed: false,
    })
}

#[test]
fn a_waiter_is_woken_only_by_what_it_named() {
    let (mut world, holder, waits) = contended();
    world.send(2, create("/other", "", LifetimeKind::Persistent));
    world.send(2, set("/l", "x"));
    world.settle();
    assert_eq!(world.members[0].recipes.reasons("acquire").len(), 2);
    world.send(2, delete(&holder));
    world.settle();
    assert!(world.clients[1].value(waits).is_some());
    let reasons = world.members[0].recipes.reasons("acquire");
    assert_eq!(reasons, [Reason::First, Reason::First, Reason::Changed]);
}

#[test]
fn a_call_is_not_woken_by_what_it_wrote_itself() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/b", "", LifetimeKind::Persistent));
    // It waits for its own znode's path as well as the other's: "/b/1 /b/1".
    world.send(0, call("rally", "/b/1 /b/1"));
    world.settle();
    assert_eq!(world.members[0].recipes.reasons("rally"), [Reason::First]);
}

#[test]
fn a_waiting_call_that_is_sent_again_is_told_that_it_waits_once_its_first_run_is_applied() {
    let mut world = World::ready(1, 2);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    world.send(0, call("acquire", "/l"));
    let waits = world.send(1, call("acquire", "/l"));
    let request = world.clients[1].unanswered[&waits].clone();
    let token = world.clients[1].token;
    let told = |world: &World| {
        let is_it = |output: &&Output| matches!(output, Output::Answer { token: to, write, answer: DirectAnswer::Parked, .. } if (*to, *write) == (token, waits));
        world.members[0].said.iter().filter(is_it).count()
    };
    world.step(0);
    world.handle(0, Input::Submit(Submission { token, request: request.clone() }));
    world.step(0);
    assert_eq!(told(&world), 0, "its first run may still be lost");
    world.settle();
    assert_eq!(told(&world), 1);
    // Another leader, to which the call has to be brought first.
    world.clients[1].unanswered.clear();
    world.elect(0, 0);
    world.settle();
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
    world.handle(0, Input::Submit(Submission { token, request }));
    world.settle();
    assert_eq!(told(&world), 2);
    assert_eq!(world.members[0].sequencer.parked_count(), 1);
}

#[test]
fn what_is_no_call_of_the_recipe_that_waits_does_not_join_it_whatever_its_hash() {
    let (mut world, _, waits) = contended();
    let request = world.clients[1].unanswered[&waits].clone();
    let token = world.clients[1].token;
    world.clients[1].unanswered.clear();
    // Another leader, to which the call has to be brought first.
    world.elect(0, 0);
    world.settle();
    let Body::Single(Operation::Call(call)) = &request.body else { panic!("a call") };
    let other = Call { recipe: "other".to_owned(), ..call.clone() };
    for body in [Body::Single(Operation::Call(other)), Body::Cancel(WriteNumber(1))] {
        let forged = Arc::new(Request { body, ..(*request).clone() });
        world.handle(0, Input::Submit(Submission { token, request: forged }));
        world.settle();
        let is_refused = |output: &Output| matches!(output, Output::Answer { write, answer: DirectAnswer::Refused(refusal), .. } if *write == waits && refusal.code == ErrorCode::ResendDiffers);
        let said = world.members[0].said.drain(..).collect::<Vec<_>>();
        assert_eq!(said.iter().filter(|output| is_refused(output)).count(), 1, "{said:?}");
        assert_eq!(world.members[0].sequencer.parked_count(), 0);
    }
}

#[test]
fn a_deadline_is_the_last_run() {
    let (mut world, _, _) = contended();
    let write = world.send(2, call("acquire", "/l 700"));
    world.pass_slowly(600);
    assert!(world.clients[2].told.is_empty());
    world.pass_slowly(200);
    assert_eq!(world.clients[2].value(write).as_deref(), Some("gave up"));
    let parent = world.members[0].tree.node(&Path::parse("/l").unwrap()).unwrap();
    assert_eq!(parent.children_count, 2, "the znode of the call that gave up is gone");
    assert_eq!(world.members[0].recipes.reasons("acquire").last(), Some(&Reason::TimedOut));
}

#[test]
fn a_deadline_does_not_move_when_the_call_runs_again() {
    let mut world = World::ready(1, 1);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    world.send(0, create("/l/w-0", "", LifetimeKind::Persistent));
    let write = world.send(0, call("acquire", "/l 1000"));
    for round in 0..9 {
        world.send(0, set("/l/w-0", &round.to_string()));
        world.pass_slowly(100);
    }
    assert_eq!(world.clients[0].value(write), None);
    world.pass_slowly(200);
    assert_eq!(world.clients[0].value(write).as_deref(), Some("gave up"));
}

#[test]
fn a_cancelled_call_runs_once_more_and_is_answered_with_its_cancel() {
    let (mut world, _, waits) = contended();
    let cancel = world.send(1, Body::Cancel(waits));
    world.step(0);
    let batches = world.batches(0);
    assert_eq!(batches.iter().map(|entry| transactions(entry).len()).collect::<Vec<_>>(), [2]);
    world.settle();
    assert_eq!(world.clients[1].value(waits).as_deref(), Some("gave up"));
    assert_eq!(world.clients[1].answer(cancel), Some(&Answer::Done));
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
}

#[test]
fn a_cancel_after_the_grant_gets_the_grant() {
    let (mut world, holder, waits) = contended();
    world.send(0, call("release", &holder));
    let cancel = world.send(1, Body::Cancel(waits));
    world.step(0);
    world.settle();
    // The release comes first, and its wake before or with the cancel: either way the lock is free for the last run.
    assert!(world.clients[1].value(waits).unwrap().contains("/l/w-"));
    assert_eq!(world.clients[1].answer(cancel), Some(&Answer::Done));
    let again = world.send(1, Body::Cancel(waits));
    world.settle();
    assert_eq!(world.clients[1].answer(again), Some(&Answer::Done));
}

#[test]
fn a_cancel_for_a_write_that_is_none_of_the_waiting_does_nothing() {
    let mut world = World::ready(1, 1);
    let own = world.send(0, Body::Cancel(WriteNumber(1)));
    let later = world.send(0, Body::Cancel(WriteNumber(3)));
    let waits = world.send(0, call("take", "/"));
    world.settle();
    assert_eq!(world.clients[0].answer(own), Some(&Answer::Done));
    assert_eq!(world.clients[0].answer(later), Some(&Answer::Done));
    assert!(world.clients[0].unanswered.contains_key(&waits), "it was not there to be cancelled");
}

#[test]
fn a_cancel_that_is_answered_has_cancelled_also_when_the_leader_changes() {
    let mut world = World::ready(2, 2);
    let waits = world.send(0, call("take", "/"));
    world.settle();
    // A batch that is full but for one: the cancel fits, what it causes does not.
    for _ in 0..limits::BATCH_TRANSACTIONS_MAX - 1 {
        world.send(1, Body::Cancel(WriteNumber(0)));
    }
    let cancel = world.send(0, Body::Cancel(waits));
    world.step(0);
    world.append(0);
    world.elect(1, 1);
    world.clients[0].member = 1;
    world.settle();
    world.resend_all(0);
    world.settle();
    assert_eq!(world.clients[0].answer(cancel), Some(&Answer::Done));
    assert_eq!(world.clients[0].value(waits).as_deref(), Some("empty"), "it does not wait on");
}

#[test]
fn a_run_that_fails_is_followed_by_a_cancelled_one_and_then_by_the_end() {
    let mut world = World::ready(1, 2);
    world.send(0, create("/t", "", LifetimeKind::Persistent));
    let write = world.send(0, call("trap-on-rerun", "/t"));
    world.settle();
    let owned = |world: &World| {
        let session = world.clients[0].session.unwrap();
        world.members[0].tree.session(session).unwrap().owned_count
    };
    assert_eq!(owned(&world), 1);
    world.send(1, set("/t", "x"));
    world.settle();
    assert_eq!(world.clients[0].code(write), Some(ErrorCode::FailedAfterPark));
    assert_eq!(owned(&world), 0, "what it owned is gone");
    let reasons = world.members[0].recipes.reasons("trap-on-rerun");
    assert_eq!(reasons, [Reason::First, Reason::Changed, Reason::Cancelled]);
}

#[test]
fn two_calls_that_wake_each_other_for_ever_end() {
    let mut world = World::ready(1, 2);
    for path in ["/a", "/b"] {
        world.send(0, create(path, "", LifetimeKind::Persistent));
    }
    let one = world.send(0, call("rally", "/a/1 /b/1"));
    let two = world.send(1, call("rally", "/b/1 /a/1"));
    world.settle();
    let codes = [world.clients[0].code(one), world.clients[1].code(two)];
    assert!(codes.contains(&Some(ErrorCode::WokenTooOften)), "{codes:?}");
    assert!(!world.has(0, "/a/1") || !world.has(0, "/b/1"));
}

#[test]
fn a_call_that_wakes_itself_runs_no_sooner_than_the_next_tick() {
    let mut world = World::ready(1, 1);
    world.send(0, call("spin", "/"));
    world.settle();
    assert_eq!(world.members[0].recipes.reasons("spin").len(), 1);
    for _ in 0..5 {
        world.pass(1);
        world.settle();
    }
    assert_eq!(world.members[0].recipes.reasons("spin").len(), 6);
    assert_eq!(world.zxid(0).0, 2, "runs that change nothing are no transactions");
}

#[test]
fn a_time_at_the_end_of_time_is_a_time() {
    let mut world = World::ready(1, 1);
    world.now.wall = Millis(0);
    world.now.monotonic_ms = u64::MAX / 2;
    world.send(0, call("sleep", &format!("/ {}", u64::MAX)));
    world.settle();
    assert_eq!(world.members[0].sequencer.parked_count(), 1);
}

#[test]
fn deadlines_are_kept_on_the_monotonic_clock_when_the_wall_clock_jumps() {
    for jump in [-3_600_000i64, 3_600_000] {
        let mut world = World::ready(1, 1);
        let write = world.send(0, call("sleep", "/ 1000"));
        world.settle();
        world.now.wall = Millis(world.now.wall.0.wrapping_add_signed(jump));
        world.pass_slowly(900);
        assert!(world.clients[0].told.is_empty(), "too soon after a jump of {jump}");
        world.pass_slowly(200);
        assert_eq!(world.clients[0].value(write).as_deref(), Some("timed out"));
    }
}

#[test]
fn a_time_comes_also_when_the_wall_clock_has_gone_back() {
    let mut world = World::ready(1, 1);
    let write = world.send(0, call("alarm", "/ 1000"));
    world.settle();
    world.now.wall = Millis(world.now.wall.0 - 3_600_000);
    world.pass_slowly(900);
    assert!(world.clients[0].told.is_empty());
    world.pass_slowly(200);
    assert_eq!(world.clients[0].value(write).as_deref(), Some("rang"));
    assert_eq!(world.members[0].recipes.reasons("alarm"), [Reason::First, Reason::Changed]);
}

#[test]
fn transaction_time_does_not_go_back_with_the_clock() {
    let mut world = World::ready(2, 1);
    world.send(0, create("/a", "", LifetimeKind::Persistent));
    world.settle();
    world.now.wall = Millis(world.now.wall.0 - 60_000);
    world.send(0, create("/b", "", LifetimeKind::Persistent));
    world.settle();
    world.elect(1, 0);
    world.settle();
    world.send(0, create("/c", "", LifetimeKind::Persistent));
    world.settle();
    let times: Vec<_> = world.history.transactions.iter().map(|one| one.time).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn waiting_calls_run_in_the_new_version_and_are_told_so() {
    let (mut world, holder, waits) = contended();
    let version = world.send(2, deploy(2));
    world.settle();
    assert_eq!(world.clients[2].answer(version), Some(&Answer::Activated { version: 2 }));
    let last = world.members[0].recipes.runs().pop().unwrap();
    assert_eq!((last.reason, last.version), (Reason::Upgraded, 2));
    world.send(0, call("release", &holder));
    world.settle();
    assert!(world.clients[1].value(waits).is_some());
}

#[test]
fn a_change_does_not_hide_from_a_call_that_it_was_upgraded() {
    let mut world = World::ready(1, 4);
    world.send(0, create("/l", "", LifetimeKind::Persistent));
    world.send(0, create("/l/w-0", "", LifetimeKind::Persistent));
    world.send(0, create("/q", "", LifetimeKind::Persistent));
    world.settle();
    // The first two keep the third in the queue of wakes while the deletion is executed.
    world.send(1, call("take", "/q"));
    world.send(1, call("take", "/q"));
    world.send(2, call("acquire", "/l"));
    world.settle();
    world.send(3, deploy(2));
    world.send(0, delete("/l/w-0"));
    world.settle();
    let reasons = world.members[0].recipes.reasons("acquire");
    assert_eq!(reasons, [Reason::First, Reason::Upgraded]);
}

#[test]
fn calls_whose_type_changed_end_in_the_old_version_before_migrate() {
    let (mut world, holder, waits) = contended();
    {
        let mut observed = world.members[0].recipes.0.lock().unwrap();
        observed.changed_functions = vec!["acquire".to_owned()];
    }
    world.send(2, create("/q", "", LifetimeKind::Persistent));
    let queued = world.send(2, call("take", "/q"));
    world.settle();
    let version = world.send(2, deploy(2));
    world.settle();
    assert_eq!(world.clients[2].answer(version), Some(&Answer::Activated { version: 2 }));
    assert_eq!(world.clients[1].code(waits), Some(ErrorCode::SignatureChanged));
    let runs = world.members[0].recipes.runs();
    let cancelled = runs.iter().position(|run| run.reason == Reason::Cancelled).unwrap();
    assert_eq!(runs[cancelled].version, 1, "in the old version");
    let (migrated, runs_before) = world.members[0].recipes.0.lock().unwrap().migrations[0];
    assert_eq!(migrated, 2);
    assert!(runs_before > cancelled, "before migrate");
    assert!(world.clients[2].unanswered.contains_key(&queued), "the others wait on");
    assert_eq!(runs.last().map(|run| (run.reason, run.version)), Some((Reason::Upgraded, 2)));
    assert!(world.has(0, &holder));
    let parent = world.members[0].tree.node(&Path::parse("/l").unwrap()).unwrap();
    assert_eq!(parent.children_count, 1, "the waiter's znode is gone");
}

#[test]
fn a_deployment_that_is_refused_ends_no_calls() {
    let (mut world, _, waits) = contended();
    {
        let mut observed = world.members[0].recipes.0.lock().unwrap();
        observed.changed_functions = vec!["acquire".to_owned()];
        observed.breaking = vec!["acquire".to_owned()];
    }
    let refused = world.send(2, deploy(2));
    let missing = world.send(2, deploy(9));
    world.settle();
    assert_eq!(world.clients[2].code(refused), Some(ErrorCode::BreakingChange));
    assert_eq!(world.clients[2].code(missing), Some(ErrorCode::NotAdmitted));
    assert!(world.clients[1].unanswered.contains_key(&waits));
    assert_eq!(world.members[0].sequencer.parked_count(), 1);
}

#[test]
fn many_calls_whose_type_changed_end_over_several_entries() {
    let mut world = World::ready(1, 2);
    let count = limits::BATCH_TRANSACTIONS_MAX + 100;
    for _ in 0..count {
        world.send(0, call("take", "/"));
    }
    world.settle();
    let mut observed = world.members[0].recipes.0.lock().unwrap();
    observed.changed_functions = vec!["take".to_owned()];
    drop(observed);
    let version = world.send(1, deploy(2));
    world.settle();
    assert_eq!(world.clients[1].answer(version), Some(&Answer::Activated { version: 2 }));
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
    assert_eq!(world.clients[0].told.len(), count);
}

#[test]
fn an_activation_whose_session_expires_while_it_waits_is_not_executed() {
    let mut world = World::ready(1, 1);
    for _ in 0..600 {
        world.send(0, call("take", "/"));
    }
    let operator = world.open(0, 2_000);
    world.settle();
    let mut observed = world.members[0].recipes.0.lock().unwrap();
    observed.changed_functions = vec!["take".to_owned()];
    drop(observed);
    world.send(operator, deploy(2));
    // One step after the other takes its time, and the operator is silent.
    for _ in 0..20 {
        world.step(0);
        world.pass(900);
        world.heartbeat(0);
    }
    world.settle();
    assert_eq!(world.clients[operator].code(WriteNumber(1)), Some(ErrorCode::SessionEnded));
    assert_eq!(world.members[0].tree.recipe("lock").unwrap().active, Some(1));
}

#[test]
fn an_activation_that_waits_when_its_epoch_ends_is_executed_in_the_next() {
    let mut world = World::ready(1, 2);
    for _ in 0..200 {
        world.send(0, call("take", "/"));
    }
    world.settle();
    let mut observed = world.members[0].recipes.0.lock().unwrap();
    observed.changed_functions = vec!["take".to_owned()];
    drop(observed);
    let version = world.send(1, deploy(2));
    world.step(0);
    world.pass(10);
    world.step(0);
    assert!(world.refuse(0) && world.tell(0));
    world.settle();
    assert_eq!(world.clients[1].answer(version), Some(&Answer::Activated { version: 2 }));
    assert_eq!(world.members[0].recipes.0.lock().unwrap().migrations.len(), 1);
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
}

#[test]
fn calls_of_a_removed_recipe_end() {
    let (mut world, _, waits) = contended();
    world.send(2, Body::RemoveRecipe("lock".to_owned()));
    world.settle();
    assert_eq!(world.clients[1].code(waits), Some(ErrorCode::FailedAfterPark));
    assert_eq!(world.members[0].sequencer.parked_count(), 0);
}

#[test]
fn a_barrier_opens_for_everybody_in_one_entry() {
    let mut world = World::ready(1, 3);
    world.send(0, create("/b", "", LifetimeKind::Persistent));
    let one = world.send(0, call("enter", "/b 3"));
    let two = world.send(1, call("enter", "/b 3"));
    world.settle();
    let three = world.send(2, call("enter", "/b 3"));
    world.step(0);
    assert_eq!(world.batches(0).len(), 1);
    world.settle();
    let values = [(0, one), (1, two), (2, three)].map(|(at, write)| world.clients[at].value(write));
    assert_eq!(values.map(Option::unwrap), ["passed", "passed", "opened"]);
    let barrier = world.members[0].tree.node(&Path::parse("/b").unwrap()).unwrap();
    assert_eq!(barrier.children_count, 0, "no call leaves its own znodes");
}

#[test]
fn items_go_to_waiting_takers_once_each() {
    let mut world = World::ready(1, 3);
    world.send(0, create("/q", "", LifetimeKind::Persistent));
    let one = world.send(1, call("take", "/q"));
    let two = world.send(2, call("take", "/q"));
    world.settle();
    world.send(0, call("put", "/q x"));
    world.settle();
    world.send(0, call("put", "/q y"));
    world.settle();
    let mut values = [world.clients[1].value(one), world.clients[2].value(two)].map(Option::unwrap);
    values.sort();
    assert_eq!(values, ["x", "y"]);
    world.history.check_items();
}

#[test]
fn a_resend_of_a_waiting_call_joins_it() {
    let (mut world, holder, waits) = contended();
    let runs = world.members[0].recipes.runs().len();
    world.resend_all(1);
    world.settle();
    assert_eq!(world.members[0].recipes.runs().len(), runs, "it is not run for that");
    world.send(0, call("release", &holder));
    world.settle();
    assert!(world.clients[1].value(waits).is_some());
}
