//! Where a tree stands for raft: the last applied entry and the last applied membership, as records in the tree itself, so
//! that they are as new as what they speak of. It does not know how entries are applied.

use std::io;

use bytes::Bytes;
use quorate_core::ids::NamespaceId;
use quorate_core::read::Read;

use crate::codec::{self, rotten};
use crate::namespace::{RaftRecord, raft_key};
use crate::types::{LogId, SnapshotMeta, StoredMembership, log_id, position};

/// Where a tree stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The last applied entry.
    pub applied: Option<LogId>,
    /// The last applied membership.
    pub membership: StoredMembership,
}

impl Standing {
    /// What the whole tree of a member says of this namespace.
    pub(crate) fn read<R: Read>(tree: &R, namespace: NamespaceId) -> io::Result<Self> {
        Self::get(|key| tree.get(key), namespace)
    }

    /// The same through any look-up of keys.
    pub(crate) fn get(
        get: impl Fn(&[u8]) -> Option<Bytes>,
        namespace: NamespaceId,
    ) -> io::Result<Self> {
        let applied = match get(&raft_key(namespace, RaftRecord::Applied)) {
            None => None,
            Some(bytes) => Some(log_id(codec::read_place(bytes).map_err(rotten)?)),
        };
        let membership = match get(&raft_key(namespace, RaftRecord::Membership)) {
            None => StoredMembership::default(),
            Some(bytes) => codec::read_stored_membership(bytes).map_err(rotten)?,
        };
        Ok(Self { applied, membership })
    }

    /// All of it as records.
    pub(crate) fn writes(&self, namespace: NamespaceId) -> Vec<(Bytes, Option<Bytes>)> {
        let mut writes = vec![membership_write(namespace, &self.membership)];
        writes.extend(self.applied.as_ref().map(|applied| applied_write(namespace, applied)));
        writes
    }

    /// As openraft names it.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() }
    }
}

/// The record of the last applied entry.
pub(crate) fn applied_write(namespace: NamespaceId, applied: &LogId) -> (Bytes, Option<Bytes>) {
    let place = codec::place(position(applied));
    (raft_key(namespace, RaftRecord::Applied), Some(place))
}

/// The record of the last applied membership.
pub(crate) fn membership_write(
    namespace: NamespaceId,
    membership: &StoredMembership,
) -> (Bytes, Option<Bytes>) {
    let bytes = codec::stored_membership(membership);
    (raft_key(namespace, RaftRecord::Membership), Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_that_can_not_be_read_is_not_that_of_an_empty_tree() {
        let standing = |record: Option<&'static [u8]>| {
            Standing::get(|_| record.map(Bytes::from_static), NamespaceId::DEFAULT)
        };
        assert_eq!(standing(None).expect("an empty tree"), Standing::default());
        assert!(standing(Some(b"rotten")).is_err());
    }
}
