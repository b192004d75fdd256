//! Clients whose own member says nothing any more: killed behind a network that tells nobody, stopped, or stalled for a moment.

use std::time::Duration;

use quorate_client::{Client, Consistency, LockOptions, Options, Query, Results, SessionState};
use tokio::time::{Instant, timeout};

use crate::cluster::{Cluster, one_at_a_time};
use crate::node::PATIENCE;
use quorate_relay::Faults;

/// So long that nothing but the silence itself can move a client in time: the connection's idle timeout is 15 s of it.
const LONG: Duration = Duration::from_secs(60);
/// How long the writes of a client may stand still: generous, because the machine is busy, and far below what only timeouts of
/// session and connection would allow.
const GAP_MAX: Duration = Duration::from_secs(8);

async fn connect(options: Options) -> Client {
    let options = Options { session_timeout: Some(LONG), ..options };
    Client::connect(options).await.expect("a session")
}

/// The member that a client is attached to.
async fn member_of(client: &Client) -> u64 {
    let stale = client.with_consistency(Consistency::Stale);
    match timeout(PATIENCE, stale.read(Query::Status)).await.expect("in time") {
        Ok((_, Results::Status(status))) => status.member,
        other => panic!("not a status: {other:?}"),
    }
}

/// How long the next write of this client takes.
async fn gap(client: &Client, since: Instant) -> Duration {
    let set = client.set("/gap", "after", None);
    timeout(PATIENCE, set).await.expect("in time").expect("its session lives");
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_member_vanishes_goes_on_elsewhere_soon_and_with_its_session() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    for is_leader in [false, true] {
        let leader = cluster.settled().await;
        let gone = if is_leader { leader } else { cluster.others(leader)[0] };
        let others = cluster.others(gone);
        let own = connect(cluster.options(&[gone, others[0], others[1]])).await;
        let other = connect(cluster.options(&[others[0]])).await;
        own.create("/gap").parents().await.ok();
        own.create("/mine").ephemeral().await.expect("created");
        assert_eq!(member_of(&own).await, gone);
        // Nobody is told: neither an answer nor a report that the port is closed comes back.
        cluster.node(gone).relay.set_both(Faults::CUT);
        let since = Instant::now();
        cluster.node_mut(gone).kill();
        let (own_gap, other_gap) = tokio::join!(gap(&own, since), gap(&other, since));
        println!(
            "its member ({}) vanished: {} ms, a client elsewhere {} ms",
            if is_leader { "the leader" } else { "a follower" },
            own_gap.as_millis(),
            other_gap.as_millis()
        );
        assert!(own_gap < GAP_MAX, "its writes stood still for {own_gap:?}");
        assert!(own.exists("/mine").await.expect("read").is_some(), "its session lives");
        own.close().await.expect("closed");
        other.close().await.expect("closed");
        cluster.node(gone).relay.set_both(Faults::default());
        cluster.restart(gone).await;
    }
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_member_is_stopped_goes_on_elsewhere_and_keeps_its_lock() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    cluster.deploy(&["lock"]);
    let leader = cluster.settled().await;
    let stopped = cluster.others(leader)[0];
    let others = cluster.others(stopped);
    let own = connect(cluster.options(&[stopped, others[0], others[1]])).await;
    own.create("/gap").await.expect("created");
    let held = own.lock("/l", LockOptions::default()).await.expect("nobody has it");
    let until = Instant::now() + Duration::from_secs(20);
    let since = Instant::now();
    cluster.node_mut(stopped).pause();
    let gap = gap(&own, since).await;
    println!("its member was stopped: {} ms", gap.as_millis());
    assert!(gap < GAP_MAX, "its writes stood still for {gap:?}");
    assert_ne!(member_of(&own).await, stopped);
    // The length of the pause is the fault.
    tokio::time::sleep_until(until).await;
    cluster.node_mut(stopped).resume();
    assert_eq!(*own.state().borrow(), SessionState::Connected);
    own.set("/gap", "held", None).await.expect("its session lives");
    held.release().await.expect("it was held all the time");
    own.close().await.expect("closed");
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stalls_for_a_moment_again_and_again_keeps_its_clients() {
    const STALL: Duration = Duration::from_millis(200);
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let stalled = cluster.others(leader)[0];
    let others = cluster.others(stalled);
    let own = connect(cluster.options(&[stalled, others[0], others[1]])).await;
    own.create("/gap").await.expect("created");
    for _ in 0..20 {
        let since = Instant::now();
        cluster.node_mut(stalled).pause();
        let write = {
            let own = own.clone();
            tokio::spawn(async move { gap(&own, since).await })
        };
        tokio::time::sleep_until(since + STALL).await;
        cluster.node_mut(stalled).resume();
        timeout(PATIENCE, write).await.expect("in time").expect("no panic");
    }
    assert_eq!(member_of(&own).await, stalled, "it was left for a moment's silence");
    own.close().await.expect("closed");
    cluster.settled().await;
}
