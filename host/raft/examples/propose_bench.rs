//! Entries a second of one member on a real disk: proposals in flight against transactions an entry.
//!
//! `cargo run -p quorate-raft --example propose_bench [SECONDS OF EACH ROW]`

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::draft::ReadRecords;
use quorate_core::ids::{Epoch, Millis, Zxid};
use quorate_core::path::Path;
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;
use quorate_raft::network::Alone;
use quorate_raft::{Config, Contact, Leadership, Node, Proposal, Store};
use quorate_store::{Log, LogOptions, Tree, TreeOptions};

const DATA_BYTES: usize = 100;

struct Bench {
    node: Node,
    leadership: Leadership,
    zxid: Zxid,
    data: Bytes,
    /// Of each znode the version of its data, and the transaction that set it.
    nodes: Vec<(u64, Zxid)>,
}

impl Bench {
    fn entry(&mut self, body: impl Fn(&mut Self, Zxid) -> Transaction, count: u64) -> Arc<Entry> {
        let base = self.zxid;
        let mut transactions = Vec::new();
        for _ in 0..count {
            self.zxid = self.zxid.next();
            let zxid = self.zxid;
            transactions.push(body(self, zxid));
        }
        let body = EntryBody::Batch { base, transactions };
        Arc::new(Entry { term: self.leadership.term, epoch: Epoch(1), body })
    }

    fn transaction(zxid: Zxid, change: Change) -> Transaction {
        let (origin, outcome) = (Origin::Host, Outcome::None);
        Transaction { zxid, time: Millis(zxid.0), origin, changes: vec![change], outcome }
    }

    fn take(proposal: Proposal) {
        let result = proposal.wait();
        assert!(result.is_taken(), "{result:?}");
    }

    fn run(&mut self, in_flight: usize, transactions: u64, time: Duration) -> (u64, Vec<Duration>) {
        let mut waiting: VecDeque<(Instant, Proposal)> = VecDeque::new();
        let mut latencies = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < time {
            let entry = self.entry(
                |bench, zxid| {
                    let at = zxid.0 % 1000;
                    let path = Path::parse(&format!("/bench/{at}")).expect("valid");
                    let slot = 1 + usize::try_from(at).expect("below a thousand");
                    let node = &mut bench.nodes[slot];
                    let (version, previous) = (node.0 + 1, node.1);
                    *node = (version, zxid);
                    let data = bench.data.clone();
                    Self::transaction(
                        zxid,
                        Change::DataSet { path, data, version, previous, acl: None },
                    )
                },
                transactions,
            );
            waiting.push_back((Instant::now(), self.node.propose(entry, self.leadership)));
            if waiting.len() >= in_flight
                && let Some((at, proposal)) = waiting.pop_front()
            {
                Self::take(proposal);
                latencies.push(at.elapsed());
            }
        }
        for (at, proposal) in waiting {
            Self::take(proposal);
            latencies.push(at.elapsed());
        }
        latencies.sort();
        (latencies.len() as u64, latencies)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(3), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let fatal = Box::new(|error: &std::io::Error| panic!("{error}"));
    let log = Log::open(&directory.path().join("log"), LogOptions::default(), fatal)?;
    let tree = Tree::open(&directory.path().join("tree"), &TreeOptions::default())?;
    let incoming = directory.path().join("incoming");
    let store = Store { log: Arc::new(log), tree: Arc::new(tree), incoming, on_first_vote: None };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let begin = Instant::now();
    let (node, leadership) = runtime.block_on(async {
        let node =
            Node::start(Config::new(1), store, Arc::new(Alone), Box::new(|_applied| ())).await?;
        node.initialize(BTreeMap::from([(1, Contact::default())])).await?;
        let mut told = node.leadership();
        let leadership = *told.wait_for(Option::is_some).await?;
        Ok::<_, Box<dyn std::error::Error>>((node, leadership.ok_or("no leader")?))
    })?;
    let mut report =
        format!("leads {:.1} ms after the start\n", begin.elapsed().as_secs_f64() * 1e3);

    let zxid = node.tree().meta().zxid;
    let data = Bytes::from(vec![7; DATA_BYTES]);
    let nodes = Vec::new();
    let mut bench = Bench { node, leadership, zxid, data, nodes };
    let barrier = Entry { term: leadership.term, epoch: Epoch(1), body: EntryBody::Barrier };
    Bench::take(bench.node.propose(Arc::new(barrier), leadership));
    let mut paths = vec!["/bench".to_owned()];
    paths.extend((0..1000).map(|at| format!("/bench/{at}")));
    for path in paths {
        let path = Path::parse(&path).map_err(|refusal| format!("{refusal:?}"))?;
        let entry = bench.entry(
            |bench, zxid| {
                bench.nodes.push((0, zxid));
                let (data, lifetime) = (Bytes::new(), Lifetime::Persistent);
                let path = path.clone();
                Bench::transaction(zxid, Change::NodeCreated { path, data, lifetime, acl: None })
            },
            1,
        );
        Bench::take(bench.node.propose(entry, leadership));
    }

    writeln!(report, "in flight  tx/entry  entries/s       tx/s   p50 us   p99 us")?;
    for in_flight in [1, 16] {
        for transactions in [1, 64] {
            let time = Duration::from_secs(seconds);
            let begin = Instant::now();
            let (entries, latencies) = bench.run(in_flight, transactions, time);
            let per_second = entries as f64 / begin.elapsed().as_secs_f64();
            let at = |part: usize| latencies[(latencies.len() - 1) * part / 100].as_micros();
            writeln!(
                report,
                "{in_flight:9}  {transactions:8}  {per_second:9.0}  {:9.0}  {:7}  {:7}",
                per_second * transactions as f64,
                at(50),
                at(99)
            )?;
        }
    }
    runtime.block_on(bench.node.shutdown());
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}
