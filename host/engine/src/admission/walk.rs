//! A look at a component's structure before anything is compiled: sizes, imports, and nothing that would need glue between
//! two components. Whether it is valid is wasmtime's to say.

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentTypeRef, Encoding,
    FunctionBody, Parser, Payload,
};

use crate::limits;

/// What a component imports, by name.
///
/// # Errors
/// A sentence that says why it is refused.
pub(crate) fn walk(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut walk = Walk::default();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        walk.payload(payload).map_err(|refused| match refused {
            Refused::Because(why) => why,
            Refused::Malformed(error) => malformed(error),
        })?;
    }
    Ok(walk.imports)
}

fn malformed(error: wasmparser::BinaryReaderError) -> String {
    format!("it is not a well-formed component: {error}")
}

enum Refused {
    Because(String),
    Malformed(wasmparser::BinaryReaderError),
}

impl From<wasmparser::BinaryReaderError> for Refused {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Malformed(error)
    }
}

fn because<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Because(why.into()))
}

fn within(what: &str, value: u64, max: u64) -> Result<(), Refused> {
    if value > max {
        return because(format!("{what}: {value} is over the limit of {max}"));
    }
    Ok(())
}

/// Whether a function or instance of the component comes from its imports, or was made by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Import,
    Own,
}

#[derive(Default)]
struct Walk {
    /// Encodings from the outside to where the walk is.
    levels: Vec<Encoding>,
    imports: Vec<String>,
    /// Index spaces of the outer component.
    functions: Vec<Source>,
    instances: Vec<Source>,
    modules_count: u64,
    functions_count: u64,
}

impl Walk {
    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Refused> {
        match &payload {
            Payload::Version { encoding, .. } => return self.begin(*encoding),
            Payload::End(_) => {
                self.levels.pop();
                return Ok(());
            }
            Payload::CodeSectionEntry(body) => return self.function_body(body),
            _ => {}
        }
        match self.levels.as_slice() {
            [Encoding::Component] => self.outer(payload),
            [Encoding::Component, Encoding::Component] => wrapper(&payload),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), Refused> {
        match (self.levels.len(), encoding) {
            (0, Encoding::Module) => {
                return because("it is a core module and not a component");
            }
            (_, Encoding::Module) => {
                self.modules_count += 1;
                within("core modules", self.modules_count, limits::MODULES_MAX)?;
            }
            _ => {}
        }
        self.levels.push(encoding);
        Ok(())
    }

    fn function_body(&mut self, body: &FunctionBody<'_>) -> Result<(), Refused> {
        self.functions_count += 1;
        within("functions", self.functions_count, limits::FUNCTIONS_MAX)?;
        let bytes = body.range().len() as u64;
        within("bytes of a function", bytes, limits::FUNCTION_BYTES_MAX)?;
        let mut locals = 0;
        for group in body.get_locals_reader()? {
            locals += u64::from(group?.0);
            within("locals of a function", locals, limits::LOCALS_MAX)?;
        }
        Ok(())
    }

    /// A section of the outer component.
    fn outer(&mut self, payload: Payload<'_>) -> Result<(), Refused> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import?;
                    self.imports.push(import.name.name.to_owned());
                    match import.ty {
                        ComponentTypeRef::Func(_) => self.functions.push(Source::Import),
                        ComponentTypeRef::Instance(_) => self.instances.push(Source::Import),
                        _ => {}
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    instance?;
                    self.instances.push(Source::Own);
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias?)?;
                }
            }
            Payload::ComponentExportSection(section) => {
                // An export is another index of what it exports.
                for export in section {
                    let export = export?;
                    self.define(export.kind, Source::Own);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(&function?)?;
                }
            }
            Payload::ComponentStartSection { .. } => return because("it has a component start"),
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Refused> {
        if let ComponentAlias::InstanceExport { kind, instance_index, .. } = alias {
            let source = self.instances.get(*instance_index as usize).copied();
            let Some(source) = source else { return because("an alias of no instance") };
            self.define(*kind, source);
        }
        Ok(())
    }

    fn define(&mut self, kind: ComponentExternalKind, source: Source) {
        match kind {
            ComponentExternalKind::Func => self.functions.push(source),
            ComponentExternalKind::Instance => self.instances.push(source),
            _ => {}
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) -> Result<(), Refused> {
        match function {
            CanonicalFunction::Lift { .. } => self.functions.push(Source::Own),
            // Lowering a function of its own is a call between components, in disguise.
            CanonicalFunction::Lower { func_index, .. } => {
                if self.functions.get(*func_index as usize) != Some(&Source::Import) {
                    return because("it calls its own exports through the component model");
                }
            }
            CanonicalFunction::ResourceNew { .. }
            | CanonicalFunction::ResourceDrop { .. }
            | CanonicalFunction::ResourceRep { .. } => {}
            _ => return because("it uses asynchronous or threaded built-ins"),
        }
        Ok(())
    }
}

/// A section of a nested component. Encoders wrap each exported interface in one that has only types, imports and exports:
/// it names what is passed through it. Anything else could call, and the code for calls between components is where most of
/// wasmtime's faults were found.
fn wrapper(payload: &Payload<'_>) -> Result<(), Refused> {
    match payload {
        Payload::ComponentTypeSection(_)
        | Payload::CoreTypeSection(_)
        | Payload::ComponentImportSection(_)
        | Payload::ComponentExportSection(_)
        | Payload::ComponentAliasSection(_)
        | Payload::CustomSection(_) => Ok(()),
        _ => because("it has a nested component with code or instances of its own"),
    }
}
