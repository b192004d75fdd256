//! What clients at different members see while members are killed, paused and cut off, checked for linearizability: whatever order of
//! moments explains all answers, there is one.

use std::sync::Arc;

use quorate_client::{Client, Options};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{Cluster, one_at_a_time};
use crate::node::PATIENCE;
use crate::rounds::{Dice, Records, round};

const CLIENTS: u64 = 6;
/// Rounds of one client; a round is one or two operations.
const ROUNDS: usize = 60;
/// Rounds of all clients that a fault lasts.
const FAULT_ROUNDS: usize = 20;

async fn client(
    options: Options,
    seed: u64,
    records: Arc<Records>,
    progress: watch::Sender<usize>,
) -> Result<(), String> {
    let client = Client::connect(options).await.map_err(|error| error.to_string())?;
    let mut dice = Dice::new(seed);
    for _ in 0..ROUNDS {
        round(&client, &records, &mut dice).await.map_err(|error| error.to_string())?;
        progress.send_modify(|rounds| *rounds += 1);
    }
    client.close().await.map_err(|error| error.to_string())
}

/// Waits until the clients together have made so many rounds.
async fn rounds(progress: &mut watch::Receiver<usize>, wanted: usize) {
    let reached = timeout(PATIENCE, progress.wait_for(|done| *done >= wanted)).await;
    reached.expect("the clients go on").expect("a client goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_at_all_members_see_is_linearizable_through_kills_pauses_and_partitions() {
    let _alone = one_at_a_time().await;
    let mut cluster = Cluster::start(3).await;
    cluster.deploy(&["barrier", "counter", "election", "lock", "queue"]);
    let records = Arc::new(Records::new());
    let (sender, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let mut order = [1, 2, 3];
            order.rotate_left(usize::try_from(seed % 3).expect("small"));
            let options = cluster.options(&order);
            tokio::spawn(client(options, seed, Arc::clone(&records), sender.clone()))
        })
        .collect();
    drop(sender);
    let all = usize::try_from(CLIENTS).expect("few") * ROUNDS;
    for fault in 0..5 {
        let begins = (fault + 1) * all / 7;
        rounds(&mut progress, begins).await;
        let leader = cluster.leader().await;
        let follower = cluster.others(leader)[0];
        let now = *progress.borrow();
        let ends = (now + FAULT_ROUNDS).min(all);
        match fault {
            0 | 3 => {
                let member = if fault == 0 { leader } else { follower };
                cluster.node_mut(member).kill();
                rounds(&mut progress, ends).await;
                cluster.restart(member).await;
            }
            1 => {
                cluster.node_mut(leader).pause();
                rounds(&mut progress, ends).await;
                cluster.node_mut(leader).resume();
            }
            _ => {
                let member = if fault == 2 { leader } else { follower };
                cluster.cut_off(member);
                rounds(&mut progress, ends).await;
                cluster.heal(member);
            }
        }
    }
    for client in clients {
        client.await.expect("no panic").expect("its session outlives the faults");
    }
    records.assert_linearizable();
    cluster.settled().await;
}
