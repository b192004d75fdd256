//! Bytes that leave the process or outlive it: each format with its version, its decoder and its golden files. It does no
//! IO, and does not know who sends or stores them.
#![forbid(unsafe_code)]

pub mod entry;
