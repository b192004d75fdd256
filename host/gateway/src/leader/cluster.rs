//! Tests: several members whose followers hand over to their leader, in orders that a seed makes up. Frames arrive late, links
//! break for one end before the other, epochs and terms change, clients move between members.
//!
//! `QUORATE_SEED=7 cargo test -p quorate-gateway -p quorate-client --lib cluster` repeats one seed; `QUORATE_SEEDS` is how
//! many are tried.

mod client;
mod pipe;
mod world;

use std::sync::Mutex;

use quorate_core::ids::SessionId;
use quorate_core::session::Opening;

use self::client::Client;
use self::world::World;
use super::*;

const MEMBERS: usize = 3;
const CLIENTS: usize = 2;
const ACTIONS: usize = 600;
const SEEDS: u64 = 100;
/// Rounds in which everything that can go on does, after which nobody may still wait.
const HEALING_ROUNDS: usize = 200;

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn is_one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

type Opened = Arc<Mutex<Vec<Result<SessionId, Refusal>>>>;

struct Run {
    world: World,
    random: Random,
    clients: Vec<Client>,
    /// Openings under way: where, and what came of it.
    openings: Vec<(usize, Opened)>,
}

/// Lets every task go on as far as it can.
async fn settle() {
    for _ in 0..12 {
        tokio::task::yield_now().await;
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(MEMBERS);
        Self { world, random: Random(seed), clients: Vec::new(), openings: Vec::new() }
    }

    fn open_session(&mut self, member: usize) {
        let registry = self.world.members[member].registry.clone();
        let tree = self.world.members[member].tree.clone();
        let opened = Opened::default();
        self.openings.push((member, opened.clone()));
        tokio::spawn(async move {
            let session =
                registry.open_session(Opening { timeout_ms: 600_000, ..Opening::default() }).await;
            if let Ok(session) = &session {
                let record = quorate_core::draft::ReadRecords::session(&*tree, *session);
                assert!(record.is_some(), "its client is welcomed before the session is there");
            }
            opened.lock().unwrap().push(session);
        });
    }

    fn read_all(&mut self) {
        let (world, clients) = (&mut self.world, &mut self.clients);
        self.openings.retain(|(member, opened)| {
            let Some(session) = opened.lock().unwrap().pop() else { return true };
            let mut client = Client::new(session.unwrap(), *member);
            client.resume_if_fresh(world, *member);
            clients.push(client);
            false
        });
        for client in clients {
            client.read(world);
        }
    }

    /// One thing happens.
    fn act(&mut self) {
        let member = self.random.below(MEMBERS);
        match self.random.below(100) {
            0..20 => {
                let refused = usize::from(self.random.is_one_in(25));
                self.world.turn(member, refused);
            }
            20..50 => self.deliver(),
            50..58 => drop(self.world.commit()),
            58..72 => drop(self.world.apply(member)),
            72..76 => drop(self.world.end_round(member)),
            76..80 => self.world.hear(member),
            80 => {
                let kept = self.random.below(4);
                self.world.elect(member, kept);
            }
            81 => {
                if let Some(link) = self.recent_link() {
                    let is_leaders = self.random.is_one_in(3);
                    self.world.links.break_end(link, is_leaders);
                }
            }
            _ => self.act_as_client(member),
        }
    }

    fn act_as_client(&mut self, member: usize) {
        if self.clients.len() + self.openings.len() < CLIENTS {
            return self.open_session(member);
        }
        if self.clients.is_empty() {
            return;
        }
        let at = self.random.below(self.clients.len());
        let (client, world) = (&mut self.clients[at], &mut self.world);
        match self.random.below(12) {
            0 => client.resume_if_fresh(world, member),
            1..4 => client.heartbeat(world),
            _ if !client.has_lane() => client.resume_if_fresh(world, member),
            what => client.submit(world, what < 6),
        }
    }

    /// One of the links that were opened lately.
    fn recent_link(&mut self) -> Option<usize> {
        let count = self.world.links.count();
        (count > 0).then(|| count - 1 - self.random.below(count.min(2 * MEMBERS)))
    }

    fn deliver(&mut self) {
        if let Some(link) = self.recent_link() {
            let is_to_leader = self.random.is_one_in(2);
            self.world.links.deliver(link, is_to_leader);
        }
    }

    /// Nothing fails any more.
    async fn heal(&mut self) {
        for _ in 0..HEALING_ROUNDS {
            for member in 0..MEMBERS {
                self.world.hear(member);
                self.world.turn(member, 0);
                while self.world.commit() {}
                while self.world.apply(member) {}
                while self.world.end_round(member) {}
            }
            for link in 0..self.world.links.count() {
                while self.world.links.deliver(link, true) || self.world.links.deliver(link, false)
                {
                }
            }
            settle().await;
            self.read_all();
            for client in &mut self.clients {
                if !client.has_lane() {
                    let member = self.random.below(MEMBERS);
                    client.resume_if_fresh(&mut self.world, member);
                }
            }
            if self.openings.is_empty() && self.clients.iter().all(Client::is_idle) {
                return;
            }
        }
        let waits: Vec<String> = self.clients.iter().map(Client::show).collect();
        let standing: Vec<String> = (0..MEMBERS).map(|member| self.world.show(member)).collect();
        panic!(
            "somebody waits for ever: {} openings, {waits:?}, {standing:?}",
            self.openings.len()
        );
    }
}

impl Client {
    fn resume_if_fresh(&mut self, world: &mut World, member: usize) {
        if world.is_fresh(member) {
            self.resume(world, member);
        }
    }
}

/// What the seeds have shown, all together: a schedule in which nothing happens shows nothing.
#[derive(Debug, Default)]
struct Seen {
    replied: u64,
    confirmed: u64,
    refused: u64,
    cut: u64,
    links: usize,
    terms: u64,
}

async fn run(seed: u64, seen: &mut Seen) {
    let mut run = Run::new(seed);
    run.world.elect(0, 0);
    for _ in 0..ACTIONS {
        run.act();
        settle().await;
        run.read_all();
    }
    run.heal().await;
    for client in &run.clients {
        seen.replied += client.replied();
        seen.confirmed += client.confirmed;
        seen.refused += client.refused;
        seen.cut += client.cut;
    }
    seen.links += run.world.links.count();
    seen.terms += run.world.term.0;
}

/// Says how to repeat the seed if it fails.
struct Failing(u64);

impl Drop for Failing {
    #[allow(clippy::print_stderr, reason = "how to repeat a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "seed {seed}: QUORATE_SEED={seed} cargo test -p quorate-gateway -p quorate-client --lib cluster"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn writes_over_links_are_executed_once_in_order_and_answered_truly() {
    let seeds = match number("QUORATE_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("QUORATE_SEEDS").unwrap_or(SEEDS),
    };
    let is_all = seeds.end() - seeds.start() + 1 >= SEEDS;
    let mut seen = Seen::default();
    for seed in seeds {
        let _failing = Failing(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(seed, &mut seen));
    }
    // Lanes that are cut are too rare for so few seeds; the registry's own tests show them.
    let is_much = seen.replied > 20 * SEEDS
        && seen.confirmed > SEEDS / 8
        && seen.refused > SEEDS
        && seen.links > usize::try_from(SEEDS).unwrap();
    assert!(!is_all || is_much, "{seen:?}");
}
