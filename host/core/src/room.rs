//! Whether the tree may grow, and what counts as growth. How much room the disks have, and when that is too little, is the
//! sequencer's.
//!
//! Growth is what a transaction leaves behind when it is over, not what it did on the way: a call that takes one item
//! and puts another, or a multi that makes room first, passes. Records that come and go with sessions, calls and replies do
//! not count; they are bounded for each session, and without them nothing could be deleted any more.

use crate::error::{ErrorCode, Refusal};
use crate::key::{self, Table};

/// Whether the tree may grow now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Room {
    /// It may.
    #[default]
    Enough,
    /// Too little is left on the disks: only what does not grow is executed (DESIGN D13).
    Short {
        /// Bytes that are free where there is least.
        free_bytes: u64,
        /// Bytes that must be free there before growing writes are taken again.
        needed_bytes: u64,
        /// Numbers of the members that are not known to have room, the first of them; 0: none.
        members: [u64; MEMBERS_NAMED_MAX],
    },
}

/// Members that a refusal names, at most. Few: it is carried about with every view.
pub const MEMBERS_NAMED_MAX: usize = 3;

impl Room {
    /// What a transaction that grows by so many bytes is told; none if it may.
    #[must_use]
    pub fn refusal(self, growth_bytes: i64) -> Option<Refusal> {
        const MIB: u64 = 1024 * 1024;
        let Self::Short { free_bytes, needed_bytes, members } = self else { return None };
        (growth_bytes > 0).then(|| {
            let members: Vec<String> =
                members.iter().filter(|number| **number != 0).map(u64::to_string).collect();
            let message = format!(
                "too few members have room on their disks (not: {}); where there is least, {} MiB are free, and writes that make \
                 the tree larger are taken again from {} MiB on; make room there, or delete znodes: deletions go on",
                members.join(", "),
                free_bytes / MIB,
                needed_bytes.div_ceil(MIB)
            );
            Refusal::new(ErrorCode::DiskFull, message)
        })
    }
}

/// Bytes that a znode's record is taken for, whatever its numbers need: setting data of the same length is no growth.
const NODE_BYTES: i64 = 128;

/// What a record counts in the growth of a transaction: with it minus without it.
pub(crate) fn record_bytes(key: &[u8], value: &[u8]) -> i64 {
    let bytes = |slice: &[u8]| i64::try_from(slice.len()).unwrap_or(i64::MAX);
    match key::table(key) {
        Some(Table::Node) => bytes(key) + NODE_BYTES,
        Some(Table::Data | Table::Version | Table::Component | Table::Chunk) => bytes(value),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_is_refused_and_only_while_room_is_short() {
        let members = [2, 7, 0];
        let short = Room::Short { free_bytes: 3 << 20, needed_bytes: 5 << 20, members };
        let refusal = short.refusal(1).expect("refused");
        assert_eq!(refusal.code, ErrorCode::DiskFull);
        assert!(refusal.message.contains("3 MiB") && refusal.message.contains("5 MiB"));
        assert!(refusal.message.contains("(not: 2, 7)"), "{refusal}");
        assert_eq!(short.refusal(0), None);
        assert_eq!(short.refusal(-1), None);
        assert_eq!(Room::Enough.refusal(1), None);
    }
}
