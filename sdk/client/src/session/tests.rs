//! The session against a member that drops connections, holds old copies back, reorders replies and refuses at will, but keeps
//! the service's promises. The oracle knows what was executed; the session must have told the truth about it.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::error::ErrorCode;
use quorate_core::ids::{WriteNumber, Zxid};
use quorate_core::limits::SECRET_BYTES;
use quorate_core::session::Acks;
use quorate_wire::message::{ClientMessage, PROTOCOLS, ServerMessage, Welcome};

use super::*;

mod watching;
mod world;

use world::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_write_is_executed_once_and_in_order_and_every_caller_hears_the_truth(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new(None, Service::default());
        for step in steps {
            world.take_step(step);
        }
        world.settle();
        world.check();
    }

    #[test]
    fn a_session_that_is_taken_over_finds_its_next_number(
        before in 0_u64..9,
        fillers in any::<u8>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut service = Service::default();
        for number in 1..=before {
            let is_filler = fillers >> (number % 8) & 1 == 1;
            let body = match is_filler {
                true => body::encode(&Body::Cancel(WriteNumber(1 << 63 | 9))),
                false => Bytes::from_static(b"by another process"),
            };
            let low = number.saturating_sub(2);
            let acks = Acks { low: WriteNumber(low), ranges: Vec::new() };
            service.execute(&Copy { request: 0, number, acks, body });
        }
        let key = SessionKey { id: SESSION, secret: [1; SECRET_BYTES] };
        let mut world = World::new(Some(key), service);
        for step in steps {
            world.take_step(step);
        }
        world.settle();
        world.check();
    }

    /// The leader counts from when it heard, and adds nothing here: the hardest case.
    #[test]
    fn the_client_knows_that_its_session_is_lost_before_the_leader_expires_it(
        heartbeats in prop::collection::vec((1_u64..2_000, 0_u64..9_000, any::<bool>()), 1..40),
    ) {
        let timeout_ms = 6_000;
        let mut session = Session::new(None, timeout_ms, 1);
        session.attach(0);
        let opened_ms = 500;
        let mut welcome = welcome();
        welcome.timeout_ms = timeout_ms;
        session.handle_message(ServerMessage::Welcome(welcome), opened_ms);
        let mut leader_heard_ms = opened_ms;
        let mut now_ms = opened_ms;
        let mut under_way: Vec<(u64, u64)> = Vec::new();
        for (step_ms, delay_ms, reaches_leader) in heartbeats {
            now_ms += step_ms;
            if let Some(ClientMessage::Heartbeat { request }) = session.poll_heartbeat(now_ms)
                && reaches_leader
            {
                // It takes half of the delay there, and half back.
                leader_heard_ms = leader_heard_ms.max(now_ms + delay_ms / 2);
                under_way.push((now_ms + delay_ms, request));
            }
            under_way.retain(|&(at_ms, request)| {
                if at_ms <= now_ms {
                    session.handle_message(ServerMessage::Confirmed { request }, now_ms);
                }
                at_ms > now_ms
            });
            session.handle_time(now_ms);
            if now_ms >= leader_heard_ms + timeout_ms {
                let state = session.state(now_ms);
                prop_assert!(matches!(state, SessionState::Lost(_)), "{state:?} at {now_ms}");
            }
        }
    }
}

fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOLS.max,
        agent: "fake".to_owned(),
        session: SESSION,
        secret: [1; SECRET_BYTES],
        timeout_ms: TIMEOUT_MS,
        attachment: 1,
        zxid: Zxid(0),
        last_write: WriteNumber(0),
        members: Vec::new(),
    }
}

/// A session that is attached; its first heartbeat has gone out.
fn attached() -> Session {
    let mut session = Session::new(None, TIMEOUT_MS, 1);
    session.attach(0);
    session.handle_message(ServerMessage::Welcome(welcome()), 0);
    assert!(session.poll_heartbeat(0).is_some());
    session
}

#[test]
fn only_a_member_that_knows_of_no_such_session_ends_it() {
    for (code, is_over) in [
        (ErrorCode::AuthenticationRequired, false),
        (ErrorCode::NoLeader, false),
        (ErrorCode::SessionEnded, true),
        (ErrorCode::NoSession, true),
        (ErrorCode::BadSecret, true),
    ] {
        let mut session = attached();
        session.handle_message(ServerMessage::Rejected(refusal(code)), 0);
        assert_eq!(session.loss.is_some(), is_over, "{code:?}");
    }
}

fn write(session: &mut Session, token: Token, body: &'static str) {
    session.submit(token, Ask::Write(Bytes::from_static(body.as_bytes())));
}

/// What is sent: number and body of each write, then of everything else its kind.
fn sent(session: &mut Session, now_ms: u64) -> Vec<(u64, u64, Bytes)> {
    std::iter::from_fn(|| session.poll_transmit(now_ms))
        .filter_map(|message| match message {
            ClientMessage::Write { request, write, body, .. } => Some((request, write.0, body)),
            _ => None,
        })
        .collect()
}

fn numbers(sent: &[(u64, u64, Bytes)]) -> Vec<u64> {
    sent.iter().map(|(_, number, _)| *number).collect()
}

#[test]
fn an_overloaded_member_gets_the_same_number_again_after_a_delay_and_later_ones_behind_it() {
    let mut session = attached();
    for (token, body) in [(1, "a"), (2, "b"), (3, "c")] {
        write(&mut session, token, body);
    }
    let first = sent(&mut session, 0);
    let overloaded = refusal(ErrorCode::Overloaded);
    let message = ServerMessage::NotExecuted { request: first[1].0, refusal: overloaded };
    session.handle_message(message, 0);
    assert_eq!(sent(&mut session, 0), [], "not before the delay");
    let held_ms = session.next_timer_ms(0).expect("a timer");
    assert!((5..=10).contains(&held_ms), "{held_ms}");
    let again = sent(&mut session, held_ms);
    assert_eq!(numbers(&again), [2, 3]);
    // What the server says of the copies that were replaced changes nothing any more.
    let gap = refusal(ErrorCode::ResendFrom);
    session
        .handle_message(ServerMessage::NotExecuted { request: first[2].0, refusal: gap }, held_ms);
    assert_eq!(sent(&mut session, held_ms), []);
}

#[test]
fn a_write_that_is_refused_for_ever_gives_its_number_to_a_filler_and_the_next_keep_theirs() {
    let mut session = attached();
    write(&mut session, 1, "bad");
    write(&mut session, 2, "good");
    let first = sent(&mut session, 0);
    let bad = refusal(ErrorCode::BadMessage);
    session.handle_message(ServerMessage::NotExecuted { request: first[0].0, refusal: bad }, 0);
    assert_eq!(session.poll_outcome(), None, "an old copy might still be executed");
    let again = sent(&mut session, 0);
    assert_eq!(numbers(&again), [1, 2]);
    assert!(matches!(body::decode(again[0].2.clone()), Ok(Body::Cancel(_))));
    assert_eq!(again[1].2, first[1].2);
    let reply =
        |request| ServerMessage::Reply { request, zxid: Zxid(9), events: 0, reply: Bytes::new() };
    session.handle_message(reply(again[0].0), 0);
    let refused = Outcome::Refused(refusal(ErrorCode::BadMessage));
    assert_eq!(session.poll_outcome(), Some((1, refused)));
    session.handle_message(reply(again[1].0), 0);
    assert_eq!(session.poll_outcome(), Some((2, Outcome::Replied(Zxid(9), Bytes::new()))));
}

#[test]
fn a_refused_write_whose_old_copy_was_executed_gets_its_reply() {
    let mut session = attached();
    write(&mut session, 1, "x");
    sent(&mut session, 0);
    session.handle_disconnected();
    session.attach(1);
    session.handle_message(ServerMessage::Welcome(welcome()), 1);
    let copy = sent(&mut session, 1);
    let over = refusal(ErrorCode::LimitPassed);
    session.handle_message(ServerMessage::NotExecuted { request: copy[0].0, refusal: over }, 1);
    let filler = sent(&mut session, 1);
    let differs = refusal(ErrorCode::ResendDiffers);
    session
        .handle_message(ServerMessage::NotExecuted { request: filler[0].0, refusal: differs }, 1);
    let again = sent(&mut session, 1);
    assert_eq!((again[0].1, &again[0].2[..]), (1, &b"x"[..]));
    let reply = Bytes::from_static(b"kept");
    let message = ServerMessage::Reply {
        request: again[0].0,
        zxid: Zxid(3),
        events: 0,
        reply: reply.clone(),
    };
    session.handle_message(message, 1);
    assert_eq!(session.poll_outcome(), Some((1, Outcome::Replied(Zxid(3), reply))));
}

#[test]
fn a_reply_to_an_older_copy_counts_although_a_newer_one_was_refused_for_ever() {
    let mut session = attached();
    write(&mut session, 1, "first");
    write(&mut session, 2, "second");
    let older = sent(&mut session, 0);
    let no = |request, code| ServerMessage::NotExecuted { request, refusal: refusal(code) };
    session.handle_message(no(older[0].0, ErrorCode::Overloaded), 0);
    let newer = sent(&mut session, 10);
    session.handle_message(no(newer[1].0, ErrorCode::LimitPassed), 10);
    assert_eq!(numbers(&sent(&mut session, 10)), [2], "its number is being filled");
    let reply = Bytes::from_static(b"it was executed");
    let (request, zxid) = (older[1].0, Zxid(4));
    let message = ServerMessage::Reply { request, zxid, events: 0, reply: reply.clone() };
    session.handle_message(message, 10);
    assert_eq!(session.poll_outcome(), Some((2, Outcome::Replied(zxid, reply))));
}

#[test]
fn a_full_disk_is_reported_after_a_while_and_deletions_go_on_behind_it() {
    let mut session = attached();
    write(&mut session, 1, "grow");
    write(&mut session, 2, "delete");
    let mut now_ms = 0;
    let mut refused = 0;
    let filled = loop {
        let copies = sent(&mut session, now_ms);
        if copies[0].2[..] != b"grow"[..] {
            break copies;
        }
        refused += 1;
        let full = refusal(ErrorCode::DiskFull);
        let message = ServerMessage::NotExecuted { request: copies[0].0, refusal: full };
        session.handle_message(message, now_ms);
        now_ms += crate::limits::RETRY_MS_MAX;
    };
    assert_eq!(refused, crate::limits::REFUSALS_MAX);
    assert_eq!(numbers(&filled), [1, 2]);
}

#[test]
fn a_cancellation_before_sending_sends_nothing_and_later_one_is_a_numbered_write() {
    let mut session = Session::new(None, TIMEOUT_MS, 1);
    write(&mut session, 1, "never");
    session.cancel(1);
    assert!(matches!(session.poll_outcome(), Some((1, Outcome::Refused(_)))));
    session.attach(0);
    session.handle_message(ServerMessage::Welcome(welcome()), 0);
    write(&mut session, 2, "call");
    assert_eq!(numbers(&sent(&mut session, 0)), [1]);
    session.cancel(2);
    session.cancel(2);
    let cancelled = sent(&mut session, 0);
    assert_eq!(numbers(&cancelled), [2], "once");
    assert_eq!(cancelled[0].2, body::encode(&Body::Cancel(WriteNumber(1))));
}

#[test]
fn silence_suspends_and_then_ends_the_session_and_nothing_is_sent_any_more() {
    let mut session = attached();
    write(&mut session, 1, "sent");
    assert_eq!(numbers(&sent(&mut session, 0)), [1]);
    assert_eq!(session.state(TIMEOUT_MS / 2), SessionState::Connected);
    assert!(session.wants_another_member(TIMEOUT_MS / 2));
    assert_eq!(session.state(TIMEOUT_MS * 2 / 3), SessionState::Suspended);
    session.handle_disconnected();
    session.attach(TIMEOUT_MS - 1);
    session.handle_message(ServerMessage::Welcome(welcome()), TIMEOUT_MS - 1);
    write(&mut session, 2, "not sent");
    assert_eq!(session.poll_heartbeat(TIMEOUT_MS), None);
    assert_eq!(session.poll_transmit(TIMEOUT_MS), None);
    let loss = Loss::Silence { timeout_ms: TIMEOUT_MS };
    assert_eq!(session.state(TIMEOUT_MS), SessionState::Lost(loss.clone()));
    let lost = |may_have_happened| Outcome::Lost { loss: loss.clone(), may_have_happened };
    assert_eq!(session.poll_outcome(), Some((1, lost(true))));
    assert_eq!(session.poll_outcome(), Some((2, lost(false))));
}

#[test]
fn a_member_that_is_cut_off_is_left_in_time_and_its_word_keeps_no_session_alive() {
    let mut session = attached();
    let mut left_ms = None;
    let mut asked = 0;
    for now_ms in 0..=TIMEOUT_MS {
        if let Some(ClientMessage::Heartbeat { request }) = session.poll_heartbeat(now_ms) {
            asked += 1;
            let refusal = refusal(ErrorCode::NoLeader);
            session.handle_message(ServerMessage::Unconfirmed { request, refusal }, now_ms);
        }
        if session.wants_another_member(now_ms) {
            left_ms.get_or_insert(now_ms);
        }
        let is_lost = matches!(session.state(now_ms), SessionState::Lost(Loss::Silence { .. }));
        assert_eq!(is_lost, now_ms >= TIMEOUT_MS, "at {now_ms}");
    }
    assert_eq!(left_ms, Some(TIMEOUT_MS / 2), "its connection stands, and is of no use");
    assert!(asked > 3, "a leader that comes back is noticed: asked {asked} times");
}

#[test]
fn a_resumed_session_says_what_it_has_sent() {
    let sent_up_to = |session: &mut Session| match session.attach(0) {
        Attach::Resume { sent, .. } => sent,
        other => panic!("{other:?}"),
    };
    let mut session = attached();
    assert_eq!(sent_up_to(&mut session), WriteNumber(0));
    let mut session = attached();
    write(&mut session, 1, "a");
    write(&mut session, 2, "b");
    sent(&mut session, 0);
    write(&mut session, 3, "waits");
    assert_eq!(sent_up_to(&mut session), WriteNumber(2));
    let SessionKey { id, secret } = session.key().unwrap();
    let mut taken_over = Session::new(Some(SessionKey { id, secret }), TIMEOUT_MS, 7);
    assert_eq!(
        sent_up_to(&mut taken_over),
        WriteNumber(u64::MAX),
        "another process may have sent more"
    );
}

#[test]
fn a_read_that_is_asked_again_elsewhere_comes_behind_the_writes_before_it() {
    let mut session = attached();
    write(&mut session, 1, "one");
    session.submit(2, Ask::Read(Consistency::Linearizable, Query::Status));
    let purpose = |message: ClientMessage| match message {
        ClientMessage::Write { .. } => "write",
        ClientMessage::Read { .. } => "read",
        ClientMessage::Heartbeat { .. } => "heartbeat",
        other => panic!("{other:?}"),
    };
    let poll = |session: &mut Session| {
        let sent = std::iter::from_fn(|| session.poll_transmit(1)).map(purpose);
        sent.filter(|kind| *kind != "heartbeat").collect::<Vec<_>>()
    };
    assert_eq!(poll(&mut session), ["write", "read"]);
    session.handle_disconnected();
    session.attach(2);
    session.handle_message(ServerMessage::Welcome(welcome()), 2);
    assert_eq!(poll(&mut session), ["write", "read"]);
}

#[test]
fn a_session_that_has_ended_tells_what_was_certainly_not_executed() {
    let mut session = attached();
    for (token, body) in [(1, "parked"), (2, "b"), (3, "c")] {
        write(&mut session, token, body);
    }
    let copies = sent(&mut session, 0);
    let ended = refusal(ErrorCode::SessionEnded);
    session.handle_message(ServerMessage::NotExecuted { request: copies[1].0, refusal: ended }, 0);
    let certain: Vec<(Token, bool)> = std::iter::from_fn(|| session.poll_outcome())
        .map(|(token, outcome)| match outcome {
            Outcome::Lost { may_have_happened, .. } => (token, may_have_happened),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(certain, [(1, true), (2, false), (3, false)]);
}

#[test]
fn a_reply_to_a_resend_proves_nothing_because_it_may_have_been_kept() {
    let mut session = attached();
    write(&mut session, 1, "x");
    sent(&mut session, 0);
    session.handle_disconnected();
    session.attach(TIMEOUT_MS - 10);
    session.handle_message(ServerMessage::Welcome(welcome()), TIMEOUT_MS - 10);
    let again = sent(&mut session, TIMEOUT_MS - 10);
    let (request, reply) = (again[0].0, Bytes::new());
    let message = ServerMessage::Reply { request, zxid: Zxid(1), events: 0, reply };
    session.handle_message(message, TIMEOUT_MS - 9);
    session.handle_time(TIMEOUT_MS);
    assert!(matches!(session.state(TIMEOUT_MS), SessionState::Lost(Loss::Silence { .. })));
}

#[test]
fn a_member_that_can_not_read_what_is_sent_does_not_get_it_for_ever() {
    let mut session = attached();
    write(&mut session, 1, "from another version");
    for _ in 0..crate::limits::FAREWELLS_MAX {
        let goodbye = ServerMessage::Goodbye(refusal(ErrorCode::BadMessage));
        assert_eq!(session.handle_message(goodbye, 0), Flow::Leave);
        session.handle_disconnected();
        session.attach(0);
        session.handle_message(ServerMessage::Welcome(welcome()), 0);
    }
    assert!(matches!(session.state(0), SessionState::Lost(Loss::Contradiction(_))));
}

#[test]
fn a_resumption_without_the_leader_proves_nothing() {
    let key = SessionKey { id: SESSION, secret: [1; SECRET_BYTES] };
    let mut session = Session::new(Some(key), 0, 1);
    session.attach(0);
    session.handle_message(ServerMessage::Welcome(welcome()), 10);
    assert_eq!(session.state(10), SessionState::Suspended);
    let Some(ClientMessage::Heartbeat { request }) = session.poll_heartbeat(10) else {
        panic!("a heartbeat is due at once")
    };
    session.handle_message(ServerMessage::Confirmed { request }, 20);
    assert_eq!(session.state(20), SessionState::Connected);
}

#[test]
fn an_answer_that_does_not_come_is_followed_by_a_few_heartbeats_and_idleness_by_no_more_than_ever()
{
    use crate::limits::{HEARTBEAT_DIVISOR, PROBE_MS};
    let heartbeats = |session: &mut Session| {
        let mut sent_ms = Vec::new();
        for now_ms in 1..=TIMEOUT_MS / HEARTBEAT_DIVISOR {
            if let Some(ClientMessage::Heartbeat { request }) = session.poll_heartbeat(now_ms) {
                session.handle_message(ServerMessage::Confirmed { request }, now_ms);
                sent_ms.push(now_ms);
            }
            let timer_ms = session.next_timer_ms(now_ms).expect("a timer");
            assert!(timer_ms > now_ms, "it would be woken for nothing");
        }
        sent_ms
    };
    let idle = TIMEOUT_MS / HEARTBEAT_DIVISOR;
    assert_eq!(heartbeats(&mut attached()), [idle]);
    let mut session = attached();
    write(&mut session, 1, "a call that waits");
    sent(&mut session, 0);
    let probes = [1, 3, 7, 15, 31].map(|times| times * PROBE_MS);
    assert_eq!(heartbeats(&mut session), probes, "20 s of it");
    assert_eq!(
        heartbeats(&mut session).len(),
        0,
        "then it is as an idle one: the next is due after the last"
    );
}

#[test]
fn a_session_that_is_welcomed_elsewhere_sends_all_that_is_unanswered_again_there() {
    let mut session = attached();
    for (token, body) in [(1, "a"), (2, "b")] {
        write(&mut session, token, body);
    }
    let copies = sent(&mut session, 0);
    let Attach::Resume { sent: sent_up_to, .. } = session.attach(900) else { panic!("a session") };
    assert_eq!(sent_up_to, WriteNumber(2));
    // The silent member says one thing more, which is as true as ever.
    let reply = Bytes::from_static(b"kept");
    let (request, zxid) = (copies[0].0, Zxid(3));
    session.handle_message(ServerMessage::Reply { request, zxid, events: 0, reply }, 950);
    assert!(matches!(session.poll_outcome(), Some((1, Outcome::Replied(..)))));
    assert_eq!(session.handle_message(ServerMessage::Welcome(welcome()), 1_000), Flow::GoOn);
    assert_eq!(numbers(&sent(&mut session, 1_000)), [2]);
    assert!(session.poll_heartbeat(1_000).is_some(), "the proof that it has a leader");
    // What the old lane says of copies that were replaced changes nothing.
    let gap = refusal(ErrorCode::ResendFrom);
    let message = ServerMessage::NotExecuted { request: copies[1].0, refusal: gap };
    assert_eq!(session.handle_message(message, 1_001), Flow::GoOn);
    assert_eq!(sent(&mut session, 1_001), []);
}
