//! What a lane tells the audit log: who has come on it, and what was read. Writes are told where they are answered, by the
//! attachment.

use std::sync::Arc;

use quorate_core::draft::ReadRecords;
use quorate_core::error::Refusal;
use quorate_core::ids::Zxid;
use quorate_core::principal::masked;
use quorate_net::Connection;
use quorate_wire::message::{Attach, Hello, Query, Results, Welcome};

use super::Face;
use crate::audit::{Auditor, Who};
use crate::registry::Attachment;

/// Tells the audit log who has come, and the attachment whom it serves.
pub(super) fn audit_attach(
    face: &Face,
    hello: &Hello,
    connection: &Connection,
    attached: &Result<(Arc<Attachment>, Welcome), Refusal>,
) {
    if !face.audit.is_on() {
        return;
    }
    let (is_new, asked) = match &hello.attach {
        Attach::New { .. } => (true, None),
        Attach::Resume { session, .. } => (false, Some(*session)),
    };
    let attachment = attached.as_ref().ok().map(|(attachment, _)| attachment);
    let session = attachment.map(|attachment| attachment.session).or(asked);
    let record = attachment.and_then(|attachment| face.reads.tree().session(attachment.session));
    let (principal, identities) = record.map_or_else(Default::default, |record| {
        let identities = record.identities.iter().map(|held| held.identity.masked().to_string());
        (masked(&record.principal), identities.collect())
    });
    let who =
        Arc::new(Who { session, principal, identities, remote: Some(connection.remote_address()) });
    if let Some(attachment) = attachment {
        attachment.audit_with(Auditor::new(&face.audit, who.clone()));
    }
    face.audit.attached(
        &who,
        is_new,
        attached.as_ref().map(|_| ()).map_err(|refusal| refusal.code),
    );
}

/// A read is answered with this.
pub(super) fn audit_read(
    attachment: &Attachment,
    query: &Query,
    zxid: Zxid,
    results: &Result<Results, Refusal>,
) {
    if let Some(auditor) = attachment.auditor() {
        auditor.read(query, zxid, results);
    }
}
