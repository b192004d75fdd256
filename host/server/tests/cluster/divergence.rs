//! A member whose tree is not that of the others stops by itself, says why, and does not come back.

use quorate_client::core::ids::NamespaceId;
use quorate_client::core::key;
use quorate_client::core::path::Path;
use quorate_store::{Tree, TreeOptions};

use crate::cluster::Cluster;
use crate::node::until;

/// Entries; digests are compared at each 64th.
const WRITES: usize = 200;

/// Gives one znode the record of another, in the tree of a member that does not run.
fn falsify(data: &std::path::Path) {
    let tree = Tree::open(&data.join("tree"), &TreeOptions::default()).expect("nobody has it open");
    let in_tree = |path: &str| -> bytes::Bytes {
        let of_core = key::node(&Path::parse(path).expect("a path"));
        [&NamespaceId::DEFAULT.0.to_be_bytes()[..], &of_core].concat().into()
    };
    let other = tree.flushed_get(&in_tree("/other")).expect("a record");
    let victim = in_tree("/victim");
    assert_ne!(tree.flushed_get(&victim).expect("a record"), other);
    tree.commit([(victim, Some(other))]);
    tree.flush();
}

async fn diverges(is_leader: bool) {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    let member = cluster.others(leader)[0];
    let client = cluster.client(&[1, 2, 3]).await;
    client.create("/victim").data("a").await.expect("created");
    client.create("/other").data("b").await.expect("created");
    client.set("/other", "c", None).await.expect("set");
    cluster.settled().await;
    assert_eq!(cluster.node_mut(member).stop(), 0);
    falsify(&cluster.node(member).data);
    cluster.restart(member).await;
    cluster.expect_error("differ");
    cluster.expect_error("takes no part any more");
    if is_leader {
        cluster.settled().await;
        cluster.ok(leader, &["cluster", "transfer-leader", &member.to_string()]);
    }
    for write in 0..WRITES {
        client.set("/victim", write.to_string(), None).await.expect("set");
    }
    assert_ne!(cluster.node_mut(member).ends().await, 0);
    let why = "differs from that of the majority";
    assert!(cluster.node(member).log().contains(why));
    let others = cluster.others(member);
    assert!(others.contains(&cluster.leader().await));
    client.set("/victim", "goes on", None).await.expect("set");
    let before = cluster.node(member).log().matches(why).count();
    assert_ne!(cluster.start_in_vain(member).await, 0, "it has started again");
    assert!(cluster.node(member).log().matches(why).count() > before, "it does not say why");
    // A new one takes its place.
    cluster.ok(others[0], &["cluster", "remove", &member.to_string()]);
    let new = cluster.further_member().await;
    let place = format!("{new}={}", cluster.node(new).address());
    cluster.ok(others[0], &["cluster", "add", &place]);
    cluster.ok(others[0], &["cluster", "promote", &new.to_string()]);
    until("the others agree", async || {
        let status = cluster.status(others[0]).await?;
        status.members.iter().all(|line| line.status.is_ok()).then_some(())
    })
    .await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_tree_differs_stops_by_itself_and_the_others_go_on() {
    diverges(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_tree_differs_stops_by_itself_and_another_leads() {
    diverges(true).await;
}
