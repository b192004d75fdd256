//! Snapshots as streams: every tree comes back whatever the pieces, old bytes stay, and nothing that a disk or a peer can
//! do to a stream is believed.

mod golden_file;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::apply;
use quorate_core::change::Change;
use quorate_core::draft::{Draft, Meta, ReadRecords, record_hash};
use quorate_core::ids::{Epoch, Millis, NamespaceId, SessionId, Term, Zxid};
use quorate_core::key::{self, Table};
use quorate_core::level::Level;
use quorate_core::path::Path;
use quorate_core::principal::Holdings;
use quorate_core::read::MemoryTree;
use quorate_core::session::End;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;
use quorate_wire::snapshot::{
    BLOCK_BYTES, Decoder, Encoder, FORMAT, Head, Item, Records, Summary, Unsound,
};
use sha2::{Digest as _, Sha256};

fn head() -> Head {
    let membership = Bytes::from_static(b"who takes part");
    Head { namespace: NamespaceId(3), place: Some((Term(4), 90)), membership }
}

fn stream(head: &Head, records: &Records, meta: Meta) -> Vec<u8> {
    let mut stream = Encoder::head(head).to_vec();
    let mut encoder = Encoder::after(0);
    for (key, value) in records {
        stream.extend(encoder.push(key, value).expect("small records").unwrap_or_default());
    }
    stream.extend(encoder.finish(head, meta));
    stream
}

/// Reads a stream that arrives in pieces of this size.
fn read(stream: &[u8], piece_bytes: usize) -> Result<(Head, Records, Summary), Unsound> {
    let mut decoder = Decoder::new(Level::NEWEST);
    let (mut head, mut records, mut summary) = (None, Records::new(), None);
    for piece in stream.chunks(piece_bytes) {
        decoder.handle(piece);
        while let Some(item) = decoder.poll()? {
            match item {
                Item::Head(read) => head = Some(read),
                Item::Records(some) => records.extend(some),
                Item::End(read) => summary = Some(*read),
            }
        }
    }
    decoder.finish()?;
    Ok((head.expect("a head"), records, summary.expect("a summary")))
}

/// A tree that grows by valid changes.
struct Garden {
    tree: Arc<MemoryTree>,
    sessions: Vec<SessionId>,
    nodes: Vec<String>,
    epoch: u64,
}

/// What to do next, as numbers that any choice gives a meaning to.
type Choice = (u8, u8, Vec<u8>);

impl Garden {
    fn of(choices: &[Choice]) -> Self {
        let tree = Arc::new(MemoryTree::new());
        let mut garden = Self { tree, sessions: Vec::new(), nodes: Vec::new(), epoch: 1 };
        garden.apply(EntryBody::Barrier);
        for choice in choices {
            if let Some(change) = garden.change(choice) {
                garden.commit(change);
            }
        }
        garden
    }

    fn change(&mut self, (kind, which, data): &Choice) -> Option<Vec<Change>> {
        let pick = |count: usize| count.checked_sub(1).map(|_| usize::from(*which) % count);
        let data = Bytes::from(data.clone());
        Some(match kind % 6 {
            0 => {
                let text = format!("/n{which}");
                let parent = pick(self.nodes.len()).map(|at| self.nodes[at].clone());
                let text = parent.filter(|_| which % 3 == 0).unwrap_or_default() + &text;
                let path = Path::parse(&text).ok()?;
                if self.tree.node(&path).is_some() || path.depth() > 5 {
                    return None;
                }
                self.nodes.push(text);
                vec![Change::NodeCreated { path, data, lifetime: Lifetime::Persistent, acl: None }]
            }
            1 => {
                let path = Path::parse(&self.nodes[pick(self.nodes.len())?]).expect("valid");
                let before = self.tree.node(&path).expect("there");
                vec![Change::data_set(path, data, &before)]
            }
            2 => {
                self.sessions.push(SessionId(self.tree.meta().zxid.0 + 1));
                let principal = format!("user {which}");
                let secret_hash = [*which; 32];
                let identities = Vec::new();
                vec![Change::SessionOpened { timeout_ms: 1000, secret_hash, principal, identities }]
            }
            3 => {
                let session = self.sessions[pick(self.sessions.len())?];
                let path = Path::parse(&format!("/e{which}")).expect("valid");
                if self.tree.node(&path).is_some() {
                    return None;
                }
                vec![Change::NodeCreated {
                    path,
                    data,
                    lifetime: Lifetime::Ephemeral(session),
                    acl: None,
                }]
            }
            4 => {
                let session = self.sessions.swap_remove(pick(self.sessions.len())?);
                let (from, to) = key::owned_by_session(session);
                let owned = self.tree.records();
                let owned = owned.range(from..to).filter_map(|(key, _)| key::owned_path(key));
                let deleted = |path| {
                    let before = self.tree.node(&path).expect("there");
                    Change::node_deleted(path, &before)
                };
                let mut changes: Vec<_> = owned.map(deleted).collect();
                let uploads = self.tree.uploads(session).into_iter();
                let ended = uploads.map(|component| Change::UploadEnded { session, component });
                changes.extend(ended);
                changes.push(Change::SessionEnded { session, end: End::Closed });
                changes
            }
            _ => {
                let session = self.sessions[pick(self.sessions.len())?];
                let component: [u8; 32] = Sha256::digest(&data).into();
                if self.tree.component(&component).is_some() || data.is_empty() {
                    return None;
                }
                let bytes = data.len() as u64;
                vec![
                    Change::UploadBegan { session, component },
                    Change::ChunkStored { component, index: 0, bytes: data },
                    Change::ComponentStored { component, bytes, chunks: 1 },
                ]
            }
        })
    }

    fn commit(&mut self, changes: Vec<Change>) {
        let meta = self.tree.meta();
        let (zxid, base) = (meta.zxid.next(), meta.zxid);
        let (time, origin) = (Millis(1_000 + zxid.0), Origin::Host);
        let transaction = Transaction { zxid, time, origin, changes, outcome: Outcome::None };
        self.apply(EntryBody::Batch { base, transactions: vec![transaction] });
    }

    fn apply(&mut self, body: EntryBody) {
        let entry = Entry { term: Term(2), epoch: Epoch(self.epoch), body };
        let writes = {
            let mut draft = Draft::new(Arc::clone(&self.tree));
            assert_eq!(apply::entry(&mut draft, &entry, Term(2)), apply::Applied::Taken);
            apply::seal(&mut draft);
            draft.into_parts().1
        };
        self.tree.commit(writes);
    }

    fn records(&self) -> Records {
        self.tree.records().into_iter().collect()
    }
}

fn choices(most: usize) -> impl Strategy<Value = Vec<Choice>> {
    let data = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec((any::<u8>(), any::<u8>(), data), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tree_comes_back_in_pieces_of_any_size(choices in choices(60), piece_bytes in 1..900_usize) {
        let garden = Garden::of(&choices);
        let (records, meta) = (garden.records(), garden.tree.meta());
        let bytes = stream(&head(), &records, meta);
        prop_assert_eq!(&bytes, &stream(&head(), &records, meta));
        let (read_head, read_records, summary) = read(&bytes, piece_bytes).expect("sound");
        prop_assert_eq!(read_head, head());
        prop_assert_eq!(&read_records, &records);
        let of = |table: Table| records.iter().filter(move |(key, _)| key::table(key) == Some(table));
        let expected = Summary {
            head: head(),
            meta,
            records: records.len() as u64,
            level: Level::FIRST,
            znodes: of(Table::Node).count() as u64,
            sessions: garden.sessions.len() as u64,
            recipes: 0,
            bytes: bytes.len() as u64,
        };
        prop_assert_eq!(summary, expected);
    }

    /// Whoever can mend lengths, counts and checksums still can not change a record, lose one or add one.
    #[test]
    fn a_change_that_passes_every_checksum_is_refused(
        choices in choices(40),
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        what in 0..4_u8,
    ) {
        let garden = Garden::of(&choices);
        let (mut records, meta) = (garden.records(), garden.tree.meta());
        let at = at.index(records.len());
        let (key, value) = records[at].clone();
        let flipped = |bytes: &Bytes| {
            let mut bytes = bytes.to_vec();
            let byte = byte.index(bytes.len());
            bytes[byte] ^= 1 << bit;
            Bytes::from(bytes)
        };
        match what {
            0 => drop(records.remove(at)),
            1 if !value.is_empty() => records[at].1 = flipped(&value),
            2 => records[at].0 = flipped(&key),
            _ => {
                let mut longer = key.to_vec();
                longer.push(b'x');
                records.insert(at + 1, (Bytes::from(longer), value));
            }
        }
        records.sort();
        records.dedup_by(|one, other| one.0 == other.0);
        prop_assert!(read(&stream(&head(), &records, meta), 1 << 16).is_err());
    }
}

fn grown() -> (Records, Meta) {
    let kinds = [2, 2, 2, 0, 0, 0, 1, 3, 5, 4, 3, 5];
    let choices: Vec<Choice> =
        (0..60_u8).map(|at| (kinds[usize::from(at) % 12], at, vec![at; usize::from(at)])).collect();
    let garden = Garden::of(&choices);
    let records = garden.records();
    for table in
        [Table::Node, Table::Data, Table::Session, Table::Owned, Table::Ended, Table::Chunk]
    {
        let mut tables = records.iter().map(|(key, _)| key::table(key));
        assert!(tables.any(|there| there == Some(table)), "no {table:?}");
    }
    (records, garden.tree.meta())
}

#[test]
fn a_tree_above_the_known_level_is_refused_before_its_other_records() {
    let tree = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(Arc::clone(&tree));
    apply::change(&mut draft, Zxid(1), Millis(1), &Change::LevelRaised { level: Level(3) });
    apply::seal(&mut draft);
    tree.commit(draft.into_parts().1);
    let mut records: Records = tree.records().into_iter().collect();
    let meta = tree.meta();
    let sound = stream(&head(), &records, meta);
    let known = |level| {
        let mut decoder = Decoder::new(Level(level));
        decoder.handle(&sound);
        while let Some(item) = decoder.poll()? {
            if let Item::End(summary) = item {
                return Ok(summary.level);
            }
        }
        panic!("there is an end");
    };
    assert_eq!(known(3), Ok(Level(3)));
    assert_eq!(known(4), Ok(Level(3)));
    let (found, highest) = (Level(3), Level(2));
    assert_eq!(known(2), Err(Unsound::Level { found, known: highest }));
    // What follows is of a table that nobody here knows: the reason is the level all the same.
    records.push((Bytes::from_static(b"\x40new"), Bytes::new()));
    let later = stream(&head(), &records, meta);
    let mut decoder = Decoder::new(highest);
    decoder.handle(&later);
    assert!(matches!(decoder.poll(), Ok(Some(Item::Head(_)))));
    assert_eq!(decoder.poll().err(), Some(Unsound::Level { found, known: highest }));
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let (records, meta) = grown();
    let sound = stream(&head(), &records, meta);
    assert!(read(&sound, 1 << 16).is_ok());
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged, 1 << 16).is_err(), "byte {at}");
        assert!(read(&sound[..at], 1 << 16).is_err(), "the first {at} bytes");
    }
    let longer = [&sound[..], &[0]].concat();
    assert_eq!(read(&longer, 1 << 16).err(), Some(Unsound::Trailing { at: sound.len() as u64 }));
}

#[test]
fn a_change_of_the_head_that_passes_the_checksum_is_refused() {
    let (records, meta) = grown();
    let sound = stream(&head(), &records, meta);
    let other = Head { place: Some((Term(4), 91)), ..head() };
    let mut forged = Encoder::head(&other).to_vec();
    forged.extend(&sound[Encoder::head(&head()).len()..]);
    assert_eq!(read(&forged, 1 << 16).err(), Some(Unsound::Frame));
    // The same for what the digest does not cover of the tree's own record.
    let mut records = records;
    records[0].1 = Meta { zxid: Zxid(meta.zxid.0 + 1), ..meta }.encode();
    assert_eq!(read(&stream(&head(), &records, meta), 1 << 16).err(), Some(Unsound::Frame));
}

/// A tree whose digest is right and whose counts are not would stop every member that takes a session's end from it.
#[test]
fn what_is_said_of_a_principal_and_is_not_so_of_its_sessions_is_refused() {
    let garden = Garden::of(&[(2, 7, vec![]), (2, 7, vec![]), (3, 1, vec![]), (2, 8, vec![])]);
    let (records, meta) = (garden.records(), garden.tree.meta());
    assert!(read(&stream(&head(), &records, meta), 1 << 16).is_ok());
    let (key, holdings) = (key::principal("user 7"), garden.tree.holdings("user 7"));
    let told = Holdings { sessions_count: 2, parked_count: 0, owned_count: 1 };
    assert_eq!(holdings, told);
    let forged = [
        None,
        Some(Holdings { sessions_count: 1, ..holdings }),
        Some(Holdings { parked_count: 1, ..holdings }),
        Some(Holdings { sessions_count: 1, parked_count: 1, owned_count: 1 }),
        Some(Holdings { owned_count: 0, ..holdings }),
    ];
    for forged in forged {
        let mut tree: BTreeMap<Bytes, Bytes> = records.iter().cloned().collect();
        match forged {
            Some(holdings) => drop(tree.insert(key.clone(), holdings.encode())),
            None => drop(tree.remove(&key)),
        }
        let counted = tree.iter().filter(|(key, _)| key::counts_in_digest(key));
        let digest =
            counted.fold(0, |sum: u128, (key, value)| sum.wrapping_add(record_hash(key, value)));
        let meta = Meta { digest, ..meta };
        tree.insert(key::meta(), meta.encode());
        let mended = stream(&head(), &tree.into_iter().collect(), meta);
        let refused = read(&mended, 1 << 16).err();
        assert!(matches!(refused, Some(Unsound::Torn(_))), "{forged:?}: {refused:?}");
    }
}

#[test]
fn what_is_no_snapshot_or_of_another_format_is_named() {
    let read = |bytes: &[u8]| {
        let refused = |piece_bytes| read(bytes, piece_bytes).expect_err("no snapshot of ours");
        let whole = refused(bytes.len().max(1));
        (1..40).for_each(|piece_bytes| assert_eq!(refused(piece_bytes), whole, "{piece_bytes}"));
        whole
    };
    assert_eq!(read(b"PK\x03\x04 and so on, for a while"), Unsound::NotASnapshot);
    assert_eq!(read(b"# a text file that somebody has named"), Unsound::NotASnapshot);
    assert_eq!(read(b""), Unsound::Truncated { at: 0 });
    let (records, meta) = grown();
    for found in [FORMAT - 1, FORMAT + 1] {
        let mut other = stream(&head(), &records, meta);
        other[8 + 17] = found;
        let length = u32::from_le_bytes([other[0], other[1], other[2], other[3]]) as usize;
        let checksum = crc32c::crc32c(&other[8..8 + length]);
        other[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(read(&other), Unsound::Format { found });
    }
}

#[test]
fn a_stream_goes_on_at_any_block_with_the_same_bytes() {
    let records: Records = (0..3000_u32)
        .map(|at| {
            let key = [&[0x33; 33][..], &at.to_be_bytes()].concat();
            (Bytes::from(key), Bytes::from(vec![7; 1000]))
        })
        .collect();
    let meta = Meta::default();
    let whole = stream(&head(), &records, meta);
    let mut encoder = Encoder::after(0);
    let mut offset = Encoder::head(&head()).len();
    let mut blocks = 0;
    for (at, (key, value)) in records.iter().enumerate() {
        let Some(block) = encoder.push(key, value).expect("small") else { continue };
        assert!(block.len() < BLOCK_BYTES + 2000);
        offset += block.len();
        blocks += 1;
        let mut rest = Vec::new();
        let mut again = Encoder::after(at as u64 + 1);
        for (key, value) in &records[at + 1..] {
            rest.extend(again.push(key, value).expect("small").unwrap_or_default());
        }
        rest.extend(again.finish(&head(), meta));
        assert!(rest == whole[offset..], "behind block {blocks}");
    }
    assert!(blocks > 5);
}

#[test]
fn the_bytes_of_a_stream_stay() {
    let choices: Vec<Choice> = vec![
        (2, 7, vec![]),
        (0, 1, b"data".to_vec()),
        (3, 2, vec![]),
        (5, 0, b"component".to_vec()),
    ];
    let garden = Garden::of(&choices);
    let records: BTreeMap<Bytes, Bytes> = garden.tree.records();
    golden_file::check(
        &expect_test::expect_file!["golden/snapshot.hex"],
        "A snapshot of namespace 3 at entry 90 of term 4: a session, two znodes, a component.",
        &[records],
        |records| {
            let records = records.clone().into_iter().collect();
            Bytes::from(stream(&head(), &records, garden.tree.meta()))
        },
        |bytes| read(&bytes, 1 << 16).expect("sound").1.into_iter().collect(),
    );
}
