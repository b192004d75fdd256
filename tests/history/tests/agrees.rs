//! Our checker against another on small random histories of a register: a search through all orders, written as plainly as can
//! be. What stateright's tester says of the same histories is asked in `second-opinion`.

mod register;

use proptest::prelude::*;
use quorate_history::{Budget, History, Model, Operation, Verdict, check};
use register::{Call, Register, Step, steps};

fn play(steps: &[Step]) -> History<Call, u8> {
    let mut history = History::new();
    let mut open: [Option<quorate_history::Ticket>; 3] = [None, None, None];
    for step in steps {
        match open[step.thread].take() {
            None => {
                let call = if step.is_read { Call::Read } else { Call::Write(step.value) };
                open[step.thread] = Some(history.call(call));
            }
            Some(ticket) => history.returned(ticket, step.value),
        }
    }
    history
}

/// Whether any order will do: every operation that could come first is tried, and the rest after it.
fn naive(left: &[&Operation<Call, u8>], state: u8) -> bool {
    if left.iter().all(|operation| operation.returned.is_none()) {
        return true;
    }
    let first_return = left.iter().filter_map(|one| one.returned.as_ref()).map(|(at, _)| *at).min();
    (0..left.len()).any(|index| {
        let operation = left[index];
        let comes_first = first_return.is_none_or(|at| operation.called < at);
        let output = operation.returned.as_ref().map(|(_, output)| output);
        let next = Register.step(&state, &operation.input, output).filter(|_| comes_first);
        next.is_some_and(|next| {
            let mut rest = left.to_vec();
            rest.remove(index);
            naive(&rest, next)
        })
    })
}

/// Plays an order: it is right by the model and by the times, and has every operation that returned.
fn holds(history: &History<Call, u8>, order: &[usize]) -> bool {
    let operations: Vec<_> = history.operations().collect();
    let mut state = 0;
    for (place, index) in order.iter().enumerate() {
        let operation = operations[*index];
        let output = operation.returned.as_ref().map(|(_, output)| output);
        let Some(next) = Register.step(&state, &operation.input, output) else { return false };
        state = next;
        let is_late = order[place + 1..].iter().any(|later| {
            operations[*later].returned.as_ref().is_some_and(|(at, _)| *at < operation.called)
        });
        if is_late {
            return false;
        }
    }
    (0..operations.len())
        .all(|index| operations[index].returned.is_none() || order.contains(&index))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn both_checkers_agree(steps in steps()) {
        let history = play(&steps);
        let operations: Vec<_> = history.operations().collect();
        let expected = naive(&operations, 0);
        match check(&Register, &history, Budget::default()) {
            Verdict::Linearizable(order) => {
                prop_assert!(expected);
                prop_assert!(holds(&history, &order), "{:?}", order);
            }
            Verdict::NotLinearizable(_) => prop_assert!(!expected),
            Verdict::GaveUp => prop_assert!(false, "so few operations are within any budget"),
        }
    }
}
