//! What becomes a component, and what the repository's own recipes are as components.
//! Builds the recipes with recipes/build.sh; knows nothing of how they run.

use anyhow::{Result, bail, ensure};
use quorate_componentize::{Error, componentize};
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_component::{DecodedWasm, StringEncoding};
use wit_parser::{Resolve, World, WorldKey};

/// A core module with nothing in it.
const EMPTY_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// Recipes are to stay small: a fresh instance for each call is the default.
const COMPONENT_BYTES_MAX: usize = 100 * 1024;

#[test]
fn a_module_without_its_worlds_exports_is_refused() -> Result<()> {
    let mut resolve = Resolve::default();
    let wit = "package a:b; interface i { f: func(); } world w { export i; }";
    let package = resolve.push_str("a.wit", wit)?;
    let world = resolve.select_world(&[package], None)?;
    let mut module = EMPTY_MODULE.to_vec();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    let refused = componentize(&module);
    assert!(matches!(refused, Err(Error::Mismatch(_))), "{refused:?}");
    Ok(())
}

#[test]
fn a_damaged_module_is_refused() {
    let mut module = EMPTY_MODULE.to_vec();
    module.extend_from_slice(&[1, 200, 1]);
    let refused = componentize(&module);
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn recipes_are_small_and_import_only_what_the_host_gives() -> Result<()> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes");
    build(Command::new(repository().join("recipes/build.sh")).arg(&out))?;
    for recipe in ["lock", "counter", "queue", "barrier", "election", "group"] {
        let component = componentize(&std::fs::read(out.join(format!("{recipe}.core.wasm")))?)?;
        assert!(component.len() < COMPONENT_BYTES_MAX, "{recipe}: {} bytes", component.len());
        let imports = imports(&component)?;
        let are_the_hosts = imports.iter().all(|import| import.starts_with("quorate:recipe/"));
        assert!(are_the_hosts && !imports.is_empty(), "{recipe} imports {imports:?}");
        assert_eq!(exports(&component)?, [format!("quorate:{recipe}/{recipe}@0.1.0")]);
    }
    Ok(())
}

/// What `quorate recipe new` gives a newcomer builds as it is.
#[test]
fn the_template_becomes_a_recipe() -> Result<()> {
    let root = repository();
    let template = root.join("recipes/template");
    let crate_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("my-semaphore");
    let sdk = root.join("sdk/recipe").canonicalize()?;
    for file in ["Cargo.toml", "wit/__NAME__.wit", "src/lib.rs"] {
        let text = std::fs::read_to_string(template.join(file))?;
        let text = text.replace("__NAME__", "my-semaphore");
        let text = text.replace("__SDK__", &format!("{{ path = {sdk:?} }}"));
        let place = crate_dir.join(file.replace("__NAME__", "my-semaphore"));
        std::fs::create_dir_all(place.parent().unwrap_or(&crate_dir))?;
        std::fs::write(place, text)?;
    }
    // The versions that the repository's recipes are built with, so that nothing has to be found out or fetched.
    std::fs::copy(root.join("recipes/Cargo.lock"), crate_dir.join("Cargo.lock"))?;

    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("template");
    build(Command::new(root.join("recipes/build.sh")).arg(&out).arg(&crate_dir))?;
    let component = componentize(&std::fs::read(out.join("my-semaphore.core.wasm"))?)?;
    assert_eq!(exports(&component)?, ["recipes:my-semaphore/my-semaphore@0.1.0"]);
    Ok(())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn build(command: &mut Command) -> Result<()> {
    let built = command.output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok(())
}

fn imports(component: &[u8]) -> Result<Vec<String>> {
    names(component, |world| world.imports.keys().cloned().collect())
}

fn exports(component: &[u8]) -> Result<Vec<String>> {
    names(component, |world| world.exports.keys().cloned().collect())
}

fn names(component: &[u8], keys: impl Fn(&World) -> Vec<WorldKey>) -> Result<Vec<String>> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("not a component");
    };
    let keys = keys(&resolve.worlds[world]);
    Ok(keys.iter().map(|key| resolve.name_world_key(key)).collect())
}
