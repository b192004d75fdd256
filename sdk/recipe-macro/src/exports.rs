//! What a recipe's world exports, and which of its imports are the SDK's.
//! Knows worlds; does not know how bindings are written.

use crate::generate::SDK;
use crate::source::{HOST_PACKAGE, HOST_VERSION};
use wit_bindgen_core::wit_parser::{
    InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldId, WorldItem, WorldKey,
};
use wit_bindgen_rust::{WithOption, to_rust_ident};

/// The exports of a world, by where they stand in its bindings.
pub struct Exports {
    /// Module paths with their trailing `::`, empty for the world's own functions.
    pub modules: Vec<String>,
    /// Error types with one case that carries the host's `error`: (path of the type, name of the case).
    pub errors: Vec<(String, String)>,
}

impl Exports {
    /// # Errors
    /// The world exports nothing, or something that a recipe can not export.
    pub fn of(resolve: &Resolve, world: WorldId) -> Result<Self, String> {
        let mut exports = Self { modules: Vec::new(), errors: Vec::new() };
        for (key, item) in &resolve.worlds[world].exports {
            let module = match (key, item) {
                (WorldKey::Name(_), WorldItem::Function(_)) => String::new(),
                (WorldKey::Name(name), WorldItem::Interface { .. }) => {
                    format!("exports::{}::", ident(name))
                }
                (WorldKey::Interface(id), _) => module_of(resolve, *id)?,
                (WorldKey::Name(name), WorldItem::Type { .. }) => {
                    return Err(format!("type `{name}`: put exported types into an interface"));
                }
            };
            if let WorldItem::Interface { id, .. } = item {
                exports.add_errors(resolve, *id, &module);
            }
            if !exports.modules.contains(&module) {
                exports.modules.push(module);
            }
        }
        if exports.modules.is_empty() {
            let name = &resolve.worlds[world].name;
            return Err(format!("the world `{name}` exports nothing: `export` an interface"));
        }
        Ok(exports)
    }

    fn add_errors(&mut self, resolve: &Resolve, interface: InterfaceId, module: &str) {
        for (name, id) in &resolve.interfaces[interface].types {
            let TypeDefKind::Variant(variant) = &resolve.types[*id].kind else {
                continue;
            };
            let mut carriers = variant.cases.iter().filter(|case| match case.ty {
                Some(Type::Id(payload)) => is_host_error(resolve, payload),
                _ => false,
            });
            if let (Some(case), None) = (carriers.next(), carriers.next()) {
                self.errors.push((format!("{module}{}", camel(name)), camel(&case.name)));
            }
        }
    }
}

/// Tells the generator to use the SDK's types for every interface of the host in this world.
pub fn shared_interfaces(resolve: &Resolve, world: WorldId) -> Vec<(String, WithOption)> {
    let imports = resolve.worlds[world].imports.keys();
    imports
        .filter_map(|key| match key {
            WorldKey::Interface(id) => host_interface(resolve, *id),
            WorldKey::Name(_) => None,
        })
        .map(|name| {
            let path = format!("{SDK}::__bindings::quorate::recipe::{}", ident(name));
            (format!("{HOST_PACKAGE}/{name}@{HOST_VERSION}"), WithOption::Path(path))
        })
        .collect()
}

/// The name of this interface if it is one of the host's package, in the version of this SDK.
fn host_interface(resolve: &Resolve, id: InterfaceId) -> Option<&str> {
    let interface = &resolve.interfaces[id];
    let package = &resolve.packages[interface.package?].name;
    let version = package.version.as_ref()?.to_string();
    let host = HOST_PACKAGE.split_once(':')?;
    let is_host = (package.namespace.as_str(), package.name.as_str()) == host;
    (is_host && version == HOST_VERSION).then_some(interface.name.as_deref()).flatten()
}

/// Follows `use` and `type` aliases to see whether they end at `quorate:recipe/types.error`.
fn is_host_error(resolve: &Resolve, mut id: TypeId) -> bool {
    while let TypeDefKind::Type(Type::Id(next)) = resolve.types[id].kind {
        id = next;
    }
    let ty = &resolve.types[id];
    let TypeOwner::Interface(owner) = ty.owner else {
        return false;
    };
    ty.name.as_deref() == Some("error") && host_interface(resolve, owner) == Some("types")
}

/// Where the generator puts an exported interface.
fn module_of(resolve: &Resolve, id: InterfaceId) -> Result<String, String> {
    let interface = &resolve.interfaces[id];
    let (Some(package), Some(name)) = (interface.package, interface.name.as_deref()) else {
        return Err("an exported interface has no name".to_owned());
    };
    let package = &resolve.packages[package].name;
    let (namespace, package) = (ident(&package.namespace), ident(&package.name));
    Ok(format!("exports::{namespace}::{package}::{}::", ident(name)))
}

fn ident(kebab: &str) -> String {
    to_rust_ident(&kebab.replace('-', "_").to_lowercase())
}

/// `already-held` -> `AlreadyHeld`.
fn camel(kebab: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first
            .into_iter()
            .chain(letters.map(|letter| letter.to_ascii_lowercase()))
            .collect::<String>()
    };
    kebab.split('-').map(word).collect()
}
