//! Compiles components in the background, one at a time, off every path of a write: when one has been stored here, and
//! at start for those that are active.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use quorate_core::change::Change;
use quorate_core::deployment::ComponentDigest;
use quorate_core::draft::ReadRecords;
use quorate_core::error::Refusal;
use quorate_core::key;
use quorate_core::read::{Direction, Read, SharedRead};
use quorate_core::transaction::{Entry, EntryBody};
use tokio::sync::oneshot;

use crate::limits;

/// What compiles: the engine.
pub trait Prepare: Send + Sync {
    /// Admits and compiles a component, and remembers the outcome. Takes milliseconds to seconds.
    ///
    /// # Errors
    /// `not-admitted`; remembered too.
    fn prepare(&self, component: ComponentDigest, bytes: Vec<u8>) -> Result<(), Refusal>;

    /// Whether a component is ready to run.
    fn is_prepared(&self, component: &ComponentDigest) -> bool;
}

/// What the thread is asked for.
enum Wanted {
    One(ComponentDigest),
    /// All that are active, and to say when they have been looked at.
    Active(oneshot::Sender<()>),
}

/// The way to the compiling thread.
pub struct Compiler {
    sender: Option<mpsc::SyncSender<Wanted>>,
    thread: Option<JoinHandle<()>>,
}

impl Compiler {
    /// Starts the thread, and gives it all active components.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn start(tree: SharedRead, engine: Arc<dyn Prepare>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(limits::COMPILE_QUEUE_MAX);
        let thread = std::thread::Builder::new().name("compiler".to_owned()).spawn(move || {
            compile_all(&*tree, &*engine, active_components(&*tree));
            for wanted in receiver {
                match wanted {
                    Wanted::One(component) => compile_all(&*tree, &*engine, vec![component]),
                    Wanted::Active(done) => {
                        compile_all(&*tree, &*engine, active_components(&*tree));
                        // Whoever waited may have lost patience.
                        let _heard = done.send(());
                    }
                }
            }
        })?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Looks for components that an applied entry has completed.
    pub fn applied(&self, entry: &Entry) {
        let EntryBody::Batch { transactions, .. } = &entry.body else { return };
        for change in transactions.iter().flat_map(|transaction| &transaction.changes) {
            if let (Change::ComponentStored { component, .. }, Some(sender)) =
                (change, &self.sender)
            {
                let _queued = sender.try_send(Wanted::One(*component));
            }
        }
    }

    /// A component is going to be needed. Forgotten if too many wait already: who needs it is told `compiling`, and asks
    /// again.
    pub fn want(&self, component: ComponentDigest) {
        if let Some(sender) = &self.sender {
            let _queued = sender.try_send(Wanted::One(component));
        }
    }

    /// Has everything compiled that is active now; what is given is told when that has been tried, or can not be. A member
    /// that begins to lead waits for it: calls that waited elsewhere would else find no code here.
    pub fn want_active(&self) -> oneshot::Receiver<()> {
        let (done, tried) = oneshot::channel();
        if let Some(sender) = &self.sender {
            let _queued = sender.try_send(Wanted::Active(done));
        }
        tried
    }

    /// Ends the thread after the component that it is at.
    pub fn stop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the compiling thread has panicked");
        }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn compile_all(
    tree: &(dyn Read + Send + Sync),
    engine: &dyn Prepare,
    components: Vec<ComponentDigest>,
) {
    for component in components {
        // A defect of the compiler's must not keep every other component from being compiled.
        let compiled = AssertUnwindSafe(|| compile(tree, engine, component));
        if std::panic::catch_unwind(compiled).is_err() {
            tracing::error!("the compiler has panicked on a component; others go on");
        }
    }
}

fn compile(tree: &(dyn Read + Send + Sync), engine: &dyn Prepare, component: ComponentDigest) {
    if engine.is_prepared(&component) {
        return;
    }
    // Wanted before it was uploaded whole: whoever deploys it is told so.
    let Some(bytes) = tree.component_bytes(&component) else { return };
    let count = bytes.len();
    match engine.prepare(component, bytes) {
        Ok(()) => tracing::debug!(bytes = count, "component compiled"),
        Err(refusal) => tracing::warn!(%refusal, "a component was not admitted"),
    }
}

fn active_components(tree: &(dyn Read + Send + Sync)) -> Vec<ComponentDigest> {
    let (from, to) = key::recipes();
    tree.range(&from, &to, Direction::Forward)
        .filter_map(|(key, _)| std::str::from_utf8(key.get(1..)?).ok().map(str::to_owned))
        .filter_map(|name| tree.active_version(&name))
        .map(|version| version.component)
        .collect()
}
