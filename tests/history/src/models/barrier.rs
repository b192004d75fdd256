//! A simple barrier: set and lifted by somebody, passed by whoever finds it lifted.

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Barrier;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarrierCall {
    /// Sets it; answers whether it was lifted before.
    Set,
    /// Lifts it; answers whether it was set before.
    Lift,
    /// Answers whether it is set.
    IsSet,
    /// Passes it if it is lifted.
    TryWait,
    /// Waits until it is lifted.
    Wait,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BarrierAnswer {
    /// Yes or no.
    Is(bool),
    /// It was lifted.
    Passed,
    /// It was set.
    Stopped,
}

impl Model for Barrier {
    /// Whether it is set.
    type State = bool;
    type Input = BarrierCall;
    type Output = BarrierAnswer;

    fn initial(&self) -> bool {
        false
    }

    fn step(
        &self,
        is_set: &bool,
        input: &BarrierCall,
        output: Option<&BarrierAnswer>,
    ) -> Option<bool> {
        let (answer, next) = match (input, *is_set) {
            (BarrierCall::Set, before) => (BarrierAnswer::Is(!before), true),
            (BarrierCall::Lift, before) => (BarrierAnswer::Is(before), false),
            (BarrierCall::IsSet, now) => (BarrierAnswer::Is(now), now),
            (BarrierCall::TryWait | BarrierCall::Wait, false) => (BarrierAnswer::Passed, false),
            (BarrierCall::TryWait, true) => (BarrierAnswer::Stopped, true),
            (BarrierCall::Wait, true) => return None,
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }
}
