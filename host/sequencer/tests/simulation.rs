//! Random schedules from a seed: clients, recipes, refusals, lost answers, fail-overs, stalls, jumps of the clock. After
//! each move the invariants of DESIGN section 4 hold; at the end everybody is answered or waits.
//!
//! `QUORATE_SEED=7 cargo test -p quorate-sequencer simulation` repeats one seed; `QUORATE_SIM_MS` is how long to go on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use quorate_core::draft::ReadRecords;
use quorate_core::ids::{Millis, WriteNumber};
use quorate_core::key;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::query;
use quorate_core::read::{Direction, Read};
use quorate_core::request::{Body, LifetimeKind, Operation};
use quorate_core::session::{End, Session};
use quorate_core::znode::{Lifetime, Node};
use quorate_sequencer::{Input, Reserve};

use crate::harness::client::{call, create, delete, set};
use crate::harness::{PRINCIPAL, World};

/// Moves of one schedule.
const MOVES: u32 = 500;
/// Milliseconds of one test, unless the environment says otherwise.
const SIM_MS: u64 = 10_000;

/// splitmix64: small, and the same everywhere for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

struct Simulation {
    world: World,
    random: Random,
    item: u32,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut world = World::ready(1 + random.below(3), 1);
        for path in ["/l1", "/l2", "/q", "/b", "/t", "/n"] {
            world.send(0, create(path, "", LifetimeKind::Persistent));
        }
        for _ in 0..2 + random.below(4) {
            let member = random.below(world.members.len());
            let timeout_ms = 2_000 + 2_000 * random.below(5) as u64;
            world.open(member, timeout_ms);
        }
        world.settle();
        Self { world, random, item: 0 }
    }

    fn run(&mut self) {
        for _ in 0..MOVES {
            self.one_move();
            self.check();
        }
        self.quiesce();
    }

    fn one_move(&mut self) {
        let member = self.random.below(self.world.members.len());
        let leader = self.world.leader.unwrap_or(0);
        match self.random.below(100) {
            0..=29 => self.client_move(),
            30..=49 => self.world.step(leader),
            50..=51 => self.world.step(member),
            52..=61 => drop(self.world.append(leader)),
            62 => drop(self.world.append(member)),
            63 => drop(self.world.refuse(leader)),
            64 => drop(self.world.append_and_lose_answer(leader)),
            65..=72 => drop(self.world.commit()),
            73..=80 => drop(self.world.apply(leader)),
            81..=84 => drop(self.world.apply(member)),
            85..=90 => drop(self.world.tell(leader)),
            91..=92 => drop(self.world.tell(member)),
            93 if self.random.one_in(4) => self.fill_or_empty_disk(member),
            93 => self.elect(member),
            94 => self.pass(),
            _ => self.settle_some(),
        }
    }

    fn fill_or_empty_disk(&mut self, member: usize) {
        let free_bytes = if self.random.one_in(3) { 0 } else { 2 };
        let disk = Input::Disk { member: 1, free_bytes, reserve: Reserve::of(1) };
        let now = self.world.now;
        self.world.members[member].sequencer.handle(disk, now);
    }

    fn elect(&mut self, member: usize) {
        match self.random.below(7) {
            0 => self.world.blink(),
            2 => self.world.delay_answers(member),
            1 => {
                self.world.members[member].restart();
                if self.world.leader == Some(member) {
                    self.world.leader = None;
                    self.world.elect(member, 0);
                }
            }
            _ => {
                let kept = self.random.below(4);
                self.world.elect(member, kept);
            }
        }
    }

    fn pass(&mut self) {
        match self.random.below(12) {
            // The leader alone stands still, as long as anybody's timeout.
            0 => self.world.pass(1_500 + self.random.next() % 20_000),
            1 => self.world.now.wall = Millis(self.world.now.wall.0 - self.random.next() % 5_000),
            2 => self.world.now.wall = self.world.now.wall.plus(self.random.next() % 60_000),
            3 => {
                // Long enough for the silent to expire.
                for _ in 0..60 {
                    self.world.pass(250);
                    self.heartbeats();
                    for member in 0..self.world.members.len() {
                        self.world.step(member);
                    }
                }
            }
            _ => {
                self.world.pass(self.random.next() % 300);
                self.heartbeats();
            }
        }
    }

    fn heartbeats(&mut self) {
        for client in 0..self.world.clients.len() {
            if !self.world.clients[client].is_dead {
                self.world.heartbeat(client);
            }
        }
    }

    /// A few quiet moments: without them hardly anything would ever be finished.
    fn settle_some(&mut self) {
        let leader = self.world.leader.unwrap_or(0);
        for _ in 0..1 + self.random.below(3) {
            self.world.step(leader);
            while self.world.append(leader) {}
            while self.world.commit() {}
            while self.world.apply(leader) {}
            while self.world.tell(leader) {}
        }
    }

    fn client_move(&mut self) {
        let client = self.random.below(self.world.clients.len());
        if self.random.one_in(60) && self.world.clients.len() < 12 {
            let member = self.random.below(self.world.members.len());
            self.world.open(member, 4_000);
            return;
        }
        if self.world.clients[client].session.is_none() || self.world.clients[client].is_dead {
            return;
        }
        match self.random.below(40) {
            0 if client > 0 => self.world.clients[client].is_dead = true,
            1..=2 => {
                let member = self.random.below(self.world.members.len());
                self.world.move_client(client, member);
            }
            3 => self.world.resend_all(client),
            4 => self.world.heartbeat(client),
            _ if self.world.clients[client].is_closed => {}
            5 if client > 0 && self.random.one_in(4) => {
                self.world.clients[client].is_closed = true;
                self.world.send(client, Body::CloseSession);
            }
            _ if self.world.clients[client].resend => self.world.resend_all(client),
            6 => {
                // It is lost on its way: the next one comes too early.
                let body = self.body(client);
                drop(self.world.clients[client].request(body));
            }
            _ => {
                let body = self.body(client);
                self.world.send(client, body);
            }
        }
    }

    fn body(&mut self, client: usize) -> Body {
        let lock = ["/l1", "/l2"][self.random.below(2)];
        let patience = if self.random.one_in(3) { " 900" } else { "" };
        match self.random.below(24) {
            0..=5 => call("acquire", &format!("{lock}{patience}")),
            6..=9 => match self.holder(client) {
                Some(holder) => call("release", &holder),
                None => call("acquire", lock),
            },
            10..=12 => {
                self.item += 1;
                call("put", &format!("/q item{}", self.item))
            }
            13..=14 => call("take", "/q"),
            15 => call("enter", &format!("/b {}", 2 + self.random.below(4))),
            16 => call("trap-on-rerun", "/t"),
            17 => call("sleep", &format!("/ {}", self.random.below(3_000))),
            18 => {
                let waiting: Vec<WriteNumber> =
                    self.world.clients[client].unanswered.keys().copied().collect();
                let at = self.random.below(waiting.len());
                Body::Cancel(waiting.get(at).copied().unwrap_or(WriteNumber(1)))
            }
            19 => set("/t", "x"),
            20 => create(&format!("/n/{}", self.random.below(5)), "", LifetimeKind::Ephemeral),
            21 => create(
                &format!("/n/{}", self.random.below(5)),
                "",
                LifetimeKind::Ttl(1 + self.random.below(2_000) as u64),
            ),
            22 => create(&format!("/n/{}", self.random.below(5)), "", LifetimeKind::Container),
            _ => delete(&format!("/n/{}", self.random.below(5))),
        }
    }

    /// A znode with which this client holds a lock, as far as it knows.
    fn holder(&self, client: usize) -> Option<String> {
        let client = &self.world.clients[client];
        client.told.keys().rev().take(8).find_map(|write| {
            let value = client.value(*write)?;
            let (_, holder) = value.split_once(" /l")?;
            Some(format!("/l{holder}"))
        })
    }

    fn check(&self) {
        for client in &self.world.clients {
            self.world.history.check_client(client);
            let Some(session) = client.session else { continue };
            if let Some((End::Expired, at_ms)) = self.world.history.ended.get(&session) {
                let silent_ms = at_ms.saturating_sub(client.alive_from_ms);
                assert!(
                    silent_ms > client.timeout_ms || *at_ms < client.alive_from_ms,
                    "session {session} expired {silent_ms} ms after its client was confirmed"
                );
            }
        }
        self.world.history.check_items();
    }

    /// Nothing fails any more. Everybody who is not dead is answered, or waits.
    fn quiesce(&mut self) {
        // Now and then the leader must come to rest without the help of an election.
        if self.random.one_in(2) {
            let member = self.random.below(self.world.members.len());
            self.world.elect(member, usize::MAX >> 1);
        }
        for client in 0..self.world.clients.len() {
            self.world.resend_all(client);
        }
        self.world.settle();
        // Longer than anybody's deadline.
        for _ in 0..10 {
            self.heartbeats();
            self.world.pass_slowly(500);
        }
        // Whose session has ended in the meantime learns it now.
        for client in 0..self.world.clients.len() {
            self.world.resend_all(client);
        }
        self.world.settle();
        self.check();
        let world = &self.world;
        let leader = world.leader.expect("elected above");
        assert_eq!(world.members[leader].sequencer.dirty_count(), 0, "the overlay is clean");
        let tree = &world.members[leader].tree;
        for client in &world.clients {
            let Some(session) = client.session else { continue };
            for write in client.unanswered.keys() {
                let waits = tree.parked(session, *write).is_some();
                assert!(waits, "{session}:{write} is neither answered nor waits");
            }
        }
        let (from, to) = key::parked_all();
        let live = |key: &[u8]| {
            let (session, _) = key::write_of(key).expect("our key");
            tree.session(session).is_some_and(|session| session.is_live())
        };
        assert!(tree.range(&from, &to, Direction::Forward).all(|(key, _)| live(&key)));
        self.check_ephemerals();
        self.check_principal();
        self.check_nobody_sleeps_through();
        for other in &world.members {
            assert_eq!(other.tree.records(), tree.records(), "members hold the same");
        }
    }

    /// No call waits for what has come long ago: the lock is free, an item is there, its time is over, it was given up.
    fn check_nobody_sleeps_through(&self) {
        let tree = &self.world.members[self.world.leader.expect("elected")].tree;
        for lock in ["/l1", "/l2"] {
            let path = Path::parse(lock).expect("a path");
            let Some(first) = query::first_child(tree, &path).expect("it is there") else {
                continue;
            };
            let first = path.child(&first).expect("a name");
            let lifetime = tree.node(&first).expect("it is there").lifetime;
            assert!(
                matches!(lifetime, Lifetime::Ephemeral(_)),
                "{first} is the first in the line and waits"
            );
        }
        let queue = Path::parse("/q").expect("a path");
        let has_items = query::first_child(tree, &queue).expect("it is there").is_some();
        for client in &self.world.clients {
            let Some(session) = client.session else { continue };
            for (write, request) in &client.unanswered {
                let Some(parked) = tree.parked(session, *write) else { continue };
                assert!(parked.deadline.is_none(), "{session}:{write} missed its deadline");
                if let Body::Single(Operation::Call(call)) = &request.body {
                    let takes = call.function == "take";
                    assert!(
                        !(takes && has_items),
                        "{session}:{write} waits for an item that is there"
                    );
                }
            }
            for (cancel, given_up) in &client.cancels {
                if given_up < cancel && client.answer(*cancel).is_some() {
                    let waits = client.unanswered.contains_key(given_up);
                    assert!(!waits, "{session}:{given_up} waits on, and its cancel is answered");
                }
            }
        }
    }

    /// All sessions have one principal here: what is counted for it is what they hold.
    fn check_principal(&self) {
        let tree = &self.world.members[self.world.leader.expect("elected")].tree;
        let (from, to) = key::sessions();
        let mut summed = Holdings::default();
        for (_, record) in tree.range(&from, &to, Direction::Forward) {
            let session = Session::decode(record).expect("our record");
            summed.sessions_count += u64::from(session.is_live());
            summed.parked_count += session.parked_count;
            summed.owned_count += session.owned_count;
        }
        assert_eq!(tree.holdings(PRINCIPAL), summed);
    }

    fn check_ephemerals(&self) {
        let tree = &self.world.members[self.world.leader.expect("elected")].tree;
        for parent in ["/l1", "/l2", "/q", "/b", "/t", "/n", "/"] {
            let (from, to) = key::children(&Path::parse(parent).expect("a path"));
            for (_, record) in tree.range(&from, &to, Direction::Forward) {
                let node = Node::decode(record).expect("our record");
                if let Some(session) = node.lifetime.session() {
                    assert!(self.world.history.live.contains(&session), "an orphan of {session}");
                }
            }
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> (u32, usize) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut simulation = Simulation::new(seed);
        simulation.run();
        (simulation.world.history.grants, simulation.world.history.transactions.len())
    }));
    outcome.unwrap_or_else(|panic| {
        eprintln!("seed {seed}: QUORATE_SEED={seed} cargo test -p quorate-sequencer simulation");
        resume_unwind(panic)
    })
}

#[test]
fn the_invariants_hold_on_random_schedules() {
    if let Some(seed) = number("QUORATE_SEED") {
        run(seed);
        return;
    }
    let first = number("QUORATE_SEED_FIRST").unwrap_or(1);
    let most = number("QUORATE_SEEDS").unwrap_or(u64::MAX);
    let length = Duration::from_millis(number("QUORATE_SIM_MS").unwrap_or(SIM_MS));
    let began = Instant::now();
    let (mut seeds, mut grants, mut transactions) = (0, 0, 0);
    while began.elapsed() < length && seeds < most {
        let (granted, executed) = run(first + seeds);
        grants += granted;
        transactions += executed;
        seeds += 1;
    }
    eprintln!("{seeds} seeds, {transactions} transactions, {grants} grants");
    assert!(grants > 0, "schedules in which nothing is granted show nothing");
}
