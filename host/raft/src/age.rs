//! How long ago entries were applied: what history is kept by. It does not know the log. After a restart everything counts as
//! applied just then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Times that are remembered: history stays for up to this part of its time longer than it must.
const SAMPLES_MAX: u32 = 128;

/// When which index was applied.
#[derive(Debug)]
pub(crate) struct Ages {
    keep: Duration,
    /// Oldest first.
    samples: VecDeque<(Instant, u64)>,
    old: Option<u64>,
}

impl Ages {
    /// What was applied so long ago is old.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep, samples: VecDeque::new(), old: None }
    }

    /// Everything up to `applied` is applied now. The last index that is old.
    pub(crate) fn handle_time(&mut self, applied: Option<u64>, now: Instant) -> Option<u64> {
        if let Some(applied) = applied {
            let apart = self.keep / SAMPLES_MAX;
            let last = self.samples.back();
            if last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= apart) {
                self.samples.push_back((now, applied));
            }
        }
        while let Some((at, index)) = self.samples.front()
            && now.saturating_duration_since(*at) >= self.keep
        {
            self.old = Some(*index);
            self.samples.pop_front();
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_old_when_its_time_has_passed_and_few_times_are_remembered() {
        let began = Instant::now();
        let mut ages = Ages::new(Duration::from_secs(600));
        for second in 0..3600 {
            let old = ages.handle_time(Some(10 * second), began + Duration::from_secs(second));
            let oldest_allowed = (second + 1).saturating_sub(600 + 600 / 128 + 2) * 10;
            let newest_allowed = second.checked_sub(600).map(|second| 10 * second);
            assert!(old <= newest_allowed, "{second}: {old:?}");
            assert!(old.unwrap_or(0) >= oldest_allowed, "{second}: {old:?}");
            assert!(ages.samples.len() <= SAMPLES_MAX as usize + 1);
        }
    }

    #[test]
    fn without_a_time_everything_is_old_at_once() {
        let mut ages = Ages::new(Duration::ZERO);
        assert_eq!(ages.handle_time(None, Instant::now()), None);
        assert_eq!(ages.handle_time(Some(7), Instant::now()), Some(7));
    }
}
