//! Nothing: this crate is its test.
