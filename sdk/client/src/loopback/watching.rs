//! Watches of a whole client against the tests' member: what its streams tell, and what happens to them when it moves.

use std::sync::atomic::Ordering;

use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::query::Page;
use quorate_core::request::{Body, Operation};
use quorate_wire::message::watch::{EventKind, Previous, WatchEnd};

use super::member::{Faults, Member};
use super::{connect, options, soon, until};
use crate::{Change, Client, Consistency, CreateOperation, Loss, Notice, WatchError, WatchStream};

async fn change(stream: &mut WatchStream) -> Change {
    match soon(stream.next()).await {
        Some(Ok(Notice::Change(change))) => change,
        other => panic!("a change and not {other:?}"),
    }
}

async fn error(stream: &mut WatchStream) -> WatchError {
    match soon(stream.next()).await {
        Some(Err(error)) => error,
        other => panic!("an end and not {other:?}"),
    }
}

/// What a change is about: a mark for the kind, and the path.
fn words(change: &Change) -> Vec<String> {
    let words = change.events.iter().map(|event| {
        let mark = match event.kind {
            EventKind::Created(_) => '+',
            EventKind::Set => '=',
            EventKind::Deleted => '-',
        };
        format!("{mark}{}", event.path)
    });
    words.collect()
}

async fn some_tree(client: &Client) {
    for path in ["/a", "/a/b", "/a/b/c"] {
        client.create(path).data("x").await.expect("created");
    }
}

#[tokio::test]
async fn a_watch_tells_of_what_it_is_about_and_of_nothing_else() {
    let member = Member::start();
    let client = connect(&member).await;
    some_tree(&client).await;
    let mut node = soon(client.watch("/a").open()).await.expect("open");
    let mut children = soon(client.watch("/a").children().open()).await.expect("open");
    let subtree = client.watch("/a").subtree().with_data().with_previous();
    let mut subtree = soon(subtree.open()).await.expect("open");
    let (_, answers) = client
        .multi()
        .operation(Operation::Set {
            path: "/a".to_owned(),
            data: "y".into(),
            condition: Condition::ANY,
        })
        .create(CreateOperation::new("/a/d"))
        .create(CreateOperation::new("/a/b/e"))
        .create(CreateOperation::new("/ab"))
        .await
        .expect("executed");
    assert_eq!(answers.len(), 4);
    client.delete("/a/d", None).await.expect("deleted");
    assert_eq!(words(&change(&mut node).await), ["=/a"]);
    let first = change(&mut children).await;
    assert_eq!(words(&first), ["+/a/d"]);
    assert_eq!(words(&change(&mut children).await), ["-/a/d"]);
    let all = change(&mut subtree).await;
    assert_eq!(words(&all), ["=/a", "+/a/d", "+/a/b/e"], "a transaction as a whole, in order");
    assert_eq!((all.zxid, all.time), (first.zxid, first.time));
    let set = &all.events[0];
    assert_eq!((set.version, set.data.as_deref()), (1, Some(&b"y"[..])));
    assert_eq!(set.previous, Previous::Data("x".into()));
    assert_eq!(words(&change(&mut subtree).await), ["-/a/d"]);
    assert_eq!((node.try_next(), children.try_next(), subtree.try_next()), (None, None, None));
}

#[tokio::test]
async fn a_watch_begins_just_behind_the_state_that_is_read_with_it() {
    let member = Member::start();
    let client = connect(&member).await;
    let watch = client.watch("/a").subtree();
    let (none, mut stream) = soon(watch.open_with_node("/a")).await.expect("open");
    assert_eq!(none, None, "a znode that is not there can be waited for");
    some_tree(&client).await;
    assert_eq!(words(&change(&mut stream).await), ["+/a"]);
    let watch = client.watch("/a").children();
    let (listing, mut stream) =
        soon(watch.open_with_children("/a", Page::first())).await.expect("open");
    let names: Vec<String> =
        listing.expect("there").children.into_iter().map(|child| child.name).collect();
    assert_eq!(names, ["b"]);
    client.create("/a/z").await.expect("created");
    assert_eq!(words(&change(&mut stream).await), ["+/a/z"]);
    let refused = soon(client.watch("/a").from(Zxid(1)).open_with_stat("/a")).await;
    assert_eq!(refused.expect_err("no state there").code(), ErrorCode::BadArguments);
    let refused = soon(client.watch("a").open()).await.expect_err("no path");
    assert_eq!(refused.code(), ErrorCode::BadPath);
}

#[tokio::test]
async fn a_watch_of_one_change_ends_behind_it_also_when_the_lane_is_cut() {
    let member = Member::start();
    let client = connect(&member).await;
    let mut once = soon(client.watch("/a").once().open()).await.expect("open");
    member.cut_lanes();
    client.create("/a").await.expect("created");
    assert_eq!(words(&change(&mut once).await), ["+/a"]);
    assert_eq!(soon(once.next()).await, None);
    member.cut_lanes();
    client.set("/a", "x", None).await.expect("set");
    assert_eq!(soon(once.next()).await, None);
    assert_eq!(member.watches_count(), 0);
}

#[tokio::test]
async fn the_past_is_told_from_any_position() {
    let member = Member::start();
    let client = connect(&member).await;
    some_tree(&client).await;
    let before = soon(client.stat("/a")).await.expect("there").czxid;
    let mut stream = soon(client.watch("/a").subtree().from(before).open()).await.expect("open");
    assert_eq!(words(&change(&mut stream).await), ["+/a/b"]);
    let second = change(&mut stream).await;
    assert_eq!(words(&second), ["+/a/b/c"]);
    assert_eq!(stream.position(), second.zxid);
    // It goes on with what happens now, and its position with what the client hears.
    client.create("/elsewhere").await.expect("created");
    assert!(stream.position() > second.zxid);
    client.delete("/a/b/c", None).await.expect("deleted");
    assert_eq!(words(&change(&mut stream).await), ["-/a/b/c"]);
}

#[tokio::test]
async fn no_answer_overtakes_an_event_that_it_reflects() {
    let member = Member::start();
    let (client, other) = (connect(&member).await, connect(&member).await);
    member.set_faults(Faults { events_per_frame: 1, ..Faults::default() });
    let mut stream = soon(client.watch("/a").subtree().open()).await.expect("open");
    member.holds_events.send_replace(true);
    let write = client.send(Body::Single(CreateOperation::new("/a").into())).await.expect("sent");
    let mut write = Box::pin(write);
    other
        .multi()
        .create(CreateOperation::new("/a/b"))
        .create(CreateOperation::new("/a/c"))
        .await
        .expect("created");
    let mut read = Box::pin(client.get("/a/b"));
    // The member has answered: this client has no watch, and hears of the same state.
    assert!(other.get("/a/b").await.is_ok());
    tokio::select! {
        biased;
        answer = &mut write => panic!("its event is on its way: {answer:?}"),
        answer = &mut read => panic!("its event is on its way: {answer:?}"),
        state = soon(other.get("/a/c")) => assert!(state.is_ok()),
    }
    assert_eq!(stream.try_next(), None);
    member.holds_events.send_replace(false);
    soon(write).await.expect("answered");
    let Some(Notice::Change(first)) = stream.try_next() else { panic!("it came before") };
    assert_eq!(words(&first), ["+/a"]);
    soon(read).await.expect("answered");
    let Some(Notice::Change(second)) = stream.try_next() else { panic!("it came before") };
    assert_eq!(words(&second), ["+/a/b", "+/a/c"], "as a whole, though it came in pieces");
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_however_often_the_lane_is_cut() {
    let member = Member::start();
    let second = member.beside();
    let mut options = options(&member);
    options.addresses.push(second.address.to_string());
    let client = Client::connect(options).await.expect("a session");
    let other = connect(&member).await;
    some_tree(&client).await;
    member.set_faults(Faults { events_per_frame: 1, ..Faults::default() });
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(soon(client.watch("/a").subtree().with_data().open()).await.expect("open"));
    }
    for round in 0..60_u32 {
        let set = |path: &str| Operation::Set {
            path: path.to_owned(),
            data: round.to_string().into(),
            condition: Condition::ANY,
        };
        let both = Body::Multi(vec![set("/a"), set("/a/b")]);
        let writer = if round % 2 == 0 { &client } else { &other };
        let sent = writer.send(both).await.expect("sent");
        if round % 7 == 3 {
            member.cut_lanes();
            second.cut_lanes();
        }
        soon(sent).await.expect("executed");
    }
    soon(client.get("/a")).await.expect("read");
    for stream in &mut streams {
        for round in 0..60_u32 {
            let change = change(stream).await;
            let told: Vec<&[u8]> =
                change.events.iter().map(|event| event.data.as_deref().expect("data")).collect();
            assert_eq!(told, [round.to_string().as_bytes(); 2]);
        }
        assert_eq!(stream.try_next(), None);
    }
    assert!(member.attached_count() > 4, "nothing was cut: the test tests nothing");
}

#[tokio::test]
async fn a_reader_that_sleeps_is_cut_off_alone_and_told_where_to_go_on() {
    let member = Member::start();
    let client = connect(&member).await;
    client.create("/a").await.expect("created");
    let asleep = client.watch("/a").with_data().buffer_bytes(10_000);
    let mut asleep = soon(asleep.open()).await.expect("open");
    let mut awake = soon(client.watch("/a").with_data().open()).await.expect("open");
    for _ in 0..20 {
        soon(client.set("/a", vec![7; 1_000], None)).await.expect("set");
        change(&mut awake).await;
    }
    until(|| member.watches_count() == 1).await;
    let mut seen = 0;
    let cut = loop {
        match soon(asleep.next()).await {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => break error,
            None => panic!("it says why"),
        }
    };
    assert!(matches!(cut, WatchError::Slow { .. }), "{cut}");
    assert!((5..20).contains(&seen), "{seen}");
    assert_eq!(soon(asleep.next()).await, None, "said once");
    let rest = client.watch("/a").with_data().from(cut.position());
    let mut rest = soon(rest.open()).await.expect("open");
    for _ in seen..20 {
        change(&mut rest).await;
    }
    assert_eq!(rest.try_next(), None);
}

#[tokio::test]
async fn a_position_that_a_member_has_no_more_is_looked_for_at_the_others() {
    let member = Member::start();
    let second = member.beside();
    let mut options = options(&member);
    options.addresses.push(second.address.to_string());
    let client = Client::connect(options).await.expect("a session");
    some_tree(&client).await;
    let begin = Zxid(1);
    member.oldest.store(1_000, Ordering::SeqCst);
    let mut stream =
        soon(client.watch("/a").subtree().from(begin).open()).await.expect("the other has it");
    assert_eq!(words(&change(&mut stream).await), ["+/a"]);
    second.oldest.store(2_000, Ordering::SeqCst);
    let error = soon(client.watch("/a").subtree().from(begin).open()).await.expect_err("none");
    let compacted = WatchError::Compacted { position: begin, oldest: Zxid(1_000) };
    assert_eq!(error, compacted);
    assert_eq!(error.code(), ErrorCode::WatchCompacted);
    member.oldest.store(0, Ordering::SeqCst);
    second.oldest.store(0, Ordering::SeqCst);
    let mut names = client.with_consistency(Consistency::Stale).children("/a");
    assert_eq!(soon(names.next()).await, Ok(Some("b".to_owned())), "the session goes on");
}

#[tokio::test]
async fn a_watch_that_a_member_ends_goes_on_elsewhere_or_says_why_not() {
    let member = Member::start();
    let client = connect(&member).await;
    let watch = |path| client.watch(path).open();
    // It has lost its past, and there is no other member.
    let mut stream = soon(watch("/a")).await.expect("open");
    member.end_watches(&WatchEnd::NotHere { oldest: Zxid(900) });
    let WatchError::Compacted { oldest, .. } = error(&mut stream).await else { panic!("a gap") };
    assert_eq!(oldest, Zxid(900));
    let mut stream = soon(watch("/a")).await.expect("open");
    let refusal = Refusal::new(ErrorCode::SlowConsumer, "too fast");
    member.end_watches(&WatchEnd::Refused(refusal));
    assert!(matches!(error(&mut stream).await, WatchError::Slow { .. }));
    let mut stream = soon(watch("/a")).await.expect("open");
    let refusal = Refusal::new(ErrorCode::NoAccess, "no more");
    member.end_watches(&WatchEnd::Refused(refusal.clone()));
    assert!(
        matches!(error(&mut stream).await, WatchError::Refused { refusal: found, .. } if found == refusal)
    );
}

#[tokio::test]
async fn marks_of_progress_come_where_they_are_wanted() {
    let member = Member::start();
    let client = connect(&member).await;
    let mut marked = soon(client.watch("/a").with_progress().open()).await.expect("open");
    let mut plain = soon(client.watch("/a").open()).await.expect("open");
    let zxid = client.create("/elsewhere").await.expect("created").zxid;
    member.tell_progress();
    assert_eq!(soon(marked.next()).await, Some(Ok(Notice::Progress(zxid))));
    assert_eq!(marked.position(), zxid);
    assert_eq!((plain.try_next(), plain.position()), (None, zxid));
}

#[tokio::test]
async fn a_stream_that_is_dropped_ends_its_watch_and_the_session_ends_all() {
    let member = Member::start();
    let client = connect(&member).await;
    let one = soon(client.watch("/a").open()).await.expect("open");
    let mut two = soon(client.watch("/a").open()).await.expect("open");
    until(|| member.watches_count() == 2).await;
    drop(one);
    until(|| member.watches_count() == 1).await;
    let clone = client.clone();
    soon(client.close()).await.expect("closed");
    let WatchError::SessionLost { loss, .. } = error(&mut two).await else { panic!("it is over") };
    assert_eq!(loss, Loss::Closed);
    let refused = soon(clone.watch("/a").open()).await.expect_err("it is over");
    assert!(matches!(refused, WatchError::SessionLost { loss: Loss::Closed, .. }), "{refused}");
}
