//! Receives a lane of one direction: a stream that was accepted as a bulk stream, whose kind says that it carries frames. It does
//! not know what they say; [`crate::Connection::open_one_way_lane`] is its other end.

use crate::bulk::{BulkError, BulkReceiver};
use crate::close::CloseCode;
use crate::frame::{Decoder, FrameTooLong};

use bytes::Bytes;

/// Why a lane of one direction gives no more frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer announced a frame over the limit, and has been told to stop.
    #[error("protocol error: {0}")]
    TooLong(FrameTooLong),
    /// The peer ended the stream inside a frame.
    #[error("protocol error: the stream ended inside a frame")]
    Truncated,
    /// The stream did not get through.
    #[error(transparent)]
    Stream(#[from] BulkError),
}

/// The frames of a stream. Dropped before its end, the peer is told to stop.
///
/// What is not received stays at the peer, beyond one stream window: not to call `recv` is back-pressure.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: Option<BulkReceiver>,
    decoder: Decoder,
}

impl FrameReceiver {
    /// Of a stream of which nothing but its kind has been read. `frame_bytes_max`: the largest payload of a frame.
    #[must_use]
    pub fn new(stream: BulkReceiver, frame_bytes_max: u32) -> Self {
        Self { stream: Some(stream), decoder: Decoder::new(frame_bytes_max) }
    }

    /// The next frame; `None` once the peer has finished the stream and all its frames have been received.
    ///
    /// Cancel-safe: dropped before it is ready, no byte is lost.
    ///
    /// # Errors
    /// See [`FrameError`]. After an error there are no more frames.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(frame) = self.recv_ready()? {
                return Ok(Some(frame));
            }
            let Some(stream) = &mut self.stream else { return Ok(None) };
            match stream.recv().await {
                Ok(Some(piece)) => self.decoder.feed(piece),
                Ok(None) => {
                    self.stream = None;
                    if !self.decoder.is_at_boundary() {
                        return Err(FrameError::Truncated);
                    }
                }
                Err(error) => {
                    self.stream = None;
                    return Err(error.into());
                }
            }
        }
    }

    /// The next frame that has already been taken out of QUIC, without waiting.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn recv_ready(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.decoder.next_frame().map_err(|too_long| {
            if let Some(stream) = self.stream.take() {
                stream.stop(CloseCode::ProtocolError);
            }
            FrameError::TooLong(too_long)
        })
    }
}
