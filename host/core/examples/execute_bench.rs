//! Microseconds for native writes of 100 bytes: executed on a view over the tree in memory, and applied as an entry.
//! `cargo run -p quorate-core --example execute_bench [WRITES]`. Knows no raft and no disk.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark looks at the clock and its arguments; the core does not"
)]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::apply;
use quorate_core::change::Change;
use quorate_core::condition::Condition;
use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::draft::{Draft, View};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::{Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Recipes, Run, RunEnd};
use quorate_core::request::{Body, LifetimeKind, Operation, Request, Sequence};
use quorate_core::session::Acks;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::txn::{Slot, Txn};

/// Nothing is deployed.
struct NoRecipes;

impl Recipes for NoRecipes {
    fn run(&mut self, _run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        (txn, RunEnd::Failed(Refusal::new(ErrorCode::NoRecipe, "nothing is deployed")))
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
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

const NODES: u64 = 10_000;
/// Transactions of one entry.
const BATCH: usize = 64;

fn entry(base: Zxid, transactions: Vec<Transaction>) -> Entry {
    Entry { term: Term(1), epoch: Epoch(1), body: EntryBody::Batch { base, transactions } }
}

fn apply_entry(tree: &Arc<MemoryTree>, entry: &Entry) {
    let mut draft = Draft::new(tree.clone());
    assert_eq!(apply::entry(&mut draft, entry, Term(1)), apply::Applied::Taken);
    apply::seal(&mut draft);
    tree.commit(draft.into_parts().1);
}

/// A tree with a session and znodes under `/n`.
fn prepared() -> (Arc<MemoryTree>, Zxid) {
    let tree = Arc::new(MemoryTree::new());
    let barrier = Entry { term: Term(1), epoch: Epoch(1), body: EntryBody::Barrier };
    let mut draft = Draft::new(tree.clone());
    apply::entry(&mut draft, &barrier, Term(1));
    tree.commit(draft.into_parts().1);
    let opened = Change::SessionOpened {
        timeout_ms: 1,
        secret_hash: [0; 32],
        principal: "a".to_owned(),
        identities: Vec::new(),
    };
    let create = |path: &str| Change::NodeCreated {
        path: quorate_core::path::Path::parse(path).expect("valid"),
        data: Bytes::from(vec![b'x'; 100]),
        lifetime: quorate_core::znode::Lifetime::Persistent,
        acl: None,
    };
    let mut changes = vec![opened, create("/n")];
    changes.extend((0..NODES).map(|index| create(&format!("/n/{index:06}"))));
    let transaction = Transaction {
        zxid: Zxid(1),
        time: Millis(1),
        origin: Origin::Host,
        changes,
        outcome: Outcome::None,
    };
    apply_entry(&tree, &entry(Zxid(0), vec![transaction]));
    (tree, Zxid(1))
}

/// What is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Data of the size that it has.
    Set,
    /// Data of another size, so that the counts of all ancestors change.
    Resize,
    /// A znode at depth 3.
    Create,
}

fn request(kind: Kind, index: u64) -> Request {
    // Spread over the znodes; each write acknowledges all but the last hundred.
    let node = index.wrapping_mul(7_919) % NODES;
    let path = format!("/n/{node:06}");
    let condition = Condition::ANY;
    let operation = match kind {
        Kind::Set => Operation::Set { path, data: Bytes::from(vec![b'y'; 100]), condition },
        Kind::Resize => {
            let size = usize::try_from(64 + index % 61).unwrap_or(64);
            Operation::Set { path, data: Bytes::from(vec![b'y'; size]), condition }
        }
        Kind::Create => Operation::Create {
            path: format!("{path}/c{index:08}"),
            data: Bytes::from(vec![b'y'; 100]),
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::None,
            parents: false,
            acl: None,
        },
    };
    Request {
        session: SessionId(1),
        write: WriteNumber(index),
        hash: u128::from(index),
        acks: Acks { low: WriteNumber(index.saturating_sub(100)), ranges: Vec::new() },
        body: Body::Single(operation),
        address: None,
    }
}

/// The median over batches: what another process took of the core does not count.
fn per_set(name: &str, mut batches: Vec<Duration>) {
    batches.sort_unstable();
    let median = batches.get(batches.len() / 2).copied().unwrap_or_default();
    let nanoseconds = median.as_nanos() / BATCH as u128;
    println!("{name:<28} {}.{:03} us a write", nanoseconds / 1_000, nanoseconds % 1_000);
}

fn main() {
    let writes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_000u64);
    for kind in [Kind::Set, Kind::Resize, Kind::Create] {
        println!("{kind:?}");
        measure(kind, writes);
    }
}

fn measure(kind: Kind, writes: u64) {
    let (tree, mut base) = prepared();
    let requests: Vec<Request> = (1..=writes).map(|index| request(kind, index)).collect();
    let mut view = View::new(tree.clone());
    let (mut executing, mut forgetting, mut applying) = (Vec::new(), Vec::new(), Vec::new());
    for (batch, requests) in (1u64..).zip(requests.chunks_exact(BATCH)) {
        let mut transactions = Vec::with_capacity(requests.len());
        let mut zxid = base;
        let started = Instant::now();
        for request in requests {
            zxid = zxid.next();
            let slot = Slot { zxid, time: Millis(zxid.0), batch };
            let executed = execute::write(view, slot, request, &mut NoRecipes);
            view = executed.view;
            transactions.extend(executed.transaction);
        }
        executing.push(started.elapsed());
        let entry = entry(base, transactions);
        let started = Instant::now();
        apply_entry(&tree, &entry);
        applying.push(started.elapsed());
        let started = Instant::now();
        view.applied(batch);
        forgetting.push(started.elapsed());
        base = zxid;
    }
    per_set("execute::write", executing);
    per_set("View::applied", forgetting);
    per_set("apply::entry, seal, commit", applying);
}
