//! What holds of every kind of message: it comes back, its bytes stay, and it has one form. It does not know the kinds.

use std::fmt::Debug;

use bytes::Bytes;
use quorate_core::codec::Malformed;

use crate::golden_file;

/// How a kind of thing is written and read.
pub struct Form<T> {
    /// Gives the bytes.
    pub write: fn(&T) -> Bytes,
    /// Gives the value back.
    pub read: fn(Bytes) -> Result<T, Malformed>,
}

impl<T: Debug + PartialEq> Form<T> {
    /// Compares a golden file with these values.
    pub fn check_golden(&self, file: &expect_test::ExpectFile, title: &str, values: &[T]) {
        let read = |bytes| (self.read)(bytes).expect("golden bytes are read");
        golden_file::check(file, title, values, self.write, read);
    }

    /// What is read of these bytes has them as its one form.
    pub fn check_bytes(&self, bytes: &[u8]) -> bool {
        let Ok(value) = (self.read)(Bytes::copy_from_slice(bytes)) else { return false };
        assert_eq!((self.write)(&value), bytes, "{value:?}");
        true
    }

    /// It comes back.
    pub fn check_value(&self, value: &T) {
        assert_eq!((self.read)((self.write)(value)).as_ref(), Ok(value));
    }

    /// Each byte of each value, set to each other value; and each front part.
    pub fn check_mutations(&self, values: &[T]) {
        for value in values {
            let bytes = (self.write)(value).to_vec();
            for at in 0..bytes.len() {
                let mut mutated = bytes.clone();
                for byte in 0..=u8::MAX {
                    mutated[at] = byte;
                    self.check_bytes(&mutated);
                }
                self.check_bytes(&bytes[..at]);
            }
        }
    }

    /// Nothing may follow, except where the last field goes to the end of the frame.
    pub fn check_ends(&self, values: &[T], is_open: fn(&T) -> bool) {
        for value in values {
            let mut bytes = (self.write)(value).to_vec();
            bytes.push(0);
            assert_eq!(self.check_bytes(&bytes), is_open(value), "{value:?}");
            bytes.truncate(bytes.len() - 2);
            assert_eq!(self.check_bytes(&bytes), is_open(value), "{value:?}");
        }
    }
}
