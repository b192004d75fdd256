//! Which instance serves a call: a new one, or the kept one, which goes after anything but a plain success.

use bytes::Bytes;
use quorate_core::deployment::Instances;
use quorate_core::error::ErrorCode;
use quorate_core::recipe::Recipes as _;
use quorate_wire::value::Value;

use crate::guests;
use crate::support::{Bench, bytes, digest, ok};

fn count(bench: &mut Bench) -> u64 {
    match bench.value("api.count", &[]) {
        Some(Value::U64(count)) => count,
        other => panic!("{other:?}"),
    }
}

fn reused(component: Bytes) -> Bench {
    let mut bench = Bench::new(component);
    bench.version.manifest.instances = Instances::Reused;
    bench
}

#[test]
fn a_fresh_instance_knows_nothing_of_the_call_before() {
    let mut bench = Bench::new(guests::various());
    assert_eq!([count(&mut bench), count(&mut bench), count(&mut bench)], [1, 1, 1]);
}

#[test]
fn a_reused_instance_goes_after_a_trap_a_park_and_an_error() {
    let mut bench = reused(guests::various());
    assert_eq!([count(&mut bench), count(&mut bench)], [1, 2]);
    for (name, arguments) in [("trap", vec![]), ("await-node", vec!["/a".into()]), ("fail", vec![])]
    {
        bench.run(name, &arguments);
        assert_eq!([count(&mut bench), count(&mut bench)], [1, 2], "after {name}");
    }
}

#[test]
fn when_all_instances_are_taken_a_call_is_refused_until_one_is_free() {
    let engine = crate::support::engine();
    let component = guests::various();
    engine.prepare(digest(&component), component.clone()).expect("admitted");
    let keeping = || {
        let mut bench = Bench::on(engine.clone(), digest(&component));
        bench.version.manifest.instances = Instances::Reused;
        bench
    };
    // Each keeps one; they are what a member's threads have at most.
    let mut taken: Vec<Bench> = (0..128).map(|_| keeping()).collect();
    for bench in &mut taken {
        assert_eq!(count(bench), 1);
    }
    let mut late = keeping();
    let refusal = late.failure("api.count", &[]);
    assert_eq!(refusal.code, ErrorCode::Overloaded, "{refusal}");
    assert!(refusal.message.contains("limit of 128"), "{refusal}");
    assert_eq!(count(&mut taken[0]), 2, "who has one goes on");
    drop(taken.pop());
    assert_eq!([count(&mut late), count(&mut late)], [1, 2]);
}

#[test]
fn a_reset_and_another_manifest_drop_the_instance() {
    let mut bench = reused(guests::various());
    assert_eq!([count(&mut bench), count(&mut bench)], [1, 2]);
    bench.runner.reset();
    assert_eq!([count(&mut bench), count(&mut bench)], [1, 2]);
    bench.version.manifest.limits.host_calls += 1;
    assert_eq!(count(&mut bench), 1);
    bench.engine.forget(&bench.version.component);
    let end = bench.run_bytes("plain", 0, Bytes::new(), crate::support::Again::first());
    let quorate_core::recipe::RunEnd::Failed(refusal) = end else { panic!("{end:?}") };
    assert_eq!(refusal.code, ErrorCode::Compiling);
}

#[test]
fn a_reused_instance_serves_the_facts_of_each_call() {
    let mut bench = reused(guests::various());
    assert_eq!(bench.value("who", &[]), Some(Value::U64(bench.session.0)));
    bench.version.manifest.limits.host_calls = 1;
    // One call of the host each: the count of the run before does not add up.
    for _ in 0..5 {
        assert_eq!(bench.value("who", &[]), Some(Value::U64(bench.session.0)));
    }
}

#[test]
fn an_instance_that_leaks_handles_is_not_kept() {
    let mut bench = reused(guests::tree());
    assert_eq!(bench.value("put", &["/a".into(), bytes(b"x")]), ok("/a".into()));
    // More than an instance may hold at a time.
    for _ in 0..1_100 {
        assert_eq!(bench.value("leak", &["/a".into()]), Some(Value::Bool(true)));
    }
    let payload = Value::Bytes(Bytes::from_static(b"x"));
    for number in 0..1_100 {
        let at = format!("/{number}");
        let stored = bench.value("lend", &[at.as_str().into(), payload.clone()]);
        assert_eq!(stored, ok(at.as_str().into()));
        assert_eq!(bench.value("fetch", &["/a".into()]), ok(payload.clone()));
    }
}
