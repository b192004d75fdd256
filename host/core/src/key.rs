//! Where each record stands: tables, and keys whose order is the order of scans. A key begins with its table; the
//! namespace stands before it, put there by whoever keeps many namespaces in one store.

use bytes::Bytes;

use crate::access::Object;
use crate::ids::{SessionId, WriteNumber, Zxid};
use crate::path::Path;

/// Tables, by their first byte. Numbers are frozen: they are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// One record: last zxid, time, digest, leadership.
    Meta = 0x00,
    /// One record: the feature level, if it is above the first. Stands before all that may depend on it.
    Level = 0x01,
    /// depth (2 bytes), path -> znode record without its data.
    Node = 0x10,
    /// depth, path -> data. Not in the digest: the znode's record holds its hash.
    Data = 0x11,
    /// time, path -> nothing: container and TTL znodes without children, by when they may be deleted.
    Reap = 0x12,
    /// depth, path -> how much is below the znode; for znodes with children only.
    Below = 0x13,
    /// path -> quota of the subtree; without a path, how many there are.
    Quota = 0x14,
    /// session -> session record.
    Session = 0x20,
    /// session, write number -> kept reply.
    Reply = 0x21,
    /// session, write number -> parked call.
    Parked = 0x22,
    /// session, write number of the owning call or 0, path -> nothing: the znodes that go with a session or call.
    Owned = 0x23,
    /// time of its end, session -> nothing: ended sessions in the order in which they are forgotten.
    Ended = 0x24,
    /// principal -> what its sessions hold together; for those with a session that lives only.
    Principal = 0x25,
    /// name -> recipe record.
    Recipe = 0x30,
    /// name, 0, version -> deployed version.
    Version = 0x31,
    /// digest of a component -> size and chunks.
    Component = 0x32,
    /// digest, index -> bytes. Not in the digest: the component is named by its own.
    Chunk = 0x33,
    /// session, digest -> nothing: the components that a session uploads and has not deployed.
    Upload = 0x34,
    /// digest, session -> nothing: the same, by component.
    Uploader = 0x35,
    /// One record: what holds where there are no rules, and how many objects have some.
    Access = 0x40,
    /// kind, name -> the rules on an object.
    Rules = 0x41,
}

impl Table {
    const ALL: [Self; 21] = [
        Self::Meta,
        Self::Level,
        Self::Node,
        Self::Data,
        Self::Reap,
        Self::Below,
        Self::Quota,
        Self::Session,
        Self::Reply,
        Self::Parked,
        Self::Owned,
        Self::Ended,
        Self::Principal,
        Self::Recipe,
        Self::Version,
        Self::Component,
        Self::Chunk,
        Self::Upload,
        Self::Uploader,
        Self::Access,
        Self::Rules,
    ];
}

/// The table of a key; none of what no version of ours wrote.
#[must_use]
pub fn table(key: &[u8]) -> Option<Table> {
    let first = *key.first()?;
    Table::ALL.into_iter().find(|table| *table as u8 == first)
}

/// Whether records of the key's table count in the state digest.
#[must_use]
pub fn counts_in_digest(key: &[u8]) -> bool {
    key.first().is_some_and(|&table| {
        table != Table::Meta as u8 && table != Table::Data as u8 && table != Table::Chunk as u8
    })
}

/// The one meta record.
#[must_use]
pub fn meta() -> Bytes {
    Bytes::from_static(&[Table::Meta as u8])
}

/// The one record of the feature level.
#[must_use]
pub fn level() -> Bytes {
    Bytes::from_static(&[Table::Level as u8])
}

fn of_path(table: Table, depth: u16, text: &str) -> Bytes {
    let mut key = Vec::with_capacity(3 + text.len());
    key.push(table as u8);
    key.extend_from_slice(&depth.to_be_bytes());
    key.extend_from_slice(text.as_bytes());
    Bytes::from(key)
}

/// The record of a znode.
#[must_use]
pub fn node(path: &Path) -> Bytes {
    of_path(Table::Node, path.depth(), path.as_str())
}

/// The data of a znode.
#[must_use]
pub fn data(path: &Path) -> Bytes {
    of_path(Table::Data, path.depth(), path.as_str())
}

/// The quota of a subtree.
#[must_use]
pub fn quota(path: &Path) -> Bytes {
    of_numbers(Table::Quota, &[], path.as_str().as_bytes())
}

/// The one record of how many quotas there are.
#[must_use]
pub fn quotas_count() -> Bytes {
    Bytes::from_static(&[Table::Quota as u8])
}

/// Quotas of paths behind this one, in bytewise order; all without one.
#[must_use]
pub fn quotas(behind: Option<&Path>) -> (Bytes, Bytes) {
    let first = behind.map_or_else(quotas_count, quota);
    (after(&first), table_range(Table::Quota).1)
}

/// The path in a key of the table `Quota`; none of the record that counts them.
#[must_use]
pub fn quota_path(key: &[u8]) -> Option<Path> {
    Path::parse(std::str::from_utf8(key.get(1..)?).ok()?).ok()
}

/// How much is below a znode.
#[must_use]
pub fn below(path: &Path) -> Bytes {
    of_path(Table::Below, path.depth(), path.as_str())
}

/// The path in a key of the tables `Node`, `Data` and `Below`.
#[must_use]
pub fn path_of(key: &[u8]) -> Option<Path> {
    let path = Path::parse(std::str::from_utf8(key.get(3..)?).ok()?).ok()?;
    (key.get(1..3)? == path.depth().to_be_bytes()).then_some(path)
}

/// The keys of a znode's direct children: one contiguous range, in the order of their names.
#[must_use]
pub fn children(parent: &Path) -> (Bytes, Bytes) {
    (child_slot(parent, ""), children_end(parent))
}

/// Where a child of this name stands or would stand; the name need not be valid.
#[must_use]
pub fn child_slot(parent: &Path, name: &str) -> Bytes {
    let slash = if parent.is_root() { "" } else { "/" };
    of_path(Table::Node, parent.depth() + 1, &format!("{parent}{slash}{name}"))
}

/// Behind the last child: `0` follows `/` in ASCII.
fn children_end(parent: &Path) -> Bytes {
    let text = if parent.is_root() { "0".to_owned() } else { format!("{parent}0") };
    of_path(Table::Node, parent.depth() + 1, &text)
}

/// The name of the child whose record has this key.
#[must_use]
pub fn child_name(key: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(key.get(3..)?).ok()?;
    text.rfind('/').map(|at| &text[at + 1..])
}

fn of_numbers(table: Table, numbers: &[u64], tail: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len() + tail.len());
    key.push(table as u8);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key.extend_from_slice(tail);
    Bytes::from(key)
}

/// The record of a session.
#[must_use]
pub fn session(id: SessionId) -> Bytes {
    of_numbers(Table::Session, &[id.0], &[])
}

/// All sessions.
#[must_use]
pub fn sessions() -> (Bytes, Bytes) {
    table_range(Table::Session)
}

/// The kept reply of a write.
#[must_use]
pub fn reply(id: SessionId, write: WriteNumber) -> Bytes {
    of_numbers(Table::Reply, &[id.0, write.0], &[])
}

/// The kept replies of a session with `from <= write number <= to`.
#[must_use]
pub fn replies(id: SessionId, from: WriteNumber, to: WriteNumber) -> (Bytes, Bytes) {
    (reply(id, from), after(&reply(id, to)))
}

/// The record of a parked call.
#[must_use]
pub fn parked(id: SessionId, write: WriteNumber) -> Bytes {
    of_numbers(Table::Parked, &[id.0, write.0], &[])
}

/// All parked calls of a session.
#[must_use]
pub fn parked_of(id: SessionId) -> (Bytes, Bytes) {
    with_prefix(of_numbers(Table::Parked, &[id.0], &[]))
}

/// All parked calls.
#[must_use]
pub fn parked_all() -> (Bytes, Bytes) {
    table_range(Table::Parked)
}

/// The mark that a session (write number 0) or a call of it owns a znode.
#[must_use]
pub fn owned(id: SessionId, call: WriteNumber, path: &Path) -> Bytes {
    of_numbers(Table::Owned, &[id.0, call.0], path.as_str().as_bytes())
}

/// All znodes that go with a call.
#[must_use]
pub fn owned_by_call(id: SessionId, call: WriteNumber) -> (Bytes, Bytes) {
    with_prefix(of_numbers(Table::Owned, &[id.0, call.0], &[]))
}

/// All znodes that go with a session, those of its calls included.
#[must_use]
pub fn owned_by_session(id: SessionId) -> (Bytes, Bytes) {
    with_prefix(of_numbers(Table::Owned, &[id.0], &[]))
}

/// Where the mark of this text stands or would stand among the znodes that go with a session and with no call of it.
#[must_use]
pub fn owned_by_session_text(id: SessionId, text: &str) -> Bytes {
    of_numbers(Table::Owned, &[id.0, 0], text.as_bytes())
}

/// The mark that a session owns this znode, and no call of it.
#[must_use]
pub fn owned_by_session_at(id: SessionId, path: &Path) -> Bytes {
    owned_by_session_text(id, path.as_str())
}

/// All znodes below this one that go with a session and with no call of it.
#[must_use]
pub fn owned_by_session_below(id: SessionId, path: &Path) -> (Bytes, Bytes) {
    let text = if path.is_root() { "" } else { path.as_str() };
    // `0` follows `/` in ASCII. The root itself is nobody's.
    let end = |last: char| owned_by_session_text(id, &format!("{text}{last}"));
    (end('/'), end('0'))
}

/// The path in a key of the table `Owned`.
#[must_use]
pub fn owned_path(key: &[u8]) -> Option<Path> {
    Path::parse(std::str::from_utf8(key.get(17..)?).ok()?).ok()
}

/// The mark that a znode may be deleted from this time on.
#[must_use]
pub fn reap(at_ms: u64, path: &Path) -> Bytes {
    of_numbers(Table::Reap, &[at_ms], path.as_str().as_bytes())
}

/// Marks of znodes that may be deleted at this time.
#[must_use]
pub fn reap_until(at_ms: u64) -> (Bytes, Bytes) {
    (of_numbers(Table::Reap, &[0], &[]), with_prefix(of_numbers(Table::Reap, &[at_ms], &[])).1)
}

/// The path in a key of the table `Reap`.
#[must_use]
pub fn reap_path(key: &[u8]) -> Option<Path> {
    Path::parse(std::str::from_utf8(key.get(9..)?).ok()?).ok()
}

/// The mark of an ended session.
#[must_use]
pub fn ended(at_ms: u64, id: SessionId) -> Bytes {
    of_numbers(Table::Ended, &[at_ms, id.0], &[])
}

/// Sessions that ended before this time.
#[must_use]
pub fn ended_before(at_ms: u64) -> (Bytes, Bytes) {
    (of_numbers(Table::Ended, &[0], &[]), of_numbers(Table::Ended, &[at_ms], &[]))
}

/// What the sessions of a principal hold together.
#[must_use]
pub fn principal(name: &str) -> Bytes {
    of_numbers(Table::Principal, &[], name.as_bytes())
}

/// All principals that have sessions, in the bytewise order of their names.
#[must_use]
pub fn principals() -> (Bytes, Bytes) {
    table_range(Table::Principal)
}

/// The name in a key of the table `Principal`.
#[must_use]
pub fn principal_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

/// The session in a key of the tables `Session` and `Ended`.
#[must_use]
pub fn session_of(key: &[u8]) -> Option<SessionId> {
    let at = if key.first() == Some(&(Table::Ended as u8)) { 9 } else { 1 };
    let bytes = key.get(at..at + 8)?;
    Some(SessionId(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// The session and write number in a key of the tables `Reply` and `Parked`.
#[must_use]
pub fn write_of(key: &[u8]) -> Option<(SessionId, WriteNumber)> {
    let session = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let write = u64::from_be_bytes(key.get(9..17)?.try_into().ok()?);
    Some((SessionId(session), WriteNumber(write)))
}

/// The record of a recipe.
#[must_use]
pub fn recipe(name: &str) -> Bytes {
    of_numbers(Table::Recipe, &[], name.as_bytes())
}

/// All recipes, in the order of their names.
#[must_use]
pub fn recipes() -> (Bytes, Bytes) {
    table_range(Table::Recipe)
}

/// One version of a recipe.
#[must_use]
pub fn version(name: &str, version: u64) -> Bytes {
    let mut tail = Vec::with_capacity(name.len() + 9);
    tail.extend_from_slice(name.as_bytes());
    tail.push(0);
    tail.extend_from_slice(&version.to_be_bytes());
    of_numbers(Table::Version, &[], &tail)
}

/// All versions of a recipe, oldest first.
#[must_use]
pub fn versions(name: &str) -> (Bytes, Bytes) {
    (version(name, 0), after(&version(name, u64::MAX)))
}

/// The number in a key of the table `Version`.
#[must_use]
pub fn version_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk::<8>()?))
}

/// The record of a component.
#[must_use]
pub fn component(digest: &[u8; 32]) -> Bytes {
    of_numbers(Table::Component, &[], digest)
}

/// One chunk of a component.
#[must_use]
pub fn chunk(digest: &[u8; 32], index: u32) -> Bytes {
    let mut tail = [0; 36];
    tail[..32].copy_from_slice(digest);
    tail[32..].copy_from_slice(&index.to_be_bytes());
    of_numbers(Table::Chunk, &[], &tail)
}

/// All chunks of a component.
#[must_use]
pub fn chunks(digest: &[u8; 32]) -> (Bytes, Bytes) {
    (chunk(digest, 0), after(&chunk(digest, u32::MAX)))
}

/// The one record about all rules.
#[must_use]
pub fn access() -> Bytes {
    Bytes::from_static(&[Table::Access as u8])
}

/// The rules on an object.
#[must_use]
pub fn rules(object: &Object) -> Bytes {
    let (kind, name) = object.kind_and_name();
    let mut key = Vec::with_capacity(2 + name.len());
    key.extend_from_slice(&[Table::Rules as u8, kind]);
    key.extend_from_slice(name.as_bytes());
    Bytes::from(key)
}

/// The rules on all objects: the cluster, recipes, subtrees by their paths.
#[must_use]
pub fn rules_all() -> (Bytes, Bytes) {
    table_range(Table::Rules)
}

/// The object in a key of the table `Rules`.
#[must_use]
pub fn rules_object(key: &[u8]) -> Option<Object> {
    let (kind, name) = key.get(1..)?.split_first()?;
    Object::from_kind_and_name(*kind, std::str::from_utf8(name).ok()?)
}

/// The mark that a session uploads a component.
#[must_use]
pub fn upload(id: SessionId, digest: &[u8; 32]) -> Bytes {
    of_numbers(Table::Upload, &[id.0], digest)
}

/// All components that a session uploads.
#[must_use]
pub fn uploads(id: SessionId) -> (Bytes, Bytes) {
    with_prefix(of_numbers(Table::Upload, &[id.0], &[]))
}

/// The component in a key of the table `Upload`.
#[must_use]
pub fn uploaded(key: &[u8]) -> Option<[u8; 32]> {
    Some(*key.get(9..)?.first_chunk()?)
}

/// The mark that a component is uploaded by a session.
#[must_use]
pub fn uploader(digest: &[u8; 32], id: SessionId) -> Bytes {
    let mut tail = [0; 40];
    tail[..32].copy_from_slice(digest);
    tail[32..].copy_from_slice(&id.0.to_be_bytes());
    of_numbers(Table::Uploader, &[], &tail)
}

/// All sessions that upload a component.
#[must_use]
pub fn uploaders(digest: &[u8; 32]) -> (Bytes, Bytes) {
    (uploader(digest, SessionId(0)), after(&uploader(digest, SessionId(u64::MAX))))
}

/// The zxid that a session's id is.
#[must_use]
pub fn session_id(zxid: Zxid) -> SessionId {
    SessionId(zxid.0)
}

fn table_range(table: Table) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(&[table as u8]), Bytes::copy_from_slice(&[table as u8 + 1]))
}

/// All keys that begin with these bytes, the first of which is a table's.
fn with_prefix(prefix: Bytes) -> (Bytes, Bytes) {
    let mut end = prefix.to_vec();
    while end.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (prefix, Bytes::from(end))
}

/// The lowest key above this one.
#[must_use]
pub fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("valid")
    }

    #[test]
    fn direct_children_are_one_range_and_nothing_else_is_in_it() {
        let (from, to) = children(&path("/a"));
        let inside = |text: &str| {
            let key = node(&path(text));
            from <= key && key < to
        };
        assert!(inside("/a/b") && inside("/a/\u{ffef}"));
        assert!(
            !inside("/a")
                && !inside("/a/b/c")
                && !inside("/ab")
                && !inside("/a0/b")
                && !inside("/b/c")
        );
        let (from, to) = children(&Path::root());
        let key = node(&path("/zz"));
        assert!(from <= key && key < to);
        assert_eq!(child_name(&node(&path("/a/b"))), Some("b"));
    }

    #[test]
    fn the_ranges_of_the_last_session_and_write_hold_their_keys() {
        for id in [0, 1, 0xff, u64::MAX - 1, u64::MAX] {
            let (id, write) = (SessionId(id), WriteNumber(id));
            let holds = |(from, to): (Bytes, Bytes), key: &Bytes| from <= *key && key < &to;
            assert!(holds(parked_of(id), &parked(id, write)));
            let key = owned(id, write, &path("/\u{ffef}"));
            assert!(holds(owned_by_call(id, write), &key));
            assert!(holds(owned_by_session(id), &key));
            let other = SessionId(id.0 ^ 1);
            assert!(!holds(parked_of(other), &parked(id, write)));
            assert!(!holds(owned_by_session(other), &key));
            assert!(!holds(owned_by_call(id, WriteNumber(write.0 ^ 1)), &key));
        }
    }

    #[test]
    fn the_marks_of_an_upload_are_in_tables_of_ours() {
        let (id, digest) = (SessionId(7), [9; 32]);
        assert_eq!(table(&upload(id, &digest)), Some(Table::Upload));
        assert_eq!(table(&uploader(&digest, id)), Some(Table::Uploader));
        assert_eq!(table(&[0xff]), None);
    }

    #[test]
    fn what_a_session_owns_below_a_znode_is_one_range() {
        let id = SessionId(7);
        let (from, to) = owned_by_session_below(id, &path("/a"));
        let inside = |text: &str, call| {
            let key = owned(id, WriteNumber(call), &path(text));
            from <= key && key < to
        };
        assert!(inside("/a/b", 0) && inside("/a/b/c", 0) && inside("/a/\u{ffef}", 0));
        assert!(!inside("/a", 0) && !inside("/a-b", 0) && !inside("/a0", 0));
        assert!(!inside("/a/b", 1), "a call's");
        assert_eq!(path_of(&below(&path("/a/b"))), Some(path("/a/b")));
        assert_eq!(path_of(&[Table::Below as u8, 0, 1, b'/', b'a', b'/', b'b']), None);
    }

    #[test]
    fn owned_keys_give_their_path_back() {
        let key = owned(SessionId(7), WriteNumber(3), &path("/a/b"));
        assert_eq!(owned_path(&key), Some(path("/a/b")));
        let (from, to) = owned_by_call(SessionId(7), WriteNumber(3));
        assert!(from <= key && key < to);
    }
}
