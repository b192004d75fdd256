//! The sequencer from outside: inputs in, outputs out, over trees in memory and a log whose every move is a test's.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod adversary;
mod batches;
mod harness;
mod leadership;
mod levels;
mod reaping;
mod room;
mod sessions;
mod simulation;
mod waiting;
