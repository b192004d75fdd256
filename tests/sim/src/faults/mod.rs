//! What goes wrong in a run, and when: each run has some kinds of faults and not others, so that none hides another. Every
//! fault ends by itself, and all of them when the run heals. It knows what can be broken, not what must hold.

mod elections;
mod operator;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::client::Client;
use crate::member::{Config, Member, Running};
use crate::process::{spawn_in_world, world_sleep};
use crate::random::Random;
use crate::wire::Address;
use crate::world::World;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A member's process ends and starts again later.
    Crash,
    /// The leader's process ends and starts again soon.
    CrashLeader,
    /// All processes end at once: the power fails.
    PowerCut,
    /// Messages are lost.
    Loss,
    /// Messages are slow.
    Delay,
    /// Connections break behind a message that arrived, and some messages arrive again.
    Break,
    /// Nothing passes between two groups of members, one way or both.
    Partition,
    /// The leader is cut off from the other members, and not from its clients.
    Isolation,
    /// Disks are slow.
    SlowDisk,
    /// A sync fails.
    FailedSync,
    /// A member stands still.
    Pause,
    /// A client stands still.
    PausedClient,
    /// The threads of sequencers stand still, and their processes do not.
    Stall,
    /// A wall clock jumps.
    Jump,
    /// A leader is cut off, its sequencer's thread stands still with what it has executed, and it leads again before the
    /// thread goes on: what was executed under one leadership is proposed under another.
    Bounce,
    /// The leadership is handed over on demand.
    Transfer,
    /// A member comes, first as a learner.
    Grow,
    /// A member goes.
    Shrink,
    /// The tree is flushed and the log purged, so that who lags needs a snapshot.
    Flush,
    /// openraft's queue is full now and then.
    Busy,
    /// Two members stand for election at once, and who votes crashes right behind its vote.
    CrashOnVote,
}

const KINDS: [Kind; 21] = [
    Kind::Crash,
    Kind::CrashLeader,
    Kind::PowerCut,
    Kind::Loss,
    Kind::Delay,
    Kind::Break,
    Kind::Partition,
    Kind::Isolation,
    Kind::SlowDisk,
    Kind::FailedSync,
    Kind::Pause,
    Kind::PausedClient,
    Kind::Stall,
    Kind::Bounce,
    Kind::Jump,
    Kind::Transfer,
    Kind::Grow,
    Kind::Shrink,
    Kind::Flush,
    Kind::Busy,
    Kind::CrashOnVote,
];

/// Members at most: numbers are never used again, so a run must not go on growing.
const MEMBERS_MAX: usize = 6;
/// Voters at least.
const VOTERS_MIN: usize = 3;

/// The faults of one run.
pub struct Faults {
    world: Rc<World>,
    clients: Vec<Rc<Client>>,
    config: Config,
    random: Random,
    kinds: Vec<Kind>,
    is_healed: Rc<Cell<bool>>,
}

impl Faults {
    /// Some kinds, by the seed.
    #[must_use]
    pub fn new(world: &Rc<World>, clients: &[Rc<Client>], config: Config) -> Self {
        let random = Random::new(world.seed, 3);
        let most = random.within(1, KINDS.len() as u64);
        let kinds: Vec<Kind> =
            KINDS.into_iter().filter(|_| random.below(KINDS.len() as u64) < most).collect();
        world.trace(|| format!("kinds of faults: {kinds:?}"));
        Self {
            world: world.clone(),
            clients: clients.to_vec(),
            config,
            random,
            kinds,
            is_healed: Rc::default(),
        }
    }

    /// Lets things go wrong, for ever.
    pub async fn rage(self: Rc<Self>) {
        let between_ms = self.random.within(100, 1_500);
        loop {
            world_sleep(Duration::from_millis(20 + self.random.below(2 * between_ms))).await;
            if let Some(kind) = self.random.pick(&self.kinds).copied() {
                self.begin(kind);
            }
        }
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.is_healed.set(true);
        self.calm();
        self.world.net.unblock_all();
        for member in self.members() {
            member.disk.sync_ms_max.set(1);
            member.disk.is_failing.set(false);
            if let Some(running) = member.running() {
                running.process.go_on();
            }
            member.steady();
            member.start(&self.world);
        }
        for client in &self.clients {
            client.process().go_on();
        }
    }

    fn calm(&self) {
        self.world.busy_of_10000.set(0);
        self.world.stalls_of_10000.set(0);
        self.world.net.calm();
        self.world.stir();
    }

    fn members(&self) -> Vec<Rc<Member>> {
        self.world.members.borrow().values().cloned().collect()
    }

    fn any_member(&self) -> Option<Rc<Member>> {
        self.random.pick(&self.members()).cloned()
    }

    /// The member that leads, as far as one can tell.
    fn leader(&self) -> Option<Rc<Running>> {
        let running = self.members().into_iter().filter_map(|member| member.running());
        running
            .filter(|running| running.leader.is_open())
            .max_by_key(|running| running.leader.open_tag())
    }

    /// Calls this in some milliseconds, unless all is healed before.
    fn later(&self, ms: u64, act: impl FnOnce() + 'static) {
        let is_healed = self.is_healed.clone();
        spawn_in_world(async move {
            world_sleep(Duration::from_millis(ms)).await;
            if !is_healed.get() {
                act();
            }
        });
    }

    fn begin(self: &Rc<Self>, kind: Kind) {
        self.world.trace(|| format!("fault: {kind:?}"));
        match kind {
            Kind::Crash => self.crash(self.any_member(), 3_000),
            Kind::CrashLeader => {
                let leader = self.leader().and_then(|leader| self.world.member(leader.member));
                self.crash(leader, 400);
            }
            Kind::PowerCut => {
                for member in self.members() {
                    self.crash(Some(member), 500);
                }
            }
            Kind::Loss => {
                self.world.net.lost_of_10000.set(self.random.within(10, 400));
                self.calm_later();
            }
            Kind::Delay => {
                self.world.net.delay_us_max.set(1_000 * self.random.within(5, 400));
                self.calm_later();
            }
            Kind::Break => {
                self.world.net.breaks_of_10000.set(self.random.within(20, 400));
                self.calm_later();
            }
            Kind::Stall => {
                self.world.stalls_of_10000.set(self.random.within(5, 100));
                self.calm_later();
            }
            Kind::Bounce => self.bounce(),
            Kind::Partition => self.partition(),
            Kind::Isolation => self.isolate(),
            Kind::SlowDisk => self.slow_disk(),
            Kind::FailedSync => {
                if let Some(member) = self.any_member() {
                    member.disk.is_failing.set(true);
                    self.start_again(&member, 2_000);
                }
            }
            Kind::Pause => self.pause(),
            Kind::PausedClient => self.pause_client(),
            Kind::Jump => {
                if let Some(member) = self.any_member() {
                    let by_ms = i64::try_from(self.random.below(120_000)).unwrap_or(0) - 60_000;
                    member.clock.jump(by_ms);
                    self.world.count(|counts| counts.jumps += 1);
                }
            }
            Kind::Transfer => self.transfer(),
            Kind::Grow => self.grow(),
            Kind::Shrink => self.shrink(),
            Kind::Flush => self.flush(),
            Kind::Busy => {
                self.world.busy_of_10000.set(self.random.within(50, 2_000));
                self.calm_later();
            }
            Kind::CrashOnVote => self.crash_on_vote(),
        }
    }

    fn calm_later(self: &Rc<Self>) {
        let faults = self.clone();
        self.later(self.random.within(200, 3_000), move || faults.calm());
    }

    fn crash(self: &Rc<Self>, member: Option<Rc<Member>>, back_ms_max: u64) {
        let Some(member) = member else { return };
        member.crash(&self.world);
        self.start_again(&member, back_ms_max);
    }

    fn start_again(self: &Rc<Self>, member: &Rc<Member>, back_ms_max: u64) {
        let (faults, member) = (self.clone(), member.clone());
        self.later(self.random.within(1, back_ms_max), move || {
            // It may have been removed meanwhile.
            if faults.world.member(member.number).is_some() {
                member.disk.is_failing.set(false);
                member.start(&faults.world);
            }
        });
    }

    /// Splits the members in two, and blocks one way between the halves or both.
    fn partition(self: &Rc<Self>) {
        let (mut one, mut other): (Vec<Address>, Vec<Address>) = (Vec::new(), Vec::new());
        for member in self.members() {
            if self.random.one_in(2) { one.push(member.number) } else { other.push(member.number) }
        }
        let ways = self.random.below(3);
        self.block(&one, &other, ways);
    }

    fn isolate(self: &Rc<Self>) {
        let Some(leader) = self.leader() else { return };
        let members = self.members();
        let others = members.iter().map(|member| member.number);
        let others: Vec<Address> = others.filter(|number| *number != leader.member).collect();
        let ways = if self.random.one_in(2) { 2 } else { self.random.below(2) };
        self.block(&[leader.member], &others, ways);
    }

    /// 0: nothing passes from the first to the second; 1: nothing comes back; 2: neither.
    fn block(self: &Rc<Self>, one: &[Address], other: &[Address], ways: u64) {
        for first in one {
            for second in other {
                if ways != 1 {
                    self.world.net.block(*first, *second);
                }
                if ways != 0 {
                    self.world.net.block(*second, *first);
                }
            }
        }
        self.world.trace(|| format!("{one:?} and {other:?} are cut off, ways: {ways}"));
        self.world.count(|counts| counts.partitions += 1);
        let world = self.world.clone();
        // Now and then longer than any session's timeout.
        let most_ms = if self.random.one_in(3) { 10_000 } else { 2_500 };
        self.later(self.random.within(100, most_ms), move || world.net.unblock_all());
    }

    fn slow_disk(self: &Rc<Self>) {
        let Some(member) = self.any_member() else { return };
        member.disk.sync_ms_max.set(self.random.within(20, 800));
        self.later(self.random.within(200, 4_000), move || {
            member.disk.sync_ms_max.set(1);
            member.steady();
        });
    }

    fn pause(self: &Rc<Self>) {
        let leader = self.leader().filter(|_| self.random.one_in(2));
        let running = leader.or_else(|| self.any_member().and_then(|member| member.running()));
        let Some(running) = running else { return };
        running.process.pause();
        self.world.trace(|| format!("member {} stands still", running.member));
        self.world.count(|counts| counts.pauses += 1);
        let most_ms = if self.random.one_in(3) { 8_000 } else { 1_500 };
        let member = self.world.member(running.member);
        self.later(self.random.within(20, most_ms), move || {
            running.process.go_on();
            if let Some(member) = member {
                member.steady();
            }
        });
    }

    fn pause_client(self: &Rc<Self>) {
        let Some(client) = self.random.pick(&self.clients).cloned() else { return };
        client.process().pause();
        self.world.count(|counts| counts.pauses += 1);
        self.later(self.random.within(100, 9_000), move || client.process().go_on());
    }
}
