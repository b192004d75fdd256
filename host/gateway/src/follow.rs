//! Keeps this member's link to whoever leads, and lets the registry know which epoch is open there. What the leader says is
//! handled in order, each word once this member has applied what the leader had (DESIGN D2, D11). It does not know how
//! links are opened, nor who asked what.

use std::sync::Arc;
use std::time::Duration;

use quorate_wire::link::{Tag, ToMember};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::limits;
use crate::link::{Dial, FrameReceiver, FrameSender, Link, LinkBroken, LinkEnds};
use crate::registry::{Registry, Way};

/// Keeps one link at a time to the leader; see [`Follower::run`].
pub struct Follower {
    /// This member.
    pub member: u64,
    /// Its lanes.
    pub registry: Arc<Registry>,
    /// Opens links.
    pub dial: Arc<dyn Dial>,
    /// Who leads, as far as this member knows.
    pub leader: watch::Receiver<Option<u64>>,
}

impl Follower {
    /// Runs until it is dropped, or until nobody tells any more who leads. While this member leads itself there is no link.
    pub async fn run(self) {
        let mut replacements = self.registry.replacements();
        let mut backoff = limits::LINK_BACKOFF_MIN;
        let mut before = None;
        let mut leaders = self.leader.clone();
        loop {
            let now = *leaders.borrow_and_update();
            if now != before {
                before = now;
                backoff = limits::LINK_BACKOFF_MIN;
            }
            let Some(leader) = now.filter(|leader| *leader != self.member) else {
                if leaders.wait_for(|leader| *leader != now).await.is_err() {
                    return;
                }
                continue;
            };
            replacements.mark_unchanged();
            let ended = tokio::select! {
                ended = self.link_to(leader) => ended,
                // The registry lives as long as this, and the sender with it.
                _ = replacements.changed() => Ended { was_open: true, error: replaced() },
                changed = leaders.wait_for(|leader| *leader != now) => match changed {
                    Ok(_) => continue,
                    Err(_) => return,
                },
            };
            tracing::debug!(leader, error = %ended.error, "no link to the leader");
            if ended.was_open {
                backoff = limits::LINK_BACKOFF_MIN;
            }
            tokio::select! {
                () = self.dial.pause(jittered(backoff)) => {}
                changed = leaders.wait_for(|leader| *leader != now) => if changed.is_err() {
                    return;
                },
            }
            backoff = (backoff * 2).min(limits::LINK_BACKOFF_MAX);
        }
    }

    /// One link, from its opening to its end.
    async fn link_to(&self, leader: u64) -> Ended {
        let dialled = timeout(limits::LINK_DIAL_TIMEOUT, self.dial.link(leader)).await;
        let ends = match dialled {
            Ok(Ok(ends)) => ends,
            Ok(Err(error)) => return Ended { was_open: false, error },
            Err(_) => return Ended { was_open: false, error: LinkBroken("no answer".to_owned()) },
        };
        let LinkEnds { mut sender, mut receiver } = ends;
        let mut routed = Routed::new(&self.registry);
        let link = routed.link.clone();
        let error = tokio::select! {
            error = send(&link, sender.as_mut()) => error,
            error = receive(&mut routed, receiver.as_mut()) => error,
        };
        Ended { was_open: routed.was_open, error }
    }
}

fn replaced() -> LinkBroken {
    LinkBroken("the tree was replaced by a snapshot".to_owned())
}

/// How a link ended.
struct Ended {
    /// An epoch was open on it: it was one to a leader.
    was_open: bool,
    error: LinkBroken,
}

async fn send(link: &Link, sender: &mut dyn FrameSender) -> LinkBroken {
    while let Some(message) = link.next().await {
        if let Err(error) = sender.send(message.encode()).await {
            return error;
        }
    }
    LinkBroken("closed here".to_owned())
}

async fn receive(routed: &mut Routed<'_>, receiver: &mut dyn FrameReceiver) -> LinkBroken {
    loop {
        let frame = match receiver.receive().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return LinkBroken("closed by the leader".to_owned()),
            Err(error) => return error,
        };
        match ToMember::decode(frame) {
            Ok(message) => routed.handle(message).await,
            Err(error) => return LinkBroken(error.to_string()),
        }
    }
}

/// The route that a link is. Closed when the link ends, however that comes.
struct Routed<'a> {
    registry: &'a Registry,
    link: Arc<Link>,
    /// The epoch that the leader has said to be open.
    open: Option<Tag>,
    was_open: bool,
}

impl<'a> Routed<'a> {
    fn new(registry: &'a Registry) -> Self {
        Self { registry, link: Arc::default(), open: None, was_open: false }
    }

    async fn handle(&mut self, message: ToMember) {
        match message {
            ToMember::Open(tag) => {
                self.close();
                let way = Way::Link(self.link.clone());
                self.open = self.registry.open_route(tag, way).then_some(tag);
                self.was_open |= self.open.is_some();
            }
            ToMember::Closed(_) => self.close(),
            ToMember::Answer { zxid, token, answer } => {
                // Nothing that the leader says overtakes what it had applied when it said it.
                self.registry.reached(zxid).await;
                if let Some(tag) = self.open {
                    self.registry.handle_answer(tag, token, answer);
                }
            }
            ToMember::ReadIndex { question, index } => self.link.handle_index(question, index),
        }
    }

    fn close(&mut self) {
        if let Some(tag) = self.open.take() {
            self.registry.pause(tag);
        }
    }
}

impl Drop for Routed<'_> {
    fn drop(&mut self) {
        self.link.close();
        self.close();
    }
}

/// A random time between half of this and all of it.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without random bytes members may come back at once: no harm beyond that.
    let part = getrandom::fill(&mut random).map_or(u8::MAX, |()| random[0]);
    pause / 2 + pause * u32::from(part) / (2 * u32::from(u8::MAX))
}
