//! Where the guest SDK is: named by the user, in the sources that this binary was built from, or written out of the binary
//! itself, so that recipes can be written on a machine that has nothing but it. It does not know recipes.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::dev_file;
use crate::failure::{Usage, hinted};

/// Files below sdk/, with their text.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The directory of the crate quorate-recipe.
///
/// # Errors
/// If the one that was named is none, or it can not be written.
pub fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(named) = named {
        return crate_in(named).ok_or_else(|| missing(named));
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/recipe");
    match crate_in(&sources) {
        Some(found) => Ok(found),
        None => unpack(&dev_file::home()?.join("sdk").join(env!("CARGO_PKG_VERSION"))),
    }
}

/// What is said when the SDK is not where it should be.
pub fn missing(dir: &Path) -> anyhow::Error {
    hinted(
        Usage(format!("the guest SDK is not in {}", dir.display())),
        "Name sdk/recipe of Quorate's sources with --sdk DIR or QUORATE_SDK; without either, `quorate recipe new` takes the SDK \
         of this binary. In a recipe that is there already, set the path of quorate-recipe in its Cargo.toml.",
    )
}

fn crate_in(dir: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(dir).ok().filter(|dir| dir.join("Cargo.toml").is_file())
}

/// Writes the SDK of this binary. Files that are right already are left alone, so that nothing is built again.
fn unpack(dir: &Path) -> anyhow::Result<PathBuf> {
    for (name, text) in FILES {
        let file = dir.join(name);
        if std::fs::read_to_string(&file).is_ok_and(|found| found == *text) {
            continue;
        }
        let told = || format!("{} can not be written", file.display());
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(told)?;
        }
        std::fs::write(&file, text).with_context(told)?;
    }
    let recipe = dir.join("recipe");
    crate_in(&recipe).ok_or_else(|| missing(&recipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_has_a_whole_sdk_and_does_not_rewrite_what_is_right() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = unpack(directory.path()).expect("written");
        let library = found.join("src/lib.rs");
        assert!(library.is_file());
        assert!(found.join("../recipe-macro/wit/tree.wit").is_file());
        let modified = || std::fs::metadata(&library).and_then(|found| found.modified());
        let before = modified().expect("a time");
        std::fs::write(found.join("src/tree.rs"), "damaged").expect("written");
        unpack(directory.path()).expect("written");
        assert_eq!(modified().expect("a time"), before);
        let tree = std::fs::read_to_string(found.join("src/tree.rs")).expect("there");
        assert_ne!(tree, "damaged");
    }

    #[test]
    fn a_directory_that_is_none_is_named_with_what_to_do() {
        let error = find(Some(Path::new("/no/such/sdk"))).expect_err("none");
        assert!(error.to_string().contains("/no/such/sdk"), "{error}");
    }
}
