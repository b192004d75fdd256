//! What is sent to the sequencer, when and how often; what the lanes are told. The sequencer is the test's.

use std::cell::Cell;
use std::future::Future;
use std::sync::TryLockError;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::ids::{Epoch, Term};
use quorate_core::request::{Body, Class, Operation};
use quorate_core::session::{Acks, Opening};
use quorate_sequencer::Input;
use quorate_wire::link::Answer;

use super::*;
use crate::rig::{Lane, Rig};

mod elsewhere;
mod ended;
mod members;
mod principals;
mod watching;

const SESSION: SessionId = SessionId(7);

struct Attached {
    registry: Arc<Registry>,
    sequencer: SequencerHandle,
    attachment: Arc<Attachment>,
    lane: Lane,
    rig: Rig,
    epoch: Cell<u64>,
}

impl Attached {
    async fn new() -> Self {
        let sequencer = SequencerHandle::new();
        let registry = Arc::new(Registry::new(sequencer.clone()));
        let mut rig = Rig::new();
        let lane = rig.lane().await;
        let attachment = registry.attach(SESSION, lane.handle(), WriteNumber(0)).unwrap();
        Self { registry, sequencer, attachment, lane, rig, epoch: Cell::new(1) }
    }

    /// Another lane of the same session.
    async fn attach_again(&mut self) -> (Lane, Arc<Attachment>) {
        let lane = self.rig.lane().await;
        let attachment = self.registry.attach(SESSION, lane.handle(), WriteNumber(0)).unwrap();
        (lane, attachment)
    }

    /// The next epoch of this member is open.
    fn open(&self) {
        assert!(self.registry.open_route(self.tag(), Way::Local));
    }

    fn pause(&self) {
        self.registry.pause(self.tag());
        self.epoch.set(self.epoch.get() + 1);
    }

    fn tag(&self) -> Tag {
        Tag { term: Term(1), epoch: Epoch(self.epoch.get()) }
    }

    fn answer(&self, token: u64, answer: Answer) {
        self.registry.handle_answer(self.tag(), token, answer);
    }

    fn submit(&self, write: u64) -> Result<(), NotTaken> {
        self.submit_bytes(write, 10)
    }

    fn submit_bytes(&self, write: u64, bytes: usize) -> Result<(), NotTaken> {
        self.registry.submit(&self.attachment, 1_000 + write, request(write), bytes)
    }

    fn refuse(&self, write: u64) {
        let refusal = Refusal::new(ErrorCode::BadArguments, "for this test");
        let token = self.attachment.number;
        let write = WriteNumber(write);
        self.answer(token, Answer::Refused { session: SESSION, write, refusal });
    }

    /// Numbers of the writes that the sequencer was sent since the last time.
    fn submitted(&self) -> Vec<u64> {
        submitted(&self.sequencer)
    }
}

fn submitted(sequencer: &SequencerHandle) -> Vec<u64> {
    let write_of = |request: ToLeader| match request {
        ToLeader::Submit { request, .. } => Some(request.write.0),
        _ => None,
    };
    sequencer.requests().into_iter().filter_map(write_of).collect()
}

/// The refusal of a write that is known not to be executed.
fn refusal(taken: Result<(), NotTaken>) -> Refusal {
    match taken {
        Err(NotTaken::NotExecuted(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn is_unknown(taken: &Result<(), NotTaken>) -> bool {
    matches!(taken, Err(NotTaken::Unknown(refusal)) if refusal.code == ErrorCode::Overloaded)
}

/// So much waits for the sequencer that new writes are refused.
fn flood(sequencer: &SequencerHandle) {
    while !sequencer.is_overloaded(Class::Ordinary) {
        sequencer.send(Input::Follow);
    }
}

fn request(write: u64) -> Arc<Request> {
    Arc::new(Request {
        session: SESSION,
        write: WriteNumber(write),
        hash: u128::from(write),
        acks: Acks::default(),
        body: Body::Single(set()),
        address: None,
    })
}

fn set() -> Operation {
    Operation::Set { path: "/n".to_owned(), data: Bytes::new(), condition: Condition::ANY }
}

#[tokio::test]
async fn writes_are_sent_once_by_whoever_may() {
    let rig = Attached::new().await;
    rig.submit(1).unwrap();
    rig.submit(2).unwrap();
    assert_eq!(rig.submitted(), [0_u64; 0], "nobody executes");
    rig.open();
    rig.submit(3).unwrap();
    assert_eq!(rig.submitted(), [1, 2, 3]);
    rig.pause();
    rig.submit(4).unwrap();
    assert_eq!(rig.submitted(), [0_u64; 0]);
    rig.open();
    assert_eq!(rig.submitted(), [1, 2, 3, 4], "all that is unanswered, in order");
}

/// Whether this comes true while another thread works.
fn comes_true(is_true: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_true() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[tokio::test]
async fn executing_does_not_begin_in_the_middle_of_a_submit_nor_a_submit_in_the_middle_of_that() {
    let rig = Attached::new().await;
    let (registry, attachment, tag) = (&rig.registry, &rig.attachment, rig.tag());
    let (during_submit, during_resubmit) = std::thread::scope(|scope| {
        let waiting = lock(&attachment.waiting);
        let submit = scope.spawn(|| registry.submit(attachment, 1_001, request(1), 10));
        let is_gate_held = || matches!(registry.gate.try_write(), Err(TryLockError::WouldBlock));
        let during_submit = comes_true(is_gate_held);
        drop(waiting);
        submit.join().unwrap().unwrap();
        let waiting = lock(&attachment.waiting);
        scope.spawn(|| {
            registry.open_route(tag, Way::Local);
        });
        let is_gate_shut = || matches!(registry.gate.try_read(), Err(TryLockError::WouldBlock));
        let during_resubmit = comes_true(is_gate_shut);
        drop(waiting);
        (during_submit, during_resubmit)
    });
    assert!(during_submit, "it could be sent by both, or by nobody");
    assert!(during_resubmit, "what comes now could overtake what is submitted again");
    assert_eq!(rig.submitted(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_executing_begins_is_sent_once_and_in_order() {
    const ROUNDS: u64 = 300;
    const WRITES: u64 = 40;
    let rig = Attached::new().await;
    for round in 0..ROUNDS {
        let first = 1 + round * WRITES;
        let writes: Vec<u64> = (first..first + WRITES).collect();
        let begin = std::sync::Barrier::new(2);
        let (registry, tag) = (&rig.registry, rig.tag());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begin.wait();
                registry.open_route(tag, Way::Local);
            });
            begin.wait();
            for &write in &writes {
                rig.submit(write).unwrap();
            }
        });
        assert_eq!(rig.submitted(), writes, "round {round}");
        for &write in &writes {
            rig.refuse(write);
        }
        rig.pause();
    }
}

fn opening(timeout_ms: u64) -> Opening {
    Opening { timeout_ms, ..Opening::default() }
}

#[tokio::test]
async fn an_opening_whose_client_has_left_is_not_asked_for_again() {
    let rig = Attached::new().await;
    let mut context = Context::from_waker(Waker::noop());
    let mut stays = Box::pin(rig.registry.open_session(opening(1)));
    let mut leaves = Box::pin(rig.registry.open_session(opening(2)));
    assert!(stays.as_mut().poll(&mut context).is_pending());
    assert!(leaves.as_mut().poll(&mut context).is_pending());
    drop(leaves);
    rig.open();
    let asked: Vec<u64> = rig
        .sequencer
        .requests()
        .into_iter()
        .filter_map(|request| match request {
            ToLeader::OpenSession { opening, .. } => Some(opening.timeout_ms),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [1]);
}

#[tokio::test]
async fn a_heartbeat_is_confirmed_by_its_own_token_and_those_before_it_with_it() {
    let mut rig = Attached::new().await;
    rig.open();
    for request in 1..=3 {
        rig.registry.heartbeat(&rig.attachment, request).unwrap();
    }
    let tokens: Vec<u64> = rig
        .sequencer
        .requests()
        .into_iter()
        .filter_map(|request| match request {
            ToLeader::Heartbeat { token, .. } => Some(token),
            _ => None,
        })
        .collect();
    assert_eq!(tokens.len(), 3);
    let live = Answer::Confirmed { session: SESSION, is_live: true };
    rig.answer(tokens[1], live.clone());
    // Once used, a token confirms nothing.
    rig.answer(tokens[0], live.clone());
    let live = Answer::Confirmed { session: SESSION, is_live: true };
    rig.answer(tokens[1], live);
    rig.pause();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(rig.lane.receive().await);
    }
    assert_eq!(told[0], ServerMessage::Confirmed { request: 1 });
    assert_eq!(told[1], ServerMessage::Confirmed { request: 2 });
    let unconfirmed = |message: &ServerMessage| {
        matches!(message, ServerMessage::Unconfirmed { request: 3, refusal }
            if refusal.code == ErrorCode::NoLeader)
    };
    assert!(unconfirmed(&told[2]), "the leader has not heard it: {:?}", told[2]);
}

#[tokio::test]
async fn so_many_writes_wait_and_one_more_is_refused_and_the_session_goes_on() {
    let mut rig = Attached::new().await;
    rig.open();
    let max = limits::OUTSTANDING_WRITES_MAX as u64;
    for write in 1..=max {
        rig.submit(write).unwrap();
    }
    let refused = refusal(rig.submit(max + 1));
    assert_eq!(refused.code, ErrorCode::Overloaded);
    assert!(refused.message.contains(&format!("{max} writes")), "{refused}");
    assert_eq!(rig.submitted().len() as u64, max, "what was refused is not sent");
    rig.refuse(1);
    rig.submit(max + 1).unwrap();
    assert_eq!(rig.submitted(), [max + 1]);
    assert!(rig.submit(max + 2).is_err());
    // A write that waits is sent again, and takes no second place.
    rig.refuse(2);
    assert!(matches!(rig.lane.receive().await, ServerMessage::NotExecuted { request: 1001, .. }));
    assert!(matches!(rig.lane.receive().await, ServerMessage::NotExecuted { request: 1002, .. }));
    rig.submit(max + 1).unwrap();
    rig.submit(max + 2).unwrap();
    assert!(rig.submit(max + 3).is_err());
}

#[tokio::test]
async fn bytes_that_wait_are_bounded_for_a_session_and_for_the_member() {
    let mut rig = Attached::new().await;
    let session_max = limits::OUTSTANDING_BYTES_MAX;
    rig.submit_bytes(1, session_max).unwrap();
    assert_eq!(refusal(rig.submit_bytes(2, 1)).code, ErrorCode::Overloaded);
    // Lanes that come and go give back what they had.
    let mut others = Vec::new();
    for number in 1..limits::MEMBER_OUTSTANDING_BYTES_MAX / session_max {
        let lane = rig.rig.lane().await;
        let session = SessionId(100 + number as u64);
        let attachment = rig.registry.attach(session, lane.handle(), WriteNumber(0)).unwrap();
        rig.registry.submit(&attachment, 1, request(1), session_max).unwrap();
        others.push((lane, attachment));
    }
    let (_lane, attachment) = rig.attach_again().await;
    let refused = refusal(rig.registry.submit(&attachment, 2, request(2), 1));
    assert!(refused.message.contains("on this member"), "{refused}");
    let (_, gone) = others.pop().unwrap();
    rig.registry.detach(&gone);
    drop(gone);
    rig.registry.submit(&attachment, 2, request(2), 1).unwrap();
}

#[tokio::test]
async fn a_lane_that_comes_after_the_goodbyes_is_turned_away() {
    let mut rig = Attached::new().await;
    let goodbye = Refusal::new(ErrorCode::ShuttingDown, "for this test");
    let late = rig.rig.lane().await;
    rig.registry.goodbye(&goodbye);
    let refused = rig.registry.attach(SessionId(8), late.handle(), WriteNumber(0)).err();
    assert_eq!(refused, Some(goodbye.clone()));
    assert_eq!(rig.lane.receive().await, ServerMessage::Goodbye(goodbye));
    rig.attachment.over().await;
}

#[tokio::test]
async fn a_lane_that_its_client_has_given_up_takes_the_session_from_no_other() {
    let mut rig = Attached::new().await;
    let late = rig.rig.lane().await;
    let (lane, connection) = late.handle();
    drop(late);
    tokio::time::timeout(Duration::from_secs(20), connection.closed()).await.expect("in time");
    let refused = rig.registry.attach(SESSION, (lane, connection), WriteNumber(0)).err();
    assert_eq!(refused.map(|refusal| refusal.code), Some(ErrorCode::SessionMoved));
    assert!(!rig.attachment.is_over(), "the lane that its client has");
}

#[tokio::test]
async fn a_parked_call_holds_up_no_reads_also_on_a_new_lane() {
    let mut rig = Attached::new().await;
    rig.open();
    rig.submit(1).unwrap();
    let (_lane, again) = rig.attach_again().await;
    rig.registry.submit(&again, 1, request(1), 10).unwrap();
    assert!(!again.is_settled());
    // Said to the lane before: it counts for nobody.
    let parked = Answer::Parked { session: SESSION, write: WriteNumber(1) };
    rig.answer(rig.attachment.number, parked.clone());
    assert!(!again.is_settled());
    rig.answer(again.number, parked);
    assert!(again.is_settled());
}

#[tokio::test]
async fn a_write_whose_first_copy_may_be_on_its_way_is_never_told_to_be_not_executed() {
    let mut rig = Attached::new().await;
    rig.open();
    rig.submit(1).unwrap();
    rig.submit(2).unwrap();
    flood(&rig.sequencer);
    assert_eq!(refusal(rig.submit(3)).code, ErrorCode::Overloaded, "nobody has taken it");
    // On the same lane it is answered from where it waits; as another request nothing true can be said of it.
    rig.submit(2).unwrap();
    let mut other = (*request(2)).clone();
    other.hash += 1;
    assert!(is_unknown(&rig.registry.submit(&rig.attachment, 9, Arc::new(other), 10)));
    assert_eq!(rig.submitted(), [1, 2], "a copy takes no second place");
    // On a new lane, also when the older one has gone before.
    rig.registry.detach(&rig.attachment);
    let (_lane, again) = rig.attach_again().await;
    flood(&rig.sequencer);
    for write in 1..=2 {
        rig.registry.submit(&again, write, request(write), 10).unwrap();
    }
    let third = rig.registry.submit(&again, 3, request(3), 10);
    assert_eq!(refusal(third).code, ErrorCode::Overloaded);
    assert_eq!(rig.submitted(), [1, 2]);
    // What a process before this one executed.
    again.note_doubtful(WriteNumber(4));
    flood(&rig.sequencer);
    rig.registry.submit(&again, 4, request(4), 10).unwrap();
    assert_eq!(rig.submitted(), [4]);
}

#[tokio::test]
async fn a_lane_whose_resend_finds_no_room_at_all_ends_without_a_claim() {
    let mut rig = Attached::new().await;
    rig.open();
    rig.submit_bytes(1, limits::OUTSTANDING_BYTES_MAX).unwrap();
    rig.submit_bytes(1, limits::OUTSTANDING_BYTES_MAX).unwrap();
    assert_eq!(refusal(rig.submit_bytes(2, 1)).code, ErrorCode::Overloaded);
    let (_lane, again) = rig.attach_again().await;
    let too_much = limits::OUTSTANDING_BYTES_MAX + 1;
    assert!(is_unknown(&rig.registry.submit(&again, 1, request(1), too_much)));
    // The lane before is over: nothing is taken there any more.
    rig.submitted();
    rig.submit(2).unwrap();
    assert_eq!(rig.submitted(), [0_u64; 0]);
    assert_eq!(
        refusal(rig.registry.submit(&again, 2, request(2), too_much)).code,
        ErrorCode::Overloaded
    );
}

#[tokio::test]
async fn what_was_said_under_a_route_that_is_no_more_is_not_listened_to() {
    let mut rig = Attached::new().await;
    rig.open();
    let before = rig.tag();
    rig.submit(1).unwrap();
    rig.pause();
    let refused = |message: &str| {
        let refusal = Refusal::new(ErrorCode::Overloaded, message);
        Answer::Refused { session: SESSION, write: WriteNumber(1), refusal }
    };
    let token = rig.attachment.number;
    rig.registry.handle_answer(before, token, refused("while there is none"));
    rig.open();
    assert_eq!(rig.submitted(), [1, 1]);
    rig.registry.handle_answer(before, token, refused("while there is another"));
    rig.registry.pause(before);
    assert!(rig.registry.is_ready(), "a late word closes only the route that it is about");
    assert!(!rig.registry.open_route(before, Way::Local), "nor does it open one");
    rig.registry.handle_answer(rig.tag(), token, refused("now"));
    let told = rig.lane.receive().await;
    assert!(
        matches!(&told, ServerMessage::NotExecuted { refusal, .. } if refusal.message == "now"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_copy_that_joins_the_one_that_waits_makes_nothing_doubtful() {
    let mut rig = Attached::new().await;
    rig.open();
    rig.submit(1).unwrap();
    rig.submit(1).unwrap();
    rig.answer(
        rig.attachment.number,
        Answer::Refused {
            session: SESSION,
            write: WriteNumber(1),
            refusal: Refusal::new(ErrorCode::ResendFrom, "for this test"),
        },
    );
    let told = rig.lane.receive().await;
    assert!(matches!(told, ServerMessage::NotExecuted { request: 1_001, .. }), "{told:?}");
    // Another request under the number of one that waits is on its way beside it.
    rig.submit(2).unwrap();
    let mut other = (*request(2)).clone();
    other.hash += 1;
    rig.registry.submit(&rig.attachment, 9, Arc::new(other), 10).unwrap();
    rig.answer(
        rig.attachment.number,
        Answer::Refused {
            session: SESSION,
            write: WriteNumber(2),
            refusal: Refusal::new(ErrorCode::ResendFrom, "for this test"),
        },
    );
    assert!(matches!(rig.lane.receive().await, ServerMessage::Goodbye(_)));
}

#[tokio::test]
async fn a_copy_of_a_call_that_waits_holds_up_no_reads_either() {
    let rig = Attached::new().await;
    rig.open();
    rig.submit(1).unwrap();
    rig.answer(rig.attachment.number, Answer::Parked { session: SESSION, write: WriteNumber(1) });
    rig.submit(1).unwrap();
    assert!(rig.attachment.is_settled());
    assert_eq!(rig.submitted(), [1], "it is answered from where it waits");
}

#[tokio::test]
async fn a_refusal_is_passed_on_for_a_doubtful_write_only_if_it_holds_for_every_copy() {
    let mut rig = Attached::new().await;
    rig.open();
    let refuse = |rig: &Attached, attachment: &Attachment, code| {
        let refusal = Refusal::new(code, "for this test");
        let answer = Answer::Refused { session: SESSION, write: WriteNumber(5), refusal };
        rig.answer(attachment.number, answer);
    };
    for code in ErrorCode::ALL.iter().copied() {
        let (mut lane, attachment) = rig.attach_again().await;
        attachment.note_doubtful(WriteNumber(5));
        rig.registry.submit(&attachment, 1, request(5), 10).unwrap();
        refuse(&rig, &attachment, code);
        let is_final = matches!(
            code,
            ErrorCode::SessionEnded
                | ErrorCode::NoSession
                | ErrorCode::ResendDiffers
                | ErrorCode::AlreadyAcknowledged
                | ErrorCode::BadMessage
        );
        match lane.receive().await {
            ServerMessage::NotExecuted { request: 1, .. } => assert!(is_final, "{code}"),
            ServerMessage::Goodbye(_) => assert!(!is_final && attachment.is_over(), "{code}"),
            other => panic!("{other:?}"),
        }
    }
    // Of one that was never sent before there is no other copy.
    let session = SessionId(8);
    let mut lane = rig.rig.lane().await;
    let attachment = rig.registry.attach(session, lane.handle(), WriteNumber(0)).unwrap();
    attachment.note_doubtful(WriteNumber(4));
    rig.registry.submit(&attachment, 1, request(5), 10).unwrap();
    let refusal = Refusal::new(ErrorCode::ResendFrom, "for this test");
    rig.answer(attachment.number, Answer::Refused { session, write: WriteNumber(5), refusal });
    assert!(matches!(lane.receive().await, ServerMessage::NotExecuted { request: 1, .. }));
}

#[tokio::test]
async fn what_only_frees_something_is_taken_when_more_work_is_refused() {
    let rig = Attached::new().await;
    rig.open();
    flood(&rig.sequencer);
    let asked = |write: u64, body: Body| Arc::new(Request { body, ..(*request(write)).clone() });
    let delete = Operation::Delete { path: "/n".to_owned(), condition: Condition::ANY };
    let mixed = Body::Multi(vec![delete.clone(), set()]);
    for body in [Body::Single(set()), mixed] {
        let taken = rig.registry.submit(&rig.attachment, 1, asked(1, body), 10);
        assert_eq!(refusal(taken).code, ErrorCode::Overloaded);
    }
    let frees = [Body::Single(delete.clone()), Body::Multi(vec![delete]), Body::CloseSession];
    for (write, body) in (1..).zip(frees) {
        rig.registry.submit(&rig.attachment, write, asked(write, body), 10).unwrap();
    }
    // A heartbeat waits for nobody's work.
    rig.registry.heartbeat(&rig.attachment, 9).unwrap();
    // There is a bound for all.
    while !rig.sequencer.is_overloaded(Class::Relief) {
        rig.sequencer.send(Input::Follow);
    }
    let taken = rig.registry.submit(&rig.attachment, 4, asked(4, Body::CloseSession), 10);
    assert_eq!(refusal(taken).code, ErrorCode::Overloaded);
}
