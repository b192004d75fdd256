//! Whether changes say the truth of what was before them. `apply` does not look: what they say is for their events, and a tree
//! that it would differ from may be the one that is wrong. The simulator and the sequencer's tests use this file too.

use quorate_core::apply;
use quorate_core::change::Change;
use quorate_core::draft::Draft;
use quorate_core::query;
use quorate_core::read::Read;
use quorate_core::transaction::{Entry, EntryBody};

/// What an entry says of the znodes that it changes, each time against the tree just before the change.
///
/// # Errors
/// What it says, and what is there.
pub fn check<R: Read>(tree: R, entry: &Entry) -> Result<(), String> {
    let EntryBody::Batch { transactions, .. } = &entry.body else { return Ok(()) };
    let mut draft = Draft::new(tree);
    for transaction in transactions {
        for change in &transaction.changes {
            let checked = check_one(&draft, change);
            checked.map_err(|why| format!("transaction {}: {why}", transaction.zxid))?;
            apply::change(&mut draft, transaction.zxid, transaction.time, change);
        }
    }
    Ok(())
}

fn check_one<R: Read>(read: &R, change: &Change) -> Result<(), String> {
    let (path, said) = match change {
        Change::DataSet { path, version, previous, acl, .. } => {
            (path, (version.checked_sub(1), *previous, acl))
        }
        Change::NodeDeleted { path, version, previous, acl } => {
            (path, (Some(*version), *previous, acl))
        }
        // They say nothing of what was before.
        Change::NodeCreated { .. }
        | Change::NodeReleased { .. }
        | Change::SessionOpened { .. }
        | Change::SessionEnded { .. }
        | Change::SessionForgotten { .. }
        | Change::UploadBegan { .. }
        | Change::UploadEnded { .. }
        | Change::ChunkStored { .. }
        | Change::ComponentStored { .. }
        | Change::VersionMade { .. }
        | Change::VersionDropped { .. }
        | Change::RecipeActivated { .. }
        | Change::RecipeRemoved { .. }
        | Change::QuotaSet { .. }
        | Change::LevelRaised { .. }
        | Change::IdentityAdded { .. }
        | Change::AclSet { .. }
        | Change::RulesSet { .. }
        | Change::StanceSet { .. } => return Ok(()),
    };
    let node = query::node(read, path).ok_or_else(|| format!("{path} is not there"))?;
    let found = (Some(node.version), node.mzxid, &node.acl);
    if said == found {
        Ok(())
    } else {
        Err(format!(
            "it says of {path} that version, transaction and list were {said:?}; they were {found:?}"
        ))
    }
}
