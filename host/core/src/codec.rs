//! The byte form of numbers, texts and lists, in records and replies: minimal LEB128, length-prefixed bytes. It knows no
//! record; each type writes itself with these words. One value has one byte form; bytes behind the end are refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes that are not what they should be. Carries what was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    /// The thing that could not be read.
    pub what: &'static str,
}

/// Shorthand: the error of reading `what`.
#[must_use]
pub fn malformed(what: &'static str) -> Malformed {
    Malformed { what }
}

/// Writes values one behind the other.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(bytes) }
    }

    /// What has been written.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }

    /// How much has been written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.bytes.put_u8(u8::from(value));
    }

    /// Minimal LEB128: 1 to 10 bytes.
    pub fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.put_u8(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(low_byte(value));
    }

    /// 16 bytes, little endian.
    pub fn u128(&mut self, value: u128) {
        self.bytes.put_u128_le(value);
    }

    /// Length, then the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.put_slice(value);
    }

    /// Length, then UTF-8.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// 0, or 1 and the value.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.put_slice(value);
    }
}

/// The lowest seven bits.
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Reads what a [`Writer`] wrote. Never allocates more than the bytes that are there.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Over these bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// What is left, as it is.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// Refuses bytes behind the end.
    ///
    /// # Errors
    /// `what`, if bytes are left.
    pub fn finish(self, what: &'static str) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(malformed(what)) }
    }

    /// One byte.
    ///
    /// # Errors
    /// `what`, at the end.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        let first = *self.bytes.first().ok_or(malformed(what))?;
        self.bytes.advance(1);
        Ok(first)
    }

    /// 0 or 1.
    ///
    /// # Errors
    /// `what`, for any other byte.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed(what)),
        }
    }

    /// Minimal LEB128.
    ///
    /// # Errors
    /// `what`, for more than 64 bits, a padded form, or the end.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            let low = u64::from(byte & 0x7f);
            if index == 9 && byte > 1 {
                return Err(malformed(what));
            }
            value |= low << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(malformed(what));
                }
                self.bytes.advance(index + 1);
                return Ok(value);
            }
        }
        Err(malformed(what))
    }

    /// A number that must fit 32 bits.
    ///
    /// # Errors
    /// `what`, if it does not.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.u64(what)?).map_err(|_| malformed(what))
    }

    /// 16 bytes, little endian.
    ///
    /// # Errors
    /// `what`, at the end.
    pub fn u128(&mut self, what: &'static str) -> Result<u128, Malformed> {
        let bytes: [u8; 16] = self.array(what)?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// So many bytes as they are.
    ///
    /// # Errors
    /// `what`, at the end.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes.get(..N).ok_or(malformed(what))?;
        let array = <[u8; N]>::try_from(bytes).map_err(|_| malformed(what))?;
        self.bytes.advance(N);
        Ok(array)
    }

    /// Length, then bytes: a slice of the input, nothing is copied.
    ///
    /// # Errors
    /// `what`, if the length passes the end.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.u64(what)?).map_err(|_| malformed(what))?;
        if length > self.bytes.len() {
            return Err(malformed(what));
        }
        Ok(self.bytes.split_to(length))
    }

    /// Length, then UTF-8.
    ///
    /// # Errors
    /// `what`, if it is not UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let length = usize::try_from(self.u64(what)?).map_err(|_| malformed(what))?;
        let bytes = self.bytes.get(..length).ok_or(malformed(what))?;
        let text = std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| malformed(what))?;
        self.bytes.advance(length);
        Ok(text)
    }

    /// 0, or 1 and the value.
    ///
    /// # Errors
    /// `what`, for another mark; what `read` refuses.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool(what)? { read(self).map(Some) } else { Ok(None) }
    }

    /// A count of elements that each take at least one byte: never more than the bytes that are left.
    ///
    /// # Errors
    /// `what`, if it is more, or above `max`.
    pub fn count(&mut self, what: &'static str, max: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u64(what)?).map_err(|_| malformed(what))?;
        if count > max || count > self.bytes.len() { Err(malformed(what)) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, wide: u128) {
            let mut writer = Writer::new();
            writer.u64(value);
            writer.u128(wide);
            let mut reader = Reader::new(writer.finish());
            prop_assert_eq!(reader.u64("n"), Ok(value));
            prop_assert_eq!(reader.u128("w"), Ok(wide));
            prop_assert_eq!(reader.finish("end"), Ok(()));
        }

        #[test]
        fn what_is_read_is_the_one_form(bytes: Vec<u8>) {
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            if let Ok(value) = reader.u64("n") {
                let mut writer = Writer::new();
                writer.u64(value);
                prop_assert_eq!(&bytes[..bytes.len() - reader.remaining()], &writer.finish()[..]);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]));
        assert_eq!(reader.bytes("text"), Err(malformed("text")));
    }
}
