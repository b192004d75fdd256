//! Log entries, from the disk and from peers. Knows that an entry has one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::entry::{decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok((namespace, entry)) = decode(Bytes::copy_from_slice(data)) {
        assert_eq!(encode(namespace, &entry), data);
    }
});
