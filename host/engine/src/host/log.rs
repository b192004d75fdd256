//! `log`: lines into the recipe's log.

use crate::bindings::quorate::recipe::log::{Host, Level as Wanted};
use crate::logs::Level;
use crate::state::RunState;

impl Host for RunState {
    fn write(&mut self, level: Wanted, message: String) -> wasmtime::Result<()> {
        self.enter()?;
        let level = match level {
            Wanted::Debug => Level::Debug,
            Wanted::Info => Level::Info,
            Wanted::Warn => Level::Warn,
            Wanted::Error => Level::Error,
        };
        self.lines.push(level, message);
        Ok(())
    }
}
