//! Random decisions that a seed repeats (SplitMix64). It does not know what is decided.

use std::time::Duration;

/// A sequence of decisions.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True in so many of 1000 cases.
    pub(crate) fn happens(&mut self, per_mille: u16) -> bool {
        self.next() % 1000 < u64::from(per_mille)
    }

    /// From nothing up to `span`.
    pub(crate) fn part_of(&mut self, span: Duration) -> Duration {
        let part = u32::try_from(self.next() % 1024).unwrap_or(0);
        span * part / 1023
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_decisions_and_another_does_not() {
        let decide = |seed| {
            let mut chance = Chance::new(seed);
            (0..1000).map(|_| chance.happens(500)).collect::<Vec<bool>>()
        };
        assert_eq!(decide(1), decide(1));
        assert_ne!(decide(1), decide(2));
    }

    #[test]
    fn decisions_are_about_as_frequent_as_asked_for() {
        let mut chance = Chance::new(7);
        let count = (0..100_000).filter(|_| chance.happens(200)).count();
        assert!((19_000..21_000).contains(&count), "{count}");
        assert!((0..1000).all(|_| chance.happens(1000) && !chance.happens(0)));
        let span = Duration::from_millis(10);
        let parts: Vec<Duration> = (0..1000).map(|_| chance.part_of(span)).collect();
        assert!(parts.iter().all(|part| *part <= span));
        assert!(
            parts.iter().any(|part| *part > span / 2) && parts.iter().any(|part| *part < span / 2)
        );
    }
}
