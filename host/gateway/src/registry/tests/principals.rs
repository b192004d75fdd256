//! Writes of one principal over several lanes: counted while they wait, refused above its bounds, but for what was taken before
//! and what only frees something.

use super::*;
use crate::principals::Kind;

fn lane_of(rig: &Attached, session: u64, principal: &str) -> Arc<Attachment> {
    let lane = ClientLane::Kept(Arc::default());
    let attachment = rig.registry.attach(SessionId(session), lane, WriteNumber(0)).unwrap();
    rig.registry.count_for(&attachment, principal);
    attachment
}

fn of_session(session: u64, write: u64, body: Body) -> Arc<Request> {
    Arc::new(Request { session: SessionId(session), body, ..(*request(write)).clone() })
}

impl Attached {
    fn set(&self, lane: &Attachment, write: u64) -> Result<(), NotTaken> {
        let request = of_session(lane.session.0, write, Body::Single(set()));
        self.registry.submit(lane, write, request, 10)
    }
}

/// How many writes, and how many bytes of them.
fn counted(lane: &Attachment) -> (usize, usize) {
    let principal = lane.principal().unwrap();
    (principal.count(Kind::Writes), principal.count(Kind::WriteBytes))
}

#[tokio::test]
async fn a_principal_above_its_bound_is_refused_new_work_on_all_its_lanes() {
    let rig = Attached::new().await;
    rig.open();
    let (one, two) = (lane_of(&rig, 11, "alice"), lane_of(&rig, 12, "alice"));
    let (other, nobody) = (lane_of(&rig, 13, "bob"), lane_of(&rig, 14, ""));
    assert!(nobody.principal().is_none());
    let max = limits::OUTSTANDING_WRITES_PER_PRINCIPAL_MAX;
    let _others = one.principal().unwrap().add(Kind::Writes, max - 1);
    rig.set(&one, 1).unwrap();
    let refused = refusal(rig.set(&two, 1));
    assert_eq!(refused.code, ErrorCode::Overloaded);
    let told =
        format!("of the principal alice on this member: {} is over the limit of {max}", max + 1);
    assert!(refused.message.ends_with(&told), "{refused}");
    assert_eq!(refusal(rig.set(&one, 2)).code, ErrorCode::Overloaded);
    rig.set(&other, 1).unwrap();
    rig.set(&nobody, 1).unwrap();
    // What only frees something goes on, and so do heartbeats.
    let delete = Operation::Delete { path: "/n".to_owned(), condition: Condition::ANY };
    let frees = [Body::Cancel(WriteNumber(1)), Body::Single(delete), Body::CloseSession];
    for (write, body) in (1..).zip(frees) {
        rig.registry.submit(&two, write, of_session(12, write, body), 10).unwrap();
    }
    rig.registry.heartbeat(&two, 9).unwrap();
    assert_eq!(counted(&two).0, max + 3);
    // Each answer makes room.
    for write in 1..=3 {
        two.answer(WriteNumber(write), |request| ServerMessage::Confirmed { request });
    }
    assert_eq!(refusal(rig.set(&two, 4)).code, ErrorCode::Overloaded);
    one.answer(WriteNumber(1), |request| ServerMessage::Confirmed { request });
    rig.set(&two, 4).unwrap();
}

#[tokio::test]
async fn bytes_of_a_principal_are_bounded_too() {
    let rig = Attached::new().await;
    let lanes: Vec<_> = (11..16).map(|session| lane_of(&rig, session, "alice")).collect();
    let each = limits::OUTSTANDING_BYTES_MAX;
    let max = limits::OUTSTANDING_BYTES_PER_PRINCIPAL_MAX;
    let submit = |lane: &Attachment| {
        let request = of_session(lane.session.0, 1, Body::Single(set()));
        rig.registry.submit(lane, 1, request, each)
    };
    let fitting = max / each;
    for lane in &lanes[..fitting] {
        submit(lane).unwrap();
    }
    let refused = refusal(submit(&lanes[fitting]));
    assert!(refused.message.starts_with("bytes of writes"), "{refused}");
    rig.submit_bytes(1, each).unwrap();
}

#[tokio::test]
async fn what_was_sent_before_is_taken_whatever_its_principal_has_here() {
    let rig = Attached::new().await;
    rig.open();
    let before = lane_of(&rig, 11, "alice");
    rig.set(&before, 1).unwrap();
    let _others =
        before.principal().unwrap().add(Kind::Writes, limits::OUTSTANDING_WRITES_PER_PRINCIPAL_MAX);
    // On a new lane of this member, or one that comes from another member: else it could never go on.
    let again = lane_of(&rig, 11, "alice");
    rig.set(&again, 1).unwrap();
    let lane = ClientLane::Kept(Arc::default());
    let moved = rig.registry.attach(SessionId(12), lane, WriteNumber(5)).unwrap();
    rig.registry.count_for(&moved, "alice");
    rig.set(&moved, 4).unwrap();
    rig.set(&moved, 5).unwrap();
    assert_eq!(refusal(rig.set(&moved, 6)).code, ErrorCode::Overloaded);
}

#[tokio::test]
async fn what_a_principal_has_waiting_is_given_back_however_it_ends() {
    let rig = Attached::new().await;
    rig.open();
    let (one, two) = (lane_of(&rig, 11, "alice"), lane_of(&rig, 12, "alice"));
    for write in 1..=4 {
        rig.set(&one, write).unwrap();
    }
    // A copy takes the place of the one that waits.
    rig.set(&one, 4).unwrap();
    rig.set(&two, 1).unwrap();
    assert_eq!(counted(&one), (5, 50));
    one.answer(WriteNumber(1), |request| ServerMessage::Confirmed { request });
    one.answer(WriteNumber(1), |request| ServerMessage::Confirmed { request });
    one.refuse(WriteNumber(2), Refusal::new(ErrorCode::BadMessage, "for this test"));
    one.note_parked(WriteNumber(3));
    assert_eq!(counted(&one), (3, 30));
    // A later lane has its own, and the earlier one's goes with it.
    let later = lane_of(&rig, 11, "alice");
    assert!(one.is_over());
    rig.registry.detach(&one);
    drop(one);
    assert_eq!(counted(&two), (1, 10));
    rig.set(&later, 3).unwrap();
    assert_eq!(counted(&two), (2, 20));
    rig.registry.detach(&later);
    rig.registry.detach(&two);
    let principal = two.principal().unwrap().clone();
    drop((later, two));
    assert_eq!((principal.count(Kind::Writes), principal.count(Kind::WriteBytes)), (0, 0));
    assert_eq!(rig.registry.principals.count(), 1, "this one");
    drop(principal);
    assert_eq!(rig.registry.principals.count(), 0);
}
