//! An inert subset of WASI 0.2, so that components of other toolchains load: a clock that stands still, seeded random bytes,
//! an empty environment, output into the recipe's log, no files (DESIGN D8). It asks the operating system for nothing; which
//! interfaces may be imported is `admission`'s knowledge.
//!
//! Nothing here is kept by the host for a guest: a handle's number says all that it means (`io`), and files and terminals
//! have no handles at all. wasmtime bounds how many handles a guest holds.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod output;
mod random;

pub(crate) use output::Output;
pub use random::RandomKey;
pub(crate) use random::RandomStream;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, ResourceType};

use crate::state::RunState;

/// Any 0.2.x of a guest is linked to this one: WASI's versions only add within 0.2.
const VERSION: &str = "0.2.12";

/// Defines the subset.
///
/// # Errors
/// wasmtime's, if something is defined twice.
pub(crate) fn add_to_linker(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    io::define(linker)?;
    cli::define(linker)?;
    clocks::define(linker)?;
    random::define(linker)?;
    filesystem::define(linker)
}

fn interface<'l>(
    linker: &'l mut Linker<RunState>,
    name: &str,
) -> wasmtime::Result<LinkerInstance<'l, RunState>> {
    linker.instance(&format!("wasi:{name}@{VERSION}"))
}

/// Defines a function. Each call counts as one of the host's.
fn function<P, R>(
    interface: &mut LinkerInstance<'_, RunState>,
    name: &str,
    act: impl Fn(&mut RunState, P) -> wasmtime::Result<R> + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + 'static,
{
    interface.func_wrap(name, move |mut store: StoreContextMut<'_, RunState>, params: P| {
        let state = store.data_mut();
        state.enter()?;
        act(state, params)
    })
}

/// Defines a resource of which the host keeps nothing.
fn resource<T: 'static>(
    interface: &mut LinkerInstance<'_, RunState>,
    name: &str,
) -> wasmtime::Result<()> {
    interface.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}
