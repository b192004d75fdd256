//! Elections at the worst moment: votes that a crash follows, leaderships that come back before anybody has noticed that they
//! were lost. It does not know what they must not break.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};

use super::Faults;
use crate::member::Member;
use crate::process::{Process, spawn_in_world, world_sleep};

impl Faults {
    /// Two members that do not hear of each other stand for election in the same term, one soon after the other; who votes
    /// for the first crashes right behind that, and is back before the second one asks.
    pub(super) fn crash_on_vote(self: &Rc<Self>) {
        self.world.stir();
        let members = self.members();
        let (Some(one), Some(other)) =
            (self.random.pick(&members).cloned(), self.random.pick(&members).cloned())
        else {
            return;
        };
        if one.number == other.number {
            return;
        }
        self.block(&[one.number], &[other.number], 2);
        stand(&one);
        for member in members.iter().filter(|member| member.number != one.number) {
            if let Some(running) = member.running() {
                self.arm(member.clone(), running.process.clone());
            }
        }
        let world = self.world.clone();
        self.later(self.random.within(5, 100), move || {
            world.stir();
            stand(&other);
        });
    }

    /// Lets a member crash soon after its next vote.
    fn arm(self: &Rc<Self>, member: Rc<Member>, process: Rc<Process>) {
        let faults = self.clone();
        let soon_us = self.random.below(5_000);
        let patience = world_sleep(Duration::from_secs(1));
        spawn_in_world(async move {
            let voted = pin!(member.disk.voted.after(member.disk.voted.count()));
            if let Either::Right(_) = select(voted, pin!(patience)).await {
                return;
            }
            world_sleep(Duration::from_micros(soon_us)).await;
            if process.is_alive() && !faults.is_healed.get() {
                faults.crash(Some(member.clone()), 20);
            }
        });
    }

    pub(super) fn bounce(self: &Rc<Self>) {
        let Some(leader) = self.leader() else { return };
        let Some(old) = self.world.member(leader.member) else { return };
        let others: Vec<Rc<Member>> =
            self.members().into_iter().filter(|member| member.number != leader.member).collect();
        let Some(new) = self.random.pick(&others).cloned() else { return };
        for other in &others {
            self.world.net.block(leader.member, other.number);
            self.world.net.block(other.number, leader.member);
        }
        let (random, world) = (&self.random, &self.world);
        world.trace(|| format!("member {} bounces, {} leads between", leader.member, new.number));
        world.count(|counts| counts.bounces += 1);
        world.stir();
        let stalls = random.below(120);
        let elected = stalls + random.below(150);
        let healed = elected + random.within(5, 250);
        let again = healed + random.within(5, 250);
        let goes_on = again + random.within(5, 250);
        self.later(stalls, move || leader.leader.stalls_ms.set(goes_on - stalls));
        self.later(elected, move || stand(&new));
        let net = world.net.clone();
        self.later(healed, move || net.unblock_all());
        let world = self.world.clone();
        self.later(again, move || {
            world.stir();
            stand(&old);
        });
    }
}

/// A member stands for election, told to by an operator, without asking whether it would win.
fn stand(member: &Member) {
    let Some(running) = member.running() else { return };
    let Some(raft) = running.raft() else { return };
    drop(running.process.spawn(async move {
        // An openraft that has stopped stands for nothing.
        let _asked = raft.trigger().elect(false).await;
    }));
}
