//! The feature level: which features there are, and since which level a cluster has each. A feature changes what members
//! write to the log or to the tree, so it is used only when all of them understand it: when the level of the cluster, a
//! record of the tree that only grows, has reached the feature's. It does not know who the members are, nor who raises it.

use std::fmt;

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};

/// A feature level: of a cluster, or the highest that a build knows. From 1; each includes all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(pub u32);

impl Level {
    /// Of a tree in which nothing is said of it.
    pub const FIRST: Self = Self(1);
    /// The highest that this version knows.
    ///
    /// 1: the first. 2: [`Feature::ReadOnlyFunctions`].
    pub const NEWEST: Self = Self(2);

    /// The record's bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(u64::from(self.0));
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote: the first level has no record.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "feature level";
        let mut reader = Reader::new(bytes);
        let level = Self(reader.u32(WHAT)?);
        reader.finish(WHAT)?;
        if level <= Self::FIRST {
            return Err(malformed(WHAT));
        }
        Ok(level)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a cluster can do since a level above the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A manifest lists functions that are only read, which any member runs.
    ReadOnlyFunctions,
}

impl Feature {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::ReadOnlyFunctions];

    /// As a refusal names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnlyFunctions => "read-only functions in a manifest",
        }
    }

    /// The level since which it is there.
    #[must_use]
    pub const fn since(self) -> Level {
        match self {
            Self::ReadOnlyFunctions => Level(2),
        }
    }

    /// Refuses the feature while the cluster has not reached its level.
    ///
    /// # Errors
    /// `level-too-low`, naming the feature, both levels, and what to do.
    pub fn check(self, cluster: Level) -> Result<(), Refusal> {
        let since = self.since();
        if cluster >= since {
            return Ok(());
        }
        let name = self.name();
        let message = format!(
            "{name}: the feature needs level {since}, and this cluster has level {cluster}: upgrade the members that know less \
             (`quorate cluster status` names them); the level rises by itself when all know it"
        );
        Err(Refusal::new(ErrorCode::LevelTooLow, message))
    }
}

const _: () = {
    let mut at = 0;
    while at < Feature::ALL.len() {
        let since = Feature::ALL[at].since();
        assert!(since.0 > Level::FIRST.0, "what is there from the first level is no feature");
        assert!(since.0 <= Level::NEWEST.0, "this version knows all of its features");
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_there_from_its_level_on_and_says_what_is_missing_below() {
        for feature in Feature::ALL {
            let since = feature.since();
            assert_eq!(feature.check(since), Ok(()));
            assert_eq!(feature.check(Level(since.0 + 1)), Ok(()));
            let refusal = feature.check(Level(since.0 - 1)).expect_err("below its level");
            assert_eq!(refusal.code, ErrorCode::LevelTooLow);
            for part in [feature.name(), "needs level 2", "has level 1", "upgrade the members"] {
                assert!(refusal.message.contains(part), "{part}: {refusal}");
            }
        }
    }

    #[test]
    fn a_level_comes_back_and_the_first_has_no_record() {
        assert_eq!(Level::decode(Level(300).encode()), Ok(Level(300)));
        for bytes in [&[0_u8][..], &[1], &[], &[2, 0], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            assert!(Level::decode(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
        }
    }
}
