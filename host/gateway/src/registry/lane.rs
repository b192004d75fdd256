//! What an attachment sends to its client on: a lane of QUIC, and in tests a list.

use bytes::Bytes;
use quorate_net::{LaneError, LaneHandle, TrySendError};

/// The member's end of a client's lane, as far as it is sent on.
pub enum ClientLane {
    /// Over QUIC.
    Quic(LaneHandle),
    /// Kept for a test.
    #[cfg(test)]
    Kept(std::sync::Arc<std::sync::Mutex<Vec<Bytes>>>),
}

impl ClientLane {
    /// See [`LaneHandle::try_send`].
    pub(super) fn try_send(&self, frame: Bytes) -> Result<(), TrySendError> {
        match self {
            Self::Quic(lane) => lane.try_send(frame),
            #[cfg(test)]
            Self::Kept(frames) => {
                super::lock(frames).push(frame);
                Ok(())
            }
        }
    }

    /// See [`LaneHandle::send`].
    pub(super) async fn send(&self, frame: Bytes) -> Result<(), LaneError> {
        match self {
            Self::Quic(lane) => lane.send(frame).await,
            #[cfg(test)]
            Self::Kept(frames) => {
                super::lock(frames).push(frame);
                Ok(())
            }
        }
    }
}

impl From<LaneHandle> for ClientLane {
    fn from(lane: LaneHandle) -> Self {
        Self::Quic(lane)
    }
}
