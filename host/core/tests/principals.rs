//! What the sessions of one principal hold together, over histories in which znodes and waiting calls come and go in every way
//! that there is and raft refuses what was proposed: always the sum over its sessions (`support::invariants`, after each
//! step), and nothing when they have ended. And what it is for: the bounds.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::access::{Held, Identity};
use quorate_core::condition::Condition;
use quorate_core::deployment::Manifest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute::{self, Executed};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::read::{Direction, Read};
use quorate_core::recipe::Reason;
use quorate_core::request::{
    Body, Call, Chunk, Deploy, LifetimeKind, Operation, Reply, Request, Sequence,
};
use quorate_core::session::{Acks, Opening, Parked};
use quorate_core::transaction::Outcome;
use sha2::{Digest as _, Sha256};

use support::pair::Pair;
use support::toys::Toys;

struct World {
    pair: Pair,
    toys: Toys,
    /// The last request of each number: which one is parked, its hash says.
    requests: BTreeMap<(SessionId, WriteNumber), Request>,
    sent_count: u128,
}

impl World {
    /// With the toys deployed as `lock`, by a session that nobody else shares a principal with.
    fn new() -> Self {
        let (requests, toys) = (BTreeMap::new(), Toys::default());
        let mut world = Self { pair: Pair::new(), toys, requests, sent_count: 0 };
        let operator = world.open("operator").expect("there is room");
        let component = Bytes::from_static(b"toys");
        let digest = Sha256::digest(&component).into();
        let chunk = Chunk { component: digest, index: 0, total_bytes: 4, bytes: component };
        done(&world.write(operator, Body::StoreChunk(chunk)));
        let manifest = Manifest::for_root(Path::root());
        let recipe = "lock".to_owned();
        let deploy = Deploy { recipe, component: digest, manifest, breaking_allowed: false };
        done(&world.write(operator, Body::Deploy(deploy)));
        done(&world.write(operator, one(create("/l", LifetimeKind::Persistent))));
        world.pair.apply_all();
        world
    }

    fn open(&mut self, principal: &str) -> Result<SessionId, Refusal> {
        let principal = principal.to_owned();
        let opening = Opening { timeout_ms: 1_000, principal, ..Opening::default() };
        let (_, opened) =
            self.pair.execute(|view, slot| match execute::open_session(view, slot, opening) {
                (view, Ok(transaction)) => {
                    let id = key::session_id(transaction.zxid);
                    (view, Some(transaction), Ok(id))
                }
                (view, Err(refusal)) => (view, None, Err(refusal)),
            });
        opened
    }

    /// Sends the next write of a session that lives; what it came to.
    fn write(&mut self, id: SessionId, body: Body) -> Outcome {
        let write = self.pair.view.session(id).expect("it was opened").last_write.next();
        self.sent_count += 1;
        let (hash, acks) = (self.sent_count, Acks::default());
        let request = Request { session: id, write, hash, acks, body, address: None };
        let toys = &mut self.toys;
        let (transaction, ()) = self.pair.execute(|view, slot| {
            let Executed { view, transaction, .. } = execute::write(view, slot, &request, toys);
            (view, transaction, ())
        });
        self.requests.insert((id, write), request);
        transaction.expect("every executed request is a transaction").outcome
    }

    /// The n-th session of all that live, over and over.
    fn session(&self, index: usize) -> Option<SessionId> {
        let (from, to) = key::sessions();
        let all = self.pair.view.range(&from, &to, Direction::Forward);
        let live = |id: &SessionId| self.pair.view.session(*id).is_some_and(|one| one.is_live());
        let all: Vec<_> = all.filter_map(|(key, _)| key::session_of(&key)).filter(live).collect();
        (!all.is_empty()).then(|| all[index % all.len()])
    }

    /// The n-th of all calls that wait.
    fn waiting(&self, index: usize) -> Option<(Request, Call, Parked)> {
        let (from, to) = key::parked_all();
        let all = self.pair.view.range(&from, &to, Direction::Forward);
        let all: Vec<_> = all.filter_map(|(key, _)| key::write_of(&key)).collect();
        let (id, write) = *all.get(index.checked_rem(all.len())?)?;
        let parked = self.pair.view.parked(id, write).expect("just listed");
        let request = self.requests[&(id, write)].clone();
        assert_eq!(request.hash, parked.hash);
        let Body::Single(Operation::Call(call)) = request.body.clone() else {
            panic!("no call waits")
        };
        Some((request, call, parked))
    }

    fn rerun(&mut self, index: usize, reason: Reason) {
        let Some((request, call, parked)) = self.waiting(index) else { return };
        let toys = &mut self.toys;
        self.pair.execute(|view, slot| {
            let executed = execute::rerun(view, slot, &request, &call, &parked, reason, toys);
            (executed.view, executed.transaction, ())
        });
    }

    fn end_parked(&mut self, index: usize) {
        let Some((request, ..)) = self.waiting(index) else { return };
        self.pair.execute(|view, slot| {
            let refusal = Refusal::new(ErrorCode::WokenTooOften, "the host ended it");
            let executed = execute::end_parked(view, slot, &request, refusal);
            (executed.view, executed.transaction, ())
        });
    }

    fn expire(&mut self, id: SessionId) {
        self.pair.execute(|view, slot| {
            let (view, transaction) = execute::expire_session(view, slot, id);
            (view, transaction, ())
        });
    }

    /// The tree says from now on that a principal holds this. Nothing is compared any more.
    fn forge(&mut self, principal: &str, holdings: Holdings) {
        self.pair.apply_all();
        self.pair.is_comparing = false;
        for tree in [&self.pair.leader, &self.pair.follower] {
            tree.commit([(key::principal(principal), Some(holdings.encode()))].into());
        }
    }
}

fn one(operation: Operation) -> Body {
    Body::Single(operation)
}

fn create(path: &str, lifetime: LifetimeKind) -> Operation {
    Operation::Create {
        path: path.to_owned(),
        data: Bytes::new(),
        lifetime,
        sequence: Sequence::None,
        parents: false,
        acl: None,
    }
}

fn delete(path: &str) -> Operation {
    Operation::Delete { path: path.to_owned(), condition: Condition::ANY }
}

fn call(function: &str, argument: &str) -> Operation {
    Operation::Call(Call {
        recipe: "lock".to_owned(),
        function: function.to_owned(),
        signature: 0,
        arguments: Bytes::from(argument.to_owned()),
    })
}

fn reply(outcome: &Outcome) -> Reply {
    let Outcome::Replied(reply) = outcome else { panic!("no reply: {outcome:?}") };
    Reply::decode(reply.clone()).expect("a reply decodes")
}

fn done(outcome: &Outcome) {
    let reply = reply(outcome);
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
}

/// The sentence of a refusal over a limit.
fn over(outcome: &Outcome) -> String {
    let Reply::Refused(failure) = reply(outcome) else { panic!("not refused: {outcome:?}") };
    assert_eq!(failure.refusal.code, ErrorCode::LimitPassed);
    failure.refusal.message
}

/// What happens next; sessions and waiting calls are the n-th of those that there are.
#[derive(Debug, Clone)]
enum Step {
    Open(&'static str),
    Write(usize, Box<Body>),
    Rerun(usize, Reason),
    EndParked(usize),
    Expire(usize),
    ForgetAll,
    ApplyAll,
    ApplyOne,
    Refuse(usize),
}

fn body() -> impl Strategy<Value = Body> {
    let ephemeral = |name: u8| create(&format!("/e{}", name % 4), LifetimeKind::Ephemeral);
    let deletion = |name: u8| delete(&format!("/e{}", name % 4));
    let functions = ["own-and-wait", "fail-when-woken", "fail-always", "wait", "count", "own"];
    prop_oneof![
        6 => any::<u8>().prop_map(move |name| one(ephemeral(name))),
        3 => any::<u8>().prop_map(move |name| one(deletion(name))),
        // All, or nothing of it.
        2 => (any::<u8>(), any::<u8>()).prop_map(move |(made, gone)| {
            Body::Multi(vec![ephemeral(made), call("own", "/o"), deletion(gone)])
        }),
        6 => (prop::sample::select(functions.to_vec()), 0..4_u8)
            .prop_map(|(function, name)| one(call(function, &format!("/w{name}")))),
        4 => Just(one(call("acquire", "/l"))),
        1 => Just(one(Operation::DeleteTree { path: "/l".to_owned(), condition: Condition::ANY })),
        1 => Just(one(create("/l", LifetimeKind::Persistent))),
        1 => Just(Body::Identify(Identity::parse("token:bob").map(Held::for_good))),
        1 => Just(Body::CloseSession),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let reasons = vec![Reason::Changed, Reason::TimedOut, Reason::Cancelled, Reason::Upgraded];
    prop_oneof![
        2 => prop::sample::select(vec!["", "alice", "bob", "token:bob"]).prop_map(Step::Open),
        12 => (0..8_usize, body()).prop_map(|(session, body)| Step::Write(session, Box::new(body))),
        6 => (0..8_usize, prop::sample::select(reasons)).prop_map(|(at, why)| Step::Rerun(at, why)),
        1 => (0..8_usize).prop_map(Step::EndParked),
        1 => (0..8_usize).prop_map(Step::Expire),
        1 => Just(Step::ForgetAll),
        2 => Just(Step::ApplyAll),
        2 => Just(Step::ApplyOne),
        1 => (0..4_usize).prop_map(Step::Refuse),
    ]
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Open(principal) => drop(self.open(principal).expect("there is room")),
            Step::Write(index, body) => {
                if let Some(id) = self.session(index) {
                    self.write(id, *body);
                }
            }
            Step::Rerun(index, reason) => self.rerun(index, reason),
            Step::EndParked(index) => self.end_parked(index),
            Step::Expire(index) => {
                if let Some(id) = self.session(index) {
                    self.expire(id);
                }
            }
            Step::ForgetAll => self.forget_all(),
            Step::ApplyAll => self.pair.apply_all(),
            Step::ApplyOne => drop(self.pair.apply_untold()),
            Step::Refuse(survivors) => self.pair.refuse(survivors),
        }
    }

    fn forget_all(&mut self) {
        let (from, to) = key::ended_before(u64::MAX);
        let ended = self.pair.view.range(&from, &to, Direction::Forward);
        let ended: Vec<_> = ended.filter_map(|(key, _)| key::session_of(&key)).collect();
        for id in ended {
            self.pair.execute(|view, slot| {
                let (view, transaction) = execute::forget_session(view, slot, id);
                (view, transaction, ())
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_principal_holds_what_its_sessions_hold_and_nothing_when_they_have_ended(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        while let Some(id) = world.session(0) {
            world.expire(id);
        }
        let (from, to) = key::principals();
        assert_eq!(world.pair.view.range(&from, &to, Direction::Forward).count(), 0);
        world.pair.replay();
    }
}

#[test]
fn a_principal_with_too_many_ephemerals_is_refused_in_all_its_sessions_and_nobody_else_is() {
    let mut world = World::new();
    let mut opened = |principal| world.open(principal).expect("there is room");
    let (first, second) = (opened("alice"), opened("alice"));
    let (other, nobody) = (opened("bob"), opened(""));
    let max = limits::EPHEMERALS_PER_PRINCIPAL_MAX;
    world.forge("alice", Holdings { sessions_count: 2, parked_count: 0, owned_count: max - 1 });
    let ephemeral = |path| create(path, LifetimeKind::Ephemeral);
    done(&world.write(first, one(ephemeral("/a1"))));
    let refused = format!(
        "ephemeral znodes of all sessions of the principal alice: {} is over the limit of {max}",
        max + 1
    );
    assert_eq!(over(&world.write(second, one(ephemeral("/a2")))), refused);
    assert_eq!(over(&world.write(second, one(call("own", "/a2")))), refused);
    done(&world.write(second, one(create("/p", LifetimeKind::Persistent))));
    done(&world.write(other, one(ephemeral("/b"))));
    done(&world.write(nobody, one(ephemeral("/n"))));
    // In the order of a multi; what was not committed counts.
    let swapped = |first, second| Body::Multi(vec![first, second]);
    let kept = swapped(ephemeral("/a2"), delete("/a1"));
    assert_eq!(over(&world.write(second, kept)), refused);
    done(&world.write(second, swapped(delete("/a1"), ephemeral("/a2"))));
    let both = Body::Multi(vec![delete("/a2"), ephemeral("/a3"), ephemeral("/a4")]);
    assert_eq!(over(&world.write(first, both)), refused);
    world.expire(second);
    done(&world.write(first, one(ephemeral("/a5"))));
    assert_eq!(over(&world.write(first, one(ephemeral("/a6")))), refused);
}

#[test]
fn a_principal_with_too_many_waiting_calls_may_go_on_with_those_that_wait() {
    let mut world = World::new();
    let mut opened = |principal| world.open(principal).expect("there is room");
    let (first, second, other) = (opened("alice"), opened("alice"), opened("bob"));
    let max = limits::PARKED_CALLS_PER_PRINCIPAL_MAX;
    world.forge("alice", Holdings { sessions_count: 2, parked_count: max - 1, owned_count: 0 });
    let wait = || one(call("count", ""));
    let is_parked = |outcome: &Outcome| matches!(outcome, Outcome::Parked(_));
    assert!(is_parked(&world.write(first, wait())));
    let refused = format!(
        "parked calls of all sessions of the principal alice: {} is over the limit of {max}",
        max + 1
    );
    assert_eq!(over(&world.write(second, wait())), refused);
    assert!(is_parked(&world.write(other, wait())));
    // Counted already: it waits on, again and again, and its end makes room.
    for _ in 0..3 {
        world.rerun(0, Reason::Changed);
    }
    let state = world.waiting(0).expect("it waits").2.state;
    assert_eq!(state, "4");
    assert_eq!(over(&world.write(second, wait())), refused);
    world.rerun(0, Reason::Cancelled);
    assert!(is_parked(&world.write(second, wait())));
    assert_eq!(over(&world.write(first, wait())), refused);
    // A session's end, too.
    world.expire(second);
    assert!(is_parked(&world.write(first, wait())));
}

#[test]
fn a_principal_with_too_many_sessions_opens_no_more_until_one_has_ended() {
    let mut world = World::new();
    let first = world.open("alice").expect("there is room");
    let max = limits::SESSIONS_PER_PRINCIPAL_MAX;
    world.forge("alice", Holdings { sessions_count: max - 1, parked_count: 0, owned_count: 0 });
    world.open("alice").expect("the last one");
    let refusal = world.open("alice").expect_err("one too many");
    assert_eq!(refusal.code, ErrorCode::LimitPassed);
    let message =
        format!("sessions of the principal alice: {} is over the limit of {max}", max + 1);
    assert_eq!(refusal.message, message);
    world.open("bob").expect("another principal");
    world.open("").expect("nobody is no principal");
    done(&world.write(first, Body::CloseSession));
    world.open("alice").expect("there is room again");
    world.open("alice").expect_err("for one");
}
