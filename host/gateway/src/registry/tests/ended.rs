//! Lanes of sessions that have ended, here or in a tree that this member was sent.

use quorate_core::ids::Millis;
use quorate_core::key;
use quorate_core::read::MemoryTree;
use quorate_core::session::{End, Session};
use quorate_core::znode::Lifetime;
use quorate_wire::message::watch::{EventMessage, Scope, Watch, WatchEnd};

use super::*;
use crate::watches::tests::Past;

const ENDED: SessionId = SessionId(8);
const UNKNOWN: SessionId = SessionId(9);

/// The transaction by which the session of these tests ends, with a znode of its own.
fn end() -> Entry {
    let (write, acks) = (WriteNumber(1), Acks::default());
    let (path, lifetime, acl) = (Path::parse("/n").unwrap(), Lifetime::Persistent, None);
    let transaction = Transaction {
        zxid: Zxid(1),
        time: Millis(0),
        origin: Origin::Write { session: SESSION, write, hash: 1, acks },
        changes: vec![
            Change::NodeCreated { path, data: Bytes::new(), lifetime, acl },
            Change::SessionEnded { session: SESSION, end: End::Closed },
        ],
        outcome: Outcome::Replied(Bytes::new()),
    };
    let body = EntryBody::Batch { base: Zxid(0), transactions: vec![transaction] };
    Entry { term: Term(1), epoch: Epoch(1), body }
}

fn watch(watch: u64) -> Watch {
    Watch {
        watch,
        path: "/".to_owned(),
        scope: Scope::Subtree,
        from: None,
        once: false,
        with_data: false,
        with_previous: false,
        first: None,
    }
}

#[tokio::test]
async fn with_a_session_end_its_watches_behind_their_events_and_its_reads() {
    let mut rig = Attached::new().await;
    let watches = rig.registry.watches().clone();
    watches.start(Arc::new(Past::default()), Zxid(0));
    let attachment = rig.attachment.clone();
    let begin = |number| {
        let whose = (attachment.number, attachment.session);
        watches.begin(whose, &attachment.outbox, &watch(number)).unwrap()
    };
    begin(1).open(Zxid(0)).await.unwrap();
    let opening = begin(2);
    rig.open();
    rig.submit(1).unwrap();
    assert_eq!(attachment.require_session(), Ok(()));
    rig.registry.applied(&end(), None);
    let told = rig.lane.receive().await;
    assert!(matches!(told, ServerMessage::Reply { events: 1, .. }), "{told:?}");
    let refusal = attachment.require_session().unwrap_err();
    assert_eq!(refusal.code, ErrorCode::SessionEnded);
    assert!(opening.open(Zxid(0)).await.is_err());
    assert_eq!((watches.count(), rig.registry.taken_sessions()), (0, vec![]));
    assert!(!attachment.is_over(), "writes are still answered");
    let mut frames = Vec::new();
    for _ in 0..attachment.events() {
        let frame = attachment.outbox.next().await.unwrap();
        frames.push(EventMessage::decode(frame).unwrap());
    }
    let ended =
        EventMessage::Ended { watch: 1, position: Zxid(1), end: WatchEnd::Refused(refusal) };
    assert!(matches!(frames[0], EventMessage::Events { zxid: Zxid(1), .. }), "{frames:?}");
    assert_eq!(frames[1..], [ended]);
}

/// A tree in which this session lives, and another one has ended.
fn tree() -> MemoryTree {
    let record = |ended| {
        let (write, principal) = (WriteNumber(0), String::new());
        let record = Session {
            timeout_ms: 1_000,
            secret_hash: [0; 32],
            principal,
            identities: Vec::new(),
            opened: Millis(1),
            last_write: write,
            acked: write,
            kept_count: 0,
            kept_bytes: 0,
            parked_count: 0,
            owned_count: 0,
            owned_acl_bytes: 0,
            ended,
        };
        Some(record.encode())
    };
    let tree = MemoryTree::new();
    let ended = record(Some((Millis(5), End::Expired)));
    tree.commit([(key::session(SESSION), record(None)), (key::session(ENDED), ended)].into());
    tree
}

#[tokio::test]
async fn sessions_that_ended_in_what_an_installed_tree_has_skipped_leave_nothing() {
    let mut rig = Attached::new().await;
    let (lane, other) = (rig.rig.lane().await, rig.rig.lane().await);
    let ended = rig.registry.attach(ENDED, lane.handle(), WriteNumber(0)).unwrap();
    let unknown = rig.registry.attach(UNKNOWN, other.handle(), WriteNumber(0)).unwrap();
    rig.registry.detach(&unknown);
    assert_eq!(rig.registry.taken_sessions(), [SESSION, ENDED, UNKNOWN]);
    rig.registry.installed(&tree());
    assert_eq!(rig.registry.taken_sessions(), [SESSION]);
    assert_eq!(rig.attachment.require_session(), Ok(()));
    let refusal = ended.require_session().unwrap_err();
    assert_eq!(refusal.code, ErrorCode::SessionEnded);
    assert!(refusal.message.contains("expired"), "{refusal}");
}

#[tokio::test]
async fn a_lane_of_a_session_that_ended_before_it_came_reads_nothing_either() {
    let mut rig = Attached::new().await;
    let lane = rig.rig.lane().await;
    let tree = tree();
    let ended = rig.registry.attach(ENDED, lane.handle(), WriteNumber(0)).unwrap();
    for attachment in [&rig.attachment, &ended] {
        rig.registry.check_session(attachment, &tree);
    }
    assert_eq!(rig.attachment.require_session(), Ok(()));
    assert_eq!(ended.require_session().unwrap_err().code, ErrorCode::SessionEnded);
    assert_eq!(rig.registry.taken_sessions(), [SESSION]);
}
