//! Who returns from a partition deposes nobody: while a majority hears its leader, no member stands for election (pre-vote,
//! DESIGN D15). Not a matter of safety, but a cluster whose leader falls with every hiccup of a follower serves nobody.

use super::Invariant;
use super::event::Event;

/// Milliseconds after which a majority that hears its leader has refused every pre-vote: whatever was granted before has
/// been answered or given up, and no message of that time is under way.
const STEADY_MS: u64 = 2_000;

/// Nothing needs to be kept.
#[derive(Default)]
pub struct Steady;

impl Invariant for Steady {
    fn name(&self) -> &'static str {
        "steady"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Stands { member, term, heard_ms } if *heard_ms >= STEADY_MS => Err(format!(
                "member {member} stands for election in term {term}, and a majority has heard \
                 its leader for {heard_ms} ms"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::Term;

    use super::*;

    #[test]
    fn an_election_against_a_leader_that_is_heard_is_seen() {
        let stands = |heard_ms| Event::Stands { member: 3, term: Term(7), heard_ms };
        assert_eq!(Steady.see(&stands(0), 0), Ok(()));
        assert_eq!(Steady.see(&stands(STEADY_MS - 1), 0), Ok(()));
        assert!(Steady.see(&stands(STEADY_MS), 0).is_err());
    }
}
