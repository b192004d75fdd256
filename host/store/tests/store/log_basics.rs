//! What a log does when nothing goes wrong, and what it refuses; and that a failure reaches everybody.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_store::log::{META_BYTES_MAX, PAYLOAD_BYTES_MAX};
use quorate_store::{LogOptions, LogState};

use crate::disk::Disk;
use crate::rig::{
    Fatal, append, done, entries, indexes, open, open_directory, open_with, outcome, payload,
    small, unheard,
};

#[test]
fn entries_are_readable_before_they_are_durable() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    disk.hold_syncs();
    let (callback, outcome) = outcome();
    log.append(0, entries(1..4, 2000), callback).unwrap();
    disk.wait_for_held_sync();
    assert_eq!(log.read(0, 1..4).unwrap(), entries(1..4, 2000));
    assert!(outcome.try_recv().is_err(), "not durable yet");
    disk.release_syncs();
    outcome.recv().unwrap().unwrap();
    assert_eq!(log.read(0, 1..4).unwrap(), entries(1..4, 2000));
}

#[test]
fn what_queues_during_a_sync_is_written_and_synced_once_and_called_back_in_order() {
    let disk = Disk::default();
    let log = open_with(&disk, LogOptions::default()).unwrap();
    disk.hold_syncs();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (last, outcome) = outcome();
    let mut last = Some(last);
    for index in 1..=101 {
        let order = Arc::clone(&order);
        let last = if index == 101 { last.take() } else { None };
        let callback = Box::new(move |outcome: std::io::Result<()>| {
            order.lock().unwrap().push(index);
            if let Some(last) = last {
                last(outcome);
            }
        });
        log.append(index % 3, vec![(u64::from(index / 3), payload(1, 100))], callback).unwrap();
        if index == 1 {
            disk.wait_for_held_sync();
        }
    }
    let (syncs, writes) = (disk.syncs(), disk.writes());
    disk.release_syncs();
    outcome.recv().unwrap().unwrap();
    assert_eq!(disk.syncs() - syncs, 2, "the one that was held, and one for the other hundred");
    assert_eq!(disk.writes() - writes, 1);
    assert_eq!(*order.lock().unwrap(), (1..=101).collect::<Vec<_>>());
}

#[test]
fn a_committed_id_rides_on_the_next_sync_and_on_the_close() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    let syncs = disk.syncs();
    log.save_committed(3, Bytes::from_static(b"one")).unwrap();
    assert_eq!(log.state(3).committed.as_deref(), Some(b"one".as_slice()));
    append(&log, 3, 0..1, 10);
    assert_eq!(disk.syncs() - syncs, 1);
    log.save_committed(3, Bytes::from_static(b"two")).unwrap();
    log.close().unwrap();
    assert_eq!(disk.syncs() - syncs, 2);
    let log = open(&disk).unwrap();
    assert_eq!(log.state(3).committed.as_deref(), Some(b"two".as_slice()));
}

#[test]
fn all_facts_of_all_namespaces_are_there_after_a_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = open_directory(&path).unwrap();
    append(&log, 0, 0..20, 900);
    append(&log, 7, 5..10, 100);
    done(|callback| log.save_vote(7, Bytes::from_static(b"vote"), callback)).unwrap();
    log.save_committed(7, Bytes::from_static(b"committed")).unwrap();
    done(|callback| log.truncate_after(0, Some(14), callback)).unwrap();
    done(|callback| log.purge(0, 9, Bytes::from_static(b"nine"), callback)).unwrap();
    let states = [log.state(0), log.state(7), log.state(1)];
    assert_eq!((states[0].first, states[0].last), (Some(10), Some(14)));
    assert_eq!(states[2], LogState::default());
    log.close().unwrap();
    for _ in 0..2 {
        let log = open_directory(&path).unwrap();
        assert_eq!([log.state(0), log.state(7), log.state(1)], states);
        assert_eq!(log.namespaces(), [0, 7]);
        assert_eq!(log.read(0, 0..99).unwrap(), entries(10..15, 900));
        assert_eq!(log.read(7, 6..8).unwrap(), entries(6..8, 100));
    }
}

#[test]
fn a_read_stops_at_its_bytes_but_gives_one_entry() {
    let log = open(&Disk::default()).unwrap();
    append(&log, 0, 1..30, 600);
    let read = |bytes_max| log.read_up_to(0, 3..30, bytes_max).unwrap();
    assert_eq!(read(1800), entries(3..6, 600));
    assert_eq!(read(1799), entries(3..5, 600));
    assert_eq!(read(0), entries(3..4, 600));
    assert_eq!(log.read_up_to(0, 30..40, 0).unwrap(), []);
}

#[test]
fn what_can_not_be_is_refused_and_changes_nothing() {
    let log = open(&Disk::default()).unwrap();
    append(&log, 0, 5..8, 10);
    done(|callback| log.purge(0, 5, Bytes::new(), callback)).unwrap();
    let before = log.state(0);
    let oversized = Bytes::from(vec![0; PAYLOAD_BYTES_MAX as usize + 1]);
    let meta = Bytes::from(vec![0; META_BYTES_MAX as usize + 1]);
    let refusals = [
        log.append(0, entries(7..8, 10), unheard()),
        log.append(0, entries(9..10, 10), unheard()),
        log.append(0, vec![(8, Bytes::new()), (10, Bytes::new())], unheard()),
        log.append(0, vec![(8, oversized)], unheard()),
        log.append(9, vec![(u64::MAX, Bytes::new())], unheard()),
        log.purge(0, u64::MAX, Bytes::new(), unheard()),
        log.truncate_after(0, Some(4), unheard()),
        log.save_vote(0, meta.clone(), unheard()),
        log.save_committed(0, meta),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(log.state(0), before);
}

#[test]
fn an_entry_larger_than_a_segment_and_one_without_bytes_are_kept() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    let odd = vec![(1, payload(1, 100_000)), (2, Bytes::new()), (3, payload(3, 5000))];
    for entry in &odd {
        done(|callback| log.append(0, vec![entry.clone()], callback)).unwrap();
    }
    log.close().unwrap();
    assert_eq!(open(&disk).unwrap().read(0, 0..9).unwrap(), odd);
}

#[test]
fn a_failed_sync_or_write_reaches_everybody_and_ends_the_log() {
    for is_sync in [true, false] {
        let disk = Disk::default();
        let fatal = Fatal::default();
        let files = Arc::new(disk.clone());
        let log = quorate_store::Log::open_on(files, small(), fatal.handler()).unwrap();
        append(&log, 0, 1..3, 10);
        if is_sync {
            disk.fail_sync_after(0)
        } else {
            disk.fail_write_after(0)
        }
        let failed = done(|callback| log.append(0, entries(3..4, 10), callback));
        assert!(failed.unwrap_err().to_string().contains("the test's disk fails"));
        let refused = log.append(0, entries(4..5, 10), unheard()).unwrap_err();
        assert!(refused.to_string().contains("the test's disk fails"));
        assert!(log.close().is_err());
        assert_eq!(fatal.count(), 1);
        assert_eq!(log.read(0, 1..3).unwrap(), entries(1..3, 10), "what was durable can be read");
    }
}

#[test]
fn a_callback_that_panics_ends_the_log_and_is_told() {
    let fatal = Fatal::default();
    let log = quorate_store::Log::open_on(Arc::new(Disk::default()), small(), fatal.handler());
    let log = log.unwrap();
    log.append(0, entries(1..2, 10), Box::new(|_| panic!("a fault of the caller"))).unwrap();
    assert!(log.close().unwrap_err().to_string().contains("has panicked"));
    assert_eq!(fatal.count(), 1);
    assert!(log.append(0, entries(2..3, 10), unheard()).is_err());
    assert_eq!(log.read(0, 0..9).unwrap(), entries(1..2, 10));
}

#[test]
fn short_writes_are_gone_on_with() {
    let disk = Disk::default();
    disk.write_short(7);
    let log = open(&disk).unwrap();
    append(&log, 0, 1..20, 333);
    log.close().unwrap();
    assert_eq!(open(&disk).unwrap().read(0, 0..99).unwrap(), entries(1..20, 333));
}

#[test]
fn callers_wait_for_room_in_the_queue() {
    let disk = Disk::default();
    let options = LogOptions { queue_bytes_max: 4096, ..LogOptions::default() };
    let log = open_with(&disk, options).unwrap();
    let writes = disk.writes();
    for entry in entries(0..200, 1000) {
        log.append(0, vec![entry], unheard()).unwrap();
    }
    log.close().unwrap();
    assert!(disk.writes() - writes >= 200 / 5, "a batch holds no more than the queue and one call");
    assert_eq!(indexes(&log, 0), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_closed_log_refuses_changes_and_reads_on() {
    let log = open(&Disk::default()).unwrap();
    append(&log, 0, 1..5, 500);
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(
        log.append(0, entries(5..6, 1), unheard()).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(log.read(0, 0..9).unwrap(), entries(1..5, 500));
}

#[test]
fn the_last_owner_may_be_a_callback() {
    let log = Arc::new(open(&Disk::default()).unwrap());
    let owner = Arc::clone(&log);
    let (told, outcome) = outcome();
    let callback = Box::new(move |outcome: std::io::Result<()>| {
        drop(owner);
        told(outcome);
    });
    log.append(0, entries(1..2, 10), callback).unwrap();
    drop(log);
    outcome.recv().unwrap().unwrap();
}
