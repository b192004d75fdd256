//! Histories of the service's objects of which people know whether they are right.

use quorate_history::models::{
    Barrier, BarrierAnswer, BarrierCall, Counter, CounterCall, Election, ElectionAnswer,
    ElectionCall, Lock, LockAnswer, LockCall, Queue, QueueAnswer, QueueCall, Znode, ZnodeAnswer,
    ZnodeCall,
};
use quorate_history::{Budget, History, Model, Verdict, check};

fn verdict<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> Verdict {
    check(model, history, Budget::default())
}

fn assert_right<M: Model>(model: &M, history: &History<M::Input, M::Output>) {
    let verdict = verdict(model, history);
    assert!(matches!(verdict, Verdict::Linearizable(_)), "{verdict:?}");
}

fn stuck<M: Model>(model: &M, history: &History<M::Input, M::Output>) -> String {
    match verdict(model, history) {
        Verdict::NotLinearizable(stuck) => stuck.to_string(),
        verdict => panic!("{verdict:?}"),
    }
}

/// Calls and returns at once.
fn done<I, O>(history: &mut History<I, O>, input: I, output: O) {
    let ticket = history.call(input);
    history.returned(ticket, output);
}

#[test]
fn nothing_is_right() {
    assert_right(&Counter, &History::new());
}

#[test]
fn an_increment_that_is_lost_is_found_and_shown() {
    let mut history = History::new();
    done(&mut history, CounterCall::Add(1), 1);
    let (one, other) = (history.call(CounterCall::Add(1)), history.call(CounterCall::Add(1)));
    history.returned(one, 2);
    history.returned(other, 3);
    assert_right(&Counter, &history);
    done(&mut history, CounterCall::Get, 2);
    let told = stuck(&Counter, &history);
    assert_eq!(told, "3 operations fit, leading to 3; then none of:\n  Get -> 2\n");
}

#[test]
fn an_increment_that_never_returned_may_have_taken_effect_at_any_time_or_not_at_all() {
    let mut history = History::new();
    let _never = history.call(CounterCall::Add(10));
    done(&mut history, CounterCall::Get, 0);
    assert_right(&Counter, &history);
    done(&mut history, CounterCall::Get, 10);
    assert_right(&Counter, &history);
    done(&mut history, CounterCall::Get, 20);
    assert!(stuck(&Counter, &history).contains("Get -> 20"), "it takes effect once");
}

#[test]
fn an_increment_that_was_refused_has_no_effect() {
    let mut history = History::new();
    let refused = history.call(CounterCall::Add(10));
    history.refused(&refused);
    done(&mut history, CounterCall::Get, 0);
    assert_right(&Counter, &history);
    done(&mut history, CounterCall::Get, 10);
    assert!(matches!(verdict(&Counter, &history), Verdict::NotLinearizable(_)));
}

#[test]
fn a_read_of_what_was_overwritten_before_it_began_is_found() {
    let mut history = History::new();
    done(&mut history, ZnodeCall::Create(1), ZnodeAnswer::Done(Some(0)));
    done(&mut history, ZnodeCall::Set(2, Some(0)), ZnodeAnswer::Done(Some(1)));
    let (late, set) = (history.call(ZnodeCall::Get), history.call(ZnodeCall::Set(3, None)));
    history.returned(late, ZnodeAnswer::Is(3, 2));
    history.returned(set, ZnodeAnswer::Done(Some(2)));
    done(&mut history, ZnodeCall::Set(4, Some(1)), ZnodeAnswer::BadVersion);
    assert_right(&Znode, &history);
    done(&mut history, ZnodeCall::Get, ZnodeAnswer::Is(2, 1));
    assert!(stuck(&Znode, &history).contains("Get -> Is(2, 1)"));
}

#[test]
fn two_holders_at_a_time_and_tokens_that_fall_are_found() {
    let mut history = History::new();
    let waiter = history.call(LockCall::Acquire);
    done(&mut history, LockCall::TryAcquire, LockAnswer::Granted(5));
    done(&mut history, LockCall::TryAcquire, LockAnswer::Held);
    let mut twice = history.clone();
    done(&mut twice, LockCall::TryAcquire, LockAnswer::Granted(6));
    assert!(matches!(verdict(&Lock, &twice), Verdict::NotLinearizable(_)));
    done(&mut history, LockCall::Release(5), LockAnswer::Released);
    history.returned(waiter, LockAnswer::Granted(9));
    done(&mut history, LockCall::Release(5), LockAnswer::NotHeld);
    done(&mut history, LockCall::Release(9), LockAnswer::Released);
    assert_right(&Lock, &history);
    done(&mut history, LockCall::Acquire, LockAnswer::Granted(7));
    assert!(matches!(verdict(&Lock, &history), Verdict::NotLinearizable(_)));
}

#[test]
fn items_out_of_order_or_taken_twice_are_found() {
    let mut history = History::new();
    let taker = history.call(QueueCall::Take);
    done(&mut history, QueueCall::Offer(1), QueueAnswer::Offered);
    done(&mut history, QueueCall::Offer(2), QueueAnswer::Offered);
    let mut reordered = history.clone();
    done(&mut reordered, QueueCall::TryTake, QueueAnswer::Item(2));
    done(&mut reordered, QueueCall::TryTake, QueueAnswer::Item(1));
    assert!(matches!(verdict(&Queue, &reordered), Verdict::NotLinearizable(_)));
    done(&mut history, QueueCall::TryTake, QueueAnswer::Item(2));
    history.returned(taker, QueueAnswer::Item(1));
    done(&mut history, QueueCall::TryTake, QueueAnswer::Empty);
    done(&mut history, QueueCall::Length, QueueAnswer::Length(0));
    assert_right(&Queue, &history);
    done(&mut history, QueueCall::TryTake, QueueAnswer::Item(2));
    assert!(matches!(verdict(&Queue, &history), Verdict::NotLinearizable(_)));
}

#[test]
fn a_search_that_is_too_large_says_so() {
    let mut history = History::new();
    for item in 0..16 {
        let _never = history.call(QueueCall::Offer(item));
    }
    done(&mut history, QueueCall::TryTake, QueueAnswer::Item(99));
    let verdict = check(&Queue, &history, Budget { states_max: 1000 });
    assert_eq!(verdict, Verdict::GaveUp);
}

#[test]
fn ten_thousand_operations_of_eight_clients_are_within_the_usual_budget() {
    let mut history = History::new();
    let mut open: Vec<Option<(quorate_history::Ticket, i64)>> = (0..8).map(|_| None).collect();
    let mut sum = 0;
    for step in 0..20_000usize {
        let slot = &mut open[(step * 5 + step / 7) % 8];
        match slot.take() {
            None => {
                sum += 1;
                *slot = Some((history.call(CounterCall::Add(1)), sum));
            }
            Some((ticket, answer)) => history.returned(ticket, answer),
        }
    }
    assert_right(&Counter, &history);
}

#[test]
fn two_leaders_at_a_time_and_a_term_that_comes_back_are_found() {
    let elected = ElectionAnswer::Elected;
    let mut history = History::new();
    done(&mut history, ElectionCall::Campaign, elected(4));
    done(&mut history, ElectionCall::Leader, ElectionAnswer::Leads(Some(4)));
    done(&mut history, ElectionCall::TryCampaign, ElectionAnswer::Led);
    let waiting = history.call(ElectionCall::Campaign);
    done(&mut history, ElectionCall::Resign(4), ElectionAnswer::Resigned);
    history.returned(waiting, elected(9));
    done(&mut history, ElectionCall::Resign(4), ElectionAnswer::NotLeading);
    assert_right(&Election, &history);
    let mut both = history.clone();
    done(&mut both, ElectionCall::TryCampaign, elected(11));
    assert!(stuck(&Election, &both).contains("Elected(11)"));
    done(&mut history, ElectionCall::Resign(9), ElectionAnswer::Resigned);
    done(&mut history, ElectionCall::Leader, ElectionAnswer::Leads(None));
    assert_right(&Election, &history);
    done(&mut history, ElectionCall::Campaign, elected(9));
    assert!(stuck(&Election, &history).contains("Elected(9)"));
}

#[test]
fn a_leader_whose_victory_was_never_seen_may_lead_in_any_later_term() {
    let mut history = History::new();
    done(&mut history, ElectionCall::Campaign, ElectionAnswer::Elected(4));
    done(&mut history, ElectionCall::Resign(4), ElectionAnswer::Resigned);
    let _never = history.call(ElectionCall::Campaign);
    let mut later = history.clone();
    done(&mut later, ElectionCall::Leader, ElectionAnswer::Leads(Some(7)));
    assert_right(&Election, &later);
    done(&mut later, ElectionCall::Leader, ElectionAnswer::Leads(Some(8)));
    assert!(stuck(&Election, &later).contains("Leads(Some(8))"));
    done(&mut history, ElectionCall::Leader, ElectionAnswer::Leads(Some(3)));
    assert!(stuck(&Election, &history).contains("Leads(Some(3))"));
}

#[test]
fn a_barrier_that_is_passed_while_it_is_set_is_found() {
    let mut history = History::new();
    done(&mut history, BarrierCall::Set, BarrierAnswer::Is(true));
    done(&mut history, BarrierCall::Set, BarrierAnswer::Is(false));
    let waiting = history.call(BarrierCall::Wait);
    done(&mut history, BarrierCall::TryWait, BarrierAnswer::Stopped);
    done(&mut history, BarrierCall::Lift, BarrierAnswer::Is(true));
    done(&mut history, BarrierCall::Set, BarrierAnswer::Is(true));
    history.returned(waiting, BarrierAnswer::Passed);
    done(&mut history, BarrierCall::IsSet, BarrierAnswer::Is(true));
    assert_right(&Barrier, &history);
    done(&mut history, BarrierCall::TryWait, BarrierAnswer::Passed);
    assert!(stuck(&Barrier, &history).contains("TryWait -> Passed"));
}
