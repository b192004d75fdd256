//! The link: one lane from a member to the leader's sequencer, over which writes, openings and heartbeats go up, and epochs
//! and direct answers come down. A member that leads is linked to itself. Knows no lanes of clients.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use openraft::AsyncRuntime;
use openraft::async_runtime::WatchReceiver;
use quorate_core::error::Refusal;
use quorate_core::ids::{Epoch, SessionId, Term, WriteNumber, Zxid};
use quorate_sequencer::port::DirectAnswer;
use quorate_sequencer::{Input, Token};

use super::Running;
use crate::raft::network::RaftNode;
use crate::runtime::MemberRuntime;
use crate::wire::Wire;

/// The epoch that something is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The leader's term.
    pub term: Term,
    /// Its sequencer's epoch.
    pub epoch: Epoch,
}

/// What the leader says on a link.
#[derive(Debug, Clone)]
pub enum FromLeader {
    /// An epoch is open: whatever is unanswered is to be submitted again.
    Opened(Tag),
    /// It is open no more.
    Closed(Tag),
    /// A direct answer to a write, based on what was applied up to this transaction.
    Answer {
        /// Who asked.
        token: Token,
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// The answer.
        answer: DirectAnswer,
        /// Where the leader stood.
        zxid: Zxid,
    },
    /// A session is open.
    SessionOpened {
        /// Who asked.
        token: Token,
        /// The session, or why there is none.
        session: Result<SessionId, Refusal>,
        /// Where the leader stood.
        zxid: Zxid,
    },
    /// A heartbeat is confirmed by the leader.
    Confirmed {
        /// Which.
        token: Token,
        /// The session.
        session: SessionId,
        /// Whether it lives.
        is_live: bool,
    },
}

/// The leader's end of a link.
#[derive(Clone)]
pub struct Down {
    /// The member that is linked.
    running: Rc<Running>,
    /// None for the leader's own gateway.
    wire: Option<Rc<Wire>>,
}

impl Down {
    /// Says something, in order.
    pub fn send(&self, message: FromLeader) {
        let running = self.running.clone();
        match &self.wire {
            None => running.gateway.hear(&running, None, message),
            Some(wire) => {
                let from = wire.clone();
                wire.send(1, move || running.gateway.hear(&running, Some(&from), message.clone()));
            }
        }
    }

    /// Whether nothing said here is heard any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.wire.as_ref().is_some_and(|wire| wire.is_closed(1))
    }
}

/// The other end: to a member that is thought to lead.
#[derive(Clone)]
pub struct Up {
    leader: u64,
    wire: Option<Rc<Wire>>,
}

impl Up {
    /// Whether this is where a message came from.
    #[must_use]
    pub fn is(&self, wire: Option<&Rc<Wire>>) -> bool {
        match (&self.wire, wire) {
            (None, None) => true,
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Sends something up, for one epoch.
    pub fn send(&self, running: &Rc<Running>, tag: Tag, input: Input) {
        let down = Down { running: running.clone(), wire: self.wire.clone() };
        match &self.wire {
            None => running.leader.receive(tag, down, input),
            Some(wire) => {
                let (world, leader) = (running.world.clone(), self.leader);
                wire.send(0, move || {
                    if let Some(there) = world.member(leader).and_then(|there| there.running()) {
                        there.leader.receive(tag, down.clone(), input.clone());
                    }
                });
            }
        }
    }

    /// Asks the leader for a read index, once a quorum has confirmed it.
    pub async fn read_index(&self, running: &Rc<Running>) -> Option<u64> {
        let index = |(_, index)| index;
        let Some(wire) = &self.wire else { return running.read_index().await.map(index) };
        let (world, leader) = (running.world.clone(), self.leader);
        let asked = wire.ask(0, move || {
            let world = world.clone();
            Box::pin(async move {
                let there = world.member(leader).and_then(|there| there.running())?;
                there.read_index().await.map(index)
            })
        });
        asked.await.flatten()
    }
}

/// How often it is looked who leads.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Running {
    /// Keeps the link to whoever leads.
    pub async fn stay_linked(self: Rc<Self>, raft: RaftNode) {
        let mut server = raft.server_metrics();
        loop {
            let leader = server.borrow_watched().current_leader;
            let is_linked = self.gateway.up().is_some_and(|up| {
                Some(up.leader) == leader && up.wire.is_none_or(|wire| !wire.is_closed(0))
            });
            if !is_linked {
                self.gateway.unlink(&self);
                if let Some(leader) = leader {
                    self.link_to(leader).await;
                }
            }
            let up = self.gateway.up();
            let broken = async {
                match up.and_then(|up| up.wire) {
                    Some(wire) => wire.closed(0).await,
                    None => std::future::pending().await,
                }
            };
            let changed = async {
                let slept = pin!(MemberRuntime::sleep(LOOK_EVERY));
                if let Either::Left((Err(_), _)) = select(pin!(server.changed()), slept).await {
                    // openraft has stopped: nobody leads here any more.
                    std::future::pending::<()>().await;
                }
            };
            select(pin!(broken), pin!(changed)).await;
        }
    }

    async fn link_to(self: &Rc<Self>, leader: u64) {
        if leader == self.member {
            self.gateway.link(Up { leader, wire: None });
            self.leader.link(Down { running: self.clone(), wire: None });
            return;
        }
        let dialled = self.world.net.dial(self.member, leader, |_wire| ());
        if let Some(wire) = dialled.await {
            self.gateway.link(Up { leader, wire: Some(wire.clone()) });
            // The first frame: the leader answers with the epoch that is open.
            let (world, running, there) = (self.world.clone(), self.clone(), wire.clone());
            wire.send(0, move || {
                if let Some(leader) = world.member(leader).and_then(|one| one.running()) {
                    leader
                        .leader
                        .link(Down { running: running.clone(), wire: Some(there.clone()) });
                }
            });
        }
    }
}
