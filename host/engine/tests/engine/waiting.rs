//! Parking, and running again.

use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Millis;
use quorate_core::path::Path;
use quorate_core::recipe::{Interest, Reason, RunEnd};
use quorate_wire::value::{Limits, Value, decode_result};

use crate::guests;
use crate::support::{Again, Bench};

#[test]
fn a_call_parks_with_its_state_and_runs_again_with_it() {
    let mut bench = Bench::new(guests::various());
    let end = bench.run("await-node", &["/a".into()]);
    let node = Path::parse("/recipes/test/a").expect("a path");
    let RunEnd::Parked { interests, state, deadline } = end else { panic!("{end:?}") };
    assert_eq!(interests, [Interest::NodeChanged(node)]);
    assert_eq!(state, "wok");
    assert_eq!(deadline, Some(Millis(bench.time.0 + 5_000)));
    let again = Again { reason: Reason::Changed, state, deadline, may_park: true };
    let end = bench.run_again("await-node", &["/a".into()], again);
    let RunEnd::Returned { value, is_error: false } = end else { panic!("{end:?}") };
    let value = decode_result(&bench.function("await-node"), value, Limits::VALUE);
    assert_eq!(value, Ok(Some(Value::from("woken"))));
}

#[test]
fn only_the_first_run_fixes_the_deadline() {
    let mut bench = Bench::new(guests::various());
    for deadline in [None, Some(Millis(77))] {
        let again =
            Again { reason: Reason::Changed, state: Bytes::new(), deadline, may_park: true };
        let end = bench.run_again("await-node", &["/a".into()], again);
        assert!(matches!(end, RunEnd::Parked { deadline: found, .. } if found == deadline));
    }
}

#[test]
fn a_run_that_may_not_park_would_block() {
    let mut bench = Bench::new(guests::various());
    for reason in [Reason::First, Reason::TimedOut, Reason::Cancelled] {
        let again = Again { reason, state: Bytes::new(), deadline: None, may_park: false };
        let end = bench.run_again("await-node", &["/a".into()], again);
        let RunEnd::Failed(refusal) = end else { panic!("{end:?}") };
        assert_eq!(refusal.code, ErrorCode::WouldBlock);
    }
}

#[test]
fn interests_and_state_are_bounded() {
    let mut bench = Bench::new(guests::various());
    let refusal = bench.failure("await-much", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("interests of a park: 65"), "{refusal}");
    let refusal = bench.failure("remember-much", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("bytes of a call's state: 1025"), "{refusal}");
    let refusal = bench.failure("await-node", &["no path".into()]);
    assert_eq!(refusal.code, ErrorCode::RecipeTrapped);
    assert!(refusal.message.contains("does not start with /"), "{refusal}");
}
