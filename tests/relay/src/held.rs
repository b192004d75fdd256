//! Datagrams that wait for their time, a bounded number of them. It does not know why they wait.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::time::Instant;

use crate::{Direction, HELD_MAX};

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) direction: Direction,
    pub(crate) peer: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Datagrams by their time; those of one time in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_due: BTreeMap<(Instant, u64), Datagram>,
    came_count: u64,
}

impl Held {
    /// Holds one more, or drops it if there are too many.
    pub(crate) fn push(&mut self, due: Instant, datagram: Datagram) {
        if self.by_due.len() < HELD_MAX {
            self.by_due.insert((due, self.came_count), datagram);
            self.came_count += 1;
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    /// The first one whose time has come.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Option<Datagram> {
        self.next_due().filter(|due| *due <= now)?;
        self.by_due.pop_first().map(|(_, datagram)| datagram)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn datagrams_leave_by_their_time_and_no_more_are_held_than_the_limit() {
        let start = Instant::now();
        let datagram = |byte| Datagram {
            direction: Direction::ToTarget,
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            bytes: vec![byte],
        };
        let mut held = Held::default();
        held.push(start + Duration::from_millis(2), datagram(2));
        held.push(start + Duration::from_millis(1), datagram(1));
        assert_eq!(held.poll_due(start), None);
        assert_eq!(held.poll_due(start + Duration::from_millis(2)), Some(datagram(1)));
        assert_eq!(held.poll_due(start + Duration::from_millis(2)), Some(datagram(2)));
        for _ in 0..=HELD_MAX {
            held.push(start, datagram(0));
        }
        assert_eq!(std::iter::from_fn(|| held.poll_due(start)).count(), HELD_MAX);
    }
}
