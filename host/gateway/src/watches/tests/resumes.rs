//! Watches that begin in the past: they see what one sees that was there, each once, whatever happens meanwhile.

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn a_position_that_is_not_retained_is_answered_with_the_oldest_that_is() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.apply((0..9).map(|at| vec![created(&format!("/n{at}"), "")]).collect());
    rig.apply(vec![vec![created("/last", "")]]);
    rig.past.purge(Zxid(9));
    let opening = rig.begin(&outbox, &asked(1, "/", wire::Scope::Subtree)).unwrap();
    assert_eq!(opening.open(Zxid(8)).await, Err(NotOpen::NotHere { oldest: Zxid(9) }));
    assert_eq!((rig.watches.count(), outbox.count()), (0, 0));
    assert_eq!(rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 9).await, Zxid(10));
    assert_eq!(told(&outbox), ["1@10 + /last v0"]);
}

#[tokio::test]
async fn a_watch_that_begins_with_now_is_answered_with_the_state_that_its_client_was_shown() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.apply(vec![vec![created("/a", "")]]);
    let opening = rig.begin(&outbox, &asked(1, "/a", wire::Scope::Node)).unwrap();
    // Between its first read and the moment in which it is live.
    rig.apply(vec![vec![set("/a", "", 1, 1)], vec![]]);
    assert_eq!(opening.open(Zxid(1)).await, Ok(Zxid(1)));
    rig.apply(vec![vec![set("/a", "", 2, 2)]]);
    assert_eq!(told(&outbox), ["1@2 = /a v1", "1@4 = /a v2"], "what is behind the answer");
}

#[tokio::test]
async fn data_before_is_known_of_what_the_tree_shows_and_nobody_was_told_of() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.apply(vec![vec![created("/a", "one")]]);
    let untold = rig.change_tree(vec![vec![set("/a", "two", 1, 1)]]);
    let mut watch = asked(1, "/a", wire::Scope::Node);
    watch.with_previous = true;
    assert_eq!(rig.open(&outbox, &watch, 1).await, Zxid(2));
    // Nobody wanted to know when it was applied.
    rig.watches.applied(&untold, None);
    assert_eq!(told(&outbox), ["1@2 = /a v1 was one"]);
}

/// Entries whose events are more than a client may leave in its queue while it catches up.
fn large_past(rig: &Rig) -> Zxid {
    let data: &'static str = String::leak("x".repeat(100 << 10));
    (0..9).map(|at| rig.apply(vec![vec![created(&format!("/n{at}"), data)]])).last().unwrap()
}

#[tokio::test]
async fn clients_that_take_the_past_slowly_do_not_hold_up_others() {
    let rig = Rig::new();
    let last = large_past(&rig);
    let watch = wire::Watch { with_data: true, ..asked(1, "/", wire::Scope::Subtree) };
    let mut slow = tokio::task::JoinSet::new();
    let mut outboxes = Vec::new();
    for number in 0..limits::CATCH_UPS_MAX as u64 {
        let outbox = rig.watches.outbox();
        outboxes.push(outbox.clone());
        let opening = rig.watches.begin((2 + number, SESSION), &outbox, &watch).unwrap();
        slow.spawn(opening.open(Zxid(0)));
    }
    while outboxes.iter().any(|outbox| outbox.count() == 0) {
        tokio::task::yield_now().await;
    }
    let (outbox, watch) = (rig.watches.outbox(), asked(1, "/", wire::Scope::Subtree));
    let opened = rig.open(&outbox, &watch, 0);
    let opened = tokio::time::timeout(limits::CATCH_UP_PATIENCE / 2, opened).await;
    assert_eq!(opened, Ok(last), "it does not wait for the others");
    // They go on, each at its own pace, and miss nothing.
    let reading = tokio::spawn(async move {
        let mut counts = vec![0; outboxes.len()];
        while counts.iter().any(|count| *count < 9) {
            for (count, outbox) in counts.iter_mut().zip(&outboxes) {
                *count += outbox.drain().len();
            }
            tokio::task::yield_now().await;
        }
    });
    while let Some(opened) = slow.join_next().await {
        opened.unwrap().unwrap();
    }
    reading.await.unwrap();
}

#[tokio::test]
async fn what_there_is_no_memory_for_is_queued_for_few_at_a_time() {
    let mut watches = Watches::new();
    watches.budget = Arc::new(Budget::new(0));
    watches.turns = Semaphore::new(1);
    let rig = Rig::over(watches);
    let last = large_past(&rig);
    let (from, with_data) = (Some(Zxid(0)), true);
    let watch = wire::Watch { from, with_data, ..asked(1, "/", wire::Scope::Subtree) };
    let outboxes = [rig.watches.outbox(), rig.watches.outbox()];
    let mut slow = tokio::task::JoinSet::new();
    for (number, outbox) in (2..).zip(&outboxes) {
        let opening = rig.watches.begin((number, SESSION), outbox, &watch).unwrap();
        slow.spawn(opening.open(Zxid(0)));
    }
    let mut counts = [0, 0];
    while counts != [9, 9] {
        tokio::task::yield_now().await;
        let held: Vec<usize> = outboxes.iter().map(|outbox| outbox.bytes()).collect();
        let beyond = held.iter().filter(|held| **held > limits::EVENT_QUEUE_BYTES_OWN);
        assert!(beyond.count() <= 1, "{held:?}");
        // Whoever has most is read, the other one not before.
        let at = usize::from(held[1] > held[0]);
        counts[at] += outboxes[at].drain().len();
    }
    while let Some(opened) = slow.join_next().await {
        assert_eq!(opened.unwrap(), Ok(last));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_in_the_middle_is_told_and_no_gap() {
    let rig = Arc::new(Rig::new());
    let outbox = rig.watches.outbox();
    for at in 0..200 {
        rig.apply(vec![vec![created(&format!("/n{at}"), "")]]);
    }
    // The client reads for as long as there is something, and the log goes under it.
    let from = Some(Zxid(0));
    let watch = wire::Watch { from, ..asked(1, "/", wire::Scope::Subtree) };
    let opening = rig.begin(&outbox, &watch).unwrap();
    let purging = {
        let (rig, outbox) = (rig.clone(), outbox.clone());
        std::thread::spawn(move || {
            while outbox.count() < 20 {
                std::thread::yield_now();
            }
            rig.past.purge(Zxid(199));
        })
    };
    let opened = opening.open(Zxid(0)).await;
    purging.join().unwrap();
    let told = told(&outbox);
    let expected: Vec<String> =
        (0..told.len()).map(|at| format!("1@{} + /n{at} v0", at + 1)).collect();
    assert_eq!(told, expected);
    match opened {
        Ok(zxid) => assert_eq!((zxid, told.len()), (Zxid(200), 200)),
        Err(error) => assert_eq!(error, NotOpen::NotHere { oldest: Zxid(199) }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_from_the_past_to_the_present_has_no_gap_and_no_double() {
    let rig = Arc::new(Rig::new());
    let outbox = rig.watches.outbox();
    let is_over = Arc::new(AtomicBool::new(false));
    rig.past.is_large.store(true, Ordering::SeqCst);
    let applying = {
        let (rig, is_over) = (rig.clone(), is_over.clone());
        std::thread::spawn(move || {
            let mut last = Zxid(0);
            while !is_over.load(Ordering::SeqCst) {
                last = rig.apply(vec![vec![created("/a", "")], vec![deleted("/a", 0, last.0 + 1)]]);
                std::thread::yield_now();
            }
            last
        })
    };
    for round in 0..200 {
        let from = lock(&rig.zxid).0.saturating_sub(round % 20);
        // Its client reads all the time: what applies is as fast as what reads the past.
        let mut frames = Vec::new();
        {
            let watch = asked(round, "/a", wire::Scope::Node);
            let mut opened = std::pin::pin!(rig.open(&outbox, &watch, from));
            loop {
                tokio::select! {
                    biased;
                    _ = &mut opened => break,
                    () = tokio::task::yield_now() => frames.extend(outbox.drain()),
                }
            }
        }
        while frames.is_empty() {
            tokio::task::yield_now().await;
            frames.extend(outbox.drain());
        }
        rig.watches.close(1, round);
        frames.extend(outbox.drain());
        let mut at = Zxid(from);
        for frame in frames {
            let EventMessage::Events { watch, zxid, .. } = EventMessage::decode(frame).unwrap()
            else {
                continue;
            };
            assert_eq!((watch, zxid), (round, at.next()));
            at = zxid;
        }
    }
    is_over.store(true, Ordering::SeqCst);
    applying.join().unwrap();
}

fn scopes() -> impl Strategy<Value = wire::Scope> {
    prop::sample::select(vec![wire::Scope::Node, wire::Scope::Children, wire::Scope::Subtree])
}

fn paths() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/", "/a", "/a/b", "/ab"])
}

fn changes() -> impl Strategy<Value = Change> {
    let at = prop::sample::select(vec!["/a", "/a/b", "/ab", "/a/b/c"]);
    (0..3, at).prop_map(|(kind, at)| match kind {
        0 => created(at, "new"),
        1 => set(at, "next", 1, 1),
        _ => deleted(at, 1, 1),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn one_that_resumes_sees_what_one_that_stayed_has_seen(
        entries in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(changes(), 0..4), 1..4),
            1..12,
        ),
        watches in prop::collection::vec((scopes(), paths(), 0u64..30, any::<bool>()), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let (live, resumed) = (rig.watches.outbox(), rig.watches.outbox());
            for (number, (scope, path, ..)) in (0u64..).zip(&watches) {
                let opening = rig.watches.begin((2, SESSION), &live, &asked(number, path, *scope));
                opening.unwrap().open(Zxid(0)).await.unwrap();
            }
            let middle = entries.len() / 2;
            let (early, late) = entries.split_at(middle);
            for entry in early {
                rig.apply(entry.clone());
            }
            let applied = lock(&rig.zxid).0;
            for (number, (scope, path, from, with_data)) in (0u64..).zip(&watches) {
                let watch = wire::Watch { with_data: *with_data, ..asked(number, path, *scope) };
                rig.open(&resumed, &watch, (*from).min(applied)).await;
            }
            for entry in late {
                rig.apply(entry.clone());
            }
            let (live, resumed) = (told(&live), told(&resumed));
            for (number, (_, _, from, with_data)) in (0u64..).zip(&watches) {
                let from = (*from).min(applied);
                let of_watch = |lines: &[String]| -> Vec<String> {
                    let head = format!("{number}@");
                    let lines = lines.iter().filter_map(|line| line.strip_prefix(&head));
                    lines
                        .filter(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap() > from)
                        .map(str::to_owned)
                        .collect()
                };
                let without_data = |lines: Vec<String>| -> Vec<String> {
                    lines.into_iter().map(|line| line.replace(" new", "").replace(" next", "")).collect()
                };
                let seen = of_watch(&resumed);
                let seen = if *with_data { without_data(seen) } else { seen };
                prop_assert_eq!(seen, of_watch(&live), "watch {} from {}", number, from);
            }
            Ok(())
        })?;
    }
}
