//! One member: a machine with a disk and a clock, and the process that runs on it while it does not crash. Wires openraft,
//! the sequencer and the gateway together, as host/gateway's member does.

pub mod gateway;
pub mod leader;
pub mod link;
pub mod watches;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::metrics::RaftServerMetrics;
use openraft::{AsyncRuntime, ReadPolicy, ServerState, SnapshotPolicy};
use quorate_core::apply;
use quorate_core::draft::{Meta, ReadRecords};
use quorate_core::ids::{Epoch, NamespaceId, Term};
use quorate_core::transaction::Entry;
use quorate_sequencer::{Input, Leadership};
use send_wrapper::SendWrapper;

use crate::check::event::{Event, What};
use crate::mutant::{Mutant, Mutants};
use crate::process::{Clock, Process, spawn_in_world, world_ns, world_sleep};
use crate::raft::disk::{Disk, TreeImage};
use crate::raft::log_store::LogStore;
use crate::raft::machine::{Applied, Applier, Kind, Listener, Machine, Standing};
use crate::raft::network::{Around, Here, RaftNode, Ways};
use crate::raft::transfer::Arrivals;
use crate::raft::types::{CommittedLeaderId, Payload, Responder, TypeConfig, WriteResult};
use crate::random::Random;
use crate::runtime::MemberRuntime;
use crate::signal::Signal;
use crate::world::World;
use gateway::Gateway;
use leader::Leader;

/// How a member is configured: host/raft's `Config`, at sizes that make everything happen in a short run.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Entries that stay in the log behind the last flush.
    pub log_keep_entries: u64,
    /// Entries applied after which the tree is flushed.
    pub flush_after_entries: u64,
}

/// Milliseconds between a leader's heartbeats, and of elections.
const HEARTBEAT_MS: u64 = 100;
const ELECTION_MS: (u64, u64) = (300, 500);
/// How often it is looked whether a flush is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);

fn raft_config(config: Config, mutants: Mutants) -> openraft::Config {
    openraft::Config {
        cluster_name: "simulated".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(mutants.has(Mutant::LeaderRestore)),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.log_keep_entries,
        replication_lag_threshold: u64::MAX,
        purge_batch_size: (config.log_keep_entries / 8).max(1),
        api_channel_size: Some(4096),
        ..openraft::Config::default()
    }
}

/// A machine.
pub struct Member {
    /// Its number, for ever.
    pub number: u64,
    /// Its clock.
    pub clock: Rc<Clock>,
    /// Its disk.
    pub disk: Rc<Disk>,
    config: Config,
    running: RefCell<Option<Rc<Running>>>,
    starts: Cell<u64>,
    /// When it was started, went on after a pause, or its disk was quick again, in nanoseconds.
    steady_ns: Cell<u64>,
}

/// The process of a member.
pub struct Running {
    /// The member's number.
    pub member: u64,
    /// The run.
    pub world: Rc<World>,
    /// The process.
    pub process: Rc<Process>,
    /// The tree.
    pub standing: Rc<Standing>,
    /// The thread around the sequencer.
    pub leader: Leader,
    /// Lanes and what is unanswered.
    pub gateway: Gateway,
    raft: RefCell<Option<RaftNode>>,
    /// The tree that arrives from another member.
    arrivals: Rc<Arrivals>,
    /// Since when it leads, in nanoseconds; none while it does not.
    pub led_since_ns: Cell<Option<u64>>,
    /// The last applied entry that was told.
    applied_index: Cell<Option<u64>>,
    applied_term: Cell<Term>,
    /// Rung after each applied entry.
    pub applied: Signal,
}

impl Member {
    /// A machine that has never run.
    #[must_use]
    pub fn new(world: &Rc<World>, number: u64, beginning: TreeImage, config: Config) -> Rc<Self> {
        let drift_ppm = drift(&world.random);
        let disk = Disk::new(Random::new(world.seed, 100 + number), beginning);
        Rc::new(Self {
            number,
            clock: Rc::new(Clock::new(drift_ppm)),
            disk,
            config,
            running: RefCell::default(),
            starts: Cell::new(0),
            steady_ns: Cell::new(0),
        })
    }

    /// Since when it has run without trouble of its own, in nanoseconds of the world; none while it does not.
    #[must_use]
    pub fn steady_since_ns(&self) -> Option<u64> {
        let is_steady = self.running().is_some_and(|running| !running.process.is_paused())
            && self.disk.is_quick()
            && !self.disk.is_failing.get();
        is_steady.then(|| self.steady_ns.get())
    }

    /// Some trouble of its own is over.
    pub fn steady(&self) {
        self.steady_ns.set(world_ns());
    }

    /// The process, if there is one.
    #[must_use]
    pub fn running(&self) -> Option<Rc<Running>> {
        self.running.borrow().clone()
    }

    /// Starts the process.
    pub fn start(self: &Rc<Self>, world: &Rc<World>) {
        if self.running.borrow().is_some() {
            return;
        }
        self.starts.set(self.starts.get() + 1);
        self.steady();
        let name = format!("member {}", self.number);
        let process = Process::new(name, self.clock.clone(), world.panics.clone());
        let standing = Standing::recover(&self.disk.image());
        let running = Rc::new(Running {
            member: self.number,
            world: world.clone(),
            process: process.clone(),
            leader: Leader::new(),
            gateway: Gateway::default(),
            raft: RefCell::default(),
            arrivals: Rc::default(),
            led_since_ns: Cell::new(None),
            applied_index: Cell::new(standing.applied().map(|at| at.index)),
            applied_term: Cell::new(
                standing.applied().map_or(Term(0), |at| Term(at.leader_id.term)),
            ),
            standing,
            applied: Signal::default(),
        });
        running.gateway.begin(running.standing.tree.meta().zxid);
        *self.running.borrow_mut() = Some(running.clone());
        world.net.listen(self.number, process.clone());
        world.trace(|| format!("member {} starts", self.number));
        let (member, world) = (self.clone(), world.clone());
        drop(process.spawn(async move { member.run(&world, running).await }));
    }

    async fn run(self: Rc<Self>, world: &Rc<World>, running: Rc<Running>) {
        let random = Rc::new(Random::new(world.seed, 200 + 10 * self.number + self.starts.get()));
        let process = running.process.clone();
        let (syncs, member, around) = (self.disk.clone(), self.clone(), world.clone());
        drop(process.spawn(async move {
            // It returns when a sync has failed: the process ends.
            syncs.sync_all().await;
            around.trace(|| format!("member {} ends: a sync failed", member.number));
            around.count(|counts| counts.failed_syncs += 1);
            spawn_in_world(async move { member.crash(&around) });
        }));
        let listener = {
            let running = Rc::downgrade(&running);
            let listener: Listener = Box::new(move |applied, meta| {
                if let Some(running) = running.upgrade() {
                    running.told(applied, meta);
                }
            });
            Rc::new(listener)
        };
        let log_store = LogStore::new(self.disk.clone(), random.clone(), world.mutants);
        let applier = Applier {
            standing: running.standing.clone(),
            disk: self.disk.clone(),
            random,
            listener,
            mutants: world.mutants,
        };
        let machine = Machine(SendWrapper::new(Rc::new(applier)));
        let members = world.clone();
        let ways = Around {
            world: world.clone(),
            from: self.number,
            find: Rc::new(move |process| {
                let all = members.members.borrow();
                all.values().find_map(|member| {
                    let running = member.running()?;
                    let is_it = Rc::ptr_eq(&running.process, process);
                    let raft = running.raft().filter(|_| is_it)?;
                    let (disk, arrivals) = (member.disk.clone(), running.arrivals.clone());
                    Some(Here { raft, disk, arrivals })
                })
            }),
        };
        let ways = Ways(SendWrapper::new(Rc::new(ways)));
        let config = Arc::new(raft_config(self.config, world.mutants));
        let raft = RaftNode::new(self.number, config, ways, log_store, machine).await;
        let raft = raft.unwrap_or_else(|error| panic!("does not start: {error}"));
        *running.raft.borrow_mut() = Some(raft.clone());
        drop(process.spawn(running.clone().watch_leadership(raft.clone())));
        drop(process.spawn(keep_house(raft.clone(), self.config)));
        drop(process.spawn(running.clone().sequence()));
        drop(process.spawn(running.clone().confirm()));
        drop(process.spawn(running.clone().stay_linked(raft)));
    }

    /// The process ends at once, and the machine loses what its disk has not synced.
    pub fn crash(&self, world: &Rc<World>) {
        let Some(running) = self.running.borrow_mut().take() else { return };
        let lost_before = self.disk.lost_records.get();
        running.process.kill();
        world.net.died(&running.process);
        self.disk.crash(&running.process);
        running.raft.borrow_mut().take();
        running.leader.forget();
        running.gateway.forget();
        let lost = self.disk.lost_records.get() - lost_before;
        world.count(|counts| {
            counts.crashes += 1;
            counts.lost_records += lost;
        });
        world.trace(|| format!("member {} crashes; {lost} records are lost", self.number));
    }
}

/// Parts per million by which a clock runs off: two may run an eighth apart, which is what sessions allow for.
pub fn drift(random: &Random) -> i64 {
    const MOST: u64 = 50_000;
    i64::try_from(random.below(2 * MOST + 1)).unwrap_or(0) - 50_000
}

/// Flushes the tree when enough was applied; openraft purges the log behind it.
async fn keep_house(raft: RaftNode, config: Config) {
    let data = raft.data_metrics();
    let mut asked_for = None;
    loop {
        MemberRuntime::sleep(LOOK_EVERY).await;
        let (applied, flushed) = {
            let data = data.borrow_watched();
            (data.last_applied.map(|at| at.index), data.snapshot.map(|at| at.index))
        };
        let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let behind = count(applied).saturating_sub(count(flushed.max(asked_for)));
        if behind >= config.flush_after_entries {
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
            asked_for = applied;
        }
    }
}

/// Whether this member may execute: it leads, and has applied the blank entry of its own term.
fn leadership(server: &RaftServerMetrics<TypeConfig>, applied: Term) -> Option<Leadership> {
    let elected = &server.vote.leader_id;
    let is_leader = server.state == ServerState::Leader
        && server.vote.committed
        && elected.voted_for == server.id
        && Term(elected.term) == applied;
    is_leader.then_some(Leadership { term: applied })
}

impl Running {
    /// openraft, once it has started.
    #[must_use]
    pub fn raft(&self) -> Option<RaftNode> {
        self.raft.borrow().clone()
    }

    /// The last applied entry that was told.
    #[must_use]
    pub fn applied_index(&self) -> Option<u64> {
        self.applied_index.get()
    }

    /// Makes the cluster of these members.
    pub async fn initialize(&self, members: &[u64]) {
        let node = |number: &u64| (*number, BasicNode { addr: number.to_string() });
        let members: BTreeMap<u64, BasicNode> = members.iter().map(node).collect();
        if let Some(raft) = self.raft() {
            let made = raft.initialize(members).await;
            self.world.trace(|| format!("the cluster is made: {}", made.is_ok()));
        }
    }

    /// An entry was applied here: the oracle sees it, replies go out, then the sequencer learns of it.
    fn told(&self, applied: Applied, meta: Option<Meta>) {
        let Applied { index, term, kind } = applied;
        let member = self.member;
        let event = |what, is_taken| Event::Applied { member, index, term, what, is_taken, meta };
        let world = &self.world;
        match kind {
            Kind::Blank => world.see(&event(What::Blank, true)),
            Kind::Membership => world.see(&event(What::Membership, true)),
            Kind::Installed => {
                if let Some(meta) = meta {
                    world.see(&Event::Installed { member, index, meta });
                }
                world.trace(|| format!("member {member} has installed a snapshot at {index}"));
                world.count(|counts| counts.snapshots += 1);
                self.gateway.installed(self);
            }
            Kind::Entry { applied, entry, bytes } => {
                let is_taken = applied == apply::Applied::Taken;
                world.see(&event(What::Entry(bytes), is_taken));
                world.trace(|| {
                    let (epoch, zxid) = (entry.epoch, self.standing.tree.meta().zxid);
                    format!(
                        "member {member} applies {index} of {term}/{epoch}: {applied:?}, {zxid}"
                    )
                });
                if is_taken {
                    self.gateway.applied(self, &entry);
                }
                self.leader.applied(&entry, is_taken);
            }
        }
        self.applied_index.set(Some(index));
        self.applied_term.set(term);
        self.applied.ring();
    }

    async fn watch_leadership(self: Rc<Self>, raft: RaftNode) {
        let mut server = raft.server_metrics();
        let mut told = None;
        loop {
            let seen = self.applied.count();
            let now = leadership(&server.borrow_watched(), self.applied_term.get());
            if now != told {
                told = now;
                self.led_since_ns.set(now.map(|_| world_ns()));
                let (world, member) = (&self.world, self.member);
                world.trace(|| format!("member {member} leads: {:?}", now.map(|now| now.term.0)));
                self.leader.send(now.map_or(Input::Follow, Input::Lead));
            }
            let applied = pin!(self.applied.after(seen));
            if let Either::Left((Err(_), _)) = select(pin!(server.changed()), applied).await {
                let stopped = format!("raft has stopped on member {}", self.member);
                self.world.panics.borrow_mut().push(stopped);
                return;
            }
        }
    }

    /// Proposes an entry, on condition of the leadership under which it was executed.
    pub fn propose(self: &Rc<Self>, epoch: Epoch, batch: u64, entry: &Arc<Entry>) {
        let Some(raft) = self.raft() else { return };
        let running = Rc::downgrade(self);
        let late_us = if self.world.random.one_in(4) { self.world.random.below(20_000) } else { 0 };
        let refused = move || {
            let Some(running) = running.upgrade() else { return };
            running.world.count(|counts| counts.refused += 1);
            let process = running.process.clone();
            // The sequencer may hear of it late, and has proposed more by then.
            drop(process.spawn(async move {
                world_sleep(Duration::from_micros(late_us)).await;
                running.leader.send(Input::Refused { epoch, batch });
            }));
        };
        let busy = refused.clone();
        if self.world.random.below(10_000) < self.world.busy_of_10000.get() {
            self.world.count(|counts| counts.busy += 1);
            return busy();
        }
        let responder = Responder::new(move |answered: Option<WriteResult>| match answered {
            // What was taken, or discarded, is told by the listener, in order.
            Some(Ok(_)) => {}
            None | Some(Err(_)) => refused(),
        });
        let bytes = quorate_wire::entry::encode(NamespaceId::DEFAULT, entry);
        let write = raft.write(Payload(bytes)).responder(responder);
        let write = if self.world.has(Mutant::Unconditional) {
            write
        } else {
            write.with_leader(CommittedLeaderId::new(entry.term.0))
        };
        // Ready at the first poll if there is room in the queue.
        if std::future::IntoFuture::into_future(write).now_or_never().is_none() {
            busy();
        }
    }

    /// Returns the index up to which a read must wait here, once a quorum has confirmed that this member leads; and in which
    /// term it does.
    pub async fn read_index(&self) -> Option<(Term, u64)> {
        let raft = self.raft()?;
        let read = raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
        let at = *read.read_log_id().log_id();
        Some((Term(at.leader_id.term), at.index))
    }

    /// Returns when everything up to this index has been applied here.
    pub async fn applied_to(&self, index: u64) {
        loop {
            let seen = self.applied.count();
            if self.applied_index.get().is_some_and(|applied| applied >= index) {
                return;
            }
            self.applied.after(seen).await;
        }
    }
}
