//! A lane's scans and snapshots: taken in, made fresh, answered, and sent beside everything else. The lane waits for none of
//! it, but for a client that does not take its refusals.

use quorate_core::error::Refusal;
use quorate_wire::message::{Consistency, Results};
use tokio::time::timeout;

use super::{Face, Lane, audit_read, deliver, fresh, read_reply};
use crate::backlog::WaitingRead;
use crate::limits;
use crate::registry::Attachment;
use crate::scans;
use crate::snapshots;

impl Lane {
    /// Goes on beside the lane until it is sent or the lane ends. One that there is no room for is refused at once.
    pub(super) async fn start_scan(&mut self, read: WaitingRead) {
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        let lane_room = self.scan_room.take("this session", limits::SCANS_PER_LANE_MAX);
        let rooms = lane_room.and_then(|lane_room| {
            let whose = "all sessions at this member together";
            Ok((lane_room, face.scan_room.take(whose, limits::SCANS_MAX)?))
        });
        let rooms = match rooms {
            Ok(rooms) => rooms,
            Err(refusal) => {
                // Waits for a client that does not read: it can not send more meanwhile.
                return refuse(&face, &attachment, &read, refusal).await;
            }
        };
        let (connection, client) = (self.connection.clone(), self.client());
        self.reads.spawn(async move {
            let _rooms = rooms;
            let opened = async {
                face.audit.admit_read(&read.query)?;
                if read.consistency != Consistency::Stale {
                    let is_linearizable = read.consistency == Consistency::Linearizable;
                    fresh(&face, &attachment, is_linearizable).await?;
                }
                scans::open(face.reads.at_once(), client, &read.query)
            };
            match opened.await {
                Ok(opened) => {
                    let results = Ok(Results::Scan { mark: opened.mark });
                    audit_read(&attachment, &read.query, opened.zxid, &results);
                    let told = deliver(&face, &attachment, read.request, opened.zxid, results);
                    if timeout(limits::SCAN_BEHIND_MAX, told).await.is_err() {
                        return attachment.cut("it does not take the answer to a scan");
                    }
                    scans::send(&connection, opened).await;
                }
                Err(refusal) => refuse(&face, &attachment, &read, refusal).await,
            }
        });
    }

    /// Goes on beside the lane until it is sent or the lane ends. A second one at a time is refused at once.
    pub(super) async fn start_snapshot(&mut self, read: WaitingRead) {
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        // Its stream counts among those of scans: one is left to events.
        let rooms = snapshots::room(self.snapshot_room.clone()).and_then(|room| {
            Ok((room, self.scan_room.take("this session", limits::SCANS_PER_LANE_MAX)?))
        });
        let rooms = match rooms {
            Ok(rooms) => rooms,
            Err(refusal) => {
                // Waits for a client that does not read: it can not send more meanwhile.
                return refuse(&face, &attachment, &read, refusal).await;
            }
        };
        let client = self.client();
        let connection = self.connection.clone();
        self.reads.spawn(async move {
            let _rooms = rooms;
            let opened = async {
                let is_linearizable = read.consistency == Consistency::Linearizable;
                face.audit.admit_read(&read.query)?;
                if read.consistency != Consistency::Stale {
                    fresh(&face, &attachment, is_linearizable).await?;
                }
                face.reads.require_whole_tree(client)?;
                snapshots::open(&*face.snapshots, &read.query).await
            };
            let opened = opened.await;
            let zxid = face.registry.zxid();
            match opened {
                Ok(outgoing) => {
                    let results = Ok(Results::Snapshot(outgoing.place));
                    audit_read(&attachment, &read.query, zxid, &results);
                    let reply = read_reply(&attachment, zxid, read.request, results);
                    let told = attachment.deliver(reply);
                    if timeout(limits::SNAPSHOT_BEHIND_MAX, told).await.is_err() {
                        return attachment.cut("it does not take the answer to a snapshot");
                    }
                    snapshots::send(&connection, outgoing).await;
                }
                Err(refusal) => refuse(&face, &attachment, &read, refusal).await,
            }
        });
    }
}

/// Answers with a refusal, and audits it.
pub(super) async fn refuse(
    face: &Face,
    attachment: &Attachment,
    read: &WaitingRead,
    refusal: Refusal,
) {
    let (zxid, refused) = (face.registry.zxid(), Err(refusal));
    audit_read(attachment, &read.query, zxid, &refused);
    attachment.deliver(read_reply(attachment, zxid, read.request, refused)).await;
}
