//! Puts the built-in recipes into the binary: copies the components that `make recipes` has built. It builds none itself,
//! since guests need another toolchain.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// The recipes that `quorate dev` deploys.
const RECIPES: [&str; 6] = ["lock", "counter", "queue", "barrier", "election", "group"];

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
}
