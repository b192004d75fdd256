//! Declarations in Rust of the types that WIT names, and how they become values of the wire and come back. It knows no functions.

use std::fmt::Write as _;

use quorate_wire::value::Type as Described;
use wit_parser::{Docs, Handle, Resolve, Type, TypeDefKind, TypeId, TypeOwner};

use crate::describe::{self, host_interface};
use crate::names::{camel, snake};

/// The traits and helpers that generated code is made of.
pub const TYPED: &str = "::quorate_client::typed";
const VALUE: &str = "::quorate_client::value::Value";
/// The standard library derives for arrays of up to so many.
const DEFAULT_ARRAY_MAX: u32 = 32;

/// The modules of one expansion: one for each owner of types.
pub struct Modules<'a> {
    pub resolve: &'a Resolve,
    /// In the order in which they were met, each with its module's name.
    pub owners: Vec<(TypeOwner, String)>,
    /// What a function may fail with: shown as text, and an error in Rust's sense.
    pub errors: Vec<TypeId>,
}

impl Modules<'_> {
    /// How a type is written inside the module of `here`.
    pub fn reference(&mut self, kind: &Type, here: TypeOwner) -> String {
        let plain = match kind {
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::S8 => "i8",
            Type::S16 => "i16",
            Type::S32 => "i32",
            Type::S64 => "i64",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::Char => "char",
            Type::String => "::std::string::String",
            // `describe` refuses it before anything is written.
            Type::ErrorContext => "::std::convert::Infallible",
            Type::Id(id) => return self.reference_id(*id, here),
        };
        plain.to_owned()
    }

    fn reference_id(&mut self, id: TypeId, here: TypeOwner) -> String {
        let resolve = self.resolve;
        let found = &resolve.types[id];
        if let Some(name) = &found.name {
            let name = camel(name);
            if found.owner == here {
                return name;
            }
            if host_interface(resolve, found.owner) == Some("types") {
                return format!("::quorate_client::types::{name}");
            }
            return format!("super::{}::{name}", self.module(found.owner));
        }
        self.unnamed(id, here)
    }

    pub fn reference_or_unit(&mut self, kind: Option<&Type>, here: TypeOwner) -> String {
        kind.map_or_else(|| "()".to_owned(), |kind| self.reference(kind, here))
    }

    /// The module of this owner's types; it is written in time, since owners are gone through until there are no new ones.
    fn module(&mut self, owner: TypeOwner) -> String {
        if let Some((_, name)) = self.owners.iter().find(|(known, _)| *known == owner) {
            return name.clone();
        }
        let TypeOwner::Interface(id) = owner else { return "types".to_owned() };
        let interface = &self.resolve.interfaces[id];
        let mut name = snake(interface.name.as_deref().unwrap_or("types"));
        if self.owners.iter().any(|(_, known)| *known == name)
            && let Some(package) = interface.package
        {
            let package = &self.resolve.packages[package].name;
            name = format!("{}_{}_{name}", snake(&package.namespace), snake(&package.name));
        }
        self.owners.push((owner, name.clone()));
        name
    }

    /// All declarations of an owner, but of what no call can carry.
    pub fn declarations(&mut self, owner: TypeOwner) -> String {
        let resolve = self.resolve;
        let owned = resolve.types.iter().filter(|(_, found)| found.owner == owner);
        let mut out = String::new();
        for (id, found) in owned {
            if let (Some(name), Ok(described)) =
                (&found.name, describe::kind(resolve, &Type::Id(id)))
            {
                out += &self.declaration(id, &camel(name), &described);
            }
        }
        out
    }

    fn declaration(&mut self, id: TypeId, name: &str, described: &Described) -> String {
        let found = &self.resolve.types[id];
        let here = found.owner;
        let docs = docs(&found.docs);
        let declared = match &found.kind {
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| Member {
                    name: snake(&field.name),
                    kind: Some(self.reference(&field.ty, here)),
                    docs: self::docs(&field.docs),
                });
                declare_record(name, &fields.collect::<Vec<_>>())
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| Member {
                    name: camel(&case.name),
                    kind: case.ty.as_ref().map(|payload| self.reference(payload, here)),
                    docs: self::docs(&case.docs),
                });
                declare_variant(name, &cases.collect::<Vec<_>>())
            }
            TypeDefKind::Enum(cases) => {
                let cases = cases.cases.iter().map(|case| Member {
                    name: camel(&case.name),
                    kind: None,
                    docs: self::docs(&case.docs),
                });
                declare_enum(name, &cases.collect::<Vec<_>>())
            }
            TypeDefKind::Flags(flags) => {
                let flags = flags.flags.iter().map(|flag| Member {
                    name: snake(&flag.name),
                    kind: None,
                    docs: self::docs(&flag.docs),
                });
                declare_flags(name, &flags.collect::<Vec<_>>())
            }
            _ => return format!("{docs}pub type {name} = {};\n", self.unnamed(id, here)),
        };
        let shown = if self.errors.contains(&id) { show(name, described) } else { String::new() };
        format!("{docs}#[derive({})]\n{declared}{shown}", derives(described))
    }

    /// A type by what it is made of.
    fn unnamed(&mut self, id: TypeId, here: TypeOwner) -> String {
        match &self.resolve.types[id].kind {
            TypeDefKind::Option(some) => {
                format!("::std::option::Option<{}>", self.reference(some, here))
            }
            TypeDefKind::Result(result) => format!(
                "::std::result::Result<{}, {}>",
                self.reference_or_unit(result.ok.as_ref(), here),
                self.reference_or_unit(result.err.as_ref(), here)
            ),
            TypeDefKind::List(element) => {
                format!("::std::vec::Vec<{}>", self.reference(element, here))
            }
            TypeDefKind::FixedLengthList(element, length) => {
                format!("[{}; {length}]", self.reference(element, here))
            }
            TypeDefKind::Tuple(tuple) => {
                let members = tuple.types.iter().map(|member| self.reference(member, here) + ",");
                format!("({})", members.collect::<String>())
            }
            TypeDefKind::Type(alias) => self.reference(alias, here),
            TypeDefKind::Handle(Handle::Own(_) | Handle::Borrow(_)) => {
                "::quorate_client::Bytes".to_owned()
            }
            // `describe` refuses them before anything is written.
            _ => "::std::convert::Infallible".to_owned(),
        }
    }
}

/// A field, a case or a flag, in Rust's words.
struct Member {
    name: String,
    kind: Option<String>,
    docs: String,
}

fn declare_record(name: &str, fields: &[Member]) -> String {
    let (mut declared, mut into, mut from) = (String::new(), String::new(), String::new());
    for Member { name, kind, docs } in fields {
        let kind = kind.as_deref().unwrap_or_default();
        declared += &format!("{docs}pub {name}: {kind},\n");
        into += &format!("{TYPED}::Wit::into_value(self.{name}),");
        from += &format!("{name}: fields.take()?,");
    }
    let read = format!(
        "let mut fields = {TYPED}::Fields::of(value)?; let read = Self {{ {from} }}; fields.end()?; Ok(read)"
    );
    let implemented = implement(name, &format!("{VALUE}::Record(::std::vec![{into}])"), &read);
    format!("pub struct {name} {{ {declared} }}\n{implemented}")
}

fn declare_variant(name: &str, cases: &[Member]) -> String {
    let (mut declared, mut into, mut from) = (String::new(), String::new(), String::new());
    for (index, Member { name, kind, docs }) in cases.iter().enumerate() {
        match kind {
            Some(kind) => {
                declared += &format!("{docs}{name}({kind}),\n");
                into += &format!("Self::{name}(payload) => {TYPED}::variant({index}, payload),");
                from += &format!(
                    "{index} => Ok(Self::{name}({TYPED}::Payload::from_payload(payload)?)),"
                );
            }
            None => {
                declared += &format!("{docs}{name},\n");
                into += &format!("Self::{name} => {TYPED}::variant({index}, ()),");
                from += &format!(
                    "{index} => {{ <() as {TYPED}::Payload>::from_payload(payload)?; Ok(Self::{name}) }}"
                );
            }
        }
    }
    let read = format!(
        "let (case, payload) = {TYPED}::case(value)?; match case {{ {from} _ => Err({TYPED}::Mismatch::new({name:?})) }}"
    );
    let implemented = implement(name, &format!("match self {{ {into} }}"), &read);
    format!("pub enum {name} {{ {declared} }}\n{implemented}")
}

fn declare_enum(name: &str, cases: &[Member]) -> String {
    let (mut declared, mut into, mut from) = (String::new(), String::new(), String::new());
    for (index, Member { name, docs, .. }) in cases.iter().enumerate() {
        declared += &format!("{docs}{name},\n");
        into += &format!("Self::{name} => {index},");
        from += &format!("{VALUE}::Enum({index}) => Ok(Self::{name}),");
    }
    let read = format!("match value {{ {from} _ => Err({TYPED}::Mismatch::new({name:?})) }}");
    let implemented = implement(name, &format!("{VALUE}::Enum(match self {{ {into} }})"), &read);
    format!("pub enum {name} {{ {declared} }}\n{implemented}")
}

fn declare_flags(name: &str, flags: &[Member]) -> String {
    let (mut declared, mut into, mut from) = (String::new(), String::new(), String::new());
    for (index, Member { name, docs, .. }) in flags.iter().enumerate() {
        declared += &format!("{docs}pub {name}: bool,\n");
        into += &format!("self.{name},");
        from += &format!("{name}: flags[{index}],");
    }
    let count = flags.len();
    let read =
        format!("let flags: [bool; {count}] = {TYPED}::flags_of(value)?; Ok(Self {{ {from} }})");
    let implemented = implement(name, &format!("{TYPED}::flags([{into}])"), &read);
    format!("pub struct {name} {{ {declared} }}\n{implemented}")
}

fn implement(name: &str, into: &str, from: &str) -> String {
    format!(
        "impl {TYPED}::Wit for {name} {{\n\
         fn into_value(self) -> {VALUE} {{ {into} }}\n\
         fn from_value(value: {VALUE}) -> ::std::result::Result<Self, {TYPED}::Mismatch> {{ {from} }}\n}}\n"
    )
}

/// An error is shown as the command line shows it: `tree({code: no-node, message: "..."})`.
fn show(name: &str, described: &Described) -> String {
    let bytes = described.encode().map(|bytes| format!("{:?}", &bytes[..]));
    let bytes = bytes.unwrap_or_else(|_| "[]".to_owned());
    format!(
        "impl ::std::fmt::Display for {name} {{\n\
         fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{\n\
         static KIND: {TYPED}::Kind = {TYPED}::Kind::new(&{bytes});\n\
         formatter.write_str(&KIND.show(self.clone())) }}\n}}\n\
         impl ::std::error::Error for {name} {{}}\n"
    )
}

fn derives(described: &Described) -> String {
    let mut derived = "::std::fmt::Debug, ::std::clone::Clone, ::std::cmp::PartialEq".to_owned();
    if !has_floats(described) {
        derived += ", ::std::cmp::Eq, ::std::hash::Hash";
    }
    if matches!(described, Described::Enum(_) | Described::Flags(_)) {
        derived += ", ::std::marker::Copy";
    }
    if has_default(described) {
        derived += ", ::std::default::Default";
    }
    derived
}

fn has_floats(described: &Described) -> bool {
    match described {
        Described::F32 | Described::F64 => true,
        Described::List(element)
        | Described::FixedList(element, _)
        | Described::Option(element) => has_floats(element),
        Described::Record(fields) => fields.iter().any(|(_, field)| has_floats(field)),
        Described::Tuple(members) => members.iter().any(has_floats),
        Described::Variant(cases) => {
            cases.iter().any(|(_, case)| case.as_ref().is_some_and(has_floats))
        }
        Described::Result { ok, err } => ok.iter().chain(err).any(|payload| has_floats(payload)),
        _ => false,
    }
}

/// Whether Rust gives a type of this shape a default: not where a case would have to be chosen.
fn has_default(described: &Described) -> bool {
    match described {
        Described::Record(fields) => fields.iter().all(|(_, field)| has_default(field)),
        Described::Tuple(members) => members.iter().all(has_default),
        Described::FixedList(element, length) => {
            *length <= DEFAULT_ARRAY_MAX && has_default(element)
        }
        Described::Variant(_) | Described::Enum(_) | Described::Result { .. } => false,
        _ => true,
    }
}

/// A comment of WIT as one of Rust.
pub fn docs(docs: &Docs) -> String {
    docs.contents.as_deref().map_or_else(String::new, doc_lines)
}

pub fn doc_lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = if line.is_empty() { String::new() } else { format!(" {line}") };
        writeln!(out, "#[doc = {line:?}]").expect("writing to a string does not fail");
    }
    out
}
