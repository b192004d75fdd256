//! Who waits for what: the parked calls of this leadership, their interests and timers, and the queue of those that are
//! to run again. It executes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_core::change::Change;
use quorate_core::execute::Waits;
use quorate_core::ids::{CallId, Millis, SessionId};
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::recipe::{Interest, Reason};
use quorate_core::request::Request;
use quorate_core::session::Parked;

/// A parked call.
#[derive(Debug)]
pub struct Waiter {
    /// The write that parked.
    pub request: Arc<Request>,
    /// What is replicated of it.
    pub parked: Parked,
    interests: Vec<Interest>,
    timers: Vec<u64>,
    at: ParkedAt,
    /// Runs since `window_ms`.
    runs_in_window: u32,
    window_ms: u64,
    runs_without_progress: u32,
    /// Queued to run, and why.
    queued: Option<Reason>,
}

/// The parked calls of one epoch.
#[derive(Debug, Default)]
pub struct ParkedCalls {
    calls: BTreeMap<CallId, Waiter>,
    nodes: BTreeMap<Path, BTreeSet<CallId>>,
    children: BTreeMap<Path, BTreeSet<CallId>>,
    /// (monotonic milliseconds, call).
    timers: BTreeSet<(u64, CallId)>,
    wakes: VecDeque<CallId>,
}

/// The clocks at which a call parks.
#[derive(Debug, Clone, Copy)]
pub struct ParkedAt {
    /// Time of the transaction in which it parked.
    pub time: Millis,
    /// Monotonic milliseconds.
    pub monotonic_ms: u64,
}

impl ParkedCalls {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Calls that wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// Whether calls are to run again.
    #[must_use]
    pub fn has_wakes(&self) -> bool {
        !self.wakes.is_empty()
    }

    /// The call, if it waits here.
    #[must_use]
    pub fn waiter(&self, id: CallId) -> Option<&Waiter> {
        self.calls.get(&id)
    }

    /// A call parks, for the first time or again.
    /// `before` is its waiter from the last time, taken out while it ran: it has counted the runs.
    pub fn park(
        &mut self,
        id: CallId,
        request: Arc<Request>,
        waits: Waits,
        at: ParkedAt,
        before: Option<Waiter>,
        progressed: bool,
    ) {
        let (runs_in_window, window_ms, idle) = before.map_or((0, at.monotonic_ms, 0), |w| {
            (w.runs_in_window, w.window_ms, w.runs_without_progress)
        });
        let mut waiter = Waiter {
            request,
            parked: waits.parked,
            interests: waits.interests,
            timers: Vec::new(),
            at,
            runs_in_window,
            window_ms,
            runs_without_progress: if progressed { 0 } else { idle + 1 },
            queued: None,
        };
        let due =
            |time: Millis| at.monotonic_ms.saturating_add(time.0.saturating_sub(at.time.0).max(1));
        waiter.timers.extend(waiter.parked.deadline.map(due));
        for interest in &waiter.interests {
            match interest {
                Interest::NodeChanged(path) => {
                    self.nodes.entry(path.clone()).or_default().insert(id);
                }
                Interest::ChildrenChanged(path) => {
                    self.children.entry(path.clone()).or_default().insert(id);
                }
                Interest::AtTime(time) => waiter.timers.push(due(*time)),
            }
        }
        self.timers.extend(waiter.timers.iter().map(|&ms| (ms, id)));
        self.calls.insert(id, waiter);
    }

    /// A call that parked under an earlier epoch is here again: it waits for nothing but its turn to run.
    pub fn rejoin(
        &mut self,
        id: CallId,
        request: Arc<Request>,
        parked: Parked,
        reason: Reason,
        at: ParkedAt,
    ) {
        let waiter = Waiter {
            request,
            parked,
            interests: Vec::new(),
            timers: Vec::new(),
            at,
            runs_in_window: 0,
            window_ms: at.monotonic_ms,
            runs_without_progress: 0,
            queued: None,
        };
        self.calls.insert(id, waiter);
        self.wake(id, reason);
    }

    /// A call is over, or about to run: nothing wakes it from here on.
    pub fn take(&mut self, id: CallId) -> Option<Waiter> {
        let waiter = self.calls.remove(&id)?;
        for interest in &waiter.interests {
            match interest {
                Interest::NodeChanged(path) => forget(&mut self.nodes, path, id),
                Interest::ChildrenChanged(path) => forget(&mut self.children, path, id),
                Interest::AtTime(_) => {}
            }
        }
        for &ms in &waiter.timers {
            self.timers.remove(&(ms, id));
        }
        Some(waiter)
    }

    /// The calls of a session, which has ended, are over.
    pub fn drop_session(&mut self, session: SessionId) {
        let low = CallId { session, write: quorate_core::ids::WriteNumber(0) };
        let high = CallId { session, write: quorate_core::ids::WriteNumber(u64::MAX) };
        let ids: Vec<CallId> = self.calls.range(low..=high).map(|(id, _)| *id).collect();
        for id in ids {
            self.take(id);
        }
    }

    /// The calls of a recipe.
    #[must_use]
    pub fn of_recipe(&self, recipe: &str) -> Vec<CallId> {
        self.calls
            .iter()
            .filter(|(_, waiter)| waiter.parked.recipe == recipe)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Queues a call to run again. Of two reasons it hears the one that says more: the last run before all others, a new
    /// version before a change.
    pub fn wake(&mut self, id: CallId, reason: Reason) {
        let Some(waiter) = self.calls.get_mut(&id) else { return };
        match waiter.queued {
            None => {
                waiter.queued = Some(reason);
                self.wakes.push_back(id);
            }
            Some(before) if rank(reason) > rank(before) => waiter.queued = Some(reason),
            Some(_) => {}
        }
    }

    /// Queues whoever waits for one of these changes.
    pub fn wake_for(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::NodeCreated { path, .. } | Change::NodeDeleted { path, .. } => {
                    self.wake_path(path);
                    if let Some(parent) = path.parent() {
                        self.wake_set(|calls| calls.children.get(&parent));
                    }
                    self.wake_set(|calls| calls.children.get(path));
                }
                Change::DataSet { path, .. } => self.wake_path(path),
                Change::RecipeActivated { recipe, .. } | Change::RecipeRemoved { recipe } => {
                    for id in self.of_recipe(recipe) {
                        self.wake(id, Reason::Upgraded);
                    }
                }
                Change::SessionEnded { session, .. } => self.drop_session(*session),
                _ => {}
            }
        }
    }

    fn wake_path(&mut self, path: &Path) {
        self.wake_set(|calls| calls.nodes.get(path));
    }

    fn wake_set(&mut self, find: impl Fn(&Self) -> Option<&BTreeSet<CallId>>) {
        let ids: Vec<CallId> =
            find(self).map(|ids| ids.iter().copied().collect()).unwrap_or_default();
        for id in ids {
            self.wake(id, Reason::Changed);
        }
    }

    /// Queues whoever's time has come. Gives the time that it is at least: what a timer waited for has come by the
    /// monotonic clock, also where the wall clock has gone back and transaction time stands still.
    pub fn wake_for_time(&mut self, monotonic_ms: u64, time: Millis) -> Millis {
        let mut reached = time;
        while let Some(&(due_ms, id)) = self.timers.first() {
            if due_ms > monotonic_ms {
                break;
            }
            self.timers.pop_first();
            let Some(waiter) = self.calls.get(&id) else { continue };
            reached = reached.max(waiter.at.time.plus(due_ms - waiter.at.monotonic_ms));
            let deadline = waiter.parked.deadline;
            // The first timer of a call with a deadline is the deadline itself.
            let is_deadline = deadline.is_some_and(|at| at <= reached)
                || (deadline.is_some() && waiter.timers.first() == Some(&due_ms));
            self.wake(id, if is_deadline { Reason::TimedOut } else { Reason::Changed });
        }
        reached
    }

    /// When the next timer fires, in monotonic milliseconds.
    #[must_use]
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.timers.first().map(|(ms, _)| *ms)
    }

    /// The next call to run, and why. It stays a waiter until it is taken or parks again.
    pub fn poll_wake(&mut self, monotonic_ms: u64) -> Option<(CallId, Woken)> {
        while let Some(id) = self.wakes.pop_front() {
            let Some(waiter) = self.calls.get_mut(&id) else { continue };
            let Some(reason) = waiter.queued.take() else { continue };
            if monotonic_ms.saturating_sub(waiter.window_ms) >= 1_000 {
                waiter.window_ms = monotonic_ms;
                waiter.runs_in_window = 0;
            }
            waiter.runs_in_window += 1;
            let too_often = waiter.runs_in_window > limits::WAKES_PER_SECOND_MAX
                || waiter.runs_without_progress > limits::WAKES_WITHOUT_PROGRESS_MAX;
            let woken =
                if too_often && !reason.is_last() { Woken::TooOften } else { Woken::For(reason) };
            return Some((id, woken));
        }
        None
    }
}

/// Why a call is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// For this reason.
    For(Reason),
    /// It was woken more often than the limits allow, and is to end.
    TooOften,
}

fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::First | Reason::Changed => 0,
        Reason::Upgraded => 1,
        Reason::TimedOut | Reason::Cancelled => 2,
    }
}

fn forget(table: &mut BTreeMap<Path, BTreeSet<CallId>>, path: &Path, id: CallId) {
    if let Some(ids) = table.get_mut(path) {
        ids.remove(&id);
        if ids.is_empty() {
            table.remove(path);
        }
    }
}
