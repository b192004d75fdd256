//! Members that come and go while the cluster works, and changes that are refused because they would stop it.

use std::time::Duration;

use quorate_client::LockOptions;
use quorate_relay::{Direction, Faults, Relay};
use tokio::time::Instant;

use crate::cluster::{Cluster, one_at_a_time};
use crate::load::Load;
use crate::node::PATIENCE;

/// After that a silent member counts as dead (3 s), and a little more.
const DEAD_AFTER: Duration = Duration::from_secs(4);
/// One entry each: more than a learner may lag behind to become a voter (1,024).
const LAG_WRITES: usize = 1_200;

fn place(cluster: &Cluster, member: u64) -> String {
    format!("{member}={}", cluster.node(member).address())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_under_load_the_leader_and_a_dead_one_too() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let mut load = Load::start(&cluster).await;
    let new = cluster.further_member().await;
    cluster.ok(1, &["cluster", "add", &place(&cluster, new)]);
    cluster.ok(1, &["cluster", "promote", "4"]);
    load.goes_on().await;
    cluster.ok(1, &["cluster", "transfer-leader", "4"]);
    assert_eq!(cluster.leader().await, 4);
    load.goes_on().await;
    // The leader goes.
    cluster.ok(1, &["cluster", "remove", "4"]);
    let leader = cluster.leader_among(&[1, 2, 3]).await;
    load.goes_on().await;
    assert_eq!(cluster.node_mut(4).stop(), 0, "a member that was removed ends in order");
    // A dead one goes, and another comes instead.
    let dead = cluster.others(leader)[0];
    cluster.node_mut(dead).kill();
    load.goes_on().await;
    cluster.ok(leader, &["cluster", "remove", &dead.to_string()]);
    let new = cluster.further_member().await;
    cluster.ok(leader, &["cluster", "add", &place(&cluster, new)]);
    cluster.ok(leader, &["cluster", "promote", &new.to_string()]);
    load.goes_on().await;
    load.finish(&cluster).await;
    let shown = cluster.ok(leader, &["cluster", "status", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let members = shown["members"].as_array().expect("members");
    assert_eq!(members.len(), 3, "{shown}");
    assert!(members.iter().all(|member| member["voter"] == true), "{shown}");
    assert_eq!(shown["worries"], serde_json::json!([]), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_would_lose_the_quorum_or_makes_no_sense_is_refused_with_a_reason() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let [dead, alive] = cluster.others(leader)[..] else { panic!("three members") };
    let refused = |cluster: &Cluster, arguments: &[&str], says: &[&str]| {
        let said = cluster.refused(leader, &[&["cluster"], arguments].concat());
        assert!(says.iter().all(|says| said.contains(says)), "{arguments:?}: {said}");
    };
    refused(&cluster, &["remove", "9"], &["no member 9"]);
    refused(&cluster, &["promote", "9"], &["no member 9"]);
    refused(&cluster, &["promote", "1"], &["votes already"]);
    refused(&cluster, &["transfer-leader", "9"], &["not a voter"]);
    let twice = format!("2={}", cluster.node(1).address());
    refused(&cluster, &["add", &twice], &["member 2 belongs to the cluster already"]);
    cluster.node_mut(dead).kill();
    // That it is dead is known after a while.
    tokio::time::sleep(DEAD_AFTER).await;
    let silent = format!("silent: {dead}");
    refused(&cluster, &["remove", &alive.to_string()], &["the cluster would stop", &silent]);
    let to = dead.to_string();
    let said = cluster.refused(leader, &["cluster", "transfer-leader", &to]);
    assert!(said.contains(&format!("member {dead} does not answer")), "{said}");
    // Nothing has changed.
    assert_eq!(cluster.leader().await, leader);
    cluster.ok(leader, &["create", "/goes-on"]);
    cluster.restart(dead).await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lags_does_not_vote_before_it_has_caught_up() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    let new = cluster.further_member().await;
    cluster.ok(1, &["cluster", "add", &place(&cluster, new)]);
    cluster.settled().await;
    cluster.node_mut(new).pause();
    let client = cluster.client(&[1, 2, 3]).await;
    client.create("/lag").await.expect("created");
    for write in 0..LAG_WRITES {
        client.set("/lag", write.to_string(), None).await.expect("set");
    }
    let said = cluster.refused(1, &["cluster", "promote", "4", "--wait", "1s"]);
    assert!(said.contains("member 4 has") && said.contains("caught up"), "{said}");
    cluster.node_mut(new).resume();
    cluster.ok(1, &["cluster", "promote", "4"]);
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_could_not_end_is_refused_before_it_begins() {
    let mut cluster = Cluster::start(3).await;
    let new = cluster.further_member().await;
    cluster.ok(1, &["cluster", "add", &place(&cluster, new)]);
    let leader = cluster.settled().await;
    let paused = cluster.others(leader)[0];
    // Two of four stand still, and have answered a moment ago.
    cluster.node_mut(paused).pause();
    cluster.node_mut(new).pause();
    let said = cluster.refused(leader, &["cluster", "promote", "4", "--wait", "1s"]);
    assert!(said.contains("the cluster would stop"), "{said}");
    cluster.goes_on(&[leader]).await;
    cluster.node_mut(paused).resume();
    cluster.node_mut(new).resume();
    cluster.ok(leader, &["cluster", "promote", "4"]);
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_moved_is_found_again_and_tells_where_it_is_once_a_second_at_most() {
    const MOVED: u64 = 3;
    const TOLD: &str = "the cluster knows the new addresses";
    let mut cluster = Cluster::start(3).await;
    cluster.settled().await;
    assert_eq!(cluster.node_mut(MOVED).stop(), 0);
    let relay = Relay::start(cluster.node(MOVED).listen, MOVED).await.expect("a relay");
    // It reaches the others, and they do not reach it: its log does not grow, and it does not see that it is known.
    relay.set(Direction::ToTarget, Faults::CUT);
    cluster.node_mut(MOVED).relay = relay;
    cluster.restart(MOVED).await;
    cluster.node(MOVED).says(TOLD).await;
    let first = Instant::now();
    tokio::time::sleep(DEAD_AFTER).await;
    let told = cluster.node(MOVED).log().matches(TOLD).count();
    let most = first.elapsed().as_secs() + 2;
    assert!(told as u64 <= most, "told {told} times in {:?}", first.elapsed());
    cluster.heal(MOVED);
    cluster.settled().await;
    let status = cluster.status(1).await.expect("answered");
    let line = status.members.iter().find(|line| line.member == MOVED).expect("a member");
    assert_eq!(line.address, cluster.node(MOVED).address());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_to_deploy_recipes_waits_for_its_cluster_for_as_long_as_it_takes() {
    // As long as a client tries to connect, and a little more.
    const NO_CLUSTER: Duration = Duration::from_secs(12);
    let mut cluster = Cluster::waiting_with(3, |node| {
        if node.number == 1 {
            node.further = "builtin_recipes = true".to_owned();
        }
    })
    .await;
    cluster.node(1).says("the built-in recipes wait for a leader").await;
    // The length of the wait is the fault.
    tokio::time::sleep(NO_CLUSTER).await;
    assert!(!cluster.node_mut(1).has_ended(), "it has ended: {}", cluster.node(1).log());
    let places: Vec<String> = (1..=3).map(|member| place(&cluster, member)).collect();
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    cluster.ok(1, &[&["cluster", "init"], &places[..]].concat());
    for recipe in ["lock", "group"] {
        cluster.node(1).says(&format!("deployed recipe=\"{recipe}\"")).await;
    }
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_session_and_lock_while_every_member_is_replaced_by_another() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    cluster.deploy(&["lock"]);
    cluster.settled().await;
    // It stays at member 3 until that is the last of those that it was told at its welcome.
    let client = cluster.client(&[3]).await;
    client.create("/mine").ephemeral().await.expect("created");
    let held = client.lock("/l", LockOptions::default()).await.expect("nobody has it");
    for old in 1..=3 {
        let new = cluster.further_member().await;
        let asked = cluster.others(new)[0];
        cluster.ok(asked, &["cluster", "add", &place(&cluster, new)]);
        cluster.ok(asked, &["cluster", "promote", &new.to_string()]);
        cluster.settled().await;
        cluster.ok(new, &["cluster", "remove", &old.to_string()]);
        // Without a word to those who are connected.
        cluster.node_mut(old).kill();
        cluster.settled().await;
        let set = client.set("/mine", new.to_string(), None);
        tokio::time::timeout(PATIENCE, set).await.expect("in time").expect("its session lives");
    }
    assert!(client.exists("/mine").await.expect("read").is_some());
    let released = tokio::time::timeout(PATIENCE, held.release()).await.expect("in time");
    released.expect("it was held all the time");
    client.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_removed_while_it_was_down_learns_it_and_is_quiet() {
    const GONE: u64 = 3;
    let mut cluster = Cluster::start(3).await;
    cluster.settled().await;
    cluster.goes_on(&[1, 2, 3]).await;
    assert_eq!(cluster.node_mut(GONE).stop(), 0);
    cluster.ok(1, &["cluster", "remove", &GONE.to_string()]);
    cluster.restart(GONE).await;
    cluster.node(GONE).says("this member was removed from its cluster").await;
    cluster.goes_on(&[1, 2]).await;
    for member in [1, 2] {
        let refused = cluster.node(member).log().matches("a member is refused").count();
        assert!(refused <= 1, "member {member} says it {refused} times");
    }
    cluster.node_mut(GONE).kill();
}
