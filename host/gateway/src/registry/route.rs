//! Where this member's requests are executed: on its own thread, over a link on another member's, or nowhere at the moment.
//! Every request is handed over under the tag of a route; what that route answers counts while it is the one.
//!
//! Why no request is executed twice, or answered "not executed" and executed all the same: a request is handed over once
//! under each route. The leader handles nothing of an epoch that has ended, nor of a link that a newer one has replaced;
//! routes come in the order of their epochs here, and a link is opened only when the one before it has ended. So when a
//! request has been handed over again, nothing can come of its earlier copies but what was executed before; and an answer
//! to one of those is not listened to any more.

use std::sync::Arc;
use std::sync::RwLockReadGuard;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::request::Class;
use quorate_core::transaction::Entry;
use quorate_wire::link::{Answer, Tag, ToLeader};
use quorate_wire::message::ServerMessage;
use tokio::sync::watch;

use super::{Registry, lock, read, read_all, write};
use crate::link::Link;

/// How the leader is reached.
#[derive(Clone)]
pub enum Way {
    /// This member leads.
    Local,
    /// Another one does.
    Link(Arc<Link>),
}

/// An epoch that is open, and how it is reached.
pub(super) struct Route {
    pub(super) tag: Tag,
    way: Way,
}

/// The route, if there is one. Held for reading while something is handed over or an answer is taken, for writing while
/// the route changes.
#[derive(Default)]
pub(super) struct Gate {
    pub(super) route: Option<Route>,
    /// The highest tag that there was. What is lower comes from a leader that was replaced, and does not know it yet.
    highest: Option<Tag>,
}

impl Registry {
    /// An epoch is open: everything that is unanswered is handed over (again), each session's writes in order. Whether it
    /// was opened: not if a later one was known already.
    ///
    /// The same epoch may be opened again over another link, after the one before has ended.
    pub fn open_route(&self, tag: Tag, way: Way) -> bool {
        let mut gate = write(&self.gate);
        if gate.highest.is_some_and(|highest| tag < highest) {
            tracing::debug!(?tag, highest = ?gate.highest, "an epoch that has been replaced is not used");
            return false;
        }
        if gate.route.is_some() {
            self.give_up_heartbeats();
        }
        if let Way::Link(link) = &way {
            link.forget_requests();
        }
        gate.highest = Some(tag);
        if matches!(way, Way::Local) {
            *lock(&self.own) = Some(tag);
        }
        let route = Route { tag, way };
        self.hand_over_again(&route);
        gate.route = Some(route);
        drop(gate);
        self.route_changed.send_modify(|_| {});
        true
    }

    /// An epoch has ended, or the way to it: nothing is handed over, and heartbeats can not be confirmed now. Does nothing if
    /// the route is another one by now.
    pub fn pause(&self, tag: Tag) {
        let mut gate = write(&self.gate);
        if gate.route.as_ref().is_none_or(|route| route.tag != tag) {
            return;
        }
        gate.route = None;
        self.give_up_heartbeats();
        drop(gate);
        self.route_changed.send_modify(|_| {});
    }

    /// Whether this member has executed what this entry carries.
    #[must_use]
    pub fn has_executed(&self, entry: &Entry) -> bool {
        *lock(&self.own) == Some(Tag { term: entry.term, epoch: entry.epoch })
    }

    /// Whether requests are handed over at this moment.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        read(&self.gate).route.is_some()
    }

    /// How the leader is reached at this moment.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        read(&self.gate).route.as_ref().map(|route| route.way.clone())
    }

    /// The epoch that is open.
    #[cfg(test)]
    pub(crate) fn tag(&self) -> Option<Tag> {
        read(&self.gate).route.as_ref().map(|route| route.tag)
    }

    /// The highest epoch that was open.
    #[cfg(test)]
    pub(crate) fn highest_tag(&self) -> Option<Tag> {
        read(&self.gate).highest
    }

    /// Tells when [`Registry::way`] may give something else.
    #[must_use]
    pub fn route_changes(&self) -> watch::Receiver<()> {
        self.route_changed.subscribe()
    }

    /// What the leader says of a request under this tag. Not listened to if the route is another one by now: the request
    /// has been handed over again.
    pub fn handle_answer(&self, tag: Tag, token: u64, answer: Answer) {
        let gate = read(&self.gate);
        if gate.route.as_ref().is_none_or(|route| route.tag != tag) {
            return;
        }
        match answer {
            Answer::Kept { session, write, zxid, reply } => {
                self.answer_kept(token, session, write, zxid, reply)
            }
            Answer::Parked { session, write } => self.answer_parked(token, session, write),
            Answer::Refused { session, write, refusal } => {
                self.answer_refused(token, session, write, refusal)
            }
            Answer::Opened(session) => self.opened(token, session),
            Answer::Confirmed { session, is_live } => {
                let ended = || {
                    Refusal::new(ErrorCode::SessionEnded, format!("session {session} has ended"))
                };
                self.confirm(token, session, if is_live { Ok(()) } else { Err(ended()) });
            }
            Answer::Unconfirmed { session, refusal } => self.confirm(token, session, Err(refusal)),
        }
    }

    /// The gate, held open or shut.
    pub(super) fn gate(&self) -> RwLockReadGuard<'_, Gate> {
        read(&self.gate)
    }

    /// Hands a request of about so many bytes over. Under the lock of the gate.
    pub(super) fn hand_over(&self, route: &Route, request: ToLeader, bytes: usize) {
        match &route.way {
            Way::Local => self.sequencer.hand_over(request),
            Way::Link(link) => link.send(request, bytes),
        }
    }

    /// Whether so much has been handed over that requests of this class should be refused.
    pub(super) fn is_overloaded(&self, route: &Route, class: Class) -> bool {
        match &route.way {
            Way::Local => self.sequencer.is_overloaded(class),
            Way::Link(link) => link.is_overloaded(class),
        }
    }

    fn hand_over_again(&self, route: &Route) {
        for (token, opening) in &*lock(&self.openings) {
            self.hand_over(route, opening.request(*token, route.tag), 0);
        }
        for attachment in read_all(&self.sessions) {
            let waiting = lock(&attachment.waiting);
            for write in waiting.writes.values() {
                let request = attachment.submission(route.tag, write.request.clone());
                self.hand_over(route, request, write.bytes);
            }
        }
    }

    /// Nobody will confirm the heartbeats that wait. Under the lock of the gate.
    fn give_up_heartbeats(&self) {
        for attachment in read_all(&self.sessions) {
            let heartbeats = std::mem::take(&mut lock(&attachment.waiting).heartbeats);
            for (_, request) in heartbeats {
                let refusal = Refusal::new(ErrorCode::NoLeader, "the leader is changing");
                attachment.send(&ServerMessage::Unconfirmed { request, refusal });
            }
        }
    }
}
