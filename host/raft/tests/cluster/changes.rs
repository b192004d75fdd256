//! Tests: members come and go, and a change that would stop the cluster is refused.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quorate_raft::{ChangeRefusal, Contact, Node};

use crate::rig::DEADLINE;
use crate::world::{World, wait};

impl World {
    fn change<T>(&self, leader: u64, change: impl Future<Output = T>) -> T {
        self.members[&leader].runtime.block_on(change)
    }
}

#[test]
fn a_learner_catches_up_and_votes_and_the_leader_is_removed() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.start(4);
    let node = world.members[&leader].node.clone();
    world.change(leader, node.add_learner(4, world.contact(4))).expect("added");
    world.agree_on("/a");
    wait(|| world.change(leader, node.promote(4)).is_ok().then_some(()));
    world.change(leader, node.remove(leader)).expect("removed");
    wait(|| {
        let led = world
            .members
            .iter()
            .find(|(member, life)| **member != leader && life.node.leadership().borrow().is_some());
        led.map(|_| ())
    });
    world.kill(leader);
    let next = world.leader();
    let members = world.members[&next].node.members();
    assert_eq!(members.voters.len(), 3);
    assert!(!members.contacts.contains_key(&leader));
    world.write(next, &["/b"]);
    world.agree_on("/b");
}

#[test]
fn the_leadership_goes_where_it_is_sent() {
    let world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let to = world.others(leader)[0];
    let node = &world.members[&leader].node;
    world.change(leader, node.transfer_leader(to, Duration::from_secs(5))).expect("handed over");
    wait(|| (world.leader() == to).then_some(()));
    world.write(to, &["/b"]);
    world.agree_on("/b");
}

/// Waits until the leader counts a member as dead, which takes seconds.
fn leader_notices_death(world: &World, leader: u64, dead: u64) {
    let node = world.members[&leader].node.clone();
    wait(|| {
        let is_noticed = world.change(leader, async {
            node.progress().is_some_and(|all| {
                let found = all.get(&dead).and_then(|found| found.acknowledged_ms);
                found.is_none_or(|ago| ago > 3_000)
            })
        });
        is_noticed.then_some(())
    });
}

#[test]
fn the_leadership_is_not_handed_to_the_dead() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let to = world.others(leader)[0];
    world.kill(to);
    leader_notices_death(&world, leader, to);
    let node = world.members[&leader].node.clone();
    let refused = world.change(leader, node.transfer_leader(to, Duration::from_secs(5)));
    assert!(matches!(refused, Err(ChangeRefusal::Refused(_))), "{refused:?}");
    assert_eq!(world.leader(), leader, "the leader has gone on");
}

#[test]
fn a_change_that_would_lose_the_quorum_is_refused() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    let followers = world.others(leader);
    world.kill(followers[0]);
    let node = world.members[&leader].node.clone();
    // Of the two that would stay, one is dead.
    leader_notices_death(&world, leader, followers[0]);
    let refused = world.change(leader, node.remove(followers[1]));
    assert!(matches!(refused, Err(ChangeRefusal::Refused(_))), "{refused:?}");
    // The dead one may go: both that stay are alive.
    world.change(leader, node.remove(followers[0])).expect("removed");
    world.write(leader, &["/b"]);
}

#[test]
fn who_is_not_there_can_not_be_promoted_or_removed() {
    let world = World::of(1);
    let node = &world.members[&1].node;
    for refused in [
        world.change(1, node.promote(7)),
        world.change(1, node.remove(7)),
        world.change(1, node.remove(1)),
        world.change(1, node.promote(1)),
        world.change(1, node.add_learner(1, world.contact(1))),
        world.change(1, node.transfer_leader(7, Duration::from_secs(1))),
    ] {
        assert!(matches!(refused, Err(ChangeRefusal::Refused(_))), "{refused:?}");
    }
}

#[test]
fn a_change_that_needs_a_voter_which_has_just_died_is_refused() {
    let mut world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let followers = world.others(leader);
    world.kill(followers[0]);
    // The leader does not count it as dead yet.
    let node = world.members[&leader].node.clone();
    let refused = world
        .change(leader, async { tokio::time::timeout(DEADLINE, node.remove(followers[1])).await });
    let refused = refused.expect("a change that was begun, and can not end");
    assert!(matches!(refused, Err(ChangeRefusal::Refused(_))), "{refused:?}");
    world.write(leader, &["/b"]);
}

#[test]
fn a_change_that_nobody_goes_on_with_is_ended_and_two_at_once_are_refused() {
    let world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let others = world.others(leader);
    let node = world.members[&leader].node.clone();
    world.change(leader, async {
        leave_unfinished(&node, others[0], async {
            assert!(node.unfinished().is_some(), "nobody is told");
            let second = node.remove(others[1]).await;
            assert!(matches!(second, Err(ChangeRefusal::Refused(_))), "{second:?}");
        })
        .await;
    });
    wait(|| {
        let members = node.members();
        (!members.is_changing && members.voters.len() == 2 && members.contacts.len() == 2)
            .then_some(())
    });
    assert_eq!(node.unfinished(), None);
    world.write(leader, &["/b"]);
}

#[test]
fn a_removal_that_was_left_unfinished_is_ended_by_whatever_change_comes_next() {
    let world = World::of(3);
    let leader = world.leader();
    world.write(leader, &["/a"]);
    world.agree_on("/a");
    let others = world.others(leader);
    let node = world.members[&leader].node.clone();
    let moved = Contact { clients: vec!["there:1".to_owned()], ..world.contact(others[1]) };
    world.change(leader, async {
        leave_unfinished(&node, others[0], std::future::ready(())).await;
        let until = Instant::now() + DEADLINE;
        // Refused while the first step of the removal is not committed.
        while let Err(why) = node.update_contact(others[1], moved.clone()).await {
            assert!(Instant::now() < until, "{why}");
        }
    });
    let members = node.members();
    assert!(!members.is_changing);
    assert_eq!(members.voters, BTreeSet::from([leader, others[1]]));
    assert!(!members.contacts.contains_key(&others[0]), "it was to be removed: {members:?}");
    assert_eq!(members.contacts[&others[1]].clients, moved.clients);
}

/// Begins the removal of a voter; who has asked for it goes away when it has begun and `meanwhile` is done.
async fn leave_unfinished(node: &Node, voter: u64, meanwhile: impl Future<Output = ()>) {
    let mut removal = std::pin::pin!(node.remove(voter));
    let begun = async {
        while !node.members().is_changing {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        ended = &mut removal => panic!("it was to be left unfinished: {ended:?}"),
    }
    // It is not gone on with, and not given up yet.
    meanwhile.await;
}
