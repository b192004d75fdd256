//! A lane's watches: taken in, made fresh, opened beside everything else, answered; and the event lane that their events go
//! out on. What they are told, and when, is not known here (`watches`).

use std::sync::Arc;

use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_net::{BulkError, Connection, LaneError, LaneLimits};
use quorate_wire::message::watch::{
    EVENT_FRAME_BYTES_MAX, EVENT_LANE, EventMessage, Watch, Watched,
};
use quorate_wire::message::{Consistency, Query, Results};
use tokio::time::timeout;

use super::{Face, Lane, audit_read, deliver, fresh, read_reply};
use crate::limits;
use crate::principals::{Kind, Principal};
use crate::reads::Client;
use crate::registry::Attachment;
use crate::watches::{NotOpen, Opening};

impl Lane {
    /// Takes a watch in, in its place on the lane; the rest goes on beside it. One that there is no room for is refused at
    /// once.
    pub(super) async fn start_watch(
        &mut self,
        request: u64,
        consistency: Consistency,
        watch: Watch,
    ) {
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        let client = self.client();
        let whose = (attachment.number, client);
        let asked = Query::Watch(watch.clone());
        let begun = face
            .audit
            .admit_read(&asked)
            .and_then(|()| begin(&face, whose, &attachment, &watch))
            // Its session may have ended just before.
            .and_then(|opening| attachment.require_session().map(|()| opening));
        let opening = match begun {
            Ok(opening) => opening,
            Err(refusal) => {
                let (zxid, refused) = (face.registry.zxid(), Err(refusal));
                audit_read(&attachment, &asked, zxid, &refused);
                attachment.deliver(read_reply(&attachment, zxid, request, refused)).await;
                return;
            }
        };
        if !std::mem::replace(&mut self.has_event_lane, true) {
            let (connection, attachment) = (self.connection.clone(), self.attachment.clone());
            self.reads.spawn(write_events(connection, attachment));
        }
        let room = self.reads_room.clone();
        self.reads.spawn(async move {
            // Not on the lane, on which heartbeats come: how many watches may wait here is bounded by themselves.
            let Ok(_room) = room.acquire().await else { return };
            let opened = open(&face, client, &attachment, opening, consistency, &watch).await;
            let opened =
                opened.map_err(|refusal| attachment.require_session().err().unwrap_or(refusal));
            let (zxid, results) = match opened {
                Ok((zxid, watched)) => (zxid, Ok(Results::Watched(watched))),
                Err(refusal) => (face.registry.zxid(), Err(refusal)),
            };
            audit_read(&attachment, &asked, zxid, &results);
            deliver(&face, &attachment, request, zxid, results).await;
        });
    }

    /// Ends a watch, in its place on the lane.
    pub(super) async fn end_watch(&mut self, request: u64, watch: u64) {
        self.face.registry.watches().close(self.attachment.number, watch);
        let (zxid, ended) = (self.face.registry.zxid(), Ok(Results::Unwatched));
        audit_read(&self.attachment, &Query::Unwatch(watch), zxid, &ended);
        let answer = read_reply(&self.attachment, zxid, request, ended);
        self.attachment.deliver(answer).await;
    }
}

/// Takes a watch in, if its client and the client's principal may have one more.
fn begin(
    face: &Face,
    whose: (u64, Client),
    attachment: &Attachment,
    watch: &Watch,
) -> Result<Opening, Refusal> {
    let of_principal = |principal: &Arc<Principal>| principal.take(Kind::Watches, 1);
    let counted = attachment.principal().map(of_principal).transpose()?;
    let opening = face.registry.watches().begin(whose, &attachment.outbox, watch)?;
    opening.count(counted);
    Ok(opening)
}

/// Opens a watch; up to where its events are queued.
async fn open(
    face: &Face,
    client: Client,
    attachment: &Attachment,
    mut opening: Opening,
    consistency: Consistency,
    watch: &Watch,
) -> Result<(Zxid, Watched), Refusal> {
    if consistency != Consistency::Stale {
        fresh(face, attachment, consistency == Consistency::Linearizable).await?;
    }
    opening.prepare().await?;
    let (position, first) = match watch.from {
        Some(from) => {
            reached(face, from).await?;
            (from, None)
        }
        None => face.reads.begin(client, watch.first.as_deref())?,
    };
    match opening.open(position).await {
        Ok(zxid) => Ok((zxid, Watched::Open { first })),
        Err(NotOpen::NotHere { oldest }) => Ok((face.registry.zxid(), Watched::NotHere { oldest })),
        Err(NotOpen::Refused(refusal)) => Err(refusal),
    }
}

/// Returns when this member has applied a position that a client brings. One that no member can have applied is refused: it is of
/// another cluster, or of this one before it was restored.
async fn reached(face: &Face, position: Zxid) -> Result<(), Refusal> {
    if face.registry.zxid() >= position {
        return Ok(());
    }
    let reached = async {
        // What was applied anywhere is applied here behind it.
        face.barrier.pass().await?;
        let applied = face.reads.tree().meta().zxid;
        if applied < position {
            let message =
                format!("there is no transaction {position} yet: the last one is {applied}");
            return Err(Refusal::new(ErrorCode::BadArguments, message));
        }
        face.registry.reached(position).await;
        Ok(())
    };
    timeout(limits::READ_TIMEOUT, reached).await.unwrap_or_else(|_| {
        let message = format!(
            "this member has applied {}, and not the position {position} yet",
            face.registry.zxid()
        );
        Err(Refusal::new(ErrorCode::NoLeader, message))
    })
}

/// Writes the events of an attachment until it is over, or its client does not want them: then there are none any more.
async fn write_events(connection: Connection, attachment: Arc<Attachment>) {
    let outbox = attachment.outbox.clone();
    if let Err(error) = write_until_over(&connection, &attachment).await {
        tracing::debug!(session = attachment.session.0, %error, "its event lane has ended");
    }
    outbox.end();
}

async fn write_until_over(
    connection: &Connection,
    attachment: &Attachment,
) -> Result<(), EventLaneError> {
    let limits = LaneLimits {
        frame_bytes_max: EVENT_FRAME_BYTES_MAX,
        queue_bytes_max: limits::EVENT_LANE_QUEUE_BYTES,
        queue_bytes_own: limits::EVENT_LANE_QUEUE_BYTES,
    };
    let lane = connection.open_one_way_lane(EVENT_LANE, limits, None).await?;
    let head = EventMessage::Head { session: attachment.session, attachment: attachment.number };
    lane.send(head.encode()).await?;
    while let Some(frame) = attachment.outbox.next().await {
        let bytes = frame.len();
        lane.send(frame).await?;
        attachment.outbox.written(bytes);
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum EventLaneError {
    #[error("{0}")]
    Open(#[from] BulkError),
    #[error("{0}")]
    Send(#[from] LaneError),
}
