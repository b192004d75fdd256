//! Recipes as closures, with the types that real ones have: a counter, a lock that makes its callers wait, and an echo.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use quorate_core::apply;
use quorate_core::change::Change;
use quorate_core::deployment::{ComponentDigest, Manifest, Version};
use quorate_core::draft::Draft;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Millis, Zxid};
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Interest, Reason, Recipes, Run, RunEnd};
use quorate_core::request::{LifetimeKind, Sequence};
use quorate_core::txn::{CreateOptions, Txn};
use quorate_wire::value::{
    Function, Interface, Limits, Type, Value, decode_arguments, encode_result,
};

pub(super) struct Closures {
    /// Calls that are still refused, as if their code were being compiled.
    pub(super) compiling: Arc<AtomicU32>,
}

fn field(name: &str, kind: Type) -> (String, Type) {
    (name.to_owned(), kind)
}

fn lock_error() -> Type {
    let codes = [
        "bad-path",
        "no-node",
        "node-exists",
        "not-empty",
        "bad-version",
        "no-children-for-ephemerals",
        "no-access",
        "limit",
        "bad-arguments",
    ];
    let code = Type::Enum(codes.map(str::to_owned).to_vec());
    let tree_error = Type::Record(vec![field("code", code), field("message", Type::String)]);
    let cases = [
        ("already-held", Some(Type::U64)),
        ("timed-out", None),
        ("cancelled", None),
        ("removed", None),
        ("not-held", None),
        ("in-use", None),
        ("note-too-long", Some(Type::U64)),
        ("tree", Some(tree_error)),
    ];
    Type::Variant(cases.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect())
}

fn functions() -> Vec<Function> {
    let options = Type::Record(vec![
        field("note", Type::option(Type::String)),
        field("timeout-ms", Type::option(Type::U64)),
    ]);
    let grant = Type::Record(vec![field("token", Type::U64), field("node", Type::String)]);
    let function = |name: &str, parameters, result| Function {
        name: name.to_owned(),
        parameters,
        result: Some(result),
    };
    vec![
        function(
            "acquire",
            vec![field("path", Type::String), field("options", options)],
            Type::result(Some(grant), Some(lock_error())),
        ),
        function("add", vec![field("path", Type::String), field("by", Type::S64)], Type::S64),
        function(
            "await-loss",
            vec![field("path", Type::String), field("token", Type::U64)],
            Type::result(None, Some(lock_error())),
        ),
        function("get", vec![field("path", Type::String)], Type::S64),
        function(
            "release",
            vec![field("path", Type::String), field("token", Type::U64)],
            Type::result(None, Some(lock_error())),
        ),
    ]
}

/// What `Query::Interface` answers for every recipe.
pub(super) fn interfaces() -> Vec<Bytes> {
    let interface = Interface { name: "test:all/all@0.1.0".to_owned(), functions: functions() };
    vec![interface.encode().expect("well-formed")]
}

/// Deploys the recipe `lock`.
pub(super) fn seed(tree: &Arc<MemoryTree>) {
    let mut draft = Draft::new(tree.clone());
    let version = Version {
        number: 1,
        component: [1; 32],
        manifest: Manifest::for_root(Path::root()),
        principal: String::new(),
        deployed: Millis(0),
    };
    let recipe = || "lock".to_owned();
    for change in [
        Change::ComponentStored { component: [1; 32], bytes: 1, chunks: 1 },
        Change::VersionMade { recipe: recipe(), version: Box::new(version) },
        Change::RecipeActivated { recipe: recipe(), version: 1 },
    ] {
        apply::change(&mut draft, Zxid(0), Millis(0), &change);
    }
    apply::seal(&mut draft);
    tree.commit(draft.into_parts().1);
}

impl Recipes for Closures {
    fn run(&mut self, run: &Run<'_>, mut txn: Txn) -> (Txn, RunEnd) {
        let one_less = |left: u32| left.checked_sub(1);
        let compiling = self.compiling.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        let end = match compiling {
            Ok(_) => Err(Refusal::new(ErrorCode::Compiling, "not compiled yet")),
            Err(_) => run_function(run, &mut txn),
        };
        (txn, end.unwrap_or_else(RunEnd::Failed))
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    fn same_signature(
        &mut self,
        _old: &ComponentDigest,
        _new: &ComponentDigest,
        _function: &str,
    ) -> bool {
        true
    }

    fn migrate(
        &mut self,
        _version: &Version,
        _previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        (txn, Ok(()))
    }

    fn reset(&mut self) {}
}

fn run_function(run: &Run<'_>, txn: &mut Txn) -> Result<RunEnd, Refusal> {
    // One argument and a result of its type have the same bytes, so an echo needs no types.
    if let Some(echo) = run.call.function.strip_prefix("echo.") {
        let value = run.call.arguments.clone();
        let is_error = echo == "fallible" && value.first() == Some(&1);
        return Ok(RunEnd::Returned { value, is_error });
    }
    let refusal = |code| Refusal::new(code, run.call.function.clone());
    let name = run.call.function.rsplit('.').next().unwrap_or_default();
    let function = functions().into_iter().find(|known| known.name == name);
    let function = function.ok_or_else(|| refusal(ErrorCode::NoFunction))?;
    if run.call.signature != u128::from(function.signature_hash()) {
        return Err(refusal(ErrorCode::SignatureChanged));
    }
    let arguments = decode_arguments(&function, run.call.arguments.clone(), Limits::VALUE)
        .map_err(|_| refusal(ErrorCode::BadValue))?;
    let value = match (name, arguments.as_slice()) {
        ("add", [Value::String(path), Value::S64(by)]) => Value::S64(add(txn, path, *by)?),
        ("get", [Value::String(path)]) => Value::S64(get(txn, path)?),
        ("acquire", [Value::String(path), _]) => match acquire(run, txn, path)? {
            Ok(value) => value,
            Err(parked) => return Ok(parked),
        },
        ("await-loss", [Value::String(path), Value::U64(token)]) => {
            match await_loss(run, txn, path, *token)? {
                Ok(value) => value,
                Err(parked) => return Ok(parked),
            }
        }
        ("release", [Value::String(path), Value::U64(token)]) => release(txn, path, *token)?,
        _ => return Err(refusal(ErrorCode::BadValue)),
    };
    let is_error = matches!(value, Value::Result(Err(_)));
    let value = encode_result(&function, Some(&value), Limits::VALUE)
        .map_err(|_| refusal(ErrorCode::Internal))?;
    Ok(RunEnd::Returned { value, is_error })
}

fn get(txn: &Txn, path: &str) -> Result<i64, Refusal> {
    let found = query::get(txn, &Path::parse(path)?);
    Ok(found.map_or(0, |(text, _)| String::from_utf8_lossy(&text).parse().unwrap_or(0)))
}

fn add(txn: &mut Txn, path: &str, by: i64) -> Result<i64, Refusal> {
    let here = Path::parse(path)?;
    if query::stat(txn, &here).is_err() {
        txn.create(path, Bytes::new(), persistent(Sequence::None))?;
    }
    let text = query::get(txn, &here)?.0;
    let before: i64 = String::from_utf8_lossy(&text).parse().unwrap_or(0);
    txn.set(path, Bytes::from((before + by).to_string()), None)?;
    Ok(before + by)
}

fn persistent(sequence: Sequence) -> CreateOptions {
    CreateOptions { lifetime: LifetimeKind::Persistent, sequence, parents: true }
}

/// A lock is one znode, whose data is its token; whoever finds it waits until it goes.
fn acquire(run: &Run<'_>, txn: &mut Txn, path: &str) -> Result<Result<Value, RunEnd>, Refusal> {
    let here = Path::parse(path)?;
    if query::stat(txn, &here).is_ok() {
        if run.reason == Reason::Cancelled {
            return Ok(Ok(cancelled()));
        }
        let interests = vec![Interest::NodeChanged(here)];
        return Ok(Err(RunEnd::Parked { interests, state: Bytes::new(), deadline: None }));
    }
    let token = txn.zxid().0;
    let options = CreateOptions {
        lifetime: LifetimeKind::Ephemeral,
        sequence: Sequence::None,
        parents: true,
    };
    txn.create(path, Bytes::from(token.to_string()), options)?;
    let grant = Value::Record(vec![Value::U64(token), Value::from(path)]);
    Ok(Ok(Value::Result(Ok(Some(Box::new(grant))))))
}

fn cancelled() -> Value {
    Value::Result(Err(Some(Box::new(Value::Variant { case: 2, payload: None }))))
}

fn await_loss(
    run: &Run<'_>,
    txn: &mut Txn,
    path: &str,
    token: u64,
) -> Result<Result<Value, RunEnd>, Refusal> {
    let here = Path::parse(path)?;
    let held = query::get(txn, &here);
    if held.is_ok_and(|(data, _)| data == token.to_string()) {
        if run.reason == Reason::Cancelled {
            return Ok(Ok(cancelled()));
        }
        let interests = vec![Interest::NodeChanged(here)];
        return Ok(Err(RunEnd::Parked { interests, state: Bytes::new(), deadline: None }));
    }
    Ok(Ok(Value::Result(Ok(None))))
}

fn release(txn: &mut Txn, path: &str, token: u64) -> Result<Value, Refusal> {
    let held = query::get(txn, &Path::parse(path)?);
    if held.is_ok_and(|(data, _)| data == token.to_string()) {
        txn.delete(path, None)?;
        return Ok(Value::Result(Ok(None)));
    }
    Ok(Value::Result(Err(Some(Box::new(Value::Variant { case: 4, payload: None })))))
}
