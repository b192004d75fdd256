//! A deposed leader confirms no heartbeat (DESIGN D11): what it heard after another leader began to count says nothing
//! about the sessions of that one.

use std::collections::BTreeMap;

use quorate_core::ids::Term;

use super::Invariant;
use super::event::Event;

/// When each leader began to count.
#[derive(Default)]
pub struct Heartbeats {
    ready_ns: BTreeMap<Term, u64>,
}

impl Invariant for Heartbeats {
    fn name(&self) -> &'static str {
        "heartbeats"
    }

    fn see(&mut self, event: &Event, at_ns: u64) -> Result<(), String> {
        match event {
            Event::Ready { term, .. } => {
                self.ready_ns.entry(*term).or_insert(at_ns);
                Ok(())
            }
            Event::Confirmed { term, session, heard_ns } => {
                let later = self.ready_ns.range(term.next()..);
                for (other, ready_ns) in later {
                    if ready_ns < heard_ns {
                        return Err(format!(
                            "the leader of term {term} confirms session {session} for a heartbeat \
                             that it heard {} us after that of term {other} began to count",
                            (heard_ns - ready_ns) / 1_000
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::ids::SessionId;

    use super::*;

    #[test]
    fn a_confirmation_by_a_deposed_leader_is_seen() {
        let mut heartbeats = Heartbeats::default();
        let confirmed =
            |heard_ns| Event::Confirmed { term: Term(1), session: SessionId(1), heard_ns };
        assert_eq!(heartbeats.see(&Event::Ready { term: Term(1), member: 1 }, 100), Ok(()));
        assert_eq!(heartbeats.see(&confirmed(150), 160), Ok(()));
        assert_eq!(heartbeats.see(&Event::Ready { term: Term(2), member: 2 }, 200), Ok(()));
        assert_eq!(heartbeats.see(&confirmed(190), 250), Ok(()), "heard before");
        assert!(heartbeats.see(&confirmed(210), 250).is_err());
    }
}
