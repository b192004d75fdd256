//! The tree as a guest sees it: its root as `/`, its mounts, its errors, and payloads that it never copies.

use bytes::Bytes;
use quorate_core::deployment::Mount;
use quorate_core::draft::ReadRecords as _;
use quorate_core::error::ErrorCode;
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::recipe::RunEnd;
use quorate_core::znode::Lifetime;
use quorate_wire::value::Value;

use crate::guests;
use crate::support::{Bench, bytes, ok};

fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

fn data(bench: &Bench, text: &str) -> Bytes {
    query::get(&bench.view, &path(text)).expect("the znode is there").0
}

/// The code and the sentence of `err(error)`.
fn error(value: Option<Value>) -> (u32, String) {
    let Some(Value::Result(Err(Some(error)))) = value else { panic!("no error: {value:?}") };
    let Value::Record(fields) = *error else { panic!("no record: {error:?}") };
    let [Value::Enum(code), Value::String(message)] = fields.as_slice() else {
        panic!("no error: {fields:?}")
    };
    (*code, message.clone())
}

const NO_NODE: u32 = 1;
const NODE_EXISTS: u32 = 2;
const NO_ACCESS: u32 = 6;
const LIMIT: u32 = 7;
const BAD_ARGUMENTS: u32 = 8;
const BAD_PATH: u32 = 0;

#[test]
fn what_a_guest_writes_stands_below_its_root_when_the_run_has_ended() {
    let mut bench = Bench::new(guests::tree());
    assert_eq!(bench.value("put", &["/a/b".into(), bytes(b"hello")]), ok("/a/b".into()));
    assert_eq!(data(&bench, "/recipes/test/a/b"), "hello");
    let Some(Value::Result(Ok(Some(node)))) = bench.value("get", &["/a/b".into()]) else {
        panic!("not found")
    };
    let Value::Record(fields) = *node else { panic!("no record") };
    assert_eq!(fields[0], bytes(b"hello"));
    let Value::Record(stat) = &fields[1] else { panic!("no stat") };
    assert_eq!((&stat[3], &stat[8]), (&Value::U64(1_000), &Value::U64(5)));
    let children = Value::List(vec!["b".into()]);
    assert_eq!(bench.value("children", &["/a".into()]), ok(children));
}

#[test]
fn a_sequential_name_comes_back_as_the_guest_sees_it() {
    let mut bench = Bench::new(guests::tree());
    bench.value("put", &["/queue".into(), bytes(b"")]);
    let first = "/queue/n-0000000000000000000";
    assert_eq!(bench.value("enqueue", &["/queue/n-".into(), bytes(b"")]), ok(first.into()));
    let bare = "/queue/0000000000000000001";
    assert_eq!(bench.value("enqueue", &["/queue/".into(), bytes(b"")]), ok(bare.into()));
    assert!(bench.view.node(&path("/recipes/test/queue/0000000000000000001")).is_some());
}

#[test]
fn errors_have_the_codes_of_wit_and_the_paths_of_the_guest() {
    let mut bench = Bench::new(guests::tree());
    bench.value("put", &["/a".into(), bytes(b"")]);
    let mut expect = |name: &str, arguments: &[Value], code: u32, part: &str| {
        let (found, message) = error(bench.value(name, arguments));
        assert_eq!(found, code, "{name}: {message}");
        assert!(message.contains(part) && !message.contains("recipes"), "{name}: {message}");
    };
    expect("get", &["/gone".into()], NO_NODE, "/gone");
    expect("put", &["/a".into(), bytes(b"")], NODE_EXISTS, "/a");
    expect("get", &["a".into()], BAD_PATH, "does not start");
    expect("get", &["/../other".into()], BAD_PATH, "..");
    expect("delete", &["/".into()], BAD_ARGUMENTS, "root");
}

#[test]
fn a_mount_is_seen_at_its_place_and_changed_only_if_granted() {
    let mut bench = Bench::new(guests::tree());
    let mut txn = bench.begin();
    txn.create_missing(&path("/app/config/x")).expect("creates");
    txn.create_missing(&path("/app/notes")).expect("creates");
    bench.finish(txn);
    let mut mount = |at: &str, target: &str, writable: bool| {
        let mount = Mount { at: path(at), path: path(target), writable };
        bench.version.manifest.mounts.push(mount);
    };
    mount("/config", "/app/config", false);
    mount("/notes", "/app/notes", true);
    let children = Value::List(vec!["x".into()]);
    assert_eq!(bench.value("children", &["/config".into()]), ok(children));
    let put = |bench: &mut Bench, name: &str, at: &str| bench.value(name, &[at.into(), bytes(b"")]);
    assert_eq!(error(put(&mut bench, "put", "/config/y")).0, NO_ACCESS);
    assert_eq!(put(&mut bench, "put", "/notes/y"), ok("/notes/y".into()));
    assert!(bench.view.node(&path("/app/notes/y")).is_some());
    // Its sibling would be `/app/notes0000000000000000000`, which nobody granted.
    assert_eq!(error(put(&mut bench, "enqueue", "/notes")).0, BAD_ARGUMENTS);
    let (code, message) = error(bench.value("get", &["/notes/z".into()]));
    assert_eq!((code, message.as_str()), (NO_NODE, "there is no znode /notes/z"));
}

#[test]
fn the_error_case_of_a_result_is_told_apart_from_success() {
    let mut bench = Bench::new(guests::tree());
    let end = bench.run("put-and-refuse", &["/a".into()]);
    assert!(matches!(end, RunEnd::Returned { is_error: true, .. }), "{end:?}");
    assert!(bench.view.node(&path("/recipes/test/a")).is_none());
}

#[test]
fn a_call_owned_znode_belongs_to_the_call() {
    let mut bench = Bench::new(guests::tree());
    let function = bench.function("hold");
    let arguments = ["/mine".into(), bytes(b"")];
    let limits = quorate_wire::value::Limits::VALUE;
    let arguments = quorate_wire::value::encode_arguments(&function, &arguments, limits);
    let arguments = arguments.expect("well-typed");
    let call = quorate_core::request::Call {
        recipe: "test".to_owned(),
        function: "hold".to_owned(),
        signature: function.signature_hash().into(),
        arguments,
    };
    let txn = bench.begin();
    let id = txn.caller().expect("a session's");
    let run = quorate_core::recipe::Run {
        id,
        principal: "",
        version: &bench.version,
        call: &call,
        reason: quorate_core::recipe::Reason::First,
        state: Bytes::new(),
        deadline: None,
        may_park: true,
    };
    let (txn, end) = quorate_core::recipe::Recipes::run(&mut bench.runner, &run, txn);
    assert!(matches!(end, RunEnd::Returned { is_error: false, .. }), "{end:?}");
    let node = txn.node(&path("/recipes/test/mine")).expect("it is there");
    assert_eq!(node.lifetime, Lifetime::CallOwned(id));
}

#[test]
fn a_payload_passes_through_as_a_handle() {
    let mut bench = Bench::new(guests::tree());
    // 1 MiB: neither would fit the cap on lists of bytes, nor is it ever in the guest's 4 MiB of memory.
    let payload = Bytes::from(vec![7; 1 << 20]);
    for (name, at) in [("store", "/given"), ("lend", "/lent")] {
        let stored = bench.value(name, &[at.into(), Value::Bytes(payload.clone())]);
        assert_eq!(stored, ok(at.into()), "{name}");
        assert_eq!(data(&bench, &format!("/recipes/test{at}")), payload);
        assert_eq!(bench.value("fetch", &[at.into()]), ok(Value::Bytes(payload.clone())));
    }
    let (code, message) = error(bench.value("fetch", &["/gone".into()]));
    assert_eq!((code, message.as_str()), (NO_NODE, "there is no znode /gone"));
}

#[test]
fn a_guest_can_not_hoard_handles() {
    let mut bench = Bench::new(guests::tree());
    bench.value("put", &["/a".into(), bytes(b"x")]);
    let refusal = bench.failure("hoard", &["/a".into()]);
    assert_eq!(refusal.code, ErrorCode::RecipeOverLimit, "{refusal}");
    assert!(refusal.message.contains("blobs held at a time: 1025"), "{refusal}");
}

#[test]
fn changes_of_a_run_are_bounded_by_the_manifest_and_the_guest_is_told() {
    let mut bench = Bench::new(guests::tree());
    bench.version.manifest.limits.changes = 2;
    let (code, message) = error(bench.value("put", &["/a/b/c".into(), bytes(b"")]));
    assert_eq!(code, LIMIT, "{message}");
    assert!(message.contains("changes of a transaction: 3"), "{message}");
}

#[test]
fn a_version_migrates_from_the_one_before() {
    let mut bench = Bench::new(guests::migrating());
    for (previous, made) in [(None, "/recipes/test/from-0"), (Some(3), "/recipes/test/from-3")] {
        let txn = bench.begin();
        let runner = &mut bench.runner;
        let (txn, migrated) =
            quorate_core::recipe::Recipes::migrate(runner, &bench.version, previous, txn);
        assert_eq!(migrated, Ok(()));
        assert!(txn.node(&path(made)).is_some());
    }
    let txn = bench.begin();
    let (_, migrated) =
        quorate_core::recipe::Recipes::migrate(&mut bench.runner, &bench.version, Some(9), txn);
    let refusal = migrated.expect_err("too old");
    assert_eq!(refusal.code, ErrorCode::RecipeRefused);
    assert!(refusal.message.contains("too old"), "{refusal}");
    let refusal = bench.engine.interfaces(&bench.version.component).expect("prepared");
    assert_eq!(refusal.len(), 1, "migrate is not callable");
}
