//! Bodies of writes, as a member reads them from a lane or from a bulk stream. Knows that a body has one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::message::body::FromClient;
use quorate_wire::message::{body, bulk};

fuzz_target!(|data: &[u8]| {
    let data = Bytes::copy_from_slice(data);
    if let Ok((number, rest)) = bulk::split(data.clone()) {
        assert_eq!([bulk::head(number), rest].concat(), data);
    }
    match body::decode_from_client(data.clone()) {
        Ok(FromClient::Body(decoded)) => assert_eq!(body::encode(&decoded), data),
        Ok(FromClient::Credential(decoded)) => {
            assert_eq!(body::encode_credential(&decoded), data);
        }
        Err(_) => {}
    }
    if let Ok(decoded) = body::decode_from_member(data.clone()) {
        assert_eq!(body::encode(&decoded), data);
    }
});
