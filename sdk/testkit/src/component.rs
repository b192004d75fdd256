//! A component that is ready to run, and its functions by the names that callers use. It runs nothing itself.

use bytes::Bytes;
use quorate_core::deployment::ComponentDigest;
use quorate_core::error::Refusal;
use quorate_engine::{Engine, Options, StartError};
use quorate_wire::value::{Function, Interface};
use sha2::{Digest as _, Sha256};

/// A recipe's component, admitted and compiled once, for any number of kits.
#[derive(Clone)]
pub struct Component {
    pub(crate) engine: Engine,
    pub(crate) digest: ComponentDigest,
    pub(crate) bytes: Bytes,
    interfaces: Vec<Interface>,
}

/// A component can not be run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The machine lacks what the engine needs.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The service would not admit it.
    #[error("the service would not take this component: {0}")]
    Refused(#[from] Refusal),
}

impl Component {
    /// Admits and compiles a component, by the rules and limits of the service.
    ///
    /// # Errors
    /// It is no component, or not one that the service takes.
    pub fn load(bytes: impl Into<Bytes>) -> Result<Self, LoadError> {
        let bytes = bytes.into();
        let engine = Engine::new(&Options::default())?;
        let digest = Sha256::digest(&bytes).into();
        engine.prepare(digest, bytes.clone())?;
        let interfaces = engine.interfaces(&digest)?;
        Ok(Self { engine, digest, bytes, interfaces })
    }

    /// What it exports.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The function with this name: `acquire`, `INTERFACE.acquire`, or with the interface's package and version.
    ///
    /// # Errors
    /// There is none, or more than one: a sentence that names what there is.
    pub fn function(&self, name: &str) -> Result<&Function, String> {
        self.find(name).map(|(_, function)| function)
    }

    /// The function and its interface.
    pub(crate) fn find(&self, name: &str) -> Result<(&Interface, &Function), String> {
        let all = self.interfaces.iter().flat_map(|interface| {
            interface.functions.iter().map(move |function| (interface, function))
        });
        let mut found = Vec::new();
        for (interface, function) in all.clone() {
            let is_named = match name.rsplit_once('.') {
                None => function.name == name,
                Some((given, name)) => {
                    function.name == name
                        && (interface.name == given || short_name(&interface.name) == given)
                }
            };
            if is_named {
                found.push((interface, function));
            }
        }
        let names = |all: &mut dyn Iterator<Item = (&Interface, &Function)>| {
            let names = all.map(|(interface, function)| {
                format!("{}.{}", short_name(&interface.name), function.name)
            });
            names.collect::<Vec<_>>().join(", ")
        };
        match found[..] {
            [one] => Ok(one),
            [] => Err(format!("there is no function {name}; there is {}", names(&mut all.clone()))),
            _ => {
                let found = names(&mut found.into_iter());
                Err(format!("more than one function is called {name}: {found}"))
            }
        }
    }
}

/// `lock` of `quorate:lock/lock@0.1.0`.
fn short_name(interface: &str) -> &str {
    let path = interface.split_once('@').map_or(interface, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
