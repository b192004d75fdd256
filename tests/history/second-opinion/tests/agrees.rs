//! Our checker against stateright's tester, on small random histories of a register.

#[path = "../../tests/register/mod.rs"]
mod register;

use proptest::prelude::*;
use quorate_history::{Budget, History, Verdict, check};
use register::{Call, Register, Step, steps};
use stateright::semantics::register::{Register as Theirs, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

fn play(steps: &[Step]) -> (History<Call, u8>, bool) {
    let mut ours = History::new();
    let mut theirs = LinearizabilityTester::<usize, Theirs<u8>>::new(Theirs(0));
    let mut open: [Option<(quorate_history::Ticket, Call)>; 3] = [None, None, None];
    for step in steps {
        match open[step.thread].take() {
            None => {
                let call = if step.is_read { Call::Read } else { Call::Write(step.value) };
                let operation = match call {
                    Call::Read => RegisterOp::Read,
                    Call::Write(value) => RegisterOp::Write(value),
                };
                theirs.on_invoke(step.thread, operation).expect("it waits for nothing");
                open[step.thread] = Some((ours.call(call), call));
            }
            Some((ticket, call)) => {
                let answer = match call {
                    Call::Read => RegisterRet::ReadOk(step.value),
                    Call::Write(_) => RegisterRet::WriteOk,
                };
                theirs.on_return(step.thread, answer).expect("it waits for this");
                ours.returned(ticket, step.value);
            }
        }
    }
    let consistent = theirs.is_consistent();
    (ours, consistent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn both_checkers_agree(steps in steps()) {
        let (history, theirs) = play(&steps);
        let ours = check(&Register, &history, Budget::default());
        prop_assert_eq!(matches!(ours, Verdict::Linearizable(_)), theirs, "{:?}", ours);
    }
}
