//! Frames from clients. Knows that a message has one byte form, and that its body is decoded later.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::message::ClientMessage;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = ClientMessage::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(message.encode(), data);
    }
});
