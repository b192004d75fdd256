//! The tree as a stream, to a client, beside its lane. It does not know what is in a snapshot, nor how checkpoints are kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_net::{BulkError, CloseCode, Connection};
use quorate_raft::Node;
use quorate_raft::snapshot::{Identity, OutgoingReader};
use quorate_wire::message::bulk;
use quorate_wire::message::query::{Query, SnapshotPlace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits;

/// Where streams come from.
pub trait Snapshots: Send + Sync {
    /// The stream that is asked for, from that place, if it is still there; else a new one with all that was applied here
    /// before the call.
    ///
    /// # Errors
    /// `overloaded` when too many are being sent, `internal` when the disk refuses.
    fn open(
        &self,
        go_on: Option<SnapshotPlace>,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, Refusal>> + Send + '_>>;
}

/// A stream, and what of it comes next.
pub struct Opened {
    /// Where it begins.
    pub place: SnapshotPlace,
    /// Reads from there.
    pub reader: OutgoingReader,
}

/// A stream with the number by which its client knows it.
pub(crate) struct ToClient {
    pub(crate) place: SnapshotPlace,
    reader: OutgoingReader,
    number: u64,
}

/// Of a member's raft.
pub(crate) struct NodeSnapshots {
    pub(crate) node: Arc<Node>,
}

impl Snapshots for NodeSnapshots {
    fn open(
        &self,
        go_on: Option<SnapshotPlace>,
    ) -> Pin<Box<dyn Future<Output = Result<Opened, Refusal>> + Send + '_>> {
        Box::pin(async move {
            let known = go_on.and_then(|place| {
                Some((self.node.find_snapshot(Identity(place.identity))?, place.offset))
            });
            let (outgoing, offset) = match known {
                Some(known) => known,
                None => (self.node.snapshot().await.map_err(refusal)?, 0),
            };
            let identity = outgoing.identity().0;
            let reader = tokio::task::spawn_blocking(move || outgoing.reader(offset));
            let reader = reader.await.map_err(io::Error::other).flatten().map_err(refusal)?;
            Ok(Opened { place: SnapshotPlace { identity, offset }, reader })
        })
    }
}

fn refusal(error: io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::WouldBlock => ErrorCode::Overloaded,
        io::ErrorKind::InvalidInput => ErrorCode::BadArguments,
        io::ErrorKind::StorageFull => ErrorCode::DiskFull,
        _ => ErrorCode::Internal,
    };
    Refusal::new(code, format!("the snapshot can not be read: {error}"))
}

/// Whether a query is answered by a stream.
pub(crate) fn is_asked_for(query: &Query) -> bool {
    matches!(query, Query::Snapshot { .. })
}

/// Room of a lane for one.
pub(crate) fn room(room: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    room.try_acquire_owned().map_err(|_| {
        let message = "this session is being sent a snapshot already";
        Refusal::new(ErrorCode::Overloaded, message)
    })
}

/// Opens what a query asks for.
pub(crate) async fn open(from: &dyn Snapshots, query: &Query) -> Result<ToClient, Refusal> {
    let Query::Snapshot { bulk, go_on } = query else {
        return Err(Refusal::new(ErrorCode::Internal, "a query that asks for no snapshot"));
    };
    let Opened { place, reader } = from.open(*go_on).await?;
    Ok(ToClient { place, reader, number: *bulk })
}

/// Sends it. A client that does not read holds up nobody else; one that leaves ends it.
pub(crate) async fn send(connection: &Connection, outgoing: ToClient) {
    if let Err(why) = send_pieces(connection, outgoing).await {
        tracing::debug!(remote = %connection.remote_address(), why, "a snapshot was not sent to its end");
    }
}

async fn send_pieces(connection: &Connection, outgoing: ToClient) -> Result<(), String> {
    let ToClient { place, mut reader, number } = outgoing;
    let words = |error: BulkError| error.to_string();
    let opened = connection.open_bulk(bulk::SNAPSHOT).await;
    let mut sender = opened.map_err(|error| error.to_string())?;
    sender.send(bulk::snapshot_head(number, &place)).await.map_err(words)?;
    let mut pace = Pace::new(Instant::now());
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let piece = reader.read(limits::SNAPSHOT_PIECE_BYTES);
            (reader, piece)
        });
        let (again, piece) = read.await.map_err(|error| error.to_string())?;
        reader = again;
        match piece {
            Ok(piece) if piece.is_empty() => break,
            Ok(piece) => {
                let bytes = piece.len() as u64;
                match timeout(pace.left(Instant::now()), sender.send(piece)).await {
                    Ok(sent) => sent.map_err(words)?,
                    Err(_) => {
                        sender.cut(CloseCode::Abandoned);
                        return Err("it is taken too slowly".to_owned());
                    }
                }
                pace.taken(bytes, Instant::now());
            }
            Err(error) => {
                tracing::error!(%error, "a checkpoint can not be read");
                sender.cut(CloseCode::Abandoned);
                return Err(error.to_string());
            }
        }
    }
    sender.finish(limits::SNAPSHOT_FAREWELL).await.map_err(words)
}

/// Whether a client takes what it is sent fast enough.
struct Pace {
    /// When it is too slow, if it takes nothing more.
    until: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { until: now + limits::SNAPSHOT_BEHIND_MAX }
    }

    /// How long it is waited for.
    fn left(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }

    /// It has taken so much. To have been fast before helps no further than to the begin.
    fn taken(&mut self, bytes: u64, now: Instant) {
        let earned_ms = bytes.saturating_mul(1000) / limits::SNAPSHOT_BYTES_PER_SECOND_MIN;
        let earned = self.until + Duration::from_millis(earned_ms);
        self.until = earned.min(now + limits::SNAPSHOT_BEHIND_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many seconds a client stays that takes so many bytes in each.
    fn lasts(bytes_per_second: u64) -> u32 {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for second in 0..10_000 {
            if pace.left(now).is_zero() {
                return second;
            }
            now += SECOND;
            pace.taken(bytes_per_second, now);
        }
        10_000
    }

    #[test]
    fn a_client_that_does_not_read_or_only_a_little_is_cut_off() {
        assert_eq!(lasts(0), 30);
        assert!(lasts(limits::SNAPSHOT_BYTES_PER_SECOND_MIN / 2) <= 61);
        assert_eq!(lasts(limits::SNAPSHOT_BYTES_PER_SECOND_MIN), 10_000);
    }

    #[test]
    fn to_have_been_fast_is_no_reason_to_stand_still() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.taken(100 << 30, now + SECOND);
        assert_eq!(pace.left(now + SECOND), limits::SNAPSHOT_BEHIND_MAX);
    }
}
