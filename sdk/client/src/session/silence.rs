//! Whether the member at the other end has fallen silent: something was sent, and QUIC at the other end, which answers within
//! milliseconds whatever the member is doing, has acknowledged nothing since. It knows no socket, and not what is done about it.
//!
//! To be silent for a moment is no reason to leave, and a client that was itself asleep has heard nothing either. So a
//! suspicion comes after a patience that grows with each one, and it is looked again whenever the look came late.

use super::backoff::Jitter;
use crate::limits::{
    SILENCE_CALM_MS, SILENCE_LATE_MS, SILENCE_LOOK_MS, SILENCE_MS, SILENCE_MS_MAX,
};

/// What the connection says at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Acknowledgements that have come on it.
    pub(crate) acknowledgements: u64,
    /// Its round trip, in milliseconds.
    pub(crate) rtt_ms: u64,
}

/// Something was sent.
#[derive(Debug)]
struct Watched {
    /// Acknowledgements that had come before.
    acknowledgements: u64,
    since_ms: u64,
    look_ms: u64,
    is_suspected: bool,
}

/// The watch over one member after the other. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub(crate) struct Silence {
    watched: Option<Watched>,
    /// Suspicions in sequence, each within [`SILENCE_CALM_MS`] of the one before.
    suspicions: u32,
    suspected_ms: u64,
    jitter: Jitter,
}

impl Silence {
    /// `seed`: for the jitter, so that the clients of one member do not all leave at once.
    pub(crate) fn new(seed: u64) -> Self {
        Self { watched: None, suspicions: 0, suspected_ms: 0, jitter: Jitter::new(seed) }
    }

    /// Whether it should be told of what is sent now: else something is being waited for already.
    pub(crate) fn is_waiting(&self) -> bool {
        self.watched.is_some()
    }

    /// Something has been sent.
    pub(crate) fn sent(&mut self, heard: Heard, now_ms: u64) {
        if self.watched.is_some() {
            return;
        }
        let patience_ms = self.patience_ms(heard.rtt_ms, now_ms);
        self.watched = Some(Watched {
            acknowledgements: heard.acknowledgements,
            since_ms: now_ms,
            look_ms: now_ms + patience_ms,
            is_suspected: false,
        });
    }

    /// A message has come, or there is another member.
    pub(crate) fn spoke(&mut self) {
        self.watched = None;
    }

    /// When to look.
    pub(crate) fn look_ms(&self) -> Option<u64> {
        self.watched.as_ref().map(|watched| watched.look_ms)
    }

    /// Looks whether the member is silent, and says for how long it has been: from the time on at which it became suspect,
    /// at each look, until it speaks.
    pub(crate) fn look(&mut self, heard: Heard, now_ms: u64) -> Option<u64> {
        let watched = self.watched.as_mut()?;
        if heard.acknowledgements != watched.acknowledgements {
            self.watched = None;
            return None;
        }
        let late_ms = now_ms.checked_sub(watched.look_ms)?;
        // What has come meanwhile may not have been taken in yet.
        let was_asleep = late_ms > SILENCE_LATE_MS;
        watched.look_ms = now_ms + SILENCE_LOOK_MS;
        if !watched.is_suspected {
            if was_asleep {
                return None;
            }
            watched.is_suspected = true;
            self.suspicions = self.suspicions_at(now_ms) + 1;
            self.suspected_ms = now_ms;
        }
        self.watched.as_ref().map(|watched| now_ms - watched.since_ms)
    }

    /// Whether nothing has been acknowledged since something was sent.
    pub(crate) fn is_silent(&self, heard: Heard) -> bool {
        let watched = self.watched.as_ref();
        watched.is_some_and(|watched| watched.acknowledgements == heard.acknowledgements)
    }

    fn suspicions_at(&self, now_ms: u64) -> u32 {
        if now_ms >= self.suspected_ms + SILENCE_CALM_MS { 0 } else { self.suspicions }
    }

    fn patience_ms(&mut self, rtt_ms: u64, now_ms: u64) -> u64 {
        let doublings = self.suspicions_at(now_ms).min(16);
        let whole = (SILENCE_MS << doublings).min(SILENCE_MS_MAX);
        whole + self.jitter.up_to(whole / 4) + 2 * rtt_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_MS: u64 = 1;

    fn heard(acknowledgements: u64) -> Heard {
        Heard { acknowledgements, rtt_ms: RTT_MS }
    }

    /// Looks whenever it is time to, until this time; when the member was first found silent.
    fn look_until(
        silence: &mut Silence,
        end_ms: u64,
        acknowledged: impl Fn(u64) -> u64,
    ) -> Option<u64> {
        while let Some(look_ms) = silence.look_ms().filter(|at| *at <= end_ms) {
            if silence.look(heard(acknowledged(look_ms)), look_ms).is_some() {
                return Some(look_ms);
            }
        }
        None
    }

    #[test]
    fn a_member_that_acknowledges_nothing_is_suspect_after_half_a_second_and_until_it_speaks() {
        for seed in 0..100 {
            let mut silence = Silence::new(seed);
            assert_eq!(silence.look_ms(), None, "nothing was sent");
            silence.sent(heard(7), 1_000);
            silence.sent(heard(7), 1_300);
            let suspect_ms = look_until(&mut silence, 9_000, |_| 7).expect("suspect");
            assert!((1_400..=1_510).contains(&suspect_ms), "{suspect_ms}");
            let again_ms = silence.look_ms().expect("it is looked again");
            assert_eq!(silence.look(heard(7), again_ms), Some(again_ms - 1_000));
            assert_eq!(silence.look(heard(8), again_ms + 100), None);
            assert_eq!(silence.look_ms(), None);
        }
    }

    #[test]
    fn a_member_that_stalls_for_a_moment_again_and_again_is_never_suspect() {
        let mut silence = Silence::new(3);
        for stall in 0..1_000_u64 {
            let sent_ms = stall * 250;
            silence.sent(heard(stall), sent_ms);
            let acknowledged = |at_ms| if at_ms < sent_ms + 200 { stall } else { stall + 1 };
            assert_eq!(look_until(&mut silence, sent_ms + 249, acknowledged), None);
            silence.spoke();
        }
    }

    #[test]
    fn a_client_that_was_asleep_looks_again_before_it_suspects() {
        let mut silence = Silence::new(1);
        silence.sent(heard(0), 0);
        assert_eq!(silence.look(heard(0), 20_000), None, "the answer may wait in the socket");
        let again_ms = silence.look_ms().expect("it looks again");
        assert!(again_ms > 20_000);
        assert_eq!(silence.look(heard(0), again_ms), Some(again_ms));
    }

    #[test]
    fn who_suspects_again_and_again_is_slow_to_do_so_and_forgets_that_in_calm() {
        let mut silence = Silence::new(5);
        let mut now_ms = 0;
        let mut patience = |silence: &mut Silence, calm_ms| {
            now_ms += calm_ms;
            silence.sent(heard(0), now_ms);
            let suspect_ms = look_until(silence, u64::MAX, |_| 0).expect("suspect");
            silence.spoke();
            let waited_ms = suspect_ms - now_ms;
            now_ms = suspect_ms;
            waited_ms
        };
        let waited: Vec<u64> = (0..10).map(|_| patience(&mut silence, 0)).collect();
        assert!(waited[0] < SILENCE_MS * 3 / 2, "{waited:?}");
        assert!(waited[1] >= 2 * SILENCE_MS, "{waited:?}");
        assert!(waited[3..].iter().all(|waited| *waited >= SILENCE_MS_MAX), "{waited:?}");
        assert!(waited.iter().all(|waited| *waited <= 2 * SILENCE_MS_MAX), "{waited:?}");
        assert!(patience(&mut silence, SILENCE_CALM_MS) < SILENCE_MS * 3 / 2);
    }

    #[test]
    fn a_long_way_is_given_its_time() {
        let mut silence = Silence::new(1);
        silence.sent(Heard { acknowledgements: 0, rtt_ms: 600 }, 0);
        let look_ms = silence.look_ms().expect("it looks");
        assert!(look_ms >= 1_200 + SILENCE_MS, "{look_ms}");
    }
}
