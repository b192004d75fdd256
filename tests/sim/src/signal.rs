//! A counter that tasks wait on: whoever waits for it to move is woken, in order. It knows nothing of what it counts.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A counter that tasks wait on.
#[derive(Debug, Default)]
pub struct Signal {
    count: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Signal {
    /// How often it was rung.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Wakes all that wait.
    pub fn ring(&self) {
        self.count.set(self.count.get() + 1);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// Returns when it was rung more often than this.
    pub async fn after(&self, seen: u64) {
        poll_fn(|context| {
            if self.count.get() > seen {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
