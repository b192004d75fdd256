//! Runs recipes: WebAssembly components from others, in a sandbox, on a transaction of the core. This is the only crate that
//! knows wasmtime, and none of its types leave it. It reads no clock for guests, opens no socket, and touches no file but
//! its cache of compiled code.
//!
//! An [`Engine`] is shared by a member's threads: components are admitted, compiled and kept there ([`Engine::prepare`]). A
//! [`Runner`] belongs to one thread and implements the core's port, `quorate_core::recipe::Recipes`.
//!
//! Reading order: the bounds (`limits`, `config`, `ticker`), how a component gets in (`admission`, `compiler`, `cache`,
//! `artefact`, `interface`, `prepared`), what a guest can call (`bindings`, `state`, `blobs`, `view`, `host`, `wasi`), how it is
//! called (`arguments`, `results`, `stop`, `instance`), and who decides about it (`logs`, `breaker`, `engine`, `runner`).

mod limits;

mod config;
mod ticker;

mod admission;
mod artefact;
mod cache;
mod compiler;
mod interface;
mod prepared;

mod bindings;
mod blobs;
mod host;
mod state;
mod view;
mod wasi;

mod arguments;
mod instance;
mod results;
mod stop;

mod breaker;
mod engine;
mod logs;
mod runner;

pub use admission::{Import, ImportClass};
pub use engine::{Engine, Options, StartError};
pub use limits::READERS_MAX;
pub use logs::{Level, LogLine};
pub use runner::Runner;
pub use wasi::RandomKey;
