//! One watch, step by step: what ends it, what waits for it, and where it stands. Its member is the test.

use super::*;

/// A session with one open watch of `/0`, and its outbox.
fn watched(once: bool, from: Option<Zxid>) -> (Session, Arc<Outbox>, u64) {
    let mut session = super::super::attached();
    let outbox = Arc::new(Outbox::new(session.seen(), from, 1_000, false));
    let watch = Watch {
        watch: 9,
        path: name(0),
        scope: Scope::Node,
        from,
        once,
        with_data: false,
        with_previous: false,
        first: None,
    };
    let consistency = Consistency::Linearizable;
    let ask = WatchAsk { consistency, watch, outbox: outbox.clone() };
    session.submit(1, Ask::Watch(Box::new(ask)));
    let request = asked(&mut session);
    let head = EventMessage::Head { session: SESSION, attachment: 1 };
    assert_eq!(session.handle_event(head, 0), Flow::GoOn);
    (session, outbox, request)
}

/// The request by which a watch is asked for.
fn asked(session: &mut Session) -> u64 {
    match session.poll_transmit(0) {
        Some(ClientMessage::Read { request, query: Query::Watch(_), .. }) => request,
        other => panic!("{other:?}"),
    }
}

fn events(zxid: u64, bytes: usize) -> EventMessage {
    let event = Event {
        path: name(0),
        kind: EventKind::Set,
        version: 1,
        data: Some(Bytes::from(vec![0; bytes])),
        previous: Previous::None,
    };
    let (zxid, events) = (Zxid(zxid), vec![event]);
    EventMessage::Events { watch: 9, zxid, time_ms: 0, events, has_more: false }
}

fn is_open() -> Results {
    Results::Watched(Watched::Open { first: None })
}

#[test]
fn a_watch_that_fires_before_its_answer_gives_both() {
    let (mut session, outbox, request) = watched(true, None);
    session.handle_event(events(5, 0), 0);
    session
        .handle_event(EventMessage::Ended { watch: 9, position: Zxid(5), end: WatchEnd::Fired }, 0);
    assert_eq!(session.poll_outcome(), None, "what it begins with is not known");
    let first = Some(Box::new(Err(super::super::refusal(ErrorCode::NoNode))));
    let answer = Results::Watched(Watched::Open { first });
    session.handle_message(found(request, Zxid(4), answer.clone()), 0);
    assert_eq!(session.poll_outcome(), Some((1, Outcome::Found(Zxid(4), answer))));
    assert!(matches!(outbox.try_take(), Some(Notice::Change(_))));
    assert_eq!(outbox.take_end(), Some(End::Fired));
    assert_eq!(session.poll_transmit(0), None, "the member knows that it ended");
}

#[test]
fn a_watch_whose_reader_is_slow_is_ended_alone_and_behind_what_is_there() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    for zxid in 5..9 {
        assert_eq!(session.handle_event(events(zxid, 300), 0), Flow::GoOn);
    }
    let query = Query::Unwatch(9);
    let Some(ClientMessage::Read { query: sent, .. }) = session.poll_transmit(0) else {
        panic!("the member is told")
    };
    assert_eq!(sent, query);
    let taken = std::iter::from_fn(|| outbox.try_take()).count();
    assert_eq!((taken, outbox.take_end()), (2, Some(End::Slow)));
    assert_eq!(outbox.position(), Zxid(6), "where to go on from");
}

#[test]
fn a_change_larger_than_the_buffer_is_told_to_a_reader_that_has_taken_all() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    session.handle_event(events(5, 5_000), 0);
    assert!(outbox.try_take().is_some());
    session.handle_event(events(6, 5_000), 0);
    assert!(outbox.try_take().is_some());
    assert_eq!(outbox.take_end(), None);
}

#[test]
fn a_position_that_no_member_has_is_compacted_only_when_as_many_were_asked_as_there_are() {
    let (mut session, outbox, mut request) = watched(false, Some(Zxid(3)));
    for (address, oldest) in [("a", 20), ("b", 10), ("b", 10), ("c", 30)] {
        session.set_address(address, 3);
        let not_here = Results::Watched(Watched::NotHere { oldest: Zxid(oldest) });
        let flow = session.handle_message(found(request, Zxid(40), not_here), 0);
        if oldest == 30 {
            assert_eq!(flow, Flow::GoOn);
            break;
        }
        assert_eq!(flow, Flow::Leave);
        assert_eq!(outbox.take_end(), None);
        session.handle_disconnected();
        session.attach(0);
        session.handle_message(ServerMessage::Welcome(super::super::welcome()), 0);
        request = asked(&mut session);
    }
    let (1, Outcome::Refused(refusal)) = session.poll_outcome().expect("ended") else {
        panic!("refused")
    };
    assert_eq!(refusal.code, ErrorCode::WatchCompacted);
    assert_eq!(outbox.take_end(), Some(End::Compacted { oldest: Zxid(10) }));
}

#[test]
fn a_watch_that_is_given_up_before_its_answer_is_ended_at_the_member_after_it() {
    let (mut session, _, request) = watched(false, None);
    session.close_watch(9, 0);
    assert!(matches!(session.poll_outcome(), Some((1, Outcome::Refused(_)))));
    assert_eq!(session.poll_transmit(0), None, "the end must not overtake the begin");
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    let sent = session.poll_transmit(0);
    assert!(matches!(sent, Some(ClientMessage::Read { query: Query::Unwatch(9), .. })), "{sent:?}");
    assert_eq!(session.handle_event(events(5, 0), 0), Flow::GoOn, "of no interest");
    assert_eq!(session.poll_transmit(0), None);
}

/// The frame that says that the session of a watch has ended.
fn session_ended() -> EventMessage {
    let end = WatchEnd::Refused(super::super::refusal(ErrorCode::SessionEnded));
    EventMessage::Ended { watch: 9, position: Zxid(6), end }
}

#[test]
fn a_watch_that_ends_with_its_session_says_that_the_session_is_lost() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    session.handle_event(events(5, 0), 0);
    assert_eq!(session.handle_event(session_ended(), 0), Flow::GoOn);
    let SessionState::Lost(Loss::Ended(refusal)) = session.state(0) else { panic!("it is lost") };
    assert_eq!(refusal.code, ErrorCode::SessionEnded);
    session.end_watches();
    assert!(outbox.try_take().is_some(), "what came before");
    assert_eq!(outbox.take_end(), Some(End::SessionOver));
}

#[test]
fn whoever_closes_its_session_is_told_so_though_its_watches_hear_of_it_first() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    session.poll_outcome();
    session.submit(2, Ask::Close);
    let Some(ClientMessage::Write { request, .. }) = session.poll_transmit(0) else {
        panic!("the end is sent")
    };
    session.handle_event(session_ended(), 0);
    assert_eq!(session.poll_outcome(), None);
    session.handle_message(replied(request, Zxid(6)), 0);
    assert_eq!(session.poll_outcome(), Some((2, Outcome::Replied(Zxid(6), Bytes::new()))));
    assert_eq!(session.state(0), SessionState::Lost(Loss::Closed));
    session.end_watches();
    assert_eq!(outbox.take_end(), Some(End::SessionOver));
}

#[test]
fn answers_do_not_wait_for_a_watch_that_is_given_up_while_it_is_opened_again() {
    let (mut session, _, request) = watched(false, None);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    assert!(session.poll_outcome().is_some());
    session.handle_disconnected();
    session.attach(0);
    session.handle_message(ServerMessage::Welcome(super::super::welcome()), 0);
    let again = asked(&mut session);
    let query = Query::Stat("/".to_owned());
    session.submit(2, Ask::Read(Consistency::Session, query));
    let Some(ClientMessage::Read { request, .. }) = session.poll_transmit(0) else {
        panic!("the read is sent")
    };
    session.handle_message(found(request, Zxid(6), Results::Logs(Vec::new())), 0);
    assert_eq!(session.poll_outcome(), None, "it may reflect an event that is to come");
    assert_eq!(session.close_watch(9, 0), Flow::GoOn);
    let found_at = Outcome::Found(Zxid(6), Results::Logs(Vec::new()));
    assert_eq!(session.poll_outcome(), Some((2, found_at)), "nothing else has to come first");
    session.handle_message(found(again, Zxid(6), is_open()), 0);
    let sent = session.poll_transmit(0);
    assert!(matches!(sent, Some(ClientMessage::Read { query: Query::Unwatch(9), .. })), "{sent:?}");
}

#[test]
fn a_watch_that_begins_with_now_stands_at_its_answer_though_events_came_before_that() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_event(events(6, 0), 0);
    session.handle_message(found(request, Zxid(4), is_open()), 0);
    let opened = Outcome::Found(Zxid(4), is_open());
    assert_eq!(session.poll_outcome(), Some((1, opened)));
    assert!(outbox.position() >= Zxid(4) && outbox.position() < Zxid(6), "{}", outbox.position());
    assert!(outbox.try_take().is_some());
    assert_eq!(outbox.position(), Zxid(6));
}

#[test]
fn what_came_for_a_watch_that_was_not_opened_comes_again_and_is_told_once() {
    let (mut session, outbox, request) = watched(false, None);
    session.handle_event(events(5, 0), 0);
    let (EventMessage::Events { watch, zxid, events: part, .. }, time_ms) = (events(6, 0), 0)
    else {
        panic!("events")
    };
    session.handle_event(
        EventMessage::Events { watch, zxid, time_ms, events: part, has_more: true },
        0,
    );
    let overloaded = Err(super::super::refusal(ErrorCode::Overloaded));
    let refused =
        ServerMessage::ReadReply { request, zxid: Zxid(6), events: 2, results: overloaded };
    session.handle_message(refused, 0);
    assert_eq!(session.poll_outcome(), None, "it is asked for again");
    let again_ms = session.next_timer_ms(0).expect("a timer");
    let request = match session.poll_transmit(again_ms) {
        Some(ClientMessage::Read { request, query: Query::Watch(_), .. }) => request,
        other => panic!("{other:?}"),
    };
    session.handle_message(found(request, Zxid(4), is_open()), again_ms);
    for zxid in 5..=6 {
        session.handle_event(events(zxid, 0), again_ms);
    }
    let told: Vec<(Zxid, usize)> = std::iter::from_fn(|| outbox.try_take())
        .map(|notice| match notice {
            Notice::Change(change) => (change.zxid, change.events.len()),
            Notice::Progress(zxid) => panic!("{zxid} was not asked for"),
        })
        .collect();
    assert_eq!(told, [(Zxid(5), 1), (Zxid(6), 1)]);
}
