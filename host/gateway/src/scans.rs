//! Subtrees as streams to clients, each of one state of the tree. It does not know how fresh that has to be, nor how fast a
//! client has to take it.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorate_core::access::{Asker, ask};
use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::path::Path;
use quorate_core::query::scan::Scan;
use quorate_core::read::SharedRead;
use quorate_net::Connection;
use quorate_wire::message::query::Query;
use quorate_wire::message::{bulk, scan};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits;
use crate::paced::{self, Pieces, Terms};
use crate::reads::Client;

/// Room for scans, of a lane or of a member.
#[derive(Clone)]
pub struct ScanRoom(Arc<Semaphore>);

impl ScanRoom {
    /// Of all lanes of a member.
    #[must_use]
    pub fn of_member() -> Self {
        Self(Arc::new(Semaphore::new(limits::SCANS_MAX)))
    }

    /// Of one lane.
    #[must_use]
    pub fn of_lane() -> Self {
        Self(Arc::new(Semaphore::new(limits::SCANS_PER_LANE_MAX)))
    }

    /// Takes room for one scan, if there is any.
    ///
    /// # Errors
    /// `overloaded`, naming whose room is used up and how much that is.
    pub(crate) fn take(&self, whose: &str, max: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| {
            let message = format!("{whose} is being sent scans up to the limit of {max}");
            Refusal::new(ErrorCode::Overloaded, message)
        })
    }
}

/// Whether a query is answered by the stream of a scan.
pub(crate) fn is_asked_for(query: &Query) -> bool {
    matches!(query, Query::Scan { .. })
}

/// A scan that has been asked for, before its first znode.
pub(crate) struct Opened {
    /// The state that all of it is of.
    pub(crate) zxid: Zxid,
    /// What tells this stream from others of the same number.
    pub(crate) mark: u64,
    number: u64,
    items: Items,
}

/// Begins what a query asks for on this tree, which stays as it is until all has been sent.
///
/// # Errors
/// `bad-path`, `no-node`, `no-access`, `bad-arguments`; `internal` for another query, or without random bytes.
pub(crate) fn open(tree: SharedRead, client: Client, query: &Query) -> Result<Opened, Refusal> {
    let Query::Scan { bulk, path, after, with_data } = query else {
        return Err(Refusal::new(ErrorCode::Internal, "a query that asks for no scan"));
    };
    let zxid = tree.meta().zxid;
    let after = after.as_deref().map(Path::parse).transpose()?;
    let (top, asker) = (Path::parse(path)?, client.asker(&*tree));
    ask::require_read(&*tree, &asker, &top)?;
    let scan = Scan::new(tree.clone(), top, after.as_ref(), *with_data)?;
    let mark = getrandom::u64().map_err(|error| {
        Refusal::new(ErrorCode::Internal, format!("no random bytes for a scan: {error}"))
    })?;
    Ok(Opened {
        zxid,
        mark,
        number: *bulk,
        items: Items { scan: Some(scan), tree, asker, count: 0 },
    })
}

/// Sends it. A client that does not read holds up nobody else; one that leaves ends it.
pub(crate) async fn send(connection: &Connection, opened: Opened) {
    let terms = Terms {
        bytes_per_second_min: limits::SCAN_BYTES_PER_SECOND_MIN,
        behind_max: limits::SCAN_BEHIND_MAX,
        whole_max: Some(limits::SCAN_TIME_MAX),
    };
    let head = bulk::scan_head(opened.number, opened.mark);
    if let Err(why) = paced::send(connection, (bulk::SCAN, head), opened.items, terms).await {
        tracing::debug!(remote = %connection.remote_address(), why, "a scan was not sent to its end");
    }
}

/// The items of a scan; nothing once the end was among them.
struct Items {
    scan: Option<Scan<SharedRead>>,
    tree: SharedRead,
    asker: Asker,
    count: u64,
}

impl Pieces for Items {
    fn next(&mut self) -> io::Result<Bytes> {
        let mut piece = BytesMut::new();
        while piece.len() < limits::SCAN_PIECE_BYTES {
            let Some(scan) = &mut self.scan else { break };
            match scan.next() {
                // What its client may not read is left out, as by a watch of the subtree.
                Some(found)
                    if ask::require_read(&*self.tree, &self.asker, &found.path).is_err() => {}
                Some(found) => {
                    self.count += 1;
                    scan::Item::Znode(found).write(&mut piece);
                }
                None => {
                    scan::Item::End { count: self.count }.write(&mut piece);
                    self.scan = None;
                }
            }
        }
        Ok(piece.freeze())
    }
}
