//! Memory that the queues of many lanes share, beyond the part that each has to itself. It does not
//! know whose lanes they are.
//!
//! So a bound for all of them together can be far below the sum of their own limits. Peers that do not
//! read can hold all of it, until they are cut; the others then have their own parts alone, and a frame
//! that is longer than that ends their lane, or waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::lane::LaneError;

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

    pub(crate) fn lend(&self, bytes: usize) -> Result<(), LaneError> {
        let bytes_max = self.0.bytes_max;
        self.0
            .lent
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |lent| {
                lent.checked_add(bytes).filter(|sum| *sum <= bytes_max)
            })
            .map(|_before| ())
            .map_err(|_| LaneError::BudgetSpent { bytes_max })
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.lent.fetch_sub(bytes, Ordering::AcqRel);
        self.0.returned.notify_waiters();
    }
}
