//! Leaving a member that has fallen silent, without losing anything if it was only a moment's silence: others are connected to
//! beside the connection that stands, and the first of them that answers is asked for the session if the member is silent still.
//! It knows neither requests nor what the session is.

use std::future::Future;
use std::pin::Pin;

use quorate_net::Connection;

use crate::clock;
use crate::dial::Link;
use crate::limits::{RECONNECT_MS_FIRST, RECONNECT_MS_MAX};
use crate::race::{Race, Raced};
use crate::session::{Backoff, Heard, Silence};

type Asking = Pin<Box<dyn Future<Output = Result<Link, String>> + Send>>;

enum Way {
    /// With the member that there is.
    Stay,
    /// Others are connected to.
    Connecting(Race),
    /// This one is asked for the session.
    Asking(String, Asking),
}

/// What came of a step on the way.
pub(crate) enum Step {
    /// One more address, or none has answered.
    Raced(Option<Raced>),
    /// The answer of the member at this address.
    Asked(String, Box<Result<Link, String>>),
}

/// The watch over a client's member, and the way to another one.
pub(crate) struct Moving {
    silence: Silence,
    way: Way,
    backoff: Backoff,
    not_before_ms: u64,
}

impl Moving {
    pub(crate) fn new(seed: u64) -> Self {
        let backoff = Backoff::new(RECONNECT_MS_FIRST, RECONNECT_MS_MAX, seed);
        Self { silence: Silence::new(seed), way: Way::Stay, backoff, not_before_ms: 0 }
    }

    /// Something was sent to the member; what had been heard before.
    pub(crate) fn sent(&mut self, before: Option<Heard>, now_ms: u64) {
        if let Some(before) = before {
            self.silence.sent(before, now_ms);
        }
    }

    /// What was heard on this connection before something is sent on it; none if an answer is waited for already.
    pub(crate) fn heard_before(&self, connection: &Connection) -> Option<Heard> {
        (!self.silence.is_waiting()).then(|| heard(connection))
    }

    /// The member has said something, or there is another: whatever was begun is given up.
    pub(crate) fn stay(&mut self) {
        self.silence.spoke();
        if !matches!(self.way, Way::Stay) {
            tracing::debug!("the member is no longer silent");
            self.way = Way::Stay;
        }
        self.backoff.reset();
    }

    /// When to look at the member.
    pub(crate) fn look_ms(&self) -> Option<u64> {
        self.silence.look_ms()
    }

    /// Whether another member is asked for the session: nothing may be sent to the one that there is.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.way, Way::Asking(..))
    }

    /// Looks at the member, and says since how many milliseconds it has been silent, if others should be connected to now.
    pub(crate) fn look(&mut self, connection: &Connection, now_ms: u64) -> Option<u64> {
        if self.silence.look_ms().is_none_or(|at| now_ms < at) {
            return None;
        }
        let silent_ms = self.silence.look(heard(connection), now_ms);
        if !self.silence.is_waiting() {
            self.stay();
        }
        let is_free = matches!(self.way, Way::Stay) && now_ms >= self.not_before_ms;
        silent_ms.filter(|_| is_free)
    }

    /// Whether the member is silent still.
    pub(crate) fn is_silent(&self, connection: &Connection) -> bool {
        self.silence.is_silent(heard(connection))
    }

    /// Others are connected to.
    pub(crate) fn connect(&mut self, race: Race) {
        self.way = Way::Connecting(race);
    }

    /// One of them is asked for the session.
    pub(crate) fn ask(
        &mut self,
        address: String,
        asking: impl Future<Output = Result<Link, String>> + Send + 'static,
    ) {
        self.way = Way::Asking(address, Box::pin(asking));
    }

    /// None of them has it. They are tried again after a while, if the member is silent still.
    pub(crate) fn give_up(&mut self, now_ms: u64) {
        self.way = Way::Stay;
        self.not_before_ms = now_ms + self.backoff.next_ms();
    }

    /// What comes of the next step; pending while there is nothing to be done. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Step {
        match &mut self.way {
            Way::Stay => std::future::pending().await,
            Way::Connecting(race) => Step::Raced(race.next().await),
            Way::Asking(address, asking) => {
                let asked = asking.await;
                Step::Asked(std::mem::take(address), Box::new(asked))
            }
        }
    }
}

fn heard(connection: &Connection) -> Heard {
    Heard {
        acknowledgements: connection.acknowledgements_count(),
        rtt_ms: clock::milliseconds(connection.rtt()),
    }
}
