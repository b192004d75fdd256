//! Newtypes for every number that names something. They know how to print themselves, nothing else.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The next higher one. Panics at 2^64, which no counter of ours reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter does not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Number of an applied transaction: dense, strictly increasing, one sequence for the namespace. 0: before the first.
    Zxid
}
id! {
    /// A session. It is the zxid of the transaction that opened it, hence never reused.
    SessionId
}
id! {
    /// Position of a write within its session: dense from 1. 0: none yet.
    WriteNumber
}
id! {
    /// Raft's term.
    Term
}
id! {
    /// Counts how often the sequencer of one term had to drop what it had executed ahead of commit. From 1.
    Epoch
}

/// Milliseconds since 1970-01-01T00:00:00Z, as transactions carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This time plus a duration in milliseconds; stays at the end of time instead of overflowing.
    #[must_use]
    pub fn plus(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// The unit of replication (DESIGN D16): one raft group with its own tree, log and sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespaceId(pub u32);

impl NamespaceId {
    /// The one namespace that a cluster runs today.
    pub const DEFAULT: Self = Self(0);
}

/// A recipe call for ever: the session that made it and its write number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The calling session.
    pub session: SessionId,
    /// The number of the write within the session.
    pub write: WriteNumber,
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.session, self.write)
    }
}
