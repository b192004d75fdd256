//! Opening the raft log on whatever a disk gives back. The input says which records stand in one or two segments, and which of
//! their bytes are damaged; checksums are right where nothing is. Knows only that opening ends with a log or with a refusal.
#![no_main]

/// Taken in by their files: the crate would bring RocksDB.
#[path = "../../../host/store/src/error.rs"]
#[allow(dead_code, reason = "the log's are used")]
mod error;
#[path = "../../../host/store/src/modes.rs"]
mod modes;
#[path = "../../../host/store/src/log"]
#[allow(dead_code, reason = "the log is only read here")]
mod log {
    pub mod files;
    mod index;
    mod record;
    mod replay;
    mod segment;

    use self::record::{Encoder, Kind, Seed};
    use crate::{Disk, Input};

    /// Whether the log opens; never a panic.
    pub fn opens(disk: &Disk) -> bool {
        replay::replay(disk).is_ok()
    }

    pub fn file_name(id: u64) -> String {
        segment::log_name(id)
    }

    /// A segment's bytes, with the records of the input.
    pub fn segment_of(id: u64, input: &mut Input<'_>) -> Vec<u8> {
        let seed = Seed::new(id, 0);
        let begin = u64::from(segment::SEGMENT_HEADER_BYTES);
        let mut head = Vec::new();
        if input.byte() % 4 > 0 {
            batch(&mut head, seed, begin, 0, input, &[Kind::Start, Kind::Purge, Kind::Vote]);
        }
        let mut bytes = header(id, u32::try_from(head.len()).unwrap_or(u32::MAX));
        bytes.extend(head);
        let mut number = 1;
        while input.byte() % 8 > 0 {
            let mut records = Vec::new();
            let kinds = [
                Kind::Entry,
                Kind::Entry,
                Kind::Entry,
                Kind::Vote,
                Kind::Committed,
                Kind::Truncate,
                Kind::TruncateAll,
                Kind::Purge,
                Kind::Start,
                Kind::Seal,
            ];
            batch(&mut records, seed, bytes.len() as u64, number, input, &kinds);
            bytes.extend(records);
            number += u32::from(input.byte() % 16 > 0);
        }
        bytes
    }

    fn batch(
        bytes: &mut Vec<u8>,
        seed: Seed,
        offset: u64,
        number: u32,
        input: &mut Input<'_>,
        kinds: &[Kind],
    ) {
        let mut encoder = Encoder::new(bytes, seed, offset, number);
        loop {
            let kind = kinds[usize::from(input.byte()) % kinds.len()];
            let namespace = u32::from(input.byte() % 3);
            let index = input.index();
            let payload = vec![7; usize::from(input.byte() % 32)];
            encoder.push(kind, namespace, index, &payload);
            if input.byte() % 4 == 0 {
                break;
            }
        }
        if input.byte() % 16 > 0 {
            encoder.finish();
        }
    }

    fn header(id: u64, head_bytes: u32) -> Vec<u8> {
        let mut bytes = b"QUOLOG\r\n".to_vec();
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&head_bytes.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.resize(60, 0);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }
}

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use log::files::{Files, LogFile};

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut disk = Disk::default();
    let first = u64::from(input.byte() % 3);
    for id in first..=first + u64::from(input.byte() % 2) {
        let mut bytes = log::segment_of(id, &mut input);
        for _ in 0..input.byte() % 4 {
            let at = usize::from(input.byte()) | usize::from(input.byte()) << 8;
            let count = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % count) {
                *byte ^= input.byte();
            }
        }
        bytes.truncate(bytes.len() - usize::from(input.byte() % 64).min(bytes.len()));
        bytes.resize(bytes.len() + usize::from(input.byte() % 64), 0);
        disk.0.insert(log::file_name(id), bytes);
    }
    let _either = log::opens(&disk);
});

/// The rest of the input; zeros behind its end, so that everything ends.
pub struct Input<'a>(&'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Small ones, those next to the largest, and any.
    pub fn index(&mut self) -> u64 {
        match self.byte() {
            0xff => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            high @ 0xf0..0xff => u64::MAX - u64::from(high - 0xf0),
            small => u64::from(small % 16),
        }
    }
}

/// Files that are only read.
#[derive(Default)]
pub struct Disk(BTreeMap<String, Vec<u8>>);

struct Whole(Vec<u8>);

fn read_only<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let bytes = self.0.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(Whole(bytes.clone())))
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn LogFile>> {
        read_only()
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

impl LogFile for Whole {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        let there = self.0.get(start..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn write_at(&self, _buffer: &[u8], _offset: u64) -> io::Result<usize> {
        read_only()
    }

    fn allocate(&self, _bytes: u64) -> io::Result<()> {
        read_only()
    }

    fn cut(&self, _bytes: u64) -> io::Result<()> {
        read_only()
    }

    fn sync(&self) -> io::Result<()> {
        read_only()
    }
}
