//! Links in memory whose frames arrive one by one, when the schedule says so, and whose ends break apart from each other: a
//! member that has given a link up may still be heard by the leader for a while. They do not know what the frames mean.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::leader::SequencerHandle;
use crate::link::{BoxFuture, Dial, FrameReceiver, FrameSender, LinkBroken, LinkEnds};
use crate::links;
use crate::quorum::Rounds;

/// One direction of a link.
#[derive(Default)]
struct Pipe {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    on_the_way: VecDeque<Bytes>,
    arrived: VecDeque<Bytes>,
    is_deaf: bool,
    is_mute: bool,
    /// The sender is gone: what it has sent still arrives.
    has_ended: bool,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next frame arrives, if there is one.
    fn deliver(&self) -> bool {
        let mut state = self.lock();
        let Some(frame) = state.on_the_way.pop_front() else { return false };
        if !state.is_deaf {
            state.arrived.push_back(frame);
        }
        drop(state);
        self.changed.notify_one();
        true
    }
}

struct Sender(Arc<Pipe>);

impl FrameSender for Sender {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), LinkBroken>> {
        let mut state = self.0.lock();
        let sent = if state.is_mute {
            Err(broken())
        } else {
            state.on_the_way.push_back(frame);
            Ok(())
        };
        Box::pin(std::future::ready(sent))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.changed.notify_one();
    }
}

struct Receiver(Arc<Pipe>);

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.lock().is_mute = true;
    }
}

impl FrameReceiver for Receiver {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, LinkBroken>> {
        Box::pin(async {
            loop {
                {
                    let mut state = self.0.lock();
                    if let Some(frame) = state.arrived.pop_front() {
                        return Ok(Some(frame));
                    }
                    if state.is_deaf {
                        return Err(broken());
                    }
                    if state.has_ended && state.on_the_way.is_empty() {
                        return Ok(None);
                    }
                }
                self.0.changed.notified().await;
            }
        })
    }
}

fn broken() -> LinkBroken {
    LinkBroken("broken by the test".to_owned())
}

/// A link from a member to a leader, seen from outside.
struct OneLink {
    to_leader: Arc<Pipe>,
    to_member: Arc<Pipe>,
}

/// All links of a cluster.
#[derive(Clone, Default)]
pub(super) struct Links {
    links: Arc<Mutex<Vec<OneLink>>>,
    /// The members' ends that leaders serve links with.
    leaders: Arc<Mutex<Vec<(SequencerHandle, Rounds)>>>,
}

impl Links {
    pub(super) fn add_member(&self, handle: SequencerHandle, rounds: Rounds) {
        self.leaders.lock().expect("one thread").push((handle, rounds));
    }

    fn with<T>(&self, take: impl FnOnce(&mut Vec<OneLink>) -> T) -> T {
        take(&mut self.links.lock().expect("one thread"))
    }

    /// How many links there have been.
    pub(super) fn count(&self) -> usize {
        self.with(|links| links.len())
    }

    /// One frame of this link arrives at the leader, or at the member. Whether there was one.
    pub(super) fn deliver(&self, link: usize, is_to_leader: bool) -> bool {
        self.with(|links| {
            let link = &links[link];
            if is_to_leader { link.to_leader.deliver() } else { link.to_member.deliver() }
        })
    }

    /// The link breaks for one end of it, which neither hears nor says anything any more.
    pub(super) fn break_end(&self, link: usize, is_leaders: bool) {
        self.with(|links| {
            let OneLink { to_leader, to_member } = &links[link];
            let (hears, says) =
                if is_leaders { (to_leader, to_member) } else { (to_member, to_leader) };
            hears.lock().is_deaf = true;
            says.lock().is_mute = true;
            hears.changed.notify_one();
        });
    }
}

/// Opens links of one member.
pub(super) struct Dialler {
    pub(super) member: u64,
    pub(super) links: Links,
}

impl Dial for Dialler {
    fn link(&self, leader: u64) -> BoxFuture<'_, Result<LinkEnds, LinkBroken>> {
        let (to_leader, to_member): (Arc<Pipe>, Arc<Pipe>) = Default::default();
        let at = usize::try_from(leader).expect("few members");
        let (handle, rounds) = self.links.leaders.lock().expect("one thread")[at].clone();
        let ends = |sender: &Arc<Pipe>, receiver: &Arc<Pipe>| LinkEnds {
            sender: Box::new(Sender(sender.clone())),
            receiver: Box::new(Receiver(receiver.clone())),
        };
        let leaders = ends(&to_member, &to_leader);
        let members = ends(&to_leader, &to_member);
        tokio::spawn(links::serve(handle, rounds, self.member, leaders));
        self.links.with(|links| links.push(OneLink { to_leader, to_member }));
        Box::pin(std::future::ready(Ok(members)))
    }

    fn pause(&self, _pause: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::task::yield_now())
    }
}
