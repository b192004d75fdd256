//! When sessions expire. Soft state of one leadership: every session gets a full timeout at its beginning. The clock
//! stands still while the leader itself was stalled, so that its own pause kills nobody.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::ids::SessionId;

/// A gap between two ticks above this is the leader's own stall, in milliseconds.
pub const STALL_MS: u64 = 1_000;

/// The drift margin that the leader adds to a timeout, as a divisor: clocks may run this fraction apart.
const DRIFT_DIVISOR: u64 = 8;

#[derive(Debug, Default)]
struct Life {
    timeout_ms: u64,
    heard_ms: u64,
}

/// The sessions of this leadership.
#[derive(Debug, Default)]
pub struct Liveness {
    sessions: BTreeMap<SessionId, Life>,
    /// When to look at a session next. May be too early: a look finds that out and moves it.
    looks: BTreeSet<(u64, SessionId)>,
    last_tick_ms: Option<u64>,
    stalled_ms: u64,
}

impl Liveness {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A session lives from now on, for a full timeout.
    pub fn add(&mut self, session: SessionId, timeout_ms: u64, monotonic_ms: u64) {
        let heard_ms = self.clock(monotonic_ms);
        self.sessions.insert(session, Life { timeout_ms, heard_ms });
        self.looks.insert((heard_ms + patience(timeout_ms), session));
    }

    /// A session has ended.
    pub fn remove(&mut self, session: SessionId) {
        // Its look finds nothing and is dropped then.
        self.sessions.remove(&session);
    }

    /// A sign of life. Whether the session is known.
    pub fn heard(&mut self, session: SessionId, monotonic_ms: u64) -> bool {
        let now = self.clock(monotonic_ms);
        match self.sessions.get_mut(&session) {
            Some(life) => {
                life.heard_ms = now;
                true
            }
            None => false,
        }
    }

    /// Time passes. Must be called often enough: a gap above [`STALL_MS`] counts as the leader's own and not as the
    /// sessions'.
    pub fn tick(&mut self, monotonic_ms: u64) {
        if let Some(last) = self.last_tick_ms {
            let gap = monotonic_ms.saturating_sub(last);
            if gap > STALL_MS {
                self.stalled_ms += gap;
            }
        }
        self.last_tick_ms = Some(monotonic_ms);
    }

    /// A session that has been silent for longer than its timeout and the drift margin.
    pub fn poll_expired(&mut self, monotonic_ms: u64) -> Option<SessionId> {
        let now = self.clock(monotonic_ms);
        while let Some(&(at, session)) = self.looks.first() {
            if at > now {
                return None;
            }
            self.looks.pop_first();
            let Some(life) = self.sessions.get(&session) else { continue };
            let due = life.heard_ms + patience(life.timeout_ms);
            if due > now {
                self.looks.insert((due, session));
                continue;
            }
            self.sessions.remove(&session);
            return Some(session);
        }
        None
    }

    /// Milliseconds that count for sessions.
    fn clock(&self, monotonic_ms: u64) -> u64 {
        monotonic_ms.saturating_sub(self.stalled_ms)
    }
}

fn patience(timeout_ms: u64) -> u64 {
    timeout_ms + timeout_ms / DRIFT_DIVISOR
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId(1);

    fn live(timeout_ms: u64) -> Liveness {
        let mut liveness = Liveness::default();
        liveness.tick(0);
        liveness.add(ONE, timeout_ms, 0);
        liveness
    }

    #[test]
    fn a_silent_session_expires_after_its_timeout_and_the_margin() {
        let mut liveness = live(8_000);
        for ms in (500..=9_000).step_by(500) {
            liveness.tick(ms);
            assert_eq!(liveness.poll_expired(ms), (ms >= 9_000).then_some(ONE), "at {ms}");
        }
        assert!(!liveness.heard(ONE, 9_001));
    }

    #[test]
    fn a_sign_of_life_gives_a_full_timeout() {
        let mut liveness = live(8_000);
        for ms in (500..=16_500).step_by(500) {
            liveness.tick(ms);
            if ms == 8_500 {
                assert!(liveness.heard(ONE, ms));
            }
            assert_eq!(liveness.poll_expired(ms), None, "at {ms}");
        }
        liveness.tick(17_500);
        assert_eq!(liveness.poll_expired(17_500), Some(ONE));
    }

    #[test]
    fn the_leaders_own_stall_kills_nobody() {
        let mut liveness = live(4_000);
        liveness.tick(60_000);
        assert_eq!(liveness.poll_expired(60_000), None);
        for ms in (60_500..64_500).step_by(500) {
            liveness.tick(ms);
            assert_eq!(liveness.poll_expired(ms), None, "at {ms}");
        }
        liveness.tick(64_500);
        assert_eq!(liveness.poll_expired(64_500), Some(ONE));
    }
}
