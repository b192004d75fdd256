//! The connection to one other member: made when somebody needs it, by a task that outlives its callers, and made anew with
//! growing pauses. It does not know what the connection is used for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_core::level::Level;
use quorate_net::{CloseCode, Connection};
use quorate_raft::{Contact, Incarnation};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Mesh;
use crate::limits;

/// The first pause after a failed attempt, doubled after each, with a random part of up to as much again.
const PAUSE_FIRST: Duration = Duration::from_millis(25);
/// The longest pause: a member that comes back is reached within it.
const PAUSE_MAX: Duration = Duration::from_millis(800);
/// The longest pause of a member that was removed: nobody waits for it.
const PAUSE_REMOVED_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
enum State {
    /// Nobody has tried, or what there was has ended.
    Idle,
    /// Being made.
    Dialling,
    /// There. It may have ended since.
    Up(Connection),
    /// Failed; not to be tried again before.
    Down { why: Arc<str>, until: Instant },
}

/// The way to one data directory of one member.
pub(super) struct Peer {
    member: u64,
    address: String,
    incarnation: Incarnation,
    state: watch::Sender<State>,
    /// The other side's start, of the connection that there is.
    starts: AtomicU64,
    /// The highest feature level that the other side knows, of the connection that there is.
    level: AtomicU32,
    /// Attempts that have failed since the last that did not.
    failures: AtomicU32,
}

impl Peer {
    pub(super) fn new(member: u64, contact: &Contact) -> Self {
        let (address, incarnation) = (contact.address.clone(), contact.incarnation);
        let state = watch::Sender::new(State::Idle);
        Self {
            member,
            address,
            incarnation,
            state,
            starts: AtomicU64::new(0),
            level: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        }
    }

    /// A connection that stood a moment ago. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connection(
        self: &Arc<Self>,
        mesh: &Arc<Mesh>,
    ) -> Result<Connection, String> {
        let mut state = self.state.subscribe();
        loop {
            let mut is_to_dial = false;
            self.state.send_if_modified(|state| {
                is_to_dial = match state {
                    State::Idle => true,
                    State::Dialling => false,
                    State::Up(connection) => connection.close_reason().is_some(),
                    State::Down { until, .. } => *until <= Instant::now(),
                };
                if is_to_dial {
                    *state = State::Dialling;
                }
                is_to_dial
            });
            if is_to_dial {
                mesh.spawn(Arc::clone(self).dial(Arc::clone(mesh)));
            }
            match &*state.borrow_and_update() {
                State::Up(connection) => return Ok(connection.clone()),
                State::Down { why, .. } => return Err(why.to_string()),
                State::Idle | State::Dialling => {}
            }
            if state.changed().await.is_err() {
                return Err("this member is shutting down".to_owned());
            }
        }
    }

    /// Ends the connection, if there is one.
    pub(super) fn close(&self) {
        if let State::Up(connection) = self.state.send_replace(State::Idle) {
            connection.close(CloseCode::Normal, "");
        }
    }

    /// Ends the connection, if it is to an earlier start than this.
    pub(super) fn close_older(&self, starts: u64) {
        if self.starts.load(Ordering::Relaxed) < starts {
            self.state.send_if_modified(|state| {
                let State::Up(connection) = state else { return false };
                connection.close(CloseCode::Normal, "a later start of this member was met");
                *state = State::Idle;
                true
            });
        }
    }

    /// Ends the connection, if the other side knows less than this level.
    pub(super) fn close_below(&self, level: Level) {
        if self.level.load(Ordering::Relaxed) < level.0 {
            self.state.send_if_modified(|state| {
                let State::Up(connection) = state else { return false };
                connection.close(CloseCode::Normal, super::level::TOO_OLD);
                *state = State::Idle;
                true
            });
        }
    }

    /// The highest feature level that the other side knows, while the connection stands.
    pub(super) fn level(&self) -> Option<Level> {
        let state = self.state.borrow();
        let State::Up(connection) = &*state else { return None };
        let level = Level(self.level.load(Ordering::Relaxed));
        connection.close_reason().is_none().then_some(level)
    }

    async fn dial(self: Arc<Self>, mesh: Arc<Mesh>) {
        let found = self.try_once(&mesh).await;
        let state = match found {
            Ok(connection) => {
                tracing::debug!(
                    member = self.member,
                    address = self.address,
                    "connected to a member"
                );
                self.failures.store(0, Ordering::Relaxed);
                let (serving, served, member) =
                    (Arc::clone(&mesh), connection.clone(), self.member);
                mesh.spawn(async move { serving.serve_lanes(member, &served).await });
                State::Up(connection)
            }
            Err(why) => {
                tracing::debug!(
                    member = self.member,
                    address = self.address,
                    why,
                    "a member is not reached"
                );
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                let is_removed = *mesh.is_removed().borrow();
                let most = if is_removed { PAUSE_REMOVED_MAX } else { PAUSE_MAX };
                State::Down { why: why.into(), until: Instant::now() + pause(failures, most) }
            }
        };
        if let State::Up(unwanted) = self.state.send_replace(state) {
            unwanted.close(CloseCode::Normal, "");
        }
        // It may have risen between the hello and now.
        self.close_below(mesh.level());
    }

    async fn try_once(&self, mesh: &Mesh) -> Result<Connection, String> {
        let connection = mesh.dial(&self.address, self.member).await?;
        let greeting = mesh.greet(&connection, self.member, Some(self.incarnation));
        match timeout(limits::HELLO_TIMEOUT, greeting).await {
            Ok(Ok(found)) => {
                self.starts.store(found.starts, Ordering::Relaxed);
                self.level.store(found.level.0, Ordering::Relaxed);
                mesh.end_older((self.member, self.incarnation), found.starts);
                Ok(connection)
            }
            Ok(Err(why)) => {
                connection.close(CloseCode::Normal, "");
                Err(why)
            }
            Err(_) => {
                connection.close(CloseCode::Normal, "");
                Err(format!("{} does not answer as a member", self.address))
            }
        }
    }
}

/// How long to wait after so many failures before.
fn pause(failures: u32, most: Duration) -> Duration {
    let grown = PAUSE_FIRST.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    let mut random = [0];
    // Without random bytes the pauses of two members are the same, which is no harm.
    let _filled = getrandom::fill(&mut random);
    let pause = grown.min(most);
    pause + pause.mul_f64(f64::from(random[0]) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        assert!(pause(0, PAUSE_MAX) < PAUSE_FIRST * 2);
        for most in [PAUSE_MAX, PAUSE_REMOVED_MAX] {
            for failures in [11, 31, 32, u32::MAX] {
                assert!((most..most * 2).contains(&pause(failures, most)), "{failures}");
            }
        }
    }
}
