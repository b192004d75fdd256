//! What of the log must stay for members that are being sent the whole tree: what comes behind it, until they have it. It
//! does not know how trees are sent, nor how the log is purged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the log stays for a member that makes no progress. As long as a checkpoint stays that nobody reads: a transfer
/// that was broken off goes on within it.
pub(crate) const HOLD_IDLE_MAX: Duration = Duration::from_secs(120);

/// For whom the log of a leader stays.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    /// By member.
    holds: Mutex<BTreeMap<u64, Hold>>,
    /// The highest index up to which the log was to be purged in this life.
    purged: AtomicU64,
}

#[derive(Debug)]
struct Hold {
    /// What comes behind this index must stay.
    index: u64,
    /// Whether a tree is on its way, or is installed.
    is_sending: bool,
    progressed: Instant,
}

/// What the log is about to be purged to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purge {
    /// Up to here if nobody needs it.
    pub usual: u64,
    /// Up to here in any case.
    pub at_least: u64,
}

impl Retention {
    /// A tree that stands at this index is being sent to a member. To try again is no progress.
    pub(crate) fn begin(&self, member: u64, index: u64, now: Instant) {
        let mut holds = self.lock();
        let progressed = holds.get(&member).map_or(now, |hold| hold.progressed);
        holds.insert(member, Hold { index, is_sending: true, progressed });
    }

    /// Some of it has moved.
    pub(crate) fn progressed(&self, member: u64, now: Instant) {
        if let Some(hold) = self.lock().get_mut(&member) {
            hold.progressed = now;
        }
    }

    /// It is installed there: the member gets what comes behind it from the log.
    pub(crate) fn arrived(&self, member: u64, now: Instant) {
        if let Some(hold) = self.lock().get_mut(&member) {
            hold.is_sending = false;
            hold.progressed = now;
        }
    }

    /// A whole tree that stands at this index was installed on this member: openraft has purged the log up to there, and
    /// nobody finds in it what comes behind an older tree.
    pub(crate) fn installed(&self, index: u64) {
        let mut holds = self.lock();
        holds.clear();
        self.purged.fetch_max(index, Ordering::SeqCst);
    }

    /// How far the log may be purged. `matched`: the last index that each member is known to have; none of one that does
    /// not lead, which keeps nothing for others.
    pub(crate) fn purge(
        &self,
        purge: Purge,
        matched: Option<&BTreeMap<u64, Option<u64>>>,
        now: Instant,
    ) -> u64 {
        let mut holds = self.lock();
        holds.retain(|member, hold| {
            let Some(has) = matched.and_then(|all| all.get(member)) else { return false };
            if has.is_some_and(|has| has > hold.index) {
                hold.index = has.unwrap_or(hold.index);
                hold.progressed = now;
            }
            if !hold.is_sending && hold.index >= purge.usual {
                return false;
            }
            let idle = now.saturating_duration_since(hold.progressed);
            let is_given_up = idle >= HOLD_IDLE_MAX || hold.index < purge.at_least;
            if is_given_up {
                tracing::warn!(
                    member,
                    index = hold.index,
                    idle_ms = idle.as_millis(),
                    "the log is not kept any longer for a member that was sent the tree, and may need it anew: it makes no \
                     progress, or the log has become too large, or the disk too full"
                );
            }
            !is_given_up
        });
        let held = holds.values().map(|hold| hold.index).min();
        let upto = held.map_or(purge.usual, |held| held.min(purge.usual));
        self.purged.fetch_max(upto, Ordering::SeqCst);
        upto
    }

    /// Whether a member that gets a tree which stands at this index finds what comes behind it in the log for some time to
    /// come; `None`: it is kept for nobody, and was not purged yet.
    pub(crate) fn is_kept_behind(&self, index: u64) -> Option<bool> {
        // Under the lock: no purge is decided meanwhile.
        let holds = self.lock();
        if index < self.purged.load(Ordering::SeqCst) {
            return Some(false);
        }
        holds.values().any(|hold| hold.index <= index).then_some(true)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Hold>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn usual(usual: u64) -> Purge {
        Purge { usual, at_least: 0 }
    }

    fn matched(of_two: Option<u64>) -> BTreeMap<u64, Option<u64>> {
        BTreeMap::from([(1, Some(1000)), (2, of_two)])
    }

    #[test]
    fn after_a_tree_was_installed_here_nothing_older_is_given_or_kept() {
        let (retention, now) = (Retention::default(), Instant::now());
        retention.begin(2, 500, now);
        assert_eq!(retention.is_kept_behind(500), Some(true));
        retention.installed(700);
        assert_eq!(retention.is_kept_behind(500), Some(false), "its log went with the tree");
        assert_eq!(retention.is_kept_behind(700), None);
        assert_eq!(retention.purge(usual(900), Some(&matched(Some(500))), now), 900);
    }

    #[test]
    fn the_log_stays_until_the_member_has_caught_up_behind_its_tree() {
        let (retention, now) = (Retention::default(), Instant::now());
        assert_eq!(retention.purge(usual(50), Some(&matched(None)), now), 50);
        retention.begin(2, 100, now);
        assert_eq!(retention.purge(usual(90), Some(&matched(None)), now), 90, "less than is held");
        assert_eq!(retention.purge(usual(500), Some(&matched(None)), now), 100);
        retention.arrived(2, now);
        assert_eq!(retention.purge(usual(600), Some(&matched(Some(100))), now), 100);
        assert_eq!(retention.purge(usual(700), Some(&matched(Some(300))), now), 300);
        assert_eq!(retention.purge(usual(800), Some(&matched(Some(900))), now), 800);
        assert_eq!(retention.purge(usual(950), Some(&matched(Some(900))), now), 950, "over");
    }

    #[test]
    fn nothing_stays_for_one_that_makes_no_progress_and_for_nobody_at_a_follower() {
        let (retention, now) = (Retention::default(), Instant::now());
        retention.begin(2, 100, now);
        let later = now + HOLD_IDLE_MAX - SECOND;
        assert_eq!(retention.purge(usual(500), Some(&matched(None)), later), 100);
        retention.progressed(2, later);
        let later = later + HOLD_IDLE_MAX - SECOND;
        assert_eq!(retention.purge(usual(500), Some(&matched(None)), later), 100);
        retention.begin(2, 100, later);
        assert_eq!(retention.purge(usual(500), Some(&matched(None)), later + SECOND), 500);
        retention.begin(2, 600, now);
        assert_eq!(retention.purge(usual(700), None, now), 700);
        retention.begin(3, 750, now);
        assert_eq!(retention.purge(usual(800), Some(&matched(None)), now), 800, "it was removed");
    }

    #[test]
    fn what_must_go_goes_and_a_tree_behind_it_is_of_no_use() {
        let (retention, now) = (Retention::default(), Instant::now());
        retention.begin(2, 100, now);
        assert_eq!(retention.is_kept_behind(100), Some(true));
        assert_eq!(retention.is_kept_behind(99), None);
        let purge = Purge { usual: 500, at_least: 100 };
        assert_eq!(retention.purge(purge, Some(&matched(None)), now), 100);
        let purge = Purge { usual: 500, at_least: 101 };
        assert_eq!(retention.purge(purge, Some(&matched(None)), now), 500);
        assert_eq!(retention.is_kept_behind(499), Some(false));
        assert_eq!(retention.is_kept_behind(500), None);
    }
}
