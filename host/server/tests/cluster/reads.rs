//! Linearizable reads at every member: they see what was acknowledged anywhere before they began, or are not answered.

use std::time::Duration;

use quorate_client::Consistency;
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
