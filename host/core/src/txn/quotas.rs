//! Quotas: who is refused, before anything is changed. What is counted is `apply`'s.

use std::collections::BTreeMap;

use super::Txn;
use crate::access::Permissions;
use crate::access::check::Target;
use crate::change::Change;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::limits;
use crate::path::Path;
use crate::query;
use crate::quota::{Bounds, Metered, PACE_PER_S_MAX, Quota};
use crate::transaction::Origin;

/// What changes would bring to a subtree with a quota.
#[derive(Default)]
struct Planned {
    metered: Metered,
    znodes_added: u64,
    bytes_before: u64,
    bytes_after: u64,
    writes_count: u64,
}

impl Txn {
    /// Bounds what may be in a subtree.
    ///
    /// # Errors
    /// `bad-path`; `no-access`, for whoever may not operate the cluster; `limit`, at the most quotas.
    pub fn set_quota(&mut self, text: &str, quota: Option<Quota>) -> Result<(), Refusal> {
        self.check_may_change()?;
        let path = Path::parse(text)?;
        self.require(Permissions::OPERATE, Target::Cluster)?;
        let pace = quota.map_or_else(Bounds::default, |quota| quota.writes_per_s);
        if let Some(per_s) = pace.soft.max(pace.hard).filter(|per_s| *per_s > PACE_PER_S_MAX) {
            return Err(Refusal::limit("writes a second of a quota", per_s, PACE_PER_S_MAX));
        }
        let before = self.draft.quota(&path);
        if before.is_none() && quota.is_some() {
            let count = self.draft.quotas_count();
            if count >= limits::QUOTAS_MAX {
                return Err(Refusal::limit("quotas", count + 1, limits::QUOTAS_MAX));
            }
        }
        if before.map(|metered| metered.quota) == quota {
            return Ok(());
        }
        self.record(Change::QuotaSet { path, quota })
    }

    /// Whether these changes, one after the other, keep to the quotas that they are under. Deletions always do.
    pub(super) fn check_quotas(&self, changes: &[Change]) -> Result<(), Refusal> {
        let mut planned: BTreeMap<Path, Planned> = BTreeMap::new();
        for change in changes {
            let (path, after) = match change {
                Change::NodeCreated { path, data, .. } | Change::DataSet { path, data, .. } => {
                    (path, data.len() as u64)
                }
                _ => continue,
            };
            for (top, metered) in query::quota::above(&self.draft, path) {
                let node = query::node(&self.draft, path);
                let plan = planned.entry(top).or_default();
                plan.metered = metered;
                plan.znodes_added += u64::from(matches!(change, Change::NodeCreated { .. }));
                plan.bytes_before += node.map_or(0, |node| node.data_bytes);
                plan.bytes_after += after;
                plan.writes_count += 1;
            }
        }
        planned.iter().try_for_each(|(top, plan)| self.check_plan(top, plan))
    }

    fn check_plan(&self, top: &Path, plan: &Planned) -> Result<(), Refusal> {
        let Quota { znodes, bytes, writes_per_s } = plan.metered.quota;
        let used = query::quota::used(&self.draft, top);
        let passed = |what: &str, value: u64, bound: u64| {
            let message =
                format!("the subtree {top} would have {value} {what}; its quota is {bound}");
            Err(Refusal::new(ErrorCode::QuotaPassed, message))
        };
        let value = used.znodes + plan.znodes_added;
        if let Some(bound) = znodes.hard.filter(|bound| plan.znodes_added > 0 && value > *bound) {
            return passed("znodes", value, bound);
        }
        let value = used.bytes - plan.bytes_before + plan.bytes_after;
        let grows = plan.bytes_after > plan.bytes_before;
        if let Some(bound) = bytes.hard.filter(|bound| grows && value > *bound) {
            return passed("bytes of data", value, bound);
        }
        // A call that has waited is counted, and not refused: a lock must change hands, and its line is not to be lost.
        let has_waited = matches!(self.origin, Origin::Rerun { .. });
        if let Some(per_s) = writes_per_s.hard.filter(|_| !has_waited) {
            if plan.writes_count > per_s {
                return Err(Refusal::limit(
                    "creations and settings at once in a subtree with a quota of their pace",
                    plan.writes_count,
                    per_s,
                ));
            }
            let [_, mut pace] = plan.metered.paces;
            for _ in 0..plan.writes_count {
                if !pace.has_room(per_s, self.slot.time) {
                    let message = format!(
                        "the subtree {top} is written faster than its quota of {per_s} creations and settings a second"
                    );
                    return Err(Refusal::new(ErrorCode::TooManyWrites, message));
                }
                pace.pass(per_s, self.slot.time);
            }
        }
        Ok(())
    }
}
