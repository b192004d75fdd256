//! The thread that advances the epoch by which runs are stopped at their time limit. It knows nothing of runs but that one
//! began: it ticks while they do, and sleeps when none has for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::limits::{TICK_IDLE_MS, TICK_MS};

/// Owns the thread; it ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    runs_begun: AtomicU64,
    runs_ended: AtomicU64,
    is_asleep: AtomicBool,
    is_stopped: AtomicBool,
}

impl Shared {
    fn begun(&self) -> u64 {
        self.runs_begun.load(Ordering::SeqCst)
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }
}

/// A run is under way while this lives.
pub(crate) struct Ticking<'a>(&'a Shared);

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.runs_ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system's, if it has no thread left.
    pub(crate) fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("recipe-ticker".to_owned())
            .spawn(move || tick(&engine, &theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A run begins.
    pub(crate) fn begin(&self) -> Ticking<'_> {
        self.shared.runs_begun.fetch_add(1, Ordering::SeqCst);
        // The thread says that it is asleep before it looks for runs for the last time: one of the two sees the other.
        if self.shared.is_asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Ticking(&self.shared)
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that stops recipes at their time limit had panicked");
        }
    }
}

fn tick(engine: &wasmtime::Engine, shared: &Shared) {
    let mut seen = 0;
    let mut idle_ms = 0;
    while !shared.is_stopped() {
        let begun = shared.begun();
        let is_busy = begun != shared.runs_ended.load(Ordering::SeqCst) || begun != seen;
        seen = begun;
        idle_ms = if is_busy { 0 } else { idle_ms + TICK_MS };
        if idle_ms < TICK_IDLE_MS {
            std::thread::park_timeout(Duration::from_millis(TICK_MS));
            engine.increment_epoch();
            continue;
        }
        shared.is_asleep.store(true, Ordering::SeqCst);
        while shared.begun() == seen && !shared.is_stopped() {
            std::thread::park();
        }
        shared.is_asleep.store(false, Ordering::SeqCst);
    }
}
