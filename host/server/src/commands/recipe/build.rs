//! `quorate recipe build`: a crate into a component, with rustup's toolchain or Debian's. The script that knows both is the one
//! that builds the recipes of this repository; what a component is, is quorate-componentize's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::json;

use super::sdk;
use crate::failure::{Usage, hinted};
use crate::output::{NAME, Output};

/// `quorate recipe build`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Guests are built by rustup's wasm32-unknown-unknown where that is installed, else by Debian's packages:
  rustup target add wasm32-unknown-unknown
  apt-get install rustc-web cargo-web rust-web-src lld
QUORATE_GUEST_TOOLCHAIN=rustup or =debian insists on one.
What recipes have in common is built once, in ~/.cache/quorate/guests or QUORATE_GUEST_TARGET_DIR: the first build takes a minute,
later ones and those of other recipes seconds.

Examples:
  quorate recipe build
  quorate recipe build my-semaphore"
)]
pub struct Build {
    /// Directory of the recipe
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Builds core modules, with OUT_DIR and CRATE_DIR as its arguments.
const SCRIPT: &str = include_str!("../../../../../recipes/build.sh");

#[derive(Deserialize)]
struct CargoToml {
    package: Package,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

impl Build {
    /// Runs it.
    ///
    /// # Errors
    /// If the crate does not build, or is no recipe.
    pub fn run(self, output: Output) -> anyhow::Result<()> {
        let (file, bytes) = build(&self.dir)?;
        output.show(
            || json!({ "component": file, "bytes": bytes }),
            |out| writeln!(out, "{NAME}{}{NAME:#} is built, {bytes} bytes", file.display()),
        )
    }
}

/// The name in the crate's manifest.
///
/// # Errors
/// If the directory is no crate.
pub fn crate_name(dir: &Path) -> anyhow::Result<String> {
    Ok(manifest(dir)?.package.name)
}

fn manifest(dir: &Path) -> anyhow::Result<CargoToml> {
    let file = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        hinted(
            Usage(format!("{} can not be read: {error}", file.display())),
            "Name the directory of a recipe; `quorate recipe new NAME` makes one.",
        )
    })?;
    toml::from_str(&text).with_context(|| format!("{} is no crate", file.display()))
}

/// The guest SDK that the crate names by its path; none if it comes from elsewhere.
fn sdk_of(dir: &Path, manifest: &CargoToml) -> anyhow::Result<Option<PathBuf>> {
    let named = manifest.dependencies.get("quorate-recipe");
    let Some(path) = named.and_then(|named| named.get("path")?.as_str()) else { return Ok(None) };
    let found = dir.join(path);
    if !found.join("Cargo.toml").is_file() {
        return Err(sdk::missing(&found));
    }
    Ok(Some(found))
}

/// Where guests are built: one place for all recipes of a user, so that what they have in common is built once.
fn shared_target() -> Option<PathBuf> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("quorate/guests"))
}

/// Where the component of a crate is put.
pub fn component_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("target").join(format!("{name}.wasm"))
}

/// Builds the recipe in a directory. The component's file and size.
///
/// # Errors
/// If the crate does not build, or is no recipe.
pub fn build(dir: &Path) -> anyhow::Result<(PathBuf, usize)> {
    let manifest = manifest(dir)?;
    let sdk = sdk_of(dir, &manifest)?;
    let name = manifest.package.name;
    let target = std::path::absolute(dir.join("target"))?;
    let modules = target.join("modules");
    compile(dir, sdk.as_deref(), &target, &modules)?;
    let module = modules.join(format!("{name}.core.wasm"));
    let module =
        std::fs::read(&module).with_context(|| format!("{} can not be read", module.display()))?;
    let component = quorate_componentize::componentize(&module)?;
    let file = component_file(dir, &name);
    std::fs::write(&file, &component)
        .with_context(|| format!("{} can not be written", file.display()))?;
    Ok((file, component.len()))
}

/// The compiler tells its progress and its errors on standard error; standard output is kept for the result.
fn compile(dir: &Path, sdk: Option<&Path>, target: &Path, modules: &Path) -> anyhow::Result<()> {
    // The script goes by its own place, and gives the compiler flags that name it. Beside the SDK it is the same place for all
    // recipes, and for the built-in ones: what they have in common is not built again.
    let place = match sdk.map(std::fs::canonicalize) {
        Some(sdk) => sdk?.parent().unwrap_or(Path::new("/")).to_owned(),
        None => PathBuf::from("."),
    };
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT]).arg(place.join("build.sh")).arg(modules).arg(".").current_dir(dir);
    bash.stdin(Stdio::null()).stdout(std::io::stderr());
    if std::env::var_os("QUORATE_GUEST_TARGET_DIR").is_none() {
        let shared = shared_target().unwrap_or_else(|| target.join("guest"));
        bash.env("QUORATE_GUEST_TARGET_DIR", shared);
    }
    let status = bash.status().context("bash can not be run")?;
    if !status.success() {
        bail!("the recipe does not build; the compiler says why above");
    }
    Ok(())
}
