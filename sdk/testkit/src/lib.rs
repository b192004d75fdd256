//! Runs recipes in a test: the component itself, on the engine and the sequencer of the service, over a tree in memory and
//! in virtual time. It has no raft, no disk and no network, and so nothing that a test would have to wait for.
//!
//! [`Kit`] is for tests in Rust; [`run_scenarios`] runs the text files that `recipes/SCENARIOS.md` describes.
//!
//! Reading order: values as text (`wave`), what happens between calls and time ([`random`](Random), `resets`, `service`),
//! the recipe under test (`component`, `kit`), and scenarios (`scenario`).
#![forbid(unsafe_code)]

mod wave;

mod random;
mod resets;
mod service;

mod component;
mod kit;
mod scenario;

pub use component::{Component, LoadError};
pub use kit::{Arguments, CallHandle, Kit, KitError, Outcome};
pub use quorate_core::deployment::{Instances, Manifest};
pub use quorate_core::error::{ErrorCode, Refusal};
pub use quorate_core::ids::{SessionId, Zxid};
pub use quorate_core::path::Path;
pub use quorate_wire::value::Value;
pub use random::Random;
pub use scenario::{Failure, Report, ScenarioReport, run_scenarios, scenario_files};
