//! Owns the primitives that build the canonical bytes of a value.
//! It does not know types: whoever calls it puts the right things in the right order.

use bytes::{BufMut, Bytes, BytesMut};

use super::limits::{Budget, LimitError, Limits};
use super::values::{Flags, Float32, Float64};

/// Appends canonical bytes. For a caller that walks a value of its own along its type:
///
/// - around each value: [`enter`](Self::enter) and [`leave`](Self::leave), which count levels;
/// - before the members of a record, tuple or fixed-length list, or the payload of a case:
///   [`charge`](Self::charge) with their number; [`put_length`](Self::put_length) does it for a
///   list;
/// - once for the whole value: `charge(1)`, or with the number of arguments.
///
/// A [`Reader`](super::Reader) must be driven in the same way, so that both sides count alike; its
/// `take_length_fixed` charges the elements of a fixed-length list. Lists of `u8` are not charged.
#[derive(Debug)]
pub struct Writer {
    output: BytesMut,
    budget: Budget,
}

impl Writer {
    /// Starts empty.
    pub fn new(limits: Limits) -> Self {
        Self { output: BytesMut::new(), budget: Budget::new(limits) }
    }

    /// All that was put.
    pub fn finish(self) -> Bytes {
        self.output.freeze()
    }

    /// Goes one level down.
    ///
    /// # Errors
    /// The limit of levels.
    pub fn enter(&mut self) -> Result<(), LimitError> {
        self.budget.enter()
    }

    /// Comes back up.
    pub fn leave(&mut self) {
        self.budget.leave();
    }

    /// Counts nodes.
    ///
    /// # Errors
    /// The limit of nodes.
    pub fn charge(&mut self, nodes: u64) -> Result<(), LimitError> {
        self.budget.charge(nodes)
    }

    /// `bool`, and whether an option holds a value: one byte, 0 or 1. A result's is 0 for ok, 1 for
    /// err.
    pub fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    /// `u8`: one byte.
    pub fn put_u8(&mut self, value: u8) {
        self.output.put_u8(value);
    }

    /// `s8`: one byte, two's complement.
    pub fn put_s8(&mut self, value: i8) {
        self.output.put_i8(value);
    }

    /// `u16`, `u32`, `u64`, the index of a case, a length: LEB128, in as few bytes as hold it.
    pub fn put_unsigned(&mut self, value: u64) {
        let mut rest = value;
        while rest >= 0x80 {
            let [low, ..] = rest.to_le_bytes();
            self.output.put_u8(low | 0x80);
            rest >>= 7;
        }
        let [last, ..] = rest.to_le_bytes();
        self.output.put_u8(last);
    }

    /// `s16`, `s32`, `s64`: zigzag (0, -1, 1, -2 become 0, 1, 2, 3), then as unsigned.
    pub fn put_signed(&mut self, value: i64) {
        self.put_unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// `f32`: its bits, four bytes, lowest first.
    pub fn put_f32(&mut self, value: Float32) {
        self.output.put_u32_le(value.to_bits());
    }

    /// `f64`: its bits, eight bytes, lowest first.
    pub fn put_f64(&mut self, value: Float64) {
        self.output.put_u64_le(value.to_bits());
    }

    /// `char`: its scalar value as unsigned.
    pub fn put_char(&mut self, value: char) {
        self.put_unsigned(u64::from(u32::from(value)));
    }

    /// `string`: number of bytes, then UTF-8.
    pub fn put_string(&mut self, value: &str) {
        self.put_bytes(value.as_bytes());
    }

    /// `blob` and `list<u8>`: number of bytes, then the bytes, which are copied once.
    pub fn put_bytes(&mut self, value: &[u8]) {
        self.put_unsigned(value.len() as u64);
        self.put_bytes_fixed(value);
    }

    /// `list<u8, N>`: the bytes alone.
    pub fn put_bytes_fixed(&mut self, value: &[u8]) {
        self.output.put_slice(value);
    }

    /// Number of elements of a list, counted as nodes. The elements follow.
    ///
    /// # Errors
    /// The limit of nodes.
    pub fn put_length(&mut self, count: usize) -> Result<(), LimitError> {
        self.charge(count as u64)?;
        self.put_unsigned(count as u64);
        Ok(())
    }

    /// `flags`: one bit each, lowest first, in as few bytes as hold them.
    pub fn put_flags(&mut self, value: &Flags) {
        self.output.put_slice(value.bits());
    }
}
