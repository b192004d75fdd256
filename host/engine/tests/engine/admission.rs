//! Which components are let in, and what the others are told.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::error::ErrorCode;
use quorate_core::recipe::Recipes as _;
use quorate_engine::{Engine, ImportClass, Options};

use crate::guests;
use crate::support::{PRELUDE, component, digest, engine, refused};

fn text(text: &str) -> Bytes {
    wat::parse_str(text).expect("well-formed").into()
}

#[track_caller]
fn expect_refused(bytes: Bytes, part: &str) {
    let refusal = refused(bytes);
    assert_eq!(refusal.code, ErrorCode::NotAdmitted, "{refusal}");
    assert!(refusal.message.contains(part), "{refusal}");
}

#[test]
fn an_admitted_component_tells_its_interfaces_and_imports() {
    let engine = engine();
    let bytes = guests::various();
    let digest = digest(&bytes);
    assert_eq!(engine.interfaces(&digest).expect_err("unknown").code, ErrorCode::Compiling);
    assert!(!engine.is_prepared(&digest));
    engine.prepare(digest, bytes).expect("admitted");
    assert!(engine.is_prepared(&digest));
    let interfaces = engine.interfaces(&digest).expect("prepared");
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["test:guest/api@0.1.0", "test:guest/other@0.1.0", "world"]);
    let sum = interfaces[0].function("sum").expect("exported");
    assert_eq!(sum.to_string(), "sum: func(numbers: list<u8>) -> u32");
    assert!(interfaces[2].function("init").is_none(), "init is for the toolchain");
    let imports = engine.imports(&digest).expect("prepared");
    assert!(imports.iter().all(|import| import.class == ImportClass::Native), "{imports:?}");
    assert!(imports.iter().any(|import| import.name == "quorate:recipe/wait@0.1.0"));
}

#[test]
fn imports_that_are_not_offered_are_refused_by_name() {
    for name in [
        "wasi:filesystem/types@0.3.0",
        "wasi:clocks/timezone@0.2.0",
        "wasi:sockets/ip-name-lookup@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:sockets/tcp@0.2.0",
        "wasi:http/types@0.2.0",
        "quorate:recipe/tree@0.2.0",
        "quorate:recipe/files@0.1.0",
        "acme:things/thing@1.0.0",
    ] {
        expect_refused(text(&format!("(component (import \"{name}\" (instance)))")), name);
    }
    expect_refused(text("(component (import \"plain\" (func)))"), "plain");
    let several = text(
        r#"(component
        (import "wasi:sockets/tcp@0.2.0" (instance))
        (import "wasi:cli/stdout@0.2.0" (instance))
        (import "wasi:http/types@0.2.0" (instance))
        (import "env" (func)))"#,
    );
    expect_refused(
        several,
        "wasi:sockets/tcp@0.2.0: a recipe has no network, since its run is a transaction that may be \
         abandoned; build it without; 2 others that are not offered: wasi:http/types@0.2.0, env",
    );
}

#[test]
fn an_import_that_is_not_as_the_host_has_it_is_refused() {
    let other = r#"(component
        (import "quorate:recipe/log@0.1.0" (instance (export "shout" (func))))
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    expect_refused(text(other), "quorate:recipe/log@0.1.0");
}

#[test]
fn nested_components_that_could_call_are_refused() {
    let nested = r#"(component
        (component $inner
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))
        (instance $i (instantiate $inner))
        (func (export "f") (alias export $i "f")))"#;
    let nested = nested.replace(
        "(func (export \"f\") (alias export $i \"f\"))",
        "(alias export $i \"f\" (func $f)) (export \"f\" (func $f))",
    );
    expect_refused(text(&nested), "nested component");
    let twice = "(component (component (component)))";
    expect_refused(text(twice), "nested component");
    let own_export_lowered = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (core func $g (canon lower (func $f)))
        (export "f" (func $f)))"#;
    expect_refused(text(own_export_lowered), "its own exports");
}

#[test]
fn what_is_no_component_is_refused() {
    expect_refused(Bytes::from_static(b"\0asm"), "well-formed");
    expect_refused(Bytes::new(), "well-formed");
    expect_refused(Bytes::from_static(b"not wasm at all"), "well-formed");
    expect_refused(text("(module)"), "core module");
    expect_refused(text("(component)"), "no function");
    let whole = guests::tree();
    for length in [8, 9, 100, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refused(whole.slice(..length)).code, ErrorCode::NotAdmitted, "{length}");
    }
}

#[test]
fn sizes_are_bounded_before_anything_is_compiled() {
    let bytes = guests::tree();
    let options = Options { component_bytes_max: 100, ..Options::default() };
    let engine = Engine::new(&options).expect("an engine");
    let refusal = engine.prepare(digest(&bytes), bytes.clone()).expect_err("too large");
    let size = format!("{} is over the limit of 100", bytes.len());
    assert!(refusal.message.contains(&size), "{refusal}");

    let locals = "(local i64) ".repeat(10_001);
    let many = format!("(component (core module (func {locals})))");
    expect_refused(text(&many), "locals of a function: 10001");
    let long = format!("(component (core module (func {})))", "nop ".repeat(600_000));
    expect_refused(text(&long), "bytes of a function");
    let modules = "(core module)".repeat(65);
    expect_refused(text(&format!("(component {modules})")), "core modules: 65");
}

/// Takes a second or so to compile.
fn slow() -> Bytes {
    let step = "(local.set 0 (i64.mul (local.get 0) (i64.const 7)))".repeat(3_000);
    let functions: String = (0..60)
        .map(|index| {
            format!("(func (export \"f{index}\") (param i64) (result i64) {step} (local.get 0))")
        })
        .collect();
    text(&format!(
        "(component (core module $m {functions}) (core instance $i (instantiate $m))
         (func (export \"f\") (param \"a\" u64) (result u64) (canon lift (core func $i \"f0\"))))"
    ))
}

#[test]
fn a_compilation_over_the_time_limit_is_refused_and_holds_up_others_only_while_it_lasts() {
    let options = Options { compile_ms_max: 20, ..Options::default() };
    let engine = Engine::new(&options).expect("an engine");
    let slow = slow();
    let refusal = engine.prepare(digest(&slow), slow.clone()).expect_err("too slow");
    assert_eq!(refusal.code, ErrorCode::NotAdmitted);
    assert!(refusal.message.contains("longer than the limit of 20 ms"), "{refusal}");
    let quick = text(
        "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
         (func (export \"f\") (canon lift (core func $i \"f\"))))",
    );
    let refusal = engine.prepare(digest(&quick), quick.clone()).expect_err("behind the slow one");
    assert_eq!(refusal.code, ErrorCode::Overloaded);
    assert!(refusal.message.contains("limit of 20 ms"), "{refusal}");
    // On a busy machine the quick one may take too long itself now and then.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(refusal) = engine.prepare(digest(&quick), quick.clone()) {
        assert!(Instant::now() < deadline, "the slow one has not ended: {refusal}");
        engine.forget(&digest(&quick));
    }
    assert!(!engine.is_prepared(&digest(&slow)), "nobody wants the late result");
}

#[test]
fn functions_whose_types_have_no_value_are_refused_by_name() {
    let wit = r"
        package test:guest@0.1.0;
        interface api {
            resource thing { constructor(); }
            use-it: func(thing: borrow<thing>);
        }
        world guest { export api; }
    ";
    let fields = format!(
        r#"{PRELUDE}
        (func (export "test:guest/api@0.1.0#[constructor]thing") (result i32) (i32.const 1))
        (func (export "test:guest/api@0.1.0#use-it") (param i32))"#
    );
    expect_refused(component(wit, &fields), "test:guest/api@0.1.0.");
    let cases: Vec<String> = (0..257).map(|number| format!("c{number}")).collect();
    let wit = format!(
        "package test:guest@0.1.0; interface api {{ enum many {{ {} }} f: func(it: many); }}
         world guest {{ export api; }}",
        cases.join(", ")
    );
    let fields = format!(r#"{PRELUDE} (func (export "test:guest/api@0.1.0#f") (param i32))"#);
    expect_refused(component(&wit, &fields), "257 cases");
}

#[test]
fn a_type_that_unfolds_without_bound_is_refused() {
    let mut types = "type t0 = tuple<u8, u8>;".to_owned();
    for level in 1..15 {
        let below = level - 1;
        types.push_str(&format!("type t{level} = tuple<t{below}, t{below}>;"));
    }
    let wit = format!(
        "package test:guest@0.1.0; interface api {{ {types} f: func(it: list<t14>); }}
         world guest {{ export api; }}"
    );
    let fields = format!(r#"{PRELUDE} (func (export "test:guest/api@0.1.0#f") (param i32 i32))"#);
    let refusal = refused(component(&wit, &fields));
    assert!(refusal.message.contains("more than 16384 parts"), "{refusal}");
}

#[test]
fn a_new_interface_is_compared_with_the_one_before() {
    let guest = |body: &str, core: &str| {
        let wit = format!(
            "package test:guest@0.1.0; interface api {{ {body} }} world guest {{ export api; }}"
        );
        component(&wit, &format!("{PRELUDE} {core}"))
    };
    let f = r#"(func (export "test:guest/api@0.1.0#f") (param i32))"#;
    let g = r#"(func (export "test:guest/api@0.1.0#g"))"#;
    let old = guest("f: func(a: u32);", f);
    let more = guest("f: func(a: u32); g: func();", &format!("{f}{g}"));
    let less = guest("g: func();", g);
    let engine = engine();
    let mut runner = engine.runner();
    let refusal = runner.check(&digest(&old), None).expect_err("not prepared");
    assert_eq!(refusal.code, ErrorCode::Compiling);
    for bytes in [&old, &more, &less] {
        engine.prepare(digest(bytes), bytes.clone()).expect("admitted");
    }
    let old = digest(&old);
    assert_eq!(runner.check(&digest(&more), Some(&old)), Ok(vec![]));
    let breaking = runner.check(&digest(&less), Some(&old)).expect("admitted");
    assert_eq!(breaking, ["The function `f` is gone."]);
}

#[test]
fn a_refusal_is_remembered_until_it_is_forgotten() {
    let engine = engine();
    let bytes = text("(component)");
    let digest = digest(&bytes);
    let refusal = engine.prepare(digest, bytes.clone()).expect_err("refused");
    assert_eq!(engine.prepare(digest, Bytes::new()), Err(refusal.clone()), "nobody looks again");
    assert_eq!(engine.interfaces(&digest), Err(refusal.clone()));
    engine.forget(&digest);
    let other = engine.prepare(digest, Bytes::new()).expect_err("not these bytes");
    assert_eq!(other.code, ErrorCode::BadArguments);
    assert_eq!(engine.prepare(digest, bytes), Err(refusal));
}
