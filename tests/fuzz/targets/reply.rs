//! Replies to writes, as clients read them and as they are kept. Knows that a reply has one byte form.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_core::request::Reply;

fuzz_target!(|data: &[u8]| {
    if let Ok(reply) = Reply::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(reply.encode(), data);
    }
});
