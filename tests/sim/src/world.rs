//! What all of a run share: chance, the network, the oracle, the trace, and the members as others find them. It decides
//! nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::check::Oracle;
use crate::check::event::Event;
use crate::member::Member;
use crate::mutant::{Mutant, Mutants};
use crate::process::world_ns;
use crate::random::Random;
use crate::recipes;
use crate::wire::Net;

/// How often things happened, so that one sees that they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Leaderships that began to execute.
    pub leaderships: u64,
    /// Epochs that were opened after the first of a leadership.
    pub reopened: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Transactions of the log.
    pub transactions: u64,
    /// Entries that were discarded.
    pub discarded: u64,
    /// Proposals that were refused or lost.
    pub refused: u64,
    /// Writes that clients were answered.
    pub replies: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Heartbeats that were confirmed.
    pub heartbeats: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Locks that were granted.
    pub grants: u64,
    /// Transactions that watches were told of.
    pub events: u64,
    /// Watches that had to begin anew: what they had missed was not retained.
    pub watches_broken: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Records that were not synced in a crash, and lost.
    pub lost_records: u64,
    /// Partitions of any kind.
    pub partitions: u64,
    /// Pauses of members and clients.
    pub pauses: u64,
    /// Jumps of wall clocks.
    pub jumps: u64,
    /// Messages that were lost.
    pub lost_messages: u64,
    /// Messages that arrived again.
    pub repeated: u64,
    /// Pieces of trees that arrived.
    pub pieces: u64,
    /// Trees of which some had arrived before, and was gone on with.
    pub gone_on: u64,
    /// Trees of which some had arrived, and was given up for another.
    pub abandoned: u64,
    /// Snapshots that were installed.
    pub snapshots: u64,
    /// Leaders that were cut off and lead again at once.
    pub bounces: u64,
    /// Stalls of sequencers' threads.
    pub stalls: u64,
    /// Changes of members.
    pub memberships: u64,
    /// Leaderships that were handed over on demand.
    pub transfers: u64,
    /// Writes that were submitted again after a change.
    pub resubmitted: u64,
    /// Submissions for an epoch that was not open.
    pub stale_tags: u64,
    /// Proposals that found openraft busy.
    pub busy: u64,
    /// Reads of sessions that were answered.
    pub session_reads: u64,
    /// Objects of which the search for an order gave up.
    pub gave_up: u64,
}

impl Counts {
    /// Name and number of each.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("leaderships", self.leaderships),
            ("epochs reopened", self.reopened),
            ("entries", self.entries),
            ("transactions", self.transactions),
            ("entries discarded", self.discarded),
            ("proposals refused or lost", self.refused),
            ("replies", self.replies),
            ("linearizable reads", self.reads),
            ("heartbeats confirmed", self.heartbeats),
            ("sessions expired", self.expired),
            ("locks granted", self.grants),
            ("events told", self.events),
            ("watches begun anew", self.watches_broken),
            ("crashes", self.crashes),
            ("failed syncs", self.failed_syncs),
            ("unsynced records lost", self.lost_records),
            ("partitions", self.partitions),
            ("pauses", self.pauses),
            ("clock jumps", self.jumps),
            ("messages lost", self.lost_messages),
            ("messages arrived again", self.repeated),
            ("pieces of trees arrived", self.pieces),
            ("trees gone on with", self.gone_on),
            ("trees begun anew", self.abandoned),
            ("snapshots installed", self.snapshots),
            ("leaders bounced", self.bounces),
            ("sequencers stalled", self.stalls),
            ("membership changes", self.memberships),
            ("leader transfers", self.transfers),
            ("writes resubmitted", self.resubmitted),
            ("submissions of an old epoch", self.stale_tags),
            ("busy proposals", self.busy),
            ("session reads", self.session_reads),
            ("searches given up", self.gave_up),
        ]
    }
}

/// One run.
pub struct World {
    /// What it is made from.
    pub seed: u64,
    /// Chance for everything that has none of its own.
    pub random: Rc<Random>,
    /// The network.
    pub net: Rc<Net>,
    /// What is wrong on purpose.
    pub mutants: Mutants,
    /// Panics of members' and clients' tasks.
    pub panics: Rc<RefCell<Vec<String>>>,
    /// What must hold.
    pub oracle: RefCell<Oracle>,
    /// The members, running or not.
    pub members: RefCell<BTreeMap<u64, Rc<Member>>>,
    /// Of ten thousand proposals, how many find the queue before openraft full.
    pub busy_of_10000: Cell<u64>,
    /// Of ten thousand rounds of a sequencer's thread, how many stand still in their middle.
    pub stalls_of_10000: Cell<u64>,
    /// When something was done last that may change who leads: by an operator, or by the end of trouble with the network.
    pub stirred_ns: Cell<u64>,
    /// How often things happened.
    pub counts: RefCell<Counts>,
    /// Lines of the trace; none if nobody wants it.
    trace: Option<RefCell<Vec<String>>>,
    next: Cell<u64>,
    next_member: Cell<u64>,
}

impl World {
    /// An empty one.
    #[must_use]
    pub fn new(seed: u64, mutants: Mutants, is_traced: bool) -> Rc<Self> {
        Rc::new(Self {
            seed,
            random: Rc::new(Random::new(seed, 1)),
            net: Net::new(Random::new(seed, 2)),
            mutants,
            panics: Rc::default(),
            oracle: RefCell::new(Oracle::new(recipes::beginning())),
            members: RefCell::default(),
            busy_of_10000: Cell::new(0),
            stalls_of_10000: Cell::new(0),
            stirred_ns: Cell::new(0),
            counts: RefCell::default(),
            trace: is_traced.then(RefCell::default),
            next: Cell::new(1),
            next_member: Cell::new(1),
        })
    }

    /// A number that was not given before: of tokens, connections, operations.
    pub fn next(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// The number of a member that never was.
    pub fn next_member(&self) -> u64 {
        self.next_member.replace(self.next_member.get() + 1)
    }

    /// Whether the run has this defect.
    #[must_use]
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutants.has(mutant)
    }

    /// The member of this number.
    #[must_use]
    pub fn member(&self, number: u64) -> Option<Rc<Member>> {
        self.members.borrow().get(&number).cloned()
    }

    /// Something is done that may change who leads.
    pub fn stir(&self) {
        self.stirred_ns.set(world_ns());
    }

    /// Shows the oracle what happens.
    pub fn see(&self, event: &Event) {
        self.oracle.borrow_mut().see(event, world_ns());
    }

    /// Counts something.
    pub fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.borrow_mut());
    }

    /// A line of the trace.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.trace {
            let ns = world_ns();
            let line =
                format!("{:>8}.{:06} {}", ns / 1_000_000 % 100_000_000, ns % 1_000_000, line());
            lines.borrow_mut().push(line);
        }
    }

    /// The lines so far.
    #[must_use]
    pub fn take_trace(&self) -> Vec<String> {
        self.trace.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// What went wrong first, if something did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let panic = self.panics.borrow().first().cloned();
        panic.or_else(|| self.oracle.borrow().broken().map(str::to_owned))
    }
}
