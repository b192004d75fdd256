//! What other members have acknowledged to this leader: a log that has become shorter since was rolled back (an older copy
//! of its directory), and must not count again as if nothing had happened. And what such a member finds when it is told. It
//! does not know how they are asked and told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::raft::{StreamAppendError, StreamAppendResult};
use quorate_core::ids::Term;

use crate::contact::Incarnation;
use crate::types::{TypeConfig, Vote};

/// A member, with the data directory that has acknowledged: another one under its number owes nothing.
pub(crate) type Who = (u64, Incarnation);

/// The highest index that each member has acknowledged as durable, under the last leadership of this member in which it
/// did.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    members: Mutex<HashMap<Who, (Term, u64)>>,
    /// Members that were found to have lost entries; until they leave.
    reverted: Mutex<BTreeMap<u64, Reverted>>,
}

#[derive(Debug)]
struct Reverted {
    /// In which leadership of this member.
    term: Term,
    /// What the member has acknowledged.
    index: u64,
    incarnation: Incarnation,
    /// For people.
    why: String,
}

impl Acknowledged {
    /// Takes note of what a member answered to this leader.
    ///
    /// # Errors
    /// If the member says that it does not have what it has acknowledged in the same term: nobody has overwritten it.
    pub(crate) fn note(
        &self,
        who: Who,
        leader: &Vote,
        answer: &StreamAppendResult<TypeConfig>,
    ) -> Result<(), String> {
        let term = Term(leader.leader_id.term);
        let mut members = lock(&self.members);
        match answer {
            Ok(Some(last)) => {
                let (known_term, index) = members.entry(who).or_insert((term, last.index));
                *index = if *known_term == term { last.index.max(*index) } else { last.index };
                *known_term = term;
                Ok(())
            }
            Err(StreamAppendError::Conflict(at)) => match members.get(&who) {
                Some((known, index)) if *known == term && at.index <= *index => {
                    let (member, incarnation) = who;
                    let why = reverted(member, at.index, *index);
                    let found = Reverted { term, index: *index, incarnation, why: why.clone() };
                    let told = lock(&self.reverted).insert(member, found);
                    if told.is_none_or(|told| told.why != why) {
                        tracing::error!(member, why, "a member is refused");
                    }
                    Err(why)
                }
                _ => Ok(()),
            },
            Ok(None) | Err(StreamAppendError::HigherVote(_)) => Ok(()),
        }
    }

    /// What a member has acknowledged to this leader and was found to have lost, with a sentence for people.
    pub(crate) fn lost(&self, (member, incarnation): Who, leader: &Vote) -> Option<(u64, String)> {
        let all = lock(&self.reverted);
        let found = all.get(&member)?;
        let is_meant =
            found.incarnation == incarnation && found.term == Term(leader.leader_id.term);
        is_meant.then(|| (found.index, found.why.clone()))
    }

    /// Forgets members that left: their numbers are not used again, but a map should not grow.
    pub(crate) fn forget(&self, member: u64) {
        lock(&self.members).retain(|(known, _), _| *known != member);
        lock(&self.reverted).remove(&member);
    }

    /// Members that were found to have lost entries by this leadership of this member, with a sentence for people. What an
    /// earlier one found may have been overwritten since, and was told to the member, which has ended.
    pub(crate) fn reverted(&self, term: Term) -> BTreeMap<u64, String> {
        let all = lock(&self.reverted);
        let found = all.iter().filter(|(_, found)| found.term == term);
        found.map(|(member, found)| (*member, found.why.clone())).collect()
    }
}

/// Whether a member whose log says this has lost the entry that it has acknowledged to this leader. Within the leader's
/// term nothing of its log is ever overwritten; in a later one it may have been, and the claim says nothing any more.
pub(crate) fn has_lost(own: Option<&Vote>, last: Option<u64>, leader: &Vote, index: u64) -> bool {
    own == Some(leader) && leader.committed && last.is_none_or(|last| last < index)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reverted(member: u64, at: u64, index: u64) -> String {
    format!(
        "member {member} has lost entries that it had acknowledged: it had {index} and misses {at}; its data directory \
         is an older copy, and it takes no part: remove it from the cluster and add it anew with an empty directory"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;
    use crate::types::log_id;

    const TWO: Who = (2, Incarnation([2; 16]));

    fn at(term: u64, index: u64) -> crate::types::LogId {
        log_id(Position { term: Term(term), index })
    }

    #[test]
    fn a_log_that_became_shorter_under_one_leader_is_refused() {
        let acknowledged = Acknowledged::default();
        let leader = Vote::new_committed(3, 1);
        assert_eq!(acknowledged.note(TWO, &leader, &Ok(Some(at(3, 9)))), Ok(()));
        assert_eq!(acknowledged.note(TWO, &leader, &Ok(Some(at(3, 7)))), Ok(()), "a late answer");
        let conflict = Err(StreamAppendError::Conflict(at(3, 9)));
        let new = (2, Incarnation([9; 16]));
        assert_eq!(acknowledged.note(new, &leader, &conflict), Ok(()), "another directory");
        assert!(acknowledged.note(TWO, &leader, &conflict).is_err());
        assert_eq!(acknowledged.lost(TWO, &leader).map(|(index, _)| index), Some(9));
        assert_eq!(acknowledged.lost(new, &leader), None);
        assert_eq!(acknowledged.lost(TWO, &Vote::new_committed(5, 1)), None, "a later leadership");
        assert!(acknowledged.reverted(Term(3)).contains_key(&2));
        assert!(acknowledged.reverted(Term(5)).is_empty(), "it names what this one has found");
    }

    #[test]
    fn another_leader_may_have_overwritten_it_in_between() {
        let acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.note(TWO, &Vote::new_committed(3, 1), &Ok(Some(at(3, 9)))), Ok(()));
        let conflict = Err(StreamAppendError::Conflict(at(3, 9)));
        assert_eq!(acknowledged.note(TWO, &Vote::new_committed(5, 1), &conflict), Ok(()));
        assert_eq!(acknowledged.note(TWO, &Vote::new_committed(5, 1), &Ok(Some(at(4, 8)))), Ok(()));
    }

    #[test]
    fn only_what_is_missing_in_the_leader_s_own_term_is_a_loss() {
        let leader = Vote::new_committed(3, 1);
        assert!(has_lost(Some(&leader), Some(8), &leader, 9));
        assert!(has_lost(Some(&leader), None, &leader, 9));
        assert!(!has_lost(Some(&leader), Some(9), &leader, 9), "it is there");
        let later = Vote::new(4, 2);
        assert!(!has_lost(Some(&later), Some(8), &leader, 9), "it may have been overwritten");
        let other = Vote::new(3, 1);
        assert!(!has_lost(Some(&other), Some(8), &other, 9), "nobody leads by that");
        assert!(!has_lost(None, None, &leader, 9), "a member that has promised nothing");
    }
}
