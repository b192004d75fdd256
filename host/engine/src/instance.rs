//! A live instance of a component, from its creation to the end of its last run. Whether there is another run is the
//! runner's to decide.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::deployment::Manifest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::recipe::RunEnd;
use quorate_core::txn::Txn;
use quorate_wire::value::Function;
use wasmtime::component::{ComponentExportIndex, Func, Instance, Val};
use wasmtime::{Engine, Store};

use crate::arguments;
use crate::limits;
use crate::prepared::{Exported, Prepared};
use crate::results;
use crate::state::{Facts, RunState};
use crate::stop::{self, Stop};

/// A store, and the instance in it once it has run.
pub(crate) struct Live {
    store: Store<RunState>,
    instance: Option<Instance>,
    /// Functions that were called before, by their index.
    functions: Vec<Option<Func>>,
}

/// How a run on an instance ended.
pub(crate) struct Ended {
    pub(crate) txn: Txn,
    pub(crate) end: RunEnd,
}

impl Live {
    /// An empty store for one instance, in which a run has begun.
    pub(crate) fn new(engine: &Engine, manifest: Arc<Manifest>, facts: Facts, txn: Txn) -> Self {
        let mut store = Store::new(engine, RunState::new(manifest, facts, txn));
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits::CROSSING_BYTES_MAX);
        store.set_max_component_handles(limits::HANDLES_ALL_MAX);
        Self { store, instance: None, functions: Vec::new() }
    }

    /// Begins another run.
    pub(crate) fn begin(&mut self, facts: Facts, txn: Txn) {
        self.store.data_mut().begin(facts, txn);
    }

    /// Calls a function with encoded arguments, and ends the run.
    pub(crate) fn call(&mut self, prepared: &Prepared, index: usize, arguments: Bytes) -> Ended {
        let exported = prepared.exported(index);
        let result = match arguments::decode(&mut self.store, &exported.function, arguments) {
            Ok(arguments) => {
                self.set_deadline();
                self.call_decoded(prepared, index, exported, &arguments)
            }
            Err(refusal) => Err(Stop::Refused(refusal).into()),
        };
        self.end(result)
    }

    /// Calls `migrate`. Its result is checked by the runner: an error case abandons the activation.
    pub(crate) fn migrate(
        &mut self,
        prepared: &Prepared,
        export: &ComponentExportIndex,
        from: u64,
    ) -> Ended {
        self.set_deadline();
        let result = self.call_migrate(prepared, export, from);
        self.end(result)
    }

    /// The lines that the run wrote.
    pub(crate) fn take_lines(&mut self) -> crate::logs::Lines {
        self.store.data_mut().take_lines()
    }

    /// Whether nothing of the last run is held.
    pub(crate) fn is_clean(&self) -> bool {
        self.store.data().blobs.is_empty()
    }

    fn set_deadline(&mut self) {
        let time_ms = self.store.data().manifest.limits.time_ms;
        // One more: the tick under way may end at once. The sum with the epoch must not overflow.
        let ticks = (time_ms / limits::TICK_MS).saturating_add(1).min(1 << 40);
        self.store.set_epoch_deadline(ticks);
    }

    fn call_decoded(
        &mut self,
        prepared: &Prepared,
        index: usize,
        exported: &Exported,
        arguments: &[Val],
    ) -> wasmtime::Result<(Bytes, bool)> {
        let instance = self.instance(prepared)?;
        self.functions.resize(prepared.functions_count(), None);
        let function = match self.functions[index] {
            Some(function) => function,
            None => {
                let function = find(&mut self.store, &instance, &exported.export)?;
                self.functions[index] = Some(function);
                function
            }
        };
        let results_count = usize::from(exported.function.result.is_some());
        let mut results = [Val::Bool(false)];
        let results = &mut results[..results_count];
        function.call(&mut self.store, arguments, results)?;
        self.drop_borrowed(arguments)?;
        self.encode(&exported.function, results)
    }

    fn encode(&mut self, function: &Function, results: &[Val]) -> wasmtime::Result<(Bytes, bool)> {
        match (&function.result, results) {
            (Some(kind), [value]) => {
                let is_error = matches!(value, Val::Result(Err(_)));
                Ok((results::encode(&mut self.store, kind, value)?, is_error))
            }
            _ => Ok((Bytes::new(), false)),
        }
    }

    /// Blobs that were lent to the guest are still the host's.
    fn drop_borrowed(&mut self, arguments: &[Val]) -> wasmtime::Result<()> {
        if self.store.data().blobs.is_empty() {
            return Ok(());
        }
        for argument in arguments {
            drop_handles(&mut self.store, argument)?;
        }
        Ok(())
    }

    fn call_migrate(
        &mut self,
        prepared: &Prepared,
        export: &ComponentExportIndex,
        from: u64,
    ) -> wasmtime::Result<(Bytes, bool)> {
        let instance = self.instance(prepared)?;
        let function = find(&mut self.store, &instance, export)?;
        let mut results = [Val::Bool(false)];
        let results_count = function.ty(&self.store).results().len().min(results.len());
        function.call(&mut self.store, &[Val::U64(from)], &mut results[..results_count])?;
        let is_error = matches!(results, [Val::Result(Err(_))]);
        let shown = match &results {
            [Val::Result(Err(Some(value)))] => format!("{value:?}").chars().take(256).collect(),
            _ => String::new(),
        };
        Ok((shown.into(), is_error))
    }

    fn instance(&mut self, prepared: &Prepared) -> wasmtime::Result<Instance> {
        if let Some(instance) = self.instance {
            return Ok(instance);
        }
        let instance = prepared.pre.instantiate(&mut self.store)?;
        self.instance = Some(instance);
        Ok(instance)
    }

    fn end(&mut self, result: wasmtime::Result<(Bytes, bool)>) -> Ended {
        let state = self.store.data_mut();
        let end = match result {
            Ok((value, is_error)) => RunEnd::Returned { value, is_error },
            Err(error) => match stop::refusal(&error, &state.manifest.limits) {
                Some(refusal) => RunEnd::Failed(refusal),
                None => RunEnd::Parked {
                    interests: std::mem::take(&mut state.interests),
                    state: state.facts.state.clone(),
                    deadline: state.facts.deadline,
                },
            },
        };
        Ended { txn: state.take_txn(), end }
    }
}

fn find(
    store: &mut Store<RunState>,
    instance: &Instance,
    export: &ComponentExportIndex,
) -> wasmtime::Result<Func> {
    let function = instance.get_func(store, export);
    function.ok_or_else(|| {
        let message = "an export of the component is not in its instance";
        Stop::Refused(Refusal::new(ErrorCode::Internal, message)).into()
    })
}

/// Drops the handles in a value that are still the host's: those that were lent, and not given.
fn drop_handles(store: &mut Store<RunState>, value: &Val) -> wasmtime::Result<()> {
    match value {
        // An error: it was given away, and is the guest's to drop.
        Val::Resource(handle) => handle.resource_drop(&mut *store).or(Ok(())),
        Val::List(values) | Val::Tuple(values) | Val::FixedLengthList(values) => {
            values.iter().try_for_each(|value| drop_handles(store, value))
        }
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| drop_handles(store, value)),
        Val::Variant(_, Some(value))
        | Val::Option(Some(value))
        | Val::Result(Ok(Some(value)) | Err(Some(value))) => drop_handles(store, value),
        _ => Ok(()),
    }
}
