//! Watches: which changes are events, and which watches an event is for. It does not know who watches, nor how events travel.
//!
//! Created, set and deleted znodes are events, whoever did it: recipes, the reaper and the end of a session too. What is
//! bookkeeping is none: sessions, replies, deployments, and a call-owned znode that becomes an ephemeral one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::access::Acl;
use crate::change::Change;
use crate::ids::Zxid;
use crate::path::Path;
use crate::znode::Lifetime;

/// Which events of a path a watch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The znode itself: created, set, deleted.
    Node,
    /// Its direct children created and deleted, and itself deleted.
    Children,
    /// The znode and everything below it.
    Subtree,
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Which.
    pub path: &'a Path,
    /// What.
    pub kind: EventKind<'a>,
    /// The znode's own access list at that time.
    pub acl: Option<&'a Acl>,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind<'a> {
    /// It came into being, with data version 0.
    Created {
        /// Its data.
        data: &'a Bytes,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Its data was set.
    Set {
        /// The data from now on.
        data: &'a Bytes,
        /// Its version.
        version: u64,
        /// The transaction that set the data before.
        previous: Zxid,
    },
    /// It was deleted.
    Deleted {
        /// Its last version.
        version: u64,
        /// The transaction that set its last data.
        previous: Zxid,
    },
}

impl<'a> Event<'a> {
    /// The event of a change, if it is one.
    #[must_use]
    pub fn of(change: &'a Change) -> Option<Self> {
        let (path, kind, acl) = match change {
            Change::NodeCreated { path, data, lifetime, acl } => {
                (path, EventKind::Created { data, lifetime: *lifetime }, acl)
            }
            Change::DataSet { path, data, version, previous, acl } => {
                (path, EventKind::Set { data, version: *version, previous: *previous }, acl)
            }
            Change::NodeDeleted { path, version, previous, acl } => {
                (path, EventKind::Deleted { version: *version, previous: *previous }, acl)
            }
            _ => return None,
        };
        Some(Self { path, kind, acl: acl.as_ref() })
    }

    /// The data that the znode has from now on; none when it was deleted.
    #[must_use]
    pub fn data(&self) -> Option<&'a Bytes> {
        match self.kind {
            EventKind::Created { data, .. } | EventKind::Set { data, .. } => Some(data),
            EventKind::Deleted { .. } => None,
        }
    }

    /// The transaction that set the data which the znode had before; none when there was no znode.
    #[must_use]
    pub fn previous(&self) -> Option<Zxid> {
        match self.kind {
            EventKind::Created { .. } => None,
            EventKind::Set { previous, .. } | EventKind::Deleted { previous, .. } => Some(previous),
        }
    }

    /// Whether a watch of this scope on this path is told of it.
    #[must_use]
    pub fn is_for(&self, scope: Scope, watched: &Path) -> bool {
        match scope {
            Scope::Node => self.path == watched,
            Scope::Children => {
                (self.changes_children() && parent(self.path.as_str()) == Some(watched.as_str()))
                    || (self.is_deletion() && self.path == watched)
            }
            Scope::Subtree => watched.covers(self.path),
        }
    }

    fn is_deletion(&self) -> bool {
        matches!(self.kind, EventKind::Deleted { .. })
    }

    /// Whether the znode's parent has other children from now on.
    fn changes_children(&self) -> bool {
        !matches!(self.kind, EventKind::Set { .. })
    }
}

/// The text of the parent's path; none for the root's.
fn parent(path: &str) -> Option<&str> {
    match path.rfind('/') {
        _ if path == "/" => None,
        None => None,
        Some(0) => Some("/"),
        Some(at) => Some(&path[..at]),
    }
}

/// Watches by where they are: what an event costs does not depend on how many others there are.
#[derive(Debug)]
pub struct Index<K> {
    places: BTreeMap<Path, Place<K>>,
}

/// The watches on one path, by scope.
#[derive(Debug)]
struct Place<K> {
    node: BTreeSet<K>,
    children: BTreeSet<K>,
    subtree: BTreeSet<K>,
}

impl<K> Place<K> {
    fn of(&mut self, scope: Scope) -> &mut BTreeSet<K> {
        match scope {
            Scope::Node => &mut self.node,
            Scope::Children => &mut self.children,
            Scope::Subtree => &mut self.subtree,
        }
    }

    fn is_empty(&self) -> bool {
        self.node.is_empty() && self.children.is_empty() && self.subtree.is_empty()
    }
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { places: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Index<K> {
    /// Whether there is no watch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Adds a watch. A key stands for one watch.
    pub fn insert(&mut self, scope: Scope, path: Path, key: K) {
        let place = self.places.entry(path).or_insert_with(|| Place {
            node: BTreeSet::new(),
            children: BTreeSet::new(),
            subtree: BTreeSet::new(),
        });
        place.of(scope).insert(key);
    }

    /// Takes a watch away; nothing happens if it is not there.
    pub fn remove(&mut self, scope: Scope, path: &Path, key: K) {
        let Some(place) = self.places.get_mut(path.as_str()) else { return };
        place.of(scope).remove(&key);
        if place.is_empty() {
            self.places.remove(path.as_str());
        }
    }

    /// All watches that are told of an event, each once: a look-up for the znode and for each of its ancestors.
    pub fn matches(&self, event: &Event<'_>, mut found: impl FnMut(K)) {
        if self.places.is_empty() {
            return;
        }
        let mut take = |keys: &BTreeSet<K>| keys.iter().copied().for_each(&mut found);
        let mut at = event.path.as_str();
        if let Some(place) = self.places.get(at) {
            take(&place.node);
            take(&place.subtree);
            if event.is_deletion() {
                take(&place.children);
            }
        }
        let mut is_parent = event.changes_children();
        while let Some(above) = parent(at) {
            if let Some(place) = self.places.get(above) {
                take(&place.subtree);
                if is_parent {
                    take(&place.children);
                }
            }
            is_parent = false;
            at = above;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("valid")
    }

    fn created(text: &str) -> Change {
        let (path, lifetime) = (path(text), Lifetime::Persistent);
        Change::NodeCreated { path, data: Bytes::new(), lifetime, acl: None }
    }

    fn set(text: &str) -> Change {
        let (path, data) = (path(text), Bytes::new());
        Change::DataSet { path, data, version: 1, previous: Zxid(1), acl: None }
    }

    fn deleted(text: &str) -> Change {
        Change::NodeDeleted { path: path(text), version: 1, previous: Zxid(1), acl: None }
    }

    fn found(index: &Index<u32>, change: &Change) -> Vec<u32> {
        let mut keys = Vec::new();
        index.matches(&Event::of(change).expect("an event"), |key| keys.push(key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn each_scope_is_told_of_its_own() {
        let mut index = Index::default();
        index.insert(Scope::Node, path("/a"), 1);
        index.insert(Scope::Children, path("/a"), 2);
        index.insert(Scope::Subtree, path("/a"), 3);
        index.insert(Scope::Children, path("/"), 4);
        index.insert(Scope::Subtree, path("/"), 5);
        assert_eq!(found(&index, &created("/a")), [1, 3, 4, 5]);
        assert_eq!(found(&index, &set("/a")), [1, 3, 5]);
        assert_eq!(found(&index, &deleted("/a")), [1, 2, 3, 4, 5]);
        assert_eq!(found(&index, &created("/a/b")), [2, 3, 5]);
        assert_eq!(found(&index, &set("/a/b")), [3, 5]);
        assert_eq!(found(&index, &deleted("/a/b/c")), [3, 5]);
        assert_eq!(found(&index, &created("/ab")), [4, 5], "not below /a");
        assert_eq!(found(&index, &set("/")), [5], "the root is a child of nobody");
        index.remove(Scope::Children, &path("/a"), 2);
        index.remove(Scope::Children, &path("/a"), 2);
        assert_eq!(found(&index, &deleted("/a")), [1, 3, 4, 5]);
        for (scope, at, key) in [
            (Scope::Node, "/a", 1),
            (Scope::Subtree, "/a", 3),
            (Scope::Children, "/", 4),
            (Scope::Subtree, "/", 5),
        ] {
            index.remove(scope, &path(at), key);
        }
        assert!(index.is_empty());
    }

    #[test]
    fn what_is_bookkeeping_is_no_event() {
        let released = Change::NodeReleased { path: path("/a") };
        assert_eq!(Event::of(&released), None);
        let forgotten = Change::SessionForgotten { session: crate::ids::SessionId(1) };
        assert_eq!(Event::of(&forgotten), None);
    }

    /// Few names, so that watches and events meet; some are prefixes of others.
    fn paths() -> impl Strategy<Value = Path> {
        prop::collection::vec(prop::sample::select(vec!["a", "ab", "b"]), 0..5).prop_map(
            |elements| {
                if elements.is_empty() {
                    Path::root()
                } else {
                    path(&format!("/{}", elements.join("/")))
                }
            },
        )
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        prop::sample::select(vec![Scope::Node, Scope::Children, Scope::Subtree])
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_look_at_every_watch_finds(
            watches in prop::collection::vec((scopes(), paths(), any::<bool>()), 0..40),
            events in prop::collection::vec((0..3, paths()), 1..20),
        ) {
            let mut index = Index::default();
            for (key, (scope, path, _)) in (0u32..).zip(&watches) {
                index.insert(*scope, path.clone(), key);
            }
            for (key, (scope, path, is_removed)) in (0u32..).zip(&watches) {
                if *is_removed {
                    index.remove(*scope, path, key);
                }
            }
            for (kind, at) in events {
                let change = match kind {
                    0 => created(at.as_str()),
                    1 => set(at.as_str()),
                    _ => deleted(at.as_str()),
                };
                let event = Event::of(&change).expect("an event");
                let naive: Vec<u32> = (0u32..)
                    .zip(&watches)
                    .filter(|(_, (scope, path, is_removed))| {
                        !is_removed && event.is_for(*scope, path)
                    })
                    .map(|(key, _)| key)
                    .collect();
                prop_assert_eq!(found(&index, &change), naive, "{:?}", change);
            }
        }
    }
}
