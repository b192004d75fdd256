//! Arguments and results of calls: the first byte is the length of a function's description, which follows, then come the
//! arguments. Knows that both have one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::value::{
    Function, Limits, decode_arguments, decode_result, encode_arguments, encode_result,
};

fuzz_target!(|data: &[u8]| {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((description, bytes)) = rest.split_at_checked(usize::from(length)) else { return };
    let Ok(function) = Function::decode(Bytes::copy_from_slice(description)) else { return };
    assert_eq!(function.encode().expect("it was decoded"), description);
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(values) = decode_arguments(&function, bytes.clone(), Limits::VALUE) {
        let again = encode_arguments(&function, &values, Limits::VALUE);
        assert_eq!(again.expect("they were decoded"), bytes);
    }
    if let Ok(value) = decode_result(&function, bytes.clone(), Limits::VALUE) {
        let again = encode_result(&function, value.as_ref(), Limits::VALUE);
        assert_eq!(again.expect("it was decoded"), bytes);
    }
});
