//! Records read by what they are, and writes laid over a tree before they are committed to it. It knows how records are
//! found and counted in the digest; which ones a change touches is `apply`'s knowledge.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::access::{Object, Rules, Summary};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::deployment::{Component, ComponentDigest, Recipe, Version};
use crate::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use crate::key;
use crate::level::Level;
use crate::path::Path;
use crate::principal::Holdings;
use crate::query::subtree::Below;
use crate::quota::Metered;
use crate::read::{Direction, Read, Records, SharedRead, Writes, merge};
use crate::room::{self, Room};
use crate::session::{KeptReply, Parked, Session};
use crate::znode::Node;

/// Where a tree stands: the last transaction, and the leadership whose entries it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// The last applied transaction.
    pub zxid: Zxid,
    /// Its time; never goes back.
    pub time: Millis,
    /// Sum of the hashes of all records that count (DESIGN, invariant 1).
    pub digest: u128,
    /// Term of the last barrier.
    pub term: Term,
    /// Epoch of the last barrier within that term.
    pub epoch: Epoch,
    /// Sessions that live.
    pub sessions_count: u64,
}

const META_FORMAT: u8 = 1;

impl Meta {
    /// The record's bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(64);
        writer.u8(META_FORMAT);
        writer.u64(self.zxid.0);
        writer.u64(self.time.0);
        writer.u128(self.digest);
        writer.u64(self.term.0);
        writer.u64(self.epoch.0);
        writer.u64(self.sessions_count);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "meta record";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != META_FORMAT {
            return Err(malformed(WHAT));
        }
        let meta = Self {
            zxid: Zxid(reader.u64(WHAT)?),
            time: Millis(reader.u64(WHAT)?),
            digest: reader.u128(WHAT)?,
            term: Term(reader.u64(WHAT)?),
            epoch: Epoch(reader.u64(WHAT)?),
            sessions_count: reader.u64(WHAT)?,
        };
        reader.finish(WHAT)?;
        Ok(meta)
    }
}

/// Reads records as what they are. A record that does not decode was not written by us or has rotted: that is not an
/// answer, so it panics, and the process that applies or serves it ends (STYLE, Errors).
pub trait ReadRecords: Read {
    /// Where the tree stands; the beginning for an empty one.
    fn meta(&self) -> Meta {
        self.get(&key::meta()).map_or_else(Meta::default, |bytes| sound(Meta::decode(bytes)))
    }

    /// The feature level of the cluster; the first for a tree in which nothing is said of it.
    fn level(&self) -> Level {
        self.get(&key::level()).map_or(Level::FIRST, |bytes| sound(Level::decode(bytes)))
    }

    /// The record of a znode.
    fn node(&self, path: &Path) -> Option<Node> {
        self.get(&key::node(path)).map(|bytes| sound(Node::decode(bytes)))
    }

    /// The data of a znode.
    fn data(&self, path: &Path) -> Option<Bytes> {
        self.get(&key::data(path))
    }

    /// How much is below a znode.
    fn below(&self, path: &Path) -> Below {
        let record = self.get(&key::below(path));
        record.map_or_else(Below::default, |bytes| sound(Below::decode(bytes)))
    }

    /// The quota of a subtree.
    fn quota(&self, path: &Path) -> Option<Metered> {
        self.get(&key::quota(path)).map(|bytes| sound(Metered::decode(bytes)))
    }

    /// How many quotas there are.
    fn quotas_count(&self) -> u64 {
        self.get(&key::quotas_count()).map_or(0, |bytes| sound(read_count(bytes)))
    }

    /// The record of a session, ended ones included.
    fn session(&self, id: SessionId) -> Option<Session> {
        self.get(&key::session(id)).map(|bytes| sound(Session::decode(bytes)))
    }

    /// What the sessions of a principal hold together.
    fn holdings(&self, principal: &str) -> Holdings {
        let record = self.get(&key::principal(principal));
        record.map_or_else(Holdings::default, |bytes| sound(Holdings::decode(bytes)))
    }

    /// The kept reply of a write.
    fn kept_reply(&self, id: SessionId, write: WriteNumber) -> Option<KeptReply> {
        self.get(&key::reply(id, write)).map(|bytes| sound(KeptReply::decode(bytes)))
    }

    /// The kept replies of a span of writes, ascending.
    fn kept_replies(
        &self,
        id: SessionId,
        from: WriteNumber,
        to: WriteNumber,
    ) -> Vec<(WriteNumber, KeptReply)> {
        // A client that acknowledges as it goes names one or two: a few look-ups are cheaper than one scan.
        const LOOK_UPS_MAX: u64 = 8;
        if to.0.saturating_sub(from.0) < LOOK_UPS_MAX {
            return (from.0..=to.0)
                .filter_map(|write| {
                    let write = WriteNumber(write);
                    Some((write, self.kept_reply(id, write)?))
                })
                .collect();
        }
        let (from, to) = key::replies(id, from, to);
        self.range(&from, &to, Direction::Forward)
            .filter_map(|(key, bytes)| {
                Some((key::write_of(&key)?.1, sound(KeptReply::decode(bytes))))
            })
            .collect()
    }

    /// The parked call of a write.
    fn parked(&self, id: SessionId, write: WriteNumber) -> Option<Parked> {
        self.get(&key::parked(id, write)).map(|bytes| sound(Parked::decode(bytes)))
    }

    /// The parked calls of a session, ascending.
    fn parked_of(&self, id: SessionId) -> Vec<(WriteNumber, Parked)> {
        let (from, to) = key::parked_of(id);
        self.range(&from, &to, Direction::Forward)
            .filter_map(|(key, bytes)| Some((key::write_of(&key)?.1, sound(Parked::decode(bytes)))))
            .collect()
    }

    /// A recipe by its name.
    fn recipe(&self, name: &str) -> Option<Recipe> {
        self.get(&key::recipe(name)).map(|bytes| sound(Recipe::decode(bytes)))
    }

    /// A version of a recipe.
    fn version(&self, name: &str, number: u64) -> Option<Version> {
        self.get(&key::version(name, number)).map(|bytes| sound(Version::decode(bytes)))
    }

    /// The version that calls of this recipe run.
    fn active_version(&self, name: &str) -> Option<Version> {
        self.version(name, self.recipe(name)?.active?)
    }

    /// A component that is wholly there.
    fn component(&self, digest: &ComponentDigest) -> Option<Component> {
        self.get(&key::component(digest)).map(|bytes| sound(Component::decode(bytes)))
    }

    /// What is said about rules as a whole.
    fn access_summary(&self) -> Summary {
        self.get(&key::access())
            .map_or_else(Summary::default, |bytes| sound(Summary::decode(bytes)))
    }

    /// The rules on just this object, if it has some.
    fn rules(&self, object: &Object) -> Option<Rules> {
        self.get(&key::rules(object)).map(|bytes| sound(Rules::decode(bytes)))
    }

    /// The components that a session uploads and has not deployed.
    fn uploads(&self, id: SessionId) -> Vec<ComponentDigest> {
        let (from, to) = key::uploads(id);
        self.range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::uploaded(&key))
            .collect()
    }

    /// The bytes of a component that is wholly there.
    fn component_bytes(&self, digest: &ComponentDigest) -> Option<Vec<u8>> {
        let component = self.component(digest)?;
        let mut bytes = Vec::new();
        for index in 0..component.chunks {
            bytes.extend_from_slice(&self.get(&key::chunk(digest, index))?);
        }
        Some(bytes)
    }

    /// Names of a znode's children from `from` (inclusive key) to `to` (exclusive key).
    fn child_names<'a>(
        &'a self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
    ) -> Box<dyn Iterator<Item = String> + 'a> {
        Box::new(
            self.range(from, to, direction)
                .filter_map(|(key, _)| key::child_name(&key).map(str::to_owned)),
        )
    }
}

impl<R: Read + ?Sized> ReadRecords for R {}

pub(crate) fn sound<T>(record: Result<T, Malformed>) -> T {
    record.unwrap_or_else(|error| {
        panic!("{error}: the tree holds a record that no version of ours wrote")
    })
}

/// A record that is one number.
pub(crate) fn count_record(count: u64) -> Bytes {
    let mut writer = Writer::with_capacity(10);
    writer.u64(count);
    writer.finish()
}

fn read_count(bytes: Bytes) -> Result<u64, Malformed> {
    const WHAT: &str = "count of quotas";
    let mut reader = Reader::new(bytes);
    let count = reader.u64(WHAT)?;
    reader.finish(WHAT)?;
    Ok(count)
}

/// Writes over a tree, not yet committed to it.
pub struct Draft<R> {
    base: R,
    writes: Writes,
    /// What the base holds for the keys that were read: a record is fetched once, and its old hash is at hand.
    seen: RefCell<BTreeMap<Bytes, Option<Bytes>>>,
}

impl<R: Read> Draft<R> {
    /// No writes yet.
    pub fn new(base: R) -> Self {
        Self { base, writes: Writes::new(), seen: RefCell::new(BTreeMap::new()) }
    }

    /// Writes a record.
    pub fn put(&mut self, key: Bytes, value: Bytes) {
        self.writes.insert(key, Some(value));
    }

    /// Deletes a record; nothing happens if it is not there.
    pub fn delete(&mut self, key: Bytes) {
        self.writes.insert(key, None);
    }

    /// Writes the meta record.
    pub fn put_meta(&mut self, meta: Meta) {
        self.put(key::meta(), meta.encode());
    }

    /// The base without the writes, and the writes.
    pub fn into_parts(self) -> (R, Writes) {
        (self.base, self.writes)
    }

    /// How the writes change the sum of record hashes: add it to the digest, wrapping.
    #[must_use]
    pub fn digest_delta(&self) -> u128 {
        let mut delta = 0u128;
        for (key, value) in &self.writes {
            if !key::counts_in_digest(key) {
                continue;
            }
            if let Some(old) = self.base_get(key) {
                delta = delta.wrapping_sub(record_hash(key, &old));
            }
            if let Some(new) = value {
                delta = delta.wrapping_add(record_hash(key, new));
            }
        }
        delta
    }

    /// By how many bytes the writes make the tree grow (`room`); negative if they make it smaller.
    #[must_use]
    pub fn growth_bytes(&self) -> i64 {
        let mut growth = 0i64;
        for (key, value) in &self.writes {
            let old = self.base_get(key).map_or(0, |old| room::record_bytes(key, &old));
            let new = value.as_ref().map_or(0, |new| room::record_bytes(key, new));
            growth = growth.saturating_add(new - old);
        }
        growth
    }

    fn base_get(&self, key: &[u8]) -> Option<Bytes> {
        if let Some(value) = self.seen.borrow().get(key) {
            return value.clone();
        }
        let value = self.base.get(key);
        self.seen.borrow_mut().insert(Bytes::copy_from_slice(key), value.clone());
        value
    }
}

impl Draft<View> {
    /// Whether the tree may grow.
    pub(crate) fn room(&self) -> Room {
        self.base.room()
    }
}

impl<R: Read> Read for Draft<R> {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.writes.get(key) {
            Some(value) => value.clone(),
            None => self.base_get(key),
        }
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let base = self.base.range(from, to, direction);
        if from >= to {
            return base;
        }
        let from = Bytes::copy_from_slice(from);
        let to = Bytes::copy_from_slice(to);
        let writes = self.writes.range(from..to).map(|(key, value)| (key.clone(), value.clone()));
        match direction {
            Direction::Forward => merge(base, writes, direction),
            Direction::Backward => merge(base, writes.rev(), direction),
        }
    }
}

/// The hash of one record: its key's length, its key, its value.
#[must_use]
pub fn record_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// The leader's view: what has been executed and not yet applied, over the applied tree. Written batch by batch; a
/// record turns clean when its last batch has been applied, and is then dropped.
///
/// The tree below may run ahead of what the view has been told: a record that some batch in flight writes is read from
/// the view until that batch is reported applied, and no one else writes.
#[derive(Clone)]
pub struct View {
    base: SharedRead,
    records: BTreeMap<Bytes, Dirty>,
    /// Keys of each batch in flight, oldest first.
    batches: VecDeque<(u64, Vec<Bytes>)>,
    /// Whether what is executed on it may make the tree grow. Known to the leader alone: the transactions that come of it
    /// are what is replicated.
    room: Room,
}

#[derive(Clone)]
struct Dirty {
    batch: u64,
    value: Option<Bytes>,
}

impl View {
    /// Nothing in flight.
    #[must_use]
    pub fn new(base: SharedRead) -> Self {
        let (records, batches) = (BTreeMap::new(), VecDeque::new());
        Self { base, records, batches, room: Room::Enough }
    }

    /// From the next transaction on the tree may grow, or not.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    pub(crate) fn room(&self) -> Room {
        self.room
    }

    /// The applied tree.
    #[must_use]
    pub fn base(&self) -> &SharedRead {
        &self.base
    }

    /// Takes over a transaction's writes, as part of this batch. Batches do not go back.
    pub fn absorb(&mut self, batch: u64, writes: Writes) {
        if self.batches.back().is_none_or(|(last, _)| *last != batch) {
            assert!(
                self.batches.back().is_none_or(|(last, _)| *last < batch),
                "batches do not go back"
            );
            self.batches.push_back((batch, Vec::new()));
        }
        let keys = &mut self.batches.back_mut().expect("pushed above").1;
        for (key, value) in writes {
            // A batch names a key once: the session and the meta record are written by each of its transactions.
            let before = self.records.insert(key.clone(), Dirty { batch, value });
            if before.is_none_or(|before| before.batch != batch) {
                keys.push(key);
            }
        }
    }

    /// All batches up to this one are in the applied tree: forgets what no later batch wrote.
    pub fn applied(&mut self, batch: u64) {
        while self.batches.front().is_some_and(|(first, _)| *first <= batch) {
            let (_, keys) = self.batches.pop_front().expect("looked at above");
            for key in keys {
                if self.records.get(&key).is_some_and(|record| record.batch <= batch) {
                    self.records.remove(&key);
                }
            }
        }
    }

    /// Forgets everything in flight.
    pub fn reset(&mut self) {
        self.records.clear();
        self.batches.clear();
    }

    /// Records in flight.
    #[must_use]
    pub fn dirty_count(&self) -> usize {
        self.records.len()
    }
}

impl Read for View {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        match self.records.get(key) {
            Some(record) => record.value.clone(),
            None => self.base.get(key),
        }
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        let base = self.base.range(from, to, direction);
        if from >= to || self.records.is_empty() {
            return base;
        }
        let from = Bytes::copy_from_slice(from);
        let to = Bytes::copy_from_slice(to);
        let dirty =
            self.records.range(from..to).map(|(key, record)| (key.clone(), record.value.clone()));
        match direction {
            Direction::Forward => merge(base, dirty, direction),
            Direction::Backward => merge(base, dirty.rev(), direction),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::read::MemoryTree;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn names(read: &impl Read, direction: Direction) -> Vec<String> {
        read.range(b"a", b"z", direction)
            .map(|(key, value)| {
                format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value))
            })
            .collect()
    }

    #[test]
    fn a_draft_lies_over_its_base_in_both_directions() {
        let tree = Arc::new(MemoryTree::new());
        tree.commit(
            [("b", "1"), ("d", "1"), ("f", "1")].map(|(k, v)| (bytes(k), Some(bytes(v)))).into(),
        );
        let mut draft = Draft::new(tree);
        draft.put(bytes("a"), bytes("2"));
        draft.put(bytes("d"), bytes("2"));
        draft.delete(bytes("f"));
        assert_eq!(names(&draft, Direction::Forward), ["a=2", "b=1", "d=2"]);
        assert_eq!(names(&draft, Direction::Backward), ["d=2", "b=1", "a=2"]);
        assert_eq!(draft.get(b"f"), None);
    }

    #[test]
    fn a_record_stays_in_the_view_until_its_last_batch_is_applied() {
        let tree = Arc::new(MemoryTree::new());
        let mut view = View::new(tree.clone());
        view.absorb(1, [(bytes("a"), Some(bytes("1"))), (bytes("b"), Some(bytes("1")))].into());
        view.absorb(2, [(bytes("a"), Some(bytes("2")))].into());
        tree.commit([(bytes("a"), Some(bytes("1"))), (bytes("b"), Some(bytes("1")))].into());
        view.applied(1);
        assert_eq!(view.dirty_count(), 1);
        assert_eq!(view.get(b"a"), Some(bytes("2")));
        assert_eq!(view.get(b"b"), Some(bytes("1")));
        view.reset();
        assert_eq!(view.get(b"a"), Some(bytes("1")));
    }

    #[test]
    fn the_digest_does_not_depend_on_the_way_to_a_state() {
        let mut one = Draft::new(Arc::new(MemoryTree::new()));
        one.put(key::recipe("a"), bytes("x"));
        one.put(key::recipe("a"), bytes("y"));
        let mut other = Draft::new(Arc::new(MemoryTree::new()));
        other.put(key::recipe("a"), bytes("y"));
        assert_eq!(one.digest_delta(), other.digest_delta());
        other.delete(key::recipe("a"));
        assert_eq!(other.digest_delta(), 0);
    }
}
