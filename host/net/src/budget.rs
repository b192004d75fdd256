//! Memory that the queues of many lanes share, beyond the part that each has to itself. It does not
//! know whose lanes they are.
//!
//! So a bound for all of them together can be far below the sum of their own limits. No lane may hold
//! more than a part of what is left, so peers that do not read, however many, leave something to the
//! others: each one less, and none the last byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::lane::LaneError;
use crate::limits::BUDGET_SHARE_DIVISOR;

/// A budget of bytes. Cheap to clone; all clones are the same budget.
#[derive(Debug, Clone)]
pub struct QueueBudget(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    bytes_max: usize,
    lent: AtomicUsize,
    /// Told whenever bytes came back.
    pub(crate) returned: Notify,
}

impl QueueBudget {
    /// Nothing is lent yet.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Shared { bytes_max, lent: AtomicUsize::new(0), returned: Notify::new() }))
    }

    /// Bytes that lanes hold of it at this moment.
    #[must_use]
    pub fn lent_bytes(&self) -> usize {
        self.0.lent.load(Ordering::Relaxed)
    }

    /// Lends so many bytes more to a lane that holds so many already, if all that it holds then is at
    /// most what is left, divided by [`BUDGET_SHARE_DIVISOR`].
    pub(crate) fn lend(&self, held: usize, more: usize) -> Result<(), LaneError> {
        let bytes_max = self.0.bytes_max;
        let share = |lent: usize| {
            let sum = lent.checked_add(more)?;
            let left = bytes_max.checked_sub(sum)?;
            (held + more <= left / BUDGET_SHARE_DIVISOR).then_some(sum)
        };
        self.0
            .lent
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, share)
            .map(|_before| ())
            .map_err(|lent| LaneError::BudgetSpent { lent, bytes_max })
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.lent.fetch_sub(bytes, Ordering::AcqRel);
        self.0.returned.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Takes pieces for a lane until there are no more, or it has so many bytes; how many it has.
    fn fill(budget: &QueueBudget, bytes_max: usize) -> usize {
        let piece = 16 * 1024;
        let mut held = 0;
        while held < bytes_max && budget.lend(held, piece).is_ok() {
            held += piece;
        }
        held
    }

    #[test]
    fn thirty_lanes_that_nobody_reads_leave_room_for_the_largest_reply_of_another() {
        let budget = QueueBudget::new(256 * MIB);
        let held: Vec<usize> = (0..30).map(|_| fill(&budget, 16 * MIB)).collect();
        assert!(held[0] >= 15 * MIB, "one alone has nearly all that a lane may have");
        assert!(held.is_sorted_by(|before, after| before >= after), "{held:?}");
        assert_eq!(budget.lend(0, 2 * MIB), Ok(()), "{held:?}");
        assert!(budget.lent_bytes() < 256 * MIB);
    }

    #[test]
    fn what_comes_back_can_be_had_again() {
        let budget = QueueBudget::new(17 * MIB);
        assert_eq!(fill(&budget, usize::MAX), MIB, "as much as is left, divided");
        let refused = budget.lend(MIB, 1);
        assert_eq!(refused, Err(LaneError::BudgetSpent { lent: MIB, bytes_max: 17 * MIB }));
        budget.give_back(MIB);
        assert_eq!(budget.lent_bytes(), 0);
        assert_eq!(budget.lend(0, MIB), Ok(()));
        assert!(budget.lend(0, usize::MAX).is_err(), "no sum overflows");
    }
}
