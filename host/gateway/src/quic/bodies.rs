//! Bodies of bulk writes as they arrive on their own streams. It does not know which write they belong to.

use bytes::Bytes;
use quorate_core::limits as core_limits;
use quorate_net::{BulkReceiver, Connection};
use quorate_wire::message::bulk;
use tokio::sync::mpsc;

/// Reads the bodies of bulk writes, one after the other.
pub(super) async fn read_bodies(
    connection: Connection,
    bodies: mpsc::Sender<Result<(u64, Bytes), String>>,
) {
    while let Ok(stream) = connection.accept_bulk().await {
        let body = read_body(stream).await;
        if bodies.send(body).await.is_err() {
            return;
        }
    }
}

async fn read_body(mut stream: BulkReceiver) -> Result<(u64, Bytes), String> {
    let kind = stream.kind().await.map_err(|error| error.to_string())?;
    if kind != bulk::WRITE_BODY {
        return Err(format!("a bulk stream of the unknown kind {kind}"));
    }
    let whole = stream
        .recv_to_end(core_limits::FRAME_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())?;
    bulk::split(whole).map_err(|error| error.to_string())
}
