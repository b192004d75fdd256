//! A disk in memory that can lose power. It keeps for certain only what was synced; of the rest a
//! crash keeps what a seed says, sector by sector. It does not know what a log is.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use quorate_store::log::files::{Files, LogFile};

/// Written whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A small deterministic generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[derive(Debug, Default)]
struct Content {
    /// What a crash leaves for certain.
    durable: Vec<u8>,
    /// What a read gives.
    current: Vec<u8>,
}

type Node = Arc<Mutex<Content>>;

#[derive(Debug, Default)]
struct Platter {
    names: BTreeMap<String, Node>,
    /// What a crash leaves for certain, then the changes since, of which it leaves a front part.
    durable_names: BTreeMap<String, Node>,
    changes: Vec<Change>,
    syncs: u64,
    writes: u64,
    /// The sync, counted from now, that fails, with all after it.
    failing_sync: Option<u64>,
    /// Writes take at most so many bytes at once.
    short_writes: Option<usize>,
    /// The write, counted from now, that fails.
    failing_write: Option<u64>,
    /// Bytes of all files together that there is room for.
    room_bytes: Option<usize>,
    /// Bytes that writes still take, allocated or not: a disk that writes to another place what is written again.
    writable_bytes: Option<usize>,
}

#[derive(Debug)]
enum Change {
    Put(String, Node),
    Rename(String, String),
    Remove(String),
}

/// The disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>, Arc<Gate>);

/// Holds syncs back while it is closed.
#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
    waiting: Condvar,
    waiting_count: Mutex<u64>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// Syncs of files wait from now on.
    pub fn hold_syncs(&self) {
        *self.1.is_closed.lock().unwrap() = true;
    }

    /// Returns when a sync waits.
    pub fn wait_for_held_sync(&self) {
        let count = self.1.waiting_count.lock().unwrap();
        let patience = std::time::Duration::from_secs(20);
        let waited = self.1.waiting.wait_timeout_while(count, patience, |count| *count == 0);
        assert!(!waited.unwrap().1.timed_out(), "no sync came");
    }

    /// Syncs go on.
    pub fn release_syncs(&self) {
        *self.1.is_closed.lock().unwrap() = false;
        self.1.changed.notify_all();
    }

    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock().failing_sync = Some(syncs);
    }

    pub fn fail_write_after(&self, writes: u64) {
        self.lock().failing_write = Some(writes);
    }

    /// All files together can grow to this length, and no further.
    pub fn hold_bytes(&self, bytes: usize) {
        self.lock().room_bytes = Some(bytes);
    }

    /// Writes take so many bytes more, whatever was allocated.
    pub fn take_bytes(&self, bytes: usize) {
        self.lock().writable_bytes = Some(bytes);
    }

    /// The disk has been made larger.
    pub fn hold_any(&self) {
        let mut platter = self.lock();
        platter.room_bytes = None;
        platter.writable_bytes = None;
    }

    pub fn write_short(&self, bytes: usize) {
        self.lock().short_writes = Some(bytes);
    }

    /// What lies on the disk of a machine that lost power now: another disk, this one goes on.
    pub fn after_power_loss(&self, random: &mut Random) -> Self {
        let platter = self.lock();
        let mut names = platter.durable_names.clone();
        let kept = random.below(platter.changes.len() as u64 + 1);
        for change in platter.changes.iter().take(usize::try_from(kept).unwrap()) {
            apply(&mut names, change);
        }
        // One mood for the whole crash: nothing, all, or any part of what was not synced.
        let mood = random.below(4);
        let torn = names.into_iter().map(|(name, node)| {
            let content = node.lock().unwrap();
            (name, tear(&content, mood, random))
        });
        Self::of(torn.collect())
    }

    /// What lies on the disk after the process was killed: all that was written, none of it surer than
    /// before.
    pub fn after_kill(&self) -> Self {
        let platter = self.lock();
        let copy = |node: &Node| {
            let content = node.lock().unwrap();
            let (durable, current) = (content.durable.clone(), content.current.clone());
            Arc::new(Mutex::new(Content { durable, current }))
        };
        let names = platter.names.iter().map(|(name, node)| (name.clone(), copy(node)));
        let names: BTreeMap<_, _> = names.collect();
        // Changes of names are taken as durable here: the kill of a process loses none.
        let platter = Platter { durable_names: names.clone(), names, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)), Arc::default())
    }

    fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let node = |bytes: Vec<u8>| {
            let content = Content { durable: bytes.clone(), current: bytes };
            Arc::new(Mutex::new(content))
        };
        let names: BTreeMap<_, _> =
            files.into_iter().map(|(name, bytes)| (name, node(bytes))).collect();
        let platter = Platter { durable_names: names.clone(), names, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)), Arc::default())
    }

    /// A copy of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let platter = self.lock();
        let current = |node: &Node| node.lock().unwrap().current.clone();
        platter.names.iter().map(|(name, node)| (name.clone(), current(node))).collect()
    }

    /// A disk with these files, all durable.
    pub fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::of(files)
    }
}

impl Gate {
    fn pass(&self) {
        let closed = self.is_closed.lock().unwrap();
        if !*closed {
            return;
        }
        *self.waiting_count.lock().unwrap() += 1;
        self.waiting.notify_all();
        drop(self.changed.wait_while(closed, |closed| *closed).unwrap());
        *self.waiting_count.lock().unwrap() -= 1;
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &Change) {
    match change {
        Change::Put(name, node) => {
            names.insert(name.clone(), Arc::clone(node));
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Change::Remove(name) => {
            names.remove(name);
        }
    }
}

fn tear(content: &Content, mood: u64, random: &mut Random) -> Vec<u8> {
    if mood == 0 {
        return content.durable.clone();
    }
    let mut bytes = content.durable.clone();
    // The length is one thing of its own.
    if mood == 1 || random.below(2) == 0 {
        bytes.resize(content.current.len(), 0);
    }
    let length = bytes.len().min(content.current.len());
    for begin in (0..length).step_by(SECTOR_BYTES) {
        let sector = begin..(begin + SECTOR_BYTES).min(length);
        if mood == 1 || random.below(2) == 0 {
            bytes[sector.clone()].copy_from_slice(&content.current[sector]);
        }
    }
    bytes
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl Files for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let node = self.lock().names.get(name).cloned().ok_or_else(|| not_found(name))?;
        Ok(Arc::new(OpenFile { node, disk: self.clone() }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let node = Node::default();
        let mut platter = self.lock();
        platter.names.insert(name.to_owned(), Arc::clone(&node));
        platter.changes.push(Change::Put(name.to_owned(), Arc::clone(&node)));
        Ok(Arc::new(OpenFile { node, disk: self.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.lock();
        if !platter.names.contains_key(from) {
            return Err(not_found(from));
        }
        let change = Change::Rename(from.to_owned(), to.to_owned());
        apply(&mut platter.names, &change);
        platter.changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut platter = self.lock();
        let change = Change::Remove(name.to_owned());
        apply(&mut platter.names, &change);
        platter.changes.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = self.lock();
        platter.durable_names = platter.names.clone();
        platter.changes.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/disk").join(name)
    }
}

struct OpenFile {
    node: Node,
    disk: Disk,
}

impl OpenFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.node.lock().unwrap()
    }

    /// How long this file can become: as it is, and what room the others leave.
    fn bytes_max(&self, platter: &Platter) -> usize {
        let Some(room_bytes) = platter.room_bytes else { return usize::MAX };
        let all = platter.names.values().map(|node| node.lock().unwrap().current.len());
        let own = self.content().current.len();
        own + room_bytes.saturating_sub(all.sum())
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("the test's disk fails this {what}"))
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

/// Counts down; true when the count has reached its end, and from then on.
fn is_due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl LogFile for OpenFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.content().current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let begin = usize::try_from(offset).unwrap().min(content.current.len());
        let count = buffer.len().min(content.current.len() - begin);
        buffer[..count].copy_from_slice(&content.current[begin..begin + count]);
        Ok(count)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<usize> {
        let mut platter = self.disk.lock();
        platter.writes += 1;
        if is_due(&mut platter.failing_write) {
            return Err(broken("write"));
        }
        let begin = usize::try_from(offset).unwrap();
        let room_bytes = self.bytes_max(&platter).saturating_sub(begin);
        let room_bytes = room_bytes.min(platter.writable_bytes.unwrap_or(usize::MAX));
        if room_bytes == 0 && !buffer.is_empty() {
            return Err(full());
        }
        let count = buffer.len().min(platter.short_writes.unwrap_or(usize::MAX)).min(room_bytes);
        platter.writable_bytes = platter.writable_bytes.map(|bytes| bytes - count);
        drop(platter);
        let mut content = self.content();
        let end = begin + count;
        if content.current.len() < end {
            content.current.resize(end, 0);
        }
        content.current[begin..end].copy_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// On a full disk, as many file systems do: what could be had stays with the file.
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let wanted = usize::try_from(bytes).unwrap();
        let bytes_max = self.bytes_max(&self.disk.lock());
        self.content().current.resize(wanted.min(bytes_max), 0);
        if wanted > bytes_max { Err(full()) } else { Ok(()) }
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.content().current.truncate(usize::try_from(bytes).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.1.pass();
        let mut platter = self.disk.lock();
        platter.syncs += 1;
        if is_due(&mut platter.failing_sync) {
            return Err(broken("sync"));
        }
        drop(platter);
        let mut content = self.content();
        content.durable = content.current.clone();
        Ok(())
    }
}
