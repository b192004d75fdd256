//! The WIT packages that a world is made of: ours, embedded, and the recipe's own, from its crate.
//! Knows where text comes from; does not know what is generated from it.

use std::path::{Path, PathBuf};
use wit_bindgen_core::wit_parser::{PackageId, Resolve, SourceMap};

/// Name and version of the package that the host gives, as interfaces of it are named in a world.
pub const HOST_PACKAGE: &str = "quorate:recipe";
/// The version that this SDK speaks.
pub const HOST_VERSION: &str = "0.1.0";

const HOST_FILES: [(&str, &str); 7] = [
    ("quorate:recipe/types.wit", include_str!("../wit/types.wit")),
    ("quorate:recipe/tree.wit", include_str!("../wit/tree.wit")),
    ("quorate:recipe/call.wit", include_str!("../wit/call.wit")),
    ("quorate:recipe/wait.wit", include_str!("../wit/wait.wit")),
    ("quorate:recipe/blobs.wit", include_str!("../wit/blobs.wit")),
    ("quorate:recipe/log.wit", include_str!("../wit/log.wit")),
    ("quorate:recipe/world.wit", include_str!("../wit/world.wit")),
];

/// A recipe's package, resolved, with the files that it was read from.
pub struct Packages {
    pub resolve: Resolve,
    pub main: PackageId,
    pub files: Vec<PathBuf>,
}

/// Only the package of the host.
///
/// # Errors
/// A parser's message: the embedded text does not parse.
pub fn host() -> Result<Packages, String> {
    let mut resolve = Resolve::default();
    let mut sources = SourceMap::default();
    for (name, text) in HOST_FILES {
        sources.push(Path::new(name), text);
    }
    let group = sources.parse().map_err(|(sources, error)| error.render(&sources))?;
    let main = match resolve.push_group(group) {
        Ok(main) => main,
        Err(error) => return Err(error.render(&resolve.source_map)),
    };
    Ok(Packages { resolve, main, files: Vec::new() })
}

/// The package of the host and the one at `path`, relative to the crate that is being compiled.
///
/// # Errors
/// A sentence for the recipe's author: what could not be read or understood, and where.
pub fn recipe(path: &str) -> Result<Packages, String> {
    let Packages { mut resolve, .. } = host()?;
    let root = std::env::var_os("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)
        .ok_or("CARGO_MANIFEST_DIR is not set: build recipes with cargo")?;
    let place = root.join(path);
    let (main, sources) = match resolve.push_path(&place) {
        Ok(pushed) => pushed,
        Err(error) => {
            let cause = resolve.render_error(&error);
            return Err(format!("the WIT of this recipe at {}: {cause}", place.display()));
        }
    };
    let files = sources.paths().map(Path::to_path_buf).collect();
    Ok(Packages { resolve, main, files })
}
