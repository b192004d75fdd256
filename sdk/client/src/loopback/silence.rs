//! A member that vanishes without a word, and one that only stalls, behind relays that swallow what is sent.

use quorate_relay::{Faults, Relay};

use super::*;

/// So long that only the silence itself moves a client in time.
const LONG: Duration = Duration::from_secs(120);

/// Two ways to one service, each behind a relay, and a client that is attached to the first.
async fn two_members() -> (Member, Member, [Relay; 2], Client) {
    let one = Member::start();
    let two = one.beside();
    let relays = [
        Relay::start(one.address, 1).await.expect("a relay"),
        Relay::start(two.address, 2).await.expect("a relay"),
    ];
    let mut options = options(&one);
    options.addresses = relays.iter().map(|relay| relay.address().to_string()).collect();
    options.session_timeout = Some(LONG);
    let client = Client::connect(options).await.expect("a session");
    assert_eq!(one.attached_count(), 1);
    (one, two, relays, client)
}

#[tokio::test]
async fn a_client_whose_member_vanishes_is_served_elsewhere_with_the_same_session() {
    let (one, _two, relays, client) = two_members().await;
    client.create("/a").ephemeral().await.expect("created");
    relays[0].set_both(Faults::CUT);
    soon(client.set("/a", "elsewhere", None)).await.expect("its session lives");
    assert_eq!(one.attached_count(), 2, "one move");
    // And back, when that one vanishes too.
    relays[0].set_both(Faults::default());
    relays[1].set_both(Faults::CUT);
    soon(client.set("/a", "back", None)).await.expect("its session lives");
}

#[tokio::test]
async fn a_call_that_waits_is_taken_along_from_a_member_that_vanishes() {
    let (one, _two, relays, client) = two_members().await;
    let other = connect(&one).await;
    let held = soon(other.lock("/l", LockOptions::default())).await.expect("granted");
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.lock("/l", LockOptions::default()).await })
    };
    until(|| one.parked_count() == 1).await;
    let attached = one.attached_count();
    relays[0].set_both(Faults::CUT);
    // Nothing new is asked: its own heartbeats find out.
    until(|| one.attached_count() > attached).await;
    soon(held.release()).await.expect("given back");
    soon(waiting).await.expect("no panic").expect("granted");
}

#[tokio::test]
async fn a_client_that_reaches_nobody_stays_where_it_is() {
    let (one, _two, relays, client) = two_members().await;
    client.create("/a").await.expect("created");
    for relay in &relays {
        relay.set_both(Faults::CUT);
    }
    let set = {
        let client = client.clone();
        tokio::spawn(async move { client.set("/a", "after", None).await })
    };
    // It knocks at the other one.
    until(|| relays[1].seen_count(quorate_relay::Direction::ToTarget) > 0).await;
    relays[0].set_both(Faults::default());
    soon(set).await.expect("no panic").expect("its session lives");
    assert_eq!(one.attached_count(), 1, "its connection stood all the time");
}
