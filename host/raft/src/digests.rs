//! Digests of this member's tree at certain places of the log, for comparison with other members: equal places must have equal
//! digests (DESIGN section 4, invariant 1). It does not know how they are exchanged.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A digest is kept at every index that is a multiple of this: batches of the tree end there on every member.
pub const EVERY: u64 = 64;
/// Digests kept: members that lag by less than this many times [`EVERY`] entries can be compared.
const KEPT_MAX: usize = 512;

/// Whether a batch of the tree ends with this index.
pub(crate) fn is_point(index: u64) -> bool {
    index.is_multiple_of(EVERY)
}

/// The last digests, by index.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<VecDeque<(u64, u128)>>);

impl Digests {
    /// Keeps the digest at an index behind all that are kept.
    pub(crate) fn push(&self, index: u64, digest: u128) {
        let mut kept = self.lock();
        kept.push_back((index, digest));
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }

    /// All that are kept, oldest first.
    pub(crate) fn all(&self) -> Vec<(u64, u128)> {
        self.lock().iter().copied().collect()
    }

    /// Forgets all: the tree was replaced.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, u128)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
