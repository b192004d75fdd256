//! A cluster without machines: sequencers over trees in memory, and a log whose every move (append, refuse, lose the
//! answer, commit, apply, tell) is the test's. It knows what raft promises, and nothing of what the sequencer keeps.

#[path = "../../../core/tests/support/before.rs"]
mod before;
pub mod client;
mod gateway;
pub mod history;
pub mod recipes;

pub use self::gateway::PRINCIPAL;

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::apply::{self, Applied};
use quorate_core::change::Change;
use quorate_core::deployment::{Manifest, Version};
use quorate_core::draft::{Draft, ReadRecords};
use quorate_core::ids::{Epoch, Millis, Term, Zxid};
use quorate_core::path::Path;
use quorate_core::read::MemoryTree;
use quorate_core::transaction::Entry;
use quorate_sequencer::{Input, Leadership, Now, Output, Sequencer};

use client::Client;
use history::History;
use recipes::Closures;

/// Milliseconds of the wall clock at which every world begins.
pub const START: Millis = Millis(1_800_000_000_000);

/// What a sequencer wants proposed.
pub struct Proposal {
    pub epoch: Epoch,
    pub batch: u64,
    pub entry: Arc<Entry>,
}

/// A place in the log.
pub struct Logged {
    pub term: Term,
    pub entry: Arc<Entry>,
    /// The member that waits to be told, and for which batch. None when the answer is lost: it was told "refused".
    teller: Option<(usize, Epoch, u64)>,
}

/// One member.
pub struct Member {
    pub tree: Arc<MemoryTree>,
    pub sequencer: Sequencer,
    pub recipes: Closures,
    /// Entries of the log that its tree has taken.
    pub applied: usize,
    /// What its sequencer has proposed and raft has not looked at.
    pub outbox: VecDeque<Proposal>,
    /// What raft has said and its sequencer has not heard.
    pub notices: VecDeque<Input>,
    /// Direct outputs, for tests that look at them.
    pub said: Vec<Output>,
}

/// Everything.
pub struct World {
    pub members: Vec<Member>,
    pub log: Vec<Logged>,
    /// Entries of the log that no leader can take back.
    pub committed: usize,
    pub term: Term,
    /// Raft's leader. Its sequencer may not have heard.
    pub leader: Option<usize>,
    /// The member whose sequencer was ready last: where gateways send writes.
    pub serving: usize,
    pub now: Now,
    pub clients: Vec<Client>,
    pub history: History,
    pub next_token: u64,
}

impl World {
    /// Members that have applied nothing, with the recipe `lock` deployed.
    pub fn new(members: usize) -> Self {
        let members = (0..members).map(|_| Member::new(seeded_tree())).collect();
        Self {
            members,
            log: Vec::new(),
            committed: 0,
            term: Term(0),
            leader: None,
            serving: 0,
            now: Now { wall: START, monotonic_ms: 1_000 },
            clients: Vec::new(),
            history: History::default(),
            next_token: 1,
        }
    }

    /// One member that leads, ready, with this many open sessions of 10 seconds.
    pub fn ready(members: usize, sessions: usize) -> Self {
        let mut world = Self::new(members);
        world.elect(0, 0);
        world.settle();
        for _ in 0..sessions {
            let client = world.open(0, 10_000);
            world.settle();
            assert!(world.clients[client].session.is_some(), "no session was opened");
        }
        world
    }

    /// A member wins an election with this many of the uncommitted entries in its log; the others are cut.
    pub fn elect(&mut self, member: usize, kept: usize) {
        if let Some(old) = self.leader {
            self.members[old].notices.push_back(Input::Follow);
        }
        for cut in self.log.split_off((self.committed + kept).min(self.log.len())) {
            self.tell_refused(cut.teller);
        }
        self.committed = self.log.len();
        self.term = self.term.next();
        self.leader = Some(member);
        while self.members[member].applied < self.committed {
            self.apply(member);
        }
        let lead = Input::Lead(Leadership { term: self.term });
        self.members[member].notices.push_back(lead);
    }

    /// The leader is told that it follows, and then that it leads again in the same term.
    pub fn blink(&mut self) {
        let Some(leader) = self.leader else { return };
        let lead = Input::Lead(Leadership { term: self.term });
        self.members[leader].notices.extend([Input::Follow, lead]);
    }

    /// A member's sequencer hears of leaderships first, and of its proposals after that.
    pub fn delay_answers(&mut self, member: usize) {
        let is_answer =
            |notice: &Input| matches!(notice, Input::Applied { .. } | Input::Refused { .. });
        self.members[member].notices.make_contiguous().sort_by_key(is_answer);
    }

    /// Raft takes the oldest proposal of a member, if that member leads in the entry's term.
    pub fn append(&mut self, member: usize) -> bool {
        self.take_proposal(member, true)
    }

    /// Raft takes the oldest proposal, and says that it does not.
    pub fn append_and_lose_answer(&mut self, member: usize) -> bool {
        self.take_proposal(member, false)
    }

    fn take_proposal(&mut self, member: usize, is_told: bool) -> bool {
        let Some(proposal) = self.members[member].outbox.pop_front() else { return false };
        let teller = Some((member, proposal.epoch, proposal.batch));
        if self.leader != Some(member) || proposal.entry.term != self.term {
            self.tell_refused(teller);
            return true;
        }
        if !is_told {
            self.tell_refused(teller);
        }
        let teller = if is_told { teller } else { None };
        self.log.push(Logged { term: self.term, entry: proposal.entry, teller });
        true
    }

    /// Raft refuses the oldest proposal of a member.
    pub fn refuse(&mut self, member: usize) -> bool {
        let Some(proposal) = self.members[member].outbox.pop_front() else { return false };
        self.tell_refused(Some((member, proposal.epoch, proposal.batch)));
        true
    }

    fn tell_refused(&mut self, teller: Option<(usize, Epoch, u64)>) {
        if let Some((member, epoch, batch)) = teller {
            self.members[member].notices.push_back(Input::Refused { epoch, batch });
        }
    }

    /// One more entry is on a quorum.
    pub fn commit(&mut self) -> bool {
        let can = self.committed < self.log.len();
        self.committed += usize::from(can);
        can
    }

    /// A member applies its next committed entry; its gateway answers from it.
    pub fn apply(&mut self, member: usize) -> bool {
        let index = self.members[member].applied;
        if index >= self.committed {
            return false;
        }
        let logged = &self.log[index];
        let tree = self.members[member].tree.clone();
        let mut draft = Draft::new(tree.clone());
        let applied = apply::entry(&mut draft, &logged.entry, logged.term);
        if applied == Applied::Taken {
            before::check(tree.clone(), &logged.entry)
                .expect("what changes say of what was before");
            apply::seal(&mut draft);
            tree.commit(draft.into_parts().1);
        }
        self.members[member].applied += 1;
        let meta = tree.meta();
        self.history.applied(index, &logged.entry, applied, meta, self.now.monotonic_ms);
        let (entry, teller) = (logged.entry.clone(), logged.teller);
        if let Some((teller, epoch, batch)) = teller.filter(|(teller, ..)| *teller == member) {
            let notice = match applied {
                Applied::Taken => Input::Applied { epoch, batch },
                Applied::Discarded(_) => Input::Refused { epoch, batch },
            };
            self.members[teller].notices.push_back(notice);
        }
        if applied == Applied::Taken {
            self.answer_from(member, &entry);
        }
        true
    }

    /// A member's sequencer hears one thing that raft has said.
    pub fn tell(&mut self, member: usize) -> bool {
        let Some(notice) = self.members[member].notices.pop_front() else { return false };
        let now = self.now;
        self.members[member].sequencer.handle(notice, now);
        self.drain(member);
        true
    }

    /// A member's sequencer steps.
    pub fn step(&mut self, member: usize) {
        let now = self.now;
        self.members[member].sequencer.step(now);
        self.drain(member);
    }

    /// Everything happens, in order, until nothing more would without time passing.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut moved = false;
            for member in 0..self.members.len() {
                self.step(member);
                while self.append(member) {
                    moved = true;
                }
                while self.commit() {}
                while self.apply(member) {
                    moved = true;
                }
                while self.tell(member) {
                    moved = true;
                }
                let due = self.members[member].sequencer.next_timer_ms();
                moved |= due.is_some_and(|due| due <= self.now.monotonic_ms);
            }
            moved |= self.resend();
            if !moved {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Both clocks of every machine go on.
    pub fn pass(&mut self, ms: u64) {
        self.now.monotonic_ms += ms;
        self.now.wall = self.now.wall.plus(ms);
    }

    /// Time passes in steps short enough that no leader takes one for its own stall; the world settles after each.
    pub fn pass_slowly(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.pass(100);
            self.settle();
        }
        self.pass(ms % 100);
        self.settle();
    }

    /// The last transaction that a member has applied.
    pub fn zxid(&self, member: usize) -> Zxid {
        self.members[member].tree.meta().zxid
    }

    /// Whether a znode is in a member's tree.
    pub fn has(&self, member: usize, path: &str) -> bool {
        self.members[member].tree.node(&Path::parse(path).expect("a path")).is_some()
    }

    /// The only proposal in a member's outbox.
    pub fn batches(&self, member: usize) -> Vec<&Entry> {
        self.members[member].outbox.iter().map(|proposal| proposal.entry.as_ref()).collect()
    }
}

impl Member {
    fn new(tree: Arc<MemoryTree>) -> Self {
        let recipes = Closures::default();
        Self {
            sequencer: Sequencer::new(tree.clone(), Box::new(recipes.clone())),
            tree,
            recipes,
            applied: 0,
            outbox: VecDeque::new(),
            notices: VecDeque::new(),
            said: Vec::new(),
        }
    }

    /// The process starts again: its tree is what it has applied, its sequencer knows nothing.
    pub fn restart(&mut self) {
        *self = Self { applied: self.applied, ..Self::new(self.tree.clone()) };
    }
}

/// A tree in which the recipe `lock` is active, and two more components are uploaded.
fn seeded_tree() -> Arc<MemoryTree> {
    let tree = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(tree.clone());
    let version = Version {
        number: 1,
        component: [1; 32],
        manifest: Manifest::for_root(Path::root()),
        principal: String::new(),
        deployed: START,
    };
    let name = || "lock".to_owned();
    let stored = |digest| Change::ComponentStored { component: [digest; 32], bytes: 1, chunks: 1 };
    let changes = [
        stored(1),
        stored(2),
        Change::VersionMade { recipe: name(), version: Box::new(version) },
        Change::RecipeActivated { recipe: name(), version: 1 },
    ];
    for change in &changes {
        apply::change(&mut draft, Zxid(0), START, change);
    }
    apply::seal(&mut draft);
    tree.commit(draft.into_parts().1);
    tree
}
