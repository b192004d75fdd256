//! Which interfaces of a package calls are made for, and under which names the service knows them. It knows no types.

use wit_parser::{
    Function, InterfaceId, PackageId, Resolve, TypeOwner, WorldId, WorldItem, WorldKey,
};

use crate::arguments::Wanted;

/// The name under which the service lists functions that a world exports outside any interface.
const WORLD: &str = "world";
/// Functions of a world that the service runs by itself.
const MIGRATE: &str = "migrate";

/// Functions that are called through one handle.
pub struct Selected<'a> {
    /// Whose types are declared next to them.
    pub owner: TypeOwner,
    /// In kebab case: names the module and the handle.
    pub name: String,
    /// What calls put before a function's name.
    pub prefix: String,
    pub docs: Option<&'a str>,
    pub functions: Vec<&'a Function>,
}

/// # Errors
/// A sentence that names what there is.
pub fn select<'a>(
    resolve: &'a Resolve,
    main: PackageId,
    wanted: &Wanted,
) -> Result<Vec<Selected<'a>>, String> {
    let package = &resolve.packages[main];
    let worlds: Vec<&str> = package.worlds.keys().map(String::as_str).collect();
    let interfaces: Vec<&str> = package.interfaces.keys().map(String::as_str).collect();
    match (wanted, worlds.as_slice(), interfaces.as_slice()) {
        (Wanted::Interface(name), ..) => match package.interfaces.get(plain(name)) {
            Some(id) => Ok(vec![interface(resolve, *id, plain(name))]),
            None => Err(format!(
                "there is no interface `{name}` in {}; there is {}",
                package.name,
                listed(&interfaces)
            )),
        },
        (Wanted::World(name), ..) => match package.worlds.get(plain(name)) {
            Some(id) => exports(resolve, *id),
            None => Err(format!(
                "there is no world `{name}` in {}; there is {}",
                package.name,
                listed(&worlds)
            )),
        },
        (Wanted::All, [only], _) => exports(resolve, package.worlds[*only]),
        (Wanted::All, [], [only]) => Ok(vec![interface(resolve, package.interfaces[*only], only)]),
        (Wanted::All, [], _) => Err(format!(
            "{} has no world: choose with `interface: \"name\"`; there is {}",
            package.name,
            listed(&interfaces)
        )),
        (Wanted::All, ..) => Err(format!(
            "{} has more than one world: choose with `world: \"name\"`; there is {}",
            package.name,
            listed(&worlds)
        )),
    }
}

/// `lock` of `quorate:lock/lock@0.1.0`.
fn plain(name: &str) -> &str {
    let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn interface<'a>(resolve: &'a Resolve, id: InterfaceId, name: &str) -> Selected<'a> {
    let found = &resolve.interfaces[id];
    Selected {
        owner: TypeOwner::Interface(id),
        name: name.to_owned(),
        prefix: name.to_owned(),
        docs: found.docs.contents.as_deref(),
        functions: found.functions.values().collect(),
    }
}

fn exports(resolve: &Resolve, id: WorldId) -> Result<Vec<Selected<'_>>, String> {
    let world = &resolve.worlds[id];
    let mut selected: Vec<Selected<'_>> = Vec::new();
    let mut own = Vec::new();
    for (key, item) in &world.exports {
        match item {
            WorldItem::Interface { id, .. } => {
                let full = match key {
                    WorldKey::Name(name) => name.clone(),
                    WorldKey::Interface(id) => resolve.id_of(*id).unwrap_or_default(),
                };
                let found = interface(resolve, *id, plain(&full));
                if selected.iter().any(|known| known.name == found.name) {
                    return Err(format!(
                        "two exported interfaces are called `{}`, the second as {full}: their calls could not be told apart",
                        found.name
                    ));
                }
                selected.push(found);
            }
            WorldItem::Function(function) if function.name == MIGRATE => {}
            WorldItem::Function(function) => own.push(function),
            WorldItem::Type { .. } => {}
        }
    }
    if !own.is_empty() {
        selected.push(Selected {
            owner: TypeOwner::World(id),
            name: world.name.clone(),
            prefix: WORLD.to_owned(),
            docs: world.docs.contents.as_deref(),
            functions: own,
        });
    }
    if selected.is_empty() {
        return Err(format!("the world `{}` exports nothing that can be called", world.name));
    }
    Ok(selected)
}
