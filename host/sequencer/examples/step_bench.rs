//! What a native set of 100 bytes costs in the sequencer and in apply, without raft, wire and disk.
//!
//! `cargo run -p quorate-sequencer --example step_bench -- [operations] [batch]`
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::apply;
use quorate_core::condition::Condition;
use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::draft::Draft;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Millis, SessionId, Term, WriteNumber};
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Recipes, Run, RunEnd};
use quorate_core::request::{Body, LifetimeKind, Operation, Request, Sequence};
use quorate_core::session::{Acks, Opening};
use quorate_core::transaction::Entry;
use quorate_core::txn::Txn;
use quorate_sequencer::{Input, Leadership, Now, Output, Sequencer, Submission, Token};

const SESSIONS: usize = 16;
const ZNODES: usize = 10_000;
const DATA_BYTES: usize = 100;

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
    tree: Arc<MemoryTree>,
    sequencer: Sequencer,
    sessions: Vec<SessionId>,
    writes: Vec<u64>,
    stepping: Duration,
    applying: Duration,
    operations: u32,
}

const NOW: Now = Now { wall: Millis(1_800_000_000_000), monotonic_ms: 1_000 };

impl Bench {
    fn new() -> Self {
        let tree = Arc::new(MemoryTree::new());
        let sequencer = Sequencer::new(tree.clone(), Box::new(Nothing));
        let mut bench = Self {
            tree,
            sequencer,
            sessions: Vec::new(),
            writes: vec![0; SESSIONS],
            stepping: Duration::ZERO,
            applying: Duration::ZERO,
            operations: 0,
        };
        bench.sequencer.handle(Input::Lead(Leadership { term: Term(1) }), NOW);
        bench.pump();
        for number in 0..SESSIONS as u64 {
            let token = Token::local(number);
            let opening = Opening { timeout_ms: 10_000, ..Opening::default() };
            let open = Input::OpenSession { token, opening };
            bench.sequencer.handle(open, NOW);
        }
        bench.pump();
        bench
    }

    fn request(&mut self, index: usize, body: Body) -> Submission {
        let at = index % SESSIONS;
        self.writes[at] += 1;
        let write = self.writes[at];
        // A client that acknowledges what it got some round trips ago.
        let acks = Acks { low: WriteNumber(write.saturating_sub(128)), ranges: Vec::new() };
        let request = Request {
            session: self.sessions[at],
            write: WriteNumber(write),
            hash: 0,
            acks,
            body,
            address: None,
        };
        Submission { token: Token::local(0), request: Arc::new(request) }
    }

    fn run(&mut self, submissions: Vec<Submission>) {
        self.operations += u32::try_from(submissions.len()).unwrap_or(0);
        let began = Instant::now();
        for submission in submissions {
            self.sequencer.handle(Input::Submit(submission), NOW);
        }
        self.stepping += began.elapsed();
        self.pump();
    }

    /// Steps, and applies what is proposed, until there is nothing left.
    fn pump(&mut self) {
        loop {
            let began = Instant::now();
            self.sequencer.step(NOW);
            let mut proposals: Vec<(Epoch, u64, Arc<Entry>)> = Vec::new();
            while let Some(output) = self.sequencer.poll_output() {
                match output {
                    Output::Propose { epoch, batch, entry } => {
                        proposals.push((epoch, batch, entry))
                    }
                    Output::SessionOpened { session: Ok(session), .. } => {
                        self.sessions.push(session);
                    }
                    _ => {}
                }
            }
            self.stepping += began.elapsed();
            if proposals.is_empty() {
                return;
            }
            for (epoch, batch, entry) in proposals {
                let began = Instant::now();
                let mut draft = Draft::new(self.tree.clone());
                let _applied = apply::entry(&mut draft, &entry, entry.term);
                apply::seal(&mut draft);
                self.tree.commit(draft.into_parts().1);
                self.applying += began.elapsed();
                let began = Instant::now();
                self.sequencer.handle(Input::Applied { epoch, batch }, NOW);
                self.stepping += began.elapsed();
            }
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let operations = arguments.next().unwrap_or(300_000);
    let batch = arguments.next().unwrap_or(64).max(1);
    let mut bench = Bench::new();
    let path = |index: usize| format!("/bench/{:06}", index % ZNODES);
    for index in 0..ZNODES {
        let body = Body::Single(Operation::Create {
            path: path(index),
            data: Bytes::new(),
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::None,
            parents: true,
            acl: None,
        });
        let submission = bench.request(index, body);
        bench.run(vec![submission]);
    }
    (bench.stepping, bench.applying, bench.operations) = (Duration::ZERO, Duration::ZERO, 0);
    let data = Bytes::from(vec![b'x'; DATA_BYTES]);
    for round in 0..operations / batch {
        let submissions = (0..batch)
            .map(|at| {
                let index = round * batch + at;
                let body = Body::Single(Operation::Set {
                    path: path(index.wrapping_mul(7_919)),
                    data: data.clone(),
                    condition: Condition::ANY,
                });
                bench.request(index, body)
            })
            .collect();
        bench.run(submissions);
    }
    let micros = |total: Duration| total.as_secs_f64() * 1e6 / f64::from(bench.operations);
    println!(
        "{} sets of {DATA_BYTES} bytes in batches of {batch}: sequencer {:.2} us, apply {:.2} us each",
        bench.operations,
        micros(bench.stepping),
        micros(bench.applying)
    );
}
