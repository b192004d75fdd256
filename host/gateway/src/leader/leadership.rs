//! Tests: when the registry is told that executing goes on, when it has to hear that it does not, and what of a step's
//! answers is said.

use quorate_core::apply::{self, Applied};
use quorate_core::draft::Draft;
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::read::MemoryTree;
use quorate_core::request::{Body, Request};
use quorate_core::session::Acks;
use quorate_core::transaction::EntryBody;
use quorate_sequencer::Leadership;
use quorate_wire::message::ServerMessage;

use std::sync::{Mutex, PoisonError};

use super::tests::NoRecipes;
use super::*;
use crate::quorum::AskedRounds;
use crate::registry::{Attachment, ClientLane};

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SequencerHandle {
    /// What this member's registry has handed over since the last time.
    pub(crate) fn requests(&self) -> Vec<ToLeader> {
        let messages = self.take(Duration::ZERO);
        messages
            .into_iter()
            .filter_map(|message| match message {
                Message::Handed(request) => Some(request),
                _ => None,
            })
            .collect()
    }
}

/// Keeps what is proposed.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Arc<Entry>>>>);

impl Propose for Kept {
    fn propose(&mut self, _epoch: Epoch, _batch: u64, entry: Arc<Entry>) {
        lock(&self.0).push(entry);
    }
}

struct Rig {
    leader: Leader,
    registry: Arc<Registry>,
    tree: Arc<MemoryTree>,
    proposed: Kept,
    asked: AskedRounds,
    applying_term: Arc<AtomicU64>,
}

impl Rig {
    fn new() -> Self {
        let handle = SequencerHandle::new();
        let registry = Arc::new(Registry::new(handle.clone()));
        let tree = Arc::new(MemoryTree::new());
        let proposed = Kept::default();
        let (rounds, asked) = Rounds::by_hand();
        let applying_term: Arc<AtomicU64> = Arc::default();
        let around = Surroundings {
            registry: registry.clone(),
            propose: Box::new(proposed.clone()),
            rounds,
            applying_term: applying_term.clone(),
        };
        let sequencer = Sequencer::new(tree.clone(), Box::new(NoRecipes));
        let leader = Leader::new(handle, sequencer, around);
        Self { leader, registry, tree, proposed, asked, applying_term }
    }

    fn apply(&self, entry: &Entry) {
        let mut draft = Draft::new(self.tree.clone());
        assert_eq!(apply::entry(&mut draft, entry, entry.term), Applied::Taken);
        apply::seal(&mut draft);
        self.tree.commit(draft.into_parts().1);
    }

    /// Leads in this term, up to the barrier, which has been applied and not been heard of.
    fn lead(&mut self, term: Term) -> Arc<Entry> {
        let now = self.leader.now();
        self.leader.handle_input(Input::Lead(Leadership { term }), now);
        self.leader.step(now);
        let barrier = lock(&self.proposed.0).pop().expect("a barrier is proposed");
        assert_eq!(barrier.body, EntryBody::Barrier);
        self.apply(&barrier);
        barrier
    }

    /// Leads in this term, and has opened an epoch.
    fn lead_on(&mut self, term: Term) {
        let barrier = self.lead(term);
        self.hear(&barrier);
        self.turn();
        assert!(self.registry.is_ready());
    }

    /// Handles what waits in the inbox.
    fn turn(&mut self) {
        let now = self.leader.now();
        for message in self.leader.handle.take(Duration::ZERO) {
            self.leader.handle_message(message, now);
        }
        self.leader.step(now);
    }

    /// The round that is asked for is over.
    fn end_round(&mut self, outcome: Result<Confirmed, Refusal>) {
        let done = self.asked.try_recv().expect("a round is asked for");
        done(outcome);
        self.turn();
    }

    /// A lane of a session that nobody has opened.
    fn attach(&self) -> (Arc<Attachment>, KeptFrames) {
        let frames = KeptFrames::default();
        let lane = ClientLane::Kept(frames.clone());
        (self.registry.attach(SESSION, lane, WriteNumber(0)).expect("no goodbye was said"), frames)
    }

    fn hear(&mut self, entry: &Entry) {
        let now = self.leader.now();
        self.leader.handle_entry(entry.term, entry.epoch, None, true, now);
    }
}

const SESSION: SessionId = SessionId(7);

type KeptFrames = Arc<Mutex<Vec<bytes::Bytes>>>;

fn told(frames: &KeptFrames) -> Vec<ServerMessage> {
    let frames = std::mem::take(&mut *lock(frames));
    frames.into_iter().map(|frame| ServerMessage::decode(frame).expect("our own bytes")).collect()
}

/// What was said of heartbeats: the request, and why it was not confirmed.
fn beats(frames: &KeptFrames) -> Vec<(u64, Option<ErrorCode>)> {
    let beat = |message| match message {
        ServerMessage::Confirmed { request } => (request, None),
        ServerMessage::Unconfirmed { request, refusal } => (request, Some(refusal.code)),
        other => panic!("{other:?}"),
    };
    told(frames).into_iter().map(beat).collect()
}

fn in_term(term: u64) -> Result<Confirmed, Refusal> {
    Ok(Confirmed { term: Term(term), index: 1 })
}

#[test]
fn a_heartbeat_is_confirmed_by_a_quorum_that_was_asked_after_it_was_heard() {
    let mut rig = Rig::new();
    rig.lead_on(Term(1));
    let (attachment, frames) = rig.attach();
    rig.registry.heartbeat(&attachment, 1).expect("an epoch is open");
    rig.turn();
    assert_eq!(beats(&frames), [], "the leader has heard it, and may not lead any more");
    rig.registry.heartbeat(&attachment, 2).expect("an epoch is open");
    rig.turn();
    rig.end_round(in_term(1));
    // Nobody knows the session: that, too, is said only by a leader that is one.
    assert_eq!(beats(&frames), [(1, Some(ErrorCode::SessionEnded))]);
    rig.end_round(Err(Refusal::new(ErrorCode::NoLeader, "no quorum")));
    assert_eq!(beats(&frames), [(2, Some(ErrorCode::NoLeader))]);
    rig.turn();
    assert!(rig.asked.try_recv().is_err(), "there is nothing to ask for");
    rig.registry.heartbeat(&attachment, 3).expect("an epoch is open");
    rig.turn();
    rig.end_round(in_term(3));
    assert_eq!(
        beats(&frames),
        [(3, Some(ErrorCode::NoLeader))],
        "it leads again: another may have led in between, and this is what was known before"
    );
}

#[test]
fn a_round_that_ends_after_its_epoch_confirms_nothing() {
    let mut rig = Rig::new();
    rig.lead_on(Term(1));
    let (attachment, frames) = rig.attach();
    rig.registry.heartbeat(&attachment, 1).expect("an epoch is open");
    rig.turn();
    let done = rig.asked.try_recv().expect("a round is asked for");
    rig.leader.handle.send(Input::Follow);
    rig.turn();
    assert_eq!(beats(&frames), [(1, Some(ErrorCode::NoLeader))]);
    rig.lead_on(Term(2));
    rig.registry.heartbeat(&attachment, 2).expect("an epoch is open");
    done(in_term(1));
    rig.turn();
    assert_eq!(beats(&frames), [], "that was asked in another epoch, before this was heard");
    rig.end_round(in_term(2));
    assert_eq!(beats(&frames), [(2, Some(ErrorCode::SessionEnded))]);
}

#[test]
fn what_a_step_read_while_another_leaders_entry_was_applied_is_not_said() {
    let mut rig = Rig::new();
    rig.lead_on(Term(1));
    let (attachment, frames) = rig.attach();
    let request = Request {
        session: SESSION,
        write: WriteNumber(1),
        hash: 1,
        acks: Acks::default(),
        body: Body::CloseSession,
        address: None,
    };
    rig.registry.submit(&attachment, 1, Arc::new(request.clone()), 10).expect("there is room");
    rig.turn();
    let refused = |messages: &[ServerMessage]| {
        matches!(messages, [ServerMessage::NotExecuted { request: 1, refusal }]
            if refusal.code == ErrorCode::NoSession)
    };
    assert!(refused(&told(&frames)), "this is what the leader answers on its own tree");
    rig.registry.submit(&attachment, 1, Arc::new(request), 10).expect("there is room");
    // The blank entry of the next leader, or one behind it: the tree may not show it yet, or in part.
    rig.applying_term.store(2, Ordering::Release);
    rig.turn();
    assert_eq!(told(&frames), [], "the next leader may have opened this session");
    assert!(!rig.registry.is_ready() && !rig.leader.sequencer.is_ready());
    rig.applying_term.store(3, Ordering::Release);
    rig.lead_on(Term(3));
    rig.turn();
    assert!(refused(&told(&frames)), "it has waited, and is handed over again");
}

#[test]
fn an_epoch_that_is_open_lets_writes_through() {
    let mut rig = Rig::new();
    let barrier = rig.lead(Term(1));
    rig.hear(&barrier);
    assert!(!rig.registry.is_ready(), "what waits is submitted again first");
    let now = rig.leader.now();
    rig.leader.step(now);
    assert!(rig.registry.is_ready());
}

#[test]
fn an_epoch_that_has_ended_before_it_was_told_of_lets_nothing_through() {
    let mut rig = Rig::new();
    let barrier = rig.lead(Term(1));
    // Both in one go, as they may wait in the inbox: the second takes back what the first has made ready.
    rig.hear(&barrier);
    let now = rig.leader.now();
    rig.leader.handle_input(Input::Follow, now);
    rig.leader.step(now);
    assert!(!rig.registry.is_ready(), "nobody executes what is submitted now");
}

#[test]
fn a_step_that_finds_another_leaders_entries_stops_the_registry_too() {
    let mut rig = Rig::new();
    let barrier = rig.lead(Term(1));
    rig.hear(&barrier);
    let now = rig.leader.now();
    rig.leader.step(now);
    assert!(rig.registry.is_ready());
    rig.apply(&Entry { term: Term(2), epoch: Epoch(1), body: EntryBody::Barrier });
    rig.leader.step(now);
    assert!(!rig.leader.sequencer.is_ready());
    assert!(!rig.registry.is_ready(), "writes would be dropped, and heartbeats wait for nothing");
}
