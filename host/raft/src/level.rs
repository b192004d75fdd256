//! What this build may take into its tree: nothing above the feature level that it knows. What comes from above is not
//! understood, and a member that goes on without it would have another tree than the others. It does not know who says that
//! a cluster's level rises.

use std::io;
use std::sync::{Arc, OnceLock};

use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::NamespaceId;
use quorate_core::level::Level;
use quorate_core::transaction::{Entry, EntryBody};
use quorate_store::Tree;

use crate::namespace::Scoped;

/// The cluster is beyond this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this cluster uses feature level {found}, and this build knows {known}: start the member with a version that knows level \
     {found}; nothing was changed"
)]
pub struct LevelTooHigh {
    /// The cluster's.
    pub found: Level,
    /// The highest that this build knows.
    pub known: Level,
}

/// Set once, when something above the known level was met.
pub(crate) type Met = Arc<OnceLock<LevelTooHigh>>;

/// The feature level of a tree.
#[must_use]
pub fn of_tree(tree: &Tree, namespace: NamespaceId) -> Level {
    Scoped { namespace, reader: tree.reader() }.level()
}

/// Refuses an entry that raises the level above the known one, before anything of it is applied.
pub(crate) fn check(entry: &Entry, known: Level, met: &Met) -> io::Result<()> {
    let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
    let changes = transactions.iter().flat_map(|transaction| &transaction.changes);
    let raised = changes.filter_map(|change| match change {
        Change::LevelRaised { level } => Some(*level),
        _ => None,
    });
    match raised.max() {
        Some(found) if found > known => {
            let too_high = LevelTooHigh { found, known };
            // The first one that was met is the reason.
            let _first = met.set(too_high);
            Err(io::Error::other(too_high))
        }
        _ => Ok(()),
    }
}
