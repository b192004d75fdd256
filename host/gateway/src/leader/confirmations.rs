//! Heartbeats that the leader has heard and may not confirm yet: a quorum must acknowledge its leadership after it heard
//! them (DESIGN D11), or a leader that was replaced long ago could keep the client of an expired session in its belief. It
//! does not know how a quorum is asked.

use quorate_core::ids::SessionId;
use quorate_sequencer::Token;
use quorate_wire::link::Tag;

/// A heartbeat that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) token: Token,
    pub(super) session: SessionId,
    pub(super) is_live: bool,
}

/// Those of one epoch. One round at a time: what is heard meanwhile waits for the next.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    heard: Vec<Heard>,
    under_way: Option<Round>,
    last_round: u64,
}

#[derive(Debug)]
struct Round {
    number: u64,
    tag: Tag,
    heard: Vec<Heard>,
}

impl Confirmations {
    /// The leader has heard of a session.
    pub(super) fn add(&mut self, heard: Heard) {
        self.heard.push(heard);
    }

    /// The epoch has ended: nothing that was heard in it is confirmed any more.
    pub(super) fn clear(&mut self) {
        self.heard.clear();
        self.under_way = None;
    }

    /// The number of a round that is to be begun now, under the epoch that is open.
    pub(super) fn poll_round(&mut self, tag: Tag) -> Option<u64> {
        if self.heard.is_empty() || self.under_way.is_some() {
            return None;
        }
        self.last_round += 1;
        let heard = std::mem::take(&mut self.heard);
        self.under_way = Some(Round { number: self.last_round, tag, heard });
        Some(self.last_round)
    }

    /// A round is over: what it was for, if the epoch in which that was heard is still open.
    pub(super) fn handle_round(&mut self, number: u64, open: Option<Tag>) -> Vec<Heard> {
        match self.under_way.take_if(|round| round.number == number) {
            Some(round) if Some(round.tag) == open => round.heard,
            _ => Vec::new(),
        }
    }
}
