//! What share of the sequencer's step reads of the tree take, over RocksDB: without raft, wire and recipes. Each row steps
//! and applies on one thread, so that a read waits for nothing but RocksDB.
//!
//! `cargo run -p quorate-gateway --example tree_bench -- [seconds of each row] [znodes of the large rows]`
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::apply;
use quorate_core::condition::Condition;
use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::draft::Draft;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, SessionId, Term, WriteNumber};
use quorate_core::read::{Direction, Read, Records};
use quorate_core::recipe::{Recipes, Run, RunEnd};
use quorate_core::request::{Body, LifetimeKind, Operation, Request, Sequence};
use quorate_core::session::{Acks, Opening};
use quorate_core::txn::Txn;
use quorate_sequencer::{Input, Leadership, Now, Output, Sequencer, Submission, Token};
use quorate_store::{Tree, TreeOptions, TreeReader};

const SESSIONS: usize = 16;
const DATA_BYTES: usize = 100;
const SMALL: usize = 10_000;
const NOW: Now = Now { wall: Millis(1_800_000_000_000), monotonic_ms: 1_000 };

/// A reader that counts its time.
struct Timed {
    reader: TreeReader,
    spent: Arc<Spent>,
}

#[derive(Default)]
struct Spent {
    nanos: AtomicU64,
    gets: AtomicU64,
    ranges: AtomicU64,
}

impl Spent {
    fn time<T>(&self, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = act();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        result
    }

    fn reset(&self) {
        for count in [&self.nanos, &self.gets, &self.ranges] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

impl Read for Timed {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.spent.gets.fetch_add(1, Ordering::Relaxed);
        self.spent.time(|| self.reader.get(key))
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        self.spent.ranges.fetch_add(1, Ordering::Relaxed);
        let mut records = self.spent.time(|| self.reader.range(from, to, direction));
        Box::new(std::iter::from_fn(move || self.spent.time(|| records.next())))
    }
}

/// No recipes.
struct Nothing;

impl Recipes for Nothing {
    fn run(&mut self, _run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        (txn, RunEnd::Failed(Refusal::new(ErrorCode::NoRecipe, "none")))
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        Err(Refusal::new(ErrorCode::NotAdmitted, "none"))
    }

    fn migrate(
        &mut self,
        _version: &Version,
        _previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        (txn, Ok(()))
    }

    fn reset(&mut self) {}
}

struct Bench {
    tree: Tree,
    sequencer: Sequencer,
    spent: Arc<Spent>,
    sessions: Vec<SessionId>,
    writes: Vec<u64>,
    /// Time of each step, its inputs included.
    steps: Vec<Duration>,
}

impl Bench {
    fn new(tree: Tree) -> Self {
        let spent = Arc::new(Spent::default());
        let reader = Timed { reader: tree.reader(), spent: spent.clone() };
        let sequencer = Sequencer::new(Arc::new(reader), Box::new(Nothing));
        let (sessions, writes, steps) = (Vec::new(), vec![0; SESSIONS], Vec::new());
        let mut bench = Self { tree, sequencer, spent, sessions, writes, steps };
        // Each bench over a tree leads in a later term than the one before.
        let term = Term(quorate_core::draft::ReadRecords::meta(&bench.tree.reader()).term.0 + 1);
        bench.step(vec![Input::Lead(Leadership { term })]);
        let open = |number| Input::OpenSession {
            token: Token::local(number),
            opening: Opening { timeout_ms: 600_000, ..Opening::default() },
        };
        bench.step((0..SESSIONS as u64).map(open).collect());
        bench
    }

    fn write(&mut self, index: usize, operation: Operation) -> Input {
        let at = index % SESSIONS;
        self.writes[at] += 1;
        let write = self.writes[at];
        let acks = Acks { low: WriteNumber(write.saturating_sub(8)), ranges: Vec::new() };
        let (session, write, hash) = (self.sessions[at], WriteNumber(write), 0);
        let body = Body::Single(operation);
        let request = Arc::new(Request { session, write, hash, acks, body, address: None });
        Input::Submit(Submission { token: Token::local(0), request })
    }

    /// Steps, and applies what is proposed, until there is nothing left.
    fn step(&mut self, mut inputs: Vec<Input>) {
        let mut spent = Duration::ZERO;
        loop {
            let began = Instant::now();
            for input in std::mem::take(&mut inputs) {
                self.sequencer.handle(input, NOW);
            }
            self.sequencer.step(NOW);
            let mut entries = Vec::new();
            while let Some(output) = self.sequencer.poll_output() {
                match output {
                    Output::Propose { epoch, batch, entry } => entries.push((epoch, batch, entry)),
                    Output::SessionOpened { session: Ok(session), .. } => {
                        self.sessions.push(session);
                    }
                    _ => {}
                }
            }
            spent += began.elapsed();
            if entries.is_empty() {
                self.steps.push(spent);
                return;
            }
            for (epoch, batch, entry) in entries {
                let mut draft = Draft::new(self.tree.reader());
                let _applied = apply::entry(&mut draft, &entry, entry.term);
                apply::seal(&mut draft);
                self.tree.commit(draft.into_parts().1);
                inputs.push(Input::Applied { epoch, batch });
            }
        }
    }

    /// One row: `batch` operations a step, for so long.
    fn row(
        &mut self,
        name: &str,
        batch: usize,
        time: Duration,
        operation: impl Fn(usize) -> Operation,
    ) {
        self.steps.clear();
        self.spent.reset();
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < time {
            let inputs =
                (count..count + batch).map(|index| self.write(index, operation(index))).collect();
            self.step(inputs);
            count += batch;
        }
        self.steps.sort_unstable();
        let total: Duration = self.steps.iter().sum();
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let at = |part: usize| micros(self.steps[(self.steps.len() - 1) * part / 1000]);
        let each = |total: f64| total / count as f64;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let reading = load(&self.spent.nanos) / 1e3;
        println!(
            "{name:<28} x{batch:<3} {:>6.2} us each, reads {:>5.2} us ({:>2.0} %), {:>4.1} gets {:>4.1} ranges; step p50 {:>6.0} p99 {:>6.0} p99.9 {:>6.0} us",
            each(micros(total)),
            each(reading),
            100.0 * reading / micros(total),
            each(load(&self.spent.gets)),
            each(load(&self.spent.ranges)),
            at(500),
            at(990),
            at(999),
        );
    }
}

fn path(index: usize) -> String {
    format!("/bench/{:03}/{index:07}", index % 1000)
}

/// Spread over the keys, the same each time.
fn scattered(index: usize, keys: usize) -> usize {
    index.wrapping_mul(7_368_787) % keys
}

fn set(path: String) -> Operation {
    Operation::Set { path, data: Bytes::from(vec![b'x'; DATA_BYTES]), condition: Condition::ANY }
}

fn create(path: String) -> Operation {
    Operation::Create {
        path,
        data: Bytes::from(vec![b'x'; DATA_BYTES]),
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::None,
        parents: true,
        acl: None,
    }
}

fn fill(bench: &mut Bench, znodes: usize) {
    for first in (0..znodes).step_by(512) {
        let inputs = (first..(first + 512).min(znodes))
            .map(|index| bench.write(index, create(path(index))))
            .collect();
        bench.step(inputs);
    }
    bench.tree.flush();
}

/// A place in line, and its end: what a lock's hand-over does to the tree. The session's `i`th pair names its own znode.
fn place(index: usize) -> Operation {
    let path = format!("/line/{:09}", index / (2 * SESSIONS) * SESSIONS + index % SESSIONS);
    let lifetime = LifetimeKind::Ephemeral;
    if (index / SESSIONS).is_multiple_of(2) {
        Operation::Create {
            path,
            data: Bytes::new(),
            lifetime,
            sequence: Sequence::None,
            parents: true,
            acl: None,
        }
    } else {
        Operation::Delete { path, condition: Condition::ANY }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let time = Duration::from_secs(arguments.next().unwrap_or(3) as u64);
    let large = arguments.next().unwrap_or(1_000_000);
    let directory = tempfile::tempdir().expect("a directory");
    let open = |name: &str, cache_mib: usize| {
        let options = TreeOptions { cache_bytes: cache_mib << 20 };
        Bench::new(Tree::open(&directory.path().join(name), &options).expect("a tree"))
    };
    let mut bench = open("small", 256);
    fill(&mut bench, SMALL);
    for batch in [1, 64] {
        bench.row("set, one znode", batch, time, |_| set(path(0)));
        bench.row("set, 10k znodes", batch, time, |index| set(path(scattered(index, SMALL))));
        bench.row("place in line and its end", batch.max(SESSIONS), time, place);
    }
    drop(bench);
    let mut bench = open("large", 256);
    fill(&mut bench, large);
    for batch in [1, 64] {
        bench.row("set, many znodes", batch, time, |index| set(path(scattered(index, large))));
    }
    drop(bench);
    for cache_mib in [256, 16] {
        // What the kernel keeps of the files is dropped: the first read of each block comes from the disk.
        let files = std::fs::read_dir(directory.path().join("large")).expect("its files");
        for file in files.filter_map(Result::ok) {
            let mut drop = std::process::Command::new("dd");
            drop.arg(format!("if={}", file.path().display()));
            drop.args(["iflag=nocache", "count=0", "status=none"]);
            let _dropped = drop.status();
        }
        let mut bench = open("large", cache_mib);
        let name = format!("set, many, cold, {cache_mib} MiB");
        bench.row(&name, 1, time, |index| set(path(scattered(index + 17, large))));
    }
}
