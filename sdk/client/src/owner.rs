//! The task that owns a client's session, connection and lane. It moves messages between callers, the session's state machine
//! and the wire, and decides nothing that the state machine can decide.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use quorate_net::{BulkError, CloseCode, Connection, LaneReceiver, LaneSender, TrySendError};
use quorate_wire::message::{ClientMessage, ServerMessage, bulk};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::dial::{Dialer, Link};
use crate::limits::{
    ANSWER_TIMEOUT, ATTACH_DIVISOR, ATTACH_MS_MIN, BULK_TIMEOUT, COMMANDS_MAX, GOODBYE_TIMEOUT,
    RECONNECT_MS_FIRST, RECONNECT_MS_MAX,
};
use crate::session::{Ask, Backoff, Flow, Outcome, Session, SessionState, Token};
use crate::streams::Streams;

/// A caller's request on its way to the owner.
pub(crate) struct Submission {
    pub(crate) token: Token,
    pub(crate) ask: Ask,
    pub(crate) answer: oneshot::Sender<Outcome>,
    /// Room that it takes until its outcome is there.
    pub(crate) room: Vec<OwnedSemaphorePermit>,
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
}

/// The owner's own state. [`Owner::run`] is its task.
pub(crate) struct Owner {
    desk: Desk,
    dialer: Dialer,
    backoff: Backoff,
    submissions: mpsc::Receiver<Submission>,
    /// At most one for each pending request, so the requests' limit bounds it.
    cancels: mpsc::UnboundedReceiver<Token>,
    streams: Streams,
}

type Bulk = Pin<Box<dyn Future<Output = Result<(), BulkError>> + Send>>;

/// What is on its way to the member.
struct Wire {
    link: Link,
    /// A frame that the lane had no room for.
    frame: Option<Bytes>,
    /// The body that goes beside the lane at the moment. The member keeps what comes on the lane behind its announcement until
    /// the body is there, so the lane goes on.
    bulk: Option<Bulk>,
    /// Bodies whose turn comes next, with their numbers.
    bodies: VecDeque<(u64, Bytes)>,
}

impl Owner {
    pub(crate) fn new(
        session: Session,
        dialer: Dialer,
        clock: Clock,
        seed: u64,
        submissions: mpsc::Receiver<Submission>,
        cancels: mpsc::UnboundedReceiver<Token>,
        streams: Streams,
    ) -> (Self, watch::Receiver<SessionState>) {
        let (state, watched) = watch::channel(session.state(clock.now_ms()));
        let desk = Desk { session, pending: BTreeMap::new(), state, clock };
        let backoff = Backoff::new(RECONNECT_MS_FIRST, RECONNECT_MS_MAX, seed);
        (Self { desk, dialer, backoff, submissions, cancels, streams }, watched)
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

    /// Works on a lane until it, the member or the session ends. Gives the lane back if only the session has ended.
    async fn serve(&mut self, link: Link) -> Option<Link> {
        // Ends with the lane.
        let mut accepting = JoinSet::new();
        accepting.spawn(self.streams.clone().accept(link.connection.clone()));
        let mut wire = Wire { link, frame: None, bulk: None, bodies: VecDeque::new() };
        let reason = loop {
            if let Err(error) = wire.transmit(&mut self.desk) {
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
            let timer = self.desk.session.next_timer_ms(now_ms).unwrap_or(u64::MAX / 2);
            let Wire { link: Link { sender, receiver, .. }, frame, bulk, .. } = &mut wire;
            tokio::select! {
                received = receiver.recv() => match received {
                    Ok(Some(first)) => {
                        if let ControlFlow::Break(reason) = self.desk.receive(first, receiver) {
                            break reason;
                        }
                    }
                    Ok(None) => break "the member ended the lane".to_owned(),
                    Err(error) => break error.to_string(),
                },
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
                submission = self.submissions.recv() => self.take_all(submission),
                Some(token) = self.cancels.recv() => self.desk.session.cancel(token),
                () = self.desk.clock.until(timer) => {}
            }
        };
        tracing::info!(address = %wire.link.address, %reason, "left a member");
        self.desk.session.handle_disconnected();
        None
    }

    /// Tries all addresses in turn until a lane is attached or the session is lost.
    async fn reconnect(&mut self) -> Option<Link> {
        loop {
            let address = self.dialer.next_address();
            let attach = self.desk.session.attach(self.desk.clock.now_ms());
            let patience = patience(self.desk.session.timeout_ms(), self.dialer.addresses_count());
            let dialed = {
                let Self { desk, dialer, submissions, cancels, .. } = self;
                let mut dialing = std::pin::pin!(dialer.dial(address.clone(), attach, patience));
                loop {
                    let room = desk.wait_once(submissions, cancels, u64::MAX / 2);
                    tokio::select! {
                        dialed = &mut dialing => break Some(dialed),
                        () = room => if desk.is_lost() { break None },
                    }
                }
            };
            let reason = match dialed {
                None => return None,
                Some(Err(reason)) => reason,
                Some(Ok(link)) => match self.attached(&link) {
                    Flow::GoOn => return Some(link),
                    Flow::Rejected(refusal) => refusal.to_string(),
                    Flow::Leave => "an answer that makes no sense".to_owned(),
                },
            };
            tracing::debug!(%address, %reason, "not attached");
            self.desk.session.handle_disconnected();
            let until_ms = self.desk.clock.now_ms() + self.backoff.next_ms();
            while self.desk.clock.now_ms() < until_ms && !self.desk.is_lost() {
                let Self { desk, submissions, cancels, .. } = self;
                desk.wait_once(submissions, cancels, until_ms).await;
            }
            if self.desk.is_lost() {
                return None;
            }
        }
    }

    /// Takes what a lane's peer said first.
    pub(crate) fn attached(&mut self, link: &Link) -> Flow {
        let flow = self.desk.session.handle_message(link.first.clone(), self.desk.clock.now_ms());
        if let (Flow::GoOn, ServerMessage::Welcome(welcome)) = (&flow, &link.first) {
            self.backoff.reset();
            self.dialer.learn(&welcome.members);
            tracing::info!(address = %link.address, session = %welcome.session, "attached");
            return flow;
        }
        if flow == Flow::GoOn { Flow::Leave } else { flow }
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

impl Desk {
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
    }

    /// Serves callers while there is no lane: until something happened, or this time has come.
    async fn wait_once(
        &mut self,
        submissions: &mut mpsc::Receiver<Submission>,
        cancels: &mut mpsc::UnboundedReceiver<Token>,
        until_ms: u64,
    ) {
        let timer = self.session.next_timer_ms(self.clock.now_ms()).unwrap_or(until_ms);
        tokio::select! {
            submission = submissions.recv() => match submission {
                Some(submission) => self.take(submission),
                None => self.session.abandon(),
            },
            Some(token) = cancels.recv() => self.session.cancel(token),
            () = self.clock.until(timer.min(until_ms)) => {}
        }
        self.publish();
    }

    /// Handles a frame and those that came with it.
    fn receive(&mut self, first: Bytes, receiver: &mut LaneReceiver) -> ControlFlow<String> {
        let mut frame = Some(first);
        while let Some(bytes) = frame {
            let message = match ServerMessage::decode(bytes) {
                Ok(message) => message,
                Err(error) => return ControlFlow::Break(error.to_string()),
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

impl Wire {
    /// Puts on the lane what is to be sent, as far as there is room.
    fn transmit(&mut self, desk: &mut Desk) -> Result<(), String> {
        while self.frame.is_none() {
            let now_ms = desk.clock.now_ms();
            let heartbeat = desk.session.poll_heartbeat(now_ms);
            let message = heartbeat.or_else(|| desk.session.poll_transmit(now_ms));
            let Some(message) = message else { break };
            let frame = self.beside(message).encode();
            match self.link.sender.try_send(frame) {
                Ok(()) => {}
                Err(TrySendError::Full(frame)) => self.frame = Some(frame),
                Err(TrySendError::Refused(_, error)) => return Err(error.to_string()),
            }
        }
        if self.bulk.is_none()
            && let Some((number, body)) = self.bodies.pop_front()
        {
            let connection = self.link.connection.clone();
            self.bulk = Some(Box::pin(send_bulk(connection, number, body)));
        }
        Ok(())
    }

    /// Takes a large body off the lane, for a bulk stream.
    fn beside(&mut self, message: ClientMessage) -> ClientMessage {
        match message {
            ClientMessage::Write { request, write, acks, body }
                if body.len() > bulk::BODY_BYTES_MIN =>
            {
                let bytes = body.len() as u64;
                self.bodies.push_back((request, body));
                ClientMessage::BulkWrite { request, write, acks, bulk: request, bytes }
            }
            message => message,
        }
    }
}

/// How long one of so many members may take to attach a session with this timeout.
fn patience(timeout_ms: u64, members: usize) -> Duration {
    if members < 2 {
        return ANSWER_TIMEOUT;
    }
    Duration::from_millis((timeout_ms / ATTACH_DIVISOR).max(ATTACH_MS_MIN)).min(ANSWER_TIMEOUT)
}

/// A bulk stream: its number, then the body. Ends when the member's machine has all of it.
async fn send_bulk(connection: Connection, number: u64, body: Bytes) -> Result<(), BulkError> {
    let opened = connection.open_bulk(bulk::WRITE_BODY).await;
    let mut sender = opened.map_err(BulkError::ConnectionLost)?;
    sender.send(bulk::head(number)).await?;
    sender.send(body).await?;
    sender.finish(BULK_TIMEOUT).await
}

async fn send(lane: &LaneSender, frame: Option<Bytes>) -> Result<(), String> {
    match frame {
        Some(frame) => lane.send(frame).await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

async fn finished(bulk: &mut Option<Bulk>) -> Result<(), BulkError> {
    match bulk {
        Some(bulk) => bulk.await,
        None => Ok(()),
    }
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
