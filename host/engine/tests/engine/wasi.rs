//! WASI as guests of other toolchains see it: all of it there, and none of it reaching anything.

use quorate_core::deployment::Instances;
use quorate_core::error::ErrorCode;
use quorate_core::ids::Millis;
use quorate_core::recipe::RunEnd;
use quorate_engine::{Engine, ImportClass, Level, Options, RandomKey};
use quorate_wire::value::Value;

use crate::support::{Bench, digest};
use crate::wasi_guests;

fn direct() -> Bench {
    Bench::new(wasi_guests::direct())
}

fn logged(bench: &Bench) -> Vec<(Level, String)> {
    let lines = bench.engine.logs("test", 1_000);
    lines.into_iter().map(|line| (line.level, line.message)).collect()
}

fn info(text: &str) -> (Level, String) {
    (Level::Info, text.to_owned())
}

fn pair(seconds: u64, nanoseconds: u32) -> Option<Value> {
    Some(Value::Tuple(vec![Value::U64(seconds), Value::U32(nanoseconds)]))
}

#[test]
fn every_import_of_wasi_is_admitted_as_a_stand_in() {
    for bytes in [wasi_guests::direct(), wasi_guests::adapted()] {
        let bench = Bench::new(bytes);
        let imports = bench.engine.imports(&bench.version.component).expect("prepared");
        assert!(imports.len() > 10, "{imports:?}");
        for import in imports {
            assert!(import.name.starts_with("wasi:"), "{import:?}");
            assert_eq!(import.class, ImportClass::Virtualised, "{import:?}");
        }
    }
}

#[test]
fn the_environment_is_empty() {
    let mut bench = direct();
    assert_eq!(bench.value("environment", &[]), Some(Value::List(vec![])));
    assert_eq!(bench.value("arguments", &[]), Some(Value::List(vec![])));
    assert_eq!(bench.value("cwd", &[]), Some(Value::Option(None)));
    assert_eq!(bench.value("terminals", &[]), Some(Value::U32(0)));
}

#[test]
fn input_is_ready_and_at_its_end() {
    let mut bench = direct();
    // Ready; the error case and `closed`, twice.
    assert_eq!(bench.value("stdin", &[]), Some(Value::U32(11_111)));
    assert_eq!(bench.value("splice", &[]), Some(Value::U32(11)));
}

#[test]
fn output_goes_to_the_log_line_by_line() {
    let mut bench = direct();
    assert_eq!(bench.value("permitted", &[]), Some(Value::U64(4096)));
    bench.value("say", &["one\ntwo\nthree".into()]);
    bench.value("complain", &["oh\n".into()]);
    let warn = (Level::Warn, "oh".to_owned());
    assert_eq!(logged(&bench), [info("one"), info("two"), info("three"), warn]);
    let lines = bench.engine.logs("test", 1);
    assert_eq!(lines[0].time, bench.time);
}

#[test]
fn what_was_said_before_a_trap_stands_in_the_log_before_it() {
    let mut bench = direct();
    let refusal = bench.failure("say-and-trap", &["about to".into()]);
    assert_eq!(refusal.code, ErrorCode::RecipeTrapped);
    let lines = logged(&bench);
    assert_eq!((lines.len(), &lines[0]), (2, &info("about to")), "{lines:?}");
    assert_eq!(lines[1].0, Level::Error);
}

#[test]
fn a_kept_instance_begins_each_run_with_an_empty_line() {
    let mut bench = direct();
    bench.version.manifest.instances = Instances::Reused;
    bench.value("say", &["first".into()]);
    bench.value("say", &["second".into()]);
    assert_eq!(logged(&bench), [info("first"), info("second")]);
}

#[test]
fn output_is_cut_at_the_byte_cap_of_the_log() {
    let mut bench = direct();
    bench.version.manifest.limits.log_bytes = 2 * (3 + 32);
    bench.value("say", &["abc\n".repeat(10).as_str().into()]);
    let cut = (Level::Warn, "8 lines cut: over log_bytes = 70".to_owned());
    assert_eq!(logged(&bench), [info("abc"), info("abc"), cut]);
    let refusal = bench.failure("say", &["x".repeat(4097).as_str().into()]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("4097 is over the limit of 4096"), "{refusal}");
    let refusal = bench.failure("zeroes", &[Value::U64(u64::MAX)]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit, "{refusal}");
    assert_eq!(bench.value("zeroes", &[Value::U64(4096)]), None);
}

#[test]
fn both_clocks_show_the_time_of_the_transaction() {
    let mut bench = direct();
    bench.time = Millis(1_700_000_000_123);
    assert_eq!(bench.value("wall", &[]), pair(1_700_000_000, 123_000_000));
    assert_eq!(bench.value("monotonic", &[]), Some(Value::U64(1_700_000_000_123_000_000)));
    assert_eq!(bench.value("wall-resolution", &[]), pair(0, 1_000_000));
    assert_eq!(bench.value("resolution", &[]), Some(Value::U64(1_000_000)));
    bench.time = Millis(u64::MAX);
    assert_eq!(bench.value("monotonic", &[]), Some(Value::U64(u64::MAX)));
}

#[test]
fn time_stands_still_and_who_waits_for_it_is_stopped() {
    let mut bench = direct();
    bench.version.manifest.limits.host_calls = 1_000;
    let now = bench.time.0 * 1_000_000;
    for (name, value, is_ready) in [
        ("ready-at", now, true),
        ("ready-at", now + 1, false),
        ("ready-in", 0, true),
        ("ready-in", 1, false),
    ] {
        let told = bench.value(name, &[Value::U64(value)]);
        assert_eq!(told, Some(Value::Bool(is_ready)), "{name} {value}");
    }
    let refusal = bench.failure("sleep-loop", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("(host_calls): 1001"), "{refusal}");
}

#[test]
fn a_poll_that_would_block_traps_and_names_what_recipes_do_instead() {
    let mut bench = direct();
    assert_eq!(bench.value("block", &[Value::U64(0)]), None);
    let polled = |index| Some(Value::List(vec![Value::U32(index)]));
    assert_eq!(bench.value("poll", &[Value::U64(0), Value::U64(1)]), polled(0));
    assert_eq!(bench.value("poll", &[Value::U64(1), Value::U64(0)]), polled(1));
    for (name, arguments) in [
        ("block", vec![Value::U64(1)]),
        ("poll", vec![Value::U64(1), Value::U64(2)]),
        ("poll-nothing", vec![]),
    ] {
        let refusal = bench.failure(name, &arguments);
        assert_eq!(refusal.code, ErrorCode::RecipeTrapped, "{name}");
        assert!(refusal.message.contains("wait.park"), "{name}: {refusal}");
    }
}

#[test]
fn handles_are_bounded() {
    let mut bench = direct();
    let refusal = bench.failure("hoard", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("handles than the limit of 2048"), "{refusal}");
}

#[test]
fn exit_ends_the_run_whatever_the_status() {
    let mut bench = direct();
    for (name, argument, how) in [
        ("exit", Value::Result(Ok(None)), "success"),
        ("exit", Value::Result(Err(None)), "failure"),
        ("exit-code", Value::U8(7), "code 7"),
    ] {
        let refusal = bench.failure(name, &[argument]);
        assert_eq!(refusal.code, ErrorCode::RecipeTrapped);
        assert!(refusal.message.contains("wasi:cli/exit") && refusal.message.contains(how));
    }
}

#[test]
fn there_are_no_files() {
    let mut bench = direct();
    assert_eq!(bench.value("directories", &[]), Some(Value::U32(0)));
    for descriptor in [0, 1, 3] {
        let refusal = bench.failure("sync", &[Value::U32(descriptor)]);
        assert_eq!(refusal.code, ErrorCode::RecipeTrapped, "{refusal}");
    }
}

/// What each function of `wasi:random` gives in one first run of the same number.
fn random_values(key: [u8; 32]) -> Vec<Option<Value>> {
    let functions = ["random", "random-number", "insecure", "insecure-number", "seed"];
    let values = functions.map(|name| {
        let options = Options { random_key: RandomKey::from(key), ..Options::default() };
        let engine = Engine::new(&options).expect("an engine");
        let bytes = wasi_guests::direct();
        engine.prepare(digest(&bytes), bytes.clone()).expect("admitted");
        let mut bench = Bench::on(engine, digest(&bytes));
        let arguments = bench.function(name).parameters.len();
        bench.value(name, &[Value::U64(1_000)][..arguments])
    });
    values.to_vec()
}

#[test]
fn random_bytes_are_equal_for_an_equal_key_and_run_and_for_no_other() {
    assert_eq!(random_values([1; 32]), random_values([1; 32]));
    let (one, other) = (random_values([1; 32]), random_values([2; 32]));
    for (one, other) in one.iter().zip(&other) {
        assert_ne!(one, other);
    }
    let mut bench = direct();
    let mut seen: Vec<_> = (0..5).map(|_| bench.value("random-number", &[])).collect();
    seen.dedup();
    assert_eq!(seen.len(), 5, "each run has its own");
    let mut reads = direct();
    reads.runner = reads.engine.reader().expect("a place for a reader");
    reads.as_read = true;
    let mut seen: Vec<_> = (0..5).map(|_| reads.value("random-number", &[])).collect();
    seen.dedup();
    assert_eq!(seen.len(), 5, "those that only read too, though all have one number and time");
    let Some(Value::Bytes(bytes)) = bench.value("random", &[Value::U64(65_536)]) else { panic!() };
    assert_eq!(bytes.len(), 65_536);
    let refusal = bench.failure("random", &[Value::U64(65_537)]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("65537 is over the limit of 65536"), "{refusal}");
}

#[test]
fn a_guest_over_the_adapter_of_other_toolchains_runs() {
    let mut bench = Bench::new(wasi_guests::adapted());
    bench.time = Millis(1_700_000_000_123);
    assert_eq!(bench.value("print", &["hello\nworld\n".into()]), Some(Value::U32(0)));
    assert_eq!(logged(&bench), [info("hello"), info("world")]);
    let now = Some(Value::U64(1_700_000_000_123_000_000));
    assert_eq!(bench.value("time", &[Value::U32(0)]), now, "the wall clock");
    assert_eq!(bench.value("time", &[Value::U32(1)]), now, "the monotonic clock");
    assert_ne!(bench.value("random", &[]), bench.value("random", &[]));
    assert_eq!(bench.value("environment", &[]), Some(Value::U32(0)));
    assert_eq!(bench.value("read", &[]), Some(Value::U32(0)), "the end of the input");
    let bad_file = 8;
    assert_eq!(bench.value("open", &[]), Some(Value::U32(bad_file * 1_000 + bad_file)));
    assert_eq!(bench.value("sleep", &[Value::U64(0)]), Some(Value::U32(0)));
    let refusal = bench.failure("sleep", &[Value::U64(1)]);
    assert!(refusal.message.contains("wait.park"), "{refusal}");
    let refusal = bench.failure("exit", &[Value::U32(3)]);
    assert!(refusal.message.contains("wasi:cli/exit"), "{refusal}");
    let end = bench.run("print", &["after\n".into()]);
    assert!(matches!(end, RunEnd::Returned { .. }), "{end:?}");
}
