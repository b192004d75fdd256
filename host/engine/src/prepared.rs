//! A component that is ready to run: its code linked to the host functions, and its functions by every name that a caller
//! may use.

use std::collections::BTreeMap;

use quorate_core::deployment::Manifest;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_wire::value::{Function, Interface};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use crate::admission::{Import, refused};
use crate::interface::{self, WORLD};
use crate::state::RunState;

/// A component that is ready to run.
pub(crate) struct Prepared {
    pub(crate) pre: InstancePre<RunState>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) imports: Vec<Import>,
    /// The `migrate` export.
    pub(crate) migrate: Option<ComponentExportIndex>,
    functions: Vec<Exported>,
    names: BTreeMap<String, Named>,
}

/// A callable function.
pub(crate) struct Exported {
    pub(crate) function: Function,
    pub(crate) signature: u128,
    pub(crate) export: ComponentExportIndex,
    /// All its names: as it stands in its interface, and with the interface's short and full name before it.
    names: [String; 3],
}

enum Named {
    One(usize),
    /// The unambiguous names.
    Several(Vec<String>),
}

impl Prepared {
    /// Links a component and reads its exports.
    ///
    /// # Errors
    /// `not-admitted`: an import that is not as the host has it, a function that can not be called, no function at all.
    pub(crate) fn new(
        linker: &Linker<RunState>,
        component: &Component,
        imports: Vec<Import>,
    ) -> Result<Self, Refusal> {
        let pre =
            linker.instantiate_pre(component).map_err(|error| refused(format!("{error:#}")))?;
        let exported = linker.substituted_component_type(component);
        let exported = exported.map_err(|error| refused(format!("{error:#}")))?;
        let exports = interface::exports(component.engine(), &exported).map_err(refused)?;
        if exports.interfaces.is_empty() {
            return Err(refused("it exports no function that could be called"));
        }
        let migrate = if exports.has_migrate {
            Some(export_index(component, None, "migrate")?)
        } else {
            None
        };
        let mut prepared = Self {
            pre,
            interfaces: exports.interfaces,
            imports,
            migrate,
            functions: Vec::new(),
            names: BTreeMap::new(),
        };
        prepared.index_functions(component)?;
        Ok(prepared)
    }

    fn index_functions(&mut self, component: &Component) -> Result<(), Refusal> {
        for interface in &self.interfaces {
            let instance = if interface.name == WORLD {
                None
            } else {
                Some(export_index(component, None, &interface.name)?)
            };
            for function in &interface.functions {
                let export = export_index(component, instance.as_ref(), &function.name)?;
                let short = short_name(&interface.name);
                let names = [
                    function.name.clone(),
                    format!("{short}.{}", function.name),
                    format!("{}.{}", interface.name, function.name),
                ];
                let signature = u128::from(function.signature_hash());
                let function = function.clone();
                self.functions.push(Exported { function, signature, export, names });
            }
        }
        for (index, exported) in self.functions.iter().enumerate() {
            let [bare, short, full] = &exported.names;
            let longer = [(bare, short), (short, full), (full, full)];
            for (name, unambiguous) in longer {
                add_name(&mut self.names, &self.functions, index, name, unambiguous);
            }
        }
        Ok(())
    }

    /// The function that a caller means.
    ///
    /// # Errors
    /// `no-function`; the message names what there is.
    pub(crate) fn function(&self, name: &str) -> Result<(usize, &Exported), Refusal> {
        let none = |message: String| Err(Refusal::new(ErrorCode::NoFunction, message));
        match self.names.get(name) {
            Some(Named::One(index)) => Ok((*index, &self.functions[*index])),
            Some(Named::Several(names)) => {
                none(format!("more than one function is called {name}: {}", names.join(", ")))
            }
            None => {
                let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
                let names = self.functions.iter().map(|exported| exported.names[1].as_str());
                let names: Vec<&str> = names.take(16).collect();
                none(format!("there is no function \"{shown}\"; there is {}", names.join(", ")))
            }
        }
    }

    /// The function with the index that `function` gave.
    pub(crate) fn exported(&self, index: usize) -> &Exported {
        &self.functions[index]
    }

    /// Functions that can be called.
    pub(crate) fn functions_count(&self) -> usize {
        self.functions.len()
    }
}

impl Exported {
    /// Checks the caller against every name of the function. The core has checked the one that the caller used; a manifest
    /// that names the function otherwise means the same function.
    ///
    /// # Errors
    /// `no-access`.
    pub(crate) fn check_caller(&self, manifest: &Manifest, principal: &str) -> Result<(), Refusal> {
        for name in &self.names {
            if manifest.callers.contains_key(name) && !manifest.allows(principal, name) {
                let message = format!("the manifest does not let \"{principal}\" call {name}");
                return Err(Refusal::new(ErrorCode::NoAccess, message));
            }
        }
        Ok(())
    }

    /// Whether the manifest lists the function as read-only, by any of its names.
    pub(crate) fn is_read_only(&self, manifest: &Manifest) -> bool {
        self.names.iter().any(|name| manifest.read_only.contains(name))
    }
}

fn add_name(
    names: &mut BTreeMap<String, Named>,
    functions: &[Exported],
    index: usize,
    name: &str,
    unambiguous: &str,
) {
    match names.get_mut(name) {
        None => {
            names.insert(name.to_owned(), Named::One(index));
        }
        Some(Named::One(other)) if *other == index => {}
        Some(Named::One(other)) => {
            let [bare, short, full] = &functions[*other].names;
            let others = if name == bare { short } else { full };
            let several = vec![others.clone(), unambiguous.to_owned()];
            names.insert(name.to_owned(), Named::Several(several));
        }
        Some(Named::Several(several)) => several.push(unambiguous.to_owned()),
    }
}

/// `quorate:lock/lock@0.1.0` -> `lock`
fn short_name(interface: &str) -> &str {
    let path = interface.split_once('@').map_or(interface, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn export_index(
    component: &Component,
    instance: Option<&ComponentExportIndex>,
    name: &str,
) -> Result<ComponentExportIndex, Refusal> {
    let index = component.get_export_index(instance, name);
    index.ok_or_else(|| refused(format!("its export {name} can not be found")))
}
