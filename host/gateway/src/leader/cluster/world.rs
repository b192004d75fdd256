//! A few members in one thread: real registries, leaders and links, over a log that commits, loses and refuses as the
//! schedule says. It knows what raft promises, and nothing of clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;

use quorate_core::apply::{self, Applied};
use quorate_core::draft::{Draft, ReadRecords};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::read::MemoryTree;
use quorate_core::transaction::{EntryBody, Origin};
use quorate_sequencer::Leadership;
use tokio::sync::watch;

use super::pipe::{Dialler, Links};
use crate::follow::Follower;
use crate::leader::tests::NoRecipes;
use crate::leader::*;
use crate::quorum::AskedRounds;

/// What stands in the log.
#[derive(Clone)]
enum Item {
    Blank(usize, Term),
    Entry(Arc<Entry>),
}

struct Proposal {
    epoch: Epoch,
    batch: u64,
    entry: Arc<Entry>,
}

#[derive(Clone, Default)]
struct Proposals(Arc<Mutex<VecDeque<Proposal>>>);

impl Propose for Proposals {
    fn propose(&mut self, epoch: Epoch, batch: u64, entry: Arc<Entry>) {
        self.0.lock().unwrap().push_back(Proposal { epoch, batch, entry });
    }
}

pub(super) struct Member {
    pub(super) registry: Arc<Registry>,
    pub(super) tree: Arc<MemoryTree>,
    leader: Leader,
    applied: usize,
    proposals: Proposals,
    asked: AskedRounds,
    applying_term: Arc<AtomicU64>,
    knows: watch::Sender<Option<u64>>,
    led: Option<Term>,
}

/// What was executed, and what somebody was told not to be: never both of one request.
#[derive(Default)]
pub(super) struct Oracle {
    executed: BTreeMap<(SessionId, WriteNumber), u128>,
    not_executed: BTreeSet<(SessionId, WriteNumber, u128)>,
    /// Index in the log up to which the above goes.
    seen: usize,
}

impl Oracle {
    fn see(&mut self, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for transaction in transactions {
            let Origin::Write { session, write, hash, .. } = transaction.origin else { continue };
            let last =
                self.executed.range((session, WriteNumber(0))..=(session, WriteNumber(u64::MAX)));
            let next =
                last.map(|((_, write), _)| write.next()).next_back().unwrap_or(WriteNumber(1));
            assert_eq!(write, next, "each write of {session:?} once, in order");
            assert!(
                !self.not_executed.contains(&(session, write, hash)),
                "write {write:?} of {session:?} was told not to be executed, and is executed"
            );
            self.executed.insert((session, write), hash);
        }
    }

    pub(super) fn is_told_not_executed(
        &mut self,
        session: SessionId,
        write: WriteNumber,
        hash: u128,
    ) {
        assert_ne!(
            self.executed.get(&(session, write)),
            Some(&hash),
            "write {write:?} of {session:?} was executed, and is told not to be"
        );
        self.not_executed.insert((session, write, hash));
    }
}

pub(super) struct World {
    pub(super) members: Vec<Member>,
    pub(super) links: Links,
    pub(super) oracle: Oracle,
    log: Vec<Item>,
    /// Taken by the leader, and not committed: with who proposed it.
    appended: VecDeque<(usize, Proposal)>,
    pub(super) term: Term,
    pub(super) leading: usize,
    now_ms: u64,
}

impl World {
    pub(super) fn new(members: usize) -> Self {
        let links = Links::default();
        let members = (0..members).map(|member| Member::new(member, &links)).collect();
        Self {
            members,
            links,
            oracle: Oracle::default(),
            log: Vec::new(),
            appended: VecDeque::new(),
            term: Term(0),
            leading: 0,
            now_ms: 0,
        }
    }

    /// Another member, or the same one, leads in a new term; the first few of what was not committed are, the others are lost.
    /// Nobody has heard of it yet.
    pub(super) fn elect(&mut self, member: usize, kept: usize) {
        for at in 0..self.appended.len() {
            if at < kept {
                self.commit();
                continue;
            }
            let Some((proposer, lost)) = self.appended.pop_front() else { break };
            self.members[proposer].leader.handle.refused(lost.epoch, lost.batch);
        }
        self.term = Term(self.term.0 + 1);
        self.leading = member;
        self.log.push(Item::Blank(member, self.term));
    }

    /// The member hears who leads: itself only once it has applied the beginning of its term.
    pub(super) fn hear(&mut self, member: usize) {
        let one = &mut self.members[member];
        if member != self.leading && one.led.take().is_some() {
            one.leader.handle.send(Input::Follow);
        }
        one.knows.send_if_modified(|known| {
            let now = Some(self.leading as u64);
            std::mem::replace(known, now) != now
        });
    }

    /// The thread of this member that sequences takes its turn; its proposals reach raft, which refuses the first so many.
    pub(super) fn turn(&mut self, member: usize, refused: usize) {
        self.now_ms += 1;
        let now = Now { wall: Millis(self.now_ms), monotonic_ms: self.now_ms };
        let one = &mut self.members[member];
        for message in one.leader.handle.take(Duration::ZERO) {
            one.leader.handle_message(message, now);
        }
        one.leader.step(now);
        let proposals = std::mem::take(&mut *one.proposals.0.lock().unwrap());
        for (at, proposal) in proposals.into_iter().enumerate() {
            let is_taken =
                at >= refused && member == self.leading && proposal.entry.term == self.term;
            if is_taken {
                self.appended.push_back((member, proposal));
            } else {
                one.leader.handle.refused(proposal.epoch, proposal.batch);
            }
        }
    }

    /// One more entry is committed. Whether there was one.
    pub(super) fn commit(&mut self) -> bool {
        let Some((_, proposal)) = self.appended.pop_front() else { return false };
        self.log.push(Item::Entry(proposal.entry));
        true
    }

    /// The member applies one more entry. Whether there was one.
    pub(super) fn apply(&mut self, member: usize) -> bool {
        let one = &mut self.members[member];
        let Some(item) = self.log.get(one.applied).cloned() else { return false };
        one.applied += 1;
        match item {
            Item::Blank(leader, term) => {
                one.applying_term.fetch_max(term.0, Ordering::AcqRel);
                if leader == member && term == self.term {
                    one.led = Some(term);
                    one.leader.handle.send(Input::Lead(Leadership { term }));
                }
            }
            Item::Entry(entry) => {
                let is_taken = one.apply(&entry);
                if is_taken && self.oracle.seen < one.applied {
                    self.oracle.see(&entry);
                }
            }
        }
        self.oracle.seen = self.oracle.seen.max(one.applied);
        true
    }

    /// A round of this member's quorum ends. Whether there was one.
    pub(super) fn end_round(&mut self, member: usize) -> bool {
        let Ok(done) = self.members[member].asked.try_recv() else { return false };
        let no_leader = || Refusal::new(ErrorCode::NoLeader, "another member leads");
        let is_leading = member == self.leading;
        let confirmed = Confirmed { term: self.term, index: self.log.len() as u64 };
        done(if is_leading { Ok(confirmed) } else { Err(no_leader()) });
        true
    }

    /// How a member stands, for a test that fails.
    pub(super) fn show(&self, member: usize) -> String {
        let one = &self.members[member];
        let (applied, all) = (one.applied, self.log.len());
        let (open, route, ready) =
            (one.leader.open, one.registry.tag(), one.leader.sequencer.is_ready());
        let (leads, known) = (member == self.leading, *one.knows.borrow());
        format!(
            "leads: {leads}, knows {known:?}, open {open:?}, ready {ready}, route {route:?}, applied {applied} of {all}"
        )
    }

    /// Whether the member has applied all that is committed: a session may be resumed there.
    pub(super) fn is_fresh(&self, member: usize) -> bool {
        self.members[member].applied == self.log.len()
    }
}

impl Member {
    fn new(member: usize, links: &Links) -> Self {
        let handle = SequencerHandle::new();
        let registry = Arc::new(Registry::new(handle.clone()));
        let tree = Arc::new(MemoryTree::new());
        let proposals = Proposals::default();
        let (rounds, asked) = Rounds::by_hand();
        links.add_member(handle.clone(), rounds.clone());
        let applying_term: Arc<AtomicU64> = Arc::default();
        let around = Surroundings {
            registry: registry.clone(),
            propose: Box::new(proposals.clone()),
            rounds,
            applying_term: applying_term.clone(),
        };
        let sequencer = Sequencer::new(tree.clone(), Box::new(NoRecipes));
        let leader = Leader::new(handle, sequencer, around);
        let (knows, leader_watch) = watch::channel(None);
        let dial = Arc::new(Dialler { member: member as u64, links: links.clone() });
        let registry_of = registry.clone();
        let follower =
            Follower { member: member as u64, registry: registry_of, dial, leader: leader_watch };
        tokio::spawn(follower.run());
        Self {
            registry,
            tree,
            leader,
            applied: 0,
            proposals,
            asked,
            applying_term,
            knows,
            led: None,
        }
    }

    fn apply(&mut self, entry: &Entry) -> bool {
        self.applying_term.fetch_max(entry.term.0, Ordering::AcqRel);
        let mut draft = Draft::new(self.tree.clone());
        let is_taken = apply::entry(&mut draft, entry, entry.term) == Applied::Taken;
        if is_taken {
            apply::seal(&mut draft);
        }
        self.tree.commit(draft.into_parts().1);
        if is_taken {
            self.registry.applied(entry, None);
        }
        self.leader.handle.applied(entry, is_taken);
        is_taken
    }

    pub(super) fn has_session(&self, session: SessionId) -> bool {
        self.tree.session(session).is_some()
    }

    pub(super) fn last_write(&self, session: SessionId) -> WriteNumber {
        self.tree.session(session).map_or(WriteNumber(0), |record| record.last_write)
    }

    pub(super) fn zxid(&self) -> Zxid {
        self.tree.meta().zxid
    }
}
