//! A line of callers, the first of whom has a grant: what the lock and the election have in common.

use quorate_testkit::{CallHandle, SessionId};

use crate::history::Facts;

/// One who holds or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub session: SessionId,
    pub call: CallHandle,
    /// The name of its znode.
    pub name: String,
    pub note: String,
}

/// A line under one znode.
#[derive(Debug, Default)]
pub struct Line {
    pub places: Vec<Place>,
    pub is_held: bool,
    pub token: u64,
    /// Of all grants that there ever were here.
    token_max: u64,
    /// Places that have been taken since the znode was made.
    taken: u64,
}

impl Line {
    pub fn holder(&self) -> Option<&Place> {
        self.places.first().filter(|_| self.is_held)
    }

    pub fn waiting(&self) -> &[Place] {
        &self.places[usize::from(self.is_held).min(self.places.len())..]
    }

    pub fn stand(&mut self, call: CallHandle, note: &str) {
        let name = format!("w{:019}", self.taken);
        self.taken += 1;
        let place = Place { session: call.session(), call, name, note: note.to_owned() };
        self.places.push(place);
    }

    /// Gives the grant to the first, if nobody has it: the call that gets it, and its place.
    pub fn grant(&mut self, facts: &Facts<'_>) -> Option<Place> {
        let first = self.places.first().filter(|_| !self.is_held)?.clone();
        let token = facts.zxid(first.call);
        assert!(
            token > self.token_max || token == 0,
            "the token {token} is not larger than {}",
            self.token_max
        );
        self.is_held = true;
        self.token = token;
        self.token_max = token;
        Some(first)
    }

    /// Ends the grant, if it is of this session and has this token. Whether it was.
    pub fn give_back(&mut self, session: SessionId, token: u64) -> bool {
        let is_own = self.holder().is_some_and(|holder| holder.session == session);
        if !is_own || self.token != token {
            return false;
        }
        self.places.remove(0);
        self.is_held = false;
        true
    }

    /// A waiting call gives up. Whether it waits here.
    pub fn leave(&mut self, call: CallHandle) -> bool {
        let before = self.places.len();
        self.places.retain(|place| place.call != call);
        self.places.len() < before
    }

    pub fn session_ended(&mut self, session: SessionId) {
        if self.holder().is_some_and(|holder| holder.session == session) {
            self.is_held = false;
        }
        self.places.retain(|place| place.session != session);
    }

    /// Forgets the line, if nobody is in it. Whether it did.
    pub fn remove(&mut self) -> bool {
        if self.places.is_empty() {
            self.taken = 0;
        }
        self.places.is_empty()
    }

    pub fn names(&self) -> Vec<String> {
        self.places.iter().map(|place| place.name.clone()).collect()
    }
}
