//! Watches through everything that happens to a cluster: what a watch tells is what the log holds, in order, each once, whatever
//! member it is told by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_client::{Client, Notice, WatchStream, Zxid};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::{Cluster, one_at_a_time};
use crate::node::{PATIENCE, until};

/// Writes between two things that happen.
const WRITES: u64 = 60;
/// The last change that is watched.
const END: &str = "/w/end";

/// What a watch has told: transactions, and the paths of their events.
type Told = Vec<(Zxid, Vec<String>)>;

/// Reads a watch up to the last change.
async fn read_to_end(mut stream: WatchStream) -> Told {
    let mut told = Told::new();
    loop {
        let next = timeout(PATIENCE, stream.next()).await.expect("something in time");
        match next.expect("it does not end").expect("it goes on") {
            Notice::Change(change) => {
                let paths: Vec<String> = change.events.into_iter().map(|event| event.path).collect();
                let is_end = paths.iter().any(|path| path == END);
                told.push((change.zxid, paths));
                if is_end {
                    return told;
                }
            }
            _ => {}
        }
    }
}

/// Writes below `/w` until told to stop, one after the other.
struct Writer {
    written: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Writer {
    fn start(client: Client) -> Self {
        let (written, is_over): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let (count, over) = (written.clone(), is_over.clone());
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                let path = format!("/w/n{}", number % 7);
                match number / 7 % 3 {
                    0 => drop(client.create(&path).await.expect("created")),
                    1 => drop(client.set(&path, number.to_string(), None).await.expect("set")),
                    _ => client.delete(&path).await.expect("deleted"),
                }
                number += 1;
                count.store(number, Ordering::SeqCst);
            }
            client.create(END).await.expect("created");
        });
        Self { written, is_over, task }
    }

    /// Waits until so many more are acknowledged.
    async fn goes_on(&self) {
        let target = self.written.load(Ordering::SeqCst) + WRITES;
        until("writes go on", async || {
            (self.written.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    }

    async fn finish(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        timeout(PATIENCE, self.task).await.expect("in time").expect("no panic");
        self.written.load(Ordering::SeqCst) + 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_every_change_once_and_in_order_through_kills_and_a_change_of_members() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let writing = cluster.client(&[1, 2, 3]).await;
    writing.create("/w").await.expect("created");
    let mut watching = Vec::new();
    let mut began = None;
    for member in 1..=3u64 {
        let others: Vec<u64> = (0..3).map(|step| (member - 1 + step) % 3 + 1).collect();
        let client = cluster.client(&others).await;
        let stream = client.watch("/w").subtree().with_data().await.expect("open");
        began.get_or_insert(stream.position());
        watching.push((client, tokio::spawn(read_to_end(stream))));
    }
    let began = began.expect("three watches");
    let writer = Writer::start(writing);
    writer.goes_on().await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.node_mut(leader).kill();
        writer.goes_on().await;
        cluster.restart(leader).await;
        writer.goes_on().await;
        let leader = cluster.leader().await;
        let follower = cluster.others(leader)[0];
        cluster.node_mut(follower).kill();
        writer.goes_on().await;
        cluster.restart(follower).await;
        writer.goes_on().await;
    }
    let new = cluster.further_member().await;
    let place = format!("{new}={}", cluster.node(new).address());
    cluster.ok(1, &["cluster", "add", &place]);
    cluster.ok(1, &["cluster", "promote", &new.to_string()]);
    cluster.ok(1, &["cluster", "transfer-leader", &new.to_string()]);
    writer.goes_on().await;
    let count = writer.finish().await;

    // What each member reads back of the past is what every watch was told.
    let mut all = Vec::new();
    for (_client, told) in watching {
        all.push(timeout(PATIENCE, told).await.expect("in time").expect("no panic"));
    }
    for member in 1..=3 {
        let client = cluster.client_direct(member).await;
        let stream = client.watch("/w").subtree().from(began).await.expect("retained");
        all.push(read_to_end(stream).await);
    }
    for told in &all {
        assert_eq!(told.len() as u64, count, "each change is a transaction of its own");
        assert!(told.is_sorted_by(|one, next| one.0 < next.0), "in order, each once");
        assert_eq!(told, &all[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_at_a_member_that_is_cut_off_goes_on_elsewhere_and_misses_nothing() {
    let _alone = one_at_a_time().await;
    let cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let away = cluster.others(leader)[0];
    let writing = cluster.client(&[leader]).await;
    writing.create("/w").await.expect("created");
    let mut members = cluster.others(away);
    members.insert(0, away);
    let client = cluster.client(&members).await;
    let stream = client.watch("/w").subtree().await.expect("open");
    let told = tokio::spawn(read_to_end(stream));
    let writer = Writer::start(writing);
    writer.goes_on().await;
    cluster.cut_off(away);
    writer.goes_on().await;
    // Long enough for clients of that member to look for another one.
    until("it is told elsewhere, or waits for the member", async || {
        timeout(Duration::from_secs(5), client.get("/w")).await.ok()?.ok().map(|_| ())
    })
    .await;
    cluster.heal(away);
    let count = writer.finish().await;
    let told = timeout(PATIENCE, told).await.expect("in time").expect("no panic");
    assert_eq!(told.len() as u64, count);
    assert!(told.is_sorted_by(|one, next| one.0 < next.0));
}
