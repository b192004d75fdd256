//! Tests: when the registry is told that executing goes on, and when it has to hear that it does not.

use quorate_core::apply::{self, Applied};
use quorate_core::draft::Draft;
use quorate_core::read::MemoryTree;
use quorate_sequencer::Leadership;

use super::tests::NoRecipes;
use super::*;

impl SequencerHandle {
    /// What was brought to the sequencer since the last time.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let messages = std::mem::take(&mut *lock(&self.inbox.messages));
        messages
            .into_iter()
            .filter_map(|message| match message {
                Message::Input(input) => Some(input),
                Message::Entry { .. } | Message::Stop => None,
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
}

impl Rig {
    fn new() -> Self {
        let handle = SequencerHandle::new();
        let registry = Arc::new(Registry::new(handle.clone()));
        let tree = Arc::new(MemoryTree::new());
        let proposed = Kept::default();
        let leader = Leader {
            handle,
            sequencer: Sequencer::new(tree.clone(), Box::new(NoRecipes)),
            registry: registry.clone(),
            propose: Box::new(proposed.clone()),
            proposed: VecDeque::new(),
            term: Term(0),
            began: Instant::now(),
        };
        Self { leader, registry, tree, proposed }
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

    fn hear(&mut self, entry: &Entry) {
        let now = self.leader.now();
        self.leader.handle_entry(entry.term, entry.epoch, None, true, now);
    }
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
