//! Frames of event lanes, as a client reads them. Knows that a message has one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::message::watch::EventMessage;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = EventMessage::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(message.encode(), data);
    }
});
