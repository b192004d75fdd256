//! Bad input, as a table: every operation with every fault that its request, its path, its session or the tree can have, and
//! every two of them at once. One cell is an operation and a fault; what stands there is ZooKeeper's error, and the order of the
//! cells ZooKeeper's order of errors (reference: its `PrepRequestProcessor`), where ZooKeeper has the operation.
//!
//! Nothing can be left out: kinds of operations, faults and what they come to are enums and exhaustive matches, and what has
//! no row is asserted to do no harm.
//!
//! Where we differ from ZooKeeper: `limit` stands where it closes the connection (data), or has no bound (paths, lists); a parent
//! that no znode can have is `bad-path`, where it is `no-node` there; a session that is not there is told before everything else.

#[path = "bad_input/faults.rs"]
mod faults;
#[path = "bad_input/kinds.rs"]
mod kinds;
#[path = "bad_input/paths.rs"]
mod paths;
#[path = "bad_input/rows.rs"]
mod rows;
#[path = "bad_input/world.rs"]
mod world;

use quorate_core::error::ErrorCode;
use quorate_core::limits;
use quorate_core::request::{Body, Operation};

use faults::Fault;
use kinds::Kind;
use rows::{DONE, Row, rows};
use world::Given;

fn found(kind: Kind, faults: &[Fault]) -> Option<ErrorCode> {
    Given::new(kind, faults).code()
}

#[test]
fn what_stands_for_an_operation_is_that_operation() {
    for kind in Kind::ALL {
        let given = Given::new(*kind, &[]);
        assert_eq!(kinds::variant(&given.body()), kinds::variant_of(*kind), "{kind:?}");
    }
}

#[test]
fn each_operation_without_a_fault_is_done() {
    for kind in Kind::ALL {
        assert_eq!(found(*kind, &[]), DONE, "{kind:?}");
    }
}

#[test]
fn each_fault_alone_is_told_by_its_code_or_does_no_harm() {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        for fault in Fault::ALL {
            if !fault.can_be(*kind) {
                continue;
            }
            let row = rows(*kind).into_iter().find(|(one, _)| one == fault);
            let expected = row.map(|(_, code)| code);
            let found = found(*kind, &[*fault]);
            if found != expected {
                wrong.push(format!("{kind:?} {fault:?}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_row_is_of_a_fault_that_the_operation_can_not_have() {
    for kind in Kind::ALL {
        for (fault, _) in rows(*kind) {
            assert!(fault.can_be(*kind), "{kind:?} {fault:?}");
        }
    }
}

#[test]
fn of_two_faults_the_one_that_stands_first_is_told() {
    let mut wrong = Vec::new();
    let mut pairs_count = 0;
    for kind in Kind::ALL {
        let rows: Vec<Row> = rows(*kind);
        for (at, (first, code)) in rows.iter().enumerate() {
            for (second, _) in &rows[at + 1..] {
                if first.excludes(*second) {
                    continue;
                }
                pairs_count += 1;
                let found = found(*kind, &[*first, *second]);
                if found != Some(*code) {
                    wrong.push(format!("{kind:?} {first:?} {second:?}: {found:?}, not {code:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pairs_count > 1_000, "only {pairs_count} pairs");
}

#[test]
fn what_may_not_be_seen_is_not_told_apart_by_other_errors() {
    // Alone these two do no harm.
    let there_and_forbidden = [Fault::TargetThere, Fault::TargetForbidden];
    assert_eq!(found(Kind::CheckAbsent, &there_and_forbidden), Some(ErrorCode::NoAccess));
    assert_eq!(found(Kind::CheckAbsent, &[Fault::TargetForbidden]), DONE);
    // A child that is there may not be found out about by who may not create there.
    let other_parent = [Fault::ParentForbidden, Fault::TargetThere];
    assert_eq!(found(Kind::Create, &other_parent), Some(ErrorCode::NoAccess));
}

#[test]
fn each_kind_of_bad_path_is_told_by_every_operation_that_has_a_path() {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        if !kind.has_path() {
            continue;
        }
        for bad in paths::all() {
            let mut given = Given::new(*kind, &[]);
            given.path = bad.text.clone();
            let (found, expected) = (given.code(), paths::expected(*kind, &bad));
            if found != expected {
                wrong.push(format!("{kind:?} {}: {found:?}, not {expected:?}", bad.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_release_is_refused_by_the_same_paths_and_for_what_the_call_does_not_own() {
    let released = |path: &str| {
        let mut given = Given::new(Kind::Set, &[]);
        given.path = path.to_owned();
        given.code_of_release()
    };
    for bad in paths::all() {
        let is_root = bad.place == paths::Place::Root;
        let expected = if is_root { ErrorCode::BadArguments } else { bad.code };
        assert_eq!(released(&bad.text), Some(expected), "{}", bad.what);
    }
    assert_eq!(released("/none"), Some(ErrorCode::NoNode));
    assert_eq!(released("/p/t"), Some(ErrorCode::BadArguments));
}

#[test]
fn a_multi_is_refused_for_its_length_before_any_of_it_is_looked_at() {
    let given = Given::new(Kind::Call, &[Fault::RecipeMissing]);
    let Body::Single(call) = given.body() else { panic!("one operation") };
    let bad = Operation::Get { path: String::new() };
    let multi = |operation: &Operation, count| given.code_of_multi(vec![operation.clone(); count]);
    assert_eq!(multi(&bad, 0), DONE, "nothing is done");
    assert_eq!(multi(&bad, limits::MULTI_OPERATIONS_MAX), Some(ErrorCode::BadPath));
    assert_eq!(multi(&bad, limits::MULTI_OPERATIONS_MAX + 1), Some(ErrorCode::LimitPassed));
    assert_eq!(multi(&call, limits::MULTI_CALLS_MAX), Some(ErrorCode::NoRecipe));
    assert_eq!(multi(&call, limits::MULTI_CALLS_MAX + 1), Some(ErrorCode::LimitPassed));
}
