//! How a member is reached, and which one it is: what the replicated membership says of it. It does not know connections.

use std::fmt;

/// Bytes of an incarnation.
pub const INCARNATION_BYTES: usize = 16;
/// Addresses for clients that one member has.
pub const CLIENT_ADDRESSES_MAX: usize = 8;

/// Random bytes that a data directory gets when it is made: a member whose directory was lost is not the one that joined,
/// and would break promises that it has forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub [u8; INCARNATION_BYTES]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the membership says of one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// Where other members reach it: host and port.
    pub address: String,
    /// The data directory that has joined.
    pub incarnation: Incarnation,
    /// Where clients reach it: hosts and ports, at most [`CLIENT_ADDRESSES_MAX`].
    pub clients: Vec<String>,
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}
