//! What an operator does to a cluster in a run: hands the leadership over, adds members and removes them, flushes trees. It
//! does not know what else goes wrong meanwhile.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;

use super::{Faults, MEMBERS_MAX, VOTERS_MIN};
use crate::member::Member;
use crate::process::{spawn_in_world, world_sleep};
use crate::recipes;
use crate::world::World;

impl Faults {
    pub(super) fn transfer(self: &Rc<Self>) {
        let Some(leader) = self.leader() else { return };
        let Some(raft) = leader.raft() else { return };
        let others: Vec<u64> = raft.voter_ids().filter(|number| *number != leader.member).collect();
        let Some(to) = self.random.pick(&others).copied() else { return };
        self.world.trace(|| format!("member {} hands over to {to}", leader.member));
        self.world.count(|counts| counts.transfers += 1);
        self.world.stir();
        drop(leader.process.spawn(async move {
            // An openraft that has stopped can hand nothing over.
            let _asked = raft.trigger().transfer_leader(to).await;
        }));
    }

    pub(super) fn grow(self: &Rc<Self>) {
        let members = self.members();
        let Some(leader) = self.leader() else { return };
        let Some(raft) = leader.raft() else { return };
        if members.len() >= MEMBERS_MAX {
            return;
        }
        let number = self.world.next_member();
        let member = Member::new(&self.world, number, recipes::beginning(), self.config);
        self.world.members.borrow_mut().insert(number, member.clone());
        member.start(&self.world);
        let is_voter = self.random.one_in(2);
        self.world.trace(|| format!("member {number} comes; a voter: {is_voter}"));
        self.world.stir();
        let world = self.world.clone();
        drop(leader.process.spawn(async move {
            let node = BasicNode { addr: number.to_string() };
            let _stirs = Stirs(world.clone());
            if raft.add_learner(number, node, false).await.is_err() {
                return;
            }
            world.count(|counts| counts.memberships += 1);
            if is_voter {
                let voters = ChangeMembers::AddVoterIds(BTreeSet::from([number]));
                let changed = raft.change_membership(voters, true).await;
                world.count(|counts| counts.memberships += u64::from(changed.is_ok()));
            }
        }));
    }

    pub(super) fn shrink(self: &Rc<Self>) {
        let Some(leader) = self.leader() else { return };
        let Some(raft) = leader.raft() else { return };
        let voters: Vec<u64> = raft.voter_ids().collect();
        if voters.len() <= VOTERS_MIN {
            return;
        }
        let Some(number) = self.random.pick(&voters).copied() else { return };
        self.world.trace(|| format!("member {number} goes"));
        self.world.stir();
        let world = self.world.clone();
        drop(leader.process.spawn(async move {
            let _stirs = Stirs(world.clone());
            let voters = ChangeMembers::RemoveVoters(BTreeSet::from([number]));
            if raft.change_membership(voters, false).await.is_err() {
                return;
            }
            world.count(|counts| counts.memberships += 1);
            spawn_in_world(async move {
                world_sleep(Duration::from_millis(200)).await;
                let gone = world.members.borrow_mut().remove(&number);
                if let Some(gone) = gone {
                    world.trace(|| format!("member {number} is gone"));
                    gone.crash(&world);
                }
            });
        }));
    }

    pub(super) fn flush(self: &Rc<Self>) {
        let running = self.any_member().and_then(|member| member.running());
        let Some(raft) = running.as_ref().and_then(|running| running.raft()) else { return };
        let Some(running) = running else { return };
        drop(running.process.spawn(async move {
            if raft.trigger().snapshot().await.is_ok() {
                let flushed = raft.data_metrics().borrow_watched().snapshot;
                if let Some(flushed) = flushed {
                    // An openraft that has stopped purges nothing.
                    let _asked = raft.trigger().purge_log(flushed.index).await;
                }
            }
        }));
    }
}

/// While members change, and at the end of that.
struct Stirs(Rc<World>);

impl Drop for Stirs {
    fn drop(&mut self) {
        self.0.stir();
    }
}
