//! Warnings of subtrees that are above a soft bound of their quota, in the log of the member that leads: what is to be said now
//! ([`Told`]), and who looks ([`watch`]). It reads the applied tree now and then, beside everything else: no write knows of it,
//! and none waits. How use is counted is the core's (`quorate_core::quota`).
//!
//! Looked at from time to time, a subtree that was above and below again in between is known by its count of writes above a
//! soft bound, which stands in the tree; so is a pace, which is above its bound in single moments only.

use std::collections::BTreeMap;
use std::fmt;

use quorate_core::draft::ReadRecords;
use quorate_core::path::Path;
use quorate_core::query::Listing;
use quorate_core::query::quota::{QuotaUse, quotas};
use quorate_core::quota::Quota;
use quorate_core::read::SharedRead;
use tokio::time::{Instant, MissedTickBehavior};

use crate::limits;

/// What was found of one quota, and said of it.
struct Known {
    quota: Quota,
    /// Writes above a soft bound so far.
    warned_count: u64,
    /// That it is above, as long as nothing else was said.
    said: Option<Said>,
    /// The look at which it was last there.
    look: u64,
}

/// That a subtree is above a soft bound.
struct Said {
    at: Instant,
    /// Writes above a soft bound until then.
    warned_count: u64,
    /// When it was last found above.
    above: Instant,
}

/// What was said of which quota. Kept for one leadership: the next leader begins anew.
#[derive(Default)]
struct Told {
    quotas: BTreeMap<String, Known>,
    look: u64,
    /// Lines that this look may still have.
    lines_left: usize,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// A subtree is above a soft bound, or was written above it since this was last looked at.
    Above(String),
    /// It is no longer.
    Below(String),
}

impl Told {
    /// A new look at all quotas begins.
    fn begin(&mut self) {
        self.look += 1;
        self.lines_left = limits::QUOTA_LINES_PER_LOOK_MAX;
    }

    /// What is to be said of a quota, by how it is now.
    fn look_at(&mut self, found: &QuotaUse, now: Instant) -> Option<Line> {
        if self.lines_left == 0 {
            // As if it had not been looked at: its turn comes when the others have been told.
            if let Some(known) = self.quotas.get_mut(&found.path) {
                known.look = self.look;
            }
            return None;
        }
        let line = self.judge(found, now);
        self.lines_left -= usize::from(line.is_some());
        line
    }

    fn judge(&mut self, found: &QuotaUse, now: Instant) -> Option<Line> {
        let Some(known) = self.quotas.get_mut(&found.path) else {
            // What happened before this member led was another's to tell.
            let mut known = Known::of(found, self.look);
            let line = known.judge(found, false, now);
            self.quotas.insert(found.path.clone(), known);
            return line;
        };
        if known.quota != found.metered.quota {
            *known = Known::of(found, self.look);
        }
        let grew = found.metered.warned_count > known.warned_count;
        known.look = self.look;
        known.warned_count = found.metered.warned_count;
        known.judge(found, grew, now)
    }

    /// All quotas were looked at: those that were not there are gone.
    fn end(&mut self) {
        let look = self.look;
        self.quotas.retain(|_, known| known.look == look);
    }

    /// Whether something may have to be said later although nothing is written any more.
    fn waits(&self) -> bool {
        self.lines_left == 0 || self.quotas.values().any(|known| known.said.is_some())
    }
}

impl Known {
    fn of(found: &QuotaUse, look: u64) -> Self {
        let (quota, warned_count) = (found.metered.quota, found.metered.warned_count);
        Self { quota, warned_count, said: None, look }
    }

    /// `grew`: whether there were writes above a soft bound since the look before.
    fn judge(&mut self, found: &QuotaUse, grew: bool, now: Instant) -> Option<Line> {
        let warned_count = found.metered.warned_count;
        let is_above = grew || Passed::sizes(found).next().is_some();
        match &mut self.said {
            None if is_above => {
                self.said = Some(Said { at: now, warned_count, above: now });
                Some(Line::Above(above(found)))
            }
            None => None,
            Some(said) if is_above => {
                said.above = now;
                let is_due = now.duration_since(said.at) >= limits::QUOTA_WARN_EVERY;
                if !is_due || warned_count == said.warned_count {
                    return None;
                }
                self.said = Some(Said { at: now, warned_count, above: now });
                Some(Line::Above(above(found)))
            }
            Some(said) if now.duration_since(said.above) >= limits::QUOTA_CALM => {
                self.said = None;
                Some(Line::Below(below(found)))
            }
            Some(_) => None,
        }
    }
}

/// A soft bound of a size that is passed.
struct Passed {
    what: &'static str,
    value: u64,
    bound: u64,
}

impl Passed {
    fn sizes(found: &QuotaUse) -> impl Iterator<Item = Self> {
        let (quota, used) = (&found.metered.quota, found.used);
        let sizes =
            [("znodes", used.znodes, quota.znodes), ("bytes of data", used.bytes, quota.bytes)];
        let passed = sizes.map(|(what, value, bounds)| {
            bounds.soft.filter(|bound| value > *bound).map(|bound| Self { what, value, bound })
        });
        passed.into_iter().flatten()
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, above its soft bound of {}", self.value, self.what, self.bound)
    }
}

fn above(found: &QuotaUse) -> String {
    let passed: Vec<String> = Passed::sizes(found).map(|one| one.to_string()).collect();
    let QuotaUse { path, metered, used } = found;
    let count = metered.warned_count;
    let what = if !passed.is_empty() {
        format!("has {}", passed.join(", and "))
    } else if let Some(per_s) = metered.quota.writes_per_s.soft {
        format!("was written faster than its soft bound of {per_s} creations and settings a second")
    } else {
        let (znodes, bytes) = (used.znodes, used.bytes);
        format!(
            "was above a soft bound for a while; now it has {znodes} znodes and {bytes} bytes of data"
        )
    };
    format!("the subtree {path} {what}; writes above a soft bound so far: {count}")
}

fn below(found: &QuotaUse) -> String {
    let QuotaUse { path, metered, used } = found;
    format!(
        "the subtree {path} is within its soft bounds again: it has {} znodes and {} bytes of data; writes above a soft bound so \
         far: {}",
        used.znodes, used.bytes, metered.warned_count
    )
}

/// Looks at all quotas again and again and tells the log. Never ends; to be dropped when this member leads no longer.
pub(crate) async fn watch(tree: SharedRead) {
    let mut looks = tokio::time::interval(limits::QUOTA_LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut seen) = (Told::default(), None);
    loop {
        looks.tick().await;
        let zxid = tree.meta().zxid;
        if seen != Some(zxid) || told.waits() {
            look(&tree, &mut told).await;
            seen = Some(zxid);
        }
    }
}

/// One look. Others have their turn after each page.
async fn look(tree: &SharedRead, told: &mut Told) {
    told.begin();
    let mut behind: Option<Path> = None;
    loop {
        let Listing { children, has_more } =
            quotas(tree, behind.as_ref(), limits::QUOTAS_PAGE, |_| true);
        for found in &children {
            match told.look_at(found, Instant::now()) {
                None => {}
                Some(Line::Above(line)) => tracing::warn!("{line}"),
                Some(Line::Below(line)) => tracing::info!("{line}"),
            }
        }
        behind = children.last().and_then(|last| Path::parse(&last.path).ok());
        if !has_more || behind.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    told.end();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
