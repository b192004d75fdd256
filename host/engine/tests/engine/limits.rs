//! Guests that want too much: each ends with the limit and its value by name, and the next run is as if nothing had been.

use quorate_core::error::ErrorCode;
use quorate_core::ids::Millis;
use quorate_engine::Level;
use quorate_wire::value::Value;

use crate::guests;
use crate::support::Bench;

#[test]
fn every_limit_is_named_with_its_value() {
    let mut bench = Bench::new(guests::various());
    bench.version.manifest.limits.time_ms = 30;
    bench.version.manifest.limits.host_calls = 1_000;
    for (name, arguments, part) in [
        ("spin", vec![], "longer than the limit of 30 ms (time_ms)"),
        ("grow", vec![], "(memory_bytes): 17825792 is over the limit of 16777216"),
        ("recurse", vec![Value::U32(u32::MAX)], "more stack than the limit of 524288 bytes"),
        ("chatter", vec![], "(host_calls): 1001 is over the limit of 1000"),
    ] {
        let refusal = bench.failure(name, &arguments);
        assert_eq!(refusal.code, ErrorCode::RecipeOverLimit, "{name}: {refusal}");
        assert!(refusal.message.contains(part), "{name}: {refusal}");
        assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)), "after {name}");
    }
    assert_eq!(bench.value("recurse", &[Value::U32(1_000)]), Some(Value::U32(1_000)));
}

#[test]
fn a_trap_is_told_as_one_and_stands_in_the_recipes_log() {
    let mut bench = Bench::new(guests::various());
    let refusal = bench.failure("trap", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeTrapped);
    assert!(refusal.message.contains("unreachable"), "{refusal}");
    let lines = bench.engine.logs("test", 10);
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].level, lines[0].time), (Level::Error, bench.time));
    assert!(lines[0].message.contains("unreachable"), "{lines:?}");
}

#[test]
fn a_manifest_that_grants_less_than_the_guest_begins_with_says_so() {
    let mut bench = Bench::new(guests::various());
    bench.version.manifest.limits.memory_bytes = 65_536;
    let refusal = bench.failure("plain", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit);
    assert!(refusal.message.contains("4194304 is over the limit of 65536"), "{refusal}");
}

#[test]
fn a_flood_of_log_lines_is_cut_and_the_run_goes_on() {
    let mut bench = Bench::new(guests::various());
    bench.version.manifest.limits.log_bytes = 10 * (19 + 32);
    let times = |times| [Value::U32(times)];
    assert_eq!(bench.value("shout", &times(3)), None);
    assert_eq!(bench.engine.logs("test", 10).len(), 3);
    assert_eq!(bench.value("shout", &times(5_000)), None);
    let lines = bench.engine.logs("test", 100);
    assert_eq!(lines.len(), 3 + 10 + 1);
    assert_eq!(lines[0].message, "a line of the guest");
    assert_eq!(lines[13].message, "4990 lines cut: over log_bytes = 510");
}

#[test]
fn a_recipe_that_keeps_passing_its_limits_is_tripped_for_a_while() {
    let mut bench = Bench::new(guests::various());
    bench.version.manifest.limits.host_calls = 10;
    for _ in 0..10 {
        assert_eq!(bench.failure("chatter", &[]).code, ErrorCode::RecipeOverLimit);
    }
    let refusal = bench.failure("plain", &[]);
    assert_eq!(refusal.code, ErrorCode::RecipeTripped);
    assert!(refusal.message.contains("host_calls"), "{refusal}");
    bench.time = Millis(bench.time.0 + 29_999);
    assert_eq!(bench.failure("plain", &[]).code, ErrorCode::RecipeTripped);
    bench.time = Millis(bench.time.0 + 1);
    assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)));
    for _ in 0..10 {
        bench.failure("chatter", &[]);
    }
    assert_eq!(bench.failure("plain", &[]).code, ErrorCode::RecipeTripped);
    bench.engine.untrip(&bench.version.component);
    assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)));
}

#[test]
fn traps_alone_trip_nothing() {
    let mut bench = Bench::new(guests::various());
    for _ in 0..30 {
        assert_eq!(bench.failure("trap", &[]).code, ErrorCode::RecipeTrapped);
    }
}
