//! A counter stays exact and a lock excludes, whatever happens to members and network (the claim of issue 3).

use std::time::Duration;

use quorate_relay::{Direction, Faults};
use tokio::time::Instant;

use crate::cluster::{Cluster, one_at_a_time};
use crate::load::Load;
use crate::node::PATIENCE;

/// Longer than an election, than the idle timeout of connections, and than the sessions of the clients live: as issue 3 words it.
const PAUSE: Duration = Duration::from_secs(20);
/// How long writes may stand still after the leader's death: generous, because the machine is busy.
const GAP_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_is_exact_and_tokens_grow_while_each_member_is_killed_started_and_paused_for_20_s()
 {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let mut load = Load::start(&cluster).await;
    for member in 1..=3 {
        load.goes_on().await;
        cluster.node_mut(member).kill();
        load.goes_on().await;
        cluster.restart(member).await;
        load.goes_on().await;
        cluster.node_mut(member).pause();
        let until = Instant::now() + PAUSE;
        load.goes_on().await;
        // The length of the pause is the fault.
        tokio::time::sleep_until(until).await;
        cluster.node_mut(member).resume();
    }
    load.finish(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_members_go_on_without_any_two_of_them() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(5).await;
    let mut load = Load::start(&cluster).await;
    load.goes_on().await;
    let leader = cluster.leader().await;
    let dead = [leader, cluster.others(leader)[0]];
    for member in dead {
        cluster.node_mut(member).kill();
    }
    load.goes_on().await;
    for member in dead {
        cluster.restart(member).await;
    }
    load.goes_on().await;
    // First with the leader on the side of two, then on that of three.
    let leader = cluster.leader().await;
    cluster.split(&[leader, cluster.others(leader)[0]]);
    load.goes_on().await;
    cluster.heal(leader);
    load.goes_on().await;
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    cluster.split(&others[..2]);
    load.goes_on().await;
    cluster.heal(leader);
    load.finish(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_is_exact_and_tokens_grow_while_the_network_fails() {
    let _alone = one_at_a_time().await;
    let cluster = Cluster::start(3).await;
    let mut load = Load::start(&cluster).await;
    load.goes_on().await;
    let leader = cluster.leader().await;
    cluster.cut_off(leader);
    load.goes_on().await;
    cluster.heal(leader);
    load.goes_on().await;
    // Nothing that is sent to a follower's address comes; what it dials itself works, both ways.
    let follower = cluster.others(cluster.leader_among(&cluster.others(leader)).await)[0];
    cluster.node(follower).relay.set(Direction::ToTarget, Faults::CUT);
    load.goes_on().await;
    cluster.heal(follower);
    load.goes_on().await;
    // Nobody can dial the leader: it still leads, over connections that it has dialled itself.
    let undialled = cluster.leader_among(&[1, 2, 3]).await;
    cluster.node(undialled).relay.set(Direction::ToTarget, Faults::CUT);
    load.goes_on().await;
    cluster.heal(undialled);
    load.goes_on().await;
    cluster.set_faults(Faults {
        loss_per_mille: 100,
        duplicate_per_mille: 50,
        reorder_per_mille: 100,
        delay: Duration::from_millis(20),
        ..Faults::default()
    });
    load.goes_on().await;
    load.goes_on().await;
    cluster.set_faults(Faults::default());
    for node in &cluster.nodes {
        node.relay.rebind().await;
    }
    load.goes_on().await;
    load.finish(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_all_members_were_killed_at_once() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let mut load = Load::start(&cluster).await;
    for _ in 0..2 {
        load.goes_on().await;
        cluster.nodes.iter_mut().for_each(|node| node.kill());
        for member in 1..=3 {
            cluster.restart(member).await;
        }
    }
    load.finish(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_resume_after_the_leader_was_killed() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let client = cluster.client(&cluster.others(leader)).await;
    client.create("/gap").await.expect("created");
    let killed = Instant::now();
    cluster.node_mut(leader).kill();
    let set = client.set("/gap", "after", None);
    tokio::time::timeout(PATIENCE, set).await.expect("in time").expect("set");
    let gap = killed.elapsed();
    println!("writes resumed {} ms after the leader was killed", gap.as_millis());
    assert!(gap < GAP_MAX, "writes stood still for {gap:?}");
    cluster.restart(leader).await;
    cluster.settled().await;
}
