//! Clients that take a part of the tree for all of it, against the tests' member: what they do, beside one that sees the whole.

use std::future::IntoFuture;

use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Zxid;
use quorate_core::limits;
use quorate_core::query::Page;
use quorate_core::quota::{Bounds, Quota};
use quorate_core::request::{Answer, Body};
use quorate_wire::message::watch::EventKind;

use super::member::Member;
use super::{connect, options, soon, until};
use crate::{
    Client, ConnectError, Consistency, CreateOperation, Error, LockOptions, Met, Notice, Query,
    Results, WatchStream,
};

/// One that sees the whole, and one whose root is `/app`, which is there.
async fn two(member: &Member) -> (Client, Client) {
    let whole = connect(member).await;
    whole.create("/app").await.expect("created");
    let rooted = whole.with_root("/app").expect("a path");
    (whole, rooted)
}

async fn names(client: &Client, path: &str) -> Vec<String> {
    client.children(path).all().await.expect("children")
}

#[tokio::test]
async fn what_a_client_with_a_root_does_happens_below_it() {
    let member = Member::start();
    let (whole, rooted) = two(&member).await;
    assert_eq!((rooted.root(), whole.root()), ("/app", "/"));
    let created = rooted.create("/a/b").data("one").parents().await.expect("created");
    assert_eq!(created.path, "/a/b");
    assert_eq!(whole.get("/app/a/b").await.expect("there").data, "one");
    rooted.set("/a/b", "two", Some(0)).await.expect("set");
    assert_eq!(rooted.get("/a/b").await.expect("there").data, "two");
    assert_eq!(rooted.stat("/").await, whole.stat("/app").await);
    assert_eq!(rooted.with_consistency(Consistency::Session).exists("/app").await, Ok(None));

    let first = rooted.create("/n-").sequential().await.expect("created").path;
    assert!(first.starts_with("/n-0"), "{first}");
    let second = rooted.create("/").sequential().await.expect("created").path;
    assert_eq!(second.len(), "/".len() + 19);
    assert_eq!(names(&rooted, "/").await, [&second[1..], "a", &first[1..]]);
    assert_eq!(names(&whole, "/").await, ["app"], "nothing got out");

    assert_eq!(rooted.create("/m").or_get().await.map(met), Ok(Some("/m".to_owned())));
    assert_eq!(rooted.create("/m").or_get().await.map(met), Ok(None));
    assert_eq!(rooted.create("/").or_set().await.map(met), Ok(None), "the root is there");
    rooted.check_absent("/o").await.expect("it is not there");
    let (_, answers) = rooted
        .multi()
        .create(CreateOperation::new("/o"))
        .exists("/app")
        .children("/", Page { limit: 1, ..Page::first() })
        .delete_tree("/a", None)
        .await
        .expect("all");
    assert!(matches!(&answers[0], Answer::Created { path, .. } if path == "/o"), "{answers:?}");
    assert!(matches!(
        answers[1..],
        [Answer::Exists(None), Answer::Names(_), Answer::Deleted { count: 2 }]
    ));
    assert!(whole.exists("/app/o").await.expect("read").is_some());
    soon(whole.close()).await.expect("closed");
    assert!(rooted.exists("/o").await.is_err(), "they share a session");
}

fn met<T>(met: Met<T>) -> Option<String> {
    match met {
        Met::Created(created) => Some(created.path),
        Met::There(_) => None,
    }
}

#[tokio::test]
async fn lists_of_paths_are_those_below_the_root() {
    let member = Member::start();
    let (whole, rooted) = two(&member).await;
    for path in ["/a", "/a-", "/app-"] {
        whole.create(path).ephemeral().await.expect("created");
    }
    for path in ["/e", "/f"] {
        rooted.create(path).ephemeral().await.expect("created");
    }
    let mine = rooted.ephemerals_page(None, "/", None).await.expect("read");
    assert_eq!(mine.children, ["/e", "/f"]);
    let behind = rooted.ephemerals_page(None, "/", Some("/e".to_owned())).await.expect("read");
    assert_eq!(behind.children, ["/f"]);
    let session = whole.session().id;
    let ephemerals = Query::Ephemerals { session, prefix: "/".to_owned(), after: None, limit: 1 };
    let children = Query::Children { path: "/".to_owned(), page: Page::first(), with_data: false };
    let (_, found) = rooted.read_many(vec![ephemerals, children]).await.expect("read");
    let texts = |results: &Results| match results {
        Results::Names(listing) => listing.children.clone(),
        other => panic!("{other:?}"),
    };
    let texts: Vec<_> = found.iter().map(|one| texts(one.as_ref().expect("read"))).collect();
    assert_eq!(texts, [vec!["/e"], vec!["e", "f"]]);

    let quota = Quota { znodes: Bounds { soft: None, hard: Some(100) }, ..Quota::default() };
    for path in ["/", "/a", "/a-", "/aa", "/app-", "/b"] {
        whole.set_quota(path, Some(quota)).await.expect("set");
    }
    for path in ["/", "/x", "/y/z"] {
        rooted.set_quota(path, Some(quota)).await.expect("set");
    }
    let mut quotas = Vec::new();
    loop {
        let page = rooted.quotas_page(quotas.last().cloned()).await.expect("read");
        quotas.extend(page.children.into_iter().map(|found| found.path));
        if !page.has_more {
            break;
        }
        assert!(quotas.len() < 10, "{quotas:?}");
    }
    assert_eq!(quotas, ["/", "/x", "/y/z"]);
    let refused = rooted.rules().await.expect_err("those above it decide, too");
    assert_eq!(refused.code(), ErrorCode::BadArguments);
    let Err(refused) = rooted.snapshot(None).await else { panic!("it is of the whole tree") };
    assert_eq!(refused.code(), ErrorCode::BadArguments);
}

#[tokio::test]
async fn a_root_that_is_not_there_is_named_and_can_be_created() {
    let member = Member::start();
    let client = connect(&member).await;
    let rooted = client.with_root("/none/web").expect("a path");
    for error in [
        rooted.get("/").await.expect_err("there is none"),
        rooted.create("/a").into_future().await.expect_err("no parent"),
        soon(rooted.scan("/").into_future()).await.err().expect("there is none"),
    ] {
        assert_eq!(error.code(), ErrorCode::NoNode);
        assert!(error.to_string().contains("/none/web"), "{error}");
    }
    let created = rooted.create("/").parents().or_get().await.map(met);
    assert_eq!(created, Ok(Some("/".to_owned())));
    rooted.create("/a").await.expect("created");
    assert_eq!(names(&client, "/none/web").await, ["a"]);
    for error in [
        rooted.delete("/", None).await.expect_err("its own root"),
        rooted.delete_tree("/", Condition::ANY).await.expect_err("its own root"),
    ] {
        assert_eq!(error.code(), ErrorCode::BadArguments);
        assert!(error.to_string().contains("/none/web"), "{error}");
    }
    assert_eq!(names(&rooted, "/").await, ["a"]);
    // A client below has a root of its own.
    rooted.with_root("/a").expect("a path").create("/b").await.expect("created");
    assert_eq!(names(&client, "/none/web/a").await, ["b"]);
    let long = format!("/{}", "x".repeat(limits::PATH_BYTES_MAX - 2));
    assert_eq!(client.exists(&long).await, Ok(None));
    let error = rooted.exists(&long).await.expect_err("too long below the root");
    assert_eq!(error.code(), ErrorCode::LimitPassed);
    for wrong in ["/..", "/a/../b", "x", "", "/a/"] {
        let error = rooted.get(wrong).await.expect_err(wrong);
        assert_eq!(error.code(), ErrorCode::BadPath, "{wrong}");
        assert_eq!(rooted.with_root(wrong).expect_err(wrong).code, ErrorCode::BadPath);
    }
}

#[tokio::test]
async fn a_client_is_given_its_root_at_its_start_and_keeps_it() {
    let member = Member::start();
    connect(&member).await.create("/app").await.expect("created");
    let mut options = options(&member);
    options.root = Some("app".to_owned());
    let Err(ConnectError::Options(why)) = Client::connect(options.clone()).await else {
        panic!("app is no path")
    };
    assert!(why.contains("bad-path"), "{why}");
    options.root = Some("/app".to_owned());
    let client = Client::connect(options).await.expect("a session");
    client.create("/web").await.expect("created");
    let again = soon(client.with_root("/web").expect("a path").reopen()).await.expect("a session");
    assert_eq!(again.root(), "/app/web");
    assert_eq!(again.absolute("/x"), "/app/web/x");
    assert_eq!(again.relative("/app/web/x").as_deref(), Some("/x"));
    assert_eq!(again.relative("/app/webs"), None);
    again.create("/x").await.expect("created");
    assert_eq!(names(&client, "/web").await, ["x"]);
}

fn kinds(kind: EventKind) -> char {
    match kind {
        EventKind::Created(_) => '+',
        EventKind::Set => '=',
        EventKind::Deleted => '-',
    }
}

async fn told(stream: &mut WatchStream) -> Vec<String> {
    match soon(stream.next()).await {
        Some(Ok(Notice::Change(change))) => {
            let words = |event: &crate::Event| format!("{}{}", kinds(event.kind), event.path);
            change.events.iter().map(words).collect()
        }
        other => panic!("a change and not {other:?}"),
    }
}

#[tokio::test]
async fn a_watch_of_the_root_tells_of_what_is_below_it_and_of_its_end() {
    let member = Member::start();
    let (whole, rooted) = two(&member).await;
    rooted.create("/a").data("x").await.expect("created");
    let watch = rooted.watch("/").subtree();
    let (listing, mut stream) =
        soon(watch.open_with_children("/", Page::first())).await.expect("open");
    assert_eq!(listing.expect("there").children[0].name, "a");
    let before = stream.position();
    let mut node = soon(rooted.watch("/").once().open()).await.expect("open");
    whole
        .multi()
        .create(CreateOperation::new("/app-x"))
        .create(CreateOperation::new("/application"))
        .set("/app/a", "y", None)
        .await
        .expect("executed");
    assert_eq!(told(&mut stream).await, ["=/a"]);
    member.cut_lanes();
    whole.delete_tree("/app", None).await.expect("deleted");
    assert_eq!(told(&mut stream).await, ["-/a", "-/"]);
    assert_eq!(told(&mut node).await, ["-/"]);
    assert_eq!(soon(node.next()).await, None);
    rooted.create("/b").parents().await.expect("created");
    assert_eq!(told(&mut stream).await, ["+/", "+/b"]);
    // The past, from a position.
    let mut again = soon(rooted.watch("/a").from(before).open()).await.expect("open");
    assert_eq!(told(&mut again).await, ["=/a"]);
    assert_eq!(told(&mut again).await, ["-/a"]);
    assert!(again.position() > Zxid(0));
}

#[tokio::test]
async fn scans_and_caches_are_of_what_is_below_the_root() {
    let member = Member::start();
    let (whole, rooted) = two(&member).await;
    whole.create("/app-x").await.expect("created");
    rooted.create("/a/b").data("one").parents().await.expect("created");
    let mut scan = soon(rooted.scan("/").into_future()).await.expect("begun");
    let mut paths = Vec::new();
    while let Some(found) = soon(scan.next()).await.expect("whole") {
        paths.push(found.path.to_string());
    }
    assert_eq!(paths, ["/", "/a", "/a/b"]);
    let mut scan = soon(rooted.scan("/a").into_future()).await.expect("begun");
    assert_eq!(soon(scan.next()).await.expect("whole").expect("the top").path.as_str(), "/a");

    let cache = soon(rooted.cache("/").open()).await.expect("open");
    assert_eq!(cache.len(), 3);
    whole.set("/app/a/b", "two", None).await.expect("set");
    soon(cache.sync()).await.expect("caught up");
    assert_eq!(cache.get("/a/b").expect("it lives").expect("there").data, "two");
    assert_eq!(cache.children("/"), Ok(Some(vec!["a".to_owned()])));
    whole.delete_tree("/app", None).await.expect("deleted");
    // Also while there is no root.
    soon(cache.sync()).await.expect("caught up");
    assert!(cache.is_empty());
    rooted.create("/c").parents().await.expect("created");
    soon(cache.sync()).await.expect("caught up");
    assert_eq!(cache.children("/"), Ok(Some(vec!["c".to_owned()])));
    assert_eq!(cache.stat("/").expect("it lives").expect("there").children_count, 1);
}

#[tokio::test]
async fn a_lock_is_the_one_that_others_have_below_the_root() {
    let member = Member::start();
    let (whole, rooted) = two(&member).await;
    let other = connect(&member).await;
    let held = soon(rooted.lock("/l", LockOptions::default())).await.expect("granted");
    assert_eq!(held.path(), "/l");
    drop(soon(other.lock("/l", LockOptions::default())).await.expect("another lock"));
    let waiting = tokio::spawn(async move { other.lock("/app/l", LockOptions::default()).await });
    until(|| member.parked_count() == 1).await;
    soon(held.release()).await.expect("given back");
    let held = soon(waiting).await.expect("no panic").expect("granted");
    assert_eq!(held.path(), "/app/l");
    drop(held);
    // A recipe is told what it is told: its arguments have no paths that could be known.
    let hits = rooted.recipe("lock").call_wave("add(\"/hits\", 1)").await;
    assert_eq!(hits.as_deref(), Ok("1"));
    assert!(whole.exists("/hits").await.expect("read").is_some(), "it is not below the root");
}

#[tokio::test]
async fn a_refused_operation_is_named_and_nothing_is_sent() {
    let member = Member::start();
    let (_, rooted) = two(&member).await;
    let sent = member.writes_count();
    let refused = rooted.multi().delete("/a", None).delete("/", None).await;
    let Err(Error::Refused(failure)) = refused else { panic!("{refused:?}") };
    assert_eq!((failure.refusal.code, failure.operation), (ErrorCode::BadArguments, Some(1)));
    let delete =
        crate::core::request::Operation::Delete { path: "/".to_owned(), condition: Condition::ANY };
    assert!(rooted.try_send(Body::Single(delete)).await.is_err());
    assert_eq!(member.writes_count(), sent);
}
