//! What other members have acknowledged to this leader: a log that has become shorter since was rolled back (an older copy
//! of its directory), and must not count again as if nothing had happened. It does not know how they are asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use openraft::raft::{StreamAppendError, StreamAppendResult};
use quorate_core::ids::Term;

use crate::types::{TypeConfig, Vote};

/// The highest index that each member has acknowledged as durable, under the last leadership of this member in which it
/// did.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    members: Mutex<HashMap<u64, (Term, u64)>>,
    /// What was said of members that were found to have lost entries; until they leave.
    reverted: Mutex<BTreeMap<u64, String>>,
}

impl Acknowledged {
    /// Takes note of what a member answered to this leader.
    ///
    /// # Errors
    /// If the member says that it does not have what it has acknowledged in the same term: nobody has overwritten it.
    pub(crate) fn note(
        &self,
        member: u64,
        leader: &Vote,
        answer: &StreamAppendResult<TypeConfig>,
    ) -> Result<(), String> {
        let term = Term(leader.leader_id.term);
        let mut members = lock(&self.members);
        match answer {
            Ok(Some(last)) => {
                let (known_term, index) = members.entry(member).or_insert((term, last.index));
                *index = if *known_term == term { last.index.max(*index) } else { last.index };
                *known_term = term;
                Ok(())
            }
            Err(StreamAppendError::Conflict(at)) => match members.get(&member) {
                Some((known, index)) if *known == term && at.index <= *index => {
                    let why = reverted(member, at.index, *index);
                    let told = lock(&self.reverted).insert(member, why.clone());
                    if told.as_ref() != Some(&why) {
                        tracing::error!(member, why, "a member is refused");
                    }
                    Err(why)
                }
                _ => Ok(()),
            },
            Ok(None) | Err(StreamAppendError::HigherVote(_)) => Ok(()),
        }
    }

    /// The index that a member has acknowledged under this term.
    pub(crate) fn of(&self, member: u64, term: Term) -> Option<u64> {
        let members = lock(&self.members);
        members.get(&member).filter(|(known, _)| *known == term).map(|(_, index)| *index)
    }

    /// Forgets members that left: their numbers are not used again, but a map should not grow.
    pub(crate) fn forget(&self, member: u64) {
        lock(&self.members).remove(&member);
        lock(&self.reverted).remove(&member);
    }

    /// Members that were found to have lost entries, with a sentence for people.
    pub(crate) fn reverted(&self) -> BTreeMap<u64, String> {
        lock(&self.reverted).clone()
    }
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

    fn at(term: u64, index: u64) -> crate::types::LogId {
        log_id(Position { term: Term(term), index })
    }

    #[test]
    fn a_log_that_became_shorter_under_one_leader_is_refused() {
        let acknowledged = Acknowledged::default();
        let leader = Vote::new_committed(3, 1);
        assert_eq!(acknowledged.note(2, &leader, &Ok(Some(at(3, 9)))), Ok(()));
        assert_eq!(acknowledged.note(2, &leader, &Ok(Some(at(3, 7)))), Ok(()), "a late answer");
        let conflict = Err(StreamAppendError::Conflict(at(3, 9)));
        assert!(acknowledged.note(2, &leader, &conflict).is_err());
        assert_eq!(acknowledged.of(2, Term(3)), Some(9));
        assert_eq!(acknowledged.of(2, Term(4)), None);
    }

    #[test]
    fn another_leader_may_have_overwritten_it_in_between() {
        let acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.note(2, &Vote::new_committed(3, 1), &Ok(Some(at(3, 9)))), Ok(()));
        let conflict = Err(StreamAppendError::Conflict(at(3, 9)));
        assert_eq!(acknowledged.note(2, &Vote::new_committed(5, 1), &conflict), Ok(()));
        assert_eq!(acknowledged.note(2, &Vote::new_committed(5, 1), &Ok(Some(at(4, 8)))), Ok(()));
        assert_eq!(acknowledged.of(2, Term(5)), Some(8));
    }
}
