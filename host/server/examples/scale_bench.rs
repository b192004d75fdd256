//! What a server does at sizes that others stumble over: one znode with a million children, a hundred thousand sessions with an
//! ephemeral znode each, and thousands of sessions that expire at one moment while others work. It starts the binary
//! `quorate` that was built beside it, on a directory that is gone afterwards.
//!
//! ```text
//! cargo build -p quorate-server
//! cargo run -p quorate-server --example scale_bench -- children [COUNT]     # 1000000
//! cargo run -p quorate-server --example scale_bench -- ephemerals [COUNT]   # 100000
//! cargo run -p quorate-server --example scale_bench -- expiry [COUNT]       # 10000
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "common/server.rs"]
mod server;

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytes::Bytes;
use quorate_client::core::condition::Condition;
use quorate_client::core::ids::Zxid;
use quorate_client::core::query::Page;
use quorate_client::core::read::Direction;
use quorate_client::core::request::{Body, LifetimeKind, Operation, Reply, Sequence};
use quorate_client::{Client, WriteHandle};
use tempfile::TempDir;
use tokio::task::JoinSet;

use server::{Server, settle};

const PARENT: &str = "/many";
/// Parts of a load that are timed each: if the cost grew with the size, the last would be the slowest.
const PARTS: usize = 10;
/// Operations one by one, for their latency at a size.
const ALONE: usize = 5_000;
/// Clients that open sessions side by side: a handshake is work for both sides.
const OPENING: usize = 16;
/// The shortest timeout of a session that expires with the others.
const EXPIRY_MIN: Duration = Duration::from_secs(5);
/// Writes of the bystander are told before, during and behind the expiry.
const BEFORE: Duration = Duration::from_secs(3);
/// How often the CPU at rest is looked at.
const REST_LOOKS: usize = 3;
const MIB: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;
    match &*what {
        "children" => children(count.unwrap_or(1_000_000)).await,
        "ephemerals" => ephemerals(count.unwrap_or(100_000)).await,
        "expiry" => expiry(count.unwrap_or(10_000)).await,
        _ => bail!("say `children [COUNT]`, `ephemerals [COUNT]` or `expiry [COUNT]`"),
    }
}

fn child(number: usize) -> String {
    format!("{PARENT}/{number:07}")
}

fn create(path: String, lifetime: LifetimeKind) -> Operation {
    let data = Bytes::from_static(b"1234567890");
    Operation::Create { path, data, lifetime, sequence: Sequence::None, parents: false, acl: None }
}

/// Half, nine tenths, 99 and 99.9 percent of them, and the longest, in microseconds.
fn quantiles(mut took: Vec<Duration>) -> String {
    took.sort();
    let at = |per_mille: usize| {
        let place = (took.len() * per_mille / 1_000).min(took.len().saturating_sub(1));
        took.get(place).map_or(0, Duration::as_micros)
    };
    format!(
        "{} writes: p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, longest {} us",
        took.len(),
        at(500),
        at(900),
        at(990),
        at(999),
        at(1_000)
    )
}

/// Waits for all of them; none may be refused.
async fn drain(
    waiting: &mut JoinSet<Result<(Zxid, Reply), quorate_client::Error>>,
) -> anyhow::Result<()> {
    while let Some(done) = waiting.join_next().await {
        let (_, reply) = done??;
        ensure!(matches!(reply, Reply::Done(_)), "refused: {reply:?}");
    }
    Ok(())
}

/// Sends these, as many under way as the client has room for; how many a second.
async fn pipelined(
    client: &Client,
    operations: impl Iterator<Item = Operation>,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut count = 0;
    let mut waiting = JoinSet::new();
    for operation in operations {
        let write: WriteHandle = client.send(Body::Single(operation)).await?;
        waiting.spawn(write);
        count += 1;
        while let Some(done) = waiting.try_join_next() {
            let (_, reply) = done??;
            ensure!(matches!(reply, Reply::Done(_)), "refused: {reply:?}");
        }
    }
    drain(&mut waiting).await?;
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// Creates and deletes children one by one.
async fn alone(client: &Client, when: &str, first: usize) -> anyhow::Result<()> {
    let (mut creating, mut deleting) = (Vec::new(), Vec::new());
    for number in first..first + ALONE {
        let began = Instant::now();
        client.done(Body::Single(create(child(number), LifetimeKind::Persistent))).await?;
        creating.push(began.elapsed());
        let began = Instant::now();
        client
            .done(Body::Single(Operation::Delete {
                path: child(number),
                condition: Condition::ANY,
            }))
            .await?;
        deleting.push(began.elapsed());
    }
    println!("{when}, one by one: create: {}", quantiles(creating));
    println!("{when}, one by one: delete: {}", quantiles(deleting));
    Ok(())
}

async fn children(count: usize) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let server = Server::start(directory.path(), "127.0.0.1:0")?;
    let client = server.client().await?;
    client.done(Body::Single(create(PARENT.to_owned(), LifetimeKind::Persistent))).await?;
    alone(&client, "no children", count).await?;
    let part = count / PARTS;
    for done in 0..PARTS {
        let numbers = done * part..(done + 1) * part;
        let rate = pipelined(
            &client,
            numbers.map(|number| create(child(number), LifetimeKind::Persistent)),
        )
        .await?;
        println!("{} to {} children: {rate:.0} created a second", done * part, (done + 1) * part);
    }
    settle(directory.path()).await;
    alone(&client, &format!("{} children", part * PARTS), count).await?;
    listing(&client, part * PARTS).await?;
    for done in 0..PARTS {
        // From the lowest name, as a queue does.
        let numbers = done * part..(done + 1) * part;
        let deletions = numbers
            .map(|number| Operation::Delete { path: child(number), condition: Condition::ANY });
        let rate = pipelined(&client, deletions).await?;
        println!(
            "{} to {} children: {rate:.0} deleted a second",
            (PARTS - done) * part,
            (PARTS - done - 1) * part
        );
    }
    settle(directory.path()).await;
    alone(&client, "no children again", count).await?;
    let memory = client.status().await?.memory_bytes as f64 / MIB;
    println!("{memory:.0} MiB of memory");
    Ok(())
}

/// All children, page by page.
async fn listing(client: &Client, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut pages = Vec::new();
    let mut names = 0;
    let mut after = None;
    loop {
        let asked = Instant::now();
        let page = Page { after, limit: 0, direction: Direction::Forward };
        let listing = client.children_page(PARENT, page).await?;
        pages.push(asked.elapsed());
        names += listing.children.len();
        after = listing.children.last().cloned();
        if !listing.has_more {
            break;
        }
    }
    ensure!(names == count, "{names} of {count} are listed");
    pages.sort();
    println!(
        "listed: {names} names in {} pages, {:.2} s in all; a page takes {} us at the median, {} us at most",
        pages.len(),
        began.elapsed().as_secs_f64(),
        pages[pages.len() / 2].as_micros(),
        pages.last().map_or(0, Duration::as_micros)
    );
    Ok(())
}

/// Opens sessions with one ephemeral znode each, whose clients go away at once. Their timeout is told by the first argument,
/// when each is opened.
async fn open(
    server: &Server,
    count: usize,
    timeout: impl Fn() -> Duration + Clone + Send + 'static,
) -> anyhow::Result<()> {
    let mut opening = JoinSet::new();
    for task in 0..OPENING {
        let options = server.options();
        let timeout = timeout.clone();
        opening.spawn(async move {
            for number in (task..count).step_by(OPENING) {
                let mut options = options.clone();
                options.session_timeout = Some(timeout());
                let client = Client::connect(options).await?;
                let znode = create(child(number), LifetimeKind::Ephemeral);
                client.done(Body::Single(znode)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = opening.join_next().await {
        done??;
    }
    Ok(())
}

async fn ephemerals(count: usize) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let server = Server::start(directory.path(), "127.0.0.1:0")?;
    let client = server.client().await?;
    client.done(Body::Single(create(PARENT.to_owned(), LifetimeKind::Persistent))).await?;
    alone(&client, "no sessions", count).await?;
    let before = client.status().await?.memory_bytes;
    let began = Instant::now();
    open(&server, count, || Duration::from_secs(3_600)).await?;
    let status = client.status().await?;
    println!(
        "{} sessions with an ephemeral znode each, opened in {:.0} s: {:.1} MiB, {:.0} bytes each, {} threads",
        status.sessions,
        began.elapsed().as_secs_f64(),
        status.memory_bytes as f64 / MIB,
        status.memory_bytes.saturating_sub(before) as f64 / count as f64,
        server.threads_count()
    );
    alone(&client, "with them", count).await?;
    // In the first of them the clients' connections may still end.
    for _ in 0..REST_LOOKS {
        let idle = client.status().await?;
        tokio::time::sleep(BEFORE).await;
        let later = client.status().await?;
        println!(
            "at rest: {:.0} us of CPU a second",
            (later.cpu_us - idle.cpu_us) as f64 / BEFORE.as_secs_f64()
        );
    }
    Ok(())
}

/// Sessions that all expire at one moment, and one client that writes all the time.
async fn expiry(count: usize) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let server = Server::start(directory.path(), "127.0.0.1:0")?;
    let client = server.client().await?;
    client.done(Body::Single(create(PARENT.to_owned(), LifetimeKind::Persistent))).await?;
    client.done(Body::Single(create("/bystander".to_owned(), LifetimeKind::Persistent))).await?;
    // A session takes about 2 ms to open, and its timeout is what is left until they all expire.
    let at = Instant::now() + EXPIRY_MIN + Duration::from_millis(4 * count as u64);
    let began = Instant::now();
    open(&server, count, move || at.saturating_duration_since(Instant::now()).max(EXPIRY_MIN))
        .await?;
    println!("{count} sessions opened in {:.1} s", began.elapsed().as_secs_f64());
    tokio::time::sleep_until((at - BEFORE).into()).await;
    let (mut before, mut during) = (Vec::new(), Vec::new());
    let mut looked = Instant::now();
    let mut left = count as u64;
    let mut span = None;
    while left > 0 {
        ensure!(
            at.elapsed() < Duration::from_secs(120),
            "{left} znodes are left after two minutes"
        );
        let asked = Instant::now();
        let set = Operation::Set {
            path: "/bystander".to_owned(),
            data: Bytes::new(),
            condition: Condition::ANY,
        };
        client.done(Body::Single(set)).await?;
        let took = asked.elapsed();
        if left == count as u64 {
            before.push(took)
        } else {
            during.push(took)
        }
        if looked.elapsed() > Duration::from_millis(20) {
            left = client.stat(PARENT).await?.children_count;
            looked = Instant::now();
            if left < count as u64 {
                span.get_or_insert(looked);
            }
        }
    }
    let gone = span.map_or(Duration::ZERO, |first| first.elapsed());
    println!("all are gone {:.2} s after the first", gone.as_secs_f64());
    println!("before: {}", quantiles(before));
    if during.is_empty() {
        println!("meanwhile: no write was under way");
    } else {
        println!("meanwhile: {}", quantiles(during));
    }
    Ok(())
}
