//! Clients that count and take a lock in a loop while something is done to their cluster, and what must hold of what they saw. It does
//! not know what is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quorate_client::Client;
use quorate_history::models::{LockAnswer, LockCall};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::node::PATIENCE;
use crate::rounds::{call, lock, number};

const COUNTER: &str = "/counted";
/// Rounds of each client after which it counts as going on.
const GOES_ON_ROUNDS: u64 = 5;

/// What the clients that take the lock know together.
#[derive(Default)]
struct Taken {
    /// Who has it now, by their own knowledge; 0: nobody.
    holder: AtomicU64,
    /// In the order of the grants.
    tokens: Mutex<Vec<u64>>,
}

/// One client that counts and two that take turns with a lock, each connected to another member first.
pub struct Load {
    stop: watch::Sender<bool>,
    counted: watch::Receiver<u64>,
    taken: watch::Receiver<u64>,
    taken_by_all: Arc<Taken>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    /// Deploys what is needed, and begins.
    pub async fn start(cluster: &Cluster) -> Self {
        cluster.deploy(&["counter", "lock"]);
        let (stop, stopped) = watch::channel(false);
        let (counts, counted) = watch::channel(0);
        let (takes, taken) = watch::channel(0);
        let taken_by_all = Arc::new(Taken::default());
        let mut clients = Vec::new();
        let client = cluster.client(&[1, 2, 3]).await;
        clients.push(tokio::spawn(count(client, counts, stopped.clone())));
        for (who, order) in [(1, [2, 3, 1]), (2, [3, 1, 2])] {
            let client = cluster.client(&order).await;
            let all = Arc::clone(&taken_by_all);
            clients.push(tokio::spawn(take(client, who, all, takes.clone(), stopped.clone())));
        }
        Self { stop, counted, taken, taken_by_all, clients }
    }

    /// Waits until the clients have done something that they began after this.
    pub async fn goes_on(&mut self) {
        for (what, progress) in [("count", &mut self.counted), ("take the lock", &mut self.taken)] {
            let wanted = *progress.borrow() + GOES_ON_ROUNDS;
            let reached = progress.wait_for(|done| *done >= wanted);
            match tokio::time::timeout(PATIENCE, reached).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => {
                    let ended = results(&mut self.clients).await;
                    panic!("a client that should {what} has given up: {ended:?}");
                }
                Err(_) => panic!("the clients do not {what} any more"),
            }
        }
    }

    /// Ends the clients; all that they saw must be right.
    pub async fn finish(mut self, cluster: &Cluster) {
        self.goes_on().await;
        self.stop.send_replace(true);
        for client in self.clients {
            let ended = tokio::time::timeout(PATIENCE, client).await;
            ended.expect("it ends").expect("no panic").expect("its session outlives the faults");
        }
        let tokens = self.taken_by_all.tokens.lock().expect("no panic").clone();
        let grows = tokens.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(grows, "tokens do not grow: {tokens:?}");
        let client = cluster.client(&cluster.up()).await;
        let found = call(&client, "counter", &format!("get({COUNTER:?})")).await.expect("a number");
        assert_eq!(number(&found), *self.counted.borrow(), "the counter is not exact");
        client.close().await.expect("closed");
        cluster.settled().await;
    }
}

/// What became of clients that have ended.
async fn results(clients: &mut [JoinHandle<Result<(), String>>]) -> Vec<Result<(), String>> {
    let mut results = Vec::new();
    for client in clients.iter_mut().filter(|client| client.is_finished()) {
        results.push(client.await.unwrap_or_else(|panic| Err(panic.to_string())));
    }
    results
}

async fn count(
    client: Client,
    counts: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let add = format!("add({COUNTER:?}, 1)");
    while !*stopped.borrow() {
        let text = call(&client, "counter", &add).await.map_err(|error| error.to_string())?;
        let expected = *counts.borrow() + 1;
        if number(&text) != expected {
            return Err(format!("counted to {expected}, and the service to {text}"));
        }
        counts.send_replace(expected);
    }
    client.close().await.map_err(|error| error.to_string())
}

async fn take(
    client: Client,
    who: u64,
    all: Arc<Taken>,
    takes: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    while !*stopped.borrow() {
        let granted = lock(&client, &LockCall::Acquire).await.map_err(|error| error.to_string())?;
        let LockAnswer::Granted(token) = granted else { return Err(format!("{granted:?}")) };
        let before = all.holder.swap(who, Ordering::SeqCst);
        if before != 0 {
            return Err(format!("client {who} has the lock, and so has client {before}"));
        }
        all.tokens.lock().map_err(|error| error.to_string())?.push(token);
        all.holder.store(0, Ordering::SeqCst);
        takes.send_modify(|count| *count += 1);
        let given = lock(&client, &LockCall::Release(token)).await;
        let given = given.map_err(|error| error.to_string())?;
        if given != LockAnswer::Released {
            return Err(format!("token {token} was held, and is not: {given:?}"));
        }
    }
    client.close().await.map_err(|error| error.to_string())
}
