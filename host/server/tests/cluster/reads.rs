//! Linearizable reads at every member, recipe calls that only read among them: they see what was acknowledged anywhere before
//! they began, or are not answered.

use std::time::Duration;

use quorate_client::{Client, Consistency, Error};
use quorate_wire::value::Value;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::node::{PATIENCE, until};

/// How long a read at a cut-off member is given to be answered wrongly: longer than an election.
const WRONG_ANSWER: Duration = Duration::from_secs(2);
const WRITES: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_at_every_member_sees_a_write_acknowledged_at_any() {
    let cluster = Cluster::start(3).await;
    let mut clients = Vec::new();
    for member in 1..=3 {
        clients.push(cluster.client_direct(member).await);
    }
    clients[0].create("/seen").await.expect("created");
    for write in 0..WRITES {
        let value = write.to_string();
        clients[write % 3].set("/seen", value.clone(), None).await.expect("set");
        for client in &clients {
            assert_eq!(client.get("/seen").await.expect("read").data, value);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_member_answers_no_linearizable_read_with_what_is_old() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.settled().await;
    for (round, member) in [leader, cluster.others(leader)[0]].into_iter().enumerate() {
        let others = cluster.others(member);
        let (old, new) = (format!("old {round}"), format!("new {round}"));
        let path = format!("/{round}");
        let reader = cluster.client(&[member]).await;
        reader.create(&path).data(old.clone()).await.expect("created");
        cluster.cut_off_with_its_clients(member);
        let writer = cluster.client_direct(cluster.leader_among(&others).await).await;
        let written = timeout(PATIENCE, writer.set(&path, new.clone(), None)).await;
        written.expect("in time").expect("set");
        let stale = reader.with_consistency(Consistency::Stale).get(&path).await;
        assert_eq!(stale.expect("answered").data, old, "the member is not cut off");
        if let Ok(Ok(read)) = timeout(WRONG_ANSWER, reader.get(&path)).await {
            panic!("read {:?} where {new:?} had been acknowledged", read.data);
        }
        cluster.heal(member);
        until("the member reads what is new", async || {
            let read = timeout(WRONG_ANSWER, reader.get(&path)).await.ok()?.ok()?;
            assert_eq!(read.data, new);
            Some(())
        })
        .await;
        cluster.settled().await;
    }
}

/// The count, read where this client is connected.
async fn count(client: &Client) -> Result<i64, Error> {
    let counter = client.recipe("counter");
    let called = counter.call_read_only("get", vec!["/seen".into()]).await?;
    let Some(Value::Result(Ok(Some(value)))) = called.value else { panic!("{:?}", called.value) };
    let Value::S64(count) = *value else { panic!("{value:?}") };
    Ok(count)
}

async fn add(client: &Client) {
    let added = client.recipe("counter").call("add", vec!["/seen".into(), Value::S64(1)]).await;
    added.expect("added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_only_reads_sees_at_every_member_what_was_acknowledged_at_any() {
    let cluster = Cluster::start(3).await;
    cluster.deploy(&["counter"]);
    let mut clients = Vec::new();
    for member in 1..=3 {
        clients.push(cluster.client_direct(member).await);
    }
    for (write, expected) in (1..=WRITES).zip(1..) {
        add(&clients[write % 3]).await;
        for client in &clients {
            assert_eq!(count(client).await.expect("read"), expected);
        }
        let own = clients[write % 3].with_consistency(Consistency::Session);
        assert_eq!(count(&own).await.expect("read"), expected, "a session sees its own writes");
    }
    for client in &clients {
        let counter = client.recipe("counter");
        let arguments = vec!["/seen".into(), Value::S64(1)];
        let refused = counter.call_read_only("add", arguments).await.expect_err("refused");
        assert!(refused.to_string().contains("read-only"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_member_runs_no_linearizable_call_on_what_is_old() {
    let cluster = Cluster::start(3).await;
    cluster.deploy(&["counter"]);
    let leader = cluster.settled().await;
    let member = cluster.others(leader)[0];
    let reader = cluster.client(&[member]).await;
    add(&reader).await;
    assert_eq!(count(&reader).await.expect("read"), 1);
    cluster.cut_off_with_its_clients(member);
    let writer = cluster.client_direct(leader).await;
    add(&writer).await;
    let stale = count(&reader.with_consistency(Consistency::Stale)).await;
    assert_eq!(stale.expect("answered"), 1, "the member is not cut off");
    if let Ok(Ok(read)) = timeout(WRONG_ANSWER, count(&reader)).await {
        panic!("read {read} where 2 had been acknowledged");
    }
    cluster.heal(member);
    until("the member runs calls on what is new", async || {
        let read = timeout(WRONG_ANSWER, count(&reader)).await.ok()?.ok()?;
        assert_eq!(read, 2);
        Some(())
    })
    .await;
}
