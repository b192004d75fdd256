//! Values by their types: the first byte is the length of a type's description, which follows, then comes the value. Knows that
//! both have one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::value::{Limits, Type, decode, encode};

fuzz_target!(|data: &[u8]| {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((description, value)) = rest.split_at_checked(usize::from(length)) else { return };
    let Ok(kind) = Type::decode(Bytes::copy_from_slice(description)) else { return };
    assert_eq!(kind.encode().expect("it was decoded"), description);
    if let Ok(decoded) = decode(Bytes::copy_from_slice(value), &kind, Limits::VALUE) {
        assert_eq!(encode(&decoded, &kind, Limits::VALUE).expect("it was decoded"), value);
    }
});
