//! A place in the log, in our own words. It does not know what stands there.

use std::fmt;

use quorate_core::ids::Term;

/// A place in the log: an index, and the term of the leader that put an entry there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The term in which the entry was appended.
    pub term: Term,
    /// Dense from 0: the entry that makes the cluster.
    pub index: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}
