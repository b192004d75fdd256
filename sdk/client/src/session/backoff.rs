//! Delays that grow and are never twice the same. It does not know what is retried, nor the clock.

/// Exponential delays between two bounds, each cut by up to a half at random, so that many clients do not come in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first_ms: u64,
    max_ms: u64,
    attempts: u32,
    jitter: Jitter,
}

/// Random numbers that are good enough for delays.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        // Xorshift stays at 0 for ever.
        Self(seed | 1)
    }

    /// A number up to and including this one.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.saturating_add(1)
    }
}

impl Backoff {
    pub(crate) fn new(first_ms: u64, max_ms: u64, seed: u64) -> Self {
        Self { first_ms, max_ms, attempts: 0, jitter: Jitter::new(seed) }
    }

    /// The next delay, in milliseconds: between a half of it and the whole.
    pub(crate) fn next_ms(&mut self) -> u64 {
        let attempts = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        self.after_ms(attempts)
    }

    /// The delay after so many others, of something that counts them itself.
    pub(crate) fn after_ms(&mut self, attempts: u32) -> u64 {
        let doublings = attempts.min(32);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.max_ms);
        whole - self.jitter.up_to(whole / 2)
    }

    /// The first retry comes at once, later ones after a delay: for refusals that say "resend now".
    pub(crate) fn next_after_first_ms(&mut self) -> u64 {
        if self.attempts == 0 {
            self.attempts = 1;
            return 0;
        }
        self.next_ms()
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_stay_there() {
        let mut backoff = Backoff::new(10, 500, 7);
        for attempt in 0..100 {
            let whole = 10_u64.saturating_mul(1 << attempt.min(20)).min(500);
            let delay = backoff.next_ms();
            assert!((whole / 2..=whole).contains(&delay), "{delay} at attempt {attempt}");
        }
        backoff.reset();
        assert_eq!(backoff.next_after_first_ms(), 0);
        assert!(backoff.next_after_first_ms() >= 10);
    }
}
