//! The port to what was applied on this member: read back for watches that begin in the past. It does not know watches.

use std::sync::Arc;

use quorate_core::ids::Zxid;
use quorate_core::transaction::Entry;
use quorate_raft::HistoryError;

/// Why there is nothing to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// It is not retained here.
    NotHere {
        /// The lowest transaction behind which everything is.
        oldest: Zxid,
    },
    /// The disk's words.
    Failed(String),
}

/// Held by who wants to know what entries replace.
pub type WantBefore = Box<dyn Send + Sync>;

/// What this member retains.
pub trait History: Send + Sync {
    /// Taken entries from the one with the transaction behind `after` on: `count_max` at most, in order, without a hole, some
    /// of those that are there. None if nothing is applied behind it. May block on a disk.
    ///
    /// # Errors
    /// [`Unread`].
    fn read(&self, after: Zxid, count_max: usize) -> Result<Vec<Arc<Entry>>, Unread>;

    /// Entries behind the transaction that the tree shows at the return, which is told, are told with the data that they replace
    /// while the result is held. May wait for a moment.
    fn want_before(&self) -> (WantBefore, Zxid);
}

impl History for quorate_raft::History {
    fn read(&self, after: Zxid, count_max: usize) -> Result<Vec<Arc<Entry>>, Unread> {
        Self::read(self, after, count_max).map_err(|error| match error {
            HistoryError::Gone { oldest } => Unread::NotHere { oldest },
            HistoryError::Io(error) => Unread::Failed(error.to_string()),
        })
    }

    fn want_before(&self) -> (WantBefore, Zxid) {
        let (wanted, shown) = Self::want_before(self);
        (Box::new(wanted), shown)
    }
}
