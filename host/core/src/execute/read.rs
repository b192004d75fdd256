//! A recipe call as a read: one run on a tree that does not change, of which nothing stays but the result. Which tree, and how
//! fresh it is, was settled before.

use bytes::Bytes;

use super::run::{Asked, run};
use crate::access::Asker;
use crate::draft::{ReadRecords, View};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{CallId, WriteNumber, Zxid};
use crate::read::SharedRead;
use crate::recipe::{Reason, Recipes, RunEnd};
use crate::request::Call;
use crate::transaction::Origin;
use crate::txn::{Slot, Txn};

/// Runs a call of the session of whoever asks on a tree that must not change meanwhile, and gives the encoded result with the zxid that it
/// reflects. The run sees the time and the zxid of the last transaction of that tree, and 0 as its number: it has none.
///
/// # Errors
/// Those of a call. `read-only` if the run tries to change anything, or to wait.
pub fn read_call(
    tree: SharedRead,
    asker: &Asker,
    call: &Call,
    recipes: &mut dyn Recipes,
) -> (Zxid, Result<Bytes, Refusal>) {
    // Whoever has no session has made no call before.
    let session = asker.session.unwrap_or_default();
    let view = View::new(tree);
    let meta = view.meta();
    let slot = Slot { zxid: meta.zxid, time: meta.time, batch: 0 };
    let asked = Asked {
        id: CallId { session, write: WriteNumber(0) },
        call,
        parked: None,
        reason: Reason::First,
        may_park: false,
        as_read: true,
    };
    let mut txn = Txn::begin(view, slot, Origin::Host);
    txn.act_for(asker.clone());
    let (txn, end) = run(txn, &asked, recipes);
    let _unchanged = txn.forget();
    let result = match end {
        RunEnd::Returned { value, .. } => Ok(value),
        RunEnd::Failed(refusal) => Err(refusal),
        RunEnd::Parked { .. } => {
            Err(Refusal::new(ErrorCode::Internal, "a run that may only read has parked"))
        }
    };
    (meta.zxid, result)
}
