//! A lane's recipe calls that only read: taken in, made fresh, run beside everything else, answered. The lane waits for none
//! of it.

use std::sync::PoisonError;

use quorate_core::draft::ReadRecords;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::request::Call;
use quorate_wire::message::{Consistency, Results};
use tokio::sync::OwnedSemaphorePermit;

use super::{Face, Lane, audit_read, deliver, fresh, read_reply};
use crate::read_calls::{Answered, Taken};
use crate::reads::Client;
use crate::registry::Attachment;

impl Lane {
    /// Goes on beside the lane until it is answered, or the lane ends. One that there is no room for is refused at once.
    pub(super) async fn start_call(&mut self, request: u64, consistency: Consistency, call: Call) {
        let (face, attachment) = (self.face.clone(), self.attachment.clone());
        let told = attachment.auditor().and_then(|auditor| auditor.will_call(&call));
        let admitted = face.audit.admit_call();
        let taken = match admitted.and_then(|()| face.read_calls.take(&self.calls, &call)) {
            Ok(taken) => taken,
            Err(refusal) => {
                let (zxid, refused) = (face.registry.zxid(), Err(refusal));
                if let Some(query) = told {
                    audit_read(&attachment, &query, zxid, &refused);
                }
                // Waits for a client that does not read: it can not send more meanwhile.
                attachment.deliver(read_reply(&attachment, zxid, request, refused)).await;
                return;
            }
        };
        let client = self.client();
        self.reads.spawn(async move {
            let recipe = call.recipe.clone();
            let (_turn, (zxid, result)) =
                match run(&face, client, &attachment, &taken, consistency, call).await {
                    Ok((answered, turn)) => (Some(turn), answered),
                    Err(refusal) => (None, (face.registry.zxid(), Err(refusal))),
                };
            if result.as_ref().is_err_and(|refusal| refusal.code == ErrorCode::Compiling) {
                face.compile(&recipe);
            }
            let results = result.map(Results::Called);
            if let Some(query) = told {
                audit_read(&attachment, &query, zxid, &results);
            }
            deliver(&face, &attachment, request, zxid, results).await;
        });
    }
}

async fn run(
    face: &Face,
    client: Client,
    attachment: &Attachment,
    taken: &Taken,
    consistency: Consistency,
    call: Call,
) -> Result<(Answered, OwnedSemaphorePermit), Refusal> {
    if consistency != Consistency::Stale {
        fresh(face, attachment, consistency == Consistency::Linearizable).await?;
    }
    face.read_calls.run(taken, client, call).await
}

impl Face {
    /// A recipe is needed that this member has not compiled: its component may have found no place among those that wait.
    fn compile(&self, recipe: &str) {
        let version = self.reads.tree().active_version(recipe);
        if let (Some(version), Some(compiler)) = (version, self.compiler.get()) {
            compiler.lock().unwrap_or_else(PoisonError::into_inner).want(version.component);
        }
    }
}
