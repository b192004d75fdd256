//! What must hold of a tree after every transaction (DESIGN section 4): counts are what a scan counts, owners live, no
//! record is orphaned, the digest is the sum over all records. Knows nothing of how the tree came about.

use std::collections::BTreeMap;

use quorate_core::deployment::{Component, ComponentDigest, Version};
use quorate_core::draft::{ReadRecords, record_hash};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::query;
use quorate_core::query::subtree::Below;
use quorate_core::read::{Direction, MemoryTree, Read};
use quorate_core::session::{KeptReply, Parked, Session};
use quorate_core::znode::{Lifetime, Node};

/// Panics with what does not hold.
pub fn check(tree: &MemoryTree) {
    let digest = tree
        .records()
        .iter()
        .filter(|(key, _)| key::counts_in_digest(key))
        .fold(0u128, |sum, (key, value)| sum.wrapping_add(record_hash(key, value)));
    assert_eq!(tree.meta().digest, digest, "the digest is the sum over all records");
    let nodes = nodes(tree);
    check_families(&nodes);
    check_data(tree, &nodes);
    check_below(tree, &nodes);
    let (from, to) = key::quotas(None);
    let quotas = tree.range(&from, &to, Direction::Forward).count() as u64;
    assert_eq!(tree.quotas_count(), quotas, "quotas are counted");
    check_owners(tree, &nodes);
    check_reaping(tree, &nodes);
    check_sessions(tree);
    check_principals(tree);
    check_recipes(tree);
    check_components(tree);
}

/// All znodes, by path; the root among them.
pub fn nodes(tree: &MemoryTree) -> BTreeMap<Path, Node> {
    let mut nodes: BTreeMap<Path, Node> = tree
        .records()
        .into_iter()
        .filter(|(key, _)| key.first() == Some(&(key::Table::Node as u8)))
        .map(|(key, value)| {
            let text = std::str::from_utf8(&key[3..]).expect("paths are text");
            let path = Path::parse(text).expect("a stored path is valid");
            assert_eq!(key, key::node(&path));
            (path, Node::decode(value).expect("a stored znode decodes"))
        })
        .collect();
    nodes.insert(Path::root(), query::node(tree, &Path::root()).expect("the root is there"));
    nodes
}

fn check_families(nodes: &BTreeMap<Path, Node>) {
    let mut counts: BTreeMap<Path, u64> = BTreeMap::new();
    for path in nodes.keys() {
        let Some(parent_path) = path.parent() else { continue };
        let parent = nodes.get(&parent_path).expect("every znode has a parent");
        assert!(parent.may_have_children(), "{parent_path} goes with a session and has {path}");
        assert!(
            parent.first_child_bound.as_str() <= path.name(),
            "{path} stands before the bound {:?}",
            parent.first_child_bound
        );
        *counts.entry(parent_path).or_default() += 1;
    }
    for (path, node) in nodes {
        let count = counts.get(path).copied().unwrap_or(0);
        assert_eq!(node.children_count, count, "children of {path}");
        assert!(node.children_created >= count);
        assert!(node.czxid <= node.mzxid && node.czxid <= node.pzxid);
    }
}

fn check_data(tree: &MemoryTree, nodes: &BTreeMap<Path, Node>) {
    for (path, node) in nodes {
        let data = tree.data(path);
        assert_eq!(data.is_some(), node.data_bytes > 0, "data of {path}");
        let data = data.unwrap_or_default();
        assert_eq!(node.data_bytes, data.len() as u64);
        assert_eq!(node.data_hash, xxhash_rust::xxh3::xxh3_128(&data), "hash of {path}");
    }
    let records = tree.records();
    let stored = records.keys().filter(|key| key.first() == Some(&(key::Table::Data as u8)));
    let expected = nodes.values().filter(|node| node.data_bytes > 0).count();
    assert_eq!(stored.count(), expected, "data without a znode");
}

/// The counts of what is below each znode are what a walk counts, and there are none of nothing.
fn check_below(tree: &MemoryTree, nodes: &BTreeMap<Path, Node>) {
    let mut counted: BTreeMap<Path, Below> = BTreeMap::new();
    for (path, node) in nodes {
        let mut at = path.parent();
        while let Some(ancestor) = at {
            let below = counted.entry(ancestor.clone()).or_default();
            below.znodes += 1;
            below.bytes += node.data_bytes;
            at = ancestor.parent();
        }
    }
    let records = tree.records().into_iter();
    let stored: BTreeMap<Path, Below> = records
        .filter(|(key, _)| key.first() == Some(&(key::Table::Below as u8)))
        .map(|(key, value)| {
            let path = key::path_of(&key).expect("the path of a znode");
            (path, Below::decode(value).expect("a stored count decodes"))
        })
        .collect();
    assert_eq!(stored, counted, "what is below each znode");
}

fn check_owners(tree: &MemoryTree, nodes: &BTreeMap<Path, Node>) {
    let mut owned: BTreeMap<SessionId, u64> = BTreeMap::new();
    for (path, node) in nodes {
        let Some(id) = node.lifetime.session() else { continue };
        let mark = key::owned(id, node.lifetime.call_write(), path);
        assert!(tree.get(&mark).is_some(), "{path} has no mark of its owner");
        let session = tree.session(id).expect("an ephemeral znode has a session");
        assert!(session.is_live(), "{path} is there and session {id} has ended");
        if let Lifetime::CallOwned(call) = node.lifetime {
            let parked = tree.parked(call.session, call.write);
            assert!(parked.is_some(), "{path} is owned by call {call}, which is over");
        }
        *owned.entry(id).or_default() += 1;
    }
    let records = tree.records();
    let marks = records.keys().filter(|key| key.first() == Some(&(key::Table::Owned as u8)));
    assert_eq!(marks.count() as u64, owned.values().sum::<u64>(), "marks without a znode");
    for (id, session) in sessions(tree) {
        assert_eq!(session.owned_count, owned.get(&id).copied().unwrap_or(0), "session {id}");
    }
}

/// A container or TTL znode stands under the time from which it may be deleted if it has no children, and nothing else does.
fn check_reaping(tree: &MemoryTree, nodes: &BTreeMap<Path, Node>) {
    let mut marks = Vec::new();
    for (path, node) in nodes {
        let may_go = node.children_count == 0
            && match node.lifetime {
                Lifetime::Ttl(ms) => {
                    assert!(
                        node.children_created > 0 || node.reap_at == Some(node.mtime.plus(ms)),
                        "{path} lives for {ms} ms from its last set"
                    );
                    true
                }
                Lifetime::Container => node.children_created > 0,
                _ => false,
            };
        assert_eq!(node.reap_at.is_some(), may_go, "{path} may be deleted some time");
        marks.extend(node.reap_at.map(|at| key::reap(at.0, path)));
    }
    marks.sort();
    let records = tree.records();
    let stored = records.keys().filter(|key| key.first() == Some(&(key::Table::Reap as u8)));
    assert!(stored.eq(marks.iter()), "marks of what may be deleted");
}

/// All sessions.
pub fn sessions(tree: &MemoryTree) -> BTreeMap<SessionId, Session> {
    let (from, to) = key::sessions();
    tree.range(&from, &to, Direction::Forward)
        .map(|(key, value)| {
            let id = key::session_of(&key).expect("a session's key");
            (id, Session::decode(value).expect("a stored session decodes"))
        })
        .collect()
}

fn check_sessions(tree: &MemoryTree) {
    let sessions = sessions(tree);
    let live = sessions.values().filter(|session| session.is_live()).count() as u64;
    assert_eq!(tree.meta().sessions_count, live);
    let mut kept: BTreeMap<SessionId, (u64, u64)> = BTreeMap::new();
    let mut parked: BTreeMap<SessionId, u64> = BTreeMap::new();
    for (key, value) in tree.records() {
        let Some(&table) = key.first() else { continue };
        let owner = |what: &str| -> (SessionId, WriteNumber, Session) {
            let (id, write) = key::write_of(&key).expect("a key of session and write");
            let session = sessions.get(&id);
            let session = session.unwrap_or_else(|| panic!("{what} {id}:{write} is an orphan"));
            assert!(write <= session.last_write);
            (id, write, session.clone())
        };
        if table == key::Table::Reply as u8 {
            let (id, write, session) = owner("reply");
            assert!(write > session.acked, "reply {id}:{write} was acknowledged and is kept");
            assert!(tree.parked(id, write).is_none(), "{id}:{write} is parked and answered");
            let reply = KeptReply::decode(value).expect("a stored reply decodes").reply;
            let entry = kept.entry(id).or_default();
            *entry = (entry.0 + 1, entry.1 + reply.len() as u64);
            quorate_core::request::Reply::decode(reply).expect("what was answered can be read");
        } else if table == key::Table::Parked as u8 {
            let (id, write, session) = owner("parked call");
            assert!(session.is_live(), "{id}:{write} is parked and its session has ended");
            Parked::decode(value).expect("a stored parked call decodes");
            *parked.entry(id).or_default() += 1;
        }
    }
    for (id, session) in &sessions {
        let (count, bytes) = kept.get(id).copied().unwrap_or_default();
        assert_eq!((session.kept_count, session.kept_bytes), (count, bytes), "session {id}");
        assert_eq!(session.parked_count, parked.get(id).copied().unwrap_or(0), "session {id}");
        if let Some((at, _)) = session.ended {
            assert!(tree.get(&key::ended(at.0, *id)).is_some(), "session {id} has no tombstone");
        }
    }
    let (from, to) = key::ended_before(u64::MAX);
    let ended = tree.range(&from, &to, Direction::Forward).count() as u64;
    assert_eq!(ended + live, sessions.len() as u64);
}

/// What is counted for each principal is the sum over its sessions, and nothing is counted for those that have none.
fn check_principals(tree: &MemoryTree) {
    let mut summed: BTreeMap<String, Holdings> = BTreeMap::new();
    for session in sessions(tree).into_values() {
        let holdings = summed.entry(session.principal.clone()).or_default();
        holdings.sessions_count += u64::from(session.is_live());
        holdings.parked_count += session.parked_count;
        holdings.owned_count += session.owned_count;
    }
    summed.retain(|principal, holdings| !principal.is_empty() && !holdings.is_empty());
    let (from, to) = key::principals();
    let stored: BTreeMap<String, Holdings> = tree
        .range(&from, &to, Direction::Forward)
        .map(|(key, value)| {
            let name = key::principal_name(&key).expect("names are text").to_owned();
            (name, Holdings::decode(value).expect("what was stored decodes"))
        })
        .collect();
    assert_eq!(stored, summed, "what the sessions of each principal hold");
}

fn check_recipes(tree: &MemoryTree) {
    let (from, to) = key::recipes();
    for (key, _) in tree.range(&from, &to, Direction::Forward) {
        let name = std::str::from_utf8(&key[1..]).expect("names are text");
        let recipe = tree.recipe(name).expect("it was just listed");
        if let Some(active) = recipe.active {
            let version = tree.version(name, active).expect("the active version is there");
            assert!(tree.component(&version.component).is_some(), "a version without component");
        }
        let (from, to) = key::versions(name);
        let versions = tree.range(&from, &to, Direction::Forward).count() as u64;
        assert!(versions <= limits::RECIPE_VERSIONS_MAX, "{name} has {versions} versions");
    }
}

/// A component is there while a version names it or a session that lives uploads it; a chunk, while its component is there
/// or is uploaded.
fn check_components(tree: &MemoryTree) {
    let mut named: BTreeMap<ComponentDigest, u64> = BTreeMap::new();
    let mut uploaded: BTreeMap<ComponentDigest, u64> = BTreeMap::new();
    let mut marks = 0;
    let in_table = |table: key::Table| {
        tree.records().into_iter().filter(move |(key, _)| key.first() == Some(&(table as u8)))
    };
    for (_, value) in in_table(key::Table::Version) {
        let version = Version::decode(value).expect("a stored version decodes");
        *named.entry(version.component).or_default() += 1;
    }
    for (key, _) in in_table(key::Table::Upload) {
        let id = key::session_of(&key).expect("a session's key");
        let component = key::uploaded(&key).expect("a key with a digest");
        assert!(tree.session(id).is_some_and(|session| session.is_live()), "{id} has ended");
        assert!(tree.get(&key::uploader(&component, id)).is_some(), "the mark has two sides");
        *uploaded.entry(component).or_default() += 1;
        marks += 1;
    }
    assert_eq!(in_table(key::Table::Uploader).count(), marks, "the mark has two sides");
    for (key, value) in in_table(key::Table::Component) {
        let digest: ComponentDigest = key[1..].try_into().expect("a digest");
        let component = Component::decode(value).expect("a stored component decodes");
        assert_eq!(component.versions_count, named.remove(&digest).unwrap_or(0));
        assert!(component.versions_count > 0 || uploaded.contains_key(&digest), "nobody needs it");
        let whole = tree.component_bytes(&digest).expect("a component that was stored is whole");
        assert_eq!(component.bytes, whole.len() as u64);
    }
    assert!(named.is_empty(), "a version names a component that is not there");
    for (key, _) in in_table(key::Table::Chunk) {
        let digest: ComponentDigest = key[1..33].try_into().expect("a digest");
        assert!(
            tree.component(&digest).is_some() || uploaded.contains_key(&digest),
            "a chunk that nobody needs"
        );
    }
}
