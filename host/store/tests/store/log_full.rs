//! A full disk under the log: what fails says where and why and leaves no file behind, and with room again everything
//! that was acknowledged is there.

use std::io;

use bytes::Bytes;
use quorate_store::{Log, OpenError};

use crate::disk::{Disk, Random};
use crate::rig::{Fatal, append, done, entries, indexes, open, payload, small};

/// Length of a segment of `small`.
const SEGMENT: usize = 4096;

fn log_names(disk: &Disk) -> Vec<String> {
    disk.files().into_keys().collect()
}

fn open_told(disk: &Disk) -> (Log, Fatal) {
    let fatal = Fatal::default();
    let log = Log::open_on(std::sync::Arc::new(disk.clone()), small(), fatal.handler());
    (log.unwrap(), fatal)
}

/// Appends until it fails; the last index that was acknowledged, and the failure.
fn fill(log: &Log) -> (u64, io::Error) {
    for index in 1..1000 {
        let entry = vec![(index, payload(index, 600))];
        if let Err(error) = done(|callback| log.append(0, entry, callback)) {
            return (index - 1, error);
        }
    }
    panic!("the disk was not full");
}

/// With this much room: the next segment can not be allocated at all, in part, or but for its last byte.
const ROOMS: [usize; 4] = [2 * SEGMENT, 2 * SEGMENT + 1, 2 * SEGMENT + 2000, 3 * SEGMENT - 1];

#[test]
fn a_segment_without_room_ends_the_log_with_its_name_and_the_cause_and_leaves_no_file() {
    for room in ROOMS {
        let disk = Disk::default();
        disk.hold_bytes(room);
        let (log, fatal) = open_told(&disk);
        let (sure, error) = fill(&log);
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        let told = error.to_string();
        assert!(told.contains("/disk/0000000000000003"), "{told}");
        assert!(told.contains("No space left on device"), "{told}");
        // What could be had of the third segment is free for others, above all for who wants to make room.
        assert_eq!(log_names(&disk), ["0000000000000001.log", "0000000000000002.log"], "{room}");
        drop(log);
        assert_eq!(fatal.count(), 1);
        for disk in [disk.after_kill(), disk.after_power_loss(&mut Random(room as u64))] {
            let log = open(&disk).unwrap();
            assert_eq!(log.read(0, 0..u64::MAX).unwrap(), entries(1..sure + 1, 600), "{room}");
            append(&log, 0, sure + 1..sure + 20, 600);
        }
    }
}

#[test]
fn a_log_that_finds_no_room_at_its_opening_is_refused_and_opens_when_there_is() {
    for room in ROOMS {
        let disk = Disk::default();
        disk.hold_bytes(room);
        let (log, _) = open_told(&disk);
        let (sure, _) = fill(&log);
        drop(log);
        let names = log_names(&disk);
        for _ in 0..3 {
            let refusal = open(&disk).err().unwrap();
            assert!(matches!(refusal, OpenError::Io { .. }), "{refusal}");
            let told = refusal.to_string();
            assert!(told.contains("/disk/0000000000000003"), "{told}");
            assert!(told.contains("No space left on device"), "{told}");
            assert_eq!(log_names(&disk), names, "{room}");
        }
        disk.hold_any();
        let log = open(&disk).unwrap();
        assert_eq!(log.read(0, 0..u64::MAX).unwrap(), entries(1..sure + 1, 600), "{room}");
        append(&log, 0, sure + 1..sure + 20, 600);
    }
}

#[test]
fn a_half_made_segment_that_a_power_cut_leaves_is_removed_at_the_opening() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 1..5, 600);
    log.close().unwrap();
    let mut files = disk.files();
    // Allocated, and the header never written.
    files.insert("0000000000000002.spare".to_owned(), vec![0; SEGMENT]);
    let disk = Disk::with(files);
    let log = open(&disk).unwrap();
    assert_eq!(log_names(&disk), ["0000000000000001.log"]);
    append(&log, 0, 5..30, 600);
    assert_eq!(indexes(&log, 0), (1..30).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_fills_in_the_middle_of_a_write_loses_nothing_that_was_acknowledged() {
    // Bytes of the record of entry 4.
    const RECORD: usize = 32 + 1200;
    for room in (0..RECORD + 7).step_by(7) {
        let disk = Disk::default();
        let (log, fatal) = open_told(&disk);
        let vote = Bytes::from_static(b"vote");
        done(|callback| log.save_vote(0, vote.clone(), callback)).unwrap();
        append(&log, 0, 1..4, 600);
        disk.take_bytes(room);
        let outcome = done(|callback| log.append(0, vec![(4, payload(4, 1200))], callback));
        assert_eq!(outcome.is_ok(), room >= RECORD, "{room}");
        if let Err(error) = outcome {
            let told = error.to_string();
            assert!(told.contains("/disk/0000000000000001.log"), "{told}");
            assert!(told.contains("No space left on device"), "{told}");
        }
        drop(log);
        assert_eq!(fatal.count(), u64::from(room < RECORD));
        for disk in [disk.after_kill(), disk.after_power_loss(&mut Random(room as u64))] {
            let log = open(&disk).unwrap();
            let found = indexes(&log, 0);
            // The last bytes of the payload are zeros: without them the entry is whole, and was not acknowledged.
            let is_whole = room >= RECORD - 7 && found == [1, 2, 3, 4];
            assert!(is_whole || (room < RECORD && found == [1, 2, 3]), "{room}: {found:?}");
            assert_eq!(log.read(0, 1..4).unwrap(), entries(1..4, 600), "{room}");
            assert_eq!(log.state(0).vote.as_ref(), Some(&vote));
            let next = found.len() as u64 + 1;
            append(&log, 0, next..next + 20, 600);
        }
    }
}
