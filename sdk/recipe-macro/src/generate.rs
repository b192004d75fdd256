//! Rust source for a world: the bindings, where they live, and what they put in the recipe's scope.
//! Knows how the generator is configured; does not know how WIT is found.
//!
//! The bindings of a recipe stand in a module of their own, with all `unsafe` of the component ABI inside it.

use crate::arguments::Arguments;
use crate::entries::entry_points;
use crate::exports::{Exports, shared_interfaces};
use crate::source::{self, Packages};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator as _};
use wit_bindgen_rust::Opts;

/// The crate that a recipe's bindings refer to.
pub const SDK: &str = "::quorate_recipe";

/// Lints that the generated module is free of; it is not the recipe's author who could answer for them.
const ALLOWED: &str = "#[allow(missing_docs, unused, clippy::all, clippy::pedantic, \
    clippy::restriction, reason = \"generated\")]";

/// The bindings of the host's package, as the SDK crate includes them.
///
/// # Errors
/// A sentence: the embedded package is broken.
pub fn imports() -> Result<String, String> {
    let Packages { mut resolve, main, .. } = source::host()?;
    let world =
        resolve.select_world(&[main], Some("imports")).map_err(|error| format!("{error:#}"))?;
    let options = Opts {
        generate_all: true,
        runtime_path: Some("::wit_bindgen::rt".to_owned()),
        additional_derive_attributes: vec!["PartialEq".to_owned(), "Eq".to_owned()],
        ..Opts::default()
    };
    bindings(options, &mut resolve, world)
}

/// The bindings of a recipe's world, its exported interfaces in scope, and its type exported.
///
/// # Errors
/// A sentence for the recipe's author.
pub fn recipe(arguments: &Arguments) -> Result<String, String> {
    let Packages { mut resolve, main, files } = source::recipe(&arguments.path)?;
    let world = resolve
        .select_world(&[main], arguments.world.as_deref())
        .map_err(|error| format!("choosing the world of this recipe: {error:#}"))?;
    let exports = Exports::of(&resolve, world)?;
    let options = Opts {
        generate_all: true,
        runtime_path: Some(format!("{SDK}::__rt::rt")),
        with: shared_interfaces(&resolve, world),
        ..Opts::default()
    };
    let bindings = bindings(options, &mut resolve, world)?;
    let component = &arguments.component;

    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    let entries = entry_points(&bindings, component)?;
    line(format!("#[doc(hidden)] {ALLOWED} mod __quorate_bindings {{ {bindings}"));
    line(format!("use super::{component}; {entries}"));
    for file in files {
        // Makes the compiler build this crate again when a WIT file of it changes.
        line(format!("const _: &[u8] = include_bytes!({:?});", file.display().to_string()));
    }
    for (path, case) in &exports.errors {
        line(format!(
            "impl From<{SDK}::Error> for {path} {{ \
             fn from(error: {SDK}::Error) -> Self {{ Self::{case}(error) }} }}"
        ));
    }
    line("}".to_owned());
    for module in &exports.modules {
        line(format!("{ALLOWED} use __quorate_bindings::{module}*;"));
    }
    Ok(out)
}

fn bindings(options: Opts, resolve: &mut Resolve, world: WorldId) -> Result<String, String> {
    let mut files = Files::default();
    options
        .build()
        .generate(resolve, world, &mut files)
        .map_err(|error| format!("generating bindings: {error:#}"))?;
    let (_, source) = files.iter().next().ok_or("generating bindings: no output")?;
    String::from_utf8(source.to_vec()).map_err(|error| format!("generating bindings: {error}"))
}
