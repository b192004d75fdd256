//! Which changes of an interface break its callers, and what is said about them.

use quorate_wire::value::{Function, Interface, Type, compatible};

use super::samples::{functions, name, names};

fn interface(functions: Vec<Function>) -> Interface {
    Interface { name: name("quorate:lock/lock@0.1.0"), functions }
}

/// Applies a change to `acquire` and compares the sentence.
#[track_caller]
fn check(change: impl FnOnce(&mut Function), sentence: &str) {
    let old = interface(functions());
    let mut new = old.clone();
    change(&mut new.functions[1]);
    let sentences: Vec<String> = compatible(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(sentences, [sentence]);
}

#[test]
fn additions_and_order_and_version_pass() {
    let old = interface(functions());
    assert_eq!(compatible(&old, &old), []);
    let mut new = old.clone();
    new.name = name("quorate:lock/lock@0.2.0");
    new.functions.push(Function { name: name("peek"), parameters: vec![], result: None });
    new.functions.reverse();
    assert_eq!(compatible(&old, &new), []);
}

#[test]
fn removed_functions_and_another_name_break() {
    let old = interface(functions());
    let new = Interface { name: name("quorate:lock/rwlock@0.1.0"), functions: vec![] };
    let sentences: Vec<String> = compatible(&old, &new).iter().map(ToString::to_string).collect();
    let renamed =
        "The interface `quorate:lock/lock@0.1.0` is now called `quorate:lock/rwlock@0.1.0`.";
    let gone = "The function `get` is gone.";
    assert_eq!(sentences, [renamed, gone, "The function `acquire` is gone."]);
}

#[test]
fn changed_functions_break_with_their_first_difference() {
    let start = "The function `acquire` has changed: ";
    let check = |change: fn(&mut Function), difference: &str| {
        check(change, &format!("{start}{difference}."));
    };
    check(
        |acquire| acquire.parameters[0].0 = name("node"),
        "its parameter `path` is now called `node`",
    );
    check(
        |acquire| acquire.parameters[1].1 = Type::U64,
        "its parameter `timeout` was `option<u64>` and is `u64`",
    );
    check(
        |acquire| acquire.parameters.push((name("note"), Type::String)),
        "it has a new parameter `note: string`",
    );
    check(|acquire| acquire.parameters.truncate(1), "its parameter `timeout` is gone");
    check(
        |acquire| acquire.result = None,
        "it returned `result<u64, enum { busy, gone }>` and returns nothing",
    );
    check(
        |acquire| {
            let cases = Type::Enum(names("busy gone lost"));
            acquire.result = Some(Type::result(Some(Type::U64), Some(cases)));
        },
        "it returned `result<u64, enum { busy, gone }>` \
         and returns `result<u64, enum { busy, gone, lost }>`",
    );
}
