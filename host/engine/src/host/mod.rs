//! The host functions that a guest imports, one file for each interface of `wit/`. They translate: what an operation does to
//! the tree is the core's knowledge.

mod blobs;
mod call;
mod log;
mod tree;
mod wait;

use crate::bindings::quorate::recipe::types;
use crate::state::RunState;

impl types::Host for RunState {}
