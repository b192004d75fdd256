//! What an attachment sends to its client on: a lane of QUIC, and in tests a list.

use std::net::IpAddr;

use bytes::Bytes;
use quorate_net::{Connection, LaneError, LaneHandle, TrySendError};

/// The member's end of a client's lane, as far as it is sent on.
pub enum ClientLane {
    /// Over QUIC, with the connection that it is on.
    Quic(LaneHandle, Connection),
    /// Kept for a test.
    #[cfg(test)]
    Kept(std::sync::Arc<std::sync::Mutex<Vec<Bytes>>>),
}

impl ClientLane {
    /// See [`LaneHandle::try_send`].
    pub(super) fn try_send(&self, frame: Bytes) -> Result<(), TrySendError> {
        match self {
            Self::Quic(lane, _) => lane.try_send(frame),
            #[cfg(test)]
            Self::Kept(frames) => {
                super::lock(frames).push(frame);
                Ok(())
            }
        }
    }

    /// Where the client was when it connected: what the handshake has proved.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Quic(_, connection) => Some(connection.proven_address()),
            #[cfg(test)]
            Self::Kept(_) => None,
        }
    }

    /// Whether nobody can be at its other end any more.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Quic(_, connection) => connection.close_reason().is_some(),
            #[cfg(test)]
            Self::Kept(_) => false,
        }
    }

    /// See [`LaneHandle::send`].
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), LaneError> {
        match self {
            Self::Quic(lane, _) => lane.send(frame).await,
            #[cfg(test)]
            Self::Kept(frames) => {
                super::lock(frames).push(frame);
                Ok(())
            }
        }
    }
}

impl From<(LaneHandle, Connection)> for ClientLane {
    fn from((lane, connection): (LaneHandle, Connection)) -> Self {
        Self::Quic(lane, connection)
    }
}
