//! Invariant 7: what clients saw of each object can be put in an order in which each operation takes effect between its
//! call and its return (tests/history does the search).

use std::collections::BTreeMap;

use quorate_history::models::{Counter, CounterCall, Queue, QueueAnswer, QueueCall};
use quorate_history::models::{Znode, ZnodeAnswer, ZnodeCall};
use quorate_history::{Budget, History, Model, Ticket, Verdict, check};

use super::Invariant;
use super::event::{Answered, Event, Question};

/// States that one object's search may visit.
const STATES_MAX: usize = 200_000;

/// The histories of all objects.
#[derive(Default)]
pub struct Linearizable {
    counters: BTreeMap<String, History<CounterCall, i64>>,
    znodes: BTreeMap<String, History<ZnodeCall, ZnodeAnswer>>,
    queues: BTreeMap<String, History<QueueCall, QueueAnswer>>,
    open: BTreeMap<u64, (String, Ticket)>,
    /// Objects whose search took too many states: nothing is known of them.
    gave_up: usize,
}

impl Linearizable {
    /// Objects whose search took too many states.
    #[must_use]
    pub fn gave_up_count(&self) -> usize {
        self.gave_up
    }

    fn called(&mut self, operation: u64, object: &str, question: &Question) {
        let name = object.to_owned();
        let ticket = match question {
            Question::Counter(call) => self.counters.entry(name.clone()).or_default().call(*call),
            Question::Znode(call) => {
                self.znodes.entry(name.clone()).or_default().call(call.clone())
            }
            Question::Queue(call) => {
                self.queues.entry(name.clone()).or_default().call(call.clone())
            }
        };
        self.open.insert(operation, (name, ticket));
    }

    fn returned(&mut self, operation: u64, answer: &Answered) -> Result<(), String> {
        let Some((name, ticket)) = self.open.remove(&operation) else {
            return Err(format!("operation {operation} returns and was not called"));
        };
        match answer {
            Answered::Counter(value) => {
                self.counters.entry(name).or_default().returned(ticket, *value);
            }
            Answered::Znode(answer) => {
                self.znodes.entry(name).or_default().returned(ticket, answer.clone());
            }
            Answered::Queue(answer) => {
                self.queues.entry(name).or_default().returned(ticket, answer.clone());
            }
            Answered::NotAsked => {
                if let Some(history) = self.counters.get_mut(&name) {
                    history.refused(&ticket);
                } else if let Some(history) = self.znodes.get_mut(&name) {
                    history.refused(&ticket);
                } else if let Some(history) = self.queues.get_mut(&name) {
                    history.refused(&ticket);
                }
            }
        }
        Ok(())
    }
}

/// Whether something is known of this object.
fn verdict<M>(name: &str, model: &M, history: &History<M::Input, M::Output>) -> Result<bool, String>
where
    M: Model,
{
    match check(model, history, Budget { states_max: STATES_MAX }) {
        Verdict::NotLinearizable(stuck) => Err(format!("{name}: {stuck}")),
        Verdict::Linearizable(_) => Ok(true),
        Verdict::GaveUp => Ok(false),
    }
}

impl Invariant for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn see(&mut self, event: &Event, _at_ns: u64) -> Result<(), String> {
        match event {
            Event::Called { operation, object, question } => {
                self.called(*operation, object, question);
                Ok(())
            }
            Event::Returned { operation, answer } => self.returned(*operation, answer),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        for (name, history) in &self.counters {
            self.gave_up += usize::from(!verdict(name, &Counter, history)?);
        }
        for (name, history) in &self.znodes {
            self.gave_up += usize::from(!verdict(name, &Znode, history)?);
        }
        for (name, history) in &self.queues {
            self.gave_up += usize::from(!verdict(name, &Queue, history)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(operation: u64, call: CounterCall) -> Event {
        let question = Question::Counter(call);
        Event::Called { operation, object: "/c".to_owned(), question }
    }

    fn returned(operation: u64, value: i64) -> Event {
        Event::Returned { operation, answer: Answered::Counter(value) }
    }

    fn verdict_of(events: &[Event]) -> Result<(), String> {
        let mut linearizable = Linearizable::default();
        for event in events {
            linearizable.see(event, 0)?;
        }
        linearizable.finish()
    }

    #[test]
    fn a_read_that_misses_an_acknowledged_write_is_seen() {
        let before = [called(1, CounterCall::Add(1)), returned(1, 1), called(2, CounterCall::Get)];
        let fresh = [&before[..], &[returned(2, 1)]].concat();
        assert_eq!(verdict_of(&fresh), Ok(()));
        let stale = [&before[..], &[returned(2, 0)]].concat();
        assert!(verdict_of(&stale).is_err());
    }

    #[test]
    fn an_addition_that_is_lost_is_seen() {
        let events = [
            called(1, CounterCall::Add(1)),
            returned(1, 1),
            called(2, CounterCall::Add(1)),
            returned(2, 1),
        ];
        assert!(verdict_of(&events).is_err());
    }

    #[test]
    fn what_was_not_asked_after_all_is_no_constraint() {
        let not_asked = Event::Returned { operation: 1, answer: Answered::NotAsked };
        let events = [
            called(1, CounterCall::Add(1)),
            not_asked,
            called(2, CounterCall::Get),
            returned(2, 0),
        ];
        assert_eq!(verdict_of(&events), Ok(()));
    }
}
