//! Whether the session can still live: heartbeats, and what their confirmations prove. It knows neither writes nor sockets.
//!
//! The leader expires a session that it has not heard of for its timeout and a margin, counted from when it heard. The client
//! counts from when it *sent* what the leader has confirmed to have heard, and adds no margin. Sending comes before hearing,
//! so the client's clock runs out first, whatever the network does (DESIGN D11).

use std::collections::BTreeMap;

use crate::limits::{HEARTBEAT_DIVISOR, HEARTBEAT_RETRY_DIVISOR, PROBE_MS};

/// Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub(super) struct Alive {
    timeout_ms: u64,
    /// When the last message was sent that the leader is known to have heard.
    heard_ms: u64,
    /// Whether there was one; before, `heard_ms` is when this client began to ask.
    is_confirmed: bool,
    attached_ms: Option<u64>,
    due_ms: u64,
    /// When the last request was sent, and after how long a heartbeat follows it while it is unanswered.
    asked_ms: u64,
    probe_after_ms: u64,
    /// Heartbeats under way on this connection: request -> when it was sent.
    under_way: BTreeMap<u64, u64>,
}

impl Alive {
    /// A session that nobody has confirmed yet. `began_ms`: when this client began to ask.
    pub(super) fn unconfirmed(timeout_ms: u64, began_ms: u64) -> Self {
        Self {
            timeout_ms,
            heard_ms: began_ms,
            is_confirmed: false,
            attached_ms: None,
            due_ms: began_ms,
            asked_ms: began_ms,
            probe_after_ms: PROBE_MS,
            under_way: BTreeMap::new(),
        }
    }

    /// A lane is attached. A heartbeat is due at once: it is the proof that this member has a leader.
    pub(super) fn attached(&mut self, now_ms: u64) {
        self.attached_ms = Some(now_ms);
        self.due_ms = now_ms;
        self.asked(now_ms);
    }

    pub(super) fn detached(&mut self) {
        self.attached_ms = None;
        self.under_way.clear();
    }

    /// A request is sent.
    pub(super) fn asked(&mut self, now_ms: u64) {
        self.asked_ms = now_ms;
        self.probe_after_ms = PROBE_MS;
    }

    /// The leader has heard something that was sent at this time.
    pub(super) fn heard(&mut self, sent_ms: u64) {
        self.heard_ms = self.heard_ms.max(sent_ms);
        self.is_confirmed = true;
    }

    /// The answer to a heartbeat that could be confirmed.
    pub(super) fn confirmed(&mut self, request: u64) {
        if let Some(sent_ms) = self.under_way.remove(&request) {
            self.heard(sent_ms);
        }
    }

    /// The answer to a heartbeat that could not: there may soon be a leader again.
    pub(super) fn unconfirmed_heartbeat(&mut self, request: u64, now_ms: u64) {
        if self.under_way.remove(&request).is_some() {
            self.due_ms = self.due_ms.min(now_ms + self.timeout_ms / HEARTBEAT_RETRY_DIVISOR);
        }
    }

    /// Whether a heartbeat is to be sent now; if so, it is taken to be sent under this request number. `is_waiting`: for the
    /// answer to a request.
    pub(super) fn poll_heartbeat(&mut self, request: u64, is_waiting: bool, now_ms: u64) -> bool {
        let probe_ms = self.probe_ms().filter(|at| is_waiting && now_ms >= *at);
        if self.attached_ms.is_none() || (now_ms < self.due_ms && probe_ms.is_none()) {
            return false;
        }
        if probe_ms.is_some() {
            self.probe_after_ms = self.probe_after_ms * 2 + PROBE_MS;
        }
        self.due_ms = now_ms + self.timeout_ms / HEARTBEAT_DIVISOR;
        self.under_way.insert(request, now_ms);
        true
    }

    /// When the session is lost, unless something is confirmed before.
    pub(super) fn lost_at_ms(&self) -> u64 {
        self.heard_ms.saturating_add(self.timeout_ms)
    }

    /// Whether the session is known to be held now: attached, and confirmed so recently that no two heartbeats are missing.
    pub(super) fn is_held(&self, now_ms: u64) -> bool {
        self.attached_ms.is_some() && self.is_confirmed && now_ms < self.doubt_at_ms()
    }

    /// Whether another member should be asked: this one had its chance, and half of the timeout is gone.
    pub(super) fn wants_another_member(&self, now_ms: u64) -> bool {
        self.leave_at_ms().is_some_and(|at| now_ms >= at)
    }

    /// The next time at which one of the answers above changes.
    pub(super) fn next_timer_ms(&self, is_waiting: bool, now_ms: u64) -> u64 {
        let times = [
            self.attached_ms.map(|_| self.due_ms),
            self.attached_ms.and_then(|_| self.probe_ms()).filter(|_| is_waiting),
            self.leave_at_ms(),
            Some(self.doubt_at_ms()),
            Some(self.lost_at_ms()),
        ];
        let later = times.into_iter().flatten().filter(|at| *at > now_ms);
        later.min().unwrap_or(now_ms.saturating_add(1))
    }

    /// When an unanswered request is followed by a heartbeat. Not for ever: a call may wait for as long as it likes.
    fn probe_ms(&self) -> Option<u64> {
        let is_young = self.probe_after_ms < self.timeout_ms / HEARTBEAT_DIVISOR;
        is_young.then(|| self.asked_ms.saturating_add(self.probe_after_ms))
    }

    fn doubt_at_ms(&self) -> u64 {
        self.heard_ms.saturating_add(self.timeout_ms / HEARTBEAT_DIVISOR * 2)
    }

    fn leave_at_ms(&self) -> Option<u64> {
        let had_its_chance = self.attached_ms? + self.timeout_ms / HEARTBEAT_DIVISOR;
        Some(had_its_chance.max(self.heard_ms.saturating_add(self.timeout_ms / 2)))
    }
}
