//! Tests of the member's disk over its public interface: one binary, so that RocksDB is linked once.

#![allow(clippy::unwrap_used, reason = "tests may unwrap, helpers of tests too")]

mod disk;
mod layout;
mod log_basics;
mod log_crash;
mod log_full;
mod log_model;
mod log_recycling;
mod rig;
mod tree;
