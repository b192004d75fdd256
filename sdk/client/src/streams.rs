//! Bulk streams that a member opens, handed to those who have asked for them. It does not know what is in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quorate_net::{BulkReceiver, CloseCode, Connection};
use quorate_wire::message::bulk;
use quorate_wire::message::query::SnapshotPlace;
use tokio::sync::mpsc;

/// Streams of one number that wait for their reader: one of each connection that broke while it was asked for.
const WAITING_MAX: usize = 4;

/// What a stream is, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// A snapshot from this place.
    Snapshot(SnapshotPlace),
    /// The scan whose answer has this mark.
    Scan { mark: u64 },
}

/// A stream with its head read.
pub(crate) struct Opened {
    pub(crate) head: Head,
    pub(crate) stream: BulkReceiver,
    /// What came with the head.
    pub(crate) first: Bytes,
}

type Waiting = BTreeMap<u64, mpsc::Sender<Opened>>;

/// Who waits for which number. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Streams {
    waiting: Arc<Mutex<Waiting>>,
}

/// A number for which streams are taken in until this is dropped.
pub(crate) struct Expected {
    streams: Streams,
    number: u64,
    opened: mpsc::Receiver<Opened>,
}

impl Streams {
    /// Takes in the streams of this number from now on.
    pub(crate) fn expect(&self, number: u64) -> Expected {
        let (sender, opened) = mpsc::channel(WAITING_MAX);
        self.lock().insert(number, sender);
        Expected { streams: self.clone(), number, opened }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the member opens on a connection, until that ends.
    pub(crate) async fn accept(self, connection: Connection) {
        while let Ok(stream) = connection.accept_bulk().await {
            // A head that does not come holds up the next streams of this member, and nobody else.
            if let Some((number, opened)) = read_head(stream).await {
                let waiting = self.lock().get(&number).cloned();
                // Nobody waits any more: dropped, which tells the member to stop.
                if let Some(Err(error)) = waiting.map(|waiting| waiting.try_send(opened)) {
                    tracing::debug!(%error, number, "a stream that nobody reads");
                }
            }
        }
    }
}

async fn read_head(mut stream: BulkReceiver) -> Option<(u64, Opened)> {
    let head_bytes = match stream.kind().await.ok()? {
        bulk::SNAPSHOT => bulk::SNAPSHOT_HEAD_BYTES,
        bulk::SCAN => bulk::SCAN_HEAD_BYTES,
        _ => {
            stream.stop(CloseCode::ProtocolError);
            return None;
        }
    };
    let mut head = BytesMut::new();
    while head.len() < head_bytes {
        head.extend_from_slice(&stream.recv().await.ok()??);
    }
    let first = head.split_off(head_bytes).freeze();
    let (number, head) = if head_bytes == bulk::SCAN_HEAD_BYTES {
        let (number, mark) = bulk::read_scan_head(head.first_chunk()?);
        (number, Head::Scan { mark })
    } else {
        let (number, place) = bulk::read_snapshot_head(head.first_chunk()?);
        (number, Head::Snapshot(place))
    };
    Some((number, Opened { head, stream, first }))
}

impl Expected {
    /// The number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next stream that was opened.
    pub(crate) async fn next(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.number);
    }
}
