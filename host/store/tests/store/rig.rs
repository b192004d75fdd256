//! A log on a test's disk, and what tests do with it over and over.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use quorate_store::log::{Callback, FatalHandler};
use quorate_store::{Log, LogOptions, OpenError};

use crate::disk::Disk;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Segments of 4 KiB and hardly any memory: everything that takes long in production is at hand.
pub fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, cache_bytes: 256, ..LogOptions::default() }
}

/// Segments that hold a whole test.
pub fn roomy() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() }
}

/// Counts how often a log has called its fatal handler.
#[derive(Clone, Debug, Default)]
pub struct Fatal(Arc<AtomicU64>);

impl Fatal {
    pub fn handler(&self) -> FatalHandler {
        let count = Arc::clone(&self.0);
        Box::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub fn open(disk: &Disk) -> Result<Log, OpenError> {
    open_with(disk, small())
}

pub fn open_with(disk: &Disk, options: LogOptions) -> Result<Log, OpenError> {
    Log::open_on(Arc::new(disk.clone()), options, Fatal::default().handler())
}

pub fn open_directory(path: &Path) -> Result<Log, OpenError> {
    Log::open(path, small(), Fatal::default().handler())
}

/// A callback and the place where its outcome comes.
pub fn outcome() -> (Callback, mpsc::Receiver<io::Result<()>>) {
    let (sender, receiver) = mpsc::channel();
    // A test that does not look is no fault.
    (Box::new(move |outcome| drop(sender.send(outcome))), receiver)
}

/// A callback that nobody listens to.
pub fn unheard() -> Callback {
    outcome().0
}

/// Waits for the outcome of a change.
pub fn done(change: impl FnOnce(Callback) -> io::Result<()>) -> io::Result<()> {
    let (callback, outcome) = outcome();
    change(callback)?;
    outcome.recv_timeout(PATIENCE).expect("a callback comes")
}

/// The payload of an entry: tells the index, has the wanted length.
pub fn payload(index: u64, bytes: usize) -> Bytes {
    let mut payload = index.to_le_bytes().repeat(bytes / 8 + 1);
    payload.truncate(bytes.max(8));
    Bytes::from(payload)
}

pub fn entries(indexes: Range<u64>, bytes: usize) -> Vec<(u64, Bytes)> {
    indexes.map(|index| (index, payload(index, bytes))).collect()
}

/// Appends durably, one batch for each entry.
pub fn append(log: &Log, namespace: u32, indexes: Range<u64>, bytes: usize) {
    for entry in entries(indexes, bytes) {
        done(|callback| log.append(namespace, vec![entry], callback)).unwrap();
    }
}

pub fn indexes(log: &Log, namespace: u32) -> Vec<u64> {
    let entries = log.read(namespace, 0..u64::MAX).unwrap();
    entries.into_iter().map(|(index, _)| index).collect()
}
