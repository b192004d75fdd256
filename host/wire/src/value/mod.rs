//! Owns the canonical bytes of recipe arguments and results, and the descriptions of types that
//! they are read by. It knows neither WebAssembly nor frames, and no text form of values: WAVE and
//! JSON are converted elsewhere.
//!
//! The encoding is type-directed: the bytes hold no types, so both sides need the same [`Type`].
//! Each value has exactly one byte form, and each byte string at most one reading: whatever
//! decodes, encodes to the same bytes again. That makes a hash of the bytes a hash of the value,
//! which resends (a hash is kept with each write number) rely on. docs/value-encoding.md gives the
//! format byte by byte; its tables are read by the tests of this module.
//!
//! Two ways in: [`encode`] and [`decode`] work on a [`Value`]; [`Writer`] and [`Reader`] are the
//! primitives below them, for those who have values in another shape and do not want to build a
//! [`Value`] in between. The rules (limits, minimal forms, refusals) are in the primitives, so that
//! both ways keep them.

mod compatible;
mod decode;
mod description;
mod display;
mod encode;
mod error;
mod limits;
mod reader;
mod types;
mod values;
mod writer;

pub use compatible::{Breaking, compatible};
pub use decode::{decode, decode_arguments, decode_result, read};
pub use encode::{encode, encode_arguments, encode_result, write};
pub use error::{DecodeCause, DecodeError, EncodeCause, EncodeError, TypeError};
pub use limits::{
    DEPTH_MAX, DESCRIPTION_NODES_MAX, INTERFACE_NAME_BYTES_MAX, LimitError, Limits, NAME_BYTES_MAX,
    VALUE_NODES_MAX,
};
pub use reader::Reader;
pub use types::{Function, Interface, Type};
pub use values::{Flags, Float32, Float64, Value};
pub use writer::Writer;
