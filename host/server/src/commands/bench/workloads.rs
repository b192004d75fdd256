//! The workloads by name, and what each does. It does not know how figures are shown.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bytes::Bytes;
use quorate_client::{Called, Client, Error, LockOptions, Recipe};
use quorate_core::error::ErrorCode;
use quorate_wire::value::Value;
use tokio::task::JoinSet;

use super::ROOT;
use super::check::{Check, Count};
use super::measure::{Figures, repeat};
use super::recipes::BenchRecipe;
use crate::commands::subtree::Deletion;
use crate::connect::{Global, goodbye};

/// Bytes of the data of native workloads: as in the budgets of DESIGN.
const DATA_BYTES: usize = 100;
/// Calls that are parked at a time by `parked`: below what one session may have.
const PARKED: usize = 2_000;
/// Requests under way at a time, where the name does not say.
const IN_FLIGHT: usize = 16;

/// A native operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native {
    Get,
    Set,
    Create,
}

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Native operations, so many under way, on so many connections.
    Native { operation: Native, in_flight: usize, connections: usize },
    /// Additions to one counter.
    Counter(BenchRecipe),
    /// What an addition to a counter changes, done by a native set.
    CounterNative,
    /// Reads of one counter by its recipe, so many under way.
    CounterRead { in_flight: usize },
    /// So many clients that hand a lock round.
    Lock { clients: usize },
    /// Offers and takes.
    Queue,
    /// Calls that wait, and their wake-ups.
    Parked,
}

/// All of them, in the order in which they run.
pub fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    for operation in [Native::Get, Native::Set, Native::Create] {
        for (in_flight, connections) in [(1, 1), (16, 1), (64, 1), (16, 16), (64, 16)] {
            all.push(Workload::Native { operation, in_flight, connections });
        }
    }
    all.extend([
        Workload::CounterNative,
        Workload::Counter(BenchRecipe::Counter),
        Workload::Counter(BenchRecipe::FreshCounter),
        Workload::CounterRead { in_flight: 1 },
        Workload::CounterRead { in_flight: 64 },
        Workload::Lock { clients: 1 },
        Workload::Lock { clients: 10 },
        Workload::Lock { clients: 100 },
        Workload::Queue,
        Workload::Parked,
    ]);
    all
}

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> String {
        match self {
            Self::Native { operation, in_flight, connections } => {
                let verb = match operation {
                    Native::Get => "get",
                    Native::Set => "set",
                    Native::Create => "create",
                };
                if connections == 1 {
                    format!("{verb}-{in_flight}")
                } else {
                    format!("{verb}-{in_flight}x{connections}")
                }
            }
            Self::Counter(BenchRecipe::FreshCounter) => "counter-fresh".to_owned(),
            Self::Counter(_) => "counter-reused".to_owned(),
            Self::CounterNative => "counter-native".to_owned(),
            Self::CounterRead { in_flight } => format!("counter-read-{in_flight}"),
            Self::Lock { clients } => format!("lock-{clients}"),
            Self::Queue => "queue".to_owned(),
            Self::Parked => "parked".to_owned(),
        }
    }

    /// What it does, for people.
    pub fn what(self) -> String {
        match self {
            Self::Native { operation, in_flight, connections } => {
                let what = match operation {
                    Native::Get => "linearizable reads",
                    Native::Set => "sets",
                    Native::Create => "creations",
                };
                format!(
                    "{what} of {DATA_BYTES} bytes, {in_flight} in flight on {connections} connections"
                )
            }
            Self::Counter(BenchRecipe::FreshCounter) => {
                format!("calls of counter.add, {IN_FLIGHT} in flight, a fresh instance each")
            }
            Self::Counter(_) => {
                format!("calls of counter.add, {IN_FLIGHT} in flight, instances reused")
            }
            Self::CounterNative => {
                format!("native sets of a number, {IN_FLIGHT} in flight: what counter.add changes")
            }
            Self::CounterRead { in_flight } => {
                format!("linearizable read-only calls of counter.get, {in_flight} in flight")
            }
            Self::Lock { clients } => {
                format!(
                    "{clients} clients hand one lock round: each from its request to its release"
                )
            }
            Self::Queue => format!("an offer and a take, {IN_FLIGHT} in flight on one queue"),
            Self::Parked => format!(
                "{PARKED} calls that wait, each woken by an offer: from offer to taker's reply"
            ),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn run(
        self,
        global: &Global,
        client: &Client,
        length: Duration,
    ) -> anyhow::Result<Figures> {
        match self {
            Self::Native { operation, in_flight, connections } => {
                let clients = clients(global, connections).await?;
                let figures = native(operation, &clients, in_flight, length).await;
                part(clients).await;
                figures
            }
            Self::Counter(recipe) => counter(client, recipe, length).await,
            Self::CounterNative => counter_native(client, length).await,
            Self::CounterRead { in_flight } => counter_read(client, in_flight, length).await,
            Self::Lock { clients: count } => {
                BenchRecipe::Lock.deploy(client).await?;
                let clients = clients(global, count).await?;
                let figures = lock(&clients, length).await;
                part(clients).await;
                figures
            }
            Self::Queue => queue(client, length).await,
            Self::Parked => parked(client, length).await,
        }
    }
}

async fn clients(global: &Global, count: usize) -> anyhow::Result<Vec<Client>> {
    let options = global.options()?;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(options.clone()).await?);
    }
    Ok(clients)
}

async fn part(clients: Vec<Client>) {
    let mut parting: JoinSet<()> = clients.into_iter().map(goodbye).collect();
    while parting.join_next().await.is_some() {}
}

/// Creates a znode with its parents, unless it is there.
async fn ensure_node(client: &Client, path: &str, data: &Bytes) -> Result<(), Error> {
    match client.create(path).data(data.clone()).parents().await {
        Err(error) if error.code() != ErrorCode::NodeExists => Err(error),
        _ => Ok(()),
    }
}

async fn native(
    operation: Native,
    clients: &[Client],
    in_flight: usize,
    length: Duration,
) -> anyhow::Result<Figures> {
    let Some(first) = clients.first() else { bail!("no connection") };
    let data = Bytes::from(vec![b'x'; DATA_BYTES]);
    let place = format!("{ROOT}/native");
    for task in 0..in_flight {
        ensure_node(first, &format!("{place}/{task}"), &data).await?;
    }
    let places = || (0..in_flight).map(|task| format!("{place}/{task}")).collect();
    let check = match operation {
        Native::Get => None,
        Native::Set => Some(Check::begin(first, Count::Versions(places())).await?),
        Native::Create => Some(Check::begin(first, Count::Children(places())).await?),
    };
    let figures = repeat(in_flight, length, |task| {
        let client = clients[task % clients.len()].clone();
        let (path, data) = (format!("{place}/{task}"), data.clone());
        move |round| {
            let (client, path, data) = (client.clone(), path.clone(), data.clone());
            async move {
                match operation {
                    Native::Get => drop(client.get(&path).await?),
                    Native::Set => drop(client.set(&path, data, None).await?),
                    Native::Create => {
                        drop(client.create(&format!("{path}/{round}")).data(data).await?)
                    }
                }
                Ok(())
            }
        }
    })
    .await?;
    if let Some(check) = check {
        check.end(first, figures.operations()).await?;
    }
    Deletion::default().run(first, &place).await?;
    Ok(figures)
}

async fn counter(
    client: &Client,
    recipe: BenchRecipe,
    length: Duration,
) -> anyhow::Result<Figures> {
    recipe.deploy(client).await?;
    let counter = client.recipe(recipe.name());
    let check = Check::begin(client, Count::Counter(counter.clone(), "/hits")).await?;
    let figures =
        repeat(IN_FLIGHT, length, |_| {
            let counter = counter.clone();
            move |_| {
                let counter = counter.clone();
                async move {
                    done(counter.call("add", vec![Value::from("/hits"), Value::S64(1)]).await?)
                }
            }
        })
        .await?;
    check.end(client, figures.operations()).await?;
    Ok(figures)
}

async fn counter_native(client: &Client, length: Duration) -> anyhow::Result<Figures> {
    let path = format!("{ROOT}/number");
    ensure_node(client, &path, &Bytes::from_static(b"0")).await?;
    let check = Check::begin(client, Count::Versions(vec![path.clone()])).await?;
    let figures = repeat(IN_FLIGHT, length, |_| {
        let (client, path) = (client.clone(), path.clone());
        move |round| {
            let (client, path) = (client.clone(), path.clone());
            async move {
                client.set(&path, round.to_string(), None).await?;
                Ok(())
            }
        }
    })
    .await?;
    check.end(client, figures.operations()).await?;
    Ok(figures)
}

async fn counter_read(
    client: &Client,
    in_flight: usize,
    length: Duration,
) -> anyhow::Result<Figures> {
    BenchRecipe::Counter.deploy(client).await?;
    let counter = client.recipe(BenchRecipe::Counter.name());
    done(counter.call("add", vec![Value::from("/hits"), Value::S64(1)]).await?)?;
    repeat(in_flight, length, |_| {
        let counter = counter.clone();
        move |_| {
            let counter = counter.clone();
            async move { done(counter.call_read_only("get", vec![Value::from("/hits")]).await?) }
        }
    })
    .await
}

async fn lock(clients: &[Client], length: Duration) -> anyhow::Result<Figures> {
    repeat(clients.len(), length, |task| {
        let client = clients[task].clone();
        move |_| {
            let client = client.clone();
            async move {
                let options = LockOptions {
                    recipe: BenchRecipe::Lock.name().to_owned(),
                    ..LockOptions::default()
                };
                client.lock("/lock", options).await?.release().await?;
                Ok(())
            }
        }
    })
    .await
}

async fn queue(client: &Client, length: Duration) -> anyhow::Result<Figures> {
    BenchRecipe::Queue.deploy(client).await?;
    let queue = client.recipe(BenchRecipe::Queue.name());
    let check = Check::begin(client, Count::Queue(queue.clone(), "/jobs")).await?;
    let figures = repeat(IN_FLIGHT, length, |_| {
        let queue = queue.clone();
        move |_| {
            let queue = queue.clone();
            async move {
                offer(&queue, "/jobs").await?;
                done(queue.call("take", vec![Value::from("/jobs"), Value::Option(None)]).await?)
            }
        }
    })
    .await?;
    check.end(client, figures.operations()).await?;
    Ok(figures)
}

async fn offer(queue: &Recipe, path: &str) -> anyhow::Result<()> {
    let payload = Value::Bytes(Bytes::from_static(&[b'x'; DATA_BYTES]));
    done(queue.call("offer", vec![Value::from(path), payload]).await?)
}

/// Parks many calls, looks what they cost, and wakes one after the other; again until the time is over.
async fn parked(client: &Client, length: Duration) -> anyhow::Result<Figures> {
    BenchRecipe::Queue.deploy(client).await?;
    let queue = client.recipe(BenchRecipe::Queue.name());
    queue.interface().await?;
    let mut figures = Figures::new()?;
    let began = Instant::now();
    while figures.operations() == 0 || began.elapsed() < length {
        let before = client.status().await?.memory_bytes;
        let mut waiting = Vec::new();
        for number in 0..PARKED {
            let take = queue
                .start(
                    "take",
                    vec![Value::String(format!("/parked/{number}")), Value::Option(None)],
                )
                .await?;
            waiting.push((number, take));
        }
        // A write behind them is answered when all of them have run for the first time.
        offer(&queue, "/mark").await?;
        let after = client.status().await?.memory_bytes;
        figures.bytes_each.get_or_insert(after.saturating_sub(before) / PARKED as u64);
        for (number, take) in waiting {
            let start = Instant::now();
            offer(&queue, &format!("/parked/{number}")).await?;
            done(take.await?)?;
            figures.record(start.elapsed());
        }
    }
    figures.elapsed = began.elapsed();
    Ok(figures)
}

fn done(called: Called) -> anyhow::Result<()> {
    ensure!(
        matches!(called.value, Some(Value::Result(Ok(_)))),
        "the recipe refused: {:?}",
        called.value
    );
    Ok(())
}
