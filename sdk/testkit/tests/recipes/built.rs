//! Finds the components and the scenarios of the repository's recipes. It builds nothing: `make recipes` does.

use std::path::{Path, PathBuf};

use quorate_testkit::{Component, Instances, Manifest};

/// Bytes of the component of a recipe. `QUORATE_RECIPES` names the folder; without it, it is `recipes` of cargo's target
/// directory.
pub fn component_bytes(name: &str) -> Vec<u8> {
    let file = folder().join(format!("{name}.wasm"));
    std::fs::read(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make recipes`", file.display()))
}

pub fn component(name: &str) -> Component {
    Component::load(component_bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The manifest that the service deploys its own recipes with.
pub fn manifest(name: &str) -> Manifest {
    let root = quorate_testkit::Path::parse(&format!("/recipes/{name}")).expect("a path");
    let read_only: &[&str] = match name {
        "lock" => &["holder", "waiters"],
        "counter" => &["get"],
        "queue" => &["peek", "length"],
        "barrier" => &["is-set", "attendance"],
        "election" => &["leader", "candidates"],
        "group" => &["members"],
        _ => &[],
    };
    let read_only = read_only.iter().map(|&function| function.to_owned()).collect();
    Manifest { instances: Instances::Reused, read_only, ..Manifest::for_root(root) }
}

/// The folder of a recipe's sources.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(name)
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("QUORATE_RECIPES") {
        return folder.into();
    }
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        return Path::new(&target).join("recipes");
    }
    // TARGET/debug/deps/recipes-HASH
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(3).expect("a test stands three folders below the target").join("recipes")
}
