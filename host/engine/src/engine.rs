//! What all threads of a member share: the compiled components, by digest, and what is kept about them. Running them is the
//! runner's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::deployment::ComponentDigest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, Zxid};
use quorate_wire::value::{Interface, compatible};
use sha2::{Digest as _, Sha256};
use wasmtime::component::{HasSelf, Linker};

use crate::admission::{self, Import};
use crate::bindings::Imports;
use crate::breaker::Breaker;
use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::config;
use crate::limits;
use crate::logs::{Lines, LogLine, Logs};
use crate::prepared::Prepared;
use crate::runner::Runner;
use crate::state::RunState;
use crate::ticker::{Ticker, Ticking};
use crate::wasi::{self, RandomKey};

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory for compiled code; none: components are compiled anew in each process. Whoever can write into it controls
    /// the server.
    pub cache: Option<PathBuf>,
    /// Bytes of the largest component that is admitted.
    pub component_bytes_max: u64,
    /// Milliseconds after which a component that is still being compiled is not admitted.
    pub compile_ms_max: u64,
    /// What the random bytes of recipes are derived from; a server takes a secret one.
    pub random_key: RandomKey,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache: None,
            component_bytes_max: quorate_core::limits::COMPONENT_BYTES_MAX,
            compile_ms_max: limits::COMPILE_MS_MAX,
            random_key: RandomKey::default(),
        }
    }
}

/// The engine could not be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the recipe engine can not start: {0}")]
pub struct StartError(String);

/// The engine of a process. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    wasm: wasmtime::Engine,
    linker: Linker<RunState>,
    ticker: Ticker,
    compiler: Compiler,
    cache: Option<Cache>,
    component_bytes_max: u64,
    random_key: RandomKey,
    components: Mutex<BTreeMap<ComponentDigest, Entry>>,
    /// Of calls that change something: they hold up the sequencer.
    breaker: Mutex<Breaker>,
    /// Of those that only read: they hold up each other.
    readers_breaker: Mutex<Breaker>,
    readers_count: AtomicUsize,
    reads_begun: AtomicU64,
    logs: Mutex<Logs>,
}

/// What a runner is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Calls in the order of transactions.
    Sequencing,
    /// Calls that only read, in no order.
    Reading,
}

/// One of the places that readers have; given back when it is dropped.
pub(crate) struct ReaderPlace {
    engine: Engine,
}

impl Drop for ReaderPlace {
    fn drop(&mut self) {
        self.engine.shared.readers_count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
enum Entry {
    Ready(Arc<Prepared>),
    Refused(Refusal),
}

impl Engine {
    /// Sets the engine up and starts its threads.
    ///
    /// # Errors
    /// When the machine lacks address space, threads, or the cache directory.
    pub fn new(options: &Options) -> Result<Self, StartError> {
        let because = |error: &dyn std::fmt::Display| StartError(error.to_string());
        let wasm = config::engine().map_err(|error| because(&error))?;
        let mut linker = Linker::new(&wasm);
        Imports::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut RunState| state)
            .map_err(|error| because(&error))?;
        wasi::add_to_linker(&mut linker).map_err(|error| because(&error))?;
        let cache = options.cache.as_deref().map(|directory| Cache::open(directory, &wasm));
        let cache = cache.transpose().map_err(|error| because(&error))?;
        let ticker = Ticker::start(wasm.clone()).map_err(|error| because(&error))?;
        let compile_limit = Duration::from_millis(options.compile_ms_max);
        let compiler =
            Compiler::start(wasm.clone(), compile_limit).map_err(|error| because(&error))?;
        let shared = Shared {
            wasm,
            linker,
            ticker,
            compiler,
            cache,
            component_bytes_max: options.component_bytes_max,
            random_key: options.random_key,
            components: Mutex::default(),
            breaker: Mutex::default(),
            readers_breaker: Mutex::default(),
            readers_count: AtomicUsize::default(),
            reads_begun: AtomicU64::default(),
            logs: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// One that runs recipes, for one thread, whose stack must have 1 MiB at least. It keeps its reused instances for itself.
    /// There is one for the sequencer; what readers keep and run takes none of its instances.
    #[must_use]
    pub fn runner(&self) -> Runner {
        Runner::new(self.clone())
    }

    /// As `runner`, for a thread that runs calls which only read ([`quorate_core::execute::read_call`]), beside others and the
    /// sequencer. It keeps fewer instances; that its recipes pass their limits trips no call that changes something; and it goes
    /// by this machine's clock in that and in the recipes' logs, since no transaction may come for a long time.
    ///
    /// None while there are [`READERS_MAX`](crate::READERS_MAX).
    #[must_use]
    pub fn reader(&self) -> Option<Runner> {
        let count = &self.shared.readers_count;
        let more = |count| (count < limits::READERS_MAX).then_some(count + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Runner::reading(self.clone(), ReaderPlace { engine: self.clone() }))
    }

    /// Admits and compiles a component; the result is kept. Blocks for as long as that takes, and for those before it: not
    /// for a thread that serves. `digest` is the SHA-256 of the bytes.
    ///
    /// # Errors
    /// `not-admitted`, with the reason; `overloaded` if too many wait to be compiled, or for too long; `bad-arguments` if the bytes have
    /// another digest.
    pub fn prepare(&self, digest: ComponentDigest, bytes: Bytes) -> Result<(), Refusal> {
        match self.entry(&digest) {
            Some(Entry::Ready(_)) => return Ok(()),
            Some(Entry::Refused(refusal)) => return Err(refusal),
            None => {}
        }
        let result = self.compile(&digest, bytes);
        let entry = match &result {
            Ok(prepared) => Entry::Ready(Arc::clone(prepared)),
            Err(refusal) if refusal.code == ErrorCode::NotAdmitted => {
                Entry::Refused(refusal.clone())
            }
            Err(refusal) => return Err(refusal.clone()),
        };
        let mut components = self.components();
        if matches!(entry, Entry::Refused(_)) {
            forget_a_refusal(&mut components);
        }
        components.insert(digest, entry);
        result.map(|_| ())
    }

    fn compile(&self, digest: &ComponentDigest, bytes: Bytes) -> Result<Arc<Prepared>, Refusal> {
        let shared = &self.shared;
        // Code is kept and shared under the digest: what it is of must be certain.
        if ComponentDigest::from(Sha256::digest(&bytes)) != *digest {
            let message = "the component's bytes do not have its digest";
            return Err(Refusal::new(ErrorCode::BadArguments, message));
        }
        let imports = admission::admit(&bytes, shared.component_bytes_max)?;
        let cached = shared.cache.as_ref().and_then(|cache| cache.load(digest, &shared.wasm));
        let is_cached = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => shared.compiler.compile(bytes)?,
        };
        let prepared = Prepared::new(&shared.linker, &component, imports)?;
        if let Some(cache) = shared.cache.as_ref().filter(|_| !is_cached) {
            cache.store(digest, &component);
        }
        Ok(Arc::new(prepared))
    }

    /// Whether a component is ready to run.
    #[must_use]
    pub fn is_prepared(&self, digest: &ComponentDigest) -> bool {
        matches!(self.entry(digest), Some(Entry::Ready(_)))
    }

    /// Forgets a component, its refusal, and its compiled code. Runs under way end as they would have.
    pub fn forget(&self, digest: &ComponentDigest) {
        self.components().remove(digest);
        if let Some(cache) = &self.shared.cache {
            cache.remove(digest);
        }
    }

    /// What a component exports: interfaces and functions that can be called.
    ///
    /// # Errors
    /// `not-admitted`, or `compiling` while it is not ready.
    pub fn interfaces(&self, digest: &ComponentDigest) -> Result<Vec<Interface>, Refusal> {
        Ok(self.prepared(digest)?.interfaces.clone())
    }

    /// What a component imports, and how that is served.
    ///
    /// # Errors
    /// `not-admitted`, or `compiling` while it is not ready.
    pub fn imports(&self, digest: &ComponentDigest) -> Result<Vec<Import>, Refusal> {
        Ok(self.prepared(digest)?.imports.clone())
    }

    /// The last lines of a recipe's log on this member, oldest first.
    #[must_use]
    pub fn logs(&self, recipe: &str, limit: usize) -> Vec<LogLine> {
        lock(&self.shared.logs).last(recipe, limit)
    }

    /// Lets a tripped recipe run again.
    pub fn untrip(&self, digest: &ComponentDigest) {
        for role in [Role::Sequencing, Role::Reading] {
            self.breaker(role).reset(digest);
        }
    }

    /// What in the interface of `component` breaks callers of `previous`.
    pub(crate) fn breaking(
        &self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        let new = self.prepared(component)?;
        let Some(previous) = previous else { return Ok(Vec::new()) };
        let old = match self.entry(previous) {
            Some(Entry::Ready(old)) => old,
            Some(Entry::Refused(_)) => {
                return Ok(vec![
                    "The active version does not run here: nothing to compare.".into(),
                ]);
            }
            None => return Err(compiling("the active version, to which this one is compared,")),
        };
        let found = old.interfaces.iter().flat_map(|old| {
            let same = |new: &&Interface| without_version(&new.name) == without_version(&old.name);
            match new.interfaces.iter().find(same) {
                Some(new) => compatible(old, new).iter().map(ToString::to_string).collect(),
                None => vec![format!("The interface `{}` is gone.", old.name)],
            }
        });
        Ok(found.collect())
    }

    pub(crate) fn prepared(&self, digest: &ComponentDigest) -> Result<Arc<Prepared>, Refusal> {
        match self.entry(digest) {
            Some(Entry::Ready(prepared)) => Ok(prepared),
            Some(Entry::Refused(refusal)) => Err(refusal),
            None => Err(compiling("the component")),
        }
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.shared.wasm
    }

    pub(crate) fn random_key(&self) -> RandomKey {
        self.shared.random_key
    }

    pub(crate) fn begin_run(&self) -> Ticking<'_> {
        self.shared.ticker.begin()
    }

    pub(crate) fn breaker(&self, role: Role) -> MutexGuard<'_, Breaker> {
        match role {
            Role::Sequencing => lock(&self.shared.breaker),
            Role::Reading => lock(&self.shared.readers_breaker),
        }
    }

    /// What tells a run that only reads from all others of this process.
    pub(crate) fn nonce(&self, role: Role) -> u64 {
        match role {
            Role::Sequencing => 0,
            Role::Reading => 1 + self.shared.reads_begun.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn append_log(&self, recipe: &str, time: Millis, zxid: Zxid, lines: Lines) {
        lock(&self.shared.logs).append(recipe, time, zxid, lines);
    }

    fn entry(&self, digest: &ComponentDigest) -> Option<Entry> {
        self.components().get(digest).cloned()
    }

    fn components(&self) -> MutexGuard<'_, BTreeMap<ComponentDigest, Entry>> {
        lock(&self.shared.components)
    }
}

/// What is behind the locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compiling(what: &str) -> Refusal {
    Refusal::new(ErrorCode::Compiling, format!("{what} is not compiled on this member yet"))
}

fn without_version(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn forget_a_refusal(components: &mut BTreeMap<ComponentDigest, Entry>) {
    let is_refused = |entry: &Entry| matches!(entry, Entry::Refused(_));
    let mut refused = components.iter().filter(|(_, entry)| is_refused(entry));
    let first = refused.next().map(|(digest, _)| *digest);
    if refused.count() + 1 >= limits::REFUSED_KEPT_MAX
        && let Some(first) = first
    {
        components.remove(&first);
    }
}
