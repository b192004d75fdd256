//! The network: connections between processes, ordered and reliable until they break, as QUIC's are. It knows nothing of
//! what travels on them.
//!
//! A message that is lost breaks its connection; what is under way then may arrive or not. Each end learns of the break
//! after a time of its own. Directions are blocked one by one, so that partitions may be of one way only.
//!
//! QUIC brings what is on a stream once and in order; what comes twice is sent twice, on another connection, because an
//! acknowledgement was lost. The old copies may still lie in a buffer of the receiver then, and be handled behind the new
//! ones. When connections are to break ([`Net::breaks_of_10000`]), more than that happens: the last messages of a
//! connection that broke, those too that had been handled, arrive again up to [`AGAIN_MS_MAX`] later.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::oneshot;

use crate::process::{Process, current, spawn_in_world, world_ns, world_sleep};
use crate::random::Random;
use crate::signal::Signal;

/// Who is on the network: a member by its number, a client above [`CLIENTS_FROM`].
pub type Address = u64;

/// The first address of clients.
pub const CLIENTS_FROM: Address = 1_000;

/// Microseconds that a message of a quiet network takes at most.
const QUIET_DELAY_US: u64 = 1_000;

/// How long whoever dials waits for an answer, in milliseconds.
const DIAL_MS_MAX: u64 = 1_000;

/// Milliseconds after the break of its connection within which a message may arrive again: long enough for a new connection
/// to have brought a copy and its answer, and for a client to have come elsewhere.
pub const AGAIN_MS_MAX: u64 = 1_500;

/// Messages of each direction that may arrive again.
const AGAIN_MAX: usize = 6;

/// A future of this one thread.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// The network.
pub struct Net {
    random: Random,
    hosts: RefCell<BTreeMap<Address, Rc<Process>>>,
    /// Directions in which nothing passes.
    blocked: RefCell<BTreeSet<(Address, Address)>>,
    /// When something was blocked in this direction last, in nanoseconds, of those that are open again.
    opened_ns: RefCell<BTreeMap<(Address, Address), u64>>,
    wires: RefCell<Vec<Weak<Wire>>>,
    /// Of ten thousand messages, how many arrive while their acknowledgement does not: their connection breaks, and its last
    /// messages arrive again.
    pub breaks_of_10000: Cell<u64>,
    /// Of ten thousand messages, how many are lost.
    pub lost_of_10000: Cell<u64>,
    /// Microseconds that a message takes at most.
    pub delay_us_max: Cell<u64>,
    /// Messages that were lost.
    pub lost: Cell<u64>,
    /// Messages that were sent.
    pub sent: Cell<u64>,
    /// Messages that arrived again.
    pub repeated: Cell<u64>,
}

impl Net {
    /// A quiet network.
    #[must_use]
    pub fn new(random: Random) -> Rc<Self> {
        Rc::new(Self {
            random,
            hosts: RefCell::default(),
            blocked: RefCell::default(),
            opened_ns: RefCell::default(),
            wires: RefCell::default(),
            breaks_of_10000: Cell::new(0),
            lost_of_10000: Cell::new(0),
            delay_us_max: Cell::new(QUIET_DELAY_US),
            lost: Cell::new(0),
            sent: Cell::new(0),
            repeated: Cell::new(0),
        })
    }

    /// A process begins to listen at this address.
    pub fn listen(&self, address: Address, process: Rc<Process>) {
        self.hosts.borrow_mut().insert(address, process);
    }

    /// Lets nothing pass in this direction.
    pub fn block(&self, from: Address, to: Address) {
        self.blocked.borrow_mut().insert((from, to));
    }

    /// Lets everything pass again.
    pub fn unblock_all(&self) {
        let now = world_ns();
        self.opened_ns.borrow_mut().extend(self.blocked.take().into_iter().map(|way| (way, now)));
    }

    /// Since when everything passes in this direction; none if it does not.
    #[must_use]
    pub fn open_since_ns(&self, from: Address, to: Address) -> Option<u64> {
        let is_open = !self.blocked.borrow().contains(&(from, to));
        is_open.then(|| self.opened_ns.borrow().get(&(from, to)).copied().unwrap_or(0))
    }

    /// Whether messages are neither lost nor slow, and connections do not break by themselves.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.lost_of_10000.get() == 0
            && self.breaks_of_10000.get() == 0
            && self.delay_us_max.get() <= QUIET_DELAY_US
    }

    /// Messages are neither lost nor slow any more, and connections do not break.
    pub fn calm(&self) {
        self.lost_of_10000.set(0);
        self.breaks_of_10000.set(0);
        self.delay_us_max.set(QUIET_DELAY_US);
    }

    /// The run is over: what may have arrived again does not, and lets go of what it holds.
    pub fn forget(&self) {
        for wire in self.wires.take().iter().filter_map(Weak::upgrade) {
            wire.again.iter().for_each(|again| again.borrow_mut().clear());
        }
    }

    /// A process has died: its connections break.
    pub fn died(self: &Rc<Self>, process: &Rc<Process>) {
        let wires: Vec<_> = self.wires.borrow().iter().filter_map(Weak::upgrade).collect();
        for wire in wires {
            if wire.processes.iter().any(|one| Rc::ptr_eq(one, process)) {
                wire.break_now();
            }
        }
    }

    fn delay(&self) -> Duration {
        let max = self.delay_us_max.get();
        // Mostly quick, now and then slow: order between connections is anybody's guess.
        let most = if self.random.one_in(8) { max } else { max / 4 };
        Duration::from_micros(50 + self.random.below(most))
    }

    fn loses(&self, from: Address, to: Address) -> bool {
        self.sent.set(self.sent.get() + 1);
        let is_lost = self.blocked.borrow().contains(&(from, to))
            || self.random.below(10_000) < self.lost_of_10000.get();
        self.lost.set(self.lost.get() + u64::from(is_lost));
        is_lost
    }

    /// Connects to whoever listens there; `accept` is called there, as that process, before this returns. None if nobody
    /// answers in time.
    pub async fn dial(
        self: &Rc<Self>,
        from: Address,
        to: Address,
        accept: impl FnOnce(Rc<Wire>) + 'static,
    ) -> Option<Rc<Wire>> {
        let caller = current()?;
        let patience = Duration::from_millis(self.random.within(DIAL_MS_MAX / 4, DIAL_MS_MAX));
        let answered = {
            let net = self.clone();
            async move {
                if net.loses(from, to) {
                    return std::future::pending().await;
                }
                world_sleep(net.delay()).await;
                let host = net.hosts.borrow().get(&to).cloned();
                let host = host.filter(|host| host.is_alive())?;
                let wire = Wire::new(&net, [from, to], [caller, host.clone()]);
                let accepted = wire.clone();
                let answer = host.spawn(async move { accept(accepted) });
                if answer.await.is_err() || net.loses(to, from) {
                    return std::future::pending().await;
                }
                world_sleep(net.delay()).await;
                Some(wire)
            }
        };
        match select(pin!(answered), pin!(world_sleep(patience))).await {
            Either::Left((wire, _)) => wire,
            Either::Right(_) => None,
        }
    }
}

/// A connection. Side 0 dialled.
pub struct Wire {
    net: Rc<Net>,
    ends: [Address; 2],
    processes: [Rc<Process>; 2],
    is_broken: Cell<bool>,
    /// When the last message to each side arrives.
    arrival_ns: [Cell<u64>; 2],
    /// What would arrive at each side later than this does not.
    until_ns: [Cell<u64>; 2],
    closed: [Signal; 2],
    /// The last messages to each side, while they may arrive again.
    again: [RefCell<VecDeque<Message>>; 2],
}

/// Brings a message: again, if it is called again.
type Message = Rc<dyn Fn()>;

impl Wire {
    fn new(net: &Rc<Net>, ends: [Address; 2], processes: [Rc<Process>; 2]) -> Rc<Self> {
        let wire = Rc::new(Self {
            net: net.clone(),
            ends,
            processes,
            is_broken: Cell::new(false),
            arrival_ns: Default::default(),
            until_ns: [Cell::new(u64::MAX), Cell::new(u64::MAX)],
            closed: Default::default(),
            again: Default::default(),
        });
        let mut wires = net.wires.borrow_mut();
        if wires.len() > 256 {
            wires.retain(|wire| wire.strong_count() > 0);
        }
        wires.push(Rc::downgrade(&wire));
        wire
    }

    /// Who is at this side.
    #[must_use]
    pub fn end(&self, side: usize) -> Address {
        self.ends[side]
    }

    /// Whether this side has learnt that the connection is over.
    #[must_use]
    pub fn is_closed(&self, side: usize) -> bool {
        self.closed[side].count() > 0
    }

    /// Returns when this side has learnt that the connection is over.
    pub async fn closed(&self, side: usize) {
        self.closed[side].after(0).await;
    }

    /// Sends from this side; `deliver` is called at the other one, as that process, in the order of sending. Or never; or
    /// once more after the connection is over.
    pub fn send(self: &Rc<Self>, side: usize, deliver: impl Fn() + 'static) {
        if self.is_broken.get() {
            return;
        }
        let there = 1 - side;
        if self.net.loses(self.ends[side], self.ends[there]) {
            self.break_now();
            return;
        }
        let soonest = self.arrival_ns[there].get() + 1;
        let delay = u64::try_from(self.net.delay().as_nanos()).unwrap_or(0);
        let arrival = soonest.max(world_ns() + delay);
        self.arrival_ns[there].set(arrival);
        let deliver: Message = Rc::new(deliver);
        let breaks_of_10000 = self.net.breaks_of_10000.get();
        if breaks_of_10000 > 0 {
            let mut again = self.again[there].borrow_mut();
            again.push_back(deliver.clone());
            if again.len() > AGAIN_MAX {
                again.pop_front();
            }
        }
        let wire = self.clone();
        spawn_in_world(async move {
            world_sleep(Duration::from_nanos(arrival - world_ns())).await;
            if arrival <= wire.until_ns[there].get() && wire.processes[there].is_alive() {
                drop(wire.processes[there].spawn(async move { deliver() }));
            }
        });
        if breaks_of_10000 > 0 && self.net.random.below(10_000) < breaks_of_10000 {
            self.break_now();
            self.until_ns[there].set(arrival);
        }
    }

    /// Of the last messages to each side, some arrive again.
    fn repeat(self: &Rc<Self>) {
        for side in 0..2 {
            let mut messages = self.again[side].take();
            if self.net.breaks_of_10000.get() == 0 || messages.is_empty() {
                continue;
            }
            let random = &self.net.random;
            let skipped = usize::try_from(random.below(messages.len() as u64)).unwrap_or(0);
            messages.drain(..skipped);
            let later = Duration::from_micros(random.below(1_000 * AGAIN_MS_MAX));
            let wire = self.clone();
            spawn_in_world(async move {
                world_sleep(later).await;
                for message in messages {
                    world_sleep(Duration::from_micros(1)).await;
                    let process = &wire.processes[side];
                    if process.is_alive() {
                        wire.net.repeated.set(wire.net.repeated.get() + 1);
                        drop(process.spawn(async move { message() }));
                    }
                }
            });
        }
    }

    /// This side is done with the connection.
    pub fn close(self: &Rc<Self>, side: usize) {
        self.closed[side].ring();
        self.break_now();
    }

    /// The connection is over; both sides learn of it in their own time.
    pub fn break_now(self: &Rc<Self>) {
        if self.is_broken.replace(true) {
            return;
        }
        self.repeat();
        for side in 0..2 {
            let random = &self.net.random;
            // Of what is under way, some arrives.
            let grace_us = if random.one_in(2) { random.below(2_000) } else { 0 };
            self.until_ns[side].set(world_ns() + 1_000 * grace_us);
            let notice_ms = if random.one_in(4) { random.below(2_000) } else { random.below(50) };
            let wire = self.clone();
            spawn_in_world(async move {
                world_sleep(Duration::from_micros(grace_us + 1_000 * notice_ms)).await;
                let noticed = wire.clone();
                let process = &wire.processes[side];
                if process.is_alive() {
                    drop(process.spawn(async move { noticed.closed[side].ring() }));
                }
            });
        }
    }

    /// Asks the other side, and waits for its answer. None if the connection ends before that.
    pub async fn ask<T: 'static>(
        self: &Rc<Self>,
        side: usize,
        serve: impl Fn() -> Local<T> + 'static,
    ) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        let wire = self.clone();
        let sender = Rc::new(Cell::new(Some(sender)));
        self.send(side, move || {
            let Some(process) = current() else { return };
            let (served, wire, sender) = (serve(), wire.clone(), sender.clone());
            drop(process.spawn(async move {
                let answer = Cell::new(Some(served.await));
                wire.send(1 - side, move || {
                    if let (Some(sender), Some(answer)) = (sender.take(), answer.take()) {
                        drop(sender.send(answer));
                    }
                });
            }));
        });
        match select(answer, pin!(self.closed(side))).await {
            Either::Left((answer, _)) => answer.ok(),
            Either::Right(_) => None,
        }
    }
}
