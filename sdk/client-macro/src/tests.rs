//! What the macro says when it can not go on: errors that name the file, the interface or the function.

use std::path::Path;

use crate::arguments::{Arguments, Source, Wanted};
use crate::generate::expand;

fn inline(text: &str, wanted: Wanted) -> Result<String, String> {
    let source = Source::Inline(text.to_owned());
    expand(&Arguments { source, wanted }, Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[track_caller]
fn check_refused(text: &str, wanted: Wanted, words: &[&str]) {
    let refused = inline(text, wanted).expect_err("it can not be expanded");
    for word in words {
        assert!(refused.contains(word), "{word:?} is not in: {refused}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let source = Source::Path("no/such.wit".to_owned());
    let arguments = Arguments { source, wanted: Wanted::All };
    let refused = expand(&arguments, Path::new("somewhere")).expect_err("there is none");
    assert!(refused.contains("there is no WIT at somewhere/no/such.wit"), "{refused}");
}

#[test]
fn text_that_is_no_wit_is_shown_with_its_place() {
    check_refused("package a:b;\ninterface x { f: fun(); }", Wanted::All, &["inline WIT", "2:"]);
}

#[test]
fn an_unknown_interface_or_world_is_named_with_those_that_there_are() {
    let text =
        "package a:b; interface x { f: func(); } interface y { f: func(); } world w { export x; }";
    let wanted = Wanted::Interface("z".to_owned());
    check_refused(text, wanted, &["no interface `z`", "x, y"]);
    check_refused(text, Wanted::World("v".to_owned()), &["no world `v`", "there is w"]);
}

#[test]
fn a_choice_that_is_not_made_is_asked_for() {
    let interfaces = "package a:b; interface x { f: func(); } interface y { f: func(); }";
    check_refused(interfaces, Wanted::All, &["interface: \"name\"", "x, y"]);
    let worlds =
        "package a:b; interface x { f: func(); } world v { export x; } world w { export x; }";
    check_refused(worlds, Wanted::All, &["world: \"name\"", "v, w"]);
    let empty = "package a:b; world w { import quorate:recipe/tree@0.1.0; }";
    check_refused(empty, Wanted::All, &["`w` exports nothing"]);
}

#[test]
fn what_can_not_be_sent_is_refused_with_the_functions_name() {
    let check = |function: &str, words: &[&str]| {
        let text = format!(
            "package a:b; interface x {{ resource r {{ m: func(); }} g: func(); {function} }}"
        );
        check_refused(&text, Wanted::All, words);
    };
    check("", &["[method]r.m", "recipes keep nothing"]);
    let check = |function: &str, words: &[&str]| {
        let text = format!("package a:b; interface x {{ resource r; g: func(); {function} }}");
        check_refused(&text, Wanted::All, words);
    };
    check("open: func(it: borrow<r>);", &["x: the function `open`", "`it`", "resource `r`"]);
    check("open: func() -> list<r>;", &["`open`", "its result", "resource `r`"]);
    check("read: func() -> stream<u8>;", &["`read`", "`stream`"]);
    check("later: func(a: option<future<u8>>);", &["`later`", "`future`"]);
    check("soon: async func();", &["`soon`", "async"]);
    check("table: func(a: map<string, u8>);", &["`table`", "`map`"]);
    let long = "wide: func(a: tuple<u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8>);";
    check(long, &["`wide`", "more than 12"]);
}

#[test]
fn an_interface_is_found_by_its_name_with_or_without_the_package() {
    let text = "package a:b@0.1.0; interface x { f: func(); } interface y { g: func(); }";
    for name in ["x", "a:b/x", "a:b/x@0.1.0"] {
        let expanded = inline(text, Wanted::Interface(name.to_owned())).expect("it is there");
        assert!(expanded.contains("\"x.f\"") && !expanded.contains("\"y.g\""), "{expanded}");
    }
}

#[test]
fn a_worlds_own_functions_are_called_by_the_name_world_and_migrate_is_not() {
    let text =
        "package a:b; world w { export f: func() -> u8; export migrate: func(previous: u64); }";
    let expanded = inline(text, Wanted::All).expect("it can be expanded");
    assert!(expanded.contains("\"world.f\"") && !expanded.contains("migrate"), "{expanded}");
}
