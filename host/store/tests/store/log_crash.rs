//! Power cuts and damage: what was synced is there, the rest is there whole or not at all, and what
//! can not be explained by a power cut is refused with its place.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_store::OpenError;

use crate::disk::{Disk, Random};
use crate::rig::{append, done, entries, indexes, open, open_with, roomy, unheard};

const FIRST: &str = "0000000000000001.log";
/// Bytes of a segment's header, and of a record with 40 bytes of payload.
const HEADER: usize = 64;
const RECORD: usize = 32 + 40;

fn with_file(disk: &Disk, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Disk {
    let mut files: BTreeMap<String, Vec<u8>> = disk.files();
    change(files.get_mut(name).unwrap());
    Disk::with(files)
}

/// A log of five entries, each its own batch, in one segment.
fn five() -> Disk {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 1..6, 40);
    log.close().unwrap();
    disk
}

fn corruption(disk: &Disk) -> Option<(String, u64)> {
    match open(disk) {
        Err(OpenError::Corrupt { path, offset, .. }) => {
            Some((path.file_name()?.to_string_lossy().into_owned(), offset))
        }
        _ => None,
    }
}

#[test]
fn a_last_record_torn_at_any_byte_is_the_end_of_the_log() {
    let disk = five();
    let begin = HEADER + 4 * RECORD;
    for cut in 0..RECORD {
        for remains in [0x00, 0xff] {
            let torn = with_file(&disk, FIRST, |bytes| {
                bytes[begin + cut..begin + RECORD].fill(remains);
            });
            if torn.files() == disk.files() {
                // The last bytes of this payload are zeros: zeros in their place are no loss.
                assert!(remains == 0 && cut > RECORD - 8);
                continue;
            }
            let log = open(&torn).unwrap();
            assert_eq!(log.read(0, 0..9).unwrap(), entries(1..5, 40), "cut at {cut}");
            // The log goes on, whatever lies behind its end.
            append(&log, 0, 5..7, 40);
            log.close().unwrap();
            let log = open(&torn).unwrap();
            assert_eq!(log.read(0, 0..9).unwrap(), entries(1..7, 40), "cut at {cut}");
        }
    }
}

#[test]
fn damage_before_a_later_write_is_refused_with_its_place() {
    let disk = five();
    for damaged in HEADER..HEADER + 4 * RECORD {
        let damage = with_file(&disk, FIRST, |bytes| bytes[damaged] ^= 0x40);
        let record = (damaged - HEADER) / RECORD;
        let expected = (FIRST.to_owned(), (HEADER + record * RECORD) as u64);
        assert_eq!(corruption(&damage), Some(expected), "byte {damaged}");
    }
    for damaged in 0..HEADER {
        let damage = with_file(&disk, FIRST, |bytes| bytes[damaged] ^= 0x40);
        assert_eq!(corruption(&damage), Some((FIRST.to_owned(), 0)), "byte {damaged}");
    }
}

#[test]
fn damage_in_a_segment_that_has_a_successor_is_refused() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 1..20, 600);
    log.close().unwrap();
    let files = disk.files();
    let used = HEADER + 6 * 632;
    for damaged in (HEADER..used).step_by(13) {
        let damage = with_file(&disk, FIRST, |bytes| bytes[damaged] ^= 1);
        assert_eq!(corruption(&damage).unwrap().0, FIRST, "byte {damaged}");
    }
    let cut = with_file(&disk, FIRST, |bytes| bytes.truncate(1000));
    assert_eq!(corruption(&cut).unwrap().0, FIRST);
    for missing in ["0000000000000001.log", "0000000000000002.log"] {
        let mut files = files.clone();
        files.remove(missing);
        assert!(corruption(&Disk::with(files)).is_some(), "{missing}");
    }
}

#[test]
fn another_version_of_the_format_is_refused_by_name() {
    let newer = with_file(&five(), FIRST, |bytes| {
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    });
    assert!(matches!(open(&newer), Err(OpenError::UnknownVersion { found: 2, known: 1, .. })));
}

#[test]
fn a_batch_whose_sectors_came_in_another_order_is_torn_and_not_corrupt() {
    // One batch of twenty records is cut off before its sync. The disk has kept its end but not its
    // beginning: good records of this life behind the end, which were never durable.
    let disk = Disk::default();
    let log = open_with(&disk, roomy()).unwrap();
    append(&log, 0, 1..3, 40);
    let before = disk.files();
    done(|callback| log.append(0, entries(3..23, 400), callback)).unwrap();
    let mut torn = disk.files();
    let begin = HEADER + 2 * RECORD;
    for kept in [begin, begin + 100, begin + 5 * 432] {
        torn.get_mut(FIRST).unwrap()[begin..kept].copy_from_slice(&before[FIRST][begin..kept]);
        let disk = Disk::with(torn.clone());
        let log = open_with(&disk, roomy()).unwrap();
        let last = if kept == begin { 22 } else { 2 };
        assert_eq!(indexes(&log, 0), (1..=last).collect::<Vec<_>>());
        // What is written now must not be mixed with the remains, however often the power goes.
        let next = last + 1;
        append(&log, 0, next..next + 2, 400);
        for seed in 0..20 {
            let again = open_with(&disk.after_power_loss(&mut Random(seed)), roomy());
            assert_eq!(indexes(&again.unwrap(), 0), (1..next + 2).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_a_killed_process_had_written_is_sure_once_it_was_seen() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 1..3, 40);
    disk.hold_syncs();
    log.append(0, entries(3..5, 40), unheard()).unwrap();
    disk.wait_for_held_sync();
    let killed = disk.after_kill();
    disk.release_syncs();
    let reopened = open(&killed).unwrap();
    assert_eq!(indexes(&reopened, 0), [1, 2, 3, 4]);
    for seed in 0..20 {
        let log = open(&killed.after_power_loss(&mut Random(seed))).unwrap();
        assert_eq!(indexes(&log, 0), [1, 2, 3, 4], "raft has counted with them");
    }
}

#[test]
fn a_rotation_that_is_cut_off_anywhere_loses_nothing() {
    for syncs in 0..12 {
        for seed in 0..30 {
            let disk = Disk::default();
            let log = open(&disk).unwrap();
            let vote = Bytes::from_static(b"vote");
            done(|callback| log.save_vote(0, vote.clone(), callback)).unwrap();
            disk.fail_sync_after(syncs);
            let mut sure = 0;
            for entry in entries(1..12, 1200) {
                let index = entry.0;
                match done(|callback| log.append(0, vec![entry], callback)) {
                    Ok(()) => sure = index,
                    Err(_) => break,
                }
            }
            let log = open(&disk.after_power_loss(&mut Random(seed))).unwrap();
            let found = indexes(&log, 0).len() as u64;
            assert!(found == sure || found == sure + 1, "{found} of {sure}, {syncs}/{seed}");
            assert_eq!(log.read(0, 1..found + 1).unwrap(), entries(1..found + 1, 1200));
            assert_eq!(log.state(0).vote, Some(vote));
        }
    }
}
