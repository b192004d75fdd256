//! One run of a call, with all that the host checks around it: who may call, what the manifest bounds, how the run may end.
//! What comes of the end is not known here.

use bytes::Bytes;

use crate::access::Permissions;
use crate::access::check::Target;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::ids::CallId;
use crate::limits;
use crate::principal::Holding;
use crate::recipe::{Interest, Reason, Recipes, Run, RunEnd};
use crate::request::{Call, Request};
use crate::session::Parked;
use crate::txn::{Txn, read_only};

/// What is to be run, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) id: CallId,
    pub(super) call: &'a Call,
    /// What is known of it from earlier runs.
    pub(super) parked: Option<&'a Parked>,
    pub(super) reason: Reason,
    /// Whether there is somebody who would run it again.
    pub(super) may_park: bool,
    /// Whether it may change nothing, whatever its manifest says.
    pub(super) as_read: bool,
}

impl<'a> Asked<'a> {
    /// The first run of a write's call.
    pub(super) fn first(request: &Request, call: &'a Call) -> Self {
        let id = CallId { session: request.session, write: request.write };
        Self { id, call, parked: None, reason: Reason::First, may_park: true, as_read: false }
    }
}

/// Runs it. A run that may only read ends with `read-only`, which names the function, if it tries anything else.
pub(super) fn run(mut txn: Txn, asked: &Asked<'_>, recipes: &mut dyn Recipes) -> (Txn, RunEnd) {
    let Asked { id, call, parked, reason, .. } = *asked;
    let Some(version) = txn.active_version(&call.recipe) else {
        let refusal = Refusal::new(
            ErrorCode::NoRecipe,
            format!("no recipe is deployed as \"{}\"", call.recipe),
        );
        return (txn, RunEnd::Failed(refusal));
    };
    // Asked when a call is made, and not when it is run again: those have nobody who asks.
    let target = Target::Recipe(&call.recipe, Some(&call.function));
    if let Err(refusal) = txn.require(Permissions::CALL, target) {
        return (txn, RunEnd::Failed(refusal));
    }
    let session = txn.session(id.session);
    let parked_count = session.as_ref().map_or(0, |session| session.parked_count);
    let principal = session.as_ref().map_or("", |session| session.principal.as_str());
    if !version.manifest.allows(principal, &call.function) {
        let message = format!(
            "the manifest of {} does not let \"{principal}\" call {}",
            call.recipe, call.function
        );
        return (txn, RunEnd::Failed(Refusal::new(ErrorCode::NoAccess, message)));
    }
    let is_read_only = asked.as_read || version.manifest.read_only.contains(&call.function);
    let run = Run {
        id,
        principal,
        version: &version,
        call,
        reason,
        state: parked.map_or_else(Bytes::new, |parked| parked.state.clone()),
        deadline: parked.and_then(|parked| parked.deadline),
        may_park: asked.may_park && !reason.is_last() && !is_read_only,
    };
    txn.begin_run(version.manifest.limits.changes, version.manifest.limits.changes_bytes);
    if is_read_only {
        txn.forbid_changes();
    }
    let (mut txn, end) = recipes.run(&run, txn);
    let end = check_end(&txn, &run, end, parked_count);
    txn.end_run();
    (txn, end)
}

fn check_end(txn: &Txn, run: &Run<'_>, end: RunEnd, parked_count: u64) -> RunEnd {
    let call = run.call;
    match end {
        RunEnd::Parked { .. } if txn.is_read_only() => {
            RunEnd::Failed(naming(call, &read_only("wait")))
        }
        RunEnd::Parked { interests, state, deadline } => {
            check_park(txn, run, &interests, &state, parked_count)
                .map_or_else(RunEnd::Failed, |()| RunEnd::Parked { interests, state, deadline })
        }
        RunEnd::Failed(refusal) if refusal.code == ErrorCode::ReadOnly => {
            RunEnd::Failed(naming(call, &refusal))
        }
        RunEnd::Returned { value, .. } if value.len() > limits::RESULT_BYTES_MAX => {
            RunEnd::Failed(Refusal::limit(
                "bytes of a call's result",
                value.len() as u64,
                limits::RESULT_BYTES_MAX as u64,
            ))
        }
        end => end,
    }
}

/// The refusal of a run that may only read, with the function that it was.
fn naming(call: &Call, refusal: &Refusal) -> Refusal {
    let message =
        format!("{} of {} runs read-only: {}", call.function, call.recipe, refusal.message);
    Refusal::new(refusal.code, message)
}

fn check_park(
    txn: &Txn,
    run: &Run<'_>,
    interests: &[Interest],
    state: &Bytes,
    parked_count: u64,
) -> Result<(), Refusal> {
    if !run.may_park {
        let why =
            if run.reason.is_last() { "this was its last run" } else { "it is part of a multi" };
        return Err(Refusal::new(
            ErrorCode::WouldBlock,
            format!("the call would have to wait, but {why}"),
        ));
    }
    if txn.has_persistent_writes() {
        let message = "the call parked after it changed a persistent znode; a waiting call writes ephemeral ones only";
        return Err(Refusal::new(ErrorCode::RecipeTrapped, message));
    }
    if interests.len() > limits::INTERESTS_MAX {
        return Err(Refusal::limit(
            "interests of a park",
            interests.len() as u64,
            limits::INTERESTS_MAX as u64,
        ));
    }
    if state.len() > limits::CALL_STATE_BYTES_MAX {
        return Err(Refusal::limit(
            "bytes of a call's state",
            state.len() as u64,
            limits::CALL_STATE_BYTES_MAX as u64,
        ));
    }
    // One that waits on is counted already.
    if run.reason != Reason::First {
        return Ok(());
    }
    if parked_count >= limits::PARKED_CALLS_PER_SESSION_MAX {
        return Err(Refusal::limit(
            "parked calls of a session",
            parked_count + 1,
            limits::PARKED_CALLS_PER_SESSION_MAX,
        ));
    }
    txn.check_holding(run.principal, Holding::ParkedCalls)
}
