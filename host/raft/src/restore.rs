//! The disk of a new cluster of one member, made of a snapshot: its tree is the snapshot's, and raft's state says that
//! everything up to there is in it. It does not know where the disk is, nor whose snapshot it was.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use openraft::storage::RaftLogStorage;
use quorate_core::draft::record_hash;
use quorate_core::ids::NamespaceId;
use quorate_core::key::counts_in_digest;
use quorate_core::level::Level;
use quorate_core::read::{Direction, Read};
use quorate_wire::snapshot::Summary;

use crate::contact::Contact;
use crate::log_store::LogStore;
use crate::namespace::{END, Scoped, key};
use crate::node::Store;
use crate::snapshot::{self, standing};
use crate::types::{Membership, StoredMembership, Vote};

/// Why a disk was not made.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file can not be read or is not sound; or the disk does not take it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is a snapshot of something else.
    #[error("the snapshot is of namespace {found}, this program restores namespace {expected}")]
    OtherNamespace {
        /// The snapshot's.
        found: u32,
        /// The one that is served.
        expected: u32,
    },
    /// Nothing is in it.
    #[error(
        "the snapshot is of a tree to which nothing was ever applied: there is nothing to restore"
    )]
    Nothing,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the file holds.
    pub summary: Summary,
    /// The digest, computed anew from the records of the tree that was made.
    pub digest: u128,
}

/// Fills an empty log and an empty tree from a file, whose tree may have the feature level `known` at most. The member leads when it starts, in a higher term than the snapshot's:
/// zxids and sessions go on where they were.
///
/// The vote is on the disk before the tree is, so that no start in between leads in a term that was; the tree becomes what
/// the file holds in one step, when all of the file has been found sound.
///
/// # Errors
/// [`RestoreError`]; log and tree may hold a part that no cluster comes of.
pub async fn restore(
    store: &Store,
    namespace: NamespaceId,
    known: Level,
    file: &Path,
    member: u64,
    contact: Contact,
) -> Result<Restored, RestoreError> {
    let replacement = store.tree.replacement().map_err(io::Error::other)?;
    let summary = snapshot::read_file(file, known, &mut |records| {
        let records = records.into_iter().map(|(tail, value)| (key(namespace, &tail), value));
        replacement.put(records).map_err(io::Error::other)
    })?;
    if summary.head.namespace != namespace {
        let (found, expected) = (summary.head.namespace.0, namespace.0);
        return Err(RestoreError::OtherNamespace { found, expected });
    }
    let mut standing = standing(&summary.head)?;
    let applied = standing.applied.ok_or(RestoreError::Nothing)?;
    let membership =
        Membership::new(vec![BTreeSet::from([member])], BTreeMap::from([(member, contact)]));
    let membership = membership.map_err(io::Error::other)?;
    standing.membership = StoredMembership::new(Some(applied), membership);
    let own = standing.writes(namespace).into_iter();
    replacement
        .put(own.filter_map(|(key, value)| Some((key, value?))))
        .map_err(io::Error::other)?;

    let mut log = LogStore::new(store.log.clone(), namespace);
    log.save_vote(&Vote::new(applied.leader_id.term, member)).await?;
    store.tree.replace(replacement).map_err(io::Error::other)?;
    log.fit(applied).await?;

    let tree = Scoped { namespace, reader: store.tree.snapshot() };
    let counted = tree.range(&[], END, Direction::Forward).filter(|(key, _)| counts_in_digest(key));
    let digest =
        counted.fold(0u128, |digest, (key, value)| digest.wrapping_add(record_hash(&key, &value)));
    Ok(Restored { summary, digest })
}
