//! The znodes of a cache, and what an event does to them. It knows the counters of a stat, and not where events come from.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_core::error::Refusal;
use quorate_core::znode::Stat;
use quorate_wire::message::watch::{Event, EventKind};

use super::CachedZnode;
use crate::outbox::Change;

/// What counts for a znode beside its path and data: its stat, and what the maps take.
const ZNODE_BYTES: usize = 320;

#[derive(Debug)]
struct Node {
    data: Bytes,
    stat: Stat,
    children: BTreeSet<String>,
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    bytes: usize,
    znodes_max: usize,
    bytes_max: usize,
}

impl Tree {
    pub(super) fn new(znodes_max: usize, bytes_max: usize) -> Self {
        Self { nodes: BTreeMap::new(), bytes: 0, znodes_max, bytes_max }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.bytes = 0;
    }

    pub(super) fn get(&self, path: &str) -> Option<CachedZnode> {
        let node = self.nodes.get(path)?;
        Some(CachedZnode { data: node.data.clone(), stat: node.stat })
    }

    pub(super) fn stat(&self, path: &str) -> Option<Stat> {
        Some(self.nodes.get(path)?.stat)
    }

    pub(super) fn children(&self, path: &str) -> Option<Vec<String>> {
        Some(self.nodes.get(path)?.children.iter().cloned().collect())
    }

    /// A znode as it was read. Parents come before their children.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn insert(&mut self, path: &str, data: Bytes, stat: Stat) -> Result<(), Refusal> {
        // A slice of what came over the network would keep all of that.
        let data = Bytes::copy_from_slice(&data);
        self.bytes += ZNODE_BYTES + 2 * path.len() + data.len();
        self.nodes.insert(path.to_owned(), Node { data, stat, children: BTreeSet::new() });
        if let Some((parent, name)) = split(path)
            && let Some(parent) = self.nodes.get_mut(parent)
        {
            parent.children.insert(name.to_owned());
        }
        self.check()
    }

    /// What a transaction did, all of it.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        for event in &change.events {
            self.apply_event(change, event)?;
        }
        Ok(())
    }

    fn apply_event(&mut self, change: &Change, event: &Event) -> Result<(), Refusal> {
        let data = event.data.clone().unwrap_or_default();
        let (zxid, time) = (change.zxid, change.time);
        match event.kind {
            EventKind::Created(lifetime) => {
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: time,
                    mtime: time,
                    version: event.version,
                    cversion: 0,
                    aversion: 0,
                    lifetime,
                    data_bytes: data.len() as u64,
                    children_count: 0,
                };
                self.touch_parent(change, event);
                self.insert(&event.path, data, stat)?;
            }
            EventKind::Set => {
                let Some(node) = self.nodes.get_mut(&event.path) else { return Ok(()) };
                self.bytes = self.bytes + data.len() - node.data.len();
                node.stat.mzxid = zxid;
                node.stat.mtime = time;
                node.stat.version = event.version;
                node.stat.data_bytes = data.len() as u64;
                node.data = Bytes::copy_from_slice(&data);
            }
            EventKind::Deleted => {
                if let Some(node) = self.nodes.remove(&event.path) {
                    self.bytes -= ZNODE_BYTES + 2 * event.path.len() + node.data.len();
                }
                self.touch_parent(change, event);
            }
        }
        self.check()
    }

    /// A child has come or gone.
    fn touch_parent(&mut self, change: &Change, event: &Event) {
        let Some((parent, name)) = split(&event.path) else { return };
        let Some(parent) = self.nodes.get_mut(parent) else { return };
        parent.stat.pzxid = change.zxid;
        parent.stat.cversion += 1;
        if event.kind == EventKind::Deleted {
            parent.children.remove(name);
            parent.stat.children_count = parent.stat.children_count.saturating_sub(1);
        } else {
            parent.stat.children_count += 1;
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        let limits = [
            ("znodes of a cache", self.nodes.len(), self.znodes_max),
            ("bytes of a cache", self.bytes, self.bytes_max),
        ];
        for (what, value, max) in limits {
            if value > max {
                return Err(Refusal::limit(what, value as u64, max as u64));
            }
        }
        Ok(())
    }
}

/// The parent of a znode, and the name that it has there.
fn split(path: &str) -> Option<(&str, &str)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then_some((if parent.is_empty() { "/" } else { parent }, name))
}
