//! What the core's test binaries share: a leader and a follower that must agree, the invariants of a tree, and toy recipes.
//! Nothing here knows how a script is written.
#![allow(dead_code, reason = "each test binary uses its part of it")]

pub mod before;
pub mod invariants;
pub mod pair;
pub mod rights;
pub mod steps;
pub mod toys;
