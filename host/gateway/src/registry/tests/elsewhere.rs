//! Writes of a session that another lane has sent, at another member: what the lane here makes of them when they are applied.

use quorate_core::ids::Millis;

use super::*;

/// A write that was executed, whoever sent it.
fn executed(write: u64, hash: u128, reply: &'static [u8]) -> Entry {
    let (write, acks) = (WriteNumber(write), Acks::default());
    let transaction = Transaction {
        zxid: Zxid(write.0),
        time: Millis(0),
        origin: Origin::Write { session: SESSION, write, hash, acks },
        changes: Vec::new(),
        outcome: Outcome::Replied(Bytes::from_static(reply)),
    };
    let base = Zxid(write.0 - 1);
    let body = EntryBody::Batch { base, transactions: vec![transaction] };
    Entry { term: Term(1), epoch: Epoch(1), body }
}

#[tokio::test]
async fn a_write_gets_no_reply_of_another_one_that_has_its_number() {
    let mut rig = Attached::new().await;
    rig.open();
    rig.submit(1).unwrap();
    rig.registry.applied(&executed(1, 99, b"of the other one"), None);
    assert!(!rig.attachment.is_settled(), "it waits for its own answer");
    let refusal = Refusal::new(ErrorCode::ResendDiffers, "its number was used");
    let (session, write) = (SESSION, WriteNumber(1));
    rig.answer(rig.attachment.number, Answer::Refused { session, write, refusal });
    let told = rig.lane.receive().await;
    assert!(
        matches!(&told, ServerMessage::NotExecuted { refusal, .. } if refusal.code == ErrorCode::ResendDiffers),
        "{told:?}"
    );
    rig.submit(2).unwrap();
    rig.registry.applied(&executed(2, 2, b"its own"), None);
    let told = rig.lane.receive().await;
    assert!(matches!(&told, ServerMessage::Reply { reply, .. } if reply == "its own"), "{told:?}");
}

#[tokio::test]
async fn a_lane_ends_when_its_session_writes_elsewhere_what_it_had_not_sent_when_it_came() {
    let mut rig = Attached::new().await;
    let lane = rig.rig.lane().await;
    let attachment = rig.registry.attach(SESSION, lane.to_client.handle(), WriteNumber(3)).unwrap();
    rig.lane = lane;
    rig.open();
    // Copies that were sent before it came may be executed behind it.
    rig.registry.applied(&executed(2, 2, b""), None);
    rig.registry.applied(&executed(3, 3, b""), None);
    rig.registry.submit(&attachment, 1, request(4), 10).unwrap();
    rig.registry.applied(&executed(4, 4, b"its own"), None);
    assert!(!attachment.is_over());
    rig.registry.applied(&executed(5, 5, b"sent on a later lane"), None);
    assert!(attachment.is_over(), "only the current attachment counts");
    assert!(matches!(rig.lane.receive().await, ServerMessage::Reply { .. }));
    let told = rig.lane.receive().await;
    assert!(
        matches!(&told, ServerMessage::Goodbye(refusal) if refusal.code == ErrorCode::SessionMoved),
        "{told:?}"
    );
    // Nothing of it is taken, nor handed over, any more.
    rig.submitted();
    rig.registry.submit(&attachment, 2, request(6), 10).unwrap();
    rig.pause();
    rig.open();
    assert_eq!(rig.submitted(), [0_u64; 0], "what waited there is handed over by the later lane");
}
