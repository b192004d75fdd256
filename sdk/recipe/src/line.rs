//! A fair line of callers: places are taken in order, and each waits only for the one ahead of it.
//! Knows znodes and parking; does not know what the first in line gets.
//!
//! A place is a sequential znode under the line's own one. It is call-owned while its call waits, so a call that times out,
//! is cancelled, or loses its session leaves the line by itself, and the one behind it moves up. Nobody is woken but the
//! next: a line of 100,000 costs a newcomer as much as one of three.
//!
//! A call stands in one line at most, and that line keeps its place in the [state](crate::call::state) of the call.

use crate::call::{self, Reason};
use crate::{Error, Interest, park, path, tree};
use std::convert::Infallible;

/// How a call's wait for its turn ended: see [`turn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The call is first. Its place, at this path, is ephemeral from now on: whoever deletes it lets the next one come.
    Mine(String),
    /// The deadline passed. The place is gone when the call ends.
    TimedOut,
    /// The caller gave up. The place is gone when the call ends.
    Cancelled,
    /// Somebody else deleted the place of this call.
    Removed,
}

/// Stands in the line under the znode `line` until the call is first in it, or its timeout (milliseconds; `None` waits for
/// ever, 0 does not wait) has passed. `data` is kept in the place, for those who look at the line.
///
/// Returns at once when nobody is there, and parks otherwise. The line's znode and its parents are created by the first who
/// ever comes, which is allowed because that one does not wait.
///
/// ```no_run
/// use quorate_recipe::{Error, line};
///
/// /// The path of the znode to delete when done, or `None` after ten seconds.
/// fn enter() -> Result<Option<String>, Error> {
///     match line::turn("/door/_line", b"", Some(10_000))? {
///         line::Turn::Mine(place) => Ok(Some(place)),
///         _ => Ok(None),
///     }
/// }
/// ```
///
/// # Errors
/// Those of [`tree::create`]: a bad path, a limit.
pub fn turn(line: &str, data: &[u8], timeout: Option<u64>) -> Result<Turn, Error> {
    match call::reason() {
        Reason::First => {
            if is_empty(line)? {
                let first = place_in(line);
                let first = tree::create(&first).ephemeral().sequential().parents().data(data)?;
                return Ok(Turn::Mine(first));
            }
            match timeout {
                Some(0) => return Ok(Turn::TimedOut),
                Some(milliseconds) => call::set_timeout(milliseconds),
                None => {}
            }
            match Place::take(line, data)?.wait()? {}
        }
        Reason::TimedOut => Ok(Turn::TimedOut),
        Reason::Cancelled => Ok(Turn::Cancelled),
        Reason::Changed | Reason::Upgraded | Reason::Other(_) => match Place::mine()? {
            None => Ok(Turn::Removed),
            Some(place) if place.is_first()? => {
                tree::release(&place.path)?;
                Ok(Turn::Mine(place.path))
            }
            Some(place) => match place.wait()? {},
        },
    }
}

/// Whether nobody is in the line under this znode, which need not exist.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// let free = quorate_recipe::line::is_empty("/door/_line")?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-path`, `no-access`.
pub fn is_empty(line: &str) -> Result<bool, Error> {
    Ok(tree::if_there(tree::first_child(line))?.flatten().is_none())
}

/// A place in a line, for recipes that do more at the head of it than [`turn`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: String,
}

impl Place {
    /// Takes the last place in the line under `line`, which must exist. It is call-owned: it goes when the call ends.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// use quorate_recipe::line::Place;
    /// let place = match Place::mine()? {
    ///     Some(place) => place,
    ///     None => Place::take("/q/_takers", b"")?,
    /// };
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `no-node`, `limit`, `bad-path`, `no-access`.
    pub fn take(line: &str, data: &[u8]) -> Result<Self, Error> {
        let path = tree::create(&place_in(line)).call_owned().sequential().data(data)?;
        call::set_state(path.as_bytes());
        Ok(Self { path })
    }

    /// The place that this call took in an earlier run, unless it took none or somebody deleted it.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), quorate_recipe::Error> {
    /// let has_waited = quorate_recipe::line::Place::mine()?.is_some();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `no-access`.
    pub fn mine() -> Result<Option<Self>, Error> {
        let path = String::from_utf8(call::state()).unwrap_or_default();
        if path.is_empty() || !tree::exists(&path)? {
            return Ok(None);
        }
        Ok(Some(Self { path }))
    }

    /// The path of the znode.
    ///
    /// ```no_run
    /// # fn example(place: quorate_recipe::line::Place) {
    /// let name = quorate_recipe::path::name(place.path());
    /// # }
    /// ```
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether nobody stands ahead.
    ///
    /// ```no_run
    /// # fn example(place: quorate_recipe::line::Place) -> Result<(), quorate_recipe::Error> {
    /// if !place.is_first()? {
    ///     match place.wait()? {}
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `no-access`.
    pub fn is_first(&self) -> Result<bool, Error> {
        Ok(self.ahead()?.is_none())
    }

    /// Parks until the one ahead is gone; when nobody is, until somebody changes this place. It returns only to say that it could
    /// not.
    ///
    /// ```no_run
    /// # fn example(place: quorate_recipe::line::Place) -> Result<(), quorate_recipe::Error> {
    /// if !place.is_first()? {
    ///     match place.wait()? {}
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `no-access`.
    pub fn wait(&self) -> Result<Infallible, Error> {
        let own = Interest::node_changed(self.path.as_str());
        match self.ahead()? {
            Some(ahead) => park(&[Interest::node_changed(ahead), own]),
            None => park(&[own]),
        }
    }

    /// The path of the place next ahead.
    fn ahead(&self) -> Result<Option<String>, Error> {
        let Some(name) = tree::child_before(&self.path)? else {
            return Ok(None);
        };
        let line = self.path.strip_suffix(path::name(&self.path)).unwrap_or_default();
        path::child(line, &name).map(Some)
    }
}

/// The path that a new place's number is appended to. Its one letter keeps names from being mistaken for numbers.
fn place_in(line: &str) -> String {
    format!("{line}/w")
}
