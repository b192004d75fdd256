//! Whether records make a whole tree: computed in one pass over them, in the order of their keys, in bounded memory. It does
//! not know blocks.

use bytes::Bytes;
use quorate_core::access::{Rules, Summary};
use quorate_core::codec::{Malformed, malformed};
use quorate_core::deployment::{Component, Recipe, Version};
use quorate_core::draft::{Meta, record_hash};
use quorate_core::key::{self, Table};
use quorate_core::level::Level;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::query::subtree::Below;
use quorate_core::quota::Metered;
use quorate_core::session::{KeptReply, Parked, Session};
use quorate_core::znode::Node;
use sha2::{Digest as _, Sha256};

use super::Unsound;

/// Components of one tree: what is remembered until their chunks have come. 44 bytes each.
const COMPONENTS_MAX: usize = 1 << 20;

/// How many of what there are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub znodes: u64,
    pub sessions: u64,
    pub recipes: u64,
}

/// Takes records and judges the whole.
#[derive(Default)]
pub(super) struct Audit {
    digest: u128,
    meta: Option<Meta>,
    level: Option<Level>,
    counts: Counts,
    /// Sum over the znodes with data of what their record says of it, less the same of the data that is there: 0 at the
    /// end. As the digest, a sum of hashes does not depend on the order and needs no memory.
    data: u128,
    /// Sealed components, in the order of their digests.
    components: Vec<([u8; 32], u64, u32)>,
    /// Those of them whose chunks are all there and hash to the digest.
    components_whole: usize,
    chunks: Option<Chunks>,
    /// Objects that have rules, as the tree says.
    rules_said: u64,
    /// Those that were there.
    rules_found: u64,
    /// Sum over what each session holds, by its principal, less the same of what is said of principals: 0 at the end.
    held: u128,
}

/// The chunks of one component so far.
struct Chunks {
    component: [u8; 32],
    hasher: Sha256,
    bytes: u64,
    count: u32,
    has_gap: bool,
}

impl Audit {
    /// The tree's feature level, as far as the records have come: its record stands before all that may depend on it.
    pub(super) fn level(&self) -> Level {
        self.level.unwrap_or(Level::FIRST)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes the next record.
    #[allow(clippy::too_many_lines, reason = "one arm for each table")]
    pub(super) fn take(&mut self, key: &Bytes, value: &Bytes) -> Result<(), Malformed> {
        if key::counts_in_digest(key) {
            self.digest = self.digest.wrapping_add(record_hash(key, value));
        }
        let whole = || value.clone();
        match key::table(key).ok_or(malformed("its table is not known"))? {
            Table::Meta if *key != key::meta() => return Err(malformed("key of the meta record")),
            Table::Meta => self.meta = Some(Meta::decode(whole())?),
            Table::Level if *key != key::level() => return Err(malformed("key of the level")),
            Table::Level => self.level = Some(Level::decode(whole())?),
            Table::Node => {
                let node = Node::decode(whole())?;
                path(key)?;
                self.counts.znodes += 1;
                if node.data_bytes > 0 {
                    let said = said_of_data(key, node.data_bytes, node.data_hash);
                    self.data = self.data.wrapping_add(said);
                }
            }
            Table::Data => {
                let hash = xxhash_rust::xxh3::xxh3_128(value);
                self.data = self.data.wrapping_sub(said_of_data(key, value.len() as u64, hash));
            }
            Table::Reap => {
                key::reap_path(key).ok_or(malformed("key of a znode that may be deleted"))?;
            }
            Table::Quota if *key == key::quotas_count() => {}
            Table::Quota => {
                Metered::decode(whole())?;
                key::quota_path(key).ok_or(malformed("key of a quota"))?;
            }
            Table::Below => {
                Below::decode(whole())?;
                key::path_of(key).ok_or(malformed("key of a count"))?;
            }
            Table::Session => {
                let session = Session::decode(whole())?;
                key::session_of(key).ok_or(malformed("key of a session"))?;
                self.counts.sessions += u64::from(session.is_live());
                if !session.principal.is_empty() {
                    let own = Holdings {
                        sessions_count: u64::from(session.is_live()),
                        parked_count: session.parked_count,
                        owned_count: session.owned_count,
                    };
                    let said = said_of_principal(&key::principal(&session.principal), own);
                    self.held = self.held.wrapping_add(said);
                }
            }
            Table::Reply => {
                KeptReply::decode(whole())?;
                key::write_of(key).ok_or(malformed("key of a reply"))?;
            }
            Table::Parked => {
                Parked::decode(whole())?;
                key::write_of(key).ok_or(malformed("key of a parked call"))?;
            }
            Table::Owned => {
                key::owned_path(key).ok_or(malformed("key of an owned znode"))?;
            }
            Table::Ended => {
                key::session_of(key).ok_or(malformed("key of an ended session"))?;
            }
            Table::Principal => {
                let holdings = Holdings::decode(whole())?;
                key::principal_name(key).ok_or(malformed("key of a principal"))?;
                self.held = self.held.wrapping_sub(said_of_principal(key, holdings));
            }
            Table::Recipe => {
                Recipe::decode(whole())?;
                std::str::from_utf8(&key[1..]).map_err(|_| malformed("name of a recipe"))?;
                self.counts.recipes += 1;
            }
            Table::Version => {
                Version::decode(whole())?;
            }
            Table::Component => self.component(key, &Component::decode(whole())?)?,
            Table::Chunk => self.chunk(key, value)?,
            Table::Upload => {
                key::uploaded(key).ok_or(malformed("key of an upload"))?;
            }
            Table::Uploader => {}
            Table::Access if *key != key::access() => {
                return Err(malformed("key of the summary of rules"));
            }
            Table::Access => self.rules_said = Summary::decode(whole())?.objects_count,
            Table::Rules => {
                let object = key::rules_object(key).ok_or(malformed("key of rules"))?;
                if key::rules(&object) != *key || Rules::decode(whole())?.all().is_empty() {
                    return Err(malformed("rules on an object"));
                }
                self.rules_found += 1;
            }
        }
        Ok(())
    }

    fn component(&mut self, key: &[u8], component: &Component) -> Result<(), Malformed> {
        const WHAT: &str = "component";
        let digest: [u8; 32] =
            key.get(1..).and_then(|tail| tail.try_into().ok()).ok_or(malformed(WHAT))?;
        if self.components.len() >= COMPONENTS_MAX {
            return Err(malformed("number of components"));
        }
        self.components.push((digest, component.bytes, component.chunks));
        Ok(())
    }

    fn chunk(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
        const WHAT: &str = "key of a chunk";
        let tail: [u8; 36] =
            key.get(1..).and_then(|tail| tail.try_into().ok()).ok_or(malformed(WHAT))?;
        let (component, index) = tail.split_first_chunk::<32>().ok_or(malformed(WHAT))?;
        let index: [u8; 4] = index.try_into().map_err(|_| malformed(WHAT))?;
        if self.chunks.as_ref().is_none_or(|chunks| chunks.component != *component) {
            self.close_chunks();
            let (component, hasher) = (*component, Sha256::new());
            self.chunks = Some(Chunks { component, hasher, bytes: 0, count: 0, has_gap: false });
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.has_gap |= u32::from_be_bytes(index) != chunks.count;
            chunks.count = chunks.count.saturating_add(1);
            chunks.bytes += value.len() as u64;
            chunks.hasher.update(value);
        }
        Ok(())
    }

    /// Chunks of an upload that is not complete stand for nothing yet.
    fn close_chunks(&mut self) {
        let Some(chunks) = self.chunks.take() else { return };
        let known = self.components.binary_search_by_key(&chunks.component, |known| known.0);
        let Some(known) = known.ok().and_then(|at| self.components.get(at)) else { return };
        let is_whole = !chunks.has_gap
            && (chunks.bytes, chunks.count) == (known.1, known.2)
            && <[u8; 32]>::from(chunks.hasher.finalize()) == chunks.component;
        self.components_whole += usize::from(is_whole);
    }

    /// Whether all that was taken is a whole tree.
    pub(super) fn judge(&mut self, stated: u128) -> Result<Meta, Unsound> {
        self.close_chunks();
        let meta = self.meta.unwrap_or_default();
        let computed = self.digest;
        for (stated, whose) in [(meta.digest, "tree"), (stated, "snapshot's end")] {
            if computed != stated {
                return Err(Unsound::Digest { computed, stated, whose });
            }
        }
        if self.data != 0 {
            return Err(Unsound::Torn("the data of znodes is not what their records say"));
        }
        if self.components_whole != self.components.len() {
            return Err(Unsound::Torn("the chunks of a component are not what its digest says"));
        }
        if self.counts.sessions != meta.sessions_count {
            return Err(Unsound::Torn("there are not as many sessions as the tree says"));
        }
        if self.rules_said != self.rules_found {
            return Err(Unsound::Torn("there are not as many objects with rules as the tree says"));
        }
        if self.held != 0 {
            return Err(Unsound::Torn("the sessions of a principal hold not what the tree says"));
        }
        Ok(meta)
    }
}

/// Counts are multiplied, so that what is said of many sessions adds up to what is said of their principal.
fn said_of_principal(key: &[u8], holdings: Holdings) -> u128 {
    let Holdings { sessions_count, parked_count, owned_count } = holdings;
    let counts =
        [(b"sessions", sessions_count), (b"parked  ", parked_count), (b"owned   ", owned_count)];
    let said = counts.map(|(what, count)| record_hash(key, what).wrapping_mul(u128::from(count)));
    said.into_iter().fold(0, u128::wrapping_add)
}

fn said_of_data(key: &[u8], bytes: u64, hash: u128) -> u128 {
    let mut said = [0; 24];
    said[..8].copy_from_slice(&bytes.to_le_bytes());
    said[8..].copy_from_slice(&hash.to_le_bytes());
    record_hash(key.get(1..).unwrap_or_default(), &said)
}

/// The path in the key of a znode.
fn path(key: &Bytes) -> Result<Path, Malformed> {
    const WHAT: &str = "key of a znode";
    let text = key.get(3..).and_then(|tail| std::str::from_utf8(tail).ok());
    let path = Path::parse(text.ok_or(malformed(WHAT))?).map_err(|_| malformed(WHAT))?;
    if key::node(&path) == *key { Ok(path) } else { Err(malformed(WHAT)) }
}
