//! Trips recipes that keep running over their limits, so that they do not hold up everything else (DESIGN D8). It counts in
//! transaction time and has no clock.

use std::collections::{BTreeMap, VecDeque};

use quorate_core::deployment::ComponentDigest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Millis;

use crate::limits::{TRIP_MS, TRIP_RUNS, TRIP_WINDOW_MS};

/// The runs over a limit, by component.
#[derive(Default)]
pub(crate) struct Breaker {
    components: BTreeMap<ComponentDigest, Record>,
}

#[derive(Default)]
struct Record {
    over_limit: VecDeque<Millis>,
    tripped_until: Option<Millis>,
    why: String,
}

impl Breaker {
    /// Whether the component may run.
    ///
    /// # Errors
    /// `recipe-tripped`, with the last reason.
    pub(crate) fn check(&mut self, digest: &ComponentDigest, now: Millis) -> Result<(), Refusal> {
        let Some(record) = self.components.get(digest) else { return Ok(()) };
        let Some(until) = record.tripped_until else { return Ok(()) };
        if now >= until {
            self.components.remove(digest);
            return Ok(());
        }
        let message = format!(
            "{TRIP_RUNS} runs within {TRIP_WINDOW_MS} ms passed a limit; calls are refused for another {} ms. The last one: {}",
            until.0 - now.0,
            record.why
        );
        Err(Refusal::new(ErrorCode::RecipeTripped, message))
    }

    /// A run passed a limit. Whether this trips the recipe.
    pub(crate) fn note(&mut self, digest: &ComponentDigest, now: Millis, why: &str) -> bool {
        let record = self.components.entry(*digest).or_default();
        let too_old = |at: &Millis| at.plus(TRIP_WINDOW_MS) <= now;
        while record.over_limit.front().is_some_and(too_old) {
            record.over_limit.pop_front();
        }
        record.over_limit.push_back(now);
        let trips = record.over_limit.len() >= TRIP_RUNS;
        if trips {
            record.over_limit.clear();
            record.tripped_until = Some(now.plus(TRIP_MS));
            why.clone_into(&mut record.why);
        }
        trips
    }

    /// Forgets what a component did.
    pub(crate) fn reset(&mut self, digest: &ComponentDigest) {
        self.components.remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: ComponentDigest = [7; 32];

    #[test]
    fn runs_over_a_limit_trip_within_the_window_only() {
        let mut breaker = Breaker::default();
        for run in 0..3 * TRIP_RUNS as u64 {
            let spaced = Millis(run * (TRIP_WINDOW_MS / (TRIP_RUNS as u64 - 1) + 1));
            assert!(!breaker.note(&RECIPE, spaced, "time"));
        }
        let mut breaker = Breaker::default();
        for run in 1..TRIP_RUNS as u64 {
            assert!(!breaker.note(&RECIPE, Millis(run), "time"));
        }
        assert_eq!(breaker.check(&RECIPE, Millis(50)), Ok(()));
        assert!(breaker.note(&RECIPE, Millis(50), "time"));
        let refusal = breaker.check(&RECIPE, Millis(51)).expect_err("tripped");
        assert_eq!(refusal.code, ErrorCode::RecipeTripped);
        assert_eq!(breaker.check(&[8; 32], Millis(51)), Ok(()));
        assert_eq!(breaker.check(&RECIPE, Millis(50 + TRIP_MS)), Ok(()));
    }

    #[test]
    fn an_operator_can_reset_a_tripped_recipe() {
        let mut breaker = Breaker::default();
        (0..TRIP_RUNS).for_each(|_| {
            breaker.note(&RECIPE, Millis(1), "time");
        });
        assert!(breaker.check(&RECIPE, Millis(2)).is_err());
        breaker.reset(&RECIPE);
        assert_eq!(breaker.check(&RECIPE, Millis(2)), Ok(()));
    }
}
