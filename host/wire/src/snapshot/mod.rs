//! A namespace's part of the tree as a stream of bytes, independent of the engine that stores it, and back. It knows
//! neither when snapshots are taken nor how they travel, nor what raft's membership says.
//!
//! ```text
//! stream    block of head, blocks of records, block of end
//! block     payload length: u32 le, crc32c of the payload: u32 le, payload
//! head      0, "quorate-snapshot", format: u8 = 2, namespace, place: option of (term, index), membership: bytes
//! records   1, then key: bytes, value: bytes, to the block's end; keys ascend over the whole stream
//! end       2, records in the stream: count, digest: u128, hash of head and meta record: u128
//! ```
//!
//! Numbers, options and byte strings as in `quorate_core::codec`. Keys are those of the core, without the namespace. The
//! same tree gives the same bytes. Nobody needs memory for more than a block.
//!
//! Whoever reads a stream computes the digest from its records and compares it with the one that the tree's own meta record
//! states; data and chunks of components, which do not count in it, are held against the hashes in the records that do
//! (`audit`).

mod audit;
mod decode;
mod encode;

use bytes::Bytes;
use quorate_core::codec::Malformed;
use quorate_core::draft::Meta;
use quorate_core::ids::{NamespaceId, Term};
use quorate_core::level::Level;

pub use decode::{Decoder, Item};
pub use encode::Encoder;

const MAGIC: &[u8] = b"quorate-snapshot";
/// The format that this version writes and reads. 1 had no records of principals: what their sessions hold was not counted.
pub const FORMAT: u8 = 2;

const HEAD: u8 = 0;
const RECORDS: u8 = 1;
const END: u8 = 2;

/// Bytes of records after which a block is closed.
pub const BLOCK_BYTES: usize = 256 * 1024;
/// Bytes of a block that is read: a block that was about to be closed and the largest record.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
const BLOCK_HEAD_BYTES: usize = 8;

/// Records, in the order of their keys.
pub type Records = Vec<(Bytes, Bytes)>;

/// What stands at the head of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whose tree it is.
    pub namespace: NamespaceId,
    /// Term and index of the last entry that is in it; none for a tree to which nothing was applied.
    pub place: Option<(Term, u64)>,
    /// The last applied membership, as raft writes it.
    pub membership: Bytes,
}

/// What a whole stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its head.
    pub head: Head,
    /// Where the tree stands.
    pub meta: Meta,
    /// Its feature level.
    pub level: Level,
    /// Records of all kinds.
    pub records: u64,
    /// Znodes; the root counts once something was done to it.
    pub znodes: u64,
    /// Sessions that live.
    pub sessions: u64,
    /// Recipes, removed ones included.
    pub recipes: u64,
    /// Bytes of the stream.
    pub bytes: u64,
}

/// Why a stream is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// It does not begin as one.
    #[error("this is not a snapshot")]
    NotASnapshot,
    /// Written by another version.
    #[error(
        "the snapshot has format {found}, this program reads format {FORMAT}: restore it with the version that wrote it, and take \
         the tree over with `quorate export` and `quorate import`"
    )]
    Format {
        /// The format that it states.
        found: u8,
    },
    /// Its tree may hold what only later versions understand.
    #[error("the snapshot has feature level {found}, this program knows {known}")]
    Level {
        /// The tree's.
        found: Level,
        /// The highest that is known here.
        known: Level,
    },
    /// It ends in the middle.
    #[error("the snapshot ends at byte {at}, too early")]
    Truncated {
        /// Bytes that there are.
        at: u64,
    },
    /// Something follows its end.
    #[error("something follows the snapshot's end at byte {at}")]
    Trailing {
        /// Where it should end.
        at: u64,
    },
    /// A block's length or checksum.
    #[error("the block at byte {at} is damaged: {what}")]
    Block {
        /// Where the block begins.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A record does not follow the one before, or is none of ours.
    #[error("a record of the block at byte {at} is damaged: {what}")]
    Record {
        /// Where the block begins.
        at: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Records are missing, or there are too many.
    #[error("the snapshot has {found} records and states {stated}")]
    Count {
        /// How many there are.
        found: u64,
        /// How many its end states.
        stated: u64,
    },
    /// The records are not those that the tree had.
    #[error("the records have the digest {computed:032x}, the {whose} states {stated:032x}")]
    Digest {
        /// Of the records.
        computed: u128,
        /// As it should be.
        stated: u128,
        /// Who states it: the tree, or the snapshot's end.
        whose: &'static str,
    },
    /// Its head or the tree's meta record is not what it was.
    #[error("the head or the meta record is not what the snapshot's end states")]
    Frame,
    /// Parts of the tree do not fit each other.
    #[error("{0}")]
    Torn(&'static str),
}

impl Unsound {
    fn record(at: u64, error: Malformed) -> Self {
        Self::Record { at, what: error.what }
    }
}
