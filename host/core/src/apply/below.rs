//! How much is below each znode: counted along the ancestors of whatever comes, goes or changes its size, so that nobody has
//! to walk a subtree to know. Records are there for znodes with children only.

use crate::draft::{Draft, ReadRecords};
use crate::key;
use crate::path::Path;
use crate::read::Read;

/// A znode was created (`znodes` 1), deleted (-1) or set (0), and has so many bytes of data more than before.
pub(super) fn changed<R: Read>(draft: &mut Draft<R>, path: &Path, znodes: i64, bytes: i64) {
    if znodes == 0 && bytes == 0 {
        return;
    }
    let mut at = path.parent();
    while let Some(ancestor) = at {
        let key = key::below(&ancestor);
        let before = draft.below(&ancestor);
        let after = before
            .plus(znodes, bytes)
            .unwrap_or_else(|| panic!("less than nothing would be below the znode {ancestor}"));
        if after.znodes == 0 {
            draft.delete(key);
        } else {
            draft.put(key, after.encode());
        }
        at = ancestor.parent();
    }
}
