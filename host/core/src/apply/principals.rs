//! What the sessions of a principal hold together is counted where it is counted for each of them. Who is refused was settled
//! before (`txn::principals`).

use crate::draft::{Draft, ReadRecords};
use crate::key;
use crate::principal::Holding;
use crate::read::Read;

/// A principal's sessions hold so many more of these, or less.
pub(super) fn changed<R: Read>(draft: &mut Draft<R>, principal: &str, what: Holding, by: i64) {
    if principal.is_empty() || by == 0 {
        return;
    }
    let before = draft.holdings(principal);
    let after = before.plus(what, by).unwrap_or_else(|| {
        panic!("the sessions of the principal {principal} would hold less than nothing: {what:?}")
    });
    if after.is_empty() {
        draft.delete(key::principal(principal));
    } else {
        draft.put(key::principal(principal), after.encode());
    }
}
