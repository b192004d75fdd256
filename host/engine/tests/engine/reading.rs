//! Runs that may only read: what ends them, whose instances they take, what they trip.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::deployment::Instances;
use quorate_core::draft::ReadRecords as _;
use quorate_core::error::ErrorCode;
use quorate_core::path::Path;
use quorate_core::recipe::{Recipes as _, RunEnd};
use quorate_engine::{Engine, READERS_MAX};
use quorate_wire::value::Value;

use crate::guests;
use crate::support::{Again, Bench, bytes, digest, engine, ok};

fn reading(component: Bytes) -> Bench {
    let mut bench = Bench::new(component);
    bench.as_read = true;
    bench
}

/// A bench whose runner is a reader.
fn reader(engine: &Engine, component: &[u8]) -> Bench {
    let mut bench = Bench::on(engine.clone(), digest(component));
    bench.runner = engine.reader().expect("a place for a reader");
    bench.as_read = true;
    bench
}

#[test]
fn whatever_changes_the_tree_ends_a_run_that_may_only_read_and_the_guest_is_not_asked() {
    let mut bench = Bench::new(guests::tree());
    assert_eq!(bench.value("put", &["/a".into(), bytes(b"x")]), ok("/a".into()));
    bench.as_read = true;
    let before = bench.view.node(&Path::parse("/recipes/test/a").expect("a path"));
    let blob = || Value::Bytes(Bytes::from_static(b"x"));
    for (name, arguments) in [
        ("put", vec!["/b".into(), bytes(b"x")]),
        ("put", vec!["no path".into(), bytes(b"x")]),
        ("put", vec!["/no/parent".into(), bytes(b"x")]),
        ("enqueue", vec!["/a/n-".into(), bytes(b"x")]),
        ("hold", vec!["/b".into(), bytes(b"x")]),
        ("delete", vec!["/a".into()]),
        ("delete", vec!["/gone".into()]),
        ("delete", vec!["/".into()]),
        ("store", vec!["/b".into(), blob()]),
        ("lend", vec!["/b".into(), blob()]),
        ("put-and-refuse", vec!["/b".into()]),
    ] {
        let refusal = bench.failure(name, &arguments);
        assert_eq!(refusal.code, ErrorCode::ReadOnly, "{name} {arguments:?}: {refusal}");
        assert!(refusal.message.contains("change the tree"), "{refusal}");
    }
    assert_eq!(bench.value("children", &["/".into()]), ok(Value::List(vec!["a".into()])));
    assert_eq!(bench.value("fetch", &["/a".into()]), ok(blob()));
    assert!(bench.value("get", &["/a".into()]).is_some());
    let after = bench.view.node(&Path::parse("/recipes/test/a").expect("a path"));
    assert_eq!(before, after);
    let logged = bench.engine.logs("test", 20);
    assert_eq!(logged.len(), 11, "its author finds each: {logged:?}");
}

#[test]
fn a_run_that_may_only_read_neither_waits_nor_keeps_a_state() {
    let mut bench = reading(guests::various());
    for (name, arguments, part) in [
        ("await-much", vec![], "it may not wait"),
        ("await-node", vec!["/a".into()], "it may not keep a state"),
        ("remember-much", vec![], "it may not keep a state"),
    ] {
        let refusal = bench.failure(name, &arguments);
        assert_eq!(refusal.code, ErrorCode::ReadOnly, "{name}: {refusal}");
        assert!(refusal.message.contains(part), "{name}: {refusal}");
    }
    assert_eq!(bench.value("plain", &[]), Some(Value::U32(42)));
}

#[test]
fn a_function_that_the_manifest_lists_by_any_name_only_reads_by_all_its_names() {
    let names = ["put", "api.put", "test:guest/api@0.1.0.put"];
    for listed in names {
        let mut bench = Bench::new(guests::tree());
        bench.version.manifest.read_only.insert(listed.to_owned());
        for called in names {
            let function = bench.function("put");
            let arguments = quorate_wire::value::encode_arguments(
                &function,
                &["/a".into(), bytes(b"x")],
                quorate_wire::value::Limits::VALUE,
            );
            let arguments = arguments.expect("well-typed");
            let signature = function.signature_hash().into();
            let end = bench.run_bytes(called, signature, arguments, Again::first());
            let RunEnd::Failed(refusal) = end else { panic!("{listed}, {called}: {end:?}") };
            assert_eq!(refusal.code, ErrorCode::ReadOnly, "{listed}, {called}");
        }
        assert_eq!(bench.value("hold", &["/b".into(), bytes(b"x")]), ok("/b".into()));
    }
}

#[test]
fn a_name_that_is_not_exported_or_stands_for_two_is_no_functions() {
    let mut bench = Bench::new(guests::various());
    let component = bench.version.component;
    for name in ["plain", "world.plain", "api.count", "test:guest/other@0.1.0.count", "spin"] {
        assert_eq!(bench.runner.check_function(&component, name), Ok(()), "{name}");
    }
    for name in ["count", "plane", "api.plain", ""] {
        let refusal = bench.runner.check_function(&component, name).expect_err(name);
        assert_eq!(refusal.code, ErrorCode::NoFunction, "{name}: {refusal}");
    }
    let refusal = bench.runner.check_function(&[0; 32], "plain").expect_err("unknown");
    assert_eq!(refusal.code, ErrorCode::Compiling);
}

#[test]
fn readers_are_as_many_as_there_are_places_and_give_them_back() {
    let engine = engine();
    let mut readers: Vec<_> = std::iter::from_fn(|| engine.reader()).collect();
    assert_eq!(readers.len(), READERS_MAX);
    assert!(engine.reader().is_none());
    drop(readers.pop());
    assert!(engine.reader().is_some(), "the place was given back");
}

/// Each reader keeps as many instances as it may, and has one more that runs; then the sequencer comes.
#[test]
fn readers_take_no_instance_of_the_sequencers() {
    let engine = engine();
    let component = guests::various();
    engine.prepare(digest(&component), component.clone()).expect("admitted");
    let mut readers: Vec<Bench> = (0..READERS_MAX).map(|_| reader(&engine, &component)).collect();
    for bench in &mut readers {
        bench.version.manifest.instances = Instances::Reused;
        for recipe in 0..40 {
            bench.recipe = format!("recipe-{recipe}");
            assert_eq!(bench.value("api.count", &[]), Some(Value::U64(1)), "reader, {recipe}");
        }
    }
    let (stop, stopped) = mpsc::channel::<()>();
    let spinning = readers.into_iter().map(|mut bench| {
        bench.version.manifest.limits.time_ms = 5_000;
        let stop = stop.clone();
        thread::spawn(move || {
            let refusal = bench.failure("spin", &[]);
            drop(stop);
            (bench, refusal)
        })
    });
    let spinning: Vec<_> = spinning.collect();
    drop(stop);
    let mut sequencer = Bench::on(engine.clone(), digest(&component));
    sequencer.version.manifest.instances = Instances::Reused;
    for round in 1..=2 {
        for recipe in 0..32 {
            sequencer.recipe = format!("recipe-{recipe}");
            let count = sequencer.value("api.count", &[]);
            assert_eq!(count, Some(Value::U64(round)), "the sequencer keeps all of its own");
        }
    }
    let still = stopped.recv_timeout(Duration::ZERO);
    assert_eq!(still, Err(mpsc::RecvTimeoutError::Timeout), "the readers are at it all the time");
    for thread in spinning {
        let (_bench, refusal) = thread.join().expect("it ends");
        assert_eq!(refusal.code, ErrorCode::RecipeOverLimit, "{refusal}");
    }
}

#[test]
fn what_readers_trip_is_tripped_for_readers_only_though_no_transaction_comes() {
    let engine = engine();
    let component = guests::various();
    engine.prepare(digest(&component), component.clone()).expect("admitted");
    let mut reads = reader(&engine, &component);
    let mut writes = Bench::on(engine.clone(), digest(&component));
    for bench in [&mut reads, &mut writes] {
        bench.version.manifest.limits.host_calls = 10;
    }
    for _ in 0..10 {
        assert_eq!(reads.failure("chatter", &[]).code, ErrorCode::RecipeOverLimit);
    }
    assert_eq!(reads.failure("plain", &[]).code, ErrorCode::RecipeTripped);
    assert_eq!(writes.value("plain", &[]), Some(Value::U32(42)));
    engine.untrip(&reads.version.component);
    assert_eq!(reads.value("plain", &[]), Some(Value::U32(42)));
    for _ in 0..10 {
        assert_eq!(writes.failure("chatter", &[]).code, ErrorCode::RecipeOverLimit);
    }
    assert_eq!(writes.failure("plain", &[]).code, ErrorCode::RecipeTripped);
    assert_eq!(reads.value("plain", &[]), Some(Value::U32(42)));
    // By a clock that goes on, which transactions' time does not: the lines of the log are of now.
    let line = engine.logs("test", 100).into_iter().find(|line| line.time != writes.time);
    assert!(line.is_some_and(|line| line.time > writes.time));
}
