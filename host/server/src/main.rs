//! The binary `quorate`, as it is delivered: it knows all features of its version.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use quorate_core::level::Level;

fn main() -> ExitCode {
    quorate_server::run(Level::NEWEST)
}
