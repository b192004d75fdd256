//! What watches cost the thread that applies: many on one znode, many in all, and none that is for a change.
//!
//! `cargo run -p quorate-gateway --example watch_bench`

use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::ids::{Millis, SessionId, Zxid};
use quorate_core::path::Path;
use quorate_core::transaction::{Entry, Origin, Outcome, Transaction};
use quorate_gateway::watches::history::WantBefore;
use quorate_gateway::watches::{History, Outbox, Unread, Watches};
use quorate_wire::message::watch::{Scope, Watch};

/// Changes that are measured for each row.
const ROUNDS: usize = 200;
const DATA_BYTES: usize = 100;

/// Nothing is read back here.
struct NoHistory;

impl History for NoHistory {
    fn read(&self, _after: Zxid, _count_max: usize) -> Result<Vec<Arc<Entry>>, Unread> {
        Ok(Vec::new())
    }

    fn want_before(&self) -> (WantBefore, Zxid) {
        (Box::new(()), Zxid(0))
    }
}

type Name<'a> = &'a dyn Fn(usize) -> String;

/// One line of the table.
struct Row<'a> {
    name: &'a str,
    count: usize,
    attachments: usize,
    scope: Scope,
    with_data: bool,
    /// The path of a watch.
    watched: Name<'a>,
    /// The path of a change.
    changed: Name<'a>,
}

struct Bench {
    watches: Arc<Watches>,
    outboxes: Vec<Arc<Outbox>>,
    zxid: Zxid,
}

impl Bench {
    /// Opens the watches of a row, spread over its attachments.
    async fn open(row: &Row<'_>) -> Result<Self, String> {
        let watches = Arc::new(Watches::new());
        watches.start(Arc::new(NoHistory), Zxid(0));
        let outboxes: Vec<_> = (0..row.attachments).map(|_| watches.outbox()).collect();
        for number in 0..row.count {
            let at = number % outboxes.len();
            let watch = Watch {
                watch: number as u64,
                path: (row.watched)(number),
                scope: row.scope,
                from: None,
                once: false,
                with_data: row.with_data,
                with_previous: false,
                first: None,
            };
            let whose = (at as u64, SessionId(at as u64));
            let opening = watches.begin(whose, &outboxes[at], &watch);
            let opening = opening.map_err(|refusal| refusal.to_string())?;
            opening.open(Zxid(0)).await.map_err(|refused| format!("{refused:?}"))?;
        }
        Ok(Self { watches, outboxes, zxid: Zxid(0) })
    }

    fn frames(&self) -> u64 {
        self.outboxes.iter().map(|outbox| outbox.count()).sum()
    }

    /// Sets a znode's data; how long that took the thread that applies.
    fn apply(&mut self, path: &Path) -> Duration {
        self.zxid = self.zxid.next();
        let transaction = Transaction {
            zxid: self.zxid,
            time: Millis(self.zxid.0),
            origin: Origin::Host,
            changes: vec![Change::DataSet {
                path: path.clone(),
                data: Bytes::from(vec![7; DATA_BYTES]),
                version: 1,
                previous: Zxid(0),
                acl: None,
            }],
            outcome: Outcome::None,
        };
        let began = Instant::now();
        self.watches.applied(&[transaction], None);
        began.elapsed()
    }

    /// Takes what is queued, as the tasks of lanes would.
    fn drain(&self) {
        let mut context = Context::from_waker(Waker::noop());
        for outbox in &self.outboxes {
            while let Poll::Ready(Some(frame)) = pin!(outbox.next()).poll(&mut context) {
                outbox.written(frame.len());
            }
        }
    }
}

/// Bytes of memory that the process has.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

async fn measure(row: &Row<'_>) -> Result<String, String> {
    let before = resident_bytes();
    let mut bench = Bench::open(row).await?;
    let each = resident_bytes().saturating_sub(before) / row.count as u64;
    let frames = bench.frames();
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let path = Path::parse(&(row.changed)(round)).map_err(|refusal| refusal.to_string())?;
        times.push(bench.apply(&path));
        bench.drain();
    }
    times.sort_unstable();
    let frames = (bench.frames() - frames) / ROUNDS as u64;
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
    Ok(format!("{:42} {frames:7} {:9.1} {:9.1} {each:12}", row.name, at(50), at(99)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shared = |_: usize| "/service/config".to_owned();
    let own = |number: usize| format!("/service/instances/{number:06}");
    let elsewhere = |round: usize| format!("/other/place/{round}");
    let on_one = Row {
        name: "10,000 on one znode, an attachment each",
        count: 10_000,
        attachments: 10_000,
        scope: Scope::Node,
        with_data: false,
        watched: &shared,
        changed: &shared,
    };
    let in_all = Row {
        name: "100,000, one of them for each change",
        count: 100_000,
        attachments: 100,
        watched: &own,
        changed: &own,
        ..on_one
    };
    let rows = [
        Row { name: "the same, with 100 bytes of data", with_data: true, ..on_one },
        Row { name: "10,000 on one znode, 10 attachments", attachments: 10, ..on_one },
        Row { name: "100,000, none of them for the changes", changed: &elsewhere, ..in_all },
        Row { name: "100,000 subtrees, one for each change", scope: Scope::Subtree, ..in_all },
    ];
    let [with_data, few, none, subtrees] = &rows;
    let mut report = String::new();
    writeln!(
        report,
        "{:42} {:>7} {:>9} {:>9} {:>12}",
        "watches", "frames", "p50 us", "p99 us", "bytes each"
    )?;
    for row in [&on_one, with_data, few, &in_all, none, subtrees] {
        writeln!(report, "{}", measure(row).await?)?;
    }
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}
