//! Bulk streams: bytes in one direction beside the lane, opened by either side, with one byte that
//! says which kind. They do not know what kinds there are.
//!
//! The bytes of a bulk stream: its kind (one byte), then its data to the end of the stream. There
//! are no frames in it, unless its kind says so ([`crate::frames`]). A peer that does not read one holds up only that one (see
//! [`crate::limits`]).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::close::{CloseCode, CloseReason};
use crate::limits::STREAM_WINDOW_BYTES;

/// Why a bulk stream did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// The peer, sending, cut it off.
    #[error("the peer cut the stream with code {code}")]
    CutByPeer {
        /// Mostly [`CloseCode::Abandoned`].
        code: u64,
    },
    /// The peer, receiving, does not want more.
    #[error("the peer stopped reading the stream with code {code}")]
    StoppedByPeer {
        /// Mostly [`CloseCode::Abandoned`].
        code: u64,
    },
    /// The stream ended before its kind.
    #[error("protocol error: a bulk stream without a kind")]
    Empty,
    /// The stream is longer than the receiver allows.
    #[error("the stream is longer than {bytes_max} bytes")]
    TooLong {
        /// Bytes that were allowed.
        bytes_max: usize,
    },
    /// The connection ended.
    #[error("connection {0}")]
    ConnectionLost(CloseReason),
    /// The stream has been stopped or finished here.
    #[error("the stream has been closed here")]
    Closed,
    /// The peer did not acknowledge the last bytes by the deadline of `finish`.
    #[error("the stream's last bytes were not acknowledged in time")]
    FinishTimedOut,
}

/// Sends a bulk stream. Dropped without `finish`, the stream is cut with [`CloseCode::Abandoned`].
#[derive(Debug)]
pub struct BulkSender {
    stream: SendStream,
    // The kind, until the first data goes out with it.
    kind: Option<u8>,
    is_finished: bool,
}

/// Receives a bulk stream. Dropped before its end, the peer is told to stop with
/// [`CloseCode::Abandoned`].
#[derive(Debug)]
pub struct BulkReceiver {
    stream: RecvStream,
    kind: Option<u8>,
    is_ended: bool,
}

impl BulkSender {
    pub(crate) fn new(stream: SendStream, kind: u8) -> Self {
        Self { stream, kind: Some(kind), is_finished: false }
    }

    /// Sends data of any length, and waits while the peer's window is full.
    ///
    /// Not cancel-safe: dropped halfway, a part has been sent, and nobody knows how much; cut the
    /// stream then.
    ///
    /// # Errors
    /// `StoppedByPeer`, `ConnectionLost`, `Closed`.
    pub async fn send(&mut self, data: Bytes) -> Result<(), BulkError> {
        match self.kind.take() {
            Some(kind) => {
                let mut chunks = [Bytes::copy_from_slice(&[kind]), data];
                self.stream.write_all_chunks(&mut chunks).await.map_err(write_error)
            }
            None => self.stream.write_chunk(data).await.map_err(write_error),
        }
    }

    /// Ends the stream, and waits until the peer's machine has acknowledged all of it, at most for
    /// `deadline`; then the rest is cut off.
    ///
    /// # Errors
    /// `FinishTimedOut`, `StoppedByPeer`, `ConnectionLost`.
    pub async fn finish(mut self, deadline: Duration) -> Result<(), BulkError> {
        let delivered = async {
            if self.kind.is_some() {
                self.send(Bytes::new()).await?;
            }
            self.stream.finish().map_err(|_| BulkError::Closed)?;
            match self.stream.stopped().await {
                Ok(None) => Ok(()),
                Ok(Some(code)) => Err(BulkError::StoppedByPeer { code: code.into_inner() }),
                Err(quinn::StoppedError::ConnectionLost(error)) => {
                    Err(BulkError::ConnectionLost(error.into()))
                }
                Err(quinn::StoppedError::ZeroRttRejected) => Err(early_data_refused()),
            }
        };
        let delivered = tokio::time::timeout(deadline, delivered).await;
        self.is_finished = delivered.is_ok();
        delivered.unwrap_or(Err(BulkError::FinishTimedOut))
    }

    /// Cuts the stream: what the peer has not read yet, it may never see.
    pub fn cut(mut self, code: impl Into<u32>) {
        self.is_finished = true;
        // Fails if the stream has ended.
        self.stream.reset(VarInt::from_u32(code.into())).ok();
    }
}

impl Drop for BulkSender {
    fn drop(&mut self) {
        if !self.is_finished {
            self.stream.reset(CloseCode::Abandoned.varint()).ok();
        }
    }
}

impl BulkReceiver {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, kind: None, is_ended: false }
    }

    /// The stream's kind. Waits for its first byte; afterwards it is known. To be asked before any
    /// `recv`, which skips it.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// `Empty`, `CutByPeer`, `ConnectionLost`.
    pub async fn kind(&mut self) -> Result<u8, BulkError> {
        if let Some(kind) = self.kind {
            return Ok(kind);
        }
        match self.read(1).await?.as_deref() {
            Some([kind]) => {
                self.kind = Some(*kind);
                Ok(*kind)
            }
            _ => Err(BulkError::Empty),
        }
    }

    /// The next piece of data, of any length but 0; `None` at the end.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// `CutByPeer`, `ConnectionLost`, `Closed`, and `Empty` if the stream has no kind.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, BulkError> {
        self.kind().await?;
        self.read(STREAM_WINDOW_BYTES as usize).await
    }

    /// All data to the end. Memory grows with what arrives.
    ///
    /// Not cancel-safe: what has been read is lost.
    ///
    /// # Errors
    /// `TooLong`, after which the peer has been told to stop ([`CloseCode::ProtocolError`]); else
    /// as `recv`.
    pub async fn recv_to_end(mut self, bytes_max: usize) -> Result<Bytes, BulkError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.recv().await? {
            if piece.len() > bytes_max - all.len() {
                self.stop(CloseCode::ProtocolError);
                return Err(BulkError::TooLong { bytes_max });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Tells the peer to stop; what is under way is thrown away.
    pub fn stop(mut self, code: impl Into<u32>) {
        self.is_ended = true;
        // Fails if the stream has ended.
        self.stream.stop(VarInt::from_u32(code.into())).ok();
    }

    async fn read(&mut self, bytes_max: usize) -> Result<Option<Bytes>, BulkError> {
        match self.stream.read_chunk(bytes_max, true).await {
            Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
            Ok(None) => {
                self.is_ended = true;
                Ok(None)
            }
            Err(error) => {
                self.is_ended = true;
                Err(read_error(error))
            }
        }
    }
}

impl Drop for BulkReceiver {
    fn drop(&mut self) {
        if !self.is_ended {
            self.stream.stop(CloseCode::Abandoned.varint()).ok();
        }
    }
}

pub(crate) fn write_error(error: WriteError) -> BulkError {
    match error {
        WriteError::Stopped(code) => BulkError::StoppedByPeer { code: code.into_inner() },
        WriteError::ConnectionLost(error) => BulkError::ConnectionLost(error.into()),
        WriteError::ClosedStream => BulkError::Closed,
        WriteError::ZeroRttRejected => early_data_refused(),
    }
}

fn read_error(error: ReadError) -> BulkError {
    match error {
        ReadError::Reset(code) => BulkError::CutByPeer { code: code.into_inner() },
        ReadError::ConnectionLost(error) => BulkError::ConnectionLost(error.into()),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead => BulkError::Closed,
        ReadError::ZeroRttRejected => early_data_refused(),
    }
}

/// Unreachable while 0-RTT is off (see `tls`); said honestly all the same.
fn early_data_refused() -> BulkError {
    BulkError::ConnectionLost(CloseReason::Transport("early data was refused".to_owned()))
}
