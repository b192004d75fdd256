//! Watches that end with their session, are given up while they are opened again, or stand behind what came before their answer.

use super::*;

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
