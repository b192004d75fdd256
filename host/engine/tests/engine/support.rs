//! Guests from text, and a bench to call them on. Owns no assertion.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Manifest, Version};
use quorate_core::draft::View;
use quorate_core::error::Refusal;
use quorate_core::execute;
use quorate_core::ids::{CallId, Millis, SessionId, WriteNumber, Zxid};
use quorate_core::path::Path;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Reason, Recipes as _, Run, RunEnd};
use quorate_core::request::{Answer, Call, Reply};
use quorate_core::session::{Acks, Opening};
use quorate_core::transaction::Origin;
use quorate_core::txn::{Slot, Txn};
use quorate_engine::{Engine, Options, Runner};
use quorate_wire::value::{Function, Limits, Value, decode_result, encode_arguments};
use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// What every guest begins with: memory, and a heap that only grows.
pub const PRELUDE: &str = r#"
  (memory (export "memory") 64)
  (global $heap (mut i32) (i32.const 65536))
  (func $alloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get 2) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get 2))))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
"#;

/// A component of a world in WIT (package `test:guest`) and the fields of a core module in text.
pub fn component(wit: &str, fields: &str) -> Bytes {
    encoder(wit, fields).validate(true).encode().expect("the guest fits its world").into()
}

/// The same, with calls of WASI preview 1 served by the adapter that other toolchains use.
pub fn adapted_component(wit: &str, fields: &str) -> Bytes {
    use wasi_preview1_component_adapter_provider as provider;
    let adapter = provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let encoder =
        encoder(wit, fields).adapter(provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter);
    encoder.expect("an adapter").validate(true).encode().expect("the guest fits its world").into()
}

fn encoder(wit: &str, fields: &str) -> ComponentEncoder {
    let module = format!("(module {fields})");
    let mut module = wat::parse_str(&module).expect("the guest's text is well-formed");
    let mut resolve = Resolve::default();
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    resolve.push_dir(ours).expect("our own WIT is well-formed");
    let package = resolve.push_str("guest.wit", wit).expect("the guest's WIT is well-formed");
    let world = resolve.select_world(&[package], None).expect("one world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds");
    ComponentEncoder::default().module(&module).expect("a module")
}

pub fn digest(bytes: &[u8]) -> ComponentDigest {
    Sha256::digest(bytes).into()
}

pub fn engine() -> Engine {
    Engine::new(&Options::default()).expect("an engine")
}

/// Why a component is refused.
pub fn refused(bytes: impl Into<Bytes>) -> Refusal {
    let bytes = bytes.into();
    engine().prepare(digest(&bytes), bytes).expect_err("refused")
}

/// One recipe on a tree of its own, called one run at a time.
pub struct Bench {
    pub engine: Engine,
    pub runner: Runner,
    pub version: Version,
    /// The name of its deployment.
    pub recipe: String,
    pub view: View,
    pub time: Millis,
    pub session: SessionId,
    /// Whether runs may change nothing.
    pub as_read: bool,
    /// The last transaction and write whose changes stand; the next ones have the next numbers.
    zxid: Zxid,
    write: WriteNumber,
}

/// A run that is not a plain first one.
pub struct Again {
    pub reason: Reason,
    pub state: Bytes,
    pub deadline: Option<Millis>,
    pub may_park: bool,
}

impl Again {
    pub fn first() -> Self {
        Self { reason: Reason::First, state: Bytes::new(), deadline: None, may_park: true }
    }
}

impl Bench {
    /// The component, deployed with its root at `/recipes/test`.
    pub fn new(bytes: Bytes) -> Self {
        let engine = engine();
        engine.prepare(digest(&bytes), bytes.clone()).expect("admitted");
        Self::on(engine, digest(&bytes))
    }

    pub fn on(engine: Engine, component: ComponentDigest) -> Self {
        let root = Path::parse("/recipes/test").expect("a path");
        let version = Version {
            number: 1,
            component,
            manifest: Manifest::for_root(root.clone()),
            principal: "deployer".to_owned(),
            deployed: Millis(1),
        };
        let view = View::new(Arc::new(MemoryTree::new()));
        let slot = Slot { zxid: Zxid(1), time: Millis(1_000), batch: 1 };
        let (view, opened) =
            execute::open_session(view, slot, Opening { timeout_ms: 10_000, ..Opening::default() });
        opened.expect("a session");
        let runner = engine.runner();
        let mut bench = Self {
            engine,
            runner,
            version,
            recipe: "test".to_owned(),
            view,
            time: Millis(1_000),
            session: SessionId(1),
            as_read: false,
            zxid: Zxid(1),
            write: WriteNumber(0),
        };
        let mut txn = bench.begin();
        txn.create_missing(&root).expect("a root");
        bench.finish(txn);
        bench
    }

    /// Begins a transaction of the session.
    pub fn begin(&mut self) -> Txn {
        let zxid = self.zxid.next();
        let slot = Slot { zxid, time: self.time, batch: zxid.0 };
        let (write, acks) = (self.write.next(), Acks::default());
        let origin = Origin::Write { session: self.session, write, hash: 0, acks };
        Txn::begin(self.view.clone(), slot, origin)
    }

    /// Ends it; its changes stand.
    pub fn finish(&mut self, txn: Txn) {
        self.zxid = txn.zxid();
        self.write = self.write.next();
        self.view = txn.finish(&Reply::Done(Answer::Done)).0;
    }

    /// The description of a function, found by its bare name.
    pub fn function(&self, name: &str) -> Function {
        let interfaces = self.engine.interfaces(&self.version.component).expect("prepared");
        let bare = name.rsplit('.').next().expect("a name");
        let found = interfaces.iter().find_map(|interface| interface.function(bare));
        found.expect("the function is exported").clone()
    }

    /// A first run; its changes stand if it returned.
    pub fn run(&mut self, name: &str, arguments: &[Value]) -> RunEnd {
        self.run_again(name, arguments, Again::first())
    }

    pub fn run_again(&mut self, name: &str, arguments: &[Value], again: Again) -> RunEnd {
        let function = self.function(name);
        let bytes = encode_arguments(&function, arguments, Limits::VALUE).expect("well-typed");
        self.run_bytes(name, function.signature_hash().into(), bytes, again)
    }

    pub fn run_bytes(
        &mut self,
        name: &str,
        signature: u128,
        arguments: Bytes,
        again: Again,
    ) -> RunEnd {
        let call =
            Call { recipe: self.recipe.clone(), function: name.to_owned(), signature, arguments };
        let mut txn = self.begin();
        let id = CallId { session: self.session, write: self.write.next() };
        let limits = &self.version.manifest.limits;
        txn.begin_run(limits.changes, limits.changes_bytes);
        if self.as_read {
            txn.forbid_changes();
        }
        let run = Run {
            id,
            principal: "alice",
            version: &self.version,
            call: &call,
            reason: again.reason,
            state: again.state,
            deadline: again.deadline,
            may_park: again.may_park,
        };
        let (mut txn, end) = self.runner.run(&run, txn);
        txn.end_run();
        match &end {
            _ if self.as_read => self.view = txn.forget(),
            RunEnd::Returned { is_error: false, .. } | RunEnd::Parked { .. } => self.finish(txn),
            _ => self.view = txn.forget(),
        }
        end
    }

    /// The value that a run returned, error cases included.
    pub fn value(&mut self, name: &str, arguments: &[Value]) -> Option<Value> {
        let end = self.run(name, arguments);
        let RunEnd::Returned { value, .. } = end else { panic!("{name}: {end:?}") };
        decode_result(&self.function(name), value, Limits::VALUE).expect("canonical")
    }

    /// Why a run failed.
    pub fn failure(&mut self, name: &str, arguments: &[Value]) -> Refusal {
        match self.run(name, arguments) {
            RunEnd::Failed(refusal) => refusal,
            end => panic!("{name} did not fail: {end:?}"),
        }
    }
}

/// `ok(value)` of a result.
pub fn ok(value: Value) -> Option<Value> {
    Some(Value::Result(Ok(Some(Box::new(value)))))
}

pub fn bytes(bytes: &'static [u8]) -> Value {
    Value::Bytes(Bytes::from_static(bytes))
}
