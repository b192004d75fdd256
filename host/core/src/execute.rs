//! From a request to a transaction: the one function from (view, request, recipes) to (view, transaction). Whether a
//! write may be executed at all was decided before (`session::admit`); when a parked call runs again is the sequencer's.

mod deploy;
mod operation;
mod read;
mod run;

pub use self::deploy::replaced_by;
use self::operation::tree_operation;
pub use self::read::read_call;
use self::run::{Asked, run};
use crate::access::{Asker, Held};
use crate::draft::{ReadRecords, View};
use crate::error::{ErrorCode, Refusal};
use crate::ids::SessionId;
use crate::level::Level;
use crate::limits;
use crate::path::Path;
use crate::recipe::{Interest, Reason, Recipes, RunEnd};
use crate::request::{Answer, Body, Call, Failure, Operation, Reply, Request};
use crate::session::{End, Opening, Parked};
use crate::transaction::{Origin, Transaction};
use crate::txn::{Slot, Txn};

/// What came of a write.
pub struct Executed {
    /// The view, with the transaction's writes.
    pub view: View,
    /// The transaction; none if a call ran again, changed nothing and waits on.
    pub transaction: Option<Transaction>,
    /// What a call that parked waits for.
    pub waits: Option<Waits>,
}

/// What a parked call waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waits {
    /// What wakes it.
    pub interests: Vec<Interest>,
    /// What is replicated of it.
    pub parked: Parked,
}

impl Executed {
    fn replied((view, transaction): (View, Transaction)) -> Self {
        Self { view, transaction: Some(transaction), waits: None }
    }

    fn nothing(view: View) -> Self {
        Self { view, transaction: None, waits: None }
    }
}

/// Executes a write for the first time.
pub fn write(view: View, slot: Slot, request: &Request, recipes: &mut dyn Recipes) -> Executed {
    let origin = Origin::Write {
        session: request.session,
        write: request.write,
        hash: request.hash,
        acks: request.acks.clone(),
    };
    let mut txn = Txn::begin(view, slot, origin);
    txn.act_for(Asker::of_request(request, slot.time));
    let plain = |txn: Txn, result: Result<Answer, Failure>| {
        let may_stand = |answer| txn.check_room(0).map(|()| answer).map_err(Failure::from);
        Executed::replied(match result.and_then(may_stand) {
            Ok(answer) => txn.finish(&Reply::Done(answer)),
            Err(failure) => txn.abandon(&Reply::Refused(failure)),
        })
    };
    let changed = |mut txn: Txn, change: &dyn Fn(&mut Txn) -> Result<Answer, Refusal>| {
        let result = change(&mut txn);
        plain(txn, result.map_err(Failure::from))
    };
    let session = request.session;
    match &request.body {
        Body::Single(Operation::Call(call)) => first_run(txn, request, call, recipes),
        Body::Single(operation) => changed(txn, &|txn| {
            let answer = tree_operation(txn, operation)?;
            check_reply("bytes of a result", REPLY_HEAD_BYTES + answer.bytes_max())?;
            Ok(answer)
        }),
        Body::Multi(operations) => {
            let (txn, result) = multi(txn, request, operations, recipes);
            plain(txn, result)
        }
        // The wake-up is the sequencer's; the write itself only takes its number.
        Body::Cancel(_) => plain(txn, Ok(Answer::Done)),
        Body::CloseSession => changed(txn, &|txn| {
            txn.end_session(session, End::Closed);
            Ok(Answer::Done)
        }),
        Body::StoreChunk(chunk) => changed(txn, &|txn| deploy::store_chunk(txn, session, chunk)),
        Body::Deploy(new) => {
            if let Err(refusal) = deploy::require_deploy(&txn, &new.recipe) {
                return plain(txn, Err(refusal.into()));
            }
            let (txn, result) = deploy::activate_new(txn, request, new, recipes);
            plain(txn, result.map_err(Failure::from))
        }
        Body::Rollback { recipe, version } => {
            if let Err(refusal) = deploy::require_deploy(&txn, recipe) {
                return plain(txn, Err(refusal.into()));
            }
            let (txn, result) = deploy::activate_old(txn, recipe, *version, recipes);
            plain(txn, result.map_err(Failure::from))
        }
        Body::RemoveRecipe(recipe) => changed(txn, &|txn| {
            deploy::require_deploy(txn, recipe)?;
            deploy::remove_recipe(txn, recipe)
        }),
        Body::SetQuota { path, quota } => changed(txn, &|txn| {
            let quota = quota.filter(|quota| !quota.is_empty());
            txn.set_quota(path, quota).map(|()| Answer::Done)
        }),
        Body::Identify(shown) => {
            let mut txn = txn;
            // Also on a full disk: who frees it needs the right to.
            Executed::replied(match identify(&mut txn, session, shown) {
                Ok(()) => txn.finish(&Reply::Done(Answer::Done)),
                Err(refusal) => txn.abandon(&Reply::Refused(refusal.into())),
            })
        }
    }
}

/// A session is known as somebody more. Whether that holds until now, the time of the transaction says, and no other clock.
fn identify(
    txn: &mut Txn,
    session: SessionId,
    shown: &Result<Held, Refusal>,
) -> Result<(), Refusal> {
    let held = shown.clone()?;
    match held.expires.filter(|at| *at <= txn.time()) {
        Some(at) => {
            let message = format!("{} holds until {at}, which is over", held.identity);
            Err(Refusal::new(ErrorCode::AuthenticationFailed, message))
        }
        None => txn.add_identity(session, held),
    }
}

/// Begins the transaction of a parked call; nothing comes of it, and the view comes back, if the call is not parked any more.
fn begin_rerun(view: View, slot: Slot, request: &Request) -> Result<Txn, View> {
    let origin =
        Origin::Rerun { session: request.session, write: request.write, hash: request.hash };
    let txn = Txn::begin(view, slot, origin);
    if txn.parked(request.session, request.write).is_none() {
        return Err(txn.forget());
    }
    Ok(txn)
}

/// Runs a parked call again. A run that fails is followed by a cancelled one; if that fails too, the call is over
/// (DESIGN D4). A call that is not parked any more, because its session has ended, is not run: no transaction, no waits.
pub fn rerun(
    view: View,
    slot: Slot,
    request: &Request,
    call: &Call,
    parked: &Parked,
    reason: Reason,
    recipes: &mut dyn Recipes,
) -> Executed {
    let txn = match begin_rerun(view, slot, request) {
        Ok(txn) => txn,
        Err(view) => return Executed::nothing(view),
    };
    let asked = Asked { parked: Some(parked), reason, ..Asked::first(request, call) };
    let (txn, end) = run(txn, &asked, recipes);
    let (txn, end) = within_room(txn, end, true);
    let failed = match end {
        RunEnd::Failed(refusal) => refusal,
        end => return settle(txn, request, call, Some(parked), end),
    };
    let (txn, end) = if reason.is_last() {
        (txn, RunEnd::Failed(failed.clone()))
    } else {
        let cancelled = Asked { reason: Reason::Cancelled, ..asked };
        let (txn, end) = run(txn.restart(), &cancelled, recipes);
        within_room(txn, end, true)
    };
    match end {
        RunEnd::Failed(_) => {
            let message = format!("a waiting call failed when it was run again: {failed}");
            let code = match failed.code {
                code @ (ErrorCode::SignatureChanged | ErrorCode::DiskFull) => code,
                _ => ErrorCode::FailedAfterPark,
            };
            let refusal = Refusal::new(code, message);
            Executed::replied(txn.abandon(&Reply::Refused(refusal.into())))
        }
        end => settle(txn, request, call, Some(parked), end),
    }
}

/// Ends a parked call whose function gets another type: a cancelled run in the version that is still active (DESIGN
/// D4). What that run returns stands, as after any cancel; if it fails, the call ends with `signature-changed`.
pub fn retire(
    view: View,
    slot: Slot,
    request: &Request,
    call: &Call,
    parked: &Parked,
    recipes: &mut dyn Recipes,
) -> Executed {
    let txn = match begin_rerun(view, slot, request) {
        Ok(txn) => txn,
        Err(view) => return Executed::nothing(view),
    };
    let asked =
        Asked { parked: Some(parked), reason: Reason::Cancelled, ..Asked::first(request, call) };
    let (txn, end) = run(txn, &asked, recipes);
    let (txn, end) = within_room(txn, end, true);
    if let RunEnd::Returned { is_error: false, .. } = end {
        return settle(txn, request, call, Some(parked), end);
    }
    let message = format!(
        "the call waited while another version was activated, in which {} has another type",
        call.function
    );
    let refusal = Refusal::new(ErrorCode::SignatureChanged, message);
    Executed::replied(txn.abandon(&Reply::Refused(refusal.into())))
}

/// Ends a parked call without running it: its znodes go. No transaction if it is not parked any more.
pub fn end_parked(view: View, slot: Slot, request: &Request, refusal: Refusal) -> Executed {
    let txn = match begin_rerun(view, slot, request) {
        Ok(txn) => txn,
        Err(view) => return Executed::nothing(view),
    };
    Executed::replied(txn.abandon(&Reply::Refused(refusal.into())))
}

/// Opens a session.
///
/// # Errors
/// `limit`; the view comes back unchanged, and the number is free again.
pub fn open_session(
    view: View,
    slot: Slot,
    opening: Opening,
) -> (View, Result<Transaction, Refusal>) {
    answered(view, slot, |txn| txn.open_session(opening).map(|_| ()))
}

/// Makes a session known as somebody more, or until another time.
///
/// # Errors
/// `no-session`, `session-ended`, `limit`; the view comes back unchanged, and the number is free again.
pub fn add_identity(
    view: View,
    slot: Slot,
    session: SessionId,
    held: Held,
) -> (View, Result<Transaction, Refusal>) {
    answered(view, slot, |txn| txn.add_identity(session, held))
}

/// A transaction of the host's own that somebody waits for.
fn answered(
    view: View,
    slot: Slot,
    act: impl FnOnce(&mut Txn) -> Result<(), Refusal>,
) -> (View, Result<Transaction, Refusal>) {
    let mut txn = Txn::begin(view, slot, Origin::Host);
    match act(&mut txn) {
        Ok(()) => {
            let (view, transaction) = txn.finish_unanswered();
            (view, Ok(transaction))
        }
        Err(refusal) => (txn.forget(), Err(refusal)),
    }
}

/// Expires a session. No transaction if it has ended.
pub fn expire_session(view: View, slot: Slot, id: SessionId) -> (View, Option<Transaction>) {
    housekeeping(view, slot, |txn| txn.end_session(id, End::Expired))
}

/// Forgets an ended session. No transaction if it lives or is gone.
pub fn forget_session(view: View, slot: Slot, id: SessionId) -> (View, Option<Transaction>) {
    housekeeping(view, slot, |txn| txn.forget_session(id))
}

/// Deletes a container or TTL znode whose time has come. No transaction if it is gone, or in use again.
pub fn reap(view: View, slot: Slot, path: &Path) -> (View, Option<Transaction>) {
    housekeeping(view, slot, |txn| txn.reap(path))
}

/// Raises the feature level of the cluster. No transaction if it is there already: it never falls.
pub fn raise_level(view: View, slot: Slot, level: Level) -> (View, Option<Transaction>) {
    housekeeping(view, slot, |txn| txn.raise_level(level))
}

fn housekeeping(view: View, slot: Slot, act: impl FnOnce(&mut Txn)) -> (View, Option<Transaction>) {
    let mut txn = Txn::begin(view, slot, Origin::Host);
    act(&mut txn);
    if txn.changes().is_empty() {
        return (txn.forget(), None);
    }
    let (view, transaction) = txn.finish_unanswered();
    (view, Some(transaction))
}

fn first_run(txn: Txn, request: &Request, call: &Call, recipes: &mut dyn Recipes) -> Executed {
    let (txn, end) = run(txn, &Asked::first(request, call), recipes);
    let (txn, end) = within_room(txn, end, false);
    settle(txn, request, call, None, end)
}

/// A run that would leave the tree larger than it found it has failed while there is no room. One that ends a wait may
/// leave the little that it takes to note whose turn it is: it was taken in while there was room, and a lock must change
/// hands on a full disk too.
fn within_room(mut txn: Txn, end: RunEnd, has_waited: bool) -> (Txn, RunEnd) {
    let allowed_bytes = match end {
        RunEnd::Returned { is_error: false, .. } => {
            // What the call still owns does not stay.
            txn.end_call();
            if has_waited { limits::GROWTH_AFTER_WAIT_BYTES_MAX } else { 0 }
        }
        RunEnd::Parked { .. } => 0,
        RunEnd::Returned { is_error: true, .. } | RunEnd::Failed(_) => return (txn, end),
    };
    match txn.check_room(allowed_bytes) {
        Ok(()) => (txn, end),
        Err(refusal) => (txn, RunEnd::Failed(refusal)),
    }
}

/// Makes a transaction of how a run ended.
fn settle(
    txn: Txn,
    request: &Request,
    call: &Call,
    before: Option<&Parked>,
    end: RunEnd,
) -> Executed {
    match end {
        RunEnd::Returned { value, is_error: false } => {
            Executed::replied(txn.finish(&Reply::Done(Answer::Called(value))))
        }
        RunEnd::Returned { value, is_error: true } => {
            Executed::replied(txn.abandon(&Reply::Done(Answer::Called(value))))
        }
        RunEnd::Failed(refusal) => Executed::replied(txn.abandon(&Reply::Refused(refusal.into()))),
        RunEnd::Parked { interests, state, deadline } => {
            let version = txn.recipe(&call.recipe).and_then(|recipe| recipe.active).unwrap_or(0);
            let parked = Parked {
                hash: request.hash,
                // Fixed by the first run, whatever later ones say.
                deadline: before.map_or(deadline, |before| before.deadline),
                recipe: call.recipe.clone(),
                version,
                state,
            };
            let waits = Some(Waits { interests, parked: parked.clone() });
            if before == Some(&parked) && txn.changes().is_empty() {
                return Executed { view: txn.forget(), transaction: None, waits };
            }
            let (view, transaction) = txn.park(parked);
            Executed { view, transaction: Some(transaction), waits }
        }
    }
}

/// Bytes of a reply beside its answers.
const REPLY_HEAD_BYTES: usize = 16;

/// A reply is kept, and travels in one frame.
fn check_reply(what: &str, bytes: usize) -> Result<(), Refusal> {
    if bytes > limits::REPLY_BYTES_MAX {
        return Err(Refusal::limit(what, bytes as u64, limits::REPLY_BYTES_MAX as u64));
    }
    Ok(())
}

fn multi(
    mut txn: Txn,
    request: &Request,
    operations: &[Operation],
    recipes: &mut dyn Recipes,
) -> (Txn, Result<Answer, Failure>) {
    if operations.len() > limits::MULTI_OPERATIONS_MAX {
        let refusal = Refusal::limit(
            "operations of a multi",
            operations.len() as u64,
            limits::MULTI_OPERATIONS_MAX as u64,
        );
        return (txn, Err(refusal.into()));
    }
    let calls = operations.iter().filter(|one| matches!(one, Operation::Call(_))).count();
    if calls > limits::MULTI_CALLS_MAX {
        let refusal =
            Refusal::limit("recipe calls of a multi", calls as u64, limits::MULTI_CALLS_MAX as u64);
        return (txn, Err(refusal.into()));
    }
    let mut answers = Vec::with_capacity(operations.len());
    let mut reply_bytes = REPLY_HEAD_BYTES;
    for (index, operation) in operations.iter().enumerate() {
        let result = if let Operation::Call(call) = operation {
            let asked = Asked { may_park: false, ..Asked::first(request, call) };
            let (after, end) = run(txn, &asked, recipes);
            txn = after;
            // The call is over, and the next one has the same id: it must not find itself the owner of this one's znodes.
            txn.end_call();
            multi_call(end)
        } else {
            tree_operation(&mut txn, operation).map_err(Failure::from)
        };
        let result = result.and_then(|answer| {
            reply_bytes += answer.bytes_max();
            check_reply("bytes of the results of a multi", reply_bytes)?;
            Ok(answer)
        });
        match result {
            Ok(answer) => answers.push(answer),
            Err(failure) => {
                let operation = u32::try_from(index).ok();
                return (txn, Err(Failure { operation, ..failure }));
            }
        }
    }
    (txn, Ok(Answer::Multi(answers)))
}

fn multi_call(end: RunEnd) -> Result<Answer, Failure> {
    match end {
        RunEnd::Returned { value, is_error: false } => Ok(Answer::Called(value)),
        RunEnd::Returned { value, is_error: true } => {
            let refusal =
                Refusal::new(ErrorCode::RecipeRefused, "the function returned its error case");
            Err(Failure { refusal, operation: None, value: Some(value) })
        }
        RunEnd::Failed(refusal) => Err(refusal.into()),
        RunEnd::Parked { .. } => Err(Refusal::new(
            ErrorCode::WouldBlock,
            "the call would have to wait, but it is part of a multi",
        )
        .into()),
    }
}
