//! A client's watch of the whole tree: it goes on at its position wherever the client is, and replies are kept back until the
//! events before them are there. It does not know what else the client does.

use std::collections::VecDeque;
use std::rc::Rc;

use quorate_core::ids::{SessionId, Zxid};

use super::Client;
use crate::check::event::Event;
use crate::lane::{ToClient, ToMember};
use crate::wire::Wire;

/// The watch of one session.
#[derive(Default)]
pub(super) struct Watching {
    /// Everything up to here was told; none before the watch has begun.
    position: Option<Zxid>,
    /// Events on this lane before it is known behind what the watch begins.
    early: Vec<Zxid>,
    /// The number of the last event of this lane.
    number: u64,
    /// Messages that wait for events of this lane, each with their number.
    held: VecDeque<(u64, ToClient)>,
}

impl Client {
    /// A lane serves the session: its watch goes on there.
    pub(super) fn watch(self: &Rc<Self>, wire: &Rc<Wire>) {
        let from = {
            let mut state = self.state.borrow_mut();
            let watching = &mut state.watching;
            watching.early.clear();
            watching.number = 0;
            watching.held.clear();
            watching.position
        };
        self.say(wire, ToMember::Watch { from });
    }

    /// The session is over, and its watch.
    pub(super) fn watches_nothing(&self, session: SessionId) {
        self.state.borrow_mut().watching = Watching::default();
        self.world.see(&Event::Watches { session, position: None });
    }

    /// Whether a message has to wait for events that it follows. It is kept then.
    pub(super) fn holds(&self, message: &ToClient) -> bool {
        let events = match message {
            ToClient::Reply { events, .. }
            | ToClient::Found { events, .. }
            | ToClient::Watched { events, .. }
            | ToClient::NotHere { events } => *events,
            _ => 0,
        };
        let mut state = self.state.borrow_mut();
        let is_early = events > state.watching.number;
        if is_early {
            state.watching.held.push_back((events, message.clone()));
        }
        is_early
    }

    /// An event has come: what waited for it goes on.
    pub(super) fn event(self: &Rc<Self>, wire: &Rc<Wire>, number: u64, zxid: Option<Zxid>) {
        let session = {
            let mut state = self.state.borrow_mut();
            state.watching.number = number;
            state.session.as_ref().map(|session| session.id)
        };
        match (session, zxid) {
            (Some(_), Some(zxid)) => self.told(zxid),
            (Some(session), None) => {
                self.world.count(|counts| counts.watches_broken += 1);
                self.state.borrow_mut().watching.position = None;
                self.world.see(&Event::Watches { session, position: None });
                self.say(wire, ToMember::Watch { from: None });
            }
            (None, _) => {}
        }
        loop {
            let next = {
                let mut state = self.state.borrow_mut();
                let number = state.watching.number;
                let held = &mut state.watching.held;
                let at = held.iter().position(|(events, _)| *events <= number);
                at.and_then(|at| held.remove(at))
            };
            let Some((_, message)) = next else { return };
            self.take_in(wire, message);
        }
    }

    fn told(&self, zxid: Zxid) {
        let session = {
            let mut state = self.state.borrow_mut();
            let Some(session) = state.session.as_ref().map(|session| session.id) else { return };
            if state.watching.position.is_none() {
                return state.watching.early.push(zxid);
            }
            state.watching.position = Some(zxid);
            session
        };
        self.world.count(|counts| counts.events += 1);
        self.world.see(&Event::Told { session, zxid });
    }

    /// The watch is open here, with everything up to `zxid` told.
    pub(super) fn watched(&self, zxid: Zxid) {
        let (session, is_new, early) = {
            let mut state = self.state.borrow_mut();
            let Some(session) = state.session.as_ref().map(|session| session.id) else { return };
            let is_new = state.watching.position.is_none();
            let early = std::mem::take(&mut state.watching.early);
            let position = state.watching.position.get_or_insert(zxid);
            *position = (*position).max(zxid);
            (session, is_new, early)
        };
        if is_new {
            self.world.see(&Event::Watches { session, position: Some(zxid) });
        }
        for zxid in early {
            self.told(zxid);
        }
        self.world.see(&Event::WatchOpen { session, is_open: true });
    }

    /// The member does not have what follows the position: the watch begins anew.
    pub(super) fn lacks_the_past(self: &Rc<Self>, wire: &Rc<Wire>) {
        let session = self.state.borrow().session.as_ref().map(|session| session.id);
        let Some(session) = session else { return };
        self.world.count(|counts| counts.watches_broken += 1);
        self.state.borrow_mut().watching.position = None;
        self.world.see(&Event::Watches { session, position: None });
        self.say(wire, ToMember::Watch { from: None });
    }

    /// The lane is gone.
    pub(super) fn watch_is_cut(&self) {
        let session = self.state.borrow().session.as_ref().map(|session| session.id);
        if let Some(session) = session {
            self.world.see(&Event::WatchOpen { session, is_open: false });
        }
    }
}
