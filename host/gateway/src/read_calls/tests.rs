//! Threads over native recipes: what overlaps, what is bounded, what a defect costs. No engine.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Barrier;

use quorate_core::deployment::{ComponentDigest, Manifest, Recipe, Version};
use quorate_core::ids::{Millis, SessionId};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Run, RunEnd};
use quorate_core::txn::Txn;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::principals::Principals;

fn client(session: u64) -> Client {
    Client { session: SessionId(session), address: None }
}

/// No test waits longer for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

type Play = Arc<dyn Fn(&Run<'_>) + Send + Sync>;

/// Plays a call and returns its arguments.
struct Native(Play);

impl Recipes for Native {
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        (self.0)(run);
        (txn, RunEnd::Returned { value: run.call.arguments.clone(), is_error: false })
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    fn migrate(
        &mut self,
        _version: &Version,
        _previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        (txn, Ok(()))
    }

    fn reset(&mut self) {}
}

/// A tree in which `toy` is deployed.
fn tree() -> SharedRead {
    let tree = MemoryTree::new();
    let manifest = Manifest::for_root(Path::root());
    let (component, principal) = ([0; 32], String::new());
    let version = Version { number: 1, component, manifest, principal, deployed: Millis(1) };
    let recipe = Recipe { active: Some(1), last_version: 1, changed: Zxid(1) };
    let records = [
        (key::recipe("toy"), Some(recipe.encode())),
        (key::version("toy", 1), Some(version.encode())),
    ];
    tree.commit(records.into());
    Arc::new(tree)
}

fn start(
    threads: usize,
    queue_max: usize,
    play: impl Fn(&Run<'_>) + Send + Sync + 'static,
) -> Arc<ReadCalls> {
    let play: Play = Arc::new(play);
    let readers = (0..threads).map(|_| Box::new(Native(play.clone())) as Box<dyn Recipes + Send>);
    let tree = tree();
    let calls = ReadCalls::start_with(readers.collect(), Arc::new(move || tree.clone()), queue_max);
    Arc::new(calls.unwrap())
}

fn call(arguments: impl Into<Bytes>) -> Call {
    Call {
        recipe: "toy".to_owned(),
        function: "look".to_owned(),
        signature: 0,
        arguments: arguments.into(),
    }
}

type Going = tokio::task::JoinHandle<Result<Answered, Refusal>>;

/// Takes a call in and runs it, in a task of its own.
fn send(calls: &Arc<ReadCalls>, lane: &LaneShare, arguments: &'static str) -> Going {
    let taken = calls.take(lane, &call(arguments)).unwrap();
    let calls = calls.clone();
    tokio::spawn(async move {
        let (answered, _turn) = calls.run(&taken, client(1), call(arguments)).await?;
        Ok(answered)
    })
}

async fn answered(going: Going) -> Result<Bytes, Refusal> {
    timeout(PATIENCE, going).await.unwrap().unwrap()?.1
}

#[tokio::test]
async fn calls_run_beside_each_other() {
    // Each waits for the other: alone neither would end.
    let both = Arc::new(Barrier::new(2));
    let calls = start(2, 8, move |_| {
        both.wait();
    });
    let lane = LaneShare::of(None);
    let (one, other) = (send(&calls, &lane, "one"), send(&calls, &lane, "other"));
    assert_eq!(answered(one).await.unwrap(), "one");
    assert_eq!(answered(other).await.unwrap(), "other");
}

/// A gate that a call with the arguments `wait` stands at until it is opened.
struct Gate {
    arrived: UnboundedReceiver<()>,
    open: mpsc::Sender<()>,
    /// The arguments of the calls that have run, in their order.
    ran: Arc<Mutex<Vec<Bytes>>>,
}

impl Gate {
    async fn arrived(&mut self) {
        timeout(PATIENCE, self.arrived.recv()).await.unwrap().unwrap();
    }
}

/// One thread, and a gate.
fn gated(queue_max: usize) -> (Arc<ReadCalls>, Gate) {
    let (arrive, arrived) = unbounded_channel();
    let (open, opened) = mpsc::channel::<()>();
    let (opened, ran) = (Mutex::new(opened), Arc::<Mutex<Vec<Bytes>>>::default());
    let gate = Gate { arrived, open, ran: ran.clone() };
    let calls = start(1, queue_max, move |run| {
        lock(&ran).push(run.call.arguments.clone());
        if run.call.arguments == "wait" {
            arrive.send(()).unwrap();
            lock(&opened).recv().unwrap();
        }
    });
    (calls, gate)
}

#[tokio::test]
async fn the_queue_is_bounded_and_who_finds_it_full_is_told() {
    let (calls, mut gate) = gated(1);
    let lane = LaneShare::of(None);
    let held = send(&calls, &lane, "wait");
    gate.arrived().await;
    let taken = [(); 2].map(|()| calls.take(&lane, &call("next")).unwrap());
    let mut waits = Box::pin(calls.run(&taken[0], client(1), call("next")));
    // Polled once: it is in the queue.
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    let refusal = calls.run(&taken[1], client(1), call("late")).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Overloaded);
    gate.open.send(()).unwrap();
    assert_eq!(answered(held).await.unwrap(), "wait");
    assert_eq!(timeout(PATIENCE, waits).await.unwrap().unwrap().0.1.unwrap(), "next");
}

#[tokio::test]
async fn one_lane_does_not_have_the_queue_to_itself() {
    let (calls, mut gate) = gated(limits::READ_CALLS_QUEUE_MAX);
    let (greedy, modest) = (LaneShare::of(None), LaneShare::of(None));
    let held = send(&calls, &greedy, "wait");
    gate.arrived().await;
    let many: Vec<Going> = (0..300).map(|_| send(&calls, &greedy, "more")).collect();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let taken = calls.take(&modest, &call("mine")).unwrap();
    let mut mine = Box::pin(calls.run(&taken, client(2), call("mine")));
    assert!(timeout(Duration::ZERO, &mut mine).await.is_err());
    gate.open.send(()).unwrap();
    assert_eq!(timeout(PATIENCE, mine).await.unwrap().unwrap().0.1.unwrap(), "mine");
    let before = lock(&gate.ran).iter().position(|ran| ran == "mine").unwrap();
    assert!(before <= limits::READ_CALLS_PER_LANE_TURN, "{before} ran before it");
    assert_eq!(answered(held).await.unwrap(), "wait");
    for one in many {
        assert_eq!(answered(one).await.unwrap(), "more");
    }
}

#[tokio::test]
async fn a_lane_whose_answers_are_not_taken_gets_no_more_of_them() {
    let calls = start(1, 8, |_| {});
    let (lane, other) = (LaneShare::of(None), LaneShare::of(None));
    let mut kept = Vec::new();
    for _ in 0..limits::READ_CALLS_PER_LANE_TURN {
        let taken = calls.take(&lane, &call("kept")).unwrap();
        let run = calls.run(&taken, client(1), call("kept"));
        kept.push(timeout(PATIENCE, run).await.unwrap().unwrap());
    }
    let taken = calls.take(&lane, &call("late")).unwrap();
    let mut late = Box::pin(calls.run(&taken, client(1), call("late")));
    assert!(timeout(Duration::ZERO, &mut late).await.is_err());
    assert_eq!(answered(send(&calls, &other, "other")).await.unwrap(), "other");
    assert!(timeout(Duration::ZERO, &mut late).await.is_err(), "not run yet");
    kept.pop();
    assert_eq!(timeout(PATIENCE, late).await.unwrap().unwrap().0.1.unwrap(), "late");
}

#[test]
fn a_lane_and_a_member_have_so_much_room_and_no_more() {
    let calls = start(1, 1, |_| {});
    let lane = LaneShare::of(None);
    let all = limits::READ_CALL_BLOCKS_PER_LANE_MAX;
    let mut taken: Vec<Taken> =
        (0..all).map(|_| calls.take(&lane, &call("small")).unwrap()).collect();
    let refusal = calls.take(&lane, &call("small")).err().unwrap();
    assert_eq!(refusal.code, ErrorCode::Overloaded);
    assert!(refusal.message.contains("this session"), "{refusal}");
    taken.pop();
    assert!(calls.take(&lane, &call("small")).is_ok(), "room is given back");
    let large = call(vec![0; limits::READ_CALL_BLOCK_BYTES]);
    assert!(calls.take(&lane, &large).is_err(), "a large one takes more of it");
    let lanes = limits::READ_CALL_BLOCKS_MAX / all;
    let others: Vec<LaneShare> = (0..lanes).map(|_| LaneShare::of(None)).collect();
    let mut full = 0;
    for other in &others {
        while let Ok(one) = calls.take(other, &call("small")) {
            taken.push(one);
        }
        full += 1;
    }
    assert_eq!((full, taken.len()), (lanes, limits::READ_CALL_BLOCKS_MAX));
    let refusal = calls.take(&LaneShare::of(None), &call("small")).err().unwrap();
    assert!(refusal.message.contains("this member"), "{refusal}");
}

#[test]
fn a_principal_has_so_much_room_on_all_its_lanes() {
    let calls = start(1, 1, |_| {});
    let principals = Principals::default();
    let alice = principals.named("alice").unwrap();
    let lanes: Vec<LaneShare> = (0..5).map(|_| LaneShare::of(Some(alice.clone()))).collect();
    let mut taken: Vec<Taken> = Vec::new();
    for lane in &lanes {
        while let Ok(one) = calls.take(lane, &call("small")) {
            taken.push(one);
        }
    }
    assert_eq!(taken.len(), limits::READ_CALL_BLOCKS_PER_PRINCIPAL_MAX);
    let refusal = calls.take(&lanes[4], &call("small")).err().unwrap();
    assert_eq!(refusal.code, ErrorCode::Overloaded);
    assert!(refusal.message.contains("of the principal alice"), "{refusal}");
    assert!(calls.take(&LaneShare::of(principals.named("bob")), &call("small")).is_ok());
    assert!(calls.take(&LaneShare::of(None), &call("small")).is_ok());
    taken.pop();
    taken.push(calls.take(&lanes[4], &call("small")).unwrap());
    taken.clear();
    assert_eq!(alice.count(Kind::ReadCallBlocks), 0);
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_costs_no_thread() {
    let calls = start(1, 8, |run| {
        assert!(run.call.arguments != "defect", "announced: a defect");
    });
    let lane = LaneShare::of(None);
    let refusal = answered(send(&calls, &lane, "defect")).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Internal);
    assert_eq!(answered(send(&calls, &lane, "next")).await.unwrap(), "next");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_not_run() {
    let (calls, mut gate) = gated(8);
    let lane = LaneShare::of(None);
    let held = send(&calls, &lane, "wait");
    gate.arrived().await;
    let taken = calls.take(&lane, &call("dropped")).unwrap();
    let mut dropped = Box::pin(calls.run(&taken, client(1), call("dropped")));
    assert!(timeout(Duration::ZERO, &mut dropped).await.is_err());
    drop(dropped);
    gate.open.send(()).unwrap();
    assert_eq!(answered(held).await.unwrap(), "wait");
    assert_eq!(answered(send(&calls, &lane, "last")).await.unwrap(), "last");
    assert_eq!(*lock(&gate.ran), ["wait", "last"]);
}

#[tokio::test]
async fn after_the_end_calls_are_told_so() {
    let calls = start(2, 8, |_| {});
    let lane = LaneShare::of(None);
    assert_eq!(answered(send(&calls, &lane, "x")).await.unwrap(), "x");
    calls.stop();
    let refusal = answered(send(&calls, &lane, "x")).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ShuttingDown);
}
