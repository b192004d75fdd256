//! Recipes as closures behind the port: what a waiting recipe does, without a sandbox. They know nothing of the sequencer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{CallId, Millis};
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::recipe::{Interest, Reason, Recipes, Run, RunEnd};
use quorate_core::request::{LifetimeKind, Sequence};
use quorate_core::txn::{CreateOptions, Txn};

/// A run that took place on a member, whether it was applied or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSeen {
    pub id: CallId,
    pub function: String,
    pub reason: Reason,
    pub version: u64,
    pub state: Bytes,
}

/// What a recipe does in the middle of a run, to the world around it.
pub type Meddle = Box<dyn FnMut() + Send>;

/// What tests see of the runs.
#[derive(Default)]
pub struct Observed {
    pub runs: Vec<RunSeen>,
    pub resets: u32,
    pub migrations: Vec<(u64, usize)>,
    pub breaking: Vec<String>,
    pub migrate_fails: bool,
    /// Functions whose type differs between any two components.
    pub changed_functions: Vec<String>,
    /// Called by the function `meddle`.
    pub meddle: Option<Meddle>,
}

/// The recipes of one member.
#[derive(Clone, Default)]
pub struct Closures(pub Arc<Mutex<Observed>>);

impl Closures {
    /// The reasons for which a function ran, in order.
    pub fn reasons(&self, function: &str) -> Vec<Reason> {
        let observed = self.0.lock().expect("one thread");
        observed.runs.iter().filter(|run| run.function == function).map(|run| run.reason).collect()
    }

    /// All runs, in order.
    pub fn runs(&self) -> Vec<RunSeen> {
        self.0.lock().expect("one thread").runs.clone()
    }
}

impl Recipes for Closures {
    fn run(&mut self, run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        self.0.lock().expect("one thread").runs.push(RunSeen {
            id: run.id,
            function: run.call.function.clone(),
            reason: run.reason,
            version: run.version.number,
            state: run.state.clone(),
        });
        let mut txn = txn;
        let text = String::from_utf8(run.call.arguments.to_vec()).unwrap_or_default();
        let (path, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let end = match run.call.function.as_str() {
            "acquire" => acquire(run, &mut txn, path, rest),
            "release" => release(&mut txn, path),
            "put" => put(&mut txn, path, rest),
            "take" => take(run, &mut txn, path),
            "enter" => enter(run, &mut txn, path, rest),
            "trap-on-rerun" => trap_on_rerun(run, &mut txn, path),
            "sleep" => sleep(run, &txn, rest),
            "spin" => Ok(parked(vec![Interest::AtTime(txn.time())], b"", None)),
            "alarm" => Ok(alarm(run, &txn, rest)),
            "rally" => rally(&mut txn, path, rest),
            "refuse" => refuse(&mut txn, path),
            "meddle" => {
                let meddle = self.0.lock().expect("one thread").meddle.take();
                meddle.into_iter().for_each(|mut meddle| meddle());
                txn.set(path, Bytes::from_static(b"meddled"), None).map(|_| returned("done"))
            }
            other => Err(Refusal::new(ErrorCode::NoFunction, other.to_owned())),
        };
        (txn, end.unwrap_or_else(RunEnd::Failed))
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        let observed = self.0.lock().expect("one thread");
        Ok(if previous.is_some() { observed.breaking.clone() } else { Vec::new() })
    }

    fn same_signature(
        &mut self,
        _old: &ComponentDigest,
        _new: &ComponentDigest,
        function: &str,
    ) -> bool {
        let observed = self.0.lock().expect("one thread");
        !observed.changed_functions.iter().any(|changed| changed == function)
    }

    fn migrate(
        &mut self,
        version: &Version,
        _previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        let mut observed = self.0.lock().expect("one thread");
        let runs = observed.runs.len();
        observed.migrations.push((version.number, runs));
        let trap = Refusal::new(ErrorCode::RecipeTrapped, "migrate traps");
        (txn, if observed.migrate_fails { Err(trap) } else { Ok(()) })
    }

    fn reset(&mut self) {
        self.0.lock().expect("one thread").resets += 1;
    }
}

fn returned(value: &str) -> RunEnd {
    RunEnd::Returned { value: Bytes::copy_from_slice(value.as_bytes()), is_error: false }
}

fn error(value: &str) -> RunEnd {
    RunEnd::Returned { value: Bytes::copy_from_slice(value.as_bytes()), is_error: true }
}

fn parked(interests: Vec<Interest>, state: &[u8], deadline: Option<Millis>) -> RunEnd {
    RunEnd::Parked { interests, state: Bytes::copy_from_slice(state), deadline }
}

fn own(txn: &mut Txn, path: &str) -> Result<Path, Refusal> {
    let options = CreateOptions {
        lifetime: LifetimeKind::CallOwned,
        sequence: Sequence::Native,
        parents: false,
    };
    txn.create(path, Bytes::new(), options).map(|(path, _)| path)
}

fn deadline_of(run: &Run<'_>, txn: &Txn, patience_ms: &str) -> Option<Millis> {
    run.deadline.or_else(|| patience_ms.parse().ok().map(|ms: u64| txn.time().plus(ms)))
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
            let deadline = deadline_of(run, txn, patience);
            Ok(parked(vec![Interest::NodeChanged(before)], mine.as_str().as_bytes(), deadline))
        }
    }
}

fn release(txn: &mut Txn, holder: &str) -> Result<RunEnd, Refusal> {
    txn.delete(holder, None).map(|()| returned("released"))
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
        None => Ok(parked(vec![Interest::ChildrenChanged(queue)], b"", None)),
    }
}

/// A barrier: opens for everybody when `rest` calls stand before it.
fn enter(run: &Run<'_>, txn: &mut Txn, path: &str, rest: &str) -> Result<RunEnd, Refusal> {
    let barrier = Path::parse(path)?;
    if query::get(txn, &barrier)?.0 == "open" {
        return Ok(returned("passed"));
    }
    if run.reason == Reason::First {
        own(txn, &format!("{path}/e-"))?;
    }
    let here = query::stat(txn, &barrier)?.children_count;
    if here >= rest.parse().unwrap_or(u64::MAX) {
        txn.set(path, Bytes::from_static(b"open"), None)?;
        return Ok(returned("opened"));
    }
    if run.reason.is_last() {
        return Ok(error("gave up"));
    }
    Ok(parked(vec![Interest::NodeChanged(barrier)], b"", None))
}

fn trap_on_rerun(run: &Run<'_>, txn: &mut Txn, path: &str) -> Result<RunEnd, Refusal> {
    if run.reason == Reason::First {
        own(txn, &format!("{path}-t-"))?;
        return Ok(parked(vec![Interest::NodeChanged(Path::parse(path)?)], b"", None));
    }
    Err(Refusal::new(ErrorCode::RecipeTrapped, "traps on purpose"))
}

/// Waits for nothing, until its deadline.
fn sleep(run: &Run<'_>, txn: &Txn, patience: &str) -> Result<RunEnd, Refusal> {
    Ok(match run.reason {
        Reason::TimedOut => returned("timed out"),
        Reason::Cancelled => returned("cancelled"),
        _ => parked(Vec::new(), b"", deadline_of(run, txn, patience)),
    })
}

/// Waits for a time, on the only clock that it has.
fn alarm(run: &Run<'_>, txn: &Txn, patience_ms: &str) -> RunEnd {
    let text = String::from_utf8_lossy(&run.state).into_owned();
    let rings = match text.parse() {
        Ok(at) => Millis(at),
        Err(_) => txn.time().plus(patience_ms.parse().unwrap_or(0)),
    };
    if txn.time() >= rings {
        return returned("rang");
    }
    parked(vec![Interest::AtTime(rings)], rings.0.to_string().as_bytes(), None)
}

/// Two of these wake each other for ever: each makes and drops its own znode, and waits for the other's.
fn rally(txn: &mut Txn, mine: &str, other: &str) -> Result<RunEnd, Refusal> {
    let options = CreateOptions {
        lifetime: LifetimeKind::CallOwned,
        sequence: Sequence::None,
        parents: false,
    };
    if txn.delete(mine, None).is_err() {
        txn.create(mine, Bytes::new(), options)?;
    }
    Ok(parked(vec![Interest::NodeChanged(Path::parse(other)?)], b"", None))
}

/// Changes something and returns its error case.
fn refuse(txn: &mut Txn, path: &str) -> Result<RunEnd, Refusal> {
    txn.set(path, Bytes::from_static(b"changed"), None)?;
    Ok(error("refused"))
}
