//! Owns the primitives that read canonical bytes, and refuses every other form.
//! It does not know types: whoever calls it takes the right things in the right order.

use bytes::Bytes;

use super::error::{DecodeCause, DecodeError, TypeError};
use super::limits::{Budget, Limits};
use super::values::{Flags, Float32, Float64};

/// Takes canonical bytes from the front. Drive it as described at [`Writer`](super::Writer).
///
/// No method panics, and none allocates more than it has taken from the input. After an error the
/// reader is of no use.
#[derive(Debug)]
pub struct Reader {
    input: Bytes,
    position: usize,
    budget: Budget,
}

type Taken<T> = Result<T, DecodeError>;

impl Reader {
    /// Starts at the first byte.
    pub fn new(input: Bytes, limits: Limits) -> Self {
        Self { input, position: 0, budget: Budget::new(limits) }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position as u64
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`DecodeCause::TrailingBytes`].
    pub fn finish(self) -> Taken<()> {
        match self.left() {
            0 => Ok(()),
            left => {
                Err(DecodeError::at(self.position(), DecodeCause::TrailingBytes { count: left }))
            }
        }
    }

    /// Goes one level down.
    ///
    /// # Errors
    /// The limit of levels.
    pub fn enter(&mut self) -> Taken<()> {
        self.budget.enter().map_err(|error| DecodeError::at(self.position(), error))
    }

    /// Comes back up.
    pub fn leave(&mut self) {
        self.budget.leave();
    }

    /// Counts nodes. To be called before they are allocated.
    ///
    /// # Errors
    /// The limit of nodes.
    pub fn charge(&mut self, nodes: u64) -> Taken<()> {
        self.budget.charge(nodes).map_err(|error| DecodeError::at(self.position(), error))
    }

    /// `bool`, and whether an option holds a value. For a result: whether it is an err.
    ///
    /// # Errors
    /// The end of the input; a byte that is neither 0 nor 1.
    pub fn take_bool(&mut self) -> Taken<bool> {
        let start = self.position();
        match self.take_u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::at(start, DecodeCause::BadBool { found })),
        }
    }

    /// `u8`
    ///
    /// # Errors
    /// The end of the input.
    pub fn take_u8(&mut self) -> Taken<u8> {
        self.take_array::<1>().map(|[byte]| byte)
    }

    /// `s8`
    ///
    /// # Errors
    /// The end of the input.
    pub fn take_s8(&mut self) -> Taken<i8> {
        self.take_array().map(i8::from_le_bytes)
    }

    /// An unsigned integer of `bits` bits (1 to 64).
    ///
    /// # Errors
    /// The end of the input; not the shortest form; more than `bits` bits.
    pub fn take_unsigned(&mut self, bits: u32) -> Taken<u64> {
        let start = self.position();
        let mut value: u64 = 0;
        let mut shift = 0;
        loop {
            let byte = self.take_u8()?;
            let low = u64::from(byte & 0x7f);
            // The highest bits that fit; the shift is at most 63, since a larger one has returned
            // below.
            if shift >= bits.min(64) || low > (u64::MAX >> (64 - bits.min(64))) >> shift {
                return Err(DecodeError::at(start, DecodeCause::TooLarge { bits }));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(DecodeError::at(start, DecodeCause::NotMinimal));
                }
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A signed integer of `bits` bits (1 to 64).
    ///
    /// # Errors
    /// As [`take_unsigned`](Self::take_unsigned).
    pub fn take_signed(&mut self, bits: u32) -> Taken<i64> {
        let folded = self.take_unsigned(bits)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// `u16`, `u32`, `u64`
    ///
    /// # Errors
    /// As [`take_unsigned`](Self::take_unsigned).
    pub fn take_integer<T: TryFrom<u64>>(&mut self, bits: u32) -> Taken<T> {
        let start = self.position();
        let value = T::try_from(self.take_unsigned(bits)?);
        value.map_err(|_| DecodeError::at(start, DecodeCause::TooLarge { bits }))
    }

    /// `s16`, `s32`, `s64`
    ///
    /// # Errors
    /// As [`take_unsigned`](Self::take_unsigned).
    pub fn take_signed_integer<T: TryFrom<i64>>(&mut self, bits: u32) -> Taken<T> {
        let start = self.position();
        let value = T::try_from(self.take_signed(bits)?);
        value.map_err(|_| DecodeError::at(start, DecodeCause::TooLarge { bits }))
    }

    /// `f32`
    ///
    /// # Errors
    /// The end of the input; a NaN that is not canonical.
    pub fn take_f32(&mut self) -> Taken<Float32> {
        let start = self.position();
        let bits = self.take_array().map(u32::from_le_bytes)?;
        let value = Float32::from(f32::from_bits(bits));
        if value.to_bits() != bits {
            return Err(DecodeError::at(start, DecodeCause::BadNan));
        }
        Ok(value)
    }

    /// `f64`
    ///
    /// # Errors
    /// The end of the input; a NaN that is not canonical.
    pub fn take_f64(&mut self) -> Taken<Float64> {
        let start = self.position();
        let bits = self.take_array().map(u64::from_le_bytes)?;
        let value = Float64::from(f64::from_bits(bits));
        if value.to_bits() != bits {
            return Err(DecodeError::at(start, DecodeCause::BadNan));
        }
        Ok(value)
    }

    /// `char`
    ///
    /// # Errors
    /// As [`take_unsigned`](Self::take_unsigned); a surrogate or a number behind the last code
    /// point.
    pub fn take_char(&mut self) -> Taken<char> {
        let start = self.position();
        let found = self.take_integer(32)?;
        char::from_u32(found).ok_or_else(|| DecodeError::at(start, DecodeCause::BadChar { found }))
    }

    /// `string`
    ///
    /// # Errors
    /// The end of the input; not UTF-8.
    pub fn take_string(&mut self) -> Taken<String> {
        let bytes = self.take_bytes()?;
        let start = self.position() - bytes.len() as u64;
        let text = std::str::from_utf8(&bytes);
        text.map(str::to_owned).map_err(|_| DecodeError::at(start, DecodeCause::BadUtf8))
    }

    /// `blob` and `list<u8>`, as a part of the input: nothing is copied.
    ///
    /// # Errors
    /// The end of the input.
    pub fn take_bytes(&mut self) -> Taken<Bytes> {
        let count = self.take_unsigned(64)?;
        self.take_bytes_fixed(count)
    }

    /// `list<u8, N>`, as a part of the input.
    ///
    /// # Errors
    /// The end of the input.
    pub fn take_bytes_fixed(&mut self, count: u64) -> Taken<Bytes> {
        let end = self.end_of(count)?;
        let bytes = self.input.slice(self.position..end);
        self.position = end;
        Ok(bytes)
    }

    /// Number of elements of a list, counted as nodes and not more than there are bytes left, since
    /// no value takes less than one: a `Vec` of this capacity may be allocated.
    ///
    /// # Errors
    /// The end of the input; the limit of nodes.
    pub fn take_length(&mut self) -> Taken<usize> {
        let start = self.position();
        let count = self.take_unsigned(64)?;
        self.take_count(start, count)
    }

    /// As [`take_length`](Self::take_length) for a length that the type fixes and the input does
    /// not hold.
    ///
    /// # Errors
    /// The end of the input; the limit of nodes.
    pub fn take_length_fixed(&mut self, count: u32) -> Taken<usize> {
        self.take_count(self.position(), u64::from(count))
    }

    /// Index of a case out of `count`.
    ///
    /// # Errors
    /// As [`take_unsigned`](Self::take_unsigned); an index behind the last.
    pub fn take_case(&mut self, count: usize) -> Taken<u32> {
        let start = self.position();
        let case: u32 = self.take_integer(32)?;
        let count = count as u64;
        if u64::from(case) >= count {
            return Err(DecodeError::at(start, DecodeCause::NoSuchCase { case, count }));
        }
        Ok(case)
    }

    /// `flags`, out of `count`.
    ///
    /// # Errors
    /// The end of the input; a bit behind the last flag.
    pub fn take_flags(&mut self, count: usize) -> Taken<Flags> {
        let start = self.position();
        let bits = self.take_bytes_fixed(count.div_ceil(8) as u64)?;
        let flags = Flags::from_bits(count, &bits);
        flags.ok_or_else(|| DecodeError::at(start, DecodeCause::PaddingBits))
    }

    /// For a type that the caller finds to be malformed at this position.
    pub(super) fn malformed(&self, error: TypeError) -> DecodeError {
        DecodeError::at(self.position(), error)
    }

    fn take_count(&mut self, start: u64, count: u64) -> Taken<usize> {
        self.end_of(count).map_err(|error| DecodeError::at(start, error.cause))?;
        let charged = self.budget.charge(count);
        charged.map_err(|error| DecodeError::at(start, error))?;
        usize::try_from(count).map_err(|_| self.truncated(count))
    }

    fn take_array<const N: usize>(&mut self) -> Taken<[u8; N]> {
        let found = self.input.get(self.position..).and_then(|rest| rest.first_chunk::<N>());
        let array = *found.ok_or_else(|| self.truncated(N as u64))?;
        self.position += N;
        Ok(array)
    }

    fn end_of(&self, count: u64) -> Taken<usize> {
        let end = usize::try_from(count).ok().and_then(|count| self.position.checked_add(count));
        let end = end.filter(|end| *end <= self.input.len());
        end.ok_or_else(|| self.truncated(count))
    }

    fn left(&self) -> u64 {
        (self.input.len() - self.position) as u64
    }

    fn truncated(&self, needed: u64) -> DecodeError {
        let left = self.left();
        DecodeError::at(self.position(), DecodeCause::Truncated { needed, left })
    }
}
