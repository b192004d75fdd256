//! What is on its way to a member: the lane, and the bodies beside it. It decides neither what is sent nor when.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use quorate_net::{BulkError, Connection, LaneSender, TrySendError};
use quorate_wire::message::{ClientMessage, bulk};

use crate::clock::Clock;
use crate::dial::Link;
use crate::limits::BULK_TIMEOUT;
use crate::session::Session;

pub(crate) type Bulk = Pin<Box<dyn Future<Output = Result<(), BulkError>> + Send>>;

/// What is on its way to the member.
pub(crate) struct Wire {
    pub(crate) link: Link,
    /// A frame that the lane had no room for.
    pub(crate) frame: Option<Bytes>,
    /// The body that goes beside the lane at the moment. The member keeps what comes on the lane behind its announcement until
    /// the body is there, so the lane goes on.
    pub(crate) bulk: Option<Bulk>,
    /// Bodies whose turn comes next, with their numbers.
    bodies: VecDeque<(u64, Bytes)>,
}

impl Wire {
    /// Nothing is on its way yet.
    pub(crate) fn new(link: Link) -> Self {
        Self { link, frame: None, bulk: None, bodies: VecDeque::new() }
    }

    /// Puts on the lane what is to be sent, as far as there is room. Whether there was anything.
    pub(crate) fn transmit(&mut self, session: &mut Session, clock: Clock) -> Result<bool, String> {
        let mut has_sent = false;
        while self.frame.is_none() {
            let now_ms = clock.now_ms();
            let heartbeat = session.poll_heartbeat(now_ms);
            let message = heartbeat.or_else(|| session.poll_transmit(now_ms));
            let Some(message) = message else { break };
            let frame = self.beside(message).encode();
            match self.link.sender.try_send(frame) {
                Ok(()) => has_sent = true,
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
        Ok(has_sent)
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

/// A bulk stream: its number, then the body. Ends when the member's machine has all of it.
async fn send_bulk(connection: Connection, number: u64, body: Bytes) -> Result<(), BulkError> {
    let opened = connection.open_bulk(bulk::WRITE_BODY).await;
    let mut sender = opened.map_err(BulkError::ConnectionLost)?;
    sender.send(bulk::head(number)).await?;
    sender.send(body).await?;
    sender.finish(BULK_TIMEOUT).await
}

/// Sends what the lane had no room for. Cancel-safe.
pub(crate) async fn send(lane: &LaneSender, frame: Option<Bytes>) -> Result<(), String> {
    match frame {
        Some(frame) => lane.send(frame).await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// The end of the body that is on its way. Cancel-safe.
pub(crate) async fn finished(bulk: &mut Option<Bulk>) -> Result<(), BulkError> {
    match bulk {
        Some(bulk) => bulk.await,
        None => Ok(()),
    }
}
