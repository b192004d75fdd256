//! One QUIC connection: lanes and bulk streams in both directions, and its end. It does not know
//! who opened it and why.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use quinn::VarInt;
use rustls::pki_types::CertificateDer;

use crate::budget::QueueBudget;
use crate::bulk::{BulkError, BulkReceiver, BulkSender, write_error};
use crate::close::{CloseReason, cut_reason};
use crate::lane::{LaneLimits, LaneReceiver, LaneSender, lane, sender};
use crate::limits::LANE_PRIORITY;
use crate::names::names;
use crate::tls::Protocol;
use crate::transport::canonical;
use crate::verify::is_of_member;

/// A connection. Cheap to clone; all clones are the same connection.
///
/// When the last clone and the last of its lanes and streams have been dropped, it is closed with
/// [`crate::CloseCode::Normal`]. It lives on when the client's address changes.
#[derive(Clone)]
pub struct Connection {
    inner: quinn::Connection,
    protocol: Protocol,
    /// The peer's address when the handshake was done.
    proven: IpAddr,
}

impl Connection {
    pub(crate) fn new(inner: quinn::Connection, protocol: Protocol) -> Self {
        let proven = canonical(inner.remote_address()).ip();
        Self { inner, protocol, proven }
    }

    /// What is spoken on it.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the peer has shown a certificate for the member with this number
    /// ([`crate::member_name`]), which the handshake found to be of an authority that is trusted
    /// here. Holds at either end. A certificate with the names of several members is each of them.
    #[must_use]
    pub fn is_member(&self, member: u64) -> bool {
        self.peer_chain().is_some_and(|chain| is_of_member(&chain, member))
    }

    /// What the certificate that the peer has shown calls it: the common name (`CN=ann`), then the alternative names
    /// (`DNS=host.example`, `IP=`, `EMAIL=`, `URI=`), at most [`crate::limits::CERTIFICATE_NAMES_MAX`]. The handshake found it to be of an authority that is trusted here. Empty if none
    /// was shown, if it names nobody, and for a member's, which proves a machine of the cluster and is nobody's client.
    #[must_use]
    pub fn peer_names(&self) -> Vec<String> {
        self.peer_chain().map(|chain| names(&chain)).unwrap_or_default()
    }

    /// The certificates that the peer has shown, and the handshake has verified.
    pub(crate) fn peer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.inner.peer_identity()?.downcast().ok().map(|chain| *chain)
    }

    /// Opens a lane. The peer's `accept_lane` sees it when the first frame has been sent. Waits
    /// while [`crate::limits::LANES_OPEN_MAX`] are open, between members
    /// [`crate::limits::MEMBER_LANES_OPEN_MAX`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open_lane(
        &self,
        limits: LaneLimits,
    ) -> Result<(LaneSender, LaneReceiver), CloseReason> {
        self.open_lane_with_priority(limits, LANE_PRIORITY).await
    }

    /// As `open_lane`, with a priority of its own: of what this end has to send on this connection, a
    /// stream of a higher one goes first. Lanes have [`LANE_PRIORITY`] by default, bulk streams 0. The
    /// peer sets the priority of its own direction with [`LaneSender::set_priority`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open_lane_with_priority(
        &self,
        limits: LaneLimits,
        priority: i32,
    ) -> Result<(LaneSender, LaneReceiver), CloseReason> {
        let (send, receive) = self.inner.open_bi().await?;
        Ok(lane(send, receive, limits, None, priority))
    }

    /// The next lane that the peer has opened.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_lane(
        &self,
        limits: LaneLimits,
    ) -> Result<(LaneSender, LaneReceiver), CloseReason> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok(lane(send, receive, limits, None, LANE_PRIORITY))
    }

    /// As `accept_lane`; what queues on the lane above its own part comes out of `budget`.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_lane_within(
        &self,
        limits: LaneLimits,
        budget: &QueueBudget,
    ) -> Result<(LaneSender, LaneReceiver), CloseReason> {
        let (send, receive) = self.inner.accept_bi().await?;
        Ok(lane(send, receive, limits, Some(budget.clone()), LANE_PRIORITY))
    }

    /// Opens a bulk stream of a kind. The peer sees it when the first data has been sent or it was
    /// finished. Waits while [`crate::limits::BULKS_OPEN_MAX`] of this side are open.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn open_bulk(&self, kind: u8) -> Result<BulkSender, CloseReason> {
        Ok(BulkSender::new(self.inner.open_uni().await?, kind))
    }

    /// The next bulk stream that the peer has opened; its kind may still be on the way.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn accept_bulk(&self) -> Result<BulkReceiver, CloseReason> {
        Ok(BulkReceiver::new(self.inner.accept_uni().await?))
    }

    /// Opens a lane of one direction: a unidirectional stream of a kind, as bulk streams are, with frames behind the kind.
    /// The peer's `accept_bulk` sees it at once, and reads it with [`crate::FrameReceiver`]. Waits while
    /// [`crate::limits::BULKS_OPEN_MAX`] of this side are open. What queues on it above its own part comes out of `budget`.
    ///
    /// Cancel-safe: dropped before it is ready, the peer may see an empty stream.
    ///
    /// # Errors
    /// `ConnectionLost`; `StoppedByPeer`.
    pub async fn open_one_way_lane(
        &self,
        kind: u8,
        limits: LaneLimits,
        budget: Option<&QueueBudget>,
    ) -> Result<LaneSender, BulkError> {
        let lost = |error: quinn::ConnectionError| BulkError::ConnectionLost(error.into());
        let mut stream = self.inner.open_uni().await.map_err(lost)?;
        stream.write_all(&[kind]).await.map_err(write_error)?;
        Ok(sender(stream, limits, budget.cloned(), LANE_PRIORITY))
    }

    /// Closes the connection at once: what was sent and has not arrived may be lost, also frames of
    /// a lane that was not finished. `code` is a [`crate::CloseCode`] or a number of the user's own
    /// (see [`crate::CloseCode::FIRST_OF_USER`]); of `reason`, words for people,
    /// [`crate::limits::CLOSE_REASON_BYTES_MAX`] bytes are sent.
    pub fn close(&self, code: impl Into<u32>, reason: &str) {
        self.inner.close(VarInt::from_u32(code.into()), cut_reason(reason));
    }

    /// Waits for the connection's end and says how it came.
    ///
    /// Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        self.inner.closed().await.into()
    }

    /// How the connection ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.close_reason().map(CloseReason::from)
    }

    /// Whether both are the same connection.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.inner.stable_id() == other.inner.stable_id()
    }

    /// The address from which the connection was made, which the handshake has proved. Rights go by this one: that of
    /// [`Connection::remote_address`] may be a sender's claim that nobody has looked into yet.
    #[must_use]
    pub fn proven_address(&self) -> IpAddr {
        self.proven
    }

    /// The same, with the port from which the peer sends now.
    #[must_use]
    pub fn proven_remote(&self) -> SocketAddr {
        SocketAddr::new(self.proven, self.inner.remote_address().port())
    }

    /// Where the peer is now, as it says. Changes when a client moves.
    #[must_use]
    pub fn remote_address(&self) -> SocketAddr {
        canonical(self.inner.remote_address())
    }

    /// How many acknowledgements have come from the peer. Its QUIC stack sends one within 25 ms of whatever was sent to it, as
    /// long as its process runs, whether or not anybody there reads.
    #[must_use]
    pub fn acknowledgements_count(&self) -> u64 {
        self.inner.stats().frame_rx.acks
    }

    /// The present estimate of the round trip.
    #[must_use]
    pub fn rtt(&self) -> Duration {
        self.inner.rtt()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("protocol", &self.protocol)
            .field("remote_address", &self.remote_address())
            .field("close_reason", &self.close_reason())
            .finish()
    }
}
