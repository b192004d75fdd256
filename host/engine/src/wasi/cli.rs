//! `wasi:cli`: no environment, no arguments, no input, no terminal; output goes to the recipe's log; exit ends the run.

use wasmtime::component::{Linker, Resource};

use super::io::{InputStream, OutputStream, STDERR, STDOUT};
use super::{function, interface, resource};
use crate::state::RunState;
use crate::stop::Stop;

/// `terminal-input`: never made.
enum TerminalInput {}
/// `terminal-output`: never made.
enum TerminalOutput {}

pub(super) fn define(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    let mut environment = interface(linker, "cli/environment")?;
    function(&mut environment, "get-environment", |_, (): ()| {
        Ok((Vec::<(String, String)>::new(),))
    })?;
    function(&mut environment, "get-arguments", |_, (): ()| Ok((Vec::<String>::new(),)))?;
    function(&mut environment, "initial-cwd", |_, (): ()| Ok((None::<String>,)))?;
    let mut exit = interface(linker, "cli/exit")?;
    function(&mut exit, "exit", |_, (status,): (Result<(), ()>,)| {
        exited(if status.is_ok() { "success" } else { "failure" })
    })?;
    function(&mut exit, "exit-with-code", |_, (code,): (u8,)| exited(&format!("code {code}")))?;
    let mut stdin = interface(linker, "cli/stdin")?;
    function(&mut stdin, "get-stdin", |_, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?;
    for (name, stream) in [("stdout", STDOUT), ("stderr", STDERR)] {
        let mut output = interface(linker, &format!("cli/{name}"))?;
        function(&mut output, &format!("get-{name}"), move |_, (): ()| {
            Ok((Resource::<OutputStream>::new_own(stream),))
        })?;
    }
    define_terminals(linker)
}

fn define_terminals(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    resource::<TerminalInput>(&mut interface(linker, "cli/terminal-input")?, "terminal-input")?;
    resource::<TerminalOutput>(&mut interface(linker, "cli/terminal-output")?, "terminal-output")?;
    let mut stdin = interface(linker, "cli/terminal-stdin")?;
    function(&mut stdin, "get-terminal-stdin", |_, (): ()| Ok((None::<Resource<TerminalInput>>,)))?;
    for name in ["stdout", "stderr"] {
        let mut output = interface(linker, &format!("cli/terminal-{name}"))?;
        function(&mut output, &format!("get-terminal-{name}"), |_, (): ()| {
            Ok((None::<Resource<TerminalOutput>>,))
        })?;
    }
    Ok(())
}

/// A function that does not return has no result to give, whatever the status.
fn exited(how: &str) -> wasmtime::Result<()> {
    Err(Stop::trapped(format!("it ended its run with wasi:cli/exit ({how}) and returned nothing"))
        .into())
}
