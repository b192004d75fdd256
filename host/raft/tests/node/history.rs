//! What was applied is read back, with its holes told and never passed over.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::{Millis, Zxid};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_raft::{Config, HistoryError, Kind};

use crate::rig::{DEADLINE, Life, Script, path};

const NO_BOUND: usize = usize::MAX;

/// All transactions behind this one, and the paths that they create.
fn behind(life: &Life, after: u64) -> Vec<(u64, String)> {
    let history = life.node.history();
    let mut found = Vec::new();
    let mut at = Zxid(after);
    loop {
        let entries = history.read(at, NO_BOUND).expect("retained");
        if entries.is_empty() {
            return found;
        }
        for entry in entries {
            let EntryBody::Batch { transactions, .. } = &entry.body else { panic!("{entry:?}") };
            let from = at;
            for transaction in transactions.iter().filter(|one| one.zxid > from) {
                assert_eq!(transaction.zxid, at.next(), "dense");
                at = transaction.zxid;
                let Change::NodeCreated { path, .. } = &transaction.changes[0] else { continue };
                found.push((at.0, path.as_str().to_owned()));
            }
        }
    }
}

fn oldest(error: HistoryError) -> u64 {
    match error {
        HistoryError::Gone { oldest } => oldest.0,
        HistoryError::Io(error) => panic!("{error}"),
    }
}

#[test]
fn what_was_taken_is_read_back_also_after_a_crash_and_what_was_discarded_never() {
    let [directory, image] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    let mut expected = Vec::new();
    for number in 0..20 {
        let names = [format!("/{number}a"), format!("/{number}b")];
        let mut forged = script.clone();
        forged.zxid = Zxid(forged.zxid.0 + 7);
        let forged = life.node.propose(forged.create(["/forged"]), leadership).wait();
        assert!(!forged.is_taken());
        let entry = script.create(names.iter().map(String::as_str));
        assert!(life.node.propose(entry, leadership).wait().is_taken());
        expected.extend((1..).map(|at| at + 2 * number).zip(names));
    }
    for after in [0, 1, 2, 17, 39, 40, 41] {
        let later = expected.iter().filter(|(zxid, _)| *zxid > after).cloned();
        assert_eq!(behind(&life, after), later.collect::<Vec<_>>(), "{after}");
    }
    let crashed = image.path().join("crashed");
    life.crash_into(directory.path(), &crashed);
    // The tail is empty or holds what was applied again: the rest is read from the log.
    let life = Life::start(&crashed, Config::new(1));
    life.leads();
    assert_eq!(behind(&life, 0), expected);
    life.shutdown();
    let life = Life::start(&crashed, Config::new(1));
    life.leads();
    assert_eq!(behind(&life, 0), expected);
    assert_eq!(behind(&life, 7), expected[7..]);
    assert_eq!(life.node.history().oldest().expect("readable"), Zxid(0));
    life.shutdown();
}

/// Applies so many entries of one transaction each.
fn create(life: &Life, script: &mut Script, prefix: &str, count: u64) {
    let leadership = life.leads();
    for number in 0..count {
        let name = format!("/{prefix}{number}");
        let entry = script.create([name.as_str()]);
        assert!(life.node.propose(entry, leadership).wait().is_taken());
    }
}

fn purged(directory: &Path, config: &Config) -> (Life, u64) {
    let (life, leadership) = Life::first(directory, config.clone());
    let mut script = life.barrier(leadership, 1);
    create(&life, &mut script, "n", 200);
    life.runtime.block_on(life.node.flush());
    let until = Instant::now() + DEADLINE;
    while life.node.metrics().purged.is_none() {
        assert!(Instant::now() < until, "{:?}", life.node.metrics());
        std::thread::yield_now();
    }
    (life, script.zxid.0)
}

#[test]
fn what_was_purged_is_gone_and_the_oldest_position_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config { log_keep_entries: 16, history_keep: Duration::ZERO, ..Config::new(1) };
    let (life, last) = purged(directory.path(), &config);
    life.shutdown();
    // Without the tail of the life in which it was applied.
    let life = Life::start(directory.path(), config);
    life.leads();
    let gone = oldest(life.node.history().read(Zxid(0), NO_BOUND).expect_err("purged"));
    assert!((150..200).contains(&gone), "{gone}");
    assert_eq!(oldest(life.node.history().read(Zxid(gone - 1), 1).expect_err("purged")), gone);
    assert_eq!(life.node.history().oldest().expect("readable"), Zxid(gone));
    let found = behind(&life, gone);
    assert_eq!(found.len() as u64, last - gone);
    life.shutdown();
}

#[test]
fn what_is_young_stays_however_many_entries_there_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = Config { log_keep_entries: 16, ..Config::new(1) };
    // However full the disk of this machine is.
    config.hold.free_bytes_min = 0;
    let (life, leadership) = Life::first(directory.path(), config.clone());
    let mut script = life.barrier(leadership, 1);
    create(&life, &mut script, "n", 200);
    life.runtime.block_on(life.node.flush());
    // A member beside it that keeps nothing by time has purged by then: the housekeepers look at the same pace.
    let other = tempfile::tempdir().expect("a directory");
    let (impatient, _) = purged(other.path(), &Config { history_keep: Duration::ZERO, ..config });
    assert_eq!(life.node.metrics().purged, None);
    assert_eq!(behind(&life, 0).len(), 200);
    life.shutdown();
    impatient.shutdown();
}

fn set(script: &mut Script, texts: &[(&str, u64, u64)]) -> Arc<Entry> {
    let base = script.zxid;
    let mut transactions = Vec::new();
    for (data, version, previous) in texts {
        script.zxid = script.zxid.next();
        transactions.push(Transaction {
            zxid: script.zxid,
            time: Millis(1_000 + script.zxid.0),
            origin: Origin::Host,
            changes: vec![Change::DataSet {
                path: path("/a"),
                data: Bytes::copy_from_slice(data.as_bytes()),
                version: *version,
                previous: Zxid(*previous),
                acl: None,
            }],
            outcome: Outcome::None,
        });
    }
    let body = EntryBody::Batch { base, transactions };
    Arc::new(Entry { term: script.term, epoch: script.epoch, body })
}

#[test]
fn what_an_entry_replaces_is_told_to_who_wants_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let (life, leadership) = Life::first(directory.path(), Config::new(1));
    let mut script = life.barrier(leadership, 1);
    create(&life, &mut script, "a", 0);
    let entry = script.create(["/a"]);
    assert!(life.node.propose(entry, leadership).wait().is_taken());
    let entry = set(&mut script, &[("one", 1, 1)]);
    assert!(life.node.propose(entry, leadership).wait().is_taken());
    let (wanted, shown) = life.node.history().want_before();
    assert_eq!(shown, life.node.tree().meta().zxid);
    let entry = set(&mut script, &[("two", 2, 2), ("three", 3, 3)]);
    assert!(life.node.propose(entry, leadership).wait().is_taken());
    drop(wanted);
    let entry = set(&mut script, &[("four", 4, 4)]);
    assert!(life.node.propose(entry, leadership).wait().is_taken());
    let told: Vec<Option<Vec<(String, Bytes)>>> = {
        let events = life.events.lock().expect("sound");
        let befores = events.iter().filter_map(|told| match &told.kind {
            Kind::Entry { before, .. } => Some(before.as_ref().map(|before| {
                before.iter().map(|(path, data)| (path.to_string(), data.clone())).collect()
            })),
            _ => None,
        });
        befores.collect()
    };
    let one = vec![("/a".to_owned(), Bytes::from_static(b"one"))];
    assert_eq!(told, [None, None, None, Some(one), None]);
    assert_eq!(life.node.tree().data(&path("/a")), Some(Bytes::from_static(b"four")));
    life.shutdown();
}
