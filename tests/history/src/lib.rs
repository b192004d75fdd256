//! Checks histories of concurrent operations for linearizability: each operation seems to take effect at one moment between
//! its call and its return, in the order of one sequential object. Knows nothing of the service: who records a history and
//! what the object is are the caller's.
//!
//! The algorithm is that of Wing and Gong (1993) with the memory of states of Lowe ("Testing for linearizability", 2017):
//! a depth-first search for an order, which never visits a set of operations and the state they lead to twice.

mod check;
mod history;
pub mod models;

pub use check::{Budget, Stuck, Verdict, check};
pub use history::{History, Operation, Ticket};

use std::fmt::Debug;
use std::hash::Hash;

/// A sequential object: what each operation answers in which state.
pub trait Model {
    /// What the object holds.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Input: Clone + Debug;
    /// What it answers.
    type Output: Clone + Debug;

    /// What it holds at first.
    fn initial(&self) -> Self::State;

    /// The state after this operation, if the object may answer so in this state. `None` for the answer stands for one that
    /// was never seen: every answer is possible then.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;
}
