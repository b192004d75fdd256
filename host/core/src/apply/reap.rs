//! When a container or TTL znode may be deleted: kept in its record, and as a mark in the order of time. That it is deleted
//! then is the leader's transaction, like any other (DESIGN D2).

use bytes::Bytes;

use crate::draft::Draft;
use crate::ids::Millis;
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::read::Read;
use crate::znode::{Lifetime, Node};

/// Brings the mark of a znode to what its record says now. The record is the caller's to write.
pub(super) fn schedule<R: Read>(draft: &mut Draft<R>, path: &Path, node: &mut Node, now: Millis) {
    let at = due(node, now);
    if at == node.reap_at {
        return;
    }
    if let Some(before) = node.reap_at {
        draft.delete(key::reap(before.0, path));
    }
    if let Some(at) = at {
        draft.put(key::reap(at.0, path), Bytes::new());
    }
    node.reap_at = at;
}

fn due(node: &Node, now: Millis) -> Option<Millis> {
    match node.lifetime {
        _ if node.children_count > 0 => None,
        Lifetime::Ttl(ms) => Some(node.mtime.plus(ms)),
        // Counted from the deletion of its last child, whatever is done to the container meanwhile.
        Lifetime::Container if node.children_created > 0 => {
            Some(node.reap_at.unwrap_or_else(|| now.plus(limits::CONTAINER_EMPTY_MS)))
        }
        _ => None,
    }
}
