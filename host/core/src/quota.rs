//! What may be in a subtree, and how fast it may be written: values, their bytes, and how writes are counted against them. It
//! does not know when that happens (`apply::quotas`), nor who is refused (`txn::quotas`).

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::ids::Millis;

/// A bound that is told of, and one that is not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Above it writes go on, and are counted.
    pub soft: Option<u64>,
    /// Above it they are refused.
    pub hard: Option<u64>,
}

/// What may be in a subtree, its top included, and how fast it may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Znodes.
    pub znodes: Bounds,
    /// Bytes of data.
    pub bytes: Bounds,
    /// Creations and settings a second; a second's worth may come at once. Deletions are always free.
    pub writes_per_s: Bounds,
}

/// A quota, and what came of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metered {
    /// What was set.
    pub quota: Quota,
    /// Creations and settings that went on above a soft bound.
    pub warned_count: u64,
    /// The pace at the soft and at the hard bound.
    pub paces: [Pace; 2],
}

/// When the next write is due, were they spread evenly: the generic cell rate algorithm in its form of virtual scheduling (ITU-T
/// I.371, ATM Forum TM 4.0), whose whole state is this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    due_us: u64,
}

/// Microseconds by which writes may come before they are due: a second's worth at once.
const AHEAD_US: u64 = 1_000_000;
/// The highest pace: it is counted in whole microseconds.
pub const PACE_PER_S_MAX: u64 = AHEAD_US;

impl Pace {
    /// Whether another write at this time keeps to so many a second.
    #[must_use]
    pub fn has_room(self, per_s: u64, now: Millis) -> bool {
        per_s > 0 && self.due_us.saturating_sub(us(now)) + AHEAD_US / per_s <= AHEAD_US
    }

    /// Counts a write at this time.
    pub fn pass(&mut self, per_s: u64, now: Millis) {
        let apart = AHEAD_US.checked_div(per_s).unwrap_or(AHEAD_US);
        self.due_us = self.due_us.max(us(now)).saturating_add(apart);
    }
}

fn us(time: Millis) -> u64 {
    time.0.saturating_mul(1_000)
}

impl Bounds {
    fn write(self, writer: &mut Writer) {
        writer.option(self.soft, Writer::u64);
        writer.option(self.hard, Writer::u64);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "bounds of a quota";
        let soft = reader.option(WHAT, |reader| reader.u64(WHAT))?;
        Ok(Self { soft, hard: reader.option(WHAT, |reader| reader.u64(WHAT))? })
    }
}

impl Quota {
    /// Whether it bounds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        self.znodes.write(writer);
        self.bytes.write(writer);
        self.writes_per_s.write(writer);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For anything else.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            znodes: Bounds::read(reader)?,
            bytes: Bounds::read(reader)?,
            writes_per_s: Bounds::read(reader)?,
        })
    }
}

/// What is in a subtree, its top included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Znodes.
    pub znodes: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

impl Metered {
    /// Counts a creation or setting, after which so much is in the subtree.
    pub fn count(&mut self, used: Used, now: Millis) {
        let Quota { znodes, bytes, writes_per_s } = self.quota;
        let [soft, hard] = &mut self.paces;
        let is_above = |bound: Option<u64>, value| bound.is_some_and(|bound| value > bound);
        let mut is_warned = is_above(znodes.soft, used.znodes) || is_above(bytes.soft, used.bytes);
        if let Some(per_s) = writes_per_s.soft {
            if soft.has_room(per_s, now) {
                soft.pass(per_s, now);
            } else {
                is_warned = true;
            }
        }
        if let Some(per_s) = writes_per_s.hard {
            hard.pass(per_s, now);
        }
        self.warned_count += u64::from(is_warned);
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        self.quota.write(writer);
        writer.u64(self.warned_count);
        for pace in self.paces {
            writer.u64(pace.due_us);
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For anything else.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "metered quota";
        let (quota, warned_count) = (Quota::read(reader)?, reader.u64(WHAT)?);
        let paces = [Pace { due_us: reader.u64(WHAT)? }, Pace { due_us: reader.u64(WHAT)? }];
        Ok(Self { quota, warned_count, paces })
    }
}

const FORMAT: u8 = 1;

impl Metered {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(48);
        writer.u8(FORMAT);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "record of a quota";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed(WHAT));
        }
        let metered = Self::read(&mut reader)?;
        reader.finish(WHAT)?;
        Ok(metered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `asked` writes a second, evenly spread over ten seconds, keep to a pace.
    fn passed(per_s: u64, asked_per_s: u64) -> u64 {
        let mut pace = Pace::default();
        let mut passed = 0;
        for number in 0..10 * asked_per_s {
            let now = Millis(1_700_000_000_000 + number * 1_000 / asked_per_s);
            if pace.has_room(per_s, now) {
                pace.pass(per_s, now);
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn a_pace_lets_a_second_s_worth_ahead_and_then_so_many_a_second() {
        assert_eq!(passed(10, 10), 100);
        assert!((100..=111).contains(&passed(10, 100)), "{}", passed(10, 100));
        assert!((1_000..=1_101).contains(&passed(100, 1_000)), "{}", passed(100, 1_000));
        assert_eq!(passed(100, 50), 500);
        assert_eq!(passed(0, 50), 0, "nothing at all");
        // All at one moment.
        let (mut pace, now) = (Pace::default(), Millis(5));
        let burst = (0..100).take_while(|_| {
            let has_room = pace.has_room(7, now);
            pace.pass(7, now);
            has_room
        });
        assert_eq!(burst.count(), 7);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let quota = Quota {
            znodes: Bounds { soft: Some(5), hard: Some(300) },
            bytes: Bounds { soft: None, hard: Some(u64::MAX) },
            writes_per_s: Bounds { soft: Some(0), hard: None },
        };
        let paces = [Pace { due_us: 300 }, Pace { due_us: 0 }];
        let metered = Metered { quota, warned_count: 7, paces };
        assert_eq!(Metered::decode(metered.encode()), Ok(metered.clone()));
        let mut longer = metered.encode().to_vec();
        longer.push(0);
        assert!(Metered::decode(longer.into()).is_err());
        assert!(Metered::decode(Bytes::from_static(&[2])).is_err());
    }
}
