//! Keys in the one tree of a member: four bytes of namespace, big endian, then what the core knows. Raft's own records of
//! all namespaces stand in a namespace of their own behind the others. It does not know what records hold.

use bytes::Bytes;
use quorate_core::ids::NamespaceId;
use quorate_core::read::{Direction, Read, Records};

const PREFIX_BYTES: usize = 4;
/// The namespace of raft's own records; no namespace of users gets this number.
const RAFT: NamespaceId = NamespaceId(u32::MAX);

/// Raft's own records of a namespace, by the last byte of their key. Numbers are frozen: they are on disk.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum RaftRecord {
    /// The place of the last applied entry; in each batch.
    Applied = 1,
    /// The last applied membership and its place.
    Membership = 2,
    // 3 was a mark on a tree that was being replaced in place.
    /// Where in the log the transactions behind a zxid are, which follows in the key.
    History = 4,
}

/// The key of one of raft's own records.
pub(crate) fn raft_key(namespace: NamespaceId, record: RaftRecord) -> Bytes {
    let mut tail = namespace.0.to_be_bytes().to_vec();
    tail.push(record as u8);
    key(RAFT, &tail)
}

/// A key of the core in the member's tree.
pub(crate) fn key(namespace: NamespaceId, tail: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(PREFIX_BYTES + tail.len());
    key.extend_from_slice(&namespace.0.to_be_bytes());
    key.extend_from_slice(tail);
    Bytes::from(key)
}

/// A key of the core in the member's tree without its namespace.
pub(crate) fn tail(key: &Bytes) -> Bytes {
    key.slice(PREFIX_BYTES.min(key.len())..)
}

/// All keys of a member's tree that are neither this namespace's nor raft's own of it: ranges.
pub(crate) fn others(namespace: NamespaceId) -> [(Bytes, Bytes); 3] {
    let own = namespace.0.to_be_bytes();
    let [from, to] = [key(RAFT, &own), key(RAFT, &[&own[..], END].concat())];
    let end = Bytes::from_static(&[0xff; 2 * PREFIX_BYTES + 1]);
    [(Bytes::new(), key(namespace, &[])), (key(namespace, END), from), (to, end)]
}

/// Highest key of the core, and more: its keys begin with a table, and no table has this number.
pub(crate) const END: &[u8] = &[0xff];

/// A reader of the member's tree that sees one namespace and nothing of its number.
pub(crate) struct Scoped<R> {
    pub(crate) namespace: NamespaceId,
    pub(crate) reader: R,
}

impl<R: Read> Read for Scoped<R> {
    fn get(&self, tail: &[u8]) -> Option<Bytes> {
        self.reader.get(&key(self.namespace, tail))
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let (from, to) = (key(self.namespace, from), key(self.namespace, to));
        let records = self.reader.range(&from, &to, direction);
        Box::new(records.map(|(key, value)| (key.slice(PREFIX_BYTES..), value)))
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::read::MemoryTree;

    use super::*;

    #[test]
    fn a_namespace_sees_its_own_records_only() {
        let tree = std::sync::Arc::new(MemoryTree::new());
        let [one, two] = [NamespaceId(1), NamespaceId(2)];
        let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let writes = [
            (key(one, b"\x10a"), value("1a")),
            (key(one, b"\x33b"), value("1b")),
            (key(two, b"\x10a"), value("2a")),
            (raft_key(one, RaftRecord::Applied), value("applied")),
        ];
        tree.commit(writes.into());
        let scoped = Scoped { namespace: one, reader: tree };
        assert_eq!(scoped.get(b"\x10a"), value("1a"));
        let all: Vec<_> = scoped.range(b"", END, Direction::Backward).collect();
        let keys: Vec<_> = all.iter().map(|(key, _)| &key[..]).collect();
        assert_eq!(keys, [b"\x33b", b"\x10a"]);
        let others: [Vec<Bytes>; 3] = others(one).map(|(from, to)| {
            scoped.reader.range(&from, &to, Direction::Forward).map(|(_, value)| value).collect()
        });
        assert_eq!(others, [vec![], vec![Bytes::from_static(b"2a")], vec![]]);
    }
}
