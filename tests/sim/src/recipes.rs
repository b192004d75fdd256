//! A lock, a queue and a counter, native and in this process: what recipes of these names do, without a sandbox. They know
//! nothing of the sequencer.

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
use quorate_core::request::{Body, Call, LifetimeKind, Operation, Sequence};
use quorate_core::txn::{CreateOptions, Txn};
use quorate_core::znode::Lifetime;
use std::sync::Arc;

use crate::raft::disk::TreeImage;

/// The name of the one deployment.
pub const NAME: &str = "kit";
/// Locks.
pub const LOCKS: [&str; 2] = ["/l1", "/l2"];
/// Counters.
pub const COUNTERS: [&str; 2] = ["/c1", "/c2"];
/// The queue.
pub const QUEUE: &str = "/q";
/// Where ephemeral znodes with numbers are made.
pub const CROWD: &str = "/e";
/// Where znodes come and go.
pub const ZNODES: &str = "/n";

/// The recipes of one member. They keep nothing.
pub struct Kit;

impl Recipes for Kit {
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        let mut txn = txn;
        let text = String::from_utf8(run.call.arguments.to_vec()).unwrap_or_default();
        let (path, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let end = match run.call.function.as_str() {
            "acquire" => acquire(run, &mut txn, path, rest),
            "release" => txn.delete(path, None).map(|()| returned("released")),
            "put" => put(&mut txn, path, rest),
            "take" => take(run, &mut txn, path),
            "add" => add(&mut txn, path, rest),
            other => Err(Refusal::new(ErrorCode::NoFunction, other.to_owned())),
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

fn returned(value: &str) -> RunEnd {
    RunEnd::Returned { value: Bytes::copy_from_slice(value.as_bytes()), is_error: false }
}

fn error(value: &str) -> RunEnd {
    RunEnd::Returned { value: Bytes::copy_from_slice(value.as_bytes()), is_error: true }
}

fn own(txn: &mut Txn, path: &str) -> Result<Path, Refusal> {
    let options = CreateOptions {
        lifetime: LifetimeKind::CallOwned,
        sequence: Sequence::Native,
        parents: false,
    };
    txn.create(path, Bytes::new(), options).map(|(path, _)| path)
}

/// A fair lock: the lowest own znode below `path` holds it, everybody waits for the one before. Answers with the fencing
/// token and the znode that holds.
fn acquire(run: &Run<'_>, txn: &mut Txn, path: &str, patience: &str) -> Result<RunEnd, Refusal> {
    let mine = if run.reason == Reason::First {
        own(txn, &format!("{path}/w-"))?
    } else {
        Path::parse(&String::from_utf8_lossy(&run.state))?
    };
    match query::child_before(txn, &mine)? {
        None => {
            txn.release(mine.as_str())?;
            Ok(returned(&format!("{} {mine}", txn.zxid())))
        }
        Some(_) if run.reason.is_last() => Ok(error("gave up")),
        Some(before) => {
            let before = Path::parse(&format!("{path}/{before}"))?;
            let wished = || patience.parse().ok().map(|ms: u64| txn.time().plus(ms));
            let deadline: Option<Millis> = run.deadline.or_else(wished);
            let state = Bytes::copy_from_slice(mine.as_str().as_bytes());
            let interests = vec![Interest::NodeChanged(before)];
            Ok(RunEnd::Parked { interests, state, deadline })
        }
    }
}

fn put(txn: &mut Txn, path: &str, item: &str) -> Result<RunEnd, Refusal> {
    let options = CreateOptions {
        lifetime: LifetimeKind::Persistent,
        sequence: Sequence::Native,
        parents: false,
    };
    let item = Bytes::copy_from_slice(item.as_bytes());
    txn.create(&format!("{path}/i-"), item, options).map(|_| returned("put"))
}

/// The oldest item of a queue; waits for one.
fn take(run: &Run<'_>, txn: &mut Txn, path: &str) -> Result<RunEnd, Refusal> {
    let queue = Path::parse(path)?;
    match query::first_child(txn, &queue)? {
        Some(name) => {
            let item = queue.child(&name)?;
            let (data, _) = query::get(txn, &item)?;
            txn.delete(item.as_str(), None)?;
            Ok(returned(&String::from_utf8_lossy(&data)))
        }
        None if run.reason.is_last() => Ok(error("empty")),
        None => Ok(RunEnd::Parked {
            interests: vec![Interest::ChildrenChanged(queue)],
            state: Bytes::new(),
            deadline: None,
        }),
    }
}

fn add(txn: &mut Txn, path: &str, by: &str) -> Result<RunEnd, Refusal> {
    let (data, _) = query::get(txn, &Path::parse(path)?)?;
    let sum = number(&data) + by.parse().unwrap_or(0);
    txn.set(path, Bytes::from(sum.to_string()), None)?;
    Ok(returned(&sum.to_string()))
}

/// What a counter's data says; nothing is 0.
#[must_use]
pub fn number(data: &[u8]) -> i64 {
    std::str::from_utf8(data).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A call of the kit.
#[must_use]
pub fn call(function: &str, arguments: &str) -> Body {
    Body::Single(Operation::Call(Call {
        recipe: NAME.to_owned(),
        function: function.to_owned(),
        signature: 0,
        arguments: Bytes::copy_from_slice(arguments.as_bytes()),
    }))
}

/// The tree with which every cluster begins: the kit is deployed, its places are there.
#[must_use]
pub fn beginning() -> TreeImage {
    let tree = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(tree.clone());
    let version = Version {
        number: 1,
        component: [1; 32],
        manifest: Manifest::for_root(Path::root()),
        principal: String::new(),
        deployed: Millis(0),
    };
    let name = || NAME.to_owned();
    let mut changes = vec![
        Change::ComponentStored { component: [1; 32], bytes: 1, chunks: 1 },
        Change::VersionMade { recipe: name(), version: Box::new(version) },
        Change::RecipeActivated { recipe: name(), version: 1 },
    ];
    for path in LOCKS.into_iter().chain(COUNTERS).chain([QUEUE, CROWD, ZNODES]) {
        changes.push(Change::NodeCreated {
            path: Path::parse(path).expect("our own path"),
            data: Bytes::new(),
            lifetime: Lifetime::Persistent,
            acl: None,
        });
    }
    for change in &changes {
        apply::change(&mut draft, Zxid(0), Millis(0), change);
    }
    apply::seal(&mut draft);
    tree.commit(draft.into_parts().1);
    TreeImage { records: tree.records(), ..TreeImage::default() }
}
