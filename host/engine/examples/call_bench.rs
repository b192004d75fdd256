//! What one call costs: with a fresh instance, with a reused one, and with the transaction alone.
//! `cargo run -p quorate-engine --example call_bench`

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_core::deployment::{Instances, Manifest, Version};
use quorate_core::draft::View;
use quorate_core::ids::{CallId, Millis, SessionId, WriteNumber, Zxid};
use quorate_core::path::Path;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Reason, Recipes as _, Run, RunEnd};
use quorate_core::request::Call;
use quorate_core::session::Acks;
use quorate_core::transaction::Origin;
use quorate_core::txn::{Slot, Txn};
use quorate_engine::{Engine, Options};
use quorate_wire::value::{Limits, Value, encode_arguments};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const ROUNDS: usize = 2_000;

const WIT: &str = r"
    package bench:guest@0.1.0;
    interface api {
        use quorate:recipe/types@0.1.0.{error};
        use quorate:recipe/blobs@0.1.0.{blob};
        add: func(a: u64, b: u64) -> u64;
        put: func(path: string, data: list<u8>) -> result<string, error>;
        put-blob: func(path: string, data: blob) -> result<string, error>;
        take: func(data: list<u8>);
        give: func(count: u32) -> list<u8>;
        take-text: func(data: string);
    }
    world guest { include quorate:recipe/imports@0.1.0; export api; }
";

const GUEST: &str = r#"(module
    (import "quorate:recipe/tree@0.1.0" "create"
      (func $create (param i32 i32 i32 i32 i32 i64 i32 i32 i32)))
    (import "quorate:recipe/tree@0.1.0" "create-blob"
      (func $create-blob (param i32 i32 i32 i32 i64 i32 i32 i32)))
    (import "quorate:recipe/blobs@0.1.0" "[resource-drop]blob" (func $drop (param i32)))
    (memory (export "memory") 4)
    (global $heap (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func (export "bench:guest/api@0.1.0#add") (param i64 i64) (result i64)
      (i64.add (local.get 0) (local.get 1)))
    (func (export "bench:guest/api@0.1.0#put") (param i32 i32 i32 i32) (result i32)
      (global.set $heap (i32.const 65536))
      (call $create (local.get 0) (local.get 1) (local.get 2) (local.get 3)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
      (i32.const 1024))
    (func (export "bench:guest/api@0.1.0#put-blob") (param i32 i32 i32) (result i32)
      (global.set $heap (i32.const 65536))
      (call $create-blob (local.get 0) (local.get 1) (local.get 2)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 1024))
      (call $drop (local.get 2))
      (i32.const 1024))
    (func (export "bench:guest/api@0.1.0#take") (param i32 i32)
      (global.set $heap (i32.const 65536)))
    (func (export "bench:guest/api@0.1.0#take-text") (param i32 i32)
      (global.set $heap (i32.const 65536)))
    (func (export "bench:guest/api@0.1.0#give") (param i32) (result i32)
      (i32.store (i32.const 1024) (i32.const 65536))
      (i32.store (i32.const 1028) (local.get 0))
      (i32.const 1024)))"#;

fn main() {
    let component = component();
    let digest = Sha256::digest(&component).into();
    let engine = Engine::new(&Options::default()).expect("an engine");
    let started = Instant::now();
    engine.prepare(digest, component).expect("admitted");
    let mut out = std::io::stdout();
    let compile_ms = started.elapsed().as_secs_f64() * 1e3;
    writeln!(out, "prepare: {compile_ms:.1} ms").expect("stdout");
    let put = [Value::from("/a"), Value::Bytes(Bytes::from_static(&[7; 16]))];
    let add = [Value::U64(1), Value::U64(2)];
    for (name, arguments) in [("add", &add), ("put", &put)] {
        for instances in [Instances::Fresh, Instances::Reused] {
            let median = median_us(&engine, digest, name, arguments, instances);
            writeln!(out, "{name}, {instances:?}: median {median:.2} us").expect("stdout");
        }
    }
    for bytes in [16, 1024, 16 * 1024, 64 * 1024] {
        let data = Value::Bytes(vec![7; bytes].into());
        let text = Value::from("x".repeat(bytes).as_str());
        let count = Value::U32(u32::try_from(bytes).expect("small"));
        for (name, arguments) in [
            ("put", vec![Value::from("/a"), data.clone()]),
            ("put-blob", vec![Value::from("/a"), data.clone()]),
            ("take", vec![data]),
            ("give", vec![count]),
            ("take-text", vec![text]),
        ] {
            let median = median_us(&engine, digest, name, &arguments, Instances::Reused);
            writeln!(out, "{name} of {bytes} bytes: median {median:.2} us").expect("stdout");
        }
    }
}

fn component() -> Bytes {
    let mut module = wat::parse_str(GUEST).expect("well-formed");
    let mut resolve = Resolve::default();
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    resolve.push_dir(ours).expect("our own WIT");
    let package = resolve.push_str("bench.wit", WIT).expect("well-formed");
    let world = resolve.select_world(&[package], None).expect("one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds");
    let mut encoder = ComponentEncoder::default().module(&module).expect("a module");
    encoder.encode().expect("fits its world").into()
}

/// Microseconds of one call, beginning and dropping the transaction included.
fn median_us(
    engine: &Engine,
    component: [u8; 32],
    name: &str,
    arguments: &[Value],
    instances: Instances,
) -> f64 {
    let mut manifest = Manifest::for_root(Path::root());
    manifest.instances = instances;
    let principal = String::new();
    let version = Version { number: 1, component, manifest, principal, deployed: Millis(1) };
    let interfaces = engine.interfaces(&component).expect("prepared");
    let function = interfaces[0].function(name).expect("exported");
    let arguments = encode_arguments(function, arguments, Limits::VALUE).expect("well-typed");
    let signature = function.signature_hash().into();
    let call = Call { recipe: "bench".to_owned(), function: name.to_owned(), signature, arguments };
    let id = CallId { session: SessionId(1), write: WriteNumber(1) };
    let run = Run {
        id,
        principal: "",
        version: &version,
        call: &call,
        reason: Reason::First,
        state: Bytes::new(),
        deadline: None,
        may_park: true,
    };
    let mut runner = engine.runner();
    let mut view = View::new(Arc::new(MemoryTree::new()));
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let slot = Slot { zxid: Zxid(1), time: Millis(1), batch: 1 };
        let acks = Acks::default();
        let origin = Origin::Write { session: id.session, write: id.write, hash: 0, acks };
        let (txn, end) = runner.run(&run, Txn::begin(view, slot, origin));
        view = txn.forget();
        times.push(started.elapsed());
        assert!(matches!(end, RunEnd::Returned { is_error: false, .. }), "{end:?}");
    }
    times.sort_unstable();
    times[ROUNDS / 2].as_secs_f64() * 1e6
}
