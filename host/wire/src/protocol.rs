//! Which version of a protocol two sides speak: each states a range, and the highest version that is in both is spoken. It
//! does not know what the versions say.
//!
//! A first frame begins with its magic and the range in every version, so that a side that understands nothing else of it
//! can still say why it refuses.

use std::fmt;

use quorate_core::codec::{Malformed, Reader};

/// The versions of a protocol that one side speaks, all from the lowest to the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: u32,
    /// The highest.
    pub max: u32,
}

impl Versions {
    /// The highest version that both sides speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let highest = self.max.min(other.max);
        (self.has(highest) && other.has(highest)).then_some(highest)
    }

    /// Whether this version is one of them.
    #[must_use]
    pub fn has(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "protocol";
        Ok(Self { min: reader.u32(WHAT)?, max: reader.u32(WHAT)? })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_both_speak_is_spoken() {
        let common = |one: (u32, u32), other: (u32, u32)| {
            let [one, other] = [one, other].map(|(min, max)| Versions { min, max });
            assert_eq!(one.common(other), other.common(one));
            one.common(other)
        };
        assert_eq!(common((1, 1), (1, 1)), Some(1));
        assert_eq!(common((1, 3), (2, 5)), Some(3));
        assert_eq!(common((1, 9), (4, 4)), Some(4));
        assert_eq!(common((1, 2), (3, 4)), None);
        // A range that is none.
        assert_eq!(common((1, 3), (3, 1)), None);
        assert_eq!(common((5, 2), (1, 9)), None);
    }
}
