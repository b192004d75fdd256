//! Which quotas there are, and how much of each is used: looked up, never counted.

use super::{Listing, node};
use crate::draft::ReadRecords;
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::quota::{Metered, Used};
use crate::read::{Direction, Read};

/// A quota, as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaUse {
    /// The top of the subtree.
    pub path: String,
    /// What is in it, its top included; nothing if that is not there.
    pub used: Used,
    /// What may be, and what came of it.
    pub metered: Metered,
}

/// What is in a subtree, its top included: nothing if that is not there.
pub(crate) fn used<R: Read + ?Sized>(read: &R, top: &Path) -> Used {
    let Some(own) = node(read, top) else { return Used::default() };
    let below = read.below(top);
    Used { znodes: below.znodes + 1, bytes: below.bytes + own.data_bytes }
}

/// The quotas that this path is under, from the smallest subtree to the largest.
pub(crate) fn above<R: Read + ?Sized>(read: &R, path: &Path) -> Vec<(Path, Metered)> {
    // Most trees have none: one look-up says so.
    if read.quotas_count() == 0 {
        return Vec::new();
    }
    std::iter::successors(Some(path.clone()), Path::parent)
        .filter_map(|top| read.quota(&top).map(|metered| (top, metered)))
        .collect()
}

/// A page of quotas, in the bytewise order of their paths, behind this one, that `may_see` lets pass. A page before the last one
/// has a quota: its path is where the next one goes on.
pub fn quotas<R: Read + ?Sized>(
    read: &R,
    behind: Option<&Path>,
    limit: u32,
    may_see: impl Fn(&Path) -> bool,
) -> Listing<QuotaUse> {
    let limit = match limit {
        0 => limits::PAGE_CHILDREN_MAX,
        limit => limit.min(limits::PAGE_CHILDREN_MAX),
    };
    let (from, to) = key::quotas(behind);
    let (mut children, mut bytes) = (Vec::new(), 0);
    let paths = read.range(&from, &to, Direction::Forward);
    for path in paths.filter_map(|(key, _)| key::quota_path(&key)).filter(may_see) {
        if children.len() == limit as usize || bytes >= limits::PAGE_BYTES_MAX {
            return Listing { children, has_more: true };
        }
        let Some(metered) = read.quota(&path) else { continue };
        bytes += path.as_str().len() + limits::QUOTA_BYTES_MAX + limits::STAT_BYTES_MAX;
        let used = used(read, &path);
        children.push(QuotaUse { path: path.as_str().to_owned(), used, metered });
    }
    Listing { children, has_more: false }
}
