//! Lines into the recipe's own log, which `quorate recipe logs NAME` shows.
//! Knows no rate and no size: the host caps both, and never replicates a line.

use crate::__bindings::quorate::recipe::log;

pub use log::Level;

/// Writes one line. The macros of this module format it.
///
/// ```no_run
/// use quorate_recipe::log::{self, Level};
/// log::write(Level::Info, "granted");
/// ```
pub fn write(level: Level, message: &str) {
    log::write(level, message);
}

/// A line for those who debug the recipe, formatted like `println!`.
///
/// ```no_run
/// quorate_recipe::log::debug!("{} waiters", 3);
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __log_debug {
    ($($part:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($part)*)) };
}

/// A line for those who operate the service, formatted like `println!`.
///
/// ```no_run
/// quorate_recipe::log::info!("{} has it now", "web-3");
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __log_info {
    ($($part:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($part)*)) };
}

/// A line about something unexpected that the recipe could deal with, formatted like `println!`.
///
/// ```no_run
/// quorate_recipe::log::warn!("{} holds no number: counted as 0", "/hits");
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warn {
    ($($part:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($part)*)) };
}

/// A line about something that a person must look at, formatted like `println!`.
///
/// ```no_run
/// quorate_recipe::log::error!("{} was changed by somebody else", "/hits");
/// ```
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error {
    ($($part:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($part)*)) };
}

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn,
};
