//! What a hostile client, a full session or an unlucky moment could do, where a script can not say it: layers of writes at
//! their edges, counters near their ends, a transaction at all of its limits at once.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::access::Acl;
use quorate_core::change::Change;
use quorate_core::draft::{Draft, Meta, ReadRecords, View};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::read::{Direction, MemoryTree, Read, Writes};
use quorate_core::request::{Answer, LifetimeKind, Reply, Sequence};
use quorate_core::session::{Acks, Opening, Parked};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::txn::{CreateOptions, Slot, Txn};
use quorate_core::znode::{Lifetime, Node};

use support::pair::{Pair, apply_entry};

fn path(text: &str) -> Path {
    Path::parse(text).expect("valid")
}

const PERSISTENT: CreateOptions =
    CreateOptions { lifetime: LifetimeKind::Persistent, sequence: Sequence::None, parents: false };

fn write_origin(session: SessionId, write: u64) -> Origin {
    Origin::Write { session, write: WriteNumber(write), hash: 0, acks: Acks::default() }
}

fn opening() -> Opening {
    Opening { timeout_ms: 1_000, principal: "someone".to_owned(), ..Opening::default() }
}

fn open(pair: &mut Pair) -> SessionId {
    let (transaction, ()) = pair.execute(|view, slot| {
        let (view, opened) = execute::open_session(view, slot, opening());
        (view, Some(opened.expect("there is room")), ())
    });
    SessionId(transaction.expect("a session was opened").zxid.0)
}

#[test]
fn a_session_too_many_is_refused_until_another_has_ended() {
    let tree = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(Arc::clone(&tree));
    let meta = Meta { sessions_count: limits::SESSIONS_MAX - 1, ..Meta::default() };
    draft.put_meta(meta);
    tree.commit(draft.into_parts().1);
    let slot = |zxid| Slot { zxid: Zxid(zxid), time: Millis(1), batch: 1 };
    let open = |view, zxid| execute::open_session(view, slot(zxid), opening());
    let (view, last) = open(View::new(tree), 1);
    assert!(last.is_ok());
    let (view, refused) = open(view, 2);
    assert_eq!(refused.expect_err("there is no room").code, ErrorCode::LimitPassed);
    let (view, ended) = execute::expire_session(view, slot(2), SessionId(1));
    assert!(ended.is_some());
    assert!(open(view, 3).1.is_ok());
}

#[test]
fn a_sequence_number_that_would_not_sort_is_refused_and_native_ones_go_on() {
    for (created, last) in [
        (limits::SEQUENCE_ZOOKEEPER_MAX, Some("/q/n-9999999999")),
        (limits::SEQUENCE_ZOOKEEPER_MAX + 1, None),
    ] {
        let tree = Arc::new(MemoryTree::new());
        let mut node = Node::new(Zxid(0), Millis(0), Lifetime::Persistent, b"");
        node.children_created = created;
        tree.commit([(key::node(&path("/q")), Some(node.encode()))].into());
        let slot = Slot { zxid: Zxid(1), time: Millis(1), batch: 1 };
        let mut txn = Txn::begin(View::new(tree), slot, Origin::Host);
        let ten = CreateOptions { sequence: Sequence::ZooKeeper, ..PERSISTENT };
        let made = txn.create("/q/n-", Bytes::new(), ten).map(|(path, _)| path.to_string());
        match last {
            Some(last) => assert_eq!(made.as_deref(), Ok(last)),
            None => assert_eq!(made.map_err(|refusal| refusal.code), Err(ErrorCode::BadArguments)),
        }
        let native = CreateOptions { sequence: Sequence::Native, ..PERSISTENT };
        let (native, _) = txn.create("/q/n-", Bytes::new(), native).expect("goes on");
        assert!(native.as_str().starts_with("/q/n-000000001"), "{native}");
    }
}

#[test]
fn a_sentence_is_cut_between_characters() {
    let refusal = Refusal::new(ErrorCode::NoRecipe, "ü".repeat(limits::MESSAGE_BYTES_MAX));
    assert!(refusal.message.len() <= limits::MESSAGE_BYTES_MAX);
    assert!(
        refusal.message.ends_with("ü ..."),
        "{}",
        &refusal.message[refusal.message.len() - 8..]
    );
    let short = Refusal::new(ErrorCode::NoRecipe, "x".repeat(limits::MESSAGE_BYTES_MAX));
    assert_eq!(short.message.len(), limits::MESSAGE_BYTES_MAX);
}

/// Path of the n-th of many znodes, as long as a path may be.
fn longest(index: usize) -> String {
    format!("/{index:04}-{}", "x".repeat(limits::PATH_BYTES_MAX - 6))
}

#[test]
fn a_transaction_at_all_of_its_limits_fits_an_entry() {
    let mut pair = Pair::new();
    let id = open(&mut pair);
    let owned = CreateOptions { lifetime: LifetimeKind::CallOwned, ..PERSISTENT };
    let count = usize::try_from(limits::EPHEMERALS_PER_SESSION_MAX).expect("small");
    let parked = Parked {
        hash: 0,
        deadline: None,
        recipe: "lock".to_owned(),
        version: 1,
        state: Bytes::new(),
    };
    // Two runs own as many znodes as a session can; one run could not.
    for run in 0..2 {
        pair.execute(|view, slot| {
            let rerun = Origin::Rerun { session: id, write: WriteNumber(1), hash: 0 };
            let origin = if run == 0 { write_origin(id, 1) } else { rerun };
            let mut txn = Txn::begin(view, slot, origin);
            for index in 0..count / 2 {
                let made = txn.create(&longest(run * count / 2 + index), Bytes::new(), owned);
                made.expect("within the limits");
            }
            let (view, transaction) = txn.park(parked.clone());
            (view, Some(transaction), ())
        });
    }
    // The last one writes all that a transaction can, answers all that a reply can, and its znodes go.
    let (transaction, ()) = pair.execute(|view, slot| {
        let origin = Origin::Rerun { session: id, write: WriteNumber(1), hash: u128::MAX };
        let mut txn = Txn::begin(view, slot, origin);
        let data = Bytes::from(vec![b'x'; limits::DATA_BYTES_MAX]);
        while txn.set("/", data.clone(), None).is_ok() {}
        while txn.set("/", data.slice(..1024), None).is_ok() {}
        let answer = Answer::Called(Bytes::from(vec![b'x'; limits::RESULT_BYTES_MAX]));
        let (view, transaction) = txn.finish(&Reply::Done(answer));
        (view, Some(transaction), ())
    });
    let transaction = transaction.expect("it was finished");
    assert!(transaction.changes.len() > count);
    assert!(transaction.weight() > limits::TRANSACTION_BYTES_MAX * 2, "{}", transaction.weight());
    assert!(transaction.weight() + limits::BATCH_BYTES_MAX < limits::ENTRY_BYTES_MAX);
    assert_eq!(pair.follower.session(id).map(|session| session.owned_count), Some(0));
}

#[test]
fn an_expiry_deletes_more_than_a_client_could_in_one_transaction() {
    let mut pair = Pair::new();
    let id = open(&mut pair);
    let ephemeral = CreateOptions { lifetime: LifetimeKind::Ephemeral, ..PERSISTENT };
    let count = usize::try_from(limits::EPHEMERALS_PER_SESSION_MAX).expect("small");
    for write in 0..2 {
        pair.execute(|view, slot| {
            let mut txn = Txn::begin(view, slot, write_origin(id, write as u64 + 1));
            for index in 0..count / 2 {
                let made = txn.create(&longest(write * count / 2 + index), Bytes::new(), ephemeral);
                made.expect("within the limits");
            }
            let (view, transaction) = txn.finish(&Reply::Done(Answer::Done));
            (view, Some(transaction), ())
        });
    }
    let (transaction, ()) = pair.execute(|view, slot| {
        let (view, transaction) = execute::expire_session(view, slot, id);
        (view, transaction, ())
    });
    let transaction = transaction.expect("the session lived");
    assert_eq!(transaction.changes.len(), count + 1);
    assert!(transaction.weight() > limits::TRANSACTION_BYTES_MAX);
    pair.replay();
}

/// An entry with one transaction of a session's write, as no sequencer of ours would make it.
fn forged(tree: &MemoryTree, session: SessionId, write: u64, changes: Vec<Change>) -> Entry {
    let meta = tree.meta();
    let transaction = Transaction {
        zxid: meta.zxid.next(),
        time: meta.time,
        origin: write_origin(session, write),
        changes,
        outcome: Outcome::Replied(Reply::Done(Answer::Done).encode()),
    };
    let body = EntryBody::Batch { base: meta.zxid, transactions: vec![transaction] };
    Entry { term: Term(1), epoch: Epoch(1), body }
}

#[test]
#[should_panic(expected = "has ended and writes")]
fn a_write_of_an_ended_session_stops_the_member_that_would_apply_it() {
    let mut pair = Pair::new();
    let id = open(&mut pair);
    pair.execute(|view, slot| {
        let (view, transaction) = execute::expire_session(view, slot, id);
        (view, transaction, ())
    });
    apply_entry(&pair.follower, &forged(&pair.follower, id, 1, Vec::new()), Term(1));
}

#[test]
#[should_panic(expected = "are dense")]
fn a_write_number_that_was_left_out_stops_the_member_that_would_apply_it() {
    let mut pair = Pair::new();
    let id = open(&mut pair);
    apply_entry(&pair.follower, &forged(&pair.follower, id, 2, Vec::new()), Term(1));
}

#[test]
fn weights_are_never_less_than_the_records_that_they_make() {
    let data = Bytes::from_static(b"data");
    let lifetime = Lifetime::Ephemeral(SessionId(u64::MAX));
    let last = Zxid(u64::MAX);
    let acl = Acl::open();
    let acl_bytes = acl.bytes_max();
    for (change, payload) in [
        (Change::NodeCreated { path: path("/a"), data: data.clone(), lifetime, acl: None }, 6),
        (
            Change::DataSet {
                path: path("/a"),
                data,
                version: u64::MAX,
                previous: last,
                acl: Some(acl.clone()),
            },
            6 + acl_bytes,
        ),
        (
            Change::NodeDeleted {
                path: path("/a"),
                version: u64::MAX,
                previous: last,
                acl: Some(acl),
            },
            2 + acl_bytes,
        ),
        (Change::VersionDropped { recipe: "lock".to_owned(), version: u64::MAX }, 4 + 8),
    ] {
        assert_eq!(change.weight(), payload + limits::CHANGE_HEAD_BYTES_MAX, "{change:?}");
    }
}

/// Writes in layers: below, in batches in flight, in a draft; against one map that has them all.
#[derive(Debug, Clone)]
enum Layering {
    Put(u8, u8),
    Delete(u8),
    NextBatch,
    CommitBelow,
    Told,
    Draft(Vec<(u8, Option<u8>)>),
}

fn layering() -> impl Strategy<Value = Layering> {
    let key = || 0u8..12;
    prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Layering::Put(key, value)),
        4 => key().prop_map(Layering::Delete),
        2 => Just(Layering::NextBatch),
        2 => Just(Layering::CommitBelow),
        1 => Just(Layering::Told),
        1 => proptest::collection::vec((key(), proptest::option::of(any::<u8>())), 0..6)
            .prop_map(Layering::Draft),
    ]
}

type Naive = BTreeMap<Bytes, Bytes>;

fn assert_reads_as(read: &impl Read, naive: &Naive) {
    for from in 0u8..13 {
        assert_eq!(read.get(&[from]), naive.get(&[from][..]).cloned());
        for to in 0u8..13 {
            let (low, high) = (vec![from], vec![to]);
            let mut expected: Vec<(Bytes, Bytes)> = naive
                .iter()
                .filter(|(key, _)| key[..] >= low[..] && key[..] < high[..])
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let forward: Vec<_> = read.range(&low, &high, Direction::Forward).collect();
            assert_eq!(forward, expected, "{from}..{to}");
            expected.reverse();
            let backward: Vec<_> = read.range(&low, &high, Direction::Backward).collect();
            assert_eq!(backward, expected, "{from}..{to} backward");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn layers_of_writes_read_as_one_map(steps in proptest::collection::vec(layering(), 1..40)) {
        let tree = Arc::new(MemoryTree::new());
        let mut view = View::new(tree.clone());
        let mut naive = Naive::new();
        let mut batch = 1u64;
        // Batches that the tree below has not got, and the last one that it has.
        let mut above: Vec<(u64, Writes)> = Vec::new();
        let mut committed = 0;
        for step in steps {
            let write = match step {
                Layering::Put(key, value) => (vec![key], Some(Bytes::from(vec![value]))),
                Layering::Delete(key) => (vec![key], None),
                Layering::NextBatch => { batch += 1; continue }
                Layering::CommitBelow => {
                    // Only batches that are complete are ever applied.
                    if above.first().is_some_and(|(first, _)| *first < batch) {
                        let (number, writes) = above.remove(0);
                        tree.commit(writes);
                        committed = number;
                        assert_reads_as(&view, &naive);
                    }
                    continue
                }
                Layering::Told => { view.applied(committed); assert_reads_as(&view, &naive); continue }
                Layering::Draft(writes) => {
                    let mut draft = Draft::new(view.clone());
                    let mut over = naive.clone();
                    let mut digest = 0u128;
                    for (key, value) in writes {
                        // Keys of a table that counts in the digest.
                        match value {
                            Some(value) => {
                                draft.put(vec![key].into(), vec![value].into());
                                over.insert(vec![key].into(), vec![value].into());
                            }
                            None => {
                                draft.delete(vec![key].into());
                                over.remove(&[key][..]);
                            }
                        }
                    }
                    assert_reads_as(&draft, &over);
                    for (key, value) in over.iter().filter(|(key, _)| key::counts_in_digest(key)) {
                        digest = digest.wrapping_add(quorate_core::draft::record_hash(key, value));
                    }
                    for (key, value) in naive.iter().filter(|(key, _)| key::counts_in_digest(key)) {
                        digest = digest.wrapping_sub(quorate_core::draft::record_hash(key, value));
                    }
                    assert_eq!(draft.digest_delta(), digest);
                    continue
                }
            };
            let (key, value) = (Bytes::from(write.0), write.1);
            match &value {
                Some(value) => naive.insert(key.clone(), value.clone()),
                None => naive.remove(&key),
            };
            let writes: Writes = [(key, value)].into();
            view.absorb(batch, writes.clone());
            match above.last_mut().filter(|(last, _)| *last == batch) {
                Some((_, batch)) => batch.extend(writes),
                None => above.push((batch, writes)),
            }
            assert_reads_as(&view, &naive);
        }
        // All is refused: what is below counts alone.
        view.reset();
        assert_reads_as(&view, &tree.records());
    }
}
