//! The engine behind the core's own functions: uploaded, deployed, called, waited for, as the sequencer does it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::condition::Condition;
use quorate_core::deployment::{ComponentDigest, Manifest};
use quorate_core::draft::View;
use quorate_core::error::ErrorCode;
use quorate_core::execute::{self, Executed, Waits};
use quorate_core::ids::{Millis, SessionId, WriteNumber, Zxid};
use quorate_core::limits::CHUNK_BYTES_MAX;
use quorate_core::path::Path;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::Reason;
use quorate_core::request::{
    Answer, Body, Call, Chunk, Deploy, LifetimeKind, Operation, Reply, Request, Sequence,
};
use quorate_core::session::{Acks, Opening};
use quorate_core::transaction::Outcome;
use quorate_core::txn::Slot;
use quorate_engine::Runner;
use quorate_wire::value::{Function, Limits, Value, decode_result, encode_arguments};

use crate::guests;
use crate::support::{digest, engine};

/// One session of one member, without log or network.
struct Service {
    runner: Runner,
    functions: Vec<Function>,
    view: View,
    zxid: Zxid,
    write: WriteNumber,
}

impl Service {
    fn with(component: &Bytes) -> Self {
        let engine = engine();
        engine.prepare(digest(component), component.clone()).expect("admitted");
        let interfaces = engine.interfaces(&digest(component)).expect("prepared");
        let functions = interfaces.into_iter().flat_map(|interface| interface.functions).collect();
        let view = View::new(Arc::new(MemoryTree::new()));
        let (zxid, write) = (Zxid(0), WriteNumber(0));
        let mut service = Self { runner: engine.runner(), functions, view, zxid, write };
        let slot = service.slot();
        let principal = "alice".to_owned();
        let opening = Opening { timeout_ms: 10_000, principal, ..Opening::default() };
        let (view, opened) = execute::open_session(service.view, slot, opening);
        service.zxid = opened.expect("a session").zxid;
        service.view = view;
        service
    }

    fn slot(&self) -> Slot {
        let zxid = self.zxid.next();
        Slot { zxid, time: Millis(1_000 + zxid.0), batch: zxid.0 }
    }

    fn request(&mut self, body: Body) -> Request {
        self.write = self.write.next();
        let (session, acks) = (SessionId(1), Acks::default());
        Request { session, write: self.write, hash: 0, acks, body, address: None }
    }

    fn execute(&mut self, request: &Request) -> (Option<Reply>, Option<Waits>) {
        let slot = self.slot();
        let executed = execute::write(self.view.clone(), slot, request, &mut self.runner);
        self.take(executed)
    }

    fn take(&mut self, executed: Executed) -> (Option<Reply>, Option<Waits>) {
        self.view = executed.view;
        let Some(transaction) = executed.transaction else { return (None, executed.waits) };
        self.zxid = transaction.zxid;
        let reply = match transaction.outcome {
            Outcome::Replied(bytes) => Some(Reply::decode(bytes).expect("our own")),
            _ => None,
        };
        (reply, executed.waits)
    }

    fn done(&mut self, body: Body) -> Answer {
        let request = self.request(body);
        match self.execute(&request) {
            (Some(Reply::Done(answer)), None) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn deploy(&mut self, component: &Bytes) -> Answer {
        let component_digest: ComponentDigest = digest(component);
        let total_bytes = component.len() as u64;
        for (index, bytes) in component.chunks(CHUNK_BYTES_MAX).enumerate() {
            let index = u32::try_from(index).expect("few");
            let bytes = Bytes::copy_from_slice(bytes);
            let chunk = Chunk { component: component_digest, index, total_bytes, bytes };
            assert_eq!(self.done(Body::StoreChunk(chunk)), Answer::Done);
        }
        let root = Path::parse("/recipes/test").expect("a path");
        self.done(Body::Deploy(Deploy {
            recipe: "test".to_owned(),
            component: component_digest,
            manifest: Manifest::for_root(root),
            breaking_allowed: false,
        }))
    }

    fn function(&self, name: &str) -> Function {
        let found = self.functions.iter().find(|function| function.name == name);
        found.expect("exported").clone()
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Call {
        let function = self.function(name);
        let arguments = encode_arguments(&function, arguments, Limits::VALUE).expect("well-typed");
        let signature = function.signature_hash().into();
        Call { recipe: "test".to_owned(), function: name.to_owned(), signature, arguments }
    }

    fn value(&self, name: &str, answer: &Answer) -> Value {
        let Answer::Called(bytes) = answer else { panic!("{answer:?}") };
        let value = decode_result(&self.function(name), bytes.clone(), Limits::VALUE);
        value.expect("canonical").expect("a value")
    }
}

#[test]
fn a_deployed_recipe_migrates_and_answers() {
    let component = guests::migrating();
    let mut service = Service::with(&component);
    assert_eq!(service.deploy(&component), Answer::Activated { version: 1 });
    let call = service.call("plain", &[]);
    let answer = service.done(Body::Single(Operation::Call(call)));
    assert_eq!(service.value("plain", &answer), Value::U32(42));
    let check =
        Operation::Check { path: "/recipes/test/from-0".to_owned(), condition: Condition::ANY };
    assert!(matches!(service.done(Body::Single(check)), Answer::Stat(_)), "migrate created it");
}

#[test]
fn a_waiting_call_runs_again_and_answers() {
    let component = guests::various();
    let mut service = Service::with(&component);
    service.deploy(&component);
    let call = service.call("await-node", &["/a".into()]);
    let request = service.request(Body::Single(Operation::Call(call.clone())));
    let (None, Some(waits)) = service.execute(&request) else { panic!("it does not wait") };
    assert_eq!(waits.interests.len(), 1);
    let slot = service.slot();
    let executed = execute::rerun(
        service.view.clone(),
        slot,
        &request,
        &call,
        &waits.parked,
        Reason::Changed,
        &mut service.runner,
    );
    let (Some(Reply::Done(answer)), None) = service.take(executed) else { panic!("no answer") };
    assert_eq!(service.value("await-node", &answer), "woken".into());
}

#[test]
fn a_multi_with_a_call_that_would_wait_changes_nothing() {
    let component = guests::various();
    let mut service = Service::with(&component);
    service.deploy(&component);
    let create = Operation::Create {
        path: "/made".to_owned(),
        data: Bytes::new(),
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::None,
        parents: false,
        acl: None,
    };
    let call = service.call("await-node", &["/a".into()]);
    let request = service.request(Body::Multi(vec![create, Operation::Call(call)]));
    let (Some(Reply::Refused(failure)), None) = service.execute(&request) else {
        panic!("not refused")
    };
    assert_eq!(failure.refusal.code, ErrorCode::WouldBlock);
    assert_eq!(failure.operation, Some(1));
    let check = Operation::Check { path: "/made".to_owned(), condition: Condition::ANY };
    let request = service.request(Body::Single(check));
    let (Some(Reply::Refused(failure)), None) = service.execute(&request) else {
        panic!("it is there")
    };
    assert_eq!(failure.refusal.code, ErrorCode::NoNode);
}
