//! Typed calls: what [`recipe!`](crate::recipe!) generates, and the traits and helpers that it is made of. It knows how a value of
//! Rust becomes one of the wire, and not which recipe is called.

mod call;

mod values;

use std::sync::OnceLock;

use bytes::Bytes;
use quorate_wire::value::{Function, Type};

use crate::error::Error;
use crate::wave;

pub use call::{Call, CallError, Started};
pub use values::{Fields, Mismatch, Payload, Wit, case, flags, flags_of, variant};

/// A function as the caller's WIT has it: its name, and its type in the wire's canonical bytes. The hash that goes with each call is
/// taken from this, so a service whose function is another one refuses the call with `signature-changed`.
#[derive(Debug)]
pub struct Signature {
    name: &'static str,
    bytes: &'static [u8],
    function: OnceLock<Option<Function>>,
}

impl Signature {
    /// The function that callers know by this name: `lock.acquire`.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, bytes: &'static [u8]) -> Self {
        Self { name, bytes, function: OnceLock::new() }
    }

    /// Interface and name, as the service is asked for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The function's type.
    ///
    /// # Errors
    /// `Arguments` for bytes that no `recipe!` generates.
    pub fn function(&self) -> Result<&Function, Error> {
        let decode = || Function::decode(Bytes::from_static(self.bytes)).ok();
        let function = self.function.get_or_init(decode).as_ref();
        function.ok_or_else(|| Error::Arguments(format!("{} has no description", self.name)))
    }
}

/// A type as the caller's WIT has it, to show its values.
#[doc(hidden)]
#[derive(Debug)]
pub struct Kind {
    bytes: &'static [u8],
    kind: OnceLock<Option<Type>>,
}

impl Kind {
    #[must_use]
    pub const fn new(bytes: &'static [u8]) -> Self {
        Self { bytes, kind: OnceLock::new() }
    }

    /// The value in WAVE.
    pub fn show(&self, value: impl Wit) -> String {
        let decode = || Type::decode(Bytes::from_static(self.bytes)).ok();
        let kind = self.kind.get_or_init(decode).as_ref();
        kind.map_or_else(String::new, |kind| wave::show(&value.into_value(), kind))
    }
}
