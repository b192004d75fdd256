//! Purged segments are used again, and nothing of their former life is ever seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use quorate_store::{Log, LogOptions};

use crate::disk::{Disk, Random};
use crate::rig::{append, done, entries, indexes, open, open_with, payload, roomy, unheard};

fn purge(log: &Log, namespace: u32, upto: u64) {
    let meta = Bytes::copy_from_slice(&upto.to_le_bytes());
    done(|callback| log.purge(namespace, upto, meta, callback)).unwrap();
}

fn file_names(disk: &Disk) -> Vec<String> {
    disk.files().into_keys().collect()
}

#[test]
fn purged_segments_are_written_again_and_their_number_stays_bounded() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    for round in 0..50 {
        append(&log, 0, round * 10..round * 10 + 10, 600);
        purge(&log, 0, round * 10 + 8);
    }
    log.close().unwrap();
    let names = file_names(&disk);
    assert!(names.len() <= 6, "{names:?}");
    assert!(names.iter().any(|name| name.ends_with(".spare")), "{names:?}");
    // Byte 24 of a header: how many lives the file had before.
    assert!(disk.files().values().any(|bytes| bytes[24] > 5), "files are used over and over");
    let log = open(&disk).unwrap();
    assert_eq!(log.read(0, 0..u64::MAX).unwrap(), entries(499..500, 600));
    let last = Bytes::copy_from_slice(&498_u64.to_le_bytes());
    assert_eq!(log.state(0).purged, Some((498, last)));
}

#[test]
fn records_of_a_former_life_never_come_back() {
    // All records of all lives have one length, so those of the former life lie exactly where the next
    // ones of the new life will be: only their checksums tell them apart.
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    let mut next = 0;
    for lives in 0..6 {
        append(&log, 0, next..next + 30, 600);
        next += 30;
        purge(&log, 0, next - 1);
        for _ in 0..12 {
            append(&log, 0, next..next + 1, 600);
            next += 1;
            for disk in [disk.after_kill(), disk.after_power_loss(&mut Random(next))] {
                let reopened = open(&disk).unwrap();
                assert_eq!(indexes(&reopened, 0).last(), Some(&(next - 1)), "life {lives}");
                assert_eq!(reopened.state(0), log.state(0));
            }
        }
        purge(&log, 0, next - 1);
    }
    assert!(disk.files().values().any(|bytes| bytes[24] > 3), "files were used again");
}

#[test]
fn a_former_life_that_is_put_back_is_refused() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 0..4, 600);
    let former = disk.files()["0000000000000001.log"].clone();
    append(&log, 0, 4..30, 600);
    purge(&log, 0, 28);
    append(&log, 0, 30..60, 600);
    log.close().unwrap();
    let mut files = disk.files();
    let newest = files.keys().rfind(|name| name.ends_with(".log")).unwrap().clone();
    files.insert(newest, former);
    let refusal = open(&Disk::with(files)).err().unwrap().to_string();
    assert!(refusal.contains("the header is that of segment 0000000000000001"), "{refusal}");
}

#[test]
fn votes_and_purged_ids_outlive_the_segments_that_held_them() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    done(|callback| log.save_vote(1, Bytes::from_static(b"for me"), callback)).unwrap();
    log.save_committed(1, Bytes::from_static(b"so far")).unwrap();
    append(&log, 1, 0..5, 10);
    purge(&log, 1, 3);
    let before = log.state(1);
    for round in 0..20 {
        append(&log, 2, round * 10..round * 10 + 10, 600);
        purge(&log, 2, round * 10 + 9);
        if round == 10 {
            purge(&log, 1, 4);
        }
    }
    let names = file_names(&disk);
    assert!(!names.contains(&"0000000000000001.log".to_owned()), "{names:?}");
    log.close().unwrap();
    let state = open(&disk).unwrap().state(1);
    assert_eq!((state.vote, state.committed), (before.vote, before.committed));
    assert_eq!((state.first, state.last), (None, None));
    assert_eq!(state.purged.map(|(index, _)| index), Some(4));
}

#[test]
fn one_namespace_holds_the_segments_that_another_does_not_need() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 1, 0..1, 600);
    append(&log, 2, 0..40, 600);
    purge(&log, 2, 39);
    assert_eq!(log.read(1, 0..9).unwrap(), entries(0..1, 600));
    let reopened = open(&disk.after_kill()).unwrap();
    assert_eq!(reopened.read(1, 0..9).unwrap(), entries(0..1, 600));
    assert_eq!(reopened.state(2), log.state(2));
}

#[test]
fn a_purge_beyond_the_end_lets_the_log_go_on_there() {
    let disk = Disk::default();
    let log = open(&disk).unwrap();
    append(&log, 0, 1..20, 600);
    purge(&log, 0, 1000);
    append(&log, 0, 1001..1003, 600);
    for log in [&log, &open(&disk.after_kill()).unwrap()] {
        assert_eq!(log.read(0, 0..u64::MAX).unwrap(), entries(1001..1003, 600));
    }
}

#[test]
fn a_reader_never_sees_another_life_of_the_file_that_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 4096, cache_bytes: 0, ..LogOptions::default() };
    let handler = Box::new(|_: &std::io::Error| {});
    let log = Arc::new(Log::open(directory.path(), options, handler).unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (log, is_over) = (Arc::clone(&log), Arc::clone(&is_over));
        move || {
            let mut reads = 0_u64;
            while !is_over.load(Ordering::SeqCst) || reads == 0 {
                for (index, read) in log.read(0, 0..u64::MAX).unwrap() {
                    assert_eq!(read, payload(index, 700));
                    reads += 1;
                }
            }
        }
    });
    for next in 0..3000_u64 {
        log.append(0, entries(next..next + 1, 700), unheard()).unwrap();
        if next % 7 == 6 {
            purge(&log, 0, next - 6);
        }
    }
    is_over.store(true, Ordering::SeqCst);
    reader.join().unwrap();
}

#[test]
fn a_process_that_crashes_in_a_loop_does_not_fill_the_disk() {
    let mut disk = Disk::default();
    append(&open_with(&disk, roomy()).unwrap(), 0, 0..3, 50);
    for seed in 0..40 {
        // The next write is cut off in its middle.
        let log = open_with(&disk, roomy()).unwrap();
        disk.fail_sync_after(0);
        let torn = done(|callback| log.append(0, entries(3..9, 900), callback));
        assert!(torn.is_err());
        drop(log);
        disk = disk.after_power_loss(&mut Random(seed));
        let log = open_with(&disk, roomy()).unwrap();
        let kept = indexes(&log, 0).len() as u64;
        assert!(kept >= 3);
        done(|callback| log.truncate_after(0, Some(2), callback)).unwrap();
        log.close().unwrap();
    }
    let bytes: usize = disk.files().values().map(Vec::len).sum();
    assert!(bytes < 40 * (64 << 10) / 2, "{bytes} bytes");
}
