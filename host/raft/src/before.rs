//! What the data of znodes was before an entry: read while the entry is applied, if somebody wants it. It does not know who
//! does, nor how entries change the tree.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::transaction::{Entry, EntryBody};

/// Bytes of data that are read for the entries of one batch of the tree: one entry can delete thousands of large znodes.
const BYTES_MAX: u64 = 16 << 20;

/// The data that znodes had before an entry: of those that it sets or deletes, and that were there. What would have been too
/// much is left out.
pub type Before = BTreeMap<Path, Bytes>;

/// How many want it.
#[derive(Clone, Default)]
pub(crate) struct Wanted(Arc<Mutex<u64>>);

/// While it is there, what entries replace is told with them. See [`crate::History::want_before`].
pub struct WantBefore(Wanted);

impl Wanted {
    /// Whoever wants it from the return on finds it with every entry that the tree shows later.
    pub(crate) fn want(&self) -> WantBefore {
        *self.lock() += 1;
        WantBefore(self.clone())
    }

    /// Held while entries are applied: whoever begins to want it waits until the tree shows them.
    pub(crate) fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WantBefore {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

/// Reads what an entry is about to replace.
pub(crate) struct Reader {
    bytes_left: u64,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { bytes_left: BYTES_MAX }
    }

    pub(crate) fn read(&mut self, tree: &impl ReadRecords, entry: &Entry) -> Before {
        let mut before = Before::new();
        let EntryBody::Batch { transactions, .. } = &entry.body else { return before };
        for change in transactions.iter().flat_map(|transaction| &transaction.changes) {
            let (Change::DataSet { path, .. } | Change::NodeDeleted { path, .. }) = change else {
                continue;
            };
            if before.contains_key(path.as_str()) {
                continue;
            }
            let Some(node) = query::node(tree, path) else { continue };
            let Some(left) = self.bytes_left.checked_sub(node.data_bytes) else { continue };
            self.bytes_left = left;
            let data = if node.data_bytes == 0 { None } else { tree.data(path) };
            before.insert(path.clone(), data.unwrap_or_default());
        }
        before
    }
}
