//! `componentize IN.wasm OUT.wasm`: a core module into a component, for scripts.
//! Knows files; the work is the library's.

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(input), Some(output), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!("usage: componentize IN.wasm OUT.wasm");
    };
    let module = std::fs::read(&input).with_context(|| format!("reading {}", input.display()))?;
    let component = quorate_componentize::componentize(&module)
        .with_context(|| format!("making a component of {}", input.display()))?;
    std::fs::write(&output, component).with_context(|| format!("writing {}", output.display()))
}
