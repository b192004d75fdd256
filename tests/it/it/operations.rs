//! The client's operations against a real member: what the core's scripts show, once more through wire, gateway and RocksDB.

use std::future::IntoFuture;

use anyhow::{Result, bail};
use quorate_client::core::error::ErrorCode;
use quorate_client::core::query::Page;
use quorate_client::core::request::Answer;
use quorate_client::{Condition, Error, LockOptions, Met, Query, Results};

use crate::client::{connect, soon};
use crate::raw::Rig;
use crate::recipes::deploy;

fn code<T>(result: Result<T, Error>) -> Option<ErrorCode> {
    result.err().map(|error| error.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_depends_on_what_is_there() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    let Met::Created(made) = soon(client.create("/a/b").data("one").parents().or_get()).await??
    else {
        bail!("it was not there");
    };
    let Met::There(found) = soon(client.create("/a/b").data("two").or_get()).await?? else {
        bail!("it is there");
    };
    assert_eq!((&found.data[..], found.stat.czxid), (&b"one"[..], made.zxid));
    let Met::There(stat) = soon(client.create("/a/b").data("three").or_set()).await?? else {
        bail!("it is there");
    };
    let unchanged = Condition { mzxid: Some(made.zxid.0), ..Condition::ANY };
    let set = soon(client.set("/a/b", "four", unchanged)).await?;
    assert_eq!(code(set), Some(ErrorCode::BadVersion));
    let unchanged = Condition { mzxid: Some(stat.mzxid.0), ..Condition::version(1) };
    soon(client.set("/a/b", "four", unchanged)).await??;
    assert_eq!(code(soon(client.check_absent("/a")).await?), Some(ErrorCode::NodeExists));
    soon(client.check_absent("/c")).await??;

    let multi = client.multi().get("/a/b").set("/a/b", "five", None).get("/a/b").exists("/c");
    let multi = multi.children("/a", Page::first()).stat("/");
    let (_, answers) = soon(multi.into_future()).await??;
    let [Answer::Node { data: before, .. }, _, Answer::Node { data: after, .. }, rest @ ..] =
        &answers[..]
    else {
        bail!("{answers:?}");
    };
    assert_eq!((&before[..], &after[..]), (&b"four"[..], &b"five"[..]));
    assert!(
        matches!(rest, [Answer::Exists(None), Answer::Names(names), Answer::Stat(_)] if names.children == ["b"]),
        "{rest:?}"
    );

    for at in 0..20 {
        soon(client.create(&format!("/a/b/{at}")).data("12345").into_future()).await??;
    }
    let counted = soon(client.subtree("/a")).await??;
    assert_eq!((counted.znodes, counted.bytes), (22, 104));
    let wrong = Condition { czxid: Some(1), ..Condition::ANY };
    assert_eq!(code(soon(client.delete_tree("/a/b", wrong)).await?), Some(ErrorCode::BadVersion));
    assert_eq!(soon(client.delete_tree("/a/b", None)).await??.1, 21);
    assert_eq!(soon(client.subtree("/").into_future()).await??.znodes, 2);
    client.close().await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reads_are_of_one_state_and_each_is_answered_for_itself() -> Result<()> {
    let rig = Rig::start().await?;
    let client = connect(&rig).await?;
    soon(client.create("/e").ephemeral().data("mine").into_future()).await??;
    let queries = vec![
        Query::Get("/e".to_owned()),
        Query::Stat("/none".to_owned()),
        Query::Children { path: "/".to_owned(), page: Page::first(), with_data: true },
        Query::Status,
        Query::Subtree("/".to_owned()),
    ];
    let (_, found) = soon(client.read_many(queries)).await??;
    assert!(matches!(&found[0], Ok(Results::Node { data, .. }) if data == "mine"), "{found:?}");
    assert!(matches!(&found[1], Err(refusal) if refusal.code == ErrorCode::NoNode), "{found:?}");
    assert!(matches!(&found[2], Ok(Results::Children(list)) if list.children.len() == 1));
    assert!(matches!(&found[3], Err(refusal) if refusal.code == ErrorCode::BadArguments));
    assert!(matches!(&found[4], Ok(Results::Subtree(whole)) if whole.znodes == 2));

    soon(client.set("/e", vec![7; 1_000_000], None)).await??;
    let too_much = vec![Query::Get("/e".to_owned()); 3];
    assert_eq!(code(soon(client.read_many(too_much)).await?), Some(ErrorCode::LimitPassed));
    let too_many = vec![Query::Stat("/".to_owned()); 1025];
    assert_eq!(code(soon(client.read_many(too_many)).await?), Some(ErrorCode::LimitPassed));

    let mine = soon(client.ephemerals_page(None, "/", None)).await??;
    assert_eq!(mine.children, ["/e"]);
    let other = connect(&rig).await?;
    let theirs = soon(other.ephemerals_page(Some(client.session().id), "/e", None)).await??;
    assert_eq!(theirs.children, ["/e"]);
    assert!(soon(other.ephemerals_page(None, "/", None)).await??.children.is_empty());
    other.close().await?;
    client.close().await?;
    rig.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_holds_as_long_as_its_lock_also_for_one_that_has_waited() -> Result<()> {
    let rig = Rig::start().await?;
    deploy(&mut rig.client().await?, "lock").await?;
    let (one, two) = (connect(&rig).await?, connect(&rig).await?);
    let first = soon(one.lock("/l", LockOptions::default())).await??;
    let fence = first.fence();
    soon(
        two.fenced(fence.clone())
            .create(quorate_client::CreateOperation::new("/guarded"))
            .into_future(),
    )
    .await??;
    let waiting = tokio::spawn({
        let two = two.clone();
        async move { two.lock("/l", LockOptions::default()).await }
    });
    // It waits: its place is behind that of the first.
    let line = "/recipes/lock/l/_lock";
    soon(async {
        while one.children(line).all().await?.len() < 2 {
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(())
    })
    .await??;
    let places = soon(one.children(line).all()).await??;
    let mut of_waiter = fence.clone();
    of_waiter.node = format!("/l/_lock/{}", places[1]);
    let refused = soon(two.fenced(of_waiter).set("/guarded", "x", None).into_future()).await?;
    assert_eq!(code(refused), Some(ErrorCode::Fenced));
    soon(two.fenced(fence.clone()).set("/guarded", "one", None).into_future()).await??;

    soon(first.release()).await??;
    let second = soon(waiting).await???;
    let refused = soon(one.fenced(fence).set("/guarded", "late", None).into_future()).await?;
    assert_eq!(code(refused), Some(ErrorCode::Fenced));
    let fence = second.fence();
    soon(one.fenced(fence.clone()).set("/guarded", "two", None).into_future()).await??;
    // Its session ends, and the lock with it.
    two.close().await?;
    let refused = soon(one.fenced(fence).set("/guarded", "late", None).into_future()).await?;
    assert_eq!(code(refused), Some(ErrorCode::Fenced));
    assert_eq!(soon(one.get("/guarded")).await??.data, "two");
    drop(second);
    one.close().await?;
    rig.stop().await;
    Ok(())
}
