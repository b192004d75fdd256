//! WIT types as the wire describes them: what the service makes of a component's type, from the text that the component was made
//! from. It knows no Rust.

use quorate_wire::value::{Function as Description, Type as Described};
use wit_parser::{Function, FunctionKind, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

use crate::source::HOST_PACKAGE;

/// Members of a tuple: the standard library compares and shows tuples of up to so many.
const TUPLE_MAX: usize = 12;

/// # Errors
/// A sentence that names the function and what of it can not be sent.
pub fn function(resolve: &Resolve, function: &Function) -> Result<Description, String> {
    let at = |why: String| format!("the function `{}` can not be called: {why}", function.name);
    match function.kind {
        FunctionKind::Freestanding => {}
        FunctionKind::AsyncFreestanding => {
            return Err(at("async functions are not supported".into()));
        }
        _ => {
            return Err(at(
                "it belongs to a resource, and recipes keep nothing between calls".into()
            ));
        }
    }
    let mut parameters = Vec::new();
    for parameter in &function.params {
        let described = kind(resolve, &parameter.ty);
        let described = described.map_err(|why| at(format!("`{}`: {why}", parameter.name)))?;
        parameters.push((parameter.name.clone(), described));
    }
    let result = function.result.as_ref().map(|result| kind(resolve, result)).transpose();
    let result = result.map_err(|why| at(format!("its result: {why}")))?;
    let described = Description { name: function.name.clone(), parameters, result };
    described.check().map_err(|error| at(error.to_string()))?;
    Ok(described)
}

/// The type, without names of types. Depth is bounded by the parser, sizes by the check of the function.
///
/// # Errors
/// What has no value on the wire.
pub fn kind(resolve: &Resolve, kind_: &Type) -> Result<Described, String> {
    Ok(match kind_ {
        Type::Bool => Described::Bool,
        Type::U8 => Described::U8,
        Type::U16 => Described::U16,
        Type::U32 => Described::U32,
        Type::U64 => Described::U64,
        Type::S8 => Described::S8,
        Type::S16 => Described::S16,
        Type::S32 => Described::S32,
        Type::S64 => Described::S64,
        Type::F32 => Described::F32,
        Type::F64 => Described::F64,
        Type::Char => Described::Char,
        Type::String => Described::String,
        Type::ErrorContext => return Err("`error-context` is not supported".into()),
        Type::Id(id) => compound(resolve, *id)?,
    })
}

fn compound(resolve: &Resolve, id: TypeId) -> Result<Described, String> {
    let named = |name: &str, member: &Type| Ok((name.to_owned(), kind(resolve, member)?));
    let optional =
        |member: &Option<Type>| member.as_ref().map(|member| kind(resolve, member)).transpose();
    Ok(match &resolve.types[id].kind {
        TypeDefKind::Type(alias) => kind(resolve, alias)?,
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter().map(|field| named(&field.name, &field.ty));
            Described::Record(fields.collect::<Result<_, String>>()?)
        }
        TypeDefKind::Tuple(tuple) if tuple.types.len() > TUPLE_MAX => {
            return Err(format!("a tuple of more than {TUPLE_MAX} is not supported: use a record"));
        }
        TypeDefKind::Tuple(tuple) => {
            let members = tuple.types.iter().map(|member| kind(resolve, member));
            Described::Tuple(members.collect::<Result<_, _>>()?)
        }
        TypeDefKind::Variant(variant) => {
            let cases =
                variant.cases.iter().map(|case| Ok((case.name.clone(), optional(&case.ty)?)));
            Described::Variant(cases.collect::<Result<_, String>>()?)
        }
        TypeDefKind::Enum(cases) => {
            Described::Enum(cases.cases.iter().map(|case| case.name.clone()).collect())
        }
        TypeDefKind::Flags(flags) => {
            Described::Flags(flags.flags.iter().map(|flag| flag.name.clone()).collect())
        }
        TypeDefKind::Option(some) => Described::option(kind(resolve, some)?),
        TypeDefKind::Result(result) => {
            Described::result(optional(&result.ok)?, optional(&result.err)?)
        }
        TypeDefKind::List(element) => Described::list(kind(resolve, element)?),
        TypeDefKind::FixedLengthList(element, length) => {
            Described::FixedList(Box::new(kind(resolve, element)?), *length)
        }
        TypeDefKind::Handle(Handle::Own(resource) | Handle::Borrow(resource)) => {
            let resource = origin(resolve, *resource);
            if !is_blob(resolve, resource) {
                let name = resolve.types[resource].name.as_deref().unwrap_or("of no name");
                return Err(format!(
                    "a handle of the resource `{name}` has no value; only quorate:recipe/blobs.blob has"
                ));
            }
            Described::Blob
        }
        TypeDefKind::Map(..) => return Err("`map` is not supported: use list<tuple<..>>".into()),
        other @ (TypeDefKind::Resource
        | TypeDefKind::Future(_)
        | TypeDefKind::Stream(_)
        | TypeDefKind::Unknown) => {
            return Err(format!("`{}` is not supported", other.as_str()));
        }
    })
}

/// The type behind `use` and aliases.
pub fn origin(resolve: &Resolve, mut id: TypeId) -> TypeId {
    while let TypeDefKind::Type(Type::Id(next)) = resolve.types[id].kind {
        id = next;
    }
    id
}

fn is_blob(resolve: &Resolve, resource: TypeId) -> bool {
    let found = &resolve.types[resource];
    found.name.as_deref() == Some("blob") && host_interface(resolve, found.owner) == Some("blobs")
}

/// The name of the host's interface that owns a type.
pub fn host_interface(resolve: &Resolve, owner: TypeOwner) -> Option<&str> {
    let TypeOwner::Interface(id) = owner else { return None };
    let interface = &resolve.interfaces[id];
    let package = &resolve.packages[interface.package?].name;
    let is_host = (package.namespace.as_str(), package.name.as_str()) == HOST_PACKAGE;
    is_host.then_some(interface.name.as_deref()).flatten()
}
