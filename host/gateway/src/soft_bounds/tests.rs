//! What is said of quotas, when, and how often; on a clock of the test's own.

use std::time::Duration;

use quorate_core::quota::{Bounds, Metered, Used};

use super::*;

const LOOK: Duration = limits::QUOTA_LOOK_EVERY;

/// Looks at one quota after the other, each look a while after the one before.
struct Watcher {
    told: Told,
    now: Instant,
    found: QuotaUse,
}

impl Watcher {
    fn new(quota: Quota) -> Self {
        let metered = Metered { quota, ..Metered::default() };
        let found = QuotaUse { path: "/a".to_owned(), used: Used::default(), metered };
        Self { told: Told::default(), now: Instant::now(), found }
    }

    /// Goes on to so many znodes and bytes, by so many writes above a soft bound.
    fn write(&mut self, znodes: u64, bytes: u64, above: u64) {
        self.found.used = Used { znodes, bytes };
        self.found.metered.warned_count += above;
    }

    /// What is said this much later: one line for each look of the time between, empty where nothing is.
    fn after(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut said = Vec::new();
        while self.now < end {
            self.now += LOOK;
            self.told.begin();
            let line = self.told.look_at(&self.found, self.now);
            self.told.end();
            said.extend(line.map(|line| match line {
                Line::Above(line) => format!("warn: {line}"),
                Line::Below(line) => format!("info: {line}"),
            }));
        }
        said
    }
}

fn soft(znodes: Option<u64>, bytes: Option<u64>, writes_per_s: Option<u64>) -> Quota {
    let bounds = |soft| Bounds { soft, hard: None };
    Quota { znodes: bounds(znodes), bytes: bounds(bytes), writes_per_s: bounds(writes_per_s) }
}

#[test]
fn a_subtree_is_told_of_when_it_is_above_and_again_while_it_is_written_and_when_it_is_below() {
    let mut watcher = Watcher::new(soft(Some(5), Some(100), None));
    watcher.write(5, 100, 0);
    assert_eq!(watcher.after(10 * LOOK), [""; 0]);
    watcher.write(6, 101, 1);
    assert_eq!(
        watcher.after(LOOK),
        [
            "warn: the subtree /a has 6 znodes, above its soft bound of 5, and 101 bytes of data, above its soft bound of 100; \
             writes above a soft bound so far: 1"
        ]
    );
    // Not again at once, nor for as long as nothing is written above it.
    watcher.write(7, 90, 1);
    assert_eq!(watcher.after(limits::QUOTA_WARN_EVERY - 2 * LOOK), [""; 0]);
    let again = watcher.after(2 * LOOK);
    let line = "warn: the subtree /a has 7 znodes, above its soft bound of 5; writes above a soft bound so far: 2";
    assert_eq!(again, [line]);
    assert_eq!(watcher.after(3 * limits::QUOTA_WARN_EVERY), [""; 0]);
    watcher.write(5, 90, 0);
    assert_eq!(watcher.after(limits::QUOTA_CALM - LOOK), [""; 0]);
    let line = "info: the subtree /a is within its soft bounds again: it has 5 znodes and 90 bytes of data; writes above a soft bound \
                so far: 2";
    assert_eq!(watcher.after(LOOK), [line]);
    assert_eq!(watcher.after(3 * limits::QUOTA_WARN_EVERY), [""; 0]);
    assert!(!watcher.told.waits());
}

#[test]
fn one_that_goes_up_and_down_between_looks_is_told_of_as_one_that_is_above() {
    let mut watcher = Watcher::new(soft(Some(5), None, None));
    assert_eq!(watcher.after(LOOK), [""; 0]);
    let mut said = Vec::new();
    for _ in 0..240 {
        watcher.write(4, 9, 3);
        said.extend(watcher.after(LOOK));
    }
    let first = "warn: the subtree /a was above a soft bound for a while; now it has 4 znodes and 9 bytes of data; writes above a soft \
                 bound so far: 3";
    assert_eq!((said.len(), said[0].as_str()), (2, first), "20 minutes: {said:?}");
    assert_eq!(watcher.after(limits::QUOTA_CALM).len(), 1, "it is calm");
}

#[test]
fn a_pace_is_told_of_by_the_writes_that_passed_it() {
    let mut watcher = Watcher::new(soft(None, None, Some(50)));
    assert_eq!(watcher.after(LOOK), [""; 0]);
    watcher.write(4, 9, 12);
    let line = "warn: the subtree /a was written faster than its soft bound of 50 creations and settings a second; writes above a soft \
                bound so far: 12";
    assert_eq!(watcher.after(LOOK), [line]);
}

#[test]
fn a_leader_says_what_is_so_when_it_begins_and_not_what_was() {
    // Written above it before, and within it now.
    let mut watcher = Watcher::new(soft(Some(5), None, None));
    watcher.write(3, 9, 40);
    assert_eq!(watcher.after(10 * LOOK), [""; 0]);
    // Above it now, although nobody writes.
    let mut watcher = Watcher::new(soft(Some(5), None, None));
    watcher.write(9, 9, 40);
    assert_eq!(watcher.after(10 * LOOK).len(), 1);
}

#[test]
fn another_quota_is_another_matter_and_one_that_is_gone_is_none() {
    let mut watcher = Watcher::new(soft(Some(5), None, None));
    watcher.write(9, 9, 1);
    assert_eq!(watcher.after(LOOK).len(), 1);
    watcher.found.metered.quota = soft(Some(7), None, None);
    let said = watcher.after(LOOK);
    assert!(said.len() == 1 && said[0].contains("soft bound of 7"), "{said:?}");
    watcher.told.begin();
    watcher.told.end();
    assert!(watcher.told.quotas.is_empty() && !watcher.told.waits());
    assert_eq!(watcher.after(LOOK).len(), 1, "set again");
}

#[test]
fn a_look_says_so_much_and_the_next_ones_the_rest() {
    let mut told = Told::default();
    let mut found = Watcher::new(soft(Some(5), None, None)).found;
    found.used.znodes = 6;
    let (max, now) = (limits::QUOTA_LINES_PER_LOOK_MAX, Instant::now());
    let mut look = || {
        told.begin();
        let paths = (0..2 * max + 1).map(|number| format!("/{number:03}"));
        let said = paths.filter(|path| {
            let found = QuotaUse { path: path.clone(), ..found.clone() };
            told.look_at(&found, now).is_some()
        });
        let said = said.count();
        told.end();
        (said, told.waits())
    };
    assert_eq!([look(), look(), look(), look()], [(max, true), (max, true), (1, true), (0, true)]);
}

#[tokio::test]
async fn all_quotas_of_a_tree_are_looked_at_and_those_above_are_told_of() {
    use std::sync::Arc;

    use quorate_core::ids::{Millis, Zxid};
    use quorate_core::key;
    use quorate_core::read::MemoryTree;
    use quorate_core::znode::{Lifetime, Node};

    // More than a page of them, and the last one is above.
    let tree = Arc::new(MemoryTree::new());
    let path = |number: u32| Path::parse(&format!("/{number:03}")).unwrap();
    for number in 0..=2 * limits::QUOTAS_PAGE {
        let metered = Metered { quota: soft(None, Some(3), None), ..Metered::default() };
        let data: &[u8] = if number == 2 * limits::QUOTAS_PAGE { b"four" } else { b"" };
        let node = Node::new(Zxid(1), Millis(1), Lifetime::Persistent, data);
        tree.commit(
            [
                (key::quota(&path(number)), Some(metered.encode())),
                (key::node(&path(number)), Some(node.encode())),
            ]
            .into(),
        );
    }
    let (tree, mut told): (SharedRead, _) = (tree, Told::default());
    look(&tree, &mut told).await;
    let said = told.quotas.iter().filter(|(_, known)| known.said.is_some());
    let said: Vec<&str> = said.map(|(path, _)| path.as_str()).collect();
    assert_eq!(said, [path(2 * limits::QUOTAS_PAGE).as_str()]);
    assert_eq!(told.quotas.len(), 2 * limits::QUOTAS_PAGE as usize + 1);
}
