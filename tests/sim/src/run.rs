//! One run, from its seed to its verdict: makes a cluster and clients, lets time and faults pass, heals everything, and
//! looks whether all come to rest and agree.

use std::rc::Rc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver;
use quorate_core::draft::ReadRecords;

use crate::client::{Client, Phase};
use crate::faults::Faults;
use crate::member::{Config, Member};
use crate::mutant::Mutants;
use crate::process::{Clock, Process, world_ns, world_sleep};
use crate::raft::machine::digest_of;
use crate::recipes;
use crate::runtime::MemberRuntime;
use crate::world::{Counts, World};

/// How a run is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is wrong on purpose.
    pub mutants: Mutants,
    /// Whether a trace is kept.
    pub is_traced: bool,
    /// Milliseconds of faults.
    pub busy_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { mutants: Mutants::default(), is_traced: false, busy_ms: 12_000 }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What was wrong, if something was.
    pub failure: Option<String>,
    /// How often things happened.
    pub counts: Counts,
    /// Lines, if they were wanted.
    pub trace: Vec<String>,
}

/// Milliseconds after the last fault within which everybody must have come to rest.
const REST_MS_MAX: u64 = 60_000;
/// How often it is looked.
const LOOK_MS: u64 = 50;

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: Options) -> Report {
    crate::process::keep_panics_quiet();
    let world = World::new(seed, options.mutants, options.is_traced);
    let mut runtime = MemberRuntime::with_seed(seed);
    runtime.block_on(async {
        let failure = live(world.clone(), options).await;
        let mut counts = *world.counts.borrow();
        {
            let oracle = world.oracle.borrow();
            let count = |count: usize| count as u64;
            counts.entries = count(oracle.agreement().entries_count());
            counts.discarded = count(oracle.agreement().discarded_count());
            counts.transactions = oracle.agreement().tree().meta().zxid.0;
            counts.expired = count(oracle.sessions().expired_count());
            counts.gave_up = count(oracle.linearizable().gave_up_count());
        }
        counts.lost_messages = world.net.lost.get();
        counts.repeated = world.net.repeated.get();
        world.net.forget();
        let trace = world.take_trace();
        // All of it hangs together by reference counts: taken apart, or every run would stay in memory.
        for member in std::mem::take(&mut *world.members.borrow_mut()).into_values() {
            member.crash(&world);
        }
        Report { failure, counts, trace }
    })
}

async fn live(world: Rc<World>, options: Options) -> Option<String> {
    let config = Config {
        log_keep_entries: world.random.within(5, 60),
        flush_after_entries: world.random.within(5, 120),
    };
    let voters = if world.random.one_in(3) { 5 } else { 3 };
    let voters: Vec<u64> = (0..voters).map(|_| world.next_member()).collect();
    for number in &voters {
        let member = Member::new(&world, *number, recipes::beginning(), config);
        world.members.borrow_mut().insert(*number, member.clone());
        member.start(&world);
    }
    let first = world.member(1).and_then(|member| member.running());
    if let Some(first) = first {
        while first.raft().is_none() {
            world_sleep(Duration::from_millis(1)).await;
        }
        let made = first.clone();
        drop(first.process.spawn(async move { made.initialize(&voters).await }));
    }
    let clients: Vec<_> =
        (0..3 + world.random.below(4)).map(|number| Client::start(&world, number)).collect();
    let faults = Rc::new(Faults::new(&world, &clients, config));
    let raging = Process::new("faults".to_owned(), Rc::new(Clock::new(0)), world.panics.clone());
    drop(raging.spawn(faults.clone().rage()));
    let until_ns = world_ns() + options.busy_ms * 1_000_000;
    while world_ns() < until_ns && world.failure().is_none() {
        world_sleep(Duration::from_millis(LOOK_MS)).await;
    }
    if world.failure().is_none() {
        raging.kill();
        faults.heal();
        world.trace(|| "everything is healed".to_owned());
        for client in &clients {
            client.enter(Phase::Finishing);
        }
        rest(&world, &clients).await;
    }
    if world.failure().is_none() {
        world.oracle.borrow_mut().finish();
    }
    world.failure()
}

/// Everybody comes to rest, or that is the finding.
async fn rest(world: &Rc<World>, clients: &[Rc<Client>]) {
    let until_ns = world_ns() + REST_MS_MAX * 1_000_000;
    loop {
        world_sleep(Duration::from_millis(LOOK_MS)).await;
        if world.failure().is_some() {
            return;
        }
        let mut why =
            clients.iter().find(|client| !client.is_settled()).map(|client| client.waits_for());
        why = why.or_else(|| difference(world));
        let Some(why) = why else { return };
        if world_ns() > until_ns {
            world.panics.borrow_mut().push(format!("does not come to rest: {why}"));
            return;
        }
    }
}

/// What keeps the members from being the same.
fn difference(world: &Rc<World>) -> Option<String> {
    let oracle = world.oracle.borrow();
    let tree = oracle.agreement().tree();
    let digest = digest_of(tree);
    if digest != tree.meta().digest {
        let (counted, kept) = (digest, tree.meta().digest);
        return Some(format!("the digest is {kept:x}; counted again it is {counted:x}"));
    }
    let Some(current) = members_now(world) else { return Some("nobody leads".to_owned()) };
    for (number, member) in world.members.borrow().iter() {
        if !current.contains(number) {
            continue;
        }
        let Some(running) = member.running() else {
            return Some(format!("member {number} does not run"));
        };
        let entries = oracle.agreement().entries_count() as u64;
        if running.applied_index().map_or(0, |index| index + 1) != entries {
            return Some(format!("member {number} stands at {:?}", running.applied_index()));
        }
        if running.standing.tree.records() != tree.records() {
            return Some(format!("member {number} has another tree"));
        }
    }
    None
}

/// The members of the cluster, as its leader knows them.
fn members_now(world: &World) -> Option<Vec<u64>> {
    let members = world.members.borrow();
    let running = members.values().filter_map(|member| member.running());
    let leader = running
        .filter(|running| running.leader.is_open())
        .max_by_key(|running| running.leader.open_tag())?;
    let metrics = leader.raft()?.server_metrics();
    let metrics = metrics.borrow_watched();
    Some(metrics.membership_config.nodes().map(|(number, _)| *number).collect())
}
