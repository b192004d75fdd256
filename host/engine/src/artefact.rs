//! Compiled code from bytes: the one place that must trust them, and the only `unsafe` of this crate.
#![allow(
    unsafe_code,
    reason = "loading compiled code is unsafe in wasmtime: it is executed as it is"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

/// Bytes that were compiled by this engine's compiler on this machine: only `cache` makes them, after it has checked the
/// hash that it wrote with them.
pub(crate) struct Trusted(Vec<u8>);

impl Trusted {
    /// For bytes that this process, or an earlier one with the same cache directory, got from `Component::serialize`.
    pub(crate) fn checked(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The component.
    ///
    /// # Errors
    /// wasmtime's, if it was compiled for another engine or other settings.
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes come from `Component::serialize` (see `checked`), unchanged: their hash was checked. Who can
        // write into the cache directory could forge both, and is trusted like who can replace the server's binary.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
