//! Reads of a lane that have to wait: whether there is room for them among those of their client's principal, and how they are
//! refused. How they are made fresh is the lane's.

use std::sync::Arc;

use quorate_core::error::Refusal;

use super::{Face, Lane, audit_read, read_reply};
use crate::backlog::WaitingRead;
use crate::principals::{Counted, Kind, Principal};
use crate::registry::Attachment;

impl Lane {
    /// Counts reads for their client's principal, if it has one. None: there is no room for them, and they have been refused.
    pub(super) async fn counted(
        &self,
        reads: Vec<WaitingRead>,
    ) -> Option<(Vec<WaitingRead>, Option<Counted>)> {
        let of_principal = |one: &Arc<Principal>| one.take(Kind::Reads, reads.len());
        match self.attachment.principal().map(of_principal).transpose() {
            Ok(counted) => Some((reads, counted)),
            Err(refusal) => {
                // Waits for a client that does not read: it can not send more meanwhile.
                for read in reads {
                    refuse(&self.face, &self.attachment, read, &refusal).await;
                }
                None
            }
        }
    }
}

/// Answers a read with a refusal.
pub(super) async fn refuse(
    face: &Face,
    attachment: &Attachment,
    read: WaitingRead,
    refusal: &Refusal,
) {
    let (zxid, refused) = (face.registry.zxid(), Err(refusal.clone()));
    audit_read(attachment, &read.query, zxid, &refused);
    attachment.deliver(read_reply(attachment, zxid, read.request, refused)).await;
}
