//! Runs the scenarios of all recipes, and checks that the runner itself notices what is wrong.

use std::path::Path;

use quorate_testkit::{Failure, run_scenarios, scenario_files};

use crate::built;

fn run(name: &str) {
    let files = scenario_files(&built::source(name).join("scenarios")).expect("a folder");
    assert!(!files.is_empty(), "{name} has no scenarios");
    let report = run_scenarios(built::component_bytes(name), &built::manifest(name), &files);
    let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(report.is_ok(), "\n{report}");
}

#[test]
fn lock_does_what_its_scenarios_say() {
    run("lock");
}

#[test]
fn counter_does_what_its_scenarios_say() {
    run("counter");
}

#[test]
fn queue_does_what_its_scenarios_say() {
    run("queue");
}

#[test]
fn barrier_does_what_its_scenarios_say() {
    run("barrier");
}

#[test]
fn election_does_what_its_scenarios_say() {
    run("election");
}

#[test]
fn group_does_what_its_scenarios_say() {
    run("group");
}

/// Each folder with scenarios is a recipe that a test above runs.
#[test]
fn no_recipe_with_scenarios_is_forgotten() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(built::source("")).expect("the recipes") {
        let path = entry.expect("an entry").path();
        if path.join("scenarios").is_dir() {
            names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    names.sort();
    // What `quorate recipe new` fills in: it has no name yet, and is not built here.
    names.retain(|name| name != "template");
    assert_eq!(names, ["barrier", "counter", "election", "group", "lock", "queue"]);
}

/// Runs a scenario of the lock that is wrong, and gives what is said about it.
fn failure_of(text: &str) -> Failure {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("wrong.txt");
    std::fs::write(&file, text).expect("written");
    let report = run_scenarios(built::component_bytes("lock"), &built::manifest("lock"), &[file]);
    let report = report.expect("deployed");
    assert!(!report.is_ok());
    let shown = report.to_string();
    let failure = report.scenarios[0].failure.clone().expect("a failure");
    let place = format!("{}:{}", Path::new("wrong.txt").display(), failure.line);
    assert!(shown.contains(&place), "{shown}");
    failure
}

fn check(text: &str, line: usize, message: &str) {
    let failure = failure_of(text);
    assert_eq!(failure.line, line, "{}", failure.message);
    assert!(failure.message.contains(message), "{}", failure.message);
}

#[test]
fn a_result_that_does_not_match_is_shown_beside_the_expected_one() {
    let failure = failure_of("# Held.\nsession 1 call holder \"/a\" -> ok(some(_))\n");
    let message = "expected  ok(some(_))\n  actual  ok(none)";
    assert_eq!(failure, Failure { line: 2, message: message.to_owned() });
}

#[test]
fn a_name_matches_the_same_value_only() {
    let text = "session 1 call acquire \"/a\" {:} -> ok({token: $t, node: _})\n\
                session 1 call release \"/a\" $t -> ok\n\
                session 1 call acquire \"/a\" {:} -> ok({token: $t, node: _})\n";
    check(text, 3, "where   $t is ");
}

#[test]
fn a_call_that_ends_without_a_line_fails_the_scenario() {
    let held =
        "session 1 call acquire \"/a\" {:} -> ok(_)\nsession 2 call acquire \"/a\" {:} -> parked\n";
    check(
        &format!("{held}expire 1\n"),
        3,
        "expected  no consequence\n  actual  => 2 acquire -> ok(",
    );
    check(&format!("{held}advance 5\n  => 2 acquire -> ok(_)\n"), 4, "no such call has ended");
    check(&format!("{held}expire 1\n  => 3 acquire -> ok(_)\n"), 4, "actual  => 2 acquire");
    check(&format!("{held}expire 1\n  => 2 release -> ok\n"), 4, "actual  => 2 acquire");
    check(&format!("{held}expire 1\n  => 2 acquire -> err(_)\n"), 4, "expected  err(_)");
    let parked = "session 2 call acquire \"/a\" {:} -> ok(_)\n";
    check(&format!("session 1 call acquire \"/a\" {{:}} -> ok(_)\n{parked}"), 2, "actual  parked");
    check("session 1 call acquire \"/a\" {:} -> parked\n", 1, "expected  parked");
}

#[test]
fn a_consequence_is_the_oldest_call_of_its_function() {
    let text = "session 1 call acquire \"/a\" {:} -> ok({token: $a, node: _})\n\
                session 1 call acquire \"/b\" {:} -> ok({token: $b, node: _})\n\
                session 2 call acquire \"/a\" {:} -> parked\n\
                session 2 call acquire \"/b\" {:} -> parked\n\
                session 1 call release \"/b\" $b -> ok\n  => 2 acquire -> ok(_)\n";
    check(text, 6, "which is not its oldest one");
}

#[test]
fn steps_that_can_not_be_taken_are_errors_of_their_line() {
    check("session 1 call aquire \"/a\" {:} -> ok\n", 1, "there is no function aquire");
    check("session 1 call acquire \"/a\" -> ok(_)\n", 1, "1 arguments for 2 parameters");
    check("session 1 call release \"/a\" $t -> ok\n", 1, "$t stands for nothing yet");
    check("session 1 call release \"/a\" _ -> ok\n", 1, "an argument needs a value");
    check("session 1 call release \"/a\" \"x\" -> ok\n", 1, "expected a u64");
    check("session 1 call holder \"/a\" -> ok(sme(_))\n", 1, "column 4");
    check("session 1 call holder \"/a\" -> failed no-node\n", 1, "actual  ok(none)");
    check("expire 1\n", 1, "has not been opened");
    let opened = "session 1 call holder \"/a\" -> ok(none)\n";
    check(&format!("{opened}cancel 1\n"), 2, "no parked call");
    check(&format!("{opened}close 1\nexpire 1\n"), 3, "has ended");
    check(&format!("{opened}close 1\n{opened}"), 3, "has ended");
    check("tree a ->\n", 1, "bad-path");
}

#[test]
fn a_tree_that_differs_is_shown() {
    let used = "session 1 call acquire \"/a\" {:} -> ok(_)\n";
    check(&format!("{used}tree / -> b\n"), 2, "expected  b\n  actual  a");
    check(&format!("{used}tree / -> a, _\n"), 2, "expected  a, _\n  actual  a");
    check(&format!("{used}tree /a ->\n"), 2, "expected  (no children)\n  actual  _lock");
    check(&format!("{used}tree /b ->\n"), 2, "actual  no-node");
    check(&format!("{used}tree /a -> no-node\n"), 2, "expected  no-node\n  actual  _lock");
}

#[test]
fn a_file_that_is_not_there_is_a_failed_scenario() {
    let files = [Path::new("no-such-folder/no-such-file.txt").to_owned()];
    let report = run_scenarios(built::component_bytes("lock"), &built::manifest("lock"), &files);
    let report = report.expect("deployed");
    assert_eq!(report.scenarios[0].failure.as_ref().map(|failure| failure.line), Some(0));
}
