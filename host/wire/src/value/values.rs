//! Owns a value in memory: one shape for each value of each type, so that equal values are equal in
//! memory too. It does not know its type: records hold fields in order, cases and flags are
//! indexes.

use bytes::Bytes;

/// A value of any [`Type`](super::Type).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// `s8`
    S8(i8),
    /// `u8`
    U8(u8),
    /// `s16`
    S16(i16),
    /// `u16`
    U16(u16),
    /// `s32`
    S32(i32),
    /// `u32`
    U32(u32),
    /// `s64`
    S64(i64),
    /// `u64`
    U64(u64),
    /// `f32`
    F32(Float32),
    /// `f64`
    F64(Float64),
    /// `char`
    Char(char),
    /// `string`
    String(String),
    /// `list` of anything but `u8`, of fixed length or not.
    List(Vec<Value>),
    /// `blob`, `list<u8>` and `list<u8, N>`; a list of `u8` is never a [`Value::List`]. When
    /// decoded, a part of the input and not a copy of it: it keeps the whole input in memory for as
    /// long as it lives.
    Bytes(Bytes),
    /// `record`: its fields, in the order of the type.
    Record(Vec<Value>),
    /// `tuple`
    Tuple(Vec<Value>),
    /// `variant`
    Variant {
        /// Index of the case.
        case: u32,
        /// There if and only if the case has one.
        payload: Option<Box<Value>>,
    },
    /// `enum`: index of the case.
    Enum(u32),
    /// `option`
    Option(Option<Box<Value>>),
    /// `result`: payloads are there if and only if the type has them.
    Result(Result<Option<Box<Value>>, Option<Box<Value>>>),
    /// `flags`
    Flags(Flags),
}

impl Value {
    /// Word for the kind of value, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::S8(_) => "s8",
            Self::U8(_) => "u8",
            Self::S16(_) => "s16",
            Self::U16(_) => "u16",
            Self::S32(_) => "s32",
            Self::U32(_) => "u32",
            Self::S64(_) => "s64",
            Self::U64(_) => "u64",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::Char(_) => "char",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Bytes(_) => "bytes",
            Self::Record(_) => "record",
            Self::Tuple(_) => "tuple",
            Self::Variant { .. } => "variant",
            Self::Enum(_) => "enum",
            Self::Option(_) => "option",
            Self::Result(_) => "result",
            Self::Flags(_) => "flags",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// An `f32` whose NaN is always the canonical one. Equal means equal bits: NaN equals NaN, and 0
/// does not equal -0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Float32(u32);

impl Float32 {
    /// Bits of the only NaN.
    pub const NAN_BITS: u32 = 0x7fc0_0000;

    /// The number.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(self.0)
    }

    /// Its bits.
    pub fn to_bits(self) -> u32 {
        self.0
    }
}

impl From<f32> for Float32 {
    fn from(number: f32) -> Self {
        Self(if number.is_nan() { Self::NAN_BITS } else { number.to_bits() })
    }
}

/// An `f64` whose NaN is always the canonical one. Equal means equal bits: NaN equals NaN, and 0
/// does not equal -0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Float64(u64);

impl Float64 {
    /// Bits of the only NaN.
    pub const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

    /// The number.
    pub fn to_f64(self) -> f64 {
        f64::from_bits(self.0)
    }

    /// Its bits.
    pub fn to_bits(self) -> u64 {
        self.0
    }
}

impl From<f64> for Float64 {
    fn from(number: f64) -> Self {
        Self(if number.is_nan() { Self::NAN_BITS } else { number.to_bits() })
    }
}

/// A set of flags out of a fixed number of them, by index.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flags {
    count: usize,
    /// Flag i is bit i % 8, counted from the lowest, of byte i / 8. Bits behind the last flag are
    /// zero.
    bits: Vec<u8>,
}

impl Flags {
    /// None of `count` flags.
    pub fn none(count: usize) -> Self {
        Self { count, bits: vec![0; count.div_ceil(8)] }
    }

    /// Adds a flag; `false` if there is none with this index.
    #[must_use]
    pub fn insert(&mut self, index: usize) -> bool {
        if index >= self.count {
            return false;
        }
        self.bits[index / 8] |= 1 << (index % 8);
        true
    }

    /// Whether the flag with this index is in the set.
    pub fn contains(&self, index: usize) -> bool {
        self.bits.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Indexes of the flags in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|index| self.contains(*index))
    }

    /// How many flags there could be.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The encoded form.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// From the encoded form; `None` if a bit behind the last flag is set or the length is wrong.
    pub(super) fn from_bits(count: usize, bits: &[u8]) -> Option<Self> {
        let padding = bits.len().checked_mul(8)?.checked_sub(count)?;
        let last = bits.last().copied().unwrap_or(0);
        let is_padded = padding < 8 && u32::from(last) >> (8 - padding) == 0;
        is_padded.then(|| Self { count, bits: bits.to_vec() })
    }
}
