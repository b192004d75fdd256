//! Sessions, and what hangs on them, when members die, stand still or are cut off.

use std::time::Duration;

use quorate_client::{Client, LockOptions, Options, SessionState};
use tokio::time::{Instant, timeout};

use crate::cluster::Cluster;
use crate::node::{PATIENCE, until};
use crate::rounds::call;

/// Of sessions that are to be lost in a test.
const SHORT: Duration = Duration::from_secs(3);

async fn connect(options: Options, session_timeout: Duration) -> Client {
    let options = Options { session_timeout: Some(session_timeout), ..options };
    Client::connect(options).await.expect("a session")
}

/// Waits until something comes of it, which must be soon.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// How many wait for the lock.
async fn waiters(client: &Client) -> usize {
    let text = call(client, "lock", "waiters(\"/l\", none, 100)").await.expect("answered");
    text.matches("place:").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_acquire_survives_its_member_and_the_leader_and_is_granted_once() {
    let mut cluster = Cluster::start(3).await;
    cluster.deploy(&["lock"]);
    let leader = cluster.settled().await;
    let [its_member, other] = cluster.others(leader)[..] else { panic!("three members") };
    let holder = cluster.client(&[other, its_member, leader]).await;
    let held = holder.lock("/l", LockOptions::default()).await.expect("nobody has it");
    let waiter = cluster.client(&[its_member, other, leader]).await;
    let acquiring = {
        let waiter = waiter.clone();
        tokio::spawn(async move { waiter.lock("/l", LockOptions::default()).await })
    };
    until("it waits", async || (waiters(&holder).await == 1).then_some(())).await;
    cluster.node_mut(its_member).kill();
    // It has come elsewhere when it can read.
    soon(waiter.exists("/recipes")).await.expect("read");
    cluster.restart(its_member).await;
    let leader = cluster.leader().await;
    cluster.settled().await;
    cluster.node_mut(leader).kill();
    soon(waiter.exists("/recipes")).await.expect("read");
    assert!(!acquiring.is_finished(), "granted while another holds it");
    assert_eq!(soon(waiters(&holder)).await, 1, "its place in the line");
    let token = held.token();
    soon(held.release()).await.expect("released");
    let granted = soon(acquiring).await.expect("no panic").expect("granted");
    assert!(granted.token() > token);
    assert_eq!(soon(waiters(&holder)).await, 0);
    soon(granted.release()).await.expect("it was granted once, and is released");
    let holder_now = soon(call(&holder, "lock", "holder(\"/l\")")).await.expect("answered");
    assert!(holder_now.contains("none"), "{holder_now}");
    cluster.restart(leader).await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_with_a_member_knows_that_its_lock_is_lost_before_another_gets_it() {
    let cluster = Cluster::start(3).await;
    cluster.deploy(&["lock"]);
    let leader = cluster.settled().await;
    // First with a follower, then with the leader.
    for member in [cluster.others(leader)[0], leader] {
        let others = cluster.others(member);
        let holder = connect(cluster.options(&[member]), SHORT).await;
        let next = connect(cluster.direct(others[0]), 4 * SHORT).await;
        let held = holder.lock("/l", LockOptions::default()).await.expect("nobody has it");
        let acquiring = tokio::spawn(async move {
            let granted = next.lock("/l", LockOptions::default()).await;
            (Instant::now(), granted, next)
        });
        until("it waits", async || (waiters(&holder).await == 1).then_some(())).await;
        let token = held.token();
        let loss = tokio::spawn(async move {
            let lost = held.lost().await;
            (Instant::now(), lost)
        });
        cluster.cut_off_with_its_clients(member);
        let (known, lost) = soon(loss).await.expect("no panic");
        let (given, granted, next) = soon(acquiring).await.expect("no panic");
        let granted = granted.expect("the lock passes on");
        println!("lost at {lost:?}; {} ms before it was given away", (given - known).as_millis());
        assert!(known < given, "given away {:?} before its holder knew", known - given);
        assert!(granted.token() > token);
        cluster.heal(member);
        soon(granted.release()).await.expect("released");
        next.close().await.expect("closed");
        cluster.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_to_a_cut_off_member_goes_on_elsewhere_with_its_session() {
    let cluster = Cluster::start(3).await;
    cluster.deploy(&["lock"]);
    let leader = cluster.settled().await;
    for member in [cluster.others(leader)[0], leader] {
        // It is told one address, and learns the others.
        let client = connect(cluster.options(&[member]), 3 * SHORT).await;
        client.create("/mine").ephemeral().await.expect("created");
        let held = client.lock("/l", LockOptions::default()).await.expect("nobody has it");
        cluster.cut_off(member);
        soon(client.set("/mine", "elsewhere", None)).await.expect("its session lives");
        let mut state = client.state();
        let connected = state.wait_for(|state| *state != SessionState::Suspended);
        let connected = soon(connected).await.expect("a state").clone();
        assert_eq!(connected, SessionState::Connected);
        soon(held.release()).await.expect("it was held all the time");
        client.close().await.expect("closed");
        cluster.heal(member);
        cluster.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_leader_gives_every_session_its_full_timeout_again() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let silent = connect(cluster.direct(cluster.others(leader)[0]), 2 * SHORT).await;
    silent.create("/mine").ephemeral().await.expect("created");
    let fell_silent = Instant::now();
    drop(silent);
    // Most of its timeout passes before the leader dies: what is left would be less than a full one.
    tokio::time::sleep_until(fell_silent + SHORT * 3 / 2).await;
    let killed = Instant::now();
    cluster.node_mut(leader).kill();
    let watcher = cluster.client(&cluster.up()).await;
    let gone = until("the session expires", async || {
        let is_there = soon(watcher.exists("/mine")).await.expect("read").is_some();
        (!is_there).then(|| killed.elapsed())
    })
    .await;
    assert!(gone >= 2 * SHORT, "expired {gone:?} after the leader's death, of {:?}", 2 * SHORT);
    cluster.restart(leader).await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_for_longer_than_a_session_s_timeout_expires_nobody() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let client = connect(cluster.options(&cluster.others(leader)), SHORT).await;
    client.create("/mine").ephemeral().await.expect("created");
    cluster.node_mut(leader).pause();
    // The length of the pause is the fault.
    tokio::time::sleep(SHORT * 5 / 3).await;
    cluster.node_mut(leader).resume();
    cluster.settled().await;
    assert!(soon(client.exists("/mine")).await.expect("its session lives").is_some());
    soon(client.set("/mine", "still", None)).await.expect("its session lives");
}
