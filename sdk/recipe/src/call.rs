//! The call that is being run: who made it, which run this is, what earlier runs left behind.
//! Knows nothing of the tree.

use crate::__bindings::quorate::recipe::call;

pub use call::CallId;

/// Why this run happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first run of the call.
    First,
    /// Something that the call waits for changed (or the leader did).
    Changed,
    /// The deadline has passed. The last run.
    TimedOut,
    /// The caller gave up. The last run.
    Cancelled,
    /// A new version of the recipe was activated while the call was parked.
    Upgraded,
    /// A reason that this SDK does not know yet: to be treated like [`Reason::Changed`].
    Other(u32),
}

impl Reason {
    /// Whether this run is the last one, so that it must not park.
    ///
    /// ```
    /// use quorate_recipe::call::Reason;
    /// assert!(Reason::TimedOut.is_last() && Reason::Cancelled.is_last());
    /// assert!(!Reason::Other(77).is_last());
    /// ```
    pub fn is_last(self) -> bool {
        matches!(self, Self::TimedOut | Self::Cancelled)
    }

    fn of(number: u32) -> Self {
        match number {
            0 => Self::First,
            1 => Self::Changed,
            2 => Self::TimedOut,
            3 => Self::Cancelled,
            4 => Self::Upgraded,
            other => Self::Other(other),
        }
    }
}

/// Session of the caller and number of its write: together they name this call for ever.
///
/// ```no_run
/// let mine = format!("/members/{:016x}", quorate_recipe::call::id().session);
/// ```
pub fn id() -> CallId {
    call::id()
}

/// The caller's session.
///
/// ```no_run
/// let caller = quorate_recipe::call::session();
/// ```
pub fn session() -> u64 {
    call::id().session
}

/// The name that the caller authenticated as; empty for an anonymous one.
///
/// ```no_run
/// let may_reset = quorate_recipe::call::principal() == "operator";
/// ```
pub fn principal() -> String {
    call::principal()
}

/// The time of this transaction, in milliseconds since 1970. It does not move during a run.
///
/// ```no_run
/// let expires = quorate_recipe::call::now() + 30_000;
/// ```
pub fn now() -> u64 {
    call::now()
}

/// The number of this transaction. It is larger than that of every transaction before: a grant that is made now has it
/// as its fencing token.
///
/// ```no_run
/// let token = quorate_recipe::call::zxid();
/// ```
pub fn zxid() -> u64 {
    call::zxid()
}

/// When the call is run for the last time, in milliseconds since 1970. `None`: it waits for ever.
///
/// ```no_run
/// use quorate_recipe::call;
/// let left = call::deadline().map(|deadline| deadline.saturating_sub(call::now()));
/// ```
pub fn deadline() -> Option<u64> {
    call::deadline()
}

/// Fixes the deadline, this many milliseconds from now. Only the first run can: later runs are ignored, so a function may
/// simply say it before it parks.
///
/// ```no_run
/// quorate_recipe::call::set_timeout(10_000);
/// ```
pub fn set_timeout(milliseconds: u64) {
    call::set_timeout(milliseconds);
}

/// Why this run happens.
///
/// ```no_run
/// use quorate_recipe::call::{self, Reason};
/// if call::reason() == Reason::TimedOut {
///     // Clean up and return an error: this run must not park.
/// }
/// ```
pub fn reason() -> Reason {
    Reason::of(call::reason())
}

/// What [`set_state`] kept in an earlier run of this call; empty in the first.
///
/// ```no_run
/// let place = String::from_utf8(quorate_recipe::call::state()).unwrap_or_default();
/// ```
pub fn state() -> Vec<u8> {
    call::state()
}

/// Keeps these bytes, at most 1,024, for the later runs of this call.
///
/// ```no_run
/// quorate_recipe::call::set_state(b"/queue/_takers/t0000000000000000003");
/// ```
pub fn set_state(bytes: &[u8]) {
    call::set_state(bytes);
}

/// The value of a key in the `[config]` table of this deployment's manifest.
///
/// ```no_run
/// use quorate_recipe::call;
/// let limit: u64 = call::config("limit").and_then(|text| text.parse().ok()).unwrap_or(100);
/// ```
pub fn config(key: &str) -> Option<String> {
    call::config(key)
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn numbers_of_reasons_are_those_of_the_wit() {
        let known = [0, 1, 2, 3, 4].map(Reason::of);
        let named =
            [Reason::First, Reason::Changed, Reason::TimedOut, Reason::Cancelled, Reason::Upgraded];
        assert_eq!(known, named);
        assert_eq!(Reason::of(5), Reason::Other(5));
    }
}
