//! Creations and settings are counted at each quota that they fall under. Who is refused was settled before (`txn::quotas`).

use crate::draft::{Draft, ReadRecords, count_record};
use crate::ids::Millis;
use crate::key;
use crate::path::Path;
use crate::query;
use crate::quota::{Metered, Quota};
use crate::read::Read;

/// A subtree has another quota from now on, or none.
pub(super) fn quota_set<R: Read>(draft: &mut Draft<R>, path: &Path, quota: Option<&Quota>) {
    let before = draft.quota(path);
    let count = draft.quotas_count() + u64::from(quota.is_some()) - u64::from(before.is_some());
    if count == 0 {
        draft.delete(key::quotas_count());
    } else {
        draft.put(key::quotas_count(), count_record(count));
    }
    match quota {
        None => draft.delete(key::quota(path)),
        Some(quota) => {
            let warned_count = before.map_or(0, |before| before.warned_count);
            let metered = Metered { quota: *quota, warned_count, ..Metered::default() };
            draft.put(key::quota(path), metered.encode());
        }
    }
}

/// A znode was created or set: what is below and beside it is counted already.
pub(super) fn written<R: Read>(draft: &mut Draft<R>, path: &Path, now: Millis) {
    for (top, mut metered) in query::quota::above(draft, path) {
        let used = query::quota::used(draft, &top);
        metered.count(used, now);
        draft.put(key::quota(&top), metered.encode());
    }
}
