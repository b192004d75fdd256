//! Lanes that share a budget: what each has to itself, who waits for what, and who is told.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use bytes::Bytes;
use quorate_net::lane::LaneLimits;
use quorate_net::limits::{BUDGET_SHARE_DIVISOR, STREAM_WINDOW_BYTES};
use quorate_net::{Connection, LaneError, LaneReceiver, LaneSender, QueueBudget, TrySendError};

use crate::rig::{Rig, until, within};

const FRAME: usize = 8 * 1024;
const OWN: usize = 64 * 1024;
const BUDGET: usize = 8 * 1024 * 1024;
/// What one lane alone may hold of it.
const SHARE: usize = BUDGET / (1 + BUDGET_SHARE_DIVISOR);

/// Two lanes that share a budget of `BUDGET`, and of which nobody reads.
struct Lanes {
    budget: QueueBudget,
    lanes: Vec<Lane>,
    _rig: Rig,
}

struct Lane {
    to_client: LaneSender,
    from_server: LaneReceiver,
    _others: (Connection, Connection, LaneSender, LaneReceiver),
}

impl Lanes {
    async fn new() -> Self {
        let limits = LaneLimits {
            queue_bytes_max: 4 * 1024 * 1024,
            queue_bytes_own: u32::try_from(OWN).unwrap(),
            ..LaneLimits::default()
        };
        let budget = QueueBudget::new(BUDGET);
        let mut rig = Rig::new();
        let mut lanes = Vec::new();
        for _ in 0..2 {
            let (client, server) = rig.connect().await;
            let (to_server, from_server) = client.open_lane(limits).await.unwrap();
            to_server.send(Bytes::new()).await.unwrap();
            let (to_client, from_client) =
                within(server.accept_lane_within(limits, &budget)).await.unwrap();
            let _others = (client, server, to_server, from_client);
            lanes.push(Lane { to_client, from_server, _others });
        }
        Self { budget, lanes, _rig: rig }
    }

    /// Fills a lane until nothing goes on at the peer either; the bytes that it took beyond its stream's window.
    async fn fill(&self, lane: usize, at_least: usize) -> usize {
        let window = STREAM_WINDOW_BYTES as usize;
        let mut taken = 0;
        until("the lane takes no more", || {
            match self.lanes[lane].to_client.try_send(frame(FRAME)) {
                Ok(()) => taken += FRAME,
                Err(TrySendError::Refused(_, error)) => {
                    assert!(matches!(error, LaneError::BudgetSpent { bytes_max: BUDGET, .. }));
                    return taken >= window + at_least - 16 * FRAME;
                }
                Err(error) => panic!("{error}"),
            }
            false
        })
        .await;
        taken - window
    }

    /// Each lane takes its share of what the ones before have left, and what is its own; what the second took.
    async fn spend(&self) -> usize {
        self.fill(0, OWN + SHARE).await;
        self.fill(1, OWN + SHARE * 3 / 4).await
    }
}

fn frame(bytes: usize) -> Bytes {
    Bytes::from(vec![7; bytes])
}

fn is_pending(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn lanes_that_nobody_reads_share_a_budget_and_each_keeps_a_part_of_its_own() {
    let mut all = Lanes::new().await;
    // The other one still has what is its own, and a share that is a little smaller.
    let second = all.spend().await;
    assert!(second < OWN + SHARE + FRAME, "{second}");
    assert!(all.budget.lent_bytes() < 2 * SHARE, "the rest is for others");
    // A sender that can wait waits until the first lane lets go.
    let handle = all.lanes[1].to_client.handle();
    let mut sending = pin!(handle.send(frame(FRAME)));
    assert!(is_pending(sending.as_mut()), "there is nothing to be had");
    drop(all.lanes.remove(0));
    within(sending).await.unwrap();
    until("the rest has been given back", || all.budget.lent_bytes() <= SHARE).await;
    all.lanes.clear();
    until("all has been given back", || all.budget.lent_bytes() == 0).await;
}

#[tokio::test]
async fn a_lane_that_has_its_share_goes_on_when_it_is_read() {
    let mut all = Lanes::new().await;
    all.spend().await;
    let handle = all.lanes[1].to_client.handle();
    let mut sending = pin!(handle.send(frame(FRAME)));
    assert!(is_pending(sending.as_mut()), "there is nothing to be had");
    // Its peer reads now; the other one never does.
    let receiver = &mut all.lanes[1].from_server;
    let read_on = async { while receiver.recv().await.unwrap().is_some() {} };
    let sent = async {
        tokio::select! {
            sent = sending => sent,
            () = read_on => panic!("the lane has ended"),
        }
    };
    within(sent).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_spent_budget_is_told_that_the_lane_has_ended() {
    let mut all = Lanes::new().await;
    all.spend().await;
    let handle = all.lanes[1].to_client.handle();
    let mut sending = pin!(handle.send(frame(FRAME)));
    assert!(is_pending(sending.as_mut()), "there is nothing to be had");
    drop(all.lanes.pop());
    assert_eq!(within(sending).await, Err(LaneError::Finished));
}
