//! The binary `quorate` as a build of the version before would be, as far as feature levels go: it knows one less. For tests
//! of clusters whose members are of two versions; it is not delivered.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use quorate_core::level::Level;

const OLDER: Level = Level(Level::NEWEST.0 - 1);

fn main() -> ExitCode {
    quorate_server::run(OLDER)
}
