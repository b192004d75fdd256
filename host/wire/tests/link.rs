//! Messages of a link: every one comes back, old bytes are still read and new bytes unchanged, and nothing that a peer can
//! send panics the other side or has a second reading.

mod form;
mod golden_file;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::expect_file;
use form::Form;
use proptest::prelude::*;
use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, SessionId, Term, WriteNumber, Zxid};
use quorate_core::limits;
use quorate_core::request::{Body, Operation, Request};
use quorate_core::session::Acks;
use quorate_wire::link::{Answer, LINK_FRAME_BYTES_MAX, Tag, ToLeader, ToMember};
use quorate_wire::message::body;

const TO_LEADER: Form<ToLeader> = Form { write: ToLeader::encode, read: ToLeader::decode };
const TO_MEMBER: Form<ToMember> = Form { write: ToMember::encode, read: ToMember::decode };

const TAG: Tag = Tag { term: Term(7), epoch: Epoch(300) };
const SESSION: SessionId = SessionId(301);

fn submit(hash: u128, acks: Acks, body: Body) -> ToLeader {
    let write = WriteNumber(302);
    let address = Some(IpAddr::from([10, 0, 0, 7]));
    let request = Request { session: SESSION, write, hash, acks, body, address };
    ToLeader::Submit { tag: TAG, token: 303, request: Arc::new(request) }
}

fn to_leader() -> Vec<ToLeader> {
    let acks = Acks { low: WriteNumber(3), ranges: vec![(WriteNumber(5), WriteNumber(300))] };
    let hash = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10;
    vec![
        submit(hash, acks, Body::Cancel(WriteNumber(7))),
        ToLeader::OpenSession {
            tag: TAG,
            token: 303,
            timeout_ms: 10_000,
            secret_hash: [0xab; 32],
            principal: "alice".to_owned(),
        },
        ToLeader::Heartbeat { tag: TAG, token: 303, session: SESSION },
        ToLeader::ReadIndex { question: 304 },
        ToLeader::Room { free_bytes: 305, refused_below_bytes: 400, taken_from_bytes: 500 },
    ]
}

fn refusal() -> Refusal {
    Refusal::new(ErrorCode::NoLeader, "no quorum")
}

fn to_member() -> Vec<ToMember> {
    let write = WriteNumber(302);
    let kept = Bytes::from_static(b"reply");
    let answers = vec![
        Answer::Kept { session: SESSION, write, zxid: Zxid(299), reply: kept },
        Answer::Parked { session: SESSION, write },
        Answer::Refused { session: SESSION, write, refusal: refusal() },
        Answer::Opened(Ok(SESSION)),
        Answer::Opened(Err(refusal())),
        Answer::Confirmed { session: SESSION, is_live: true },
        Answer::Unconfirmed { session: SESSION, refusal: refusal() },
    ];
    let answers =
        answers.into_iter().map(|answer| ToMember::Answer { zxid: Zxid(305), token: 303, answer });
    let mut messages = vec![ToMember::Open(TAG), ToMember::Closed(TAG)];
    messages.extend(answers);
    messages.push(ToMember::ReadIndex { question: 304, index: Ok(306) });
    messages.push(ToMember::ReadIndex { question: 304, index: Err(refusal()) });
    messages
}

#[test]
fn the_bytes_of_messages_to_the_leader_stay() {
    let file = expect_file!["golden/link-to-leader.hex"];
    TO_LEADER.check_golden(&file, "Messages on a link to the leader.", &to_leader());
}

#[test]
fn the_bytes_of_messages_from_the_leader_stay() {
    let file = expect_file!["golden/link-to-member.hex"];
    TO_MEMBER.check_golden(&file, "Messages on a link from the leader.", &to_member());
}

#[test]
fn every_mutation_of_a_byte_is_read_or_refused() {
    TO_LEADER.check_mutations(&to_leader());
    TO_MEMBER.check_mutations(&to_member());
}

#[test]
fn a_message_ends_with_its_last_field() {
    TO_LEADER.check_ends(&to_leader(), |_| false);
    let is_kept = |message: &ToMember| {
        matches!(message, ToMember::Answer { answer: Answer::Kept { .. }, .. })
    };
    TO_MEMBER.check_ends(&to_member(), is_kept);
}

#[test]
fn the_largest_write_fits_a_frame() {
    let range = |number: u64| {
        let from = u64::MAX - 4 * (limits::ACK_RANGES_MAX as u64 - number);
        (WriteNumber(from), WriteNumber(from + 1))
    };
    let ranges = (0..limits::ACK_RANGES_MAX as u64).map(range).collect();
    let data = Bytes::from(vec![0; limits::FRAME_BYTES_MAX - 200]);
    let body =
        Body::Single(Operation::Set { path: "/a".to_owned(), data, condition: Condition::ANY });
    assert!(body::encode(&body).len() <= limits::FRAME_BYTES_MAX);
    let message = submit(u128::MAX, Acks { low: WriteNumber(1), ranges }, body);
    let frame = message.encode();
    assert!(frame.len() <= LINK_FRAME_BYTES_MAX as usize, "{}", frame.len());
    TO_LEADER.check_value(&message);
}

#[test]
fn later_epochs_are_greater_whoever_leads() {
    let tag = |term, epoch| Tag { term: Term(term), epoch: Epoch(epoch) };
    assert!(tag(1, 9) < tag(2, 1) && tag(2, 1) < tag(2, 2));
}

/// Bytes that begin with a kind: most of them would be refused at once.
fn bytes_of(kinds: std::ops::Range<u8>) -> impl Strategy<Value = Vec<u8>> {
    let rest = prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..6], 0..80);
    (kinds, rest).prop_map(|(kind, rest)| [vec![kind], rest].concat())
}

proptest! {
    #[test]
    fn any_bytes_are_read_in_one_way_or_refused(leader in bytes_of(0..6), member in bytes_of(0x80..0x86)) {
        TO_LEADER.check_bytes(&leader);
        TO_MEMBER.check_bytes(&member);
    }
}
