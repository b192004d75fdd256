//! The one thread that compiles: one component at a time, off every path that serves. A compilation can not be stopped; it
//! ends, since admission bounds what it works on (bytes, functions, bytes and locals of a function). Whoever asked is
//! answered at a time limit all the same, and the late result is thrown away. Until then those behind it are told to come
//! again, and no second thread is started: late compilations never take more than one core, whatever is deployed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::admission::refused;
use crate::limits;

/// Hands components to the thread. It is not joined when this is dropped: it holds nothing but its engine, and ends with the
/// compilation that it is at.
pub(crate) struct Compiler {
    jobs: SyncSender<Job>,
    /// For a compilation, and for the wait before it.
    limit: Duration,
}

struct Job {
    bytes: Bytes,
    progress: SyncSender<Progress>,
}

enum Progress {
    Started,
    Ended(Result<Component, String>),
}

impl Compiler {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, if it has no thread left.
    pub(crate) fn start(engine: Engine, limit: Duration) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(limits::COMPILE_QUEUE_MAX);
        std::thread::Builder::new()
            .name("recipe-compiler".to_owned())
            .spawn(move || work(&engine, &queue))?;
        Ok(Self { jobs, limit })
    }

    /// Compiles a component, after those that were asked for before. Blocks.
    ///
    /// # Errors
    /// `not-admitted` if it is not valid or takes too long, `overloaded` if too many wait or one before it takes too long.
    pub(crate) fn compile(&self, bytes: Bytes) -> Result<Component, Refusal> {
        let gone = || Refusal::new(ErrorCode::Internal, "the compiler is gone");
        // Room for both reports: the thread never waits for who asked.
        let (progress, reports) = sync_channel(2);
        self.jobs.try_send(Job { bytes, progress }).map_err(|error| match error {
            TrySendError::Full(_) => {
                Refusal::new(ErrorCode::Overloaded, "too many components wait to be compiled")
            }
            TrySendError::Disconnected(_) => gone(),
        })?;
        let limit_ms = self.limit.as_millis();
        let mut report = reports.recv_timeout(self.limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                let message = format!(
                    "the components before this one take longer to compile than the limit of {limit_ms} ms"
                );
                Refusal::new(ErrorCode::Overloaded, message)
            }
            RecvTimeoutError::Disconnected => gone(),
        })?;
        if let Progress::Started = report {
            report = reports.recv_timeout(self.limit).map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    refused(format!("compiling takes longer than the limit of {limit_ms} ms"))
                }
                RecvTimeoutError::Disconnected => gone(),
            })?;
        }
        match report {
            Progress::Ended(result) => result.map_err(refused),
            Progress::Started => Err(gone()),
        }
    }
}

fn work(engine: &Engine, queue: &Receiver<Job>) {
    while let Ok(Job { bytes, progress }) = queue.recv() {
        // Who asked may have given up: then nobody wants the reports.
        if progress.send(Progress::Started).is_err() {
            continue;
        }
        let compiled = catch_unwind(AssertUnwindSafe(|| Component::new(engine, &bytes)));
        let result = match compiled {
            Ok(result) => result.map_err(|error| format!("{error:#}")),
            Err(_) => Err("the compiler failed on it".to_owned()),
        };
        if progress.send(Progress::Ended(result)).is_err() {
            tracing::warn!("a component was compiled too late for who asked");
        }
    }
}
