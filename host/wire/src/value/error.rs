//! Owns what can be wrong with a value, with its bytes and with a description, each with its place.
//! It does not know the codes that clients see: the caller maps these.

use thiserror::Error;

use super::limits::LimitError;

/// Why a type, a function or an interface is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TypeError {
    /// A name is not in kebab case (of an interface: has a byte outside letters, digits and
    /// `-:/@.+`).
    #[error("{name:?} is not a well-formed name")]
    BadName {
        /// The name; shorter than the limit, and with any bytes in it.
        name: String,
    },
    /// A name is too long.
    #[error("a name has {bytes} bytes, more than the limit of {limit}")]
    NameTooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// Two functions, parameters, fields, cases or flags have one name.
    #[error("the name {name:?} is there twice")]
    Duplicate {
        /// The second of them.
        name: String,
    },
    /// A type without values or without bytes.
    #[error("a {kind} needs at least one member")]
    Empty {
        /// Word for the kind of type.
        kind: &'static str,
    },
    /// Too deep or too large.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// Why a value could not be encoded, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {cause}")]
pub struct EncodeError {
    /// From the outside to the inside, as in `value.owner.some[3]`.
    pub place: String,
    /// What is wrong there.
    #[source]
    pub cause: EncodeCause,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeCause {
    /// The value is of another kind than its type.
    #[error("expected {expected}, found {found}")]
    Mismatch {
        /// Kind of the type.
        expected: &'static str,
        /// Kind of the value.
        found: &'static str,
    },
    /// Another number of fields, elements, flags or arguments than the type has.
    #[error("expected {expected} members, found {found}")]
    WrongCount {
        /// As the type has it.
        expected: u64,
        /// As the value has it.
        found: u64,
    },
    /// A case index behind the last case.
    #[error("case {case} is not one of {count}")]
    NoSuchCase {
        /// Index of the value.
        case: u32,
        /// Cases of the type.
        count: u64,
    },
    /// A case with a payload that its type does not have.
    #[error("there is a payload where the type has none")]
    UnexpectedPayload,
    /// A case without the payload that its type has.
    #[error("the payload is missing")]
    MissingPayload,
    /// The type itself is not well-formed.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// Too deep or too large.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl From<EncodeCause> for EncodeError {
    fn from(cause: EncodeCause) -> Self {
        Self { place: String::new(), cause }
    }
}

impl From<LimitError> for EncodeError {
    fn from(error: LimitError) -> Self {
        EncodeCause::Limit(error).into()
    }
}

impl EncodeError {
    /// Puts one more step in front of the place.
    pub(super) fn under(mut self, step: &str) -> Self {
        self.place.insert_str(0, step);
        self
    }
}

/// Why bytes could not be decoded, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {position}: {cause}")]
pub struct DecodeError {
    /// Where the item starts that is wrong, counted from the first byte that the reader was given.
    pub position: u64,
    /// What is wrong there.
    #[source]
    pub cause: DecodeCause,
}

/// What is wrong with bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeCause {
    /// The input ends before the item does.
    #[error("the input ends too early (bytes needed: {needed}, left: {left})")]
    Truncated {
        /// At least so many bytes the item needs.
        needed: u64,
        /// So many there are.
        left: u64,
    },
    /// An integer ends in a byte that adds nothing.
    #[error("the integer is not in its shortest form")]
    NotMinimal,
    /// An integer is larger than its type.
    #[error("the integer has more than {bits} bits")]
    TooLarge {
        /// Bits of the type.
        bits: u32,
    },
    /// Neither 0 nor 1.
    #[error("{found} is neither 0 nor 1")]
    BadBool {
        /// The byte.
        found: u8,
    },
    /// A case index behind the last case.
    #[error("case {case} is not one of {count}")]
    NoSuchCase {
        /// The index.
        case: u32,
        /// Cases of the type.
        count: u64,
    },
    /// A surrogate, or behind the last code point.
    #[error("{found:#x} is not a Unicode scalar value")]
    BadChar {
        /// The number.
        found: u32,
    },
    /// A string that is not UTF-8.
    #[error("the string is not UTF-8")]
    BadUtf8,
    /// A NaN with other bits than the canonical one.
    #[error("the NaN is not the canonical one")]
    BadNan,
    /// A bit behind the last flag is set.
    #[error("a bit behind the last flag is set")]
    PaddingBits,
    /// Bytes are left behind the value.
    #[error("bytes behind the end: {count}")]
    TrailingBytes {
        /// How many.
        count: u64,
    },
    /// A description names a kind of type that does not exist.
    #[error("{found} is not a kind of type")]
    NoSuchKind {
        /// The byte.
        found: u8,
    },
    /// The functions of a description are not in ascending order of their names.
    #[error("the functions are not sorted by name")]
    NotSorted,
    /// The type, or the description that was read, is not well-formed.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// Too deep or too large.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

impl DecodeError {
    pub(super) fn at(position: u64, cause: impl Into<DecodeCause>) -> Self {
        Self { position, cause: cause.into() }
    }
}
