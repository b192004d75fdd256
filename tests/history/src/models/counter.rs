//! A counter: `add` answers the sum after it.

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CounterCall {
    /// Adds, and answers the sum.
    Add(i64),
    /// Answers the sum.
    Get,
}

impl Model for Counter {
    type State = i64;
    type Input = CounterCall;
    type Output = i64;

    fn initial(&self) -> i64 {
        0
    }

    fn step(&self, state: &i64, input: &CounterCall, output: Option<&i64>) -> Option<i64> {
        let next = match input {
            CounterCall::Add(by) => state + by,
            CounterCall::Get => *state,
        };
        output.is_none_or(|output| *output == next).then_some(next)
    }
}
