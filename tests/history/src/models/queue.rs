//! A queue: first in, first out.

use std::collections::VecDeque;

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueCall {
    /// Puts an item at the end.
    Offer(u64),
    /// Takes the first item, if there is one.
    TryTake,
    /// Waits for an item and takes it.
    Take,
    /// How many there are.
    Length,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueAnswer {
    /// It is in.
    Offered,
    /// The item.
    Item(u64),
    /// There is none.
    Empty,
    /// How many.
    Length(usize),
}

impl Model for Queue {
    type State = VecDeque<u64>;
    type Input = QueueCall;
    type Output = QueueAnswer;

    fn initial(&self) -> VecDeque<u64> {
        VecDeque::new()
    }

    fn step(
        &self,
        state: &VecDeque<u64>,
        input: &QueueCall,
        output: Option<&QueueAnswer>,
    ) -> Option<VecDeque<u64>> {
        let mut next = state.clone();
        let answer = match input {
            QueueCall::Offer(item) => {
                next.push_back(*item);
                QueueAnswer::Offered
            }
            QueueCall::Length => QueueAnswer::Length(next.len()),
            QueueCall::Take | QueueCall::TryTake => match (next.pop_front(), input) {
                (Some(item), _) => QueueAnswer::Item(item),
                (None, QueueCall::TryTake) => QueueAnswer::Empty,
                (None, _) => return None,
            },
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }
}
