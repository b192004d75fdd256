//! What watches are told, in which order, and how they end; outboxes are read by the test, and history is a list.

mod ends;
mod resumes;
mod rights;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use quorate_core::change::Change;
use quorate_core::ids::{Epoch, Millis, SessionId, Term};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;
use quorate_wire::message::watch::{EventMessage, WatchEnd};

use super::*;
use crate::principals::Kind;

const SESSION: SessionId = SessionId(7);

/// What was applied, from some transaction on.
#[derive(Default)]
pub(crate) struct Past {
    entries: Mutex<Vec<Arc<Entry>>>,
    wanted: Arc<AtomicUsize>,
    /// Whether it is read in large pieces.
    is_large: AtomicBool,
}

fn span(entry: &Entry) -> (Zxid, Zxid) {
    let EntryBody::Batch { base, transactions } = &entry.body else { panic!("{entry:?}") };
    (*base, transactions.last().unwrap().zxid)
}

impl Past {
    fn push(&self, entry: Arc<Entry>) {
        lock(&self.entries).push(entry);
    }

    fn purge(&self, upto: Zxid) {
        lock(&self.entries).retain(|entry| span(entry).1 > upto);
    }
}

impl History for Past {
    fn read(&self, after: Zxid, count_max: usize) -> Result<Vec<Arc<Entry>>, Unread> {
        let entries = lock(&self.entries);
        let oldest = entries.first().map_or(Zxid(0), |entry| span(entry).0);
        if after < oldest {
            return Err(Unread::NotHere { oldest });
        }
        let first = entries.partition_point(|entry| span(entry).1 <= after);
        let piece = if self.is_large.load(Ordering::SeqCst) { usize::MAX } else { 3 };
        Ok(entries[first..].iter().take(count_max.min(piece)).cloned().collect())
    }

    fn want_before(&self) -> (WantBefore, Zxid) {
        struct Wanting(Arc<AtomicUsize>);
        impl Drop for Wanting {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let shown = lock(&self.entries).last().map_or(Zxid(0), |entry| span(entry).1);
        (Box::new(Wanting(self.wanted.clone())), shown)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// A member's watches, and what is applied there.
struct Rig {
    watches: Arc<Watches>,
    past: Arc<Past>,
    zxid: Mutex<Zxid>,
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn created(text: &str, data: &'static str) -> Change {
    let data = Bytes::from_static(data.as_bytes());
    Change::NodeCreated { path: path(text), data, lifetime: Lifetime::Persistent, acl: None }
}

fn set(text: &str, data: &'static str, version: u64, previous: u64) -> Change {
    let (data, previous) = (Bytes::from_static(data.as_bytes()), Zxid(previous));
    Change::DataSet { path: path(text), data, version, previous, acl: None }
}

fn deleted(text: &str, version: u64, previous: u64) -> Change {
    Change::NodeDeleted { path: path(text), version, previous: Zxid(previous), acl: None }
}

fn asked(watch: u64, text: &str, scope: wire::Scope) -> wire::Watch {
    wire::Watch {
        watch,
        path: text.to_owned(),
        scope,
        from: None,
        once: false,
        with_data: false,
        with_previous: false,
        first: None,
    }
}

impl Rig {
    fn new() -> Self {
        Self::over(Watches::new())
    }

    fn over(watches: Watches) -> Self {
        let past: Arc<Past> = Arc::default();
        let watches = Arc::new(watches);
        watches.start(past.clone(), Zxid(0));
        Self { watches, past, zxid: Mutex::default() }
    }

    /// Applies an entry with a transaction for each of these; its last zxid.
    fn apply(&self, transactions: Vec<Vec<Change>>) -> Zxid {
        self.apply_before(transactions, None)
    }

    fn apply_before(
        &self,
        transactions: Vec<Vec<Change>>,
        before: Option<&BTreeMap<Path, Bytes>>,
    ) -> Zxid {
        let transactions = self.change_tree(transactions);
        self.watches.applied(&transactions, before);
        transactions.last().unwrap().zxid
    }

    /// The tree shows these transactions of an entry; nobody is told of them yet.
    fn change_tree(&self, transactions: Vec<Vec<Change>>) -> Vec<Transaction> {
        let mut zxid = lock(&self.zxid);
        let base = *zxid;
        let mut all = Vec::new();
        for changes in transactions {
            *zxid = zxid.next();
            let (origin, outcome) = (Origin::Host, Outcome::None);
            let time = Millis(1_000 + zxid.0);
            all.push(Transaction { zxid: *zxid, time, origin, changes, outcome });
        }
        let body = EntryBody::Batch { base, transactions: all.clone() };
        self.past.push(Arc::new(Entry { term: Term(1), epoch: Epoch(1), body }));
        all
    }

    fn begin(&self, outbox: &Arc<Outbox>, watch: &wire::Watch) -> Result<Opening, Refusal> {
        self.watches.begin((1, SESSION), outbox, watch)
    }

    async fn open(&self, outbox: &Arc<Outbox>, watch: &wire::Watch, from: u64) -> Zxid {
        let watch = wire::Watch { from: Some(Zxid(from)), ..watch.clone() };
        let mut opening = self.begin(outbox, &watch).unwrap();
        opening.prepare().await.unwrap();
        opening.open(Zxid(from)).await.unwrap()
    }
}

/// What an outbox has, in words: `watch@zxid kind path`, fragments marked by `+`.
fn told(outbox: &Outbox) -> Vec<String> {
    let mut told = Vec::new();
    for frame in outbox.drain() {
        match EventMessage::decode(frame).unwrap() {
            EventMessage::Events { watch, zxid, events, has_more, .. } => {
                let more = if has_more { "+" } else { "" };
                for event in events {
                    told.push(format!("{watch}@{zxid}{more} {}", words(&event)));
                }
            }
            EventMessage::Progress { zxid } => told.push(format!("upto {zxid}")),
            EventMessage::Ended { watch, position, end } => {
                let why = match end {
                    WatchEnd::Fired => "fired".to_owned(),
                    WatchEnd::NotHere { oldest } => format!("not here, {oldest}"),
                    WatchEnd::Refused(refusal) => refusal.code.name().to_owned(),
                };
                told.push(format!("{watch} ended@{position} {why}"));
            }
            head @ EventMessage::Head { .. } => panic!("{head:?}"),
        }
    }
    told
}

fn words(event: &wire::Event) -> String {
    let kind = match event.kind {
        wire::EventKind::Created(_) => "+",
        wire::EventKind::Set => "=",
        wire::EventKind::Deleted => "-",
    };
    let text = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
    let data = event.data.as_ref().map_or_else(String::new, |data| format!(" {}", text(data)));
    let previous = match &event.previous {
        wire::Previous::None => String::new(),
        wire::Previous::Gone => " was gone".to_owned(),
        wire::Previous::Data(data) => format!(" was {}", text(data)),
    };
    format!("{kind} {} v{}{data}{previous}", event.path, event.version)
}

#[tokio::test]
async fn a_watch_is_told_of_what_follows_its_position_once_and_in_order() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.apply(vec![vec![created("/a", "x")]]);
    rig.open(&outbox, &asked(1, "/a", wire::Scope::Node), 1).await;
    rig.open(&outbox, &asked(2, "/", wire::Scope::Children), 1).await;
    rig.open(&outbox, &asked(3, "/", wire::Scope::Subtree), 1).await;
    rig.apply(vec![
        vec![set("/a", "y", 1, 1), created("/a/b", "")],
        vec![],
        vec![deleted("/a/b", 0, 2), deleted("/a", 1, 2)],
    ]);
    assert_eq!(
        told(&outbox),
        [
            "1@2 = /a v1",
            "3@2 = /a v1",
            "3@2 + /a/b v0",
            "1@4 - /a v1",
            "2@4 - /a v1",
            "3@4 - /a/b v0",
            "3@4 - /a v1",
        ]
    );
    assert_eq!(outbox.count(), 5, "a frame for each watch and transaction");
}

#[tokio::test]
async fn data_and_the_data_before_come_if_they_are_asked_for() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.apply(vec![vec![created("/a", "one")], vec![created("/big", "large")]]);
    let mut watch = asked(1, "/", wire::Scope::Subtree);
    watch.with_data = true;
    rig.open(&outbox, &watch, 2).await;
    watch.watch = 2;
    watch.with_previous = true;
    rig.open(&outbox, &watch, 2).await;
    assert_eq!(rig.past.wanted.load(Ordering::SeqCst), 1);
    let before = BTreeMap::from([(path("/a"), Bytes::from_static(b"one"))]);
    let changes = vec![
        vec![set("/a", "two", 1, 1), set("/a", "three", 2, 3), deleted("/big", 0, 2)],
        vec![deleted("/a", 2, 3), created("/a", "four")],
    ];
    rig.apply_before(changes, Some(&before));
    let live = [
        "2@3 = /a v1 two was one",
        "2@3 = /a v2 three was two",
        "2@3 - /big v0 was gone",
        "2@4 - /a v2 was three",
        "2@4 + /a v0 four",
    ];
    let all = told(&outbox);
    assert_eq!(all[..3], ["1@3 = /a v1 two", "1@3 = /a v2 three", "1@3 - /big v0"]);
    let of_second: Vec<&String> = all.iter().filter(|line| line.starts_with('2')).collect();
    assert_eq!(of_second, live.iter().collect::<Vec<_>>());
    rig.watches.forget(1);
    assert_eq!(rig.past.wanted.load(Ordering::SeqCst), 0);

    // Read back, nothing is gone as long as it is retained.
    rig.open(&outbox, &watch, 2).await;
    let resumed = told(&outbox);
    assert_eq!(resumed[2], "2@3 - /big v0 was large");
    assert_eq!([&resumed[..2], &resumed[3..]].concat(), [&live[..2], &live[3..]].concat());
    rig.watches.forget(1);
    rig.past.purge(Zxid(2));
    rig.open(&outbox, &watch, 2).await;
    let purged = told(&outbox);
    assert_eq!(purged[0], "2@3 = /a v1 two was gone");
    assert_eq!(purged[1..], live[1..]);
}

#[tokio::test]
async fn a_large_transaction_comes_in_pieces_that_say_so() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/", wire::Scope::Subtree), 0).await;
    rig.apply(vec![(0..2_000).map(|at| created(&format!("/n{at}"), "")).collect()]);
    let frames = outbox.drain();
    assert!(frames.len() > 1);
    let mut count = 0;
    for (at, frame) in frames.iter().enumerate() {
        assert!(frame.len() <= wire::EVENT_FRAME_BYTES);
        let EventMessage::Events { events, has_more, .. } =
            EventMessage::decode(frame.clone()).unwrap()
        else {
            panic!("{frame:?}")
        };
        assert_eq!(has_more, at + 1 < frames.len());
        count += events.len();
    }
    assert_eq!(count, 2_000);
}

#[tokio::test]
async fn idle_attachments_are_told_up_to_where_there_is_nothing() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    rig.open(&outbox, &asked(1, "/a", wire::Scope::Node), 0).await;
    rig.watches.mark_idle();
    assert_eq!(told(&outbox), Vec::<String>::new(), "nothing was applied");
    rig.apply(vec![vec![created("/b", "")]]);
    rig.watches.mark_idle();
    assert_eq!(told(&outbox), ["upto 1"]);
    rig.watches.mark_idle();
    rig.apply(vec![vec![created("/a", "")]]);
    rig.watches.mark_idle();
    assert_eq!(told(&outbox), ["1@2 + /a v0"], "not idle");
    rig.watches.mark_idle();
    rig.watches.mark_idle();
    assert_eq!(told(&outbox), ["upto 2"]);
}

#[tokio::test]
async fn what_can_not_be_watched_is_refused_by_name() {
    let rig = Rig::new();
    let outbox = rig.watches.outbox();
    let refused = |watch: &wire::Watch| rig.begin(&outbox, watch).err().unwrap().code.name();
    assert_eq!(refused(&asked(1, "a", wire::Scope::Node)), "bad-path");
    let mut both = asked(1, "/a", wire::Scope::Node);
    both.from = Some(Zxid(0));
    both.first = Some(Box::new(quorate_wire::message::Query::Stat("/a".to_owned())));
    assert_eq!(refused(&both), "bad-arguments");
    let _open = rig.begin(&outbox, &asked(1, "/a", wire::Scope::Node)).unwrap();
    assert_eq!(refused(&asked(1, "/b", wire::Scope::Node)), "bad-arguments");
    let max = limits::WATCHES_PER_ATTACHMENT_MAX as u64;
    let all: Vec<Opening> = (2..=max)
        .map(|number| rig.begin(&outbox, &asked(number, "/a", wire::Scope::Node)).unwrap())
        .collect();
    let refusal = rig.begin(&outbox, &asked(0, "/a", wire::Scope::Node)).err().unwrap();
    assert_eq!(refusal.code, ErrorCode::TooManyWatches);
    assert!(refusal.message.contains(&max.to_string()), "{refusal}");
    drop(all);
    assert_eq!(rig.watches.count(), 1);
    outbox.end();
    assert_eq!(refused(&asked(9, "/b", wire::Scope::Node)), "slow-consumer");
}

#[tokio::test]
async fn a_watch_counts_for_its_principal_until_it_is_gone_however_that_comes() {
    let rig = Rig::new();
    let alice = crate::principals::Principals::default().named("alice").unwrap();
    let of_alice = || alice.take(Kind::Watches, 1).ok();
    let (outbox, other) = (rig.watches.outbox(), rig.watches.outbox());
    for number in 1..=4 {
        let opening = rig.begin(&outbox, &asked(number, "/a", wire::Scope::Node)).unwrap();
        opening.count(of_alice());
        opening.open(Zxid(0)).await.unwrap();
    }
    let theirs = rig.watches.begin((2, SESSION), &other, &asked(1, "/a", wire::Scope::Node));
    let theirs = theirs.unwrap();
    theirs.count(of_alice());
    assert_eq!(alice.count(Kind::Watches), 5);
    drop(theirs);
    assert_eq!(alice.count(Kind::Watches), 4, "never opened");
    rig.watches.close(1, 2);
    rig.watches.close(1, 2);
    assert_eq!(alice.count(Kind::Watches), 3);
    // One that has ended before it was counted counts nothing.
    let late = rig.begin(&outbox, &asked(9, "/a", wire::Scope::Node)).unwrap();
    rig.watches.forget(1);
    late.count(of_alice());
    assert_eq!(alice.count(Kind::Watches), 0);
}
