//! What becomes a component, and what the repository's own recipes are as components.
//! Builds the recipes with recipes/build.sh; knows nothing of how they run.

use anyhow::Result;
use quorate_componentize::{Error, componentize};
use std::path::{Path, PathBuf};
use std::process::Command;
use wit_component::{DecodedWasm, StringEncoding};
use wit_parser::{Resolve, WorldKey};

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
    let modules = build_recipes()?;
    for recipe in ["lock", "counter", "queue", "barrier", "election", "group"] {
        let module = std::fs::read(modules.join(format!("{recipe}.core.wasm")))?;
        let component = componentize(&module)?;
        assert!(
            component.len() < COMPONENT_BYTES_MAX,
            "{recipe}: {} bytes",
            component.len()
        );

        let DecodedWasm::Component(resolve, world) = wit_component::decode(&component)? else {
            panic!("{recipe}: not a component");
        };
        let name = |key: &WorldKey| resolve.name_world_key(key);
        let imports: Vec<_> = resolve.worlds[world].imports.keys().map(name).collect();
        let exports: Vec<_> = resolve.worlds[world].exports.keys().map(name).collect();
        let are_the_hosts = imports
            .iter()
            .all(|import| import.starts_with("quorate:recipe/"));
        assert!(
            are_the_hosts && !imports.is_empty(),
            "{recipe} imports {imports:?}"
        );
        assert_eq!(exports, [format!("quorate:{recipe}/{recipe}@0.1.0")]);
    }
    Ok(())
}

fn build_recipes() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recipes");
    let built = Command::new(root.join("recipes/build.sh"))
        .arg(&out)
        .output()?;
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Ok(out)
}
