//! `wasi:clocks`: the time of the transaction, which stands still within a run.

use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use super::io::pollable;
use super::{function, interface};
use crate::state::RunState;

/// Nanoseconds between two values of the clock: transactions carry milliseconds.
const RESOLUTION_NS: u64 = 1_000_000;

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl RunState {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn time_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.txn()?.0.time().0)
    }

    /// The same in nanoseconds, which suffice until 2554.
    fn time_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(self.time_ms()?.saturating_mul(RESOLUTION_NS))
    }
}

pub(super) fn define(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    let mut wall = interface(linker, "clocks/wall-clock")?;
    function(&mut wall, "now", |state, (): ()| {
        let time_ms = state.time_ms()?;
        // A thousand values: they fit.
        let nanoseconds = (time_ms % 1_000) as u32 * 1_000_000;
        Ok((Datetime { seconds: time_ms / 1_000, nanoseconds },))
    })?;
    function(&mut wall, "resolution", |_, (): ()| {
        Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },))
    })?;
    let mut monotonic = interface(linker, "clocks/monotonic-clock")?;
    function(&mut monotonic, "now", |state, (): ()| Ok((state.time_ns()?,)))?;
    function(&mut monotonic, "resolution", |_, (): ()| Ok((RESOLUTION_NS,)))?;
    function(&mut monotonic, "subscribe-instant", |state, (when,): (u64,)| {
        Ok((pollable(when <= state.time_ns()?),))
    })?;
    function(&mut monotonic, "subscribe-duration", |_, (length,): (u64,)| {
        Ok((pollable(length == 0),))
    })
}
