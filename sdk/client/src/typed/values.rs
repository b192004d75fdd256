//! Rust's types as values of the wire, and back. It knows shapes, and not what calls them.

use std::convert::Infallible;

use bytes::Bytes;
use quorate_wire::value::{Flags, Value};

use crate::error::Error;

/// A value is not of the type that was expected. Values that were decoded by their type are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is no {expected}")]
pub struct Mismatch {
    expected: &'static str,
}

impl Mismatch {
    /// No value of this type.
    #[must_use]
    pub fn new(expected: &'static str) -> Self {
        Self { expected }
    }
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::BadAnswer(mismatch.to_string())
    }
}

/// A type of Rust that stands for one of WIT. [`recipe!`](crate::recipe!) implements it for the types that it generates.
pub trait Wit: Sized {
    /// As a value of the wire.
    fn into_value(self) -> Value;

    /// From a value of the wire.
    ///
    /// # Errors
    /// For a value of another type.
    fn from_value(value: Value) -> Result<Self, Mismatch>;

    /// A list of them; lists of `u8` are bytes.
    #[doc(hidden)]
    fn list_into_value(items: Vec<Self>) -> Value {
        Value::List(items.into_iter().map(Self::into_value).collect())
    }

    /// As `list_into_value`, back.
    #[doc(hidden)]
    fn list_from_value(value: Value) -> Result<Vec<Self>, Mismatch> {
        match value {
            Value::List(items) => items.into_iter().map(Self::from_value).collect(),
            _ => Err(Mismatch::new("list")),
        }
    }
}

/// What a case or a result carries: a value, or nothing at all, which is `()`.
pub trait Payload: Sized {
    /// As the wire has it.
    fn into_payload(self) -> Option<Box<Value>>;

    /// From what the wire has.
    ///
    /// # Errors
    /// For another type, something instead of nothing, or nothing instead of something.
    fn from_payload(payload: Option<Box<Value>>) -> Result<Self, Mismatch>;
}

impl<T: Wit> Payload for T {
    fn into_payload(self) -> Option<Box<Value>> {
        Some(Box::new(self.into_value()))
    }

    fn from_payload(payload: Option<Box<Value>>) -> Result<Self, Mismatch> {
        payload.ok_or(Mismatch::new("payload")).and_then(|value| T::from_value(*value))
    }
}

impl Payload for () {
    fn into_payload(self) -> Option<Box<Value>> {
        None
    }

    fn from_payload(payload: Option<Box<Value>>) -> Result<Self, Mismatch> {
        if payload.is_none() { Ok(()) } else { Err(Mismatch::new("case without a payload")) }
    }
}

/// The error of functions that return no `result`.
impl Payload for Infallible {
    fn into_payload(self) -> Option<Box<Value>> {
        match self {}
    }

    fn from_payload(_payload: Option<Box<Value>>) -> Result<Self, Mismatch> {
        Err(Mismatch::new("value: this function has no error"))
    }
}

/// Types that are a value of the wire as they are.
macro_rules! scalar {
    ($($rust:ty, $case:ident, $name:literal;)*) => {$(
        impl Wit for $rust {
            fn into_value(self) -> Value {
                Value::$case(self)
            }

            fn from_value(value: Value) -> Result<Self, Mismatch> {
                match value {
                    Value::$case(value) => Ok(value),
                    _ => Err(Mismatch::new($name)),
                }
            }
        }
    )*};
}

scalar! {
    bool, Bool, "bool";
    i8, S8, "s8";
    i16, S16, "s16";
    u16, U16, "u16";
    i32, S32, "s32";
    u32, U32, "u32";
    i64, S64, "s64";
    u64, U64, "u64";
    char, Char, "char";
    String, String, "string";
    Bytes, Bytes, "blob";
}

impl Wit for u8 {
    fn into_value(self) -> Value {
        Value::U8(self)
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::U8(value) => Ok(value),
            _ => Err(Mismatch::new("u8")),
        }
    }

    fn list_into_value(items: Vec<Self>) -> Value {
        Value::Bytes(items.into())
    }

    fn list_from_value(value: Value) -> Result<Vec<Self>, Mismatch> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.into()),
            _ => Err(Mismatch::new("list<u8>")),
        }
    }
}

impl Wit for f32 {
    fn into_value(self) -> Value {
        Value::F32(self.into())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::F32(value) => Ok(value.to_f32()),
            _ => Err(Mismatch::new("f32")),
        }
    }
}

impl Wit for f64 {
    fn into_value(self) -> Value {
        Value::F64(self.into())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::F64(value) => Ok(value.to_f64()),
            _ => Err(Mismatch::new("f64")),
        }
    }
}

impl<T: Wit> Wit for Vec<T> {
    fn into_value(self) -> Value {
        T::list_into_value(self)
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        T::list_from_value(value)
    }
}

impl<T: Wit, const N: usize> Wit for [T; N] {
    fn into_value(self) -> Value {
        T::list_into_value(self.into())
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        let wrong = |_| Mismatch::new("list of this length");
        T::list_from_value(value)?.try_into().map_err(wrong)
    }
}

impl<T: Wit> Wit for Option<T> {
    fn into_value(self) -> Value {
        Value::Option(self.map(|value| Box::new(value.into_value())))
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::Option(value) => value.map(|value| T::from_value(*value)).transpose(),
            _ => Err(Mismatch::new("option")),
        }
    }
}

impl<T: Payload, E: Payload> Wit for Result<T, E> {
    fn into_value(self) -> Value {
        Value::Result(self.map(T::into_payload).map_err(E::into_payload))
    }

    fn from_value(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::Result(Ok(payload)) => T::from_payload(payload).map(Ok),
            Value::Result(Err(payload)) => E::from_payload(payload).map(Err),
            _ => Err(Mismatch::new("result")),
        }
    }
}

macro_rules! tuple {
    ($($name:ident)+) => {
        impl<$($name: Wit),+> Wit for ($($name,)+) {
            fn into_value(self) -> Value {
                #[allow(non_snake_case, reason = "the members are named after their types")]
                let ($($name,)+) = self;
                Value::Tuple(vec![$($name.into_value()),+])
            }

            fn from_value(value: Value) -> Result<Self, Mismatch> {
                let mut fields = match value {
                    Value::Tuple(members) => Fields { left: members.into_iter() },
                    _ => return Err(Mismatch::new("tuple")),
                };
                let read = ($(fields.take::<$name>()?,)+);
                fields.end()?;
                Ok(read)
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
tuple!(A B C D E F G H I);
tuple!(A B C D E F G H I J);
tuple!(A B C D E F G H I J K);
tuple!(A B C D E F G H I J K L);

/// The fields of a record, one after the other.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fields {
    left: std::vec::IntoIter<Value>,
}

impl Fields {
    /// # Errors
    /// For what is no record.
    pub fn of(value: Value) -> Result<Self, Mismatch> {
        match value {
            Value::Record(fields) => Ok(Self { left: fields.into_iter() }),
            _ => Err(Mismatch::new("record")),
        }
    }

    /// # Errors
    /// If there is no further field, or it is of another type.
    pub fn take<T: Wit>(&mut self) -> Result<T, Mismatch> {
        self.left.next().ok_or(Mismatch::new("record of so many fields")).and_then(T::from_value)
    }

    /// # Errors
    /// If there are more.
    pub fn end(&mut self) -> Result<(), Mismatch> {
        match self.left.next() {
            None => Ok(()),
            Some(_) => Err(Mismatch::new("record of so few fields")),
        }
    }
}

/// A case of a variant.
#[doc(hidden)]
pub fn variant(case: u32, payload: impl Payload) -> Value {
    Value::Variant { case, payload: payload.into_payload() }
}

/// A variant's case and payload.
///
/// # Errors
/// For what is no variant.
#[doc(hidden)]
pub fn case(value: Value) -> Result<(u32, Option<Box<Value>>), Mismatch> {
    match value {
        Value::Variant { case, payload } => Ok((case, payload)),
        _ => Err(Mismatch::new("variant")),
    }
}

/// The set of flags that are true.
#[doc(hidden)]
pub fn flags<const N: usize>(set: [bool; N]) -> Value {
    let mut flags = Flags::none(N);
    for index in set.into_iter().enumerate().filter_map(|(index, is_set)| is_set.then_some(index)) {
        let is_one = flags.insert(index);
        debug_assert!(is_one, "N flags have N indexes");
    }
    Value::Flags(flags)
}

/// Which flags are set.
///
/// # Errors
/// For a set out of another number of flags.
#[doc(hidden)]
pub fn flags_of<const N: usize>(value: Value) -> Result<[bool; N], Mismatch> {
    match value {
        Value::Flags(flags) if flags.count() == N => {
            Ok(std::array::from_fn(|index| flags.contains(index)))
        }
        _ => Err(Mismatch::new("set of flags")),
    }
}
