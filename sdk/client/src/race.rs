//! Connecting to whichever of several members answers first. It begins with one after the other, a moment apart, and does not
//! know what connections are for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quorate_net::Connection;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dial::Reach;

/// What came of one address.
pub(crate) type Raced = (String, Result<Connection, String>);

/// Attempts under way. Dropped, they are given up.
pub(crate) struct Race {
    reach: Arc<Reach>,
    waiting: VecDeque<String>,
    under_way: JoinSet<Raced>,
    next_start: Instant,
    stagger: Duration,
    patience: Duration,
}

impl Race {
    /// Between these addresses, in this order. The next one is tried when `stagger` has passed or one has failed, each for no
    /// longer than `patience`, so there are never more under way than the one fits into the other.
    pub(crate) fn new(
        reach: Arc<Reach>,
        addresses: Vec<String>,
        stagger: Duration,
        patience: Duration,
    ) -> Self {
        let (waiting, under_way) = (addresses.into(), JoinSet::new());
        Self { reach, waiting, under_way, next_start: Instant::now(), stagger, patience }
    }

    /// What comes of the next one; none when something has come of each. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Raced> {
        loop {
            if self.under_way.is_empty() || Instant::now() >= self.next_start {
                self.start_next();
            }
            if self.under_way.is_empty() {
                return None;
            }
            tokio::select! {
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok(raced) => {
                        if raced.1.is_err() {
                            self.next_start = Instant::now();
                        }
                        return Some(raced);
                    }
                    Err(error) => tracing::error!(%error, "an attempt to connect failed"),
                },
                () = tokio::time::sleep_until(self.next_start), if !self.waiting.is_empty() => {}
            }
        }
    }

    fn start_next(&mut self) {
        let Some(address) = self.waiting.pop_front() else { return };
        let (reach, patience) = (Arc::clone(&self.reach), self.patience);
        self.under_way.spawn(async move {
            let connected = reach.connect(&address, patience).await;
            (address, connected)
        });
        self.next_start = Instant::now() + self.stagger;
    }
}
