//! `call`: who calls, and which run of the call this is.

use quorate_core::recipe::Reason;

use crate::bindings::quorate::recipe::call::{CallId, Host};
use crate::state::RunState;

impl Host for RunState {
    fn id(&mut self) -> wasmtime::Result<CallId> {
        self.enter()?;
        let id = self.facts.id;
        Ok(CallId { session: id.session.0, number: id.write.0 })
    }

    fn principal(&mut self) -> wasmtime::Result<String> {
        self.enter()?;
        Ok(self.facts.principal.clone())
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok(self.txn()?.0.time().0)
    }

    fn zxid(&mut self) -> wasmtime::Result<u64> {
        self.enter()?;
        Ok(self.txn()?.0.zxid().0)
    }

    fn deadline(&mut self) -> wasmtime::Result<Option<u64>> {
        self.enter()?;
        Ok(self.facts.deadline.map(|deadline| deadline.0))
    }

    fn set_timeout(&mut self, milliseconds: u64) -> wasmtime::Result<()> {
        self.enter()?;
        if self.facts.reason == Reason::First {
            self.facts.deadline = Some(self.txn()?.0.time().plus(milliseconds));
        }
        Ok(())
    }

    fn reason(&mut self) -> wasmtime::Result<u32> {
        self.enter()?;
        Ok(self.facts.reason.number())
    }

    fn state(&mut self) -> wasmtime::Result<Vec<u8>> {
        self.enter()?;
        Ok(self.facts.state.to_vec())
    }

    fn set_state(&mut self, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.enter()?;
        Ok(Self::set_state(self, bytes)?)
    }

    fn config(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.enter()?;
        Ok(self.manifest.config.get(&key).cloned())
    }
}
