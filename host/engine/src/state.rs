//! What a guest's host functions work on: the transaction, the facts of the run, and what is left of its bounds. It does
//! not know wasmtime's calls; `instance` moves it in and out.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::deployment::Manifest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{CallId, Millis};
use quorate_core::recipe::{Interest, Reason};
use quorate_core::txn::{self, Txn};

use crate::blobs::Blobs;
use crate::limits;
use crate::logs::{Level, Lines};
use crate::stop::Stop;
use crate::wasi::{Output, RandomKey, RandomStream};

/// What a run is told about itself.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) id: CallId,
    pub(crate) principal: String,
    pub(crate) reason: Reason,
    pub(crate) state: Bytes,
    pub(crate) deadline: Option<Millis>,
    pub(crate) may_park: bool,
    pub(crate) random_key: RandomKey,
    /// Tells the random bytes of runs apart that have no number of their own; 0 for the others.
    pub(crate) nonce: u64,
}

/// The data of a store.
pub(crate) struct RunState {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) facts: Facts,
    pub(crate) blobs: Blobs,
    pub(crate) lines: Lines,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    /// Made when the run first asks for random bytes.
    pub(crate) random_stream: Option<RandomStream>,
    /// What a run that parks waits for.
    pub(crate) interests: Vec<Interest>,
    /// There while a run is under way.
    txn: Option<Txn>,
    host_calls: u64,
    /// Of all linear memories of the instance, for as long as it lives.
    memory_bytes: u64,
}

impl RunState {
    pub(crate) fn new(manifest: Arc<Manifest>, facts: Facts, txn: Txn) -> Self {
        let lines = Lines::new(manifest.limits.log_bytes);
        Self {
            manifest,
            facts,
            blobs: Blobs::default(),
            lines,
            stdout: Output::new(Level::Info),
            stderr: Output::new(Level::Warn),
            random_stream: None,
            interests: Vec::new(),
            txn: Some(txn),
            host_calls: 0,
            memory_bytes: 0,
        }
    }

    /// Begins another run of a kept instance.
    pub(crate) fn begin(&mut self, facts: Facts, txn: Txn) {
        self.facts = facts;
        self.lines = Lines::new(self.manifest.limits.log_bytes);
        self.random_stream = None;
        self.interests.clear();
        self.txn = Some(txn);
        self.host_calls = 0;
    }

    /// Ends the run.
    pub(crate) fn take_txn(&mut self) -> Txn {
        self.txn.take().expect("the transaction was moved in at the begin of the run")
    }

    /// The transaction, and what this deployment may do with it.
    pub(crate) fn txn(&mut self) -> Result<(&mut Txn, &Manifest), Stop> {
        let txn = self.txn.as_mut().ok_or_else(|| Stop::trapped("no run is under way"))?;
        Ok((txn, &self.manifest))
    }

    /// Takes what the run wrote to its log, unfinished lines of its output included.
    pub(crate) fn take_lines(&mut self) -> Lines {
        self.stdout.finish(&mut self.lines);
        self.stderr.finish(&mut self.lines);
        std::mem::replace(&mut self.lines, Lines::new(0))
    }

    /// Counts a call of a host function.
    pub(crate) fn enter(&mut self) -> Result<(), Stop> {
        self.host_calls += 1;
        let max = self.manifest.limits.host_calls;
        if self.host_calls > max {
            return Err(Stop::over_limit(
                "calls of host functions (host_calls)",
                self.host_calls,
                max,
            ));
        }
        Ok(())
    }

    /// Ends a run that may only read, for what it tried to do.
    pub(crate) fn refuse_to_read_only(&mut self, what: &str) -> Result<(), Stop> {
        match self.txn()?.0.is_read_only() {
            true => Err(Stop::Refused(txn::read_only(what))),
            false => Ok(()),
        }
    }

    /// Keeps what the next run of the call will be given.
    pub(crate) fn set_state(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        self.refuse_to_read_only("keep a state")?;
        let max = quorate_core::limits::CALL_STATE_BYTES_MAX;
        if bytes.len() > max {
            return Err(Stop::over_limit(
                "bytes of a call's state",
                bytes.len() as u64,
                max as u64,
            ));
        }
        self.facts.state = bytes.into();
        Ok(())
    }

    /// Notes what the call waits for; the stop that ends the run.
    pub(crate) fn park(&mut self, interests: Vec<Interest>) -> Stop {
        if self.facts.may_park {
            self.interests = interests;
            return Stop::Park;
        }
        let why = if self.facts.reason.is_last() {
            "this was its last run"
        } else {
            "it may not wait here"
        };
        let message = format!("the call would have to wait, but {why}");
        Stop::Refused(Refusal::new(ErrorCode::WouldBlock, message))
    }
}

impl wasmtime::ResourceLimiter for RunState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.memory_bytes + (desired.saturating_sub(current)) as u64;
        let max = self.manifest.limits.memory_bytes.min(limits::MEMORY_BYTES_MAX as u64);
        if bytes > max {
            return Err(Stop::over_limit("bytes of memory (memory_bytes)", bytes, max).into());
        }
        self.memory_bytes = bytes;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(Stop::trapped(format!("memory could not grow: {error}")).into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = limits::TABLE_ELEMENTS_MAX;
        if desired > max {
            return Err(Stop::over_limit("elements of a table", desired as u64, max as u64).into());
        }
        Ok(true)
    }
}
