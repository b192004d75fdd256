//! What many sessions and many znodes cost a whole server: memory, disk, and the time of a restart. It starts the binary
//! `quorate` that was built beside it, on a directory that is gone afterwards, and asks it over QUIC; it knows nothing of
//! how it works inside.
//!
//! ```text
//! cargo build -p quorate-server
//! cargo run -p quorate-server --example budget_bench -- sessions [COUNT ...]   # 10000 50000
//! cargo run -p quorate-server --example budget_bench -- znodes [COUNT]         # 1000000
//! cargo run -p quorate-server --example budget_bench -- history [MIB]          # 700: more than is kept
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "common/server.rs"]
mod server;

use std::path::Path;
use std::time::Instant;

use anyhow::{bail, ensure};
use bytes::Bytes;
use quorate_client::Client;
use quorate_client::core::condition::Condition;
use quorate_client::core::request::{Body, LifetimeKind, Operation, Reply, Sequence};
use tempfile::TempDir;
use tokio::task::JoinSet;

use server::{REST, Server, disk_bytes, settle};

/// Bytes of a znode's data: as in the budget.
const DATA_BYTES: usize = 100;
/// Znodes under one parent.
const CHILDREN: usize = 1_000;
/// Clients that open sessions side by side: a handshake is work for both sides.
const OPENING: usize = 16;
/// Sessions that keep their connection: below what one member takes.
const CONNECTED: usize = 2_000;
/// Reads under way at a time.
const READING: usize = 64;
/// Reads that warm the cache.
const READS: usize = 200_000;
/// Bytes of data that fill the log.
const HISTORY_DATA_BYTES: usize = 1_024;
/// Znodes that are set again and again for that.
const HISTORY_ZNODES: usize = 1_000;
const MIB: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let counts: Vec<usize> = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    match &*what {
        "sessions" if counts.is_empty() => sessions(&[10_000, 50_000]).await,
        "sessions" => sessions(&counts).await,
        "znodes" => znodes(counts.first().copied().unwrap_or(1_000_000)).await,
        "history" => history(counts.first().copied().unwrap_or(700)).await,
        _ => bail!("say `sessions [COUNT ...]`, `znodes [COUNT]` or `history [MIB]`"),
    }
}

async fn sessions(counts: &[usize]) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let server = Server::start(directory.path(), "127.0.0.1:0")?;
    let client = server.client().await?;
    // What the first handshakes allocate once is not a session's.
    open(&server, 200).await?;
    let first = client.status().await?;
    println!(
        "{} sessions: {:.1} MiB, {} threads",
        first.sessions,
        first.memory_bytes as f64 / MIB,
        server.threads_count()
    );
    let mut before = (first.sessions, first.memory_bytes);
    for &count in counts {
        let began = Instant::now();
        open(&server, count.saturating_sub(usize::try_from(before.0)?)).await?;
        let opened = began.elapsed();
        let cpu_us = rest(&client).await?;
        let now = client.status().await?;
        let each = |from: (u64, u64)| {
            now.memory_bytes.saturating_sub(from.1) as f64
                / now.sessions.saturating_sub(from.0).max(1) as f64
        };
        println!(
            "{} sessions: {:.1} MiB, {} threads, opened in {:.1} s; {:.0} bytes each since the start, {:.0} since the line above; at rest {cpu_us:.0} us of CPU a second",
            now.sessions,
            now.memory_bytes as f64 / MIB,
            server.threads_count(),
            opened.as_secs_f64(),
            each((first.sessions, first.memory_bytes)),
            each(before),
        );
        before = (now.sessions, now.memory_bytes);
    }
    let mut kept = Vec::new();
    for _ in 0..CONNECTED {
        kept.push(server.client().await?);
    }
    let now = client.status().await?;
    println!(
        "{CONNECTED} more that stay connected: {:.1} MiB, {} threads; {:.0} bytes each, with their QUIC connection and lane",
        now.memory_bytes as f64 / MIB,
        server.threads_count(),
        now.memory_bytes.saturating_sub(before.1) as f64 / CONNECTED as f64
    );
    Ok(())
}

/// Opens sessions whose clients go away: what is left is what a session costs the leader.
async fn open(server: &Server, count: usize) -> anyhow::Result<()> {
    let mut opening = JoinSet::new();
    for task in 0..OPENING {
        let options = server.options();
        let share = count / OPENING + usize::from(task < count % OPENING);
        opening.spawn(async move {
            for _ in 0..share {
                drop(Client::connect(options.clone()).await?);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = opening.join_next().await {
        done??;
    }
    Ok(())
}

/// Waits until the server has let go of what was under way; then the CPU that it takes to do nothing, in microseconds a
/// second.
async fn rest(client: &Client) -> anyhow::Result<f64> {
    tokio::time::sleep(REST).await;
    let before = client.status().await?;
    tokio::time::sleep(REST).await;
    let after = client.status().await?;
    Ok((after.cpu_us - before.cpu_us) as f64 / REST.as_secs_f64())
}

fn path(number: usize) -> String {
    format!("/load/{:04}/{:04}", number / CHILDREN, number % CHILDREN)
}

/// Bytes that do not compress.
fn data(number: usize) -> Bytes {
    noise(number, DATA_BYTES)
}

/// So many of them.
fn noise(number: usize, bytes: usize) -> Bytes {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(bytes);
    data.into()
}

async fn znodes(count: usize) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let empty = Server::start(directory.path(), "127.0.0.1:0")?;
    let address = empty.kill()?;
    restarted("an empty tree, after kill -9", directory.path(), &address, None).await?.kill()?;

    let server = Server::start(directory.path(), &address)?;
    let client = server.client().await?;
    let began = Instant::now();
    load(&client, count).await?;
    let loaded = began.elapsed();
    println!(
        "{count} znodes of {DATA_BYTES} bytes loaded in {:.1} s, {:.0} a second",
        loaded.as_secs_f64(),
        count as f64 / loaded.as_secs_f64()
    );
    usage("after the load", &client, directory.path()).await?;
    settle(directory.path()).await;
    usage("at rest", &client, directory.path()).await?;
    read_many(&client, count).await?;
    usage("after 200000 reads", &client, directory.path()).await?;
    drop(client);

    server.kill()?;
    let server = restarted("kill -9", directory.path(), &address, Some(count)).await?;
    let (_, stopped) = server.stop()?;
    println!("stops in {:.2} s", stopped.as_secs_f64());
    let server = restarted("a clean stop", directory.path(), &address, Some(count)).await?;
    settle(directory.path()).await;
    usage("after the restarts", &server.client().await?, directory.path()).await?;
    Ok(())
}

/// A restart with as much of the log as is kept for watches that resume: sets of a few znodes, so that the tree is small.
async fn history(mib: usize) -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let server = Server::start(directory.path(), "127.0.0.1:0")?;
    let client = server.client().await?;
    load(&client, HISTORY_ZNODES).await?;
    let sets = (mib << 20) / HISTORY_DATA_BYTES;
    let began = Instant::now();
    let operations = (0..sets).map(|number| Operation::Set {
        path: path(number % HISTORY_ZNODES),
        data: noise(number, HISTORY_DATA_BYTES),
        condition: Condition::ANY,
    });
    send_all(&client, operations).await?;
    println!(
        "{sets} sets of {HISTORY_DATA_BYTES} bytes in {:.1} s, {:.0} a second",
        began.elapsed().as_secs_f64(),
        sets as f64 / began.elapsed().as_secs_f64()
    );
    settle(directory.path()).await;
    usage("at rest", &client, directory.path()).await?;
    drop(client);
    let address = server.kill()?;
    let count = Some(HISTORY_ZNODES);
    let server = restarted("kill -9", directory.path(), &address, count).await?;
    usage("after it", &server.client().await?, directory.path()).await?;
    let (_, stopped) = server.stop()?;
    println!("stops in {:.2} s", stopped.as_secs_f64());
    restarted("a clean stop", directory.path(), &address, count).await?;
    Ok(())
}

/// Creates the znodes.
async fn load(client: &Client, count: usize) -> anyhow::Result<()> {
    let creations = (0..count).map(|number| Operation::Create {
        path: path(number),
        data: data(number),
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::None,
        parents: number % CHILDREN == 0,
        acl: None,
    });
    send_all(client, creations).await
}

/// Each a request of its own, as many under way as the client has room for.
async fn send_all(
    client: &Client,
    operations: impl Iterator<Item = Operation>,
) -> anyhow::Result<()> {
    let mut waiting = JoinSet::new();
    for operation in operations {
        waiting.spawn(client.send(Body::Single(operation)).await?);
        while let Some(done) = waiting.try_join_next() {
            let (_, reply) = done??;
            ensure!(matches!(reply, Reply::Done(_)), "refused: {reply:?}");
        }
    }
    while let Some(done) = waiting.join_next().await {
        let (_, reply) = done??;
        ensure!(matches!(reply, Reply::Done(_)), "refused: {reply:?}");
    }
    Ok(())
}

/// Reads all over the tree.
async fn read_many(client: &Client, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut reading = JoinSet::new();
    for task in 0..READING {
        let client = client.clone();
        reading.spawn(async move {
            for round in 0..READS / READING {
                let number = (round * READING + task).wrapping_mul(7_919_993) % count;
                ensure!(client.get(&path(number)).await?.data == data(number), "another's data");
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = reading.join_next().await {
        done??;
    }
    println!(
        "{:.0} reads a second, all over the tree",
        READS as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn usage(when: &str, client: &Client, directory: &Path) -> anyhow::Result<()> {
    let memory = client.status().await?.memory_bytes as f64 / MIB;
    let disk = |part: &str| disk_bytes(&directory.join("data").join(part)) as f64 / MIB;
    println!(
        "{when}: {memory:.0} MiB of memory, {:.0} MiB of disk for the tree, {:.0} for the log",
        disk("tree"),
        disk("log")
    );
    Ok(())
}

/// Starts a server and reads one znode.
async fn restarted(
    after: &str,
    directory: &Path,
    address: &str,
    count: Option<usize>,
) -> anyhow::Result<Server> {
    let server = Server::start(directory, address)?;
    let client = server.client().await?;
    match count {
        Some(count) => drop(client.get(&path(count / 2)).await?),
        None => drop(client.stat("/").await?),
    }
    println!(
        "restart, {after}: serves after {:.2} s, the first read of another process is answered after {:.2} s",
        server.served.as_secs_f64(),
        server.started.elapsed().as_secs_f64()
    );
    Ok(server)
}
