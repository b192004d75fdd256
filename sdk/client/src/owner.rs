//! The task that owns a client's session, connection and lane. It moves messages between callers, the session's state machine
//! and the wire, and decides nothing that the state machine can decide.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::Refusal;
use quorate_net::{BulkError, CloseCode, FrameError, FrameReceiver, LaneReceiver};
use quorate_wire::message::ServerMessage;
use quorate_wire::message::watch::EventMessage;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::dial::{Dialer, Link};
use crate::limits::{
    ANSWER_TIMEOUT, ATTACH_DIVISOR, ATTACH_MS_MIN, COMMANDS_MAX, DIAL_STAGGER, GOODBYE_TIMEOUT,
    RECONNECT_MS_FIRST, RECONNECT_MS_MAX,
};
use crate::moving::{Moving, Step};
use crate::session::{Ask, Backoff, Flow, Outcome, Session, SessionState, Token};
use crate::streams::Streams;
use crate::wire::{Wire, finished, send};

/// A caller's request on its way to the owner.
pub(crate) struct Submission {
    pub(crate) token: Token,
    pub(crate) ask: Ask,
    pub(crate) answer: oneshot::Sender<Outcome>,
    /// Room that it takes until its outcome is there.
    pub(crate) room: Vec<OwnedSemaphorePermit>,
}

/// What nobody waits for any more.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cancel {
    Request(Token),
    /// By its number.
    Watch(u64),
}

struct Pending {
    answer: oneshot::Sender<Outcome>,
    _room: Vec<OwnedSemaphorePermit>,
}

/// What callers and the state machine share.
struct Desk {
    session: Session,
    pending: BTreeMap<Token, Pending>,
    state: watch::Sender<SessionState>,
    clock: Clock,
    /// Where the service is reached, if the member has just said so.
    members: Option<Vec<String>>,
}

/// The owner's own state. [`Owner::run`] is its task.
pub(crate) struct Owner {
    desk: Desk,
    dialer: Dialer,
    moving: Moving,
    backoff: Backoff,
    submissions: mpsc::Receiver<Submission>,
    /// At most one for each pending request and each watch, so what bounds those bounds it.
    cancels: mpsc::UnboundedReceiver<Cancel>,
    streams: Streams,
}

/// Why a lane is not attached, as its peer has said it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAttached {
    /// The session is refused.
    #[error("{0}")]
    Refused(Refusal),
    /// Something else than an answer.
    #[error("an answer that makes no sense")]
    Senseless,
}

impl Owner {
    pub(crate) fn new(
        session: Session,
        dialer: Dialer,
        clock: Clock,
        seed: u64,
        submissions: mpsc::Receiver<Submission>,
        cancels: mpsc::UnboundedReceiver<Cancel>,
        streams: Streams,
    ) -> (Self, watch::Receiver<SessionState>) {
        let (state, watched) = watch::channel(session.state(clock.now_ms()));
        let desk = Desk { session, pending: BTreeMap::new(), state, clock, members: None };
        let backoff = Backoff::new(RECONNECT_MS_FIRST, RECONNECT_MS_MAX, seed);
        let moving = Moving::new(seed.rotate_left(16));
        (Self { desk, dialer, moving, backoff, submissions, cancels, streams }, watched)
    }

    /// Serves until the session is lost. `link` is attached.
    pub(crate) async fn run(mut self, link: Link) {
        let mut link = Some(link);
        loop {
            link = match link {
                Some(link) => self.serve(link).await,
                None => self.reconnect().await,
            };
            self.desk.publish();
            if self.desk.is_lost() {
                break;
            }
        }
        self.submissions.close();
        while let Some(submission) = self.submissions.recv().await {
            self.desk.take(submission);
        }
        self.desk.publish();
        if let Some(link) = link {
            // It fails if the member is gone, which is as good.
            link.sender.finish(GOODBYE_TIMEOUT).await.ok();
            link.connection.close(CloseCode::Normal, "the session is over");
        }
    }

    /// Works on a lane until it, the member or the session ends. Gives the lane back if only the session has ended, and the
    /// lane of another member if this one fell silent.
    async fn serve(&mut self, link: Link) -> Option<Link> {
        // Ends with the lane.
        let mut accepting = JoinSet::new();
        let (event_lane, mut event_lanes) = mpsc::channel(1);
        accepting.spawn(self.streams.clone().accept(link.connection.clone(), event_lane));
        let mut events = None;
        let mut wire = Wire::new(link);
        self.moving.stay();
        let reason = loop {
            if let Err(error) = self.transmit(&mut wire) {
                break error;
            }
            self.desk.publish();
            let now_ms = self.desk.clock.now_ms();
            if self.desk.is_lost() {
                return Some(wire.link);
            }
            if self.desk.session.wants_another_member(now_ms) {
                break "the member confirms nothing".to_owned();
            }
            self.look(&wire.link, now_ms);
            let timer = self.next_timer_ms(now_ms);
            let Wire { link: Link { sender, receiver, address, .. }, frame, bulk, .. } = &mut wire;
            tokio::select! {
                received = receiver.recv() => match received {
                    Ok(Some(first)) => {
                        self.moving.stay();
                        let received = self.desk.receive(first, receiver);
                        self.learn(address);
                        if let ControlFlow::Break(reason) = received {
                            break reason;
                        }
                    }
                    Ok(None) => break "the member ended the lane".to_owned(),
                    Err(error) => break error.to_string(),
                },
                Some(lane) = event_lanes.recv(), if events.is_none() => events = Some(lane),
                frame = next_event(&mut events), if events.is_some() => {
                    self.moving.stay();
                    if let ControlFlow::Break(reason) = self.desk.receive_events(frame, &mut events) {
                        break reason;
                    }
                }
                sent = send(sender, frame.clone()), if frame.is_some() => match sent {
                    Ok(()) => *frame = None,
                    Err(error) => break error,
                },
                done = finished(bulk), if bulk.is_some() => {
                    *bulk = None;
                    // A member that stops reading says why on the lane.
                    if let Err(error) = done
                        && !matches!(error, BulkError::StoppedByPeer { .. })
                    {
                        break error.to_string();
                    }
                }
                step = self.moving.next() => if let Some(moved) = self.handle_step(step, &wire.link) {
                    wire.link.connection.close(CloseCode::Normal, "the session has moved");
                    return Some(moved);
                },
                submission = self.submissions.recv() => self.take_all(submission),
                Some(cancel) = self.cancels.recv() => if self.desk.cancel(cancel) != Flow::GoOn {
                    break "the member can not serve a watch".to_owned();
                },
                () = self.desk.clock.until(timer) => {}
            }
        };
        tracing::info!(address = %wire.link.address, %reason, "left a member");
        self.leave(&wire.link.address);
        None
    }

    /// Takes over the addresses of the service, if the member at this one has told them.
    fn learn(&mut self, address: &str) {
        if let Some(members) = self.desk.members.take() {
            self.dialer.learn(&members);
            self.desk.session.set_address(address, self.dialer.addresses_count());
        }
    }

    fn leave(&mut self, address: &str) {
        self.dialer.note_failed(address, self.desk.clock.now_ms());
        self.desk.session.handle_disconnected();
    }

    /// Sends what is to be sent, unless another member is being asked for the session.
    fn transmit(&mut self, wire: &mut Wire) -> Result<(), String> {
        let Desk { session, clock, .. } = &mut self.desk;
        // Before it is sent: the acknowledgement may be here before this thread goes on.
        let before = self.moving.heard_before(&wire.link.connection);
        if !self.moving.is_asking() && wire.transmit(session, *clock)? {
            self.moving.sent(before, clock.now_ms());
        }
        Ok(())
    }

    fn next_timer_ms(&self, now_ms: u64) -> u64 {
        let session = &self.desk.session;
        let due_ms = match self.moving.is_asking() {
            true => session.lost_at_ms(),
            false => session.next_timer_ms(now_ms),
        };
        [due_ms, self.moving.look_ms()].into_iter().flatten().min().unwrap_or(u64::MAX / 2)
    }

    /// Begins to connect to others if the member is silent.
    fn look(&mut self, link: &Link, now_ms: u64) {
        let Some(silent_ms) = self.moving.look(&link.connection, now_ms) else { return };
        let others = self.dialer.candidates(Some(&link.address), now_ms);
        if !others.is_empty() {
            tracing::debug!(address = %link.address, silent_ms, "a member is silent: trying others");
            let race = self.dialer.race(others, DIAL_STAGGER, self.patience());
            self.moving.connect(race);
        }
    }

    /// A step on the way to another member: its lane, at the end of it.
    fn handle_step(&mut self, step: Step, old: &Link) -> Option<Link> {
        let now_ms = self.desk.clock.now_ms();
        let (address, reason) = match step {
            Step::Raced(None) => {
                self.moving.give_up(now_ms);
                return None;
            }
            Step::Raced(Some((address, Err(reason)))) => (address, reason),
            Step::Raced(Some((_, Ok(_)))) if !self.moving.is_silent(&old.connection) => {
                self.moving.stay();
                return None;
            }
            Step::Raced(Some((address, Ok(connection)))) => {
                let attach = self.desk.session.attach(now_ms);
                let (reach, patience) = (self.dialer.reach(), self.patience());
                self.moving.ask(address.clone(), async move {
                    reach.attach(address, connection, attach, patience).await
                });
                return None;
            }
            Step::Asked(address, asked) => {
                let refused = match *asked {
                    Err(reason) => reason,
                    Ok(link) => match self.attached(&link) {
                        Ok(()) => {
                            self.dialer.note_failed(&old.address, now_ms);
                            tracing::info!(from = %old.address, to = %link.address, "left a silent member");
                            return Some(link);
                        }
                        Err(reason) => reason.to_string(),
                    },
                };
                self.moving.give_up(now_ms);
                (address, refused)
            }
        };
        tracing::debug!(%address, %reason, "not attached");
        self.dialer.note_failed(&address, now_ms);
        None
    }

    fn patience(&self) -> Duration {
        patience(self.desk.session.timeout_ms(), self.dialer.addresses_count())
    }

    /// Tries all addresses until a lane is attached or the session is lost.
    async fn reconnect(&mut self) -> Option<Link> {
        loop {
            let patience = self.patience();
            let addresses = self.dialer.candidates(None, self.desk.clock.now_ms());
            let mut race = self.dialer.race(addresses, DIAL_STAGGER, patience);
            while let Some((address, connected)) = self.beside(race.next()).await? {
                let asked = match connected {
                    Err(reason) => Err(reason),
                    Ok(connection) => {
                        let attach = self.desk.session.attach(self.desk.clock.now_ms());
                        let reach = self.dialer.reach();
                        self.beside(reach.attach(address.clone(), connection, attach, patience))
                            .await?
                    }
                };
                let reason = match asked.map(|link| (self.attached(&link), link)) {
                    Ok((Ok(()), link)) => return Some(link),
                    Ok((Err(reason), _)) => reason.to_string(),
                    Err(reason) => reason,
                };
                tracing::debug!(%address, %reason, "not attached");
                self.leave(&address);
            }
            let until_ms = self.desk.clock.now_ms() + self.backoff.next_ms();
            let clock = self.desk.clock;
            self.beside(clock.until(until_ms)).await?;
        }
    }

    /// What comes of something, while callers are served beside; none if the session is lost first.
    async fn beside<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        let Self { desk, submissions, cancels, .. } = self;
        loop {
            desk.publish();
            if desk.is_lost() {
                return None;
            }
            tokio::select! {
                done = &mut what => return Some(done),
                () = desk.wait_once(submissions, cancels) => {}
            }
        }
    }

    /// Takes what a lane's peer said first. Not attached: why.
    pub(crate) fn attached(&mut self, link: &Link) -> Result<(), NotAttached> {
        let flow = self.desk.session.handle_message(link.first.clone(), self.desk.clock.now_ms());
        match (flow, &link.first) {
            (Flow::GoOn, ServerMessage::Welcome(welcome)) => {
                self.backoff.reset();
                self.dialer.learn(&welcome.members);
                self.desk.session.set_address(&link.address, self.dialer.addresses_count());
                tracing::info!(address = %link.address, session = %welcome.session, "attached");
                Ok(())
            }
            (Flow::Rejected(refusal), _) => Err(NotAttached::Refused(refusal)),
            _ => Err(NotAttached::Senseless),
        }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.desk.session
    }

    pub(crate) fn dialer(&mut self) -> &mut Dialer {
        &mut self.dialer
    }

    fn take_all(&mut self, first: Option<Submission>) {
        let Some(first) = first else { return self.desk.session.abandon() };
        self.desk.take(first);
        for _ in 1..COMMANDS_MAX {
            match self.submissions.try_recv() {
                Ok(submission) => self.desk.take(submission),
                Err(_) => break,
            }
        }
    }
}

/// The next frame of the event lane. Cancel-safe.
async fn next_event(events: &mut Option<FrameReceiver>) -> Result<Option<Bytes>, FrameError> {
    match events {
        Some(events) => events.recv().await,
        None => Ok(None),
    }
}

impl Desk {
    fn cancel(&mut self, cancel: Cancel) -> Flow {
        match cancel {
            Cancel::Request(token) => {
                self.session.cancel(token);
                Flow::GoOn
            }
            Cancel::Watch(watch) => self.session.close_watch(watch, self.clock.now_ms()),
        }
    }

    /// Handles a frame of the event lane and those that came with it.
    fn receive_events(
        &mut self,
        first: Result<Option<Bytes>, FrameError>,
        events: &mut Option<FrameReceiver>,
    ) -> ControlFlow<String> {
        let mut frame = match first {
            Ok(Some(first)) => Some(first),
            Ok(None) => return ControlFlow::Break("the member ended the event lane".to_owned()),
            Err(error) => return ControlFlow::Break(format!("the event lane: {error}")),
        };
        while let Some(bytes) = frame {
            let message = match EventMessage::decode(bytes) {
                Ok(message) => message,
                Err(error) => return ControlFlow::Break(error.to_string()),
            };
            if self.session.handle_event(message, self.clock.now_ms()) != Flow::GoOn {
                return ControlFlow::Break("the member can not serve a watch".to_owned());
            }
            // An error comes again with the next `recv`.
            frame = events.as_mut().and_then(|events| events.recv_ready().unwrap_or_default());
        }
        ControlFlow::Continue(())
    }

    fn is_lost(&self) -> bool {
        matches!(*self.state.borrow(), SessionState::Lost(_))
    }

    fn take(&mut self, submission: Submission) {
        let Submission { token, ask, answer, room } = submission;
        self.pending.insert(token, Pending { answer, _room: room });
        self.session.submit(token, ask);
    }

    /// Answers callers and tells how the session stands.
    fn publish(&mut self) {
        let now_ms = self.clock.now_ms();
        self.session.handle_time(now_ms);
        while let Some((token, outcome)) = self.session.poll_outcome() {
            if let Some(pending) = self.pending.remove(&token) {
                // Nobody waits for it any more: the request was carried through all the same.
                pending.answer.send(outcome).ok();
            }
        }
        let state = self.session.state(now_ms);
        self.state.send_if_modified(|before| {
            let is_other = *before != state;
            *before = state;
            is_other
        });
        self.session.end_watches();
    }

    /// Serves callers while there is no lane, until something has happened. Cancel-safe.
    async fn wait_once(
        &mut self,
        submissions: &mut mpsc::Receiver<Submission>,
        cancels: &mut mpsc::UnboundedReceiver<Cancel>,
    ) {
        let timer = self.session.next_timer_ms(self.clock.now_ms()).unwrap_or(u64::MAX / 2);
        tokio::select! {
            submission = submissions.recv() => match submission {
                Some(submission) => self.take(submission),
                None => self.session.abandon(),
            },
            Some(cancel) = cancels.recv() => {
                // There is no member to leave.
                self.cancel(cancel);
            }
            () = self.clock.until(timer) => {}
        }
    }

    /// Handles a frame and those that came with it.
    fn receive(&mut self, first: Bytes, receiver: &mut LaneReceiver) -> ControlFlow<String> {
        let mut frame = Some(first);
        while let Some(bytes) = frame {
            let message = match ServerMessage::decode(bytes) {
                Ok(message) => message,
                Err(error) => return ControlFlow::Break(error.to_string()),
            };
            let message = match message {
                ServerMessage::Welcome(_) => {
                    return ControlFlow::Break("a second welcome".to_owned());
                }
                ServerMessage::Members(members) => {
                    self.members = Some(members);
                    frame = receiver.recv_ready().unwrap_or_default();
                    continue;
                }
                message => message,
            };
            match self.session.handle_message(message, self.clock.now_ms()) {
                Flow::GoOn => {}
                Flow::Leave => return ControlFlow::Break("the member sent us away".to_owned()),
                Flow::Rejected(refusal) => return ControlFlow::Break(refusal.to_string()),
            }
            // An error comes again with the next `recv`.
            frame = receiver.recv_ready().unwrap_or_default();
        }
        ControlFlow::Continue(())
    }
}

/// How long one of so many members may take to attach a session with this timeout.
fn patience(timeout_ms: u64, members: usize) -> Duration {
    if members < 2 {
        return ANSWER_TIMEOUT;
    }
    Duration::from_millis((timeout_ms / ATTACH_DIVISOR).max(ATTACH_MS_MIN)).min(ANSWER_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_does_not_attach_leaves_time_for_others() {
        assert_eq!(patience(10_000, 1), ANSWER_TIMEOUT, "there is nobody else to ask");
        for timeout_ms in [6_000, 10_000, 60_000] {
            let patience = patience(timeout_ms, 3);
            // It is left when half of the timeout is gone.
            assert!(2 * patience <= Duration::from_millis(timeout_ms / 2), "{patience:?}");
            assert!(patience >= Duration::from_millis(ATTACH_MS_MIN));
        }
        assert_eq!(patience(600_000, 3), ANSWER_TIMEOUT);
    }
}
