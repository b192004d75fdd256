//! WIT packages: ours, embedded, and the caller's, from a file, a folder or a text. It does not know what is made of them.

use std::path::{Path, PathBuf};

use wit_parser::{PackageId, Resolve, SourceMap};

use crate::arguments::Source;

/// The package that the host gives.
pub const HOST_PACKAGE: (&str, &str) = ("quorate", "recipe");

const HOST_FILES: [(&str, &str); 7] = [
    ("quorate:recipe/types.wit", include_str!("../wit/types.wit")),
    ("quorate:recipe/tree.wit", include_str!("../wit/tree.wit")),
    ("quorate:recipe/call.wit", include_str!("../wit/call.wit")),
    ("quorate:recipe/wait.wit", include_str!("../wit/wait.wit")),
    ("quorate:recipe/blobs.wit", include_str!("../wit/blobs.wit")),
    ("quorate:recipe/log.wit", include_str!("../wit/log.wit")),
    ("quorate:recipe/world.wit", include_str!("../wit/world.wit")),
];

/// A package, resolved, with the files that it was read from.
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

/// The package of the host and the caller's. Paths are relative to `root`, the folder of the crate that is being compiled.
///
/// # Errors
/// What could not be read or understood, and where.
pub fn load(source: &Source, root: &Path) -> Result<Packages, String> {
    match source {
        Source::Path(path) => from_path(&root.join(path)),
        Source::Inline(text) => {
            let Packages { mut resolve, .. } = host()?;
            match resolve.push_str("inline WIT", text) {
                Ok(main) => Ok(Packages { resolve, main, files: Vec::new() }),
                Err(error) => Err(resolve.render_error(&error)),
            }
        }
    }
}

fn from_path(place: &Path) -> Result<Packages, String> {
    if let Err(error) = std::fs::metadata(place) {
        return Err(format!("there is no WIT at {}: {error}", place.display()));
    }
    let Packages { mut resolve, .. } = host()?;
    let (main, sources) = match resolve.push_path(place) {
        Ok(pushed) => pushed,
        Err(error) => {
            let cause = resolve.render_error(&error);
            return Err(format!("the WIT at {}: {cause}", place.display()));
        }
    };
    Ok(Packages { resolve, main, files: sources.paths().map(Path::to_path_buf).collect() })
}
