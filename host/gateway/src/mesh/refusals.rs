//! How often it is said that a member is refused: at once, and then at growing intervals, for each reason. It does not know why
//! members are refused.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The first interval in which the same is not said again, doubled each time, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Reasons that are remembered. They come from others: the one that was to be said again first is forgotten for a new one.
const REASONS_MAX: usize = 64;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<String, Said>);

#[derive(Debug)]
struct Said {
    again: Instant,
    pause: Duration,
    /// How often it was kept back since.
    kept_back: u64,
}

impl Refusals {
    /// Whether this is to be said now; how often it was not since the last time.
    pub(super) fn say(&mut self, why: &str, now: Instant) -> Option<u64> {
        if let Some(said) = self.0.get_mut(why) {
            if now < said.again {
                said.kept_back += 1;
                return None;
            }
            // Nobody was refused for this reason for long: it begins anew.
            let is_long_ago = now.duration_since(said.again) > said.pause;
            let pause = if is_long_ago { PAUSE_FIRST } else { (said.pause * 2).min(PAUSE_MAX) };
            let kept_back = said.kept_back;
            *said = Said { again: now + pause, pause, kept_back: 0 };
            return Some(kept_back);
        }
        if self.0.len() >= REASONS_MAX {
            let first = self.0.iter().min_by_key(|(_, said)| said.again);
            if let Some(first) = first.map(|(why, _)| why.clone()) {
                self.0.remove(&first);
            }
        }
        let said = Said { again: now + PAUSE_FIRST, pause: PAUSE_FIRST, kept_back: 0 };
        self.0.insert(why.to_owned(), said);
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_and_then_at_growing_intervals() {
        let (mut refusals, begin) = (Refusals::default(), Instant::now());
        // Refused every second for two hours.
        let said: Vec<(u64, u64)> = (0..7200)
            .filter_map(|second| {
                let now = begin + Duration::from_secs(second);
                Some((second, refusals.say("an older copy", now)?))
            })
            .collect();
        assert_eq!(said[..4], [(0, 0), (10, 9), (30, 19), (70, 39)]);
        assert!(said.len() < 18, "{said:?}");
        assert_eq!(refusals.say("another cluster", begin), Some(0), "another reason");
        // It begins anew when it has not happened for long.
        let later = begin + Duration::from_secs(20_000);
        assert_eq!(refusals.say("an older copy", later).map(|_| ()), Some(()));
        assert!(refusals.say("an older copy", later + PAUSE_FIRST).is_some());
    }

    #[test]
    fn reasons_of_others_take_no_more_than_so_much_room() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..1000 {
            assert_eq!(refusals.say(&number.to_string(), now), Some(0));
        }
        assert_eq!(refusals.0.len(), REASONS_MAX);
    }
}
