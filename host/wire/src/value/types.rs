//! Owns the description of types, functions and interfaces, and what makes one well-formed.
//! It knows neither their bytes nor where they come from.

use std::collections::BTreeSet;

use super::error::TypeError;
use super::limits::{Budget, INTERFACE_NAME_BYTES_MAX, Limits, NAME_BYTES_MAX};

/// A WIT value type, by structure: the names of types are not part of it, the names of fields,
/// cases and flags are.
///
/// Not described, and refused by whoever turns a component's type into this one: `map` (it allows
/// duplicate keys, so one value would have many byte forms; use a list of tuples), `future`,
/// `stream`, `error-context`, and every resource but the imported `quorate:recipe/blobs.blob`.
/// Types that have no value or need no byte (empty records, tuples, enums, variants, flags, lists
/// of length zero) do not exist in the component model and are refused here too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// `bool`
    Bool,
    /// `s8`
    S8,
    /// `u8`
    U8,
    /// `s16`
    S16,
    /// `u16`
    U16,
    /// `s32`
    S32,
    /// `u32`
    U32,
    /// `s64`
    S64,
    /// `u64`
    U64,
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// `char`: a Unicode scalar value.
    Char,
    /// `string`
    String,
    /// `list<T>`
    List(Box<Type>),
    /// `list<T, N>`: exactly N elements, N > 0.
    FixedList(Box<Type>, u32),
    /// `record`: names and types of its fields, in order.
    Record(Vec<(String, Type)>),
    /// `tuple<...>`
    Tuple(Vec<Type>),
    /// `variant`: names of its cases and their payloads, in order.
    Variant(Vec<(String, Option<Type>)>),
    /// `enum`: names of its cases, in order.
    Enum(Vec<String>),
    /// `option<T>`
    Option(Box<Type>),
    /// `result<T, E>`
    Result {
        /// Payload of `ok`.
        ok: Option<Box<Type>>,
        /// Payload of `err`.
        err: Option<Box<Type>>,
    },
    /// `flags`: names, in order. Any number of them, although components stop at 32 today.
    Flags(Vec<String>),
    /// A handle of the imported resource `quorate:recipe/blobs.blob`: owned or borrowed in
    /// parameters, owned in results. Its caller sends and gets bytes, and can not tell an owned
    /// from a borrowed one, so this does not either.
    Blob,
}

/// An exported function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Function {
    /// Name within its interface, in kebab case.
    pub name: String,
    /// Names and types of the parameters, in order.
    pub parameters: Vec<(String, Type)>,
    /// Type of the result; `None`: it returns nothing.
    pub result: Option<Type>,
}

/// An exported interface, as a server describes it to a client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface {
    /// With package and version: `quorate:lock/lock@0.1.0`.
    pub name: String,
    /// In any order; the encoding sorts them by name.
    pub functions: Vec<Function>,
}

impl Type {
    /// A list of T.
    pub fn list(element: Type) -> Self {
        Self::List(Box::new(element))
    }

    /// An option of T.
    pub fn option(some: Type) -> Self {
        Self::Option(Box::new(some))
    }

    /// A result with both payloads optional.
    pub fn result(ok: Option<Type>, err: Option<Type>) -> Self {
        Self::Result { ok: ok.map(Box::new), err: err.map(Box::new) }
    }

    /// Word for the kind of type, for messages: `list<u8>` is a `list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::S8 => "s8",
            Self::U8 => "u8",
            Self::S16 => "s16",
            Self::U16 => "u16",
            Self::S32 => "s32",
            Self::U32 => "u32",
            Self::S64 => "s64",
            Self::U64 => "u64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Char => "char",
            Self::String => "string",
            Self::List(_) | Self::FixedList(..) => "list",
            Self::Record(_) => "record",
            Self::Tuple(_) => "tuple",
            Self::Variant(_) => "variant",
            Self::Enum(_) => "enum",
            Self::Option(_) => "option",
            Self::Result { .. } => "result",
            Self::Flags(_) => "flags",
            Self::Blob => "blob",
        }
    }

    /// Whether the type is well-formed: bounded depth and size, no empty type, well-formed and
    /// distinct names.
    ///
    /// # Errors
    /// What is wrong, naming it.
    pub fn check(&self) -> Result<(), TypeError> {
        self.check_within(&mut Budget::new(Limits::DESCRIPTION))
    }

    fn check_within(&self, budget: &mut Budget) -> Result<(), TypeError> {
        budget.charge(1)?;
        budget.enter()?;
        match self {
            Self::List(element) | Self::Option(element) => element.check_within(budget)?,
            Self::FixedList(element, length) => {
                self.refuse_empty(*length == 0)?;
                element.check_within(budget)?;
            }
            Self::Record(fields) => {
                self.refuse_empty(fields.is_empty())?;
                budget.charge(fields.len() as u64)?;
                check_names(fields.iter().map(|(name, _)| name.as_str()))?;
                fields.iter().try_for_each(|(_, field)| field.check_within(budget))?;
            }
            Self::Tuple(elements) => {
                self.refuse_empty(elements.is_empty())?;
                budget.charge(elements.len() as u64)?;
                elements.iter().try_for_each(|element| element.check_within(budget))?;
            }
            Self::Variant(cases) => {
                self.refuse_empty(cases.is_empty())?;
                budget.charge(cases.len() as u64)?;
                check_names(cases.iter().map(|(name, _)| name.as_str()))?;
                let mut payloads = cases.iter().filter_map(|(_, payload)| payload.as_ref());
                payloads.try_for_each(|payload| payload.check_within(budget))?;
            }
            Self::Enum(names) | Self::Flags(names) => {
                self.refuse_empty(names.is_empty())?;
                budget.charge(names.len() as u64)?;
                check_names(names.iter().map(String::as_str))?;
            }
            Self::Result { ok, err } => {
                let mut payloads = ok.iter().chain(err);
                payloads.try_for_each(|payload| payload.check_within(budget))?;
            }
            _ => {}
        }
        budget.leave();
        Ok(())
    }

    fn refuse_empty(&self, is_empty: bool) -> Result<(), TypeError> {
        if is_empty {
            return Err(TypeError::Empty { kind: self.kind() });
        }
        Ok(())
    }
}

impl Function {
    /// Whether names and types are well-formed.
    ///
    /// # Errors
    /// What is wrong, naming it.
    pub fn check(&self) -> Result<(), TypeError> {
        self.check_within(&mut Budget::new(Limits::DESCRIPTION))
    }

    fn check_within(&self, budget: &mut Budget) -> Result<(), TypeError> {
        check_name(&self.name)?;
        budget.charge(self.parameters.len() as u64)?;
        check_names(self.parameters.iter().map(|(name, _)| name.as_str()))?;
        let mut types = self.parameters.iter().map(|(_, kind)| kind).chain(&self.result);
        types.try_for_each(|kind| kind.check_within(budget))
    }
}

impl Interface {
    /// The function with this name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// Whether names and types are well-formed and function names distinct.
    ///
    /// # Errors
    /// What is wrong, naming it.
    pub fn check(&self) -> Result<(), TypeError> {
        check_interface_name(&self.name)?;
        check_names(self.functions.iter().map(|function| function.name.as_str()))?;
        let mut budget = Budget::new(Limits::DESCRIPTION);
        budget.charge(self.functions.len() as u64)?;
        self.functions.iter().try_for_each(|function| function.check_within(&mut budget))
    }
}

/// Names are ASCII only, so that a hostile description can not send control sequences to a
/// terminal.
fn check_name(name: &str) -> Result<(), TypeError> {
    check_length(name, NAME_BYTES_MAX)?;
    let starts_with_letter = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric());
    if !starts_with_letter || !name.split('-').all(is_word) {
        return Err(TypeError::BadName { name: name.to_owned() });
    }
    Ok(())
}

fn check_interface_name(name: &str) -> Result<(), TypeError> {
    check_length(name, INTERFACE_NAME_BYTES_MAX)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:/@.+".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_allowed) {
        return Err(TypeError::BadName { name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn check_length(name: &str, limit: u32) -> Result<(), TypeError> {
    match u32::try_from(name.len()) {
        Ok(bytes) if bytes <= limit => Ok(()),
        _ => Err(TypeError::NameTooLong { bytes: name.len() as u64, limit }),
    }
}

/// Names that differ only in case count as equal, as they do in components.
fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), TypeError> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name)?;
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(TypeError::Duplicate { name: name.to_owned() });
        }
    }
    Ok(())
}
