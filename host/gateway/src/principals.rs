//! What the clients of one principal have under way on this member, over all their connections: counted beside what each of
//! them has, and bounded, so that one principal leaves room for the others. It does not know lanes; what is counted is given
//! back when the [`Counted`] is dropped, wherever that happens to be.
//!
//! Clients without a principal are counted nowhere here: they have their own bounds, and the member's.
//!
//! What was counted may pass a bound by what a few lanes ask at the same moment: looking and counting are two steps.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::principal::masked;
use quorate_core::request::Class;

use crate::limits;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writes that wait for their reply, parked calls among them.
    Writes,
    /// Bytes of those.
    WriteBytes,
    /// Reads that wait until they are fresh enough, and for their answer to be taken.
    Reads,
    /// Blocks of recipe calls that only read.
    ReadCallBlocks,
    /// Watches.
    Watches,
}

impl Kind {
    const COUNT: usize = 5;

    /// What it is, how many there may be, and the error above that.
    fn bound(self) -> (&'static str, usize, ErrorCode) {
        match self {
            Self::Writes => (
                "writes that wait for their reply",
                limits::OUTSTANDING_WRITES_PER_PRINCIPAL_MAX,
                ErrorCode::Overloaded,
            ),
            Self::WriteBytes => (
                "bytes of writes that wait for their reply",
                limits::OUTSTANDING_BYTES_PER_PRINCIPAL_MAX,
                ErrorCode::Overloaded,
            ),
            Self::Reads => (
                "reads that wait for their answer",
                limits::OUTSTANDING_READS_PER_PRINCIPAL_MAX,
                ErrorCode::Overloaded,
            ),
            Self::ReadCallBlocks => (
                "blocks of calls that only read and are not answered",
                limits::READ_CALL_BLOCKS_PER_PRINCIPAL_MAX,
                ErrorCode::Overloaded,
            ),
            Self::Watches => {
                ("watches", limits::WATCHES_PER_PRINCIPAL_MAX, ErrorCode::TooManyWatches)
            }
        }
    }
}

type All = Arc<Mutex<BTreeMap<String, Weak<Principal>>>>;

/// The principals that have a lane on this member.
#[derive(Default)]
pub struct Principals {
    all: All,
}

impl Principals {
    /// The one of this name; none for a client that has no principal.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Arc<Principal>> {
        if name.is_empty() {
            return None;
        }
        let mut all = lock(&self.all);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return Some(known);
        }
        let (counts, others) = (Default::default(), self.all.clone());
        let principal = Arc::new(Principal { name: name.to_owned(), counts, all: others });
        all.insert(name.to_owned(), Arc::downgrade(&principal));
        Some(principal)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.all).len()
    }
}

/// One principal, for as long as it has a lane here.
pub struct Principal {
    name: String,
    counts: [AtomicUsize; Kind::COUNT],
    all: All,
}

impl Principal {
    /// How much of this is counted.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// Whether there is room for so much more.
    ///
    /// # Errors
    /// `overloaded`, `too-many-watches`; naming the limit, its value and the principal.
    pub fn check(&self, kind: Kind, amount: usize) -> Result<(), Refusal> {
        let (what, max, code) = kind.bound();
        let value = self.count(kind).saturating_add(amount);
        if value <= max {
            return Ok(());
        }
        let name = masked(&self.name);
        let message = format!(
            "{what}, of all sessions of the principal {name} on this member: {value} is over the limit of {max}"
        );
        Err(Refusal::new(code, message))
    }

    /// Whether there is room for a new write. One that only frees something is never refused for its principal's sake.
    ///
    /// # Errors
    /// As [`Principal::check`].
    pub fn check_write(&self, class: Class, bytes: usize) -> Result<(), Refusal> {
        match class {
            Class::Relief => Ok(()),
            Class::Ordinary => {
                self.check(Kind::Writes, 1).and_then(|()| self.check(Kind::WriteBytes, bytes))
            }
        }
    }

    /// Counts so much, whether there is room or not: what was taken before has its place.
    #[must_use]
    pub fn add(self: &Arc<Self>, kind: Kind, amount: usize) -> Counted {
        self.counts[kind as usize].fetch_add(amount, Ordering::Relaxed);
        Counted { principal: self.clone(), kind, amount }
    }

    /// Counts so much, if there is room.
    ///
    /// # Errors
    /// As [`Principal::check`].
    pub fn take(self: &Arc<Self>, kind: Kind, amount: usize) -> Result<Counted, Refusal> {
        self.check(kind, amount).map(|()| self.add(kind, amount))
    }
}

impl Drop for Principal {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        // Another one of the same name may have come since the last holder let go.
        if all.get(&self.name).is_some_and(|known| known.strong_count() == 0) {
            all.remove(&self.name);
        }
    }
}

/// What is counted for a principal until this is dropped.
pub struct Counted {
    principal: Arc<Principal>,
    kind: Kind,
    amount: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.principal.counts[self.kind as usize].fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What is behind the lock is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_one_for_all_its_lanes_and_gone_with_the_last_of_what_it_had() {
        let principals = Principals::default();
        assert!(principals.named("").is_none());
        let (one, again) = (principals.named("a").unwrap(), principals.named("a").unwrap());
        let other = principals.named("b").unwrap();
        assert!(Arc::ptr_eq(&one, &again) && principals.count() == 2);
        let counted = one.take(Kind::Watches, 2).unwrap();
        assert_eq!((again.count(Kind::Watches), again.count(Kind::Writes)), (2, 0));
        assert_eq!(other.count(Kind::Watches), 0);
        drop((one, again));
        // What is counted may outlast the lane, and is counted still when the next one comes.
        assert_eq!(principals.named("a").unwrap().count(Kind::Watches), 2);
        drop(counted);
        assert_eq!(principals.count(), 1);
        assert_eq!(principals.named("a").unwrap().count(Kind::Watches), 0);
    }

    #[test]
    fn each_bound_is_named_with_its_value_and_whose_it_is() {
        let principals = Principals::default();
        let principal = principals.named("digest:user:hash").unwrap();
        for kind in
            [Kind::Writes, Kind::WriteBytes, Kind::Reads, Kind::ReadCallBlocks, Kind::Watches]
        {
            let (what, max, code) = kind.bound();
            let full = principal.take(kind, max).unwrap();
            let refusal = principal.take(kind, 3).err().unwrap();
            assert_eq!(refusal.code, code);
            let told = format!(
                "{what}, of all sessions of the principal digest:user:x on this member: {} is over the limit of {max}",
                max + 3
            );
            assert_eq!(refusal.message, told);
            drop(full);
            assert!(principal.take(kind, max).is_ok());
        }
    }
}
