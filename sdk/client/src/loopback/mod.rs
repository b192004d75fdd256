//! The client against a member in this process: real QUIC, real sequencer, real tree semantics; recipes are closures.

mod caching;
mod events;
mod member;
mod reading;
mod recipes;
mod rooted;
mod silence;
mod typed;
mod watching;

use std::future::{Future, IntoFuture};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::request::{Answer, Body, Operation};

use crate::{
    Authority, Client, ConnectError, Consistency, CreateOperation, Error, LockError, LockLost,
    LockOptions, Loss, Options, SessionState,
};
use member::{Faults, Member};

const DEADLINE: Duration = Duration::from_secs(20);

fn options(member: &Member) -> Options {
    let mut options =
        Options::new([member.address.to_string()], Authority::Anchors(member.trust.clone()));
    options.session_timeout = Some(Duration::from_secs(10));
    options
}

async fn connect(member: &Member) -> Client {
    Client::connect(options(member)).await.expect("a session")
}

/// What must come within the deadline.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it takes too long")
}

/// Waits for a condition of the member.
async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_tree_is_written_and_read() {
    let member = Member::start();
    let client = connect(&member).await;
    let created = client.create("/a/b").data("one").parents().await.expect("created");
    assert_eq!(created.path, "/a/b");
    let node = client.get("/a/b").await.expect("there");
    assert_eq!((&node.data[..], node.stat.version), (&b"one"[..], 0));
    assert_eq!(client.set("/a/b", "two", Some(0)).await.expect("set").version, 1);
    let stale = client.set("/a/b", "three", Some(0)).await.expect_err("an old version");
    assert_eq!((stale.code(), stale.may_have_happened()), (ErrorCode::BadVersion, false));
    assert_eq!(client.exists("/none").await, Ok(None));
    let name = client.create("/a/n-").sequential().await.expect("created").path;
    assert_eq!(name.len(), "/a/n-".len() + 19);
    let names = client.children("/a").all().await.expect("children");
    assert_eq!(names, ["b".to_owned(), name["/a/".len()..].to_owned()]);
    let (_, answers) = client
        .multi()
        .check("/a/b", Some(1))
        .create(CreateOperation::new("/a/c"))
        .delete("/a/b", None)
        .await
        .expect("all");
    assert!(matches!(answers[..], [Answer::Stat(_), Answer::Created { .. }, Answer::Done]));
    let refused = client.multi().delete("/a/c", None).delete("/none", None).await;
    let Err(Error::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!((failure.refusal.code, failure.operation), (ErrorCode::NoNode, Some(1)));
    assert!(client.exists("/a/c").await.expect("read").is_some(), "all or nothing");
    let state = client.state();
    soon(client.close()).await.expect("closed");
    assert_eq!(*state.borrow(), SessionState::Lost(Loss::Closed));
}

#[tokio::test]
async fn writes_are_executed_once_and_in_order_however_often_the_lane_is_cut() {
    let member = Member::start();
    let client = connect(&member).await;
    client.create("/log").await.expect("created");
    member.set_faults(Faults { cut_after_writes: Some(7), ..Faults::default() });
    let mut handles = Vec::new();
    for number in 0..100 {
        let create = CreateOperation::new("/log/w-").data(format!("{number}")).sequential();
        handles.push(client.send(Body::Single(create.into())).await.expect("sent"));
    }
    for handle in handles {
        soon(handle).await.expect("answered");
    }
    assert!(member.writes_count() > 101, "nothing was sent again: the test tests nothing");
    let read = member.tree();
    let mut names = client.with_consistency(Consistency::Stale).children("/log");
    for number in 0..100 {
        let name = soon(names.next()).await.expect("read").expect("100 children");
        let path = Path::parse(&format!("/log/{name}")).expect("a path");
        assert_eq!(tree::get(&*read, &path).expect("there").0, number.to_string());
    }
    assert_eq!(soon(names.next()).await, Ok(None));
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_carried_through() {
    let member = Member::start();
    let client = connect(&member).await;
    drop(client.send(Body::Single(CreateOperation::new("/a").into())).await.expect("sent"));
    client.create("/b").await.expect("the next number");
    assert!(client.exists("/a").await.expect("read").is_some());
}

#[tokio::test]
async fn large_bodies_go_beside_the_lane_and_keep_their_place() {
    let member = Member::start();
    let client = connect(&member).await;
    let large = Bytes::from(vec![7; 900_000]);
    let first =
        client.send(Body::Single(CreateOperation::new("/large").data(large.clone()).into()));
    let first = first.await.expect("sent");
    let set = Operation::Set {
        path: "/large".to_owned(),
        data: Bytes::new(),
        condition: Condition::version(0),
    };
    let second = client.send(Body::Single(set)).await.expect("sent");
    assert!(matches!(soon(first).await, Ok((_, quorate_core::request::Reply::Done(_)))));
    assert!(matches!(soon(second).await, Ok((_, quorate_core::request::Reply::Done(_)))));
    client.set("/large", large.clone(), None).await.expect("set");
    assert_eq!(soon(client.get("/large")).await.expect("there").data, large);
}

#[tokio::test]
async fn a_component_is_uploaded_in_chunks_with_progress() {
    let member = Member::start();
    let client = connect(&member).await;
    let mut seen = Vec::new();
    let component = vec![1; 600_000];
    soon(client.upload(component, |progress| seen.push(progress.bytes))).await.expect("stored");
    assert_eq!(seen, [262_144, 524_288, 600_000]);
}

#[tokio::test]
async fn a_body_that_no_member_reads_is_refused_here() {
    let member = Member::start();
    let client = connect(&member).await;
    let delete = || Operation::Delete { path: "/a".to_owned(), condition: Condition::ANY };
    let too_many = Body::Multi((0..2_000).map(|_| delete()).collect());
    let refused = client.write(too_many).await.expect_err("too many operations");
    assert_eq!(refused.code(), ErrorCode::BadMessage);
    client.create("/a").await.expect("the session goes on");
}

#[tokio::test]
async fn a_session_goes_on_in_another_client() {
    let member = Member::start();
    let first = connect(&member).await;
    first.create("/mine").ephemeral().await.expect("created");
    let key = first.session();
    drop(first);
    let second = Client::resume(options(&member), key).await.expect("resumed");
    assert_eq!(second.session().id, key.id);
    second.create("/more").ephemeral().await.expect("its number was found");
    let stat = second.stat("/mine").await.expect("still there");
    assert_eq!(stat.owner(), Some(key.id));
    soon(second.close()).await.expect("closed");
    let gone = Client::resume(options(&member), crate::SessionKey { secret: [0; 32], ..key }).await;
    assert!(matches!(gone, Err(ConnectError::Rejected { .. })), "{gone:?}");
}

#[tokio::test]
async fn without_a_leader_requests_wait_and_the_session_is_lost_in_time() {
    let member = Member::start();
    let mut options = options(&member);
    options.session_timeout = Some(Duration::from_millis(1_200));
    let client = Client::connect(options).await.expect("a session");
    member.set_faults(Faults { is_leaderless: true, ..Faults::default() });
    let waiting = client.create("/a").into_future();
    let status = soon(client.status()).await.expect("this needs no leader");
    assert_eq!(status.role, "leader");
    let error = soon(waiting).await.expect_err("nobody executes it");
    assert!(matches!(error, Error::SessionLost { may_have_happened: true, .. }), "{error}");
    let loss = soon(client.lost()).await;
    assert_eq!(loss, Loss::Silence { timeout_ms: 1_200 });
    let error = client.create("/b").await.expect_err("it is over");
    assert!(matches!(error, Error::SessionLost { may_have_happened: false, .. }), "{error}");
    member.set_faults(Faults::default());
    let other = soon(client.reopen()).await.expect("a new one");
    assert_ne!(other.session().id, client.session().id);
    assert_eq!(soon(other.exists("/a")).await, Ok(None));
}

#[tokio::test]
async fn a_recipe_is_called_by_its_types_as_values_and_as_text() {
    let member = Member::start();
    let client = connect(&member).await;
    let recipe = client.recipe("lock");
    assert_eq!(recipe.call_wave("add(\"/hits\", 41)").await.as_deref(), Ok("41"));
    assert_eq!(recipe.call_wave("all.add(\"/hits\", 1)").await.as_deref(), Ok("42"));
    let Err(Error::Text(error)) = recipe.call_wave("add(\"/hits\", x)").await else {
        panic!("x is no number")
    };
    assert_eq!(error.column, 14);
    let nothing = recipe.call("subtract", vec![]).await.expect_err("there is none");
    assert_eq!(nothing.code(), ErrorCode::NoFunction);
    let add = recipe.operation("add", &["/hits".into(), crate::value::Value::S64(8)]).await;
    let (_, answers) = client.multi().operation(add.expect("encoded")).await.expect("executed");
    let value = recipe.result("add", &answers[0]).await.expect("decoded");
    assert_eq!(value, Some(crate::value::Value::S64(50)));
}

#[tokio::test]
async fn a_call_of_a_recipe_that_is_being_compiled_is_made_again_until_it_is_and_runs_once() {
    let member = Member::start();
    let client = connect(&member).await;
    let recipe = client.recipe("lock");
    member.compile_during(5);
    let sum = soon(recipe.call_wave("add(\"/hits\", 3)")).await.expect("it runs in the end");
    assert_eq!(sum, "3");
    assert_eq!(member.compiling_left(), 0);
    // Who gives it up is told so, and it is not made again.
    member.compile_during(u32::MAX);
    let call = recipe.start("add", vec!["/hits".into(), crate::value::Value::S64(1)]).await;
    let given_up = soon(call.expect("sent").within(Duration::from_millis(50))).await;
    assert_eq!(given_up.expect_err("it never ran").code(), ErrorCode::Compiling);
    member.compile_during(0);
    let sum = soon(recipe.call_wave("add(\"/hits\", 1)")).await.expect("it runs");
    assert_eq!(sum, "4");
}

#[tokio::test]
async fn a_lock_is_handed_over_and_given_back_by_a_drop() {
    let member = Member::start();
    let (one, two) = (connect(&member).await, connect(&member).await);
    let first = soon(one.lock("/l", LockOptions::default())).await.expect("granted");
    let waiting = tokio::spawn(async move { two.lock("/l", LockOptions::default()).await });
    until(|| member.parked_count() == 1).await;
    member.cut_lanes();
    let token = first.token();
    soon(first.release()).await.expect("given back");
    let second = soon(waiting).await.expect("no panic").expect("granted");
    assert!(second.token() > token, "fencing tokens grow");
    drop(second);
    let third = soon(one.lock("/l", LockOptions::default())).await.expect("granted");
    let state = one.state();
    soon(one.close()).await.expect("closed");
    assert!(matches!(*state.borrow(), SessionState::Lost(_)));
    assert_eq!(soon(third.lost()).await, LockLost::Session(Loss::Closed));
}

#[tokio::test]
async fn a_lock_that_is_taken_away_is_known_to_be_lost() {
    let member = Member::start();
    let (one, two) = (connect(&member).await, connect(&member).await);
    let held = soon(one.lock("/l", LockOptions::default())).await.expect("granted");
    let mut lost = Box::pin(held.lost());
    tokio::select! {
        lost = &mut lost => panic!("it is held: {lost}"),
        () = until(|| member.parked_count() == 1) => {}
    }
    member.cut_lanes();
    two.delete("/l", None).await.expect("deleted");
    assert_eq!(soon(lost).await, LockLost::TakenAway);
    // Known to be lost or not, asking anew gives the same answer.
    assert_eq!(soon(held.lost()).await, LockLost::TakenAway);
    assert_eq!(soon(held.release()).await, Err(LockError::NotHeld));
}

#[tokio::test]
async fn who_stops_waiting_for_the_loss_of_a_lock_leaves_no_call_behind() {
    let member = Member::start();
    let client = connect(&member).await;
    let held = soon(client.lock("/l", LockOptions::default())).await.expect("granted");
    tokio::select! {
        lost = held.lost() => panic!("it is held: {lost}"),
        () = until(|| member.parked_count() == 1) => {}
    }
    until(|| member.parked_count() == 0).await;
    soon(held.release()).await.expect("given back");
}

#[tokio::test]
async fn a_request_for_a_lock_can_be_given_up() {
    let member = Member::start();
    let (one, two) = (connect(&member).await, connect(&member).await);
    let held = soon(one.lock("/l", LockOptions::default())).await.expect("granted");
    let mut waiting = Box::pin(two.lock("/l", LockOptions::default()));
    tokio::select! {
        granted = &mut waiting => panic!("two hold it: {granted:?}"),
        () = until(|| member.parked_count() == 1) => {}
    }
    drop(waiting);
    until(|| member.parked_count() == 0).await;
    let call = two.recipe("lock").start("acquire", vec!["/l".into(), no_options()]).await;
    let called = soon(call.expect("sent").within(Duration::from_millis(50))).await;
    let value = called.expect("the cancelled run answers").value;
    assert!(matches!(value, Some(crate::value::Value::Result(Err(_)))), "{value:?}");
    soon(held.release()).await.expect("given back");
    let options = LockOptions { recipe: "none".to_owned(), ..LockOptions::default() };
    let error = soon(two.lock("/l", options)).await.expect_err("there is no such recipe");
    assert!(matches!(error, LockError::Call(_)), "{error}");
}

fn no_options() -> crate::value::Value {
    use crate::value::Value;
    Value::Record(vec![Value::Option(None), Value::Option(None)])
}

#[tokio::test]
async fn a_client_says_which_addresses_it_tried() {
    let member = Member::start();
    let mut options = options(&member);
    let address = member.address.to_string();
    drop(member);
    options.connect_timeout = Duration::from_millis(300);
    let error = soon(Client::connect(options)).await.expect_err("nobody is there");
    let ConnectError::Unreachable(attempts) = &error else { panic!("{error}") };
    assert_eq!(attempts[0].address, address);
    assert!(error.to_string().contains(&address));
}
