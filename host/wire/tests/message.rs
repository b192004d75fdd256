//! Messages of a lane, bodies of writes and replies: every one comes back, old bytes are still read and new bytes unchanged, and
//! nothing that a client or a member can send panics the other side or has a second reading.

mod form;
mod golden_file;
mod message_values;
mod parts;

use bytes::Bytes;
use expect_test::expect_file;
use form::Form;
use message_values::arbitrary;
use proptest::prelude::*;
use quorate_core::request::{Body, Reply};
use quorate_wire::message::watch::EventMessage;
use quorate_wire::message::{ClientMessage, ServerMessage, body, bulk};

const CLIENT: Form<ClientMessage> =
    Form { write: ClientMessage::encode, read: ClientMessage::decode };
const SERVER: Form<ServerMessage> =
    Form { write: ServerMessage::encode, read: ServerMessage::decode };
const EVENTS: Form<EventMessage> = Form { write: EventMessage::encode, read: EventMessage::decode };
const BODY: Form<Body> = Form { write: body::encode, read: body::decode };
const REPLY: Form<Reply> = Form { write: Reply::encode, read: Reply::decode };

#[test]
fn the_bytes_of_client_messages_stay() {
    let file = expect_file!["golden/client-messages.hex"];
    CLIENT.check_golden(&file, "Messages from clients.", &message_values::client_messages());
}

#[test]
fn the_bytes_of_server_messages_stay() {
    let file = expect_file!["golden/server-messages.hex"];
    SERVER.check_golden(&file, "Messages from members.", &message_values::server_messages());
}

#[test]
fn the_bytes_of_event_messages_stay() {
    let file = expect_file!["golden/event-messages.hex"];
    EVENTS.check_golden(&file, "Frames of event lanes.", &message_values::event_messages());
}

#[test]
fn a_watch_begins_with_a_read_of_a_znode_and_not_with_another_watch() {
    let read = |first: &[u8]| {
        // A read, request 1, stale; a watch 1 of "/", node, from now on, no marks; its first read.
        let head = [4, 1, 2, 10, 1, 1, b'/', 0, 0, 0, 0, 0];
        CLIENT.check_bytes(&[&head, first].concat())
    };
    assert!(read(&[0]));
    assert!(read(&[1, 0, 1, b'/']));
    assert!(!read(&[1, 7]), "status");
    assert!(!read(&[1, 10, 1, 1, b'/', 0, 0, 0, 0, 0, 0]));
    // Frames of events say something.
    assert!(!EVENTS.check_bytes(&[0xa1, 1, 2, 3, 0, 0]));
}

#[test]
fn the_bytes_of_bodies_stay() {
    let file = expect_file!["golden/bodies.hex"];
    BODY.check_golden(&file, "Bodies of writes.", &message_values::bodies());
}

#[test]
fn the_bytes_of_replies_stay() {
    let file = expect_file!["golden/replies.hex"];
    REPLY.check_golden(&file, "Replies to writes.", &message_values::replies());
}

#[test]
fn every_mutation_of_a_byte_is_read_or_refused() {
    CLIENT.check_mutations(&message_values::client_messages());
    SERVER.check_mutations(&message_values::server_messages());
    EVENTS.check_mutations(&message_values::event_messages());
    BODY.check_mutations(&message_values::bodies());
    REPLY.check_mutations(&message_values::replies());
}

#[test]
fn a_message_ends_with_its_last_field() {
    let is_open = |message: &ClientMessage| matches!(message, ClientMessage::Write { .. });
    CLIENT.check_ends(&message_values::client_messages(), is_open);
    let is_open = |message: &ServerMessage| matches!(message, ServerMessage::Reply { .. });
    SERVER.check_ends(&message_values::server_messages(), is_open);
    EVENTS.check_ends(&message_values::event_messages(), |_| false);
    BODY.check_ends(&message_values::bodies(), |_| false);
    REPLY.check_ends(&message_values::replies(), |_| false);
}

#[test]
fn a_frame_of_nothing_and_unknown_kinds_are_refused() {
    for bytes in [&[][..], &[0x00], &[0x06], &[0x7f], &[0x81], &[0xff]] {
        assert!(!CLIENT.check_bytes(bytes), "{bytes:?}");
    }
    for bytes in [&[][..], &[0x01], &[0x80], &[0x89], &[0xff]] {
        assert!(!SERVER.check_bytes(bytes), "{bytes:?}");
    }
    for bytes in [&[][..], &[0x81], &[0xa0], &[0xa4], &[0xff]] {
        assert!(!EVENTS.check_bytes(bytes), "{bytes:?}");
    }
    for bytes in [&[][..], &[8], &[0xff]] {
        assert!(!BODY.check_bytes(bytes), "{bytes:?}");
        assert!(!REPLY.check_bytes(bytes), "{bytes:?}");
    }
}

#[test]
fn multis_do_not_nest_in_replies() {
    // Done, a multi of one answer: a multi of one answer: done.
    assert!(!REPLY.check_bytes(&[0, 4, 1, 4, 1, 0]));
    assert!(REPLY.check_bytes(&[0, 4, 1, 0]));
}

#[test]
fn many_reads_do_not_nest() {
    // Many, one of them: many, none of them.
    assert!(!CLIENT.check_bytes(&[0x04, 1, 0, 17, 1, 17, 0]));
    assert!(CLIENT.check_bytes(&[0x04, 1, 0, 17, 0]));
    assert!(!SERVER.check_bytes(&[0x85, 1, 1, 0, 0, 17, 1, 0, 17, 0]));
}

#[test]
fn the_head_of_a_bulk_stream_is_its_number() {
    let whole = [bulk::head(0x0102_0304), Bytes::from_static(b"body")].concat();
    assert_eq!(whole, *b"\x04\x03\x02\x01\0\0\0\0body");
    let split = bulk::split(Bytes::from(whole.clone()));
    assert_eq!(split, Ok((0x0102_0304, Bytes::from_static(b"body"))));
    for length in 0..8 {
        assert!(bulk::split(Bytes::copy_from_slice(&whole[..length])).is_err());
    }
}

/// Bytes that begin with a kind: most of them would be refused at once.
fn bytes_of(kinds: std::ops::Range<u8>) -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..80);
    (kinds, rest).prop_map(|(kind, rest)| [vec![kind], rest].concat())
}

proptest! {
    #[test]
    fn every_client_message_comes_back(message in arbitrary::client_messages()) {
        CLIENT.check_value(&message);
    }

    #[test]
    fn every_server_message_comes_back(message in arbitrary::server_messages()) {
        SERVER.check_value(&message);
    }

    #[test]
    fn every_event_message_comes_back(message in arbitrary::event_messages()) {
        EVENTS.check_value(&message);
    }

    #[test]
    fn every_body_comes_back(body in arbitrary::bodies()) {
        BODY.check_value(&body);
    }

    #[test]
    fn every_reply_comes_back(reply in arbitrary::replies()) {
        REPLY.check_value(&reply);
    }

    #[test]
    fn any_bytes_are_read_in_one_way_or_refused(
        client in bytes_of(1..6),
        server in bytes_of(0x81..0x89),
        events in bytes_of(0xa0..0xa4),
        body in bytes_of(0..8),
        reply in bytes_of(0..2),
    ) {
        CLIENT.check_bytes(&client);
        SERVER.check_bytes(&server);
        EVENTS.check_bytes(&events);
        BODY.check_bytes(&body);
        REPLY.check_bytes(&reply);
    }
}
