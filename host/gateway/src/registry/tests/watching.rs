//! Replies and events: what a reply says of the events before it.

use quorate_core::change::Change;
use quorate_core::ids::Millis;
use quorate_core::path::Path;
use quorate_core::znode::Lifetime;
use quorate_wire::message::watch::{Scope, Watch};

use super::*;
use crate::watches::tests::Past;

/// An entry of two writes, each of which creates a znode.
fn entry() -> Entry {
    let transaction = |number: u64| Transaction {
        zxid: Zxid(number),
        time: Millis(0),
        origin: Origin::Write {
            session: SESSION,
            write: WriteNumber(number),
            hash: u128::from(number),
            acks: Acks::default(),
        },
        changes: vec![Change::NodeCreated {
            path: Path::parse(&format!("/n{number}")).unwrap(),
            data: Bytes::new(),
            lifetime: Lifetime::Persistent,
            acl: None,
        }],
        outcome: Outcome::Replied(Bytes::new()),
    };
    let transactions = vec![transaction(1), transaction(2)];
    let body = EntryBody::Batch { base: Zxid(0), transactions };
    Entry { term: Term(1), epoch: Epoch(1), body }
}

#[tokio::test]
async fn a_reply_names_the_last_event_before_it_of_its_own_attachment() {
    let mut rig = Attached::new().await;
    let (_lane, _theirs) = {
        let other = rig.rig.lane().await;
        let handle = other.handle();
        (other, rig.registry.attach(SessionId(8), handle, WriteNumber(0)).unwrap())
    };
    rig.registry.watches().start(Arc::new(Past::default()), Zxid(0));
    let watch = Watch {
        watch: 1,
        path: "/".to_owned(),
        scope: Scope::Children,
        from: None,
        once: false,
        with_data: false,
        with_previous: false,
        first: None,
    };
    let watches = rig.registry.watches().clone();
    for attachment in [&rig.attachment, &_theirs] {
        let whose = (attachment.number, attachment.session);
        let opening = watches.begin(whose, &attachment.outbox, &watch).unwrap();
        opening.open(Zxid(0)).await.unwrap();
    }
    rig.open();
    rig.submit(1).unwrap();
    rig.submit(2).unwrap();
    rig.registry.applied(&entry(), None);
    for zxid in [1, 2] {
        match rig.lane.receive().await {
            ServerMessage::Reply { events, zxid: at, .. } => {
                assert_eq!(at, Zxid(zxid));
                assert!(events >= zxid, "its own event is among them: {events}");
                assert!(events <= 2);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.registry.zxid(), Zxid(2));
    rig.registry.detach(&rig.attachment);
    assert_eq!(watches.count(), 1, "those of the other session");
}
