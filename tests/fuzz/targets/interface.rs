//! Descriptions of interfaces and functions, as clients read them and as they are kept. Knows that each has one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::value::{Function, Interface, compatible};

fuzz_target!(|data: &[u8]| {
    let data = Bytes::copy_from_slice(data);
    if let Ok(function) = Function::decode(data.clone()) {
        assert_eq!(function.encode().as_ref(), Ok(&data));
        let _text = (function.signature_hash(), function.to_string());
    }
    if let Ok(interface) = Interface::decode(data.clone()) {
        assert_eq!(interface.encode().as_ref(), Ok(&data));
        assert!(compatible(&interface, &interface).is_empty());
    }
});
