//! The tree as a stream, to a client, beside its lane. It does not know what is in a snapshot, nor how checkpoints are kept.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_net::Connection;
use quorate_raft::Node;
use quorate_raft::snapshot::{Identity, OutgoingReader};
use quorate_wire::message::bulk;
use quorate_wire::message::query::{Query, SnapshotPlace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::paced::{self, Pieces, Terms};

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
    let ToClient { place, reader, number } = outgoing;
    let terms = Terms {
        bytes_per_second_min: limits::SNAPSHOT_BYTES_PER_SECOND_MIN,
        behind_max: limits::SNAPSHOT_BEHIND_MAX,
        whole_max: None,
    };
    let head = bulk::snapshot_head(number, &place);
    let sent = paced::send(connection, (bulk::SNAPSHOT, head), Stream(reader), terms).await;
    if let Err(why) = sent {
        tracing::debug!(remote = %connection.remote_address(), why, "a snapshot was not sent to its end");
    }
}

struct Stream(OutgoingReader);

impl Pieces for Stream {
    fn next(&mut self) -> io::Result<Bytes> {
        self.0.read(limits::SNAPSHOT_PIECE_BYTES)
    }
}
