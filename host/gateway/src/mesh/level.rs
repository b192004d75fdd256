//! Feature levels on connections: what the member at the other end knows, and the end of connections to members that know
//! less than the cluster uses. It does not know who raises the level.

use quorate_core::level::Level;
use quorate_net::CloseCode;
use quorate_raft::Incarnation;
use tokio::sync::watch;

use super::{Mesh, lock};

impl Mesh {
    /// The cluster's level, as far as this member has applied it.
    #[must_use]
    pub fn cluster_level(&self) -> watch::Receiver<Level> {
        self.cluster_level.subscribe()
    }

    /// As [`Mesh::cluster_level`], now.
    pub(super) fn level(&self) -> Level {
        *self.cluster_level.borrow()
    }

    /// The cluster has this level from now on; told before the first connection, and when it has risen. Members that know
    /// less are not spoken to any more.
    pub fn set_cluster_level(&self, level: Level) {
        let is_raised = self.cluster_level.send_if_modified(|known| {
            let before = std::mem::replace(known, level.max(*known));
            before < level
        });
        if !is_raised {
            return;
        }
        let dialled = lock(&self.dialled_here);
        let too_old = dialled.values().flatten().filter(|one| one.level < level);
        too_old.for_each(|one| one.connection.close(CloseCode::Normal, TOO_OLD));
        drop(dialled);
        lock(&self.peers).values().for_each(|peer| peer.close_below(level));
    }

    /// The highest level that a member's process knows, by the connections to it that stand; none if there is none.
    #[must_use]
    pub fn known_level(&self, member: u64, incarnation: Incarnation) -> Option<Level> {
        let dialled = lock(&self.dialled_here);
        let dialled = dialled.get(&(member, incarnation)).into_iter().flatten();
        let dialled = dialled.filter(|one| one.connection.close_reason().is_none());
        let peers = lock(&self.peers);
        let peers = peers
            .iter()
            .filter(|(key, _)| (key.member, key.incarnation) == (member, incarnation))
            .filter_map(|(_, peer)| peer.level());
        // The lowest: connections of a process that has ended may stand for a while beside those of the next.
        dialled.map(|one| one.level).chain(peers).min()
    }
}

/// Why a connection is closed when the level has risen.
pub(super) const TOO_OLD: &str =
    "the cluster's feature level has risen above what that member knows";
