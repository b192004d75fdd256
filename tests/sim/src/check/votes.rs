//! What raft rests on: a member grants its vote to one candidate a term, also across crashes, and a term has one leader.

use std::collections::BTreeMap;

use quorate_core::ids::Term;

use super::Invariant;
use super::event::Event;

/// Who got which vote.
#[derive(Default)]
pub struct Votes {
    granted: BTreeMap<(u64, Term), u64>,
    leaders: BTreeMap<Term, u64>,
}

impl Invariant for Votes {
    fn name(&self) -> &'static str {
        "votes"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Granted { voter, term, candidate } => {
                let before = *self.granted.entry((*voter, *term)).or_insert(*candidate);
                if before == *candidate {
                    return Ok(());
                }
                Err(format!("member {voter} votes for {before} and {candidate} in term {term}"))
            }
            Event::Ready { term, member } => {
                let before = *self.leaders.entry(*term).or_insert(*member);
                if before == *member {
                    return Ok(());
                }
                Err(format!("members {before} and {member} lead in term {term}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_vote_in_one_term_is_seen() {
        let mut votes = Votes::default();
        let granted = |term, candidate| Event::Granted { voter: 1, term: Term(term), candidate };
        assert_eq!(votes.see(&granted(4, 2), 0), Ok(()));
        assert_eq!(votes.see(&granted(4, 2), 0), Ok(()));
        assert_eq!(votes.see(&granted(5, 3), 0), Ok(()));
        assert!(votes.see(&granted(4, 3), 0).is_err());
    }

    #[test]
    fn a_second_leader_in_one_term_is_seen() {
        let mut votes = Votes::default();
        let ready = |member| Event::Ready { term: Term(4), member };
        assert_eq!(votes.see(&ready(1), 0), Ok(()));
        assert!(votes.see(&ready(2), 0).is_err());
    }
}
