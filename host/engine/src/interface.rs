//! What a component exports, as the service describes it: interfaces of functions over value types. A type that has no
//! canonical encoding is refused here, by name.

use quorate_wire::value::{
    DEPTH_MAX, DESCRIPTION_NODES_MAX, Function, Interface, Type as ValueType,
};
use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentFunc, ComponentItem};
use wasmtime::component::{ResourceType, Type};

use crate::blobs::Blob;
use crate::limits::CASES_MAX;

/// Functions that a world exports outside any interface are described as an interface of this name.
pub(crate) const WORLD: &str = "world";
/// The function that runs when a version is activated.
const MIGRATE: &str = "migrate";
/// What interpreters' toolchains export for themselves: a client must not initialise one again.
const INTERNAL_INTERFACE: &str = "exports";

/// What a component exports.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    /// Interfaces with callable functions, in the order of the component.
    pub(crate) interfaces: Vec<Interface>,
    /// Whether it exports `migrate`.
    pub(crate) has_migrate: bool,
}

/// Reads a component's exports, with its imports resolved.
///
/// # Errors
/// A sentence that names what can not be called.
pub(crate) fn exports(engine: &Engine, component: &types::Component) -> Result<Exports, String> {
    let mut converter = Converter { nodes_left: DESCRIPTION_NODES_MAX };
    let mut found = Exports::default();
    let mut world = Vec::new();
    for (name, item) in component.exports(engine) {
        match item.ty {
            ComponentItem::ComponentInstance(_) if name == INTERNAL_INTERFACE => {}
            ComponentItem::ComponentInstance(instance) => {
                let functions = converter.functions(engine, name, &instance)?;
                if !functions.is_empty() {
                    found.interfaces.push(Interface { name: name.to_owned(), functions });
                }
            }
            ComponentItem::ComponentFunc(function) if name == MIGRATE => {
                check_migrate(&function)?;
                found.has_migrate = true;
            }
            ComponentItem::ComponentFunc(_) if is_internal(name) => {}
            ComponentItem::ComponentFunc(function) => {
                world.push(converter.function(WORLD, name, &function)?);
            }
            ComponentItem::Type(_) => {}
            ComponentItem::Resource(_) => return Err(exported_resource(WORLD, name)),
            _ => return Err(format!("it exports {name}, which is neither interface nor function")),
        }
    }
    if !world.is_empty() {
        found.interfaces.push(Interface { name: WORLD.to_owned(), functions: world });
    }
    for interface in &found.interfaces {
        interface.check().map_err(|error| format!("interface {}: {error}", interface.name))?;
    }
    let mut names: Vec<&str> = found.interfaces.iter().map(|found| found.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two exported interfaces are called {}", twice[0]));
    }
    Ok(found)
}

fn is_internal(name: &str) -> bool {
    name == "init" || name.starts_with("cabi_") || name.starts_with('_')
}

fn exported_resource(interface: &str, name: &str) -> String {
    format!("it exports the resource {interface}.{name}: recipes keep nothing between calls")
}

/// `migrate: func(previous: u64)`, with or without a result.
fn check_migrate(function: &ComponentFunc) -> Result<(), String> {
    let mut params = function.params();
    let takes_version = matches!(params.next(), Some((_, Type::U64))) && params.next().is_none();
    let gives_result = function.results().all(|kind| matches!(kind, Type::Result(_)));
    if takes_version && gives_result && !function.async_() {
        return Ok(());
    }
    Err("its migrate is not `func(previous: u64)`, with nothing or a `result` to return".to_owned())
}

/// Types may be shared in the component and are written out here: the budget bounds what comes of it.
struct Converter {
    nodes_left: u32,
}

impl Converter {
    fn functions(
        &mut self,
        engine: &Engine,
        interface: &str,
        instance: &types::ComponentInstance,
    ) -> Result<Vec<Function>, String> {
        let mut functions = Vec::new();
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) if is_internal(name) => {}
                ComponentItem::ComponentFunc(function) => {
                    functions.push(self.function(interface, name, &function)?);
                }
                ComponentItem::Type(_) => {}
                ComponentItem::Resource(resource) if is_blob(resource) => {}
                ComponentItem::Resource(_) => return Err(exported_resource(interface, name)),
                _ => return Err(format!("{interface} exports {name}, which is no function")),
            }
        }
        Ok(functions)
    }

    fn function(
        &mut self,
        interface: &str,
        name: &str,
        function: &ComponentFunc,
    ) -> Result<Function, String> {
        let at = |why: String| format!("{interface}.{name}: {why}");
        if function.async_() {
            return Err(at("async functions are not supported".to_owned()));
        }
        let mut parameters = Vec::new();
        for (parameter, kind) in function.params() {
            let kind =
                self.value_type(&kind, 1).map_err(|why| at(format!("{parameter}: {why}")))?;
            parameters.push((parameter.to_owned(), kind));
        }
        let mut results = function.results();
        let result = results.next().map(|kind| self.value_type(&kind, 1)).transpose();
        let result = result.map_err(|why| at(format!("result: {why}")))?;
        Ok(Function { name: name.to_owned(), parameters, result })
    }

    fn value_type(&mut self, kind: &Type, depth: u32) -> Result<ValueType, String> {
        if depth > DEPTH_MAX {
            return Err(format!("a type is nested deeper than {DEPTH_MAX} levels"));
        }
        let left = self.nodes_left.checked_sub(1);
        self.nodes_left = left.ok_or_else(|| {
            format!("its types have more than {DESCRIPTION_NODES_MAX} parts, written out")
        })?;
        let depth = depth + 1;
        Ok(match kind {
            Type::Bool => ValueType::Bool,
            Type::S8 => ValueType::S8,
            Type::U8 => ValueType::U8,
            Type::S16 => ValueType::S16,
            Type::U16 => ValueType::U16,
            Type::S32 => ValueType::S32,
            Type::U32 => ValueType::U32,
            Type::S64 => ValueType::S64,
            Type::U64 => ValueType::U64,
            Type::Float32 => ValueType::F32,
            Type::Float64 => ValueType::F64,
            Type::Char => ValueType::Char,
            Type::String => ValueType::String,
            Type::List(list) => ValueType::list(self.value_type(&list.ty(), depth)?),
            Type::FixedLengthList(list) => {
                ValueType::FixedList(Box::new(self.value_type(&list.ty(), depth)?), list.len())
            }
            Type::Record(record) => {
                let fields = record
                    .fields()
                    .map(|field| Ok((field.name.to_owned(), self.value_type(&field.ty, depth)?)));
                ValueType::Record(fields.collect::<Result<_, String>>()?)
            }
            Type::Tuple(tuple) => {
                let types = tuple.types().map(|kind| self.value_type(&kind, depth));
                ValueType::Tuple(types.collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => {
                few_cases(variant.cases().len())?;
                let cases = variant.cases().map(|case| {
                    Ok((case.name.to_owned(), self.optional(case.ty.as_ref(), depth)?))
                });
                ValueType::Variant(cases.collect::<Result<_, String>>()?)
            }
            Type::Enum(names) => ValueType::Enum(self.names(names.names())?),
            Type::Flags(names) => ValueType::Flags(self.names(names.names())?),
            Type::Option(option) => ValueType::option(self.value_type(&option.ty(), depth)?),
            Type::Result(result) => ValueType::result(
                self.optional(result.ok().as_ref(), depth)?,
                self.optional(result.err().as_ref(), depth)?,
            ),
            Type::Own(resource) | Type::Borrow(resource) if is_blob(*resource) => ValueType::Blob,
            Type::Own(_) | Type::Borrow(_) => {
                return Err("a handle of another resource than blobs.blob has no value".to_owned());
            }
            Type::Map(_) => return Err("map is not supported: use list<tuple<..>>".to_owned()),
            Type::Future(_) => return Err("future is not supported".to_owned()),
            Type::Stream(_) => return Err("stream is not supported".to_owned()),
            Type::ErrorContext => return Err("error-context is not supported".to_owned()),
        })
    }

    fn optional(&mut self, kind: Option<&Type>, depth: u32) -> Result<Option<ValueType>, String> {
        kind.map(|kind| self.value_type(kind, depth)).transpose()
    }

    fn names<'a>(
        &mut self,
        names: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Vec<String>, String> {
        few_cases(names.len())?;
        Ok(names.map(str::to_owned).collect())
    }
}

fn few_cases(count: usize) -> Result<(), String> {
    if count > CASES_MAX {
        return Err(format!("{count} cases are more than the limit of {CASES_MAX}"));
    }
    Ok(())
}

fn is_blob(resource: ResourceType) -> bool {
    resource == ResourceType::host::<Blob>()
}
