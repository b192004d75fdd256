//! The audit logs of a cluster's members: each tells what its own clients do, and the leader's what nobody has asked for.

use std::path::PathBuf;
use std::time::Duration;

use quorate_client::Client;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::until;

fn file(cluster: &Cluster, member: u64) -> PathBuf {
    cluster.node(member).directory.join("audit.log")
}

/// The lines of a member's audit log that have all of these fields.
fn lines_with(cluster: &Cluster, member: u64, wanted: &Value) -> Vec<Value> {
    let text = std::fs::read_to_string(file(cluster, member)).expect("an audit log");
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let has = |line: &Value| {
        wanted.as_object().expect("fields").iter().all(|(key, value)| line[key] == *value)
    };
    whole.filter(has).collect()
}

/// Members that have such a line, once there is one.
async fn told_by(cluster: &Cluster, wanted: Value) -> Vec<u64> {
    let told = || (1..=3).filter(|member| !lines_with(cluster, *member, &wanted).is_empty());
    until(&format!("{wanted} is told"), async || told().next()).await;
    told().collect()
}

/// A session at a member that ends without a word, with its ephemeral znode; its number.
async fn leaves(cluster: &Cluster, member: u64, path: &str) -> u64 {
    let mut options = cluster.direct(member);
    options.session_timeout = Some(Duration::from_secs(1));
    let client = Client::connect(options).await.expect("a session");
    client.create(path).ephemeral().await.expect("created");
    client.session().id.0
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_tells_what_its_clients_do_and_the_leader_s_what_expires() {
    let cluster = Cluster::start_with(3, |node| {
        let file = node.directory.join("audit.log");
        node.further = format!("[audit]\nfile = {file:?}\ncategories = [\"sessions\", \"writes\"]");
    })
    .await;
    for member in 1..=3 {
        let path = format!("/by-{member}");
        cluster.ok(member, &["create", &path, "x"]);
        let wanted =
            json!({ "operation": "create", "path": path, "result": "ok", "member": member });
        assert_eq!(told_by(&cluster, wanted).await, [member]);
    }
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let session = leaves(&cluster, follower, "/gone").await;
    let expired = |session| json!({ "operation": "expired", "session": session });
    assert_eq!(told_by(&cluster, expired(session)).await, [leader]);
    let told = lines_with(&cluster, leader, &expired(session));
    assert_eq!(told[0]["paths"], json!(["/gone"]), "{told:?}");
    assert_eq!(told.len(), 1, "told once: {told:?}");

    cluster.ok(follower, &["cluster", "transfer-leader", &follower.to_string()]);
    let moved =
        json!({ "operation": "cluster-transfer-leader", "of_member": follower, "result": "ok" });
    assert_eq!(told_by(&cluster, moved).await, [follower], "where it was asked");
    cluster.leader_among(&[follower]).await;
    let session = leaves(&cluster, leader, "/gone").await;
    assert_eq!(told_by(&cluster, expired(session)).await, [follower]);
}
