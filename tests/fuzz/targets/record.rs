//! Records and keys of the tree, from the disk. The first byte says of which kind. Knows that a record has one byte form;
//! does not know what tables hold.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_core::access::{Acl, Held, Object, Rules, Summary};
use quorate_core::codec::{Reader, Writer};
use quorate_core::deployment::{Component, Recipe, Version};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::key;
use quorate_core::principal::Holdings;
use quorate_core::query::subtree::Below;
use quorate_core::quota::Metered;
use quorate_core::session::{Acks, KeptReply, Parked, Session};
use quorate_core::znode::{Lifetime, Node, Stat};

macro_rules! check {
    ($kind:ty, $data:expr) => {
        if let Ok(record) = <$kind>::decode($data.clone()) {
            assert_eq!(record.encode(), $data);
        }
    };
}

/// Of what is a part of records: as many bytes as were read.
macro_rules! check_part {
    ($kind:ty, $data:expr) => {{
        let mut reader = Reader::new($data.clone());
        if let Ok(part) = <$kind>::read(&mut reader) {
            let mut writer = Writer::new();
            part.write(&mut writer);
            assert_eq!(writer.finish(), $data[..$data.len() - reader.remaining()]);
        }
    }};
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let data = Bytes::copy_from_slice(rest);
    match kind {
        0 => check!(Node, data),
        1 => check!(Session, data),
        2 => check!(KeptReply, data),
        3 => check!(Parked, data),
        4 => check!(Recipe, data),
        5 => check!(Version, data),
        6 => check!(Component, data),
        7 => check_part!(Acks, data),
        8 => check_part!(Stat, data),
        9 => check_part!(Lifetime, data),
        10 => keys(&data),
        12 => check!(Rules, data),
        16 => check!(Summary, data),
        13 => check_part!(Acl, data),
        14 => check_part!(Held, data),
        15 => check_part!(Object, data),
        11 => check!(Below, data),
        20 => check!(Metered, data),
        21 => check!(Holdings, data),
        _ => {}
    }
});

/// What is read out of a key stands in the key that is made of it.
fn keys(bytes: &[u8]) {
    if let Some((session, write)) = key::write_of(bytes) {
        let (made, tail) = (key::reply(session, write), &bytes[1..17]);
        assert_eq!(made[1..], *tail);
        ranges(session, write);
    }
    if let Some(path) = key::owned_path(bytes) {
        let made = key::owned(SessionId(1), WriteNumber(2), &path);
        assert_eq!(made[17..], bytes[17..]);
        assert_eq!(key::owned_path(&made), Some(path));
    }
    if let Some(session) = key::session_of(bytes) {
        assert_eq!(key::session_of(&key::session(session)), Some(session));
        assert_eq!(key::session_of(&key::ended(7, session)), Some(session));
    }
    if let Some(name) = key::child_name(bytes) {
        assert!(!name.contains('/'));
    }
    if let Some(name) = key::principal_name(bytes) {
        assert_eq!(key::principal_name(&key::principal(name)), Some(name));
    }
    let number = key::version_number(bytes);
    assert_eq!(number.is_some(), bytes.len() >= 8);
}

/// Every range holds the keys that it is for.
fn ranges(session: SessionId, write: WriteNumber) {
    let holds =
        |(from, to): (Bytes, Bytes), key: Bytes| assert!(from <= key && key < to, "{key:?}");
    let path = quorate_core::path::Path::root();
    holds(key::sessions(), key::session(session));
    holds(key::replies(session, WriteNumber(0), write), key::reply(session, write));
    holds(key::parked_of(session), key::parked(session, write));
    holds(key::parked_all(), key::parked(session, write));
    holds(key::owned_by_call(session, write), key::owned(session, write, &path));
    holds(key::owned_by_session(session), key::owned(session, write, &path));
}
