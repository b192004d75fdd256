//! The monotonic clock of a client: the one place that looks at it. It does not know what is timed.

use std::time::{Duration, Instant};

/// Milliseconds since the client began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Rounded down: what was sent is never taken to have been sent later than it was.
    pub(crate) fn now_ms(self) -> u64 {
        milliseconds(self.origin.elapsed())
    }

    /// Resolves at this time; at once if it has passed.
    pub(crate) async fn until(self, at_ms: u64) {
        let at = self.origin + Duration::from_millis(at_ms);
        tokio::time::sleep_until(at.into()).await;
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
