//! Invariant 1: members that have applied the same entries have the same digest. The log is held against itself too: at one
//! index stands one entry, for all members and for ever, also after crashes. And what its changes say of the znodes before them,
//! for their events, is so.
//!
//! A tree of its own is kept beside those of the members, entry by entry: a member's digest is known only at the end of
//! what it applied at once.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_core::apply::{self, Applied};
use quorate_core::draft::{Draft, Meta, ReadRecords};
use quorate_core::ids::Term;
use quorate_core::read::{MemoryTree, Writes};

use super::Invariant;
use super::event::{Event, What};
use crate::raft::disk::TreeImage;

#[path = "../../../../host/core/tests/support/before.rs"]
mod before;

struct Slot {
    term: Term,
    what: What,
    is_taken: bool,
    meta: Meta,
}

/// Entries that were applied anywhere, and what they make of a tree.
pub struct Agreement {
    slots: Vec<Slot>,
    tree: Arc<MemoryTree>,
    committed: VecDeque<Event>,
}

impl Agreement {
    /// Beginning with this tree.
    #[must_use]
    pub fn new(beginning: &TreeImage) -> Self {
        let tree = Arc::new(MemoryTree::new());
        let records = beginning.records.iter();
        let writes: Writes =
            records.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        tree.commit(writes);
        Self { slots: Vec::new(), tree, committed: VecDeque::new() }
    }

    /// An entry that was seen for the first time.
    pub fn poll_committed(&mut self) -> Option<Event> {
        self.committed.pop_front()
    }

    /// Entries of the log that were applied somewhere.
    #[must_use]
    pub fn entries_count(&self) -> usize {
        self.slots.len()
    }

    /// Of these, how many were discarded.
    #[must_use]
    pub fn discarded_count(&self) -> usize {
        self.slots.iter().filter(|slot| !slot.is_taken).count()
    }

    /// The tree that they make.
    #[must_use]
    pub fn tree(&self) -> &Arc<MemoryTree> {
        &self.tree
    }

    fn add(&mut self, index: u64, term: Term, what: &What, is_taken: bool) -> Result<(), String> {
        if index != self.slots.len() as u64 {
            return Err(format!("entry {index} is applied before {}", self.slots.len()));
        }
        if let What::Entry(bytes) = what {
            let (_, entry) = quorate_wire::entry::decode(bytes.clone())
                .map_err(|error| format!("entry {index} can not be read: {error}"))?;
            let mut draft = Draft::new(self.tree.clone());
            let applied = apply::entry(&mut draft, &entry, term);
            if (applied == Applied::Taken) != is_taken {
                return Err(format!("entry {index} is {applied:?} here, and there it was not"));
            }
            if is_taken {
                before::check(self.tree.clone(), &entry)
                    .map_err(|why| format!("entry {index}, of what was before: {why}"))?;
                apply::seal(&mut draft);
            }
            self.tree.commit(draft.into_parts().1);
            self.committed.push_back(Event::Committed {
                index,
                term,
                entry: Arc::new(entry),
                is_taken,
            });
        }
        let meta = self.tree.meta();
        self.slots.push(Slot { term, what: what.clone(), is_taken, meta });
        Ok(())
    }

    fn stands(&self, member: u64, index: u64, meta: Meta) -> Result<(), String> {
        let slot = usize::try_from(index).ok().and_then(|at| self.slots.get(at));
        match slot {
            Some(slot) if slot.meta == meta => Ok(()),
            Some(slot) => Err(format!(
                "member {member} stands at {meta:?} after entry {index}, others at {:?}",
                slot.meta
            )),
            None => Err(format!("member {member} stands at entry {index}, which nobody applied")),
        }
    }
}

impl Invariant for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Applied { member, index, term, what, is_taken, meta } => {
                match usize::try_from(*index).ok().and_then(|at| self.slots.get(at)) {
                    None => self.add(*index, *term, what, *is_taken)?,
                    Some(slot) => {
                        let before = (slot.term, &slot.what, slot.is_taken);
                        if before != (*term, what, *is_taken) {
                            return Err(format!(
                                "member {member} applies another entry {index}, of term {term}; \
                                 it was one of term {}",
                                slot.term
                            ));
                        }
                    }
                }
                meta.map_or(Ok(()), |meta| self.stands(*member, *index, meta))
            }
            Event::Installed { member, index, meta } => self.stands(*member, *index, *meta),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(member: u64, index: u64, term: u64, meta: Meta) -> Event {
        let (what, meta) = (What::Blank, Some(meta));
        Event::Applied { member, index, term: Term(term), what, is_taken: true, meta }
    }

    #[test]
    fn another_entry_at_the_same_index_is_seen() {
        let mut agreement = Agreement::new(&TreeImage::default());
        let meta = Meta::default();
        assert_eq!(agreement.see(&blank(1, 0, 1, meta), 0), Ok(()));
        assert_eq!(agreement.see(&blank(2, 0, 1, meta), 0), Ok(()));
        assert!(agreement.see(&blank(3, 0, 2, meta), 0).is_err());
    }

    #[test]
    fn another_digest_after_the_same_entries_is_seen() {
        let mut agreement = Agreement::new(&TreeImage::default());
        let meta = Meta::default();
        assert_eq!(agreement.see(&blank(1, 0, 1, meta), 0), Ok(()));
        let other = Meta { digest: 1, ..meta };
        assert!(agreement.see(&blank(2, 0, 1, other), 0).is_err());
        assert!(agreement.see(&Event::Installed { member: 2, index: 0, meta: other }, 0).is_err());
    }

    #[test]
    fn an_entry_that_is_left_out_is_seen() {
        let mut agreement = Agreement::new(&TreeImage::default());
        assert!(agreement.see(&blank(1, 1, 1, Meta::default()), 0).is_err());
    }
}
