//! Waiting: what a call can wait for, and how it stops to do so.
//! Knows no clock and no queue: the host decides when a parked call runs again.

use crate::__bindings::quorate::recipe::wait;

pub use wait::Interest;

impl Interest {
    /// The znode at this path is created, set or deleted. It need not exist.
    ///
    /// ```
    /// use quorate_recipe::Interest;
    /// let interest = Interest::node_changed("/config");
    /// assert_eq!(interest, Interest::NodeChanged("/config".to_owned()));
    /// ```
    pub fn node_changed(path: impl Into<String>) -> Self {
        Self::NodeChanged(path.into())
    }

    /// A child of the znode at this path is created or deleted. Neither need exist.
    ///
    /// ```
    /// use quorate_recipe::Interest;
    /// let interest = Interest::children_changed("/members");
    /// assert_eq!(interest, Interest::ChildrenChanged("/members".to_owned()));
    /// ```
    pub fn children_changed(path: impl Into<String>) -> Self {
        Self::ChildrenChanged(path.into())
    }

    /// This time has come, in milliseconds since 1970 as [`call::now`](crate::call::now) gives it.
    ///
    /// ```no_run
    /// use quorate_recipe::{Interest, call, park};
    /// park(&[Interest::at_time(call::now() + 500)]);
    /// ```
    pub fn at_time(milliseconds: u64) -> Self {
        Self::AtTime(milliseconds)
    }
}

/// Ends this run here. What it has written so far is committed, and the call is run again from the top, with the same
/// arguments, when one of the interests is met, when its deadline passes, or when its caller cancels.
///
/// The call traps instead, and nothing of this run is kept, when this is its last run
/// ([`Reason::is_last`](crate::call::Reason::is_last)), when it is part of a multi, or when this run wrote something that is
/// neither ephemeral nor call-owned.
///
/// ```no_run
/// use quorate_recipe::{Interest, park, tree};
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// if tree::exists("/closed")? {
///     park(&[Interest::node_changed("/closed")]);
/// }
/// # Ok(()) }
/// ```
pub fn park(interests: &[Interest]) -> ! {
    wait::park(interests);
    // The host never returns from that; if it did, a trap is the only honest end.
    std::process::abort()
}
