//! A register, and random steps of three threads on it: what our checker is compared on with others. It does not know them.

use proptest::prelude::*;
use quorate_history::Model;

/// A register that holds a small number.
pub struct Register;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Write(u8),
    Read,
}

impl Model for Register {
    type State = u8;
    type Input = Call;
    /// What was read; of a write, anything.
    type Output = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, input: &Call, output: Option<&u8>) -> Option<u8> {
        match input {
            Call::Write(value) => Some(*value),
            Call::Read => output.is_none_or(|read| read == state).then_some(*state),
        }
    }
}

/// One thread's step: it calls if it waits for nothing, else it returns this.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub thread: usize,
    pub is_read: bool,
    pub value: u8,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3usize, any::<bool>(), 0..3u8);
    let step = step.prop_map(|(thread, is_read, value)| Step { thread, is_read, value });
    proptest::collection::vec(step, 0..14)
}
