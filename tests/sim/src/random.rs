//! The one source of chance: a generator of numbers from a seed. It knows nothing of what is decided with them.

use std::cell::Cell;

/// splitmix64: small, and the same everywhere for ever. Shared by reference.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// A stream of its own for each seed and purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        let random = Self(Cell::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ purpose));
        random.next();
        random
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below the bound; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// From the first to the last, both included.
    pub fn within(&self, first: u64, last: u64) -> u64 {
        first + self.below(last.saturating_sub(first) + 1)
    }

    /// True once in so many times.
    pub fn one_in(&self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// One of these; none if there are none.
    pub fn pick<'a, T>(&self, among: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(among.len() as u64)).unwrap_or(0);
        among.get(at)
    }
}
