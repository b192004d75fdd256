//! How watches end: fired, closed, too slow, not here any more, or with their attachment.

use super::*;

#[tokio::test]
async fn a_watch_for_one_transaction_fires_once_live_or_in_the_past() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    let mut once = asked(1, "/a", wire::Scope::Node);
    once.once = true;
    rig.open(&outbox, &once, 0).await;
    let both = vec![created("/a", ""), set("/a", "", 1, 2)];
    rig.apply(vec![vec![created("/b", "")], both, vec![set("/a", "", 2, 2)]]);
    let fired = ["1@2 + /a v0", "1@2 = /a v1", "1 ended@2 fired"];
    assert_eq!(told(&outbox), fired);
    assert_eq!(rig.watches.count(), 0);
    assert_eq!(rig.open(&outbox, &once, 0).await, Zxid(2));
    assert_eq!(told(&outbox), fired);
    assert_eq!(rig.watches.count(), 0);
}

#[tokio::test]
async fn nothing_comes_of_a_watch_that_was_closed() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/a", wire::Scope::Node), 0).await;
    rig.watches.close(1, 1);
    rig.watches.close(1, 1);
    let opening = rig.begin(&outbox, &asked(2, "/a", wire::Scope::Node)).unwrap();
    rig.apply(vec![vec![created("/a", "")]]);
    rig.watches.close(1, 2);
    let Err(NotOpen::Refused(refusal)) = opening.open(Zxid(0)).await else { panic!("open") };
    assert_eq!(refusal.code, ErrorCode::Cancelled);
    assert_eq!(told(&outbox), Vec::<String>::new());
    assert_eq!(rig.watches.count(), 0);
}

#[tokio::test]
async fn an_attachment_that_is_over_leaves_nothing() {
    let rig = Rig::new();
    let (outbox, other) = (rig.watches.outbox(), rig.watches.outbox());
    let mut watch = asked(1, "/a", wire::Scope::Node);
    watch.with_previous = true;
    rig.open(&outbox, &watch, 0).await;
    let mut opening = rig.begin(&outbox, &asked(2, "/", wire::Scope::Subtree)).unwrap();
    opening.prepare().await.unwrap();
    let kept = rig.watches.begin((2, SESSION), &other, &asked(1, "/a", wire::Scope::Node));
    kept.unwrap().open(Zxid(0)).await.unwrap();
    outbox.end();
    rig.watches.forget(1);
    rig.apply(vec![vec![created("/a", "")]]);
    assert!(opening.open(Zxid(0)).await.is_err());
    assert_eq!((rig.watches.count(), outbox.bytes()), (1, 0));
    assert_eq!(rig.past.wanted.load(Ordering::SeqCst), 0);
    assert_eq!(told(&other), ["1@1 + /a v0"], "the other attachment of the session goes on");
    rig.watches.forget(2);
    let state = rig.watches.lock();
    assert!(state.index.is_empty() && state.watchers.is_empty() && state.all.is_empty());
}

#[tokio::test]
async fn an_outbox_that_ended_takes_its_watches_with_it_at_the_next_event() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/a", wire::Scope::Node), 0).await;
    outbox.end();
    rig.apply(vec![vec![created("/a", "")]]);
    assert_eq!(rig.watches.count(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_with_its_positions_and_goes_on_from_there() {
    let rig = Rig::new();
    let (slow, other) = (rig.watches.outbox(), rig.watches.outbox());
    let mut watch = asked(1, "/", wire::Scope::Subtree);
    watch.with_data = true;
    rig.open(&slow, &watch, 0).await;
    rig.open(&slow, &asked(2, "/quiet", wire::Scope::Node), 0).await;
    let theirs = rig.watches.begin((2, SESSION), &other, &asked(1, "/", wire::Scope::Subtree));
    theirs.unwrap().open(Zxid(0)).await.unwrap();
    let data: &'static str = String::leak("x".repeat(1 << 20));
    let mut count = 0;
    while rig.watches.count() == 3 {
        count += 1;
        rig.apply(vec![vec![created(&format!("/n{count}"), data)]]);
        assert!(count < 100, "it is never cut off");
    }
    let frames = told(&slow);
    let ends = &frames[frames.len() - 2..];
    let last = count - 1;
    assert_eq!(
        ends,
        [format!("1 ended@{last} slow-consumer"), format!("2 ended@{last} slow-consumer")]
    );
    assert_eq!(frames.len() as u64, last + 2, "all that was queued is still told");
    assert_eq!(told(&other).len() as u64, count, "nobody waits for it");
    rig.open(&slow, &watch, last).await;
    rig.apply(vec![vec![created("/again", "")]]);
    let resumed: Vec<String> =
        told(&slow).iter().map(|line| line.split(' ').take(3).collect()).collect();
    assert_eq!(resumed, [format!("1@{count}+/n{count}"), format!("1@{}+/again", count + 1)]);
}

#[tokio::test]
async fn a_transaction_of_too_many_events_for_too_many_watches_ends_them_before_it() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    let (events, watches) = (1_200, 1_000);
    for number in 1..=watches {
        rig.open(&outbox, &asked(number, "/", wire::Scope::Subtree), 0).await;
    }
    rig.open(&outbox, &asked(0, "/n0", wire::Scope::Node), 0).await;
    rig.open(&outbox, &asked(5_000, "/quiet", wire::Scope::Node), 0).await;
    rig.apply(vec![(0..events).map(|at| created(&format!("/n{at}"), "")).collect()]);
    let told = told(&outbox);
    assert_eq!(told.len() as u64, watches + 1);
    assert!(told.iter().all(|line| line.ends_with("ended@0 slow-consumer")), "{:?}", told[0]);
    assert_eq!(rig.watches.count(), 1);
    // By way of history it comes.
    rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    assert_eq!(super::told(&outbox).len(), events);
}

#[tokio::test]
async fn an_installed_tree_ends_those_that_lack_what_it_has_skipped() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/a", wire::Scope::Node), 0).await;
    rig.apply(vec![vec![created("/a", "")], vec![]]);
    rig.watches.installed(Zxid(2));
    assert_eq!(told(&outbox), ["1@1 + /a v0"], "nothing was skipped");
    // It began on the new tree, before that was told.
    rig.open(&outbox, &asked(2, "/a", wire::Scope::Node), 9).await;
    rig.watches.installed(Zxid(9));
    assert_eq!(told(&outbox), ["1 ended@2 not here, 9"]);
    *lock(&rig.zxid) = Zxid(9);
    lock(&rig.past.entries).clear();
    rig.apply(vec![vec![deleted("/a", 0, 1)]]);
    assert_eq!(told(&outbox), ["2@10 - /a v0"]);
    let opening = rig.begin(&outbox, &asked(1, "/a", wire::Scope::Node)).unwrap();
    assert_eq!(opening.open(Zxid(2)).await, Err(NotOpen::NotHere { oldest: Zxid(9) }));
    assert_eq!(rig.watches.count(), 1);
}
