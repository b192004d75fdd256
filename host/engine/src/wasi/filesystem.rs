//! `wasi:filesystem`: no directory is given, so that no descriptor exists and no function of one can be reached with a
//! handle. They are defined for the linker's sake, under every name that WASI 0.2 has for them.

use wasmtime::component::{Linker, Resource};

use super::{function, interface, resource};
use crate::state::RunState;
use crate::stop::Stop;

/// `descriptor`: never made.
enum Descriptor {}
/// `directory-entry-stream`: never made.
enum DirectoryEntryStream {}

const OF_DESCRIPTORS: [&str; 27] = [
    "read-via-stream",
    "write-via-stream",
    "append-via-stream",
    "advise",
    "sync-data",
    "get-flags",
    "get-type",
    "set-size",
    "set-times",
    "read",
    "write",
    "read-directory",
    "sync",
    "create-directory-at",
    "stat",
    "stat-at",
    "set-times-at",
    "link-at",
    "open-at",
    "readlink-at",
    "remove-directory-at",
    "rename-at",
    "symlink-at",
    "unlink-file-at",
    "is-same-object",
    "metadata-hash",
    "metadata-hash-at",
];

pub(super) fn define(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    let mut types = interface(linker, "filesystem/types")?;
    resource::<Descriptor>(&mut types, "descriptor")?;
    resource::<DirectoryEntryStream>(&mut types, "directory-entry-stream")?;
    let methods = OF_DESCRIPTORS.iter().map(|name| format!("[method]descriptor.{name}"));
    let others = ["[method]directory-entry-stream.read-directory-entry", "filesystem-error-code"];
    for name in methods.chain(others.map(str::to_owned)) {
        types.func_new(&name, |_, _, _, _| {
            Err(Stop::trapped("a recipe has no files: its data are in the tree").into())
        })?;
    }
    let mut preopens = interface(linker, "filesystem/preopens")?;
    function(&mut preopens, "get-directories", |_, (): ()| {
        Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
    })
}
