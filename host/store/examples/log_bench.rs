//! Measures this machine's disk through our log and tree: syncs and entries a second, and what a
//! commit of two records costs. `cargo run -p quorate-store --example log_bench [DIRECTORY]`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people that prints its figures and has nobody to report to"
)]

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::read::{Direction, Read};
use quorate_store::log::files::{Directory, Files};
use quorate_store::{Log, LogOptions, Tree, TreeOptions};

const ENTRY_BYTES: usize = 200;
const RUN: Duration = Duration::from_secs(2);

fn main() {
    let directory = match std::env::args_os().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    println!("in {}, entries of {ENTRY_BYTES} bytes", directory.path().display());
    disk(directory.path());
    let fatal = || Box::new(|error: &std::io::Error| panic!("{error}"));
    let path = directory.path().join("log");
    let log = Log::open(&path, LogOptions::default(), fatal()).unwrap();
    println!("log, first life of its files");
    let mut next = 0;
    for (entries, in_flight) in [(1, 1), (16, 1), (128, 1), (1, 16), (1, 128)] {
        next = append(&log, next, entries, in_flight);
    }
    next = recycle(&log, next);
    println!("log, recycled files");
    for (entries, in_flight) in [(1, 1), (16, 1), (128, 1), (1, 16), (1, 128)] {
        next = append(&log, next, entries, in_flight);
    }
    log.close().unwrap();
    let begin = Instant::now();
    let log = Log::open(&path, LogOptions::default(), fatal()).unwrap();
    let (opened, state) = (begin.elapsed(), log.state(0));
    let count = state.last.unwrap_or(0) - state.first.unwrap_or(0) + 1;
    println!("reopened in {opened:?}, {count} entries");
    let begin = Instant::now();
    let read = log.read_up_to(0, 0..u64::MAX, 64 << 20).unwrap();
    println!("read {} entries from the disk in {:?}", read.len(), begin.elapsed());
    tree(directory.path());
}

/// What the disk takes without our log: one thread that writes and syncs.
fn disk(directory: &Path) {
    let files = Directory::open(&directory.join("bare")).unwrap();
    let file = files.create("file").unwrap();
    let bytes = [7; ENTRY_BYTES + 32];
    file.allocate(64 << 20).unwrap();
    file.sync().unwrap();
    for life in ["first", "second"] {
        let mut latencies = Vec::new();
        let begin = Instant::now();
        let mut offset = 0;
        while begin.elapsed() < RUN && latencies.len() < 5000 {
            let call = Instant::now();
            file.write_at(&bytes, offset).unwrap();
            file.sync().unwrap();
            offset += bytes.len() as u64;
            latencies.push(call.elapsed());
        }
        latencies.sort_unstable();
        let (p50, p99) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
        println!(
            "the bare disk, {life} write of a place: write and sync p50 {p50:.1?}  p99 {p99:.1?}"
        );
    }
}

/// Appends for a while: calls of `entries` entries, `in_flight` calls at once.
fn append(log: &Log, mut next: u64, entries: u64, in_flight: usize) -> u64 {
    let payload = Bytes::from(vec![7; ENTRY_BYTES]);
    let (sender, receiver) = mpsc::channel();
    let mut begun = VecDeque::new();
    let mut latencies = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < RUN || !begun.is_empty() {
        while begun.len() < in_flight && begin.elapsed() < RUN {
            let batch = (next..next + entries).map(|index| (index, payload.clone())).collect();
            next += entries;
            let sender = sender.clone();
            begun.push_back(Instant::now());
            let callback = Box::new(move |outcome| sender.send(outcome).unwrap());
            log.append(0, batch, callback).unwrap();
        }
        if let Some(call) = begun.pop_front() {
            receiver.recv().unwrap().unwrap();
            latencies.push(call.elapsed());
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "  {entries:>3} entries a call, {in_flight:>3} calls at once: {:>8.0} calls/s {:>9.0} entries/s  p50 {:>9.1?}  p99 {:>9.1?}",
        latencies.len() as f64 / seconds,
        latencies.len() as f64 * entries as f64 / seconds,
        percentile(50),
        percentile(99),
    );
    next
}

/// Purges all, and writes until the files that this has freed are in use.
fn recycle(log: &Log, mut next: u64) -> u64 {
    for _ in 0..3 {
        let (sender, receiver) = mpsc::channel();
        let told = sender.clone();
        let callback = Box::new(move |outcome| told.send(outcome).unwrap());
        log.purge(0, next - 1, Bytes::new(), callback).unwrap();
        receiver.recv().unwrap().unwrap();
        let large = Bytes::from(vec![7; 1 << 20]);
        let batch = (next..next + 64).map(|index| (index, large.clone())).collect();
        next += 64;
        log.append(0, batch, Box::new(move |outcome| sender.send(outcome).unwrap())).unwrap();
        receiver.recv().unwrap().unwrap();
    }
    next
}

fn tree(directory: &Path) {
    const COMMITS: u64 = 200_000;
    let tree = Tree::open(&directory.join("tree"), &TreeOptions::default()).unwrap();
    let value = Bytes::from(vec![7; 100]);
    let begin = Instant::now();
    for commit in 0..COMMITS {
        let key =
            Bytes::copy_from_slice(&(commit.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
        let applied = Bytes::copy_from_slice(&commit.to_le_bytes());
        tree.commit([(Bytes::from_static(b"applied"), Some(applied)), (key, Some(value.clone()))]);
    }
    let micros = begin.elapsed().as_secs_f64() * 1e6 / COMMITS as f64;
    println!("tree: {micros:.2} us a commit of 2 records");
    let begin = Instant::now();
    tree.flush();
    println!("tree: flushed in {:?}", begin.elapsed());
    let reader = tree.reader();
    let begin = Instant::now();
    for commit in 0..COMMITS {
        let key = (commit.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
        assert!(reader.get(&key).is_some());
    }
    let micros = begin.elapsed().as_secs_f64() * 1e6 / COMMITS as f64;
    println!("tree: {micros:.2} us a get of a random key");
    let begin = Instant::now();
    let count = reader.range(&[], &[0xff; 9], Direction::Forward).count();
    println!("tree: {count} records scanned in {:?}", begin.elapsed());
    let begin = Instant::now();
    tree.checkpoint(&directory.join("checkpoint")).unwrap();
    println!("tree: checkpoint in {:?}", begin.elapsed());
}
