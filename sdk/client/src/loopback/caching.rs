//! Caches of a whole client against the tests' member: the same as the tree at every mark, whatever happens.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::path::Path;
use quorate_core::query as tree;
use quorate_core::read::{MemoryTree, SharedRead};
use quorate_core::request::{Body, Operation};
use quorate_wire::message::watch::WatchEnd;

use super::member::{Faults, Member};
use super::{connect, options, soon};
use crate::{Cache, Client, CreateOperation, Loss};

/// Every znode that the cache has is as the tree has it, and none is missing.
fn check(cache: &Cache, tree: &Arc<MemoryTree>, top: &str) {
    let top = Path::parse(top).expect("a path");
    let read: SharedRead = tree.clone();
    let Ok(scanned) = tree::scan::Scan::new(read, top, None, true) else {
        assert!(cache.is_empty(), "there is no such znode");
        return;
    };
    let mut count = 0;
    for found in scanned {
        count += 1;
        let path = found.path.as_str();
        let cached = cache.get(path).expect("it lives");
        let cached = cached.unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(cached.stat, found.stat, "{path}");
        assert_eq!(Some(cached.data), found.data, "{path}");
        assert_eq!(cache.stat(path), Ok(Some(found.stat)));
        let names: Vec<String> =
            tree::children(&**tree, &found.path, &tree::Page::first()).expect("there").children;
        assert_eq!(cache.children(path), Ok(Some(names)), "{path}");
    }
    assert_eq!(cache.len(), count);
}

async fn settled(cache: &Cache, member: &Member, top: &str) {
    soon(cache.sync()).await.expect("it lives");
    check(cache, &member.tree(), top);
}

/// A write, chosen by a number.
fn write(number: u64) -> Body {
    let path = match number % 5 {
        0 => "/c".to_owned(),
        1 => format!("/c/d{}", number % 7),
        _ => format!("/c/d{}/e{}", number % 7, number % 3),
    };
    let create = CreateOperation::new(&path).data(format!("{number}")).parents();
    let data = Bytes::from(format!("{number} again"));
    Body::Single(match number / 5 % 4 {
        0 | 1 => create.into(),
        2 => Operation::Set { path, data, condition: Condition::ANY },
        _ => Operation::Delete { path, condition: Condition::ANY },
    })
}

async fn some_writes(client: &Client, numbers: std::ops::Range<u64>) {
    for number in numbers {
        // Many are refused: what they would change is not there.
        soon(client.write(write(number * 7))).await.expect("answered");
    }
}

#[tokio::test]
async fn a_cache_is_the_subtree_as_it_is() {
    let member = Member::start();
    let client = connect(&member).await;
    some_writes(&client, 0..40).await;
    let cache = soon(client.cache("/c").open()).await.expect("open");
    check(&cache, &member.tree(), "/c");
    assert_eq!(cache.get("/elsewhere"), Ok(None));
    let mut changes = cache.changes();
    let before = cache.mark();
    assert_eq!((before.generation, before.is_followed), (1, true));
    let zxid = client.create("/c/one").data("1").await.expect("created").zxid;
    let mark = soon(cache.caught_up(zxid)).await.expect("it lives");
    assert!(mark.zxid >= zxid && changes.has_changed().expect("it lives"));
    let one = cache.get("/c/one").expect("it lives").expect("there");
    assert_eq!(one.data, "1");
    soon(changes.changed()).await.expect("told");
    some_writes(&client, 40..200).await;
    settled(&cache, &member, "/c").await;
    assert_eq!(cache.mark().generation, 1);
}

#[tokio::test]
async fn a_cache_begins_with_nothing_and_survives_the_deletion_of_all() {
    let member = Member::start();
    let client = connect(&member).await;
    let cache = soon(client.cache("/c").open()).await.expect("open");
    assert!(cache.is_empty());
    settled(&cache, &member, "/c").await;
    client.create("/c").await.expect("created");
    client.create("/c/d").ephemeral().await.expect("created");
    settled(&cache, &member, "/c").await;
    assert_eq!(cache.children("/c"), Ok(Some(vec!["d".to_owned()])));
    client.multi().delete("/c/d", None).delete("/c", None).await.expect("deleted");
    settled(&cache, &member, "/c").await;
    assert_eq!(cache.children("/c"), Ok(None));
    client.create("/c").await.expect("created again");
    settled(&cache, &member, "/c").await;
    let whole = soon(client.cache("/").open()).await.expect("open");
    settled(&whole, &member, "/").await;
    client.create("/x").await.expect("created");
    settled(&whole, &member, "/").await;
}

#[tokio::test]
async fn a_cache_follows_a_client_from_member_to_member() {
    let member = Member::start();
    let second = member.beside();
    let mut options = options(&member);
    options.addresses.push(second.address.to_string());
    let client = Client::connect(options).await.expect("a session");
    let other = connect(&member).await;
    member.set_faults(Faults { events_per_frame: 1, ..Faults::default() });
    let cache = soon(client.cache("/c").open()).await.expect("open");
    for round in 0..12_u64 {
        some_writes(&other, round * 20..round * 20 + 20).await;
        member.cut_lanes();
        second.cut_lanes();
    }
    settled(&cache, &member, "/c").await;
    assert_eq!(cache.mark().generation, 1, "no gap");
}

#[tokio::test]
async fn a_gap_is_closed_by_building_anew_and_can_be_seen() {
    let member = Member::start();
    let client = connect(&member).await;
    some_writes(&client, 0..40).await;
    let cache = soon(client.cache("/c").open()).await.expect("open");
    let mut changes = cache.changes();
    member.end_watches(&WatchEnd::NotHere { oldest: quorate_core::ids::Zxid(u64::MAX) });
    soon(changes.wait_for(|mark| mark.generation == 2 && mark.is_followed)).await.expect("built");
    some_writes(&client, 40..80).await;
    settled(&cache, &member, "/c").await;
    // One that was too slow goes on where it was.
    let refusal = Refusal::new(ErrorCode::SlowConsumer, "too fast");
    member.end_watches(&WatchEnd::Refused(refusal));
    some_writes(&client, 80..120).await;
    settled(&cache, &member, "/c").await;
    assert_eq!(cache.mark().generation, 2);
    assert_eq!(member.oldest.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_cache_that_grows_too_large_ends_and_says_so() {
    let member = Member::start();
    let client = connect(&member).await;
    for name in ["/c", "/c/1", "/c/2"] {
        client.create(name).await.expect("created");
    }
    let refused = soon(client.cache("/c").znodes_max(2).open()).await.expect_err("too large");
    assert_eq!(refused.code(), ErrorCode::LimitPassed);
    let cache = soon(client.cache("/c").bytes_max(5_000).open()).await.expect("open");
    let zxid = client.create("/c/3").data(vec![0; 5_000]).await.expect("created").zxid;
    let ended = soon(cache.caught_up(zxid)).await.expect_err("too large");
    assert_eq!(ended.code(), ErrorCode::LimitPassed);
    assert!(ended.to_string().contains("bytes of a cache"), "{ended}");
    assert_eq!(cache.get("/c"), Err(ended), "what it has is not shown as if it were right");
    let lasting = soon(client.cache("/c").open()).await.expect("open");
    soon(client.close()).await.expect("closed");
    let mut changes = lasting.changes();
    soon(changes.wait_for(|mark| !mark.is_followed)).await.expect("told");
    let lost = soon(lasting.sync()).await.expect_err("it is over");
    assert!(matches!(&lost, crate::Error::SessionLost { loss: Loss::Closed, .. }), "{lost}");
}
