//! Frames of a link, as a leader and a member read them. Knows that a message has one byte form, and that no frame is both.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_wire::link::{ToLeader, ToMember};

fuzz_target!(|data: &[u8]| {
    let to_leader = ToLeader::decode(Bytes::copy_from_slice(data));
    let to_member = ToMember::decode(Bytes::copy_from_slice(data));
    assert!(to_leader.is_err() || to_member.is_err());
    if let Ok(message) = to_leader {
        assert_eq!(message.encode(), data);
    }
    if let Ok(message) = to_member {
        assert_eq!(message.encode(), data);
    }
});
