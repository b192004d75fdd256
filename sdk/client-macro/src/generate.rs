//! The source that the macro becomes: a module for each interface, with its types and a handle whose methods are its functions.
//! It does not know how WIT is found, or how a call is sent.

use std::path::{Path, PathBuf};

use quorate_wire::value::Type as Described;
use wit_parser::{Function, Resolve, Type, TypeDefKind, TypeOwner};

use crate::arguments::Arguments;
use crate::describe::{self, origin};
use crate::names::{camel, snake};
use crate::select::{Selected, select};
use crate::source::{self, Packages};
use crate::types::{Modules, TYPED, doc_lines, docs};

/// Lints that generated code is free of; it is not the caller who could answer for them.
const ALLOWED: &str = "#[allow(missing_docs, dead_code, unused, clippy::all, clippy::pedantic, \
     clippy::restriction, reason = \"generated\")]";

/// Methods of every handle.
const RESERVED: [&str; 2] = ["new", "recipe"];

/// # Errors
/// A sentence for whoever wrote the macro's arguments, or the WIT.
pub fn recipe(arguments: &Arguments) -> Result<String, String> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let root = root.ok_or("CARGO_MANIFEST_DIR is not set: build with cargo")?;
    expand(arguments, &root)
}

/// As `recipe`, with paths relative to this folder.
///
/// # Errors
/// As `recipe`.
pub fn expand(arguments: &Arguments, root: &Path) -> Result<String, String> {
    let Packages { resolve, main, files } = source::load(&arguments.source, root)?;
    let selected = select(&resolve, main, &arguments.wanted)?;
    let mut modules = Modules {
        resolve: &resolve,
        owners: selected.iter().map(|one| (one.owner, snake(&one.name))).collect(),
        errors: selected.iter().flat_map(|one| errors(&resolve, &one.functions)).collect(),
    };
    let mut out = String::new();
    for file in files {
        // Makes the compiler build the crate again when the file changes.
        out += &format!("const _: &[u8] = include_bytes!({:?});\n", file.display().to_string());
    }
    let mut index = 0;
    while let Some((owner, name)) = modules.owners.get(index).cloned() {
        let (docs, handle) = match selected.get(index) {
            Some(one) => (one.docs.map_or_else(String::new, doc_lines), handle(&mut modules, one)?),
            None => (String::new(), String::new()),
        };
        let declarations = modules.declarations(owner);
        out += &format!("{docs}{ALLOWED} pub mod {name} {{\n{declarations}{handle}}}\n");
        index += 1;
    }
    Ok(out)
}

/// The types that recipes share, without a module around them.
///
/// # Errors
/// The embedded package is broken.
pub fn host_types() -> Result<String, String> {
    let Packages { resolve, main, .. } = source::host()?;
    let types = resolve.packages[main].interfaces.get("types").copied();
    let owner = TypeOwner::Interface(types.ok_or("quorate:recipe has no types")?);
    let errors = resolve.types.iter().filter(|(_, found)| {
        found.owner == owner && matches!(found.name.as_deref(), Some("error" | "error-code"))
    });
    let mut modules = Modules {
        resolve: &resolve,
        owners: vec![(owner, "types".to_owned())],
        errors: errors.map(|(id, _)| id).collect(),
    };
    Ok(modules.declarations(owner))
}

/// The named types that functions fail with.
fn errors(resolve: &Resolve, functions: &[&Function]) -> Vec<wit_parser::TypeId> {
    let mut found = Vec::new();
    for function in functions {
        if let Some((_, Some(Type::Id(id)))) = payloads(resolve, function) {
            found.push(origin(resolve, id));
        }
    }
    found
}

/// The payloads of a result, for a function that returns one.
fn payloads(resolve: &Resolve, function: &Function) -> Option<(Option<Type>, Option<Type>)> {
    let Some(Type::Id(id)) = function.result else { return None };
    match &resolve.types[origin(resolve, id)].kind {
        TypeDefKind::Result(result) => Some((result.ok, result.err)),
        _ => None,
    }
}

fn handle(modules: &mut Modules<'_>, selected: &Selected<'_>) -> Result<String, String> {
    let mut name = camel(&selected.name);
    let is_taken = |name: &str| {
        let mut types = modules.resolve.types.iter();
        types.any(|(_, found)| {
            found.owner == selected.owner
                && found.name.as_deref().map(camel).as_deref() == Some(name)
        })
    };
    if is_taken(&name) {
        name += "Recipe";
    }
    let mut methods = String::new();
    for function in &selected.functions {
        methods += &method(modules, selected, function)?;
    }
    Ok(format!(
        "/// A deployed recipe that exports this interface.\n\
         #[derive(::std::fmt::Debug, ::std::clone::Clone)]\n\
         pub struct {name} {{ recipe: ::quorate_client::Recipe }}\n\
         impl {name} {{\n\
         /// The recipe that is deployed under this name. Nothing is sent yet.\n\
         pub fn new(client: &::quorate_client::Client, name: &str) -> Self {{ Self {{ recipe: client.recipe(name) }} }}\n\
         /// The same recipe, without types.\n\
         pub fn recipe(&self) -> &::quorate_client::Recipe {{ &self.recipe }}\n\
         {methods}}}\n"
    ))
}

fn method(
    modules: &mut Modules<'_>,
    selected: &Selected<'_>,
    function: &Function,
) -> Result<String, String> {
    let described = describe::function(modules.resolve, function)
        .map_err(|why| format!("{}: {why}", selected.name))?;
    let bytes = described.encode().map_err(|error| format!("{}: {error}", function.name))?;
    let here = selected.owner;
    let (mut parameters, mut arguments) = (String::new(), String::new());
    for (parameter, (_, described)) in function.params.iter().zip(&described.parameters) {
        let name = snake(&parameter.name);
        let kind = modules.reference(&parameter.ty, here);
        // `&str` for a string, and whatever has bytes for bytes.
        if is_text_or_bytes(described) {
            parameters += &format!(", {name}: impl ::std::convert::Into<{kind}>");
            arguments +=
                &format!("{TYPED}::Wit::into_value(::std::convert::Into::<{kind}>::into({name})),");
        } else {
            parameters += &format!(", {name}: {kind}");
            arguments += &format!("{TYPED}::Wit::into_value({name}),");
        }
    }
    let returned = match payloads(modules.resolve, function) {
        Some((ok, err)) => format!(
            "{}, {}",
            modules.reference_or_unit(ok.as_ref(), here),
            modules.reference_or_unit(err.as_ref(), here)
        ),
        None => modules.reference_or_unit(function.result.as_ref(), here),
    };
    let mut method = snake(&function.name);
    if RESERVED.contains(&method.as_str()) {
        method += "_";
    }
    Ok(format!(
        "{}pub fn {method}(&self{parameters}) -> {TYPED}::Call<{returned}> {{\n\
         static SIGNATURE: {TYPED}::Signature = {TYPED}::Signature::new({:?}, &{:?});\n\
         {TYPED}::Call::new(&self.recipe, &SIGNATURE, ::std::vec![{arguments}]) }}\n",
        docs(&function.docs),
        format!("{}.{}", selected.prefix, function.name),
        &bytes[..],
    ))
}

fn is_text_or_bytes(described: &Described) -> bool {
    match described {
        Described::String | Described::Blob => true,
        Described::List(element) => **element == Described::U8,
        _ => false,
    }
}
