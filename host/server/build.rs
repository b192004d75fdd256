//! Puts into the binary what it gives away: the built-in recipes, as components that `make recipes` has built, and the guest
//! SDK's sources. It builds none of them itself, since guests need another toolchain.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// The recipes that `quorate dev` deploys.
const RECIPES: [&str; 6] = ["lock", "counter", "queue", "barrier", "election", "group"];
/// What a recipe is built against: files and directories below sdk/.
const SDK: [&str; 5] = [
    "recipe/Cargo.toml",
    "recipe/src",
    "recipe-macro/Cargo.toml",
    "recipe-macro/src",
    "recipe-macro/wit",
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo::rerun-if-env-changed=QUORATE_RECIPES");
    // <target>/<profile>/build/<crate>/out
    let target = out.ancestors().nth(4).unwrap_or(Path::new("target"));
    let recipes = env::var_os("QUORATE_RECIPES").map_or(target.join("recipes"), PathBuf::from);
    for recipe in RECIPES {
        let file = recipes.join(format!("{recipe}.wasm"));
        println!("cargo::rerun-if-changed={}", file.display());
        if let Err(error) = fs::copy(&file, out.join(format!("{recipe}.wasm"))) {
            println!(
                "cargo::error=the built-in recipe {}: {error}; run `make recipes` first",
                file.display()
            );
            process::exit(1);
        }
    }
    if let Err(error) = pack_sdk(&out) {
        println!("cargo::error=the sources of the guest SDK: {error}");
        process::exit(1);
    }
}

/// Writes an array of (path below sdk/, text) for `commands::recipe::sdk`.
fn pack_sdk(out: &Path) -> io::Result<()> {
    let sdk =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../../sdk");
    let mut files = Vec::new();
    for part in SDK {
        let path = sdk.join(part);
        println!("cargo::rerun-if-changed={}", path.display());
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                files.push(format!("{part}/{}", entry?.file_name().to_string_lossy()));
            }
        } else {
            files.push(part.to_owned());
        }
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        text += &format!("({file:?}, {:?}),\n", fs::read_to_string(sdk.join(&file))?);
    }
    fs::write(out.join("sdk.rs"), text + "]\n")
}
