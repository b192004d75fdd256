//! Our checker against stateright's tester, on small random histories of a register.

use proptest::prelude::*;
use quorate_history::{Budget, History, Model, Verdict, check};
use stateright::semantics::register::{Register as Theirs, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// A register that holds a small number.
struct Register;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Write(u8),
    Read,
}

impl Model for Register {
    type State = u8;
    type Input = Call;
    /// What was read; of a write, anything.
    type Output = u8;

    fn initial(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, input: &Call, output: Option<&u8>) -> Option<u8> {
        match input {
            Call::Write(value) => Some(*value),
            Call::Read => output.is_none_or(|read| read == state).then_some(*state),
        }
    }
}

/// One thread's step: it calls if it waits for nothing, else it returns this.
#[derive(Debug, Clone, Copy)]
struct Step {
    thread: usize,
    is_read: bool,
    value: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3usize, any::<bool>(), 0..3u8);
    let step = step.prop_map(|(thread, is_read, value)| Step { thread, is_read, value });
    proptest::collection::vec(step, 0..14)
}

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
