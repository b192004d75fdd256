//! Toy recipes behind the core's port, one closure's worth each: small enough to be seen through, able to do all that a
//! component can do to a transaction. Arguments are words.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::deployment::{ComponentDigest, Version};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Millis;
use quorate_core::path::Path;
use quorate_core::query;
use quorate_core::recipe::{Interest, Reason, Recipes, Run, RunEnd};
use quorate_core::request::{LifetimeKind, Sequence};
use quorate_core::txn::{CreateOptions, Txn};

/// All toys. A function's name says what it does; the component's name says how it is admitted and migrates.
#[derive(Default)]
pub struct Toys {
    /// Names of components, for what `check` and `migrate` say of them.
    pub components: BTreeMap<ComponentDigest, String>,
    /// One line for each run since this was last taken.
    pub runs: Vec<String>,
}

impl Recipes for Toys {
    fn run(&mut self, run: &Run<'_>, mut txn: Txn) -> (Txn, RunEnd) {
        let reason = format!("{:?}", run.reason).to_lowercase();
        self.runs.push(format!("run {}.{} {reason}", run.call.recipe, run.call.function));
        let end = play(run, &mut txn).unwrap_or_else(RunEnd::Failed);
        (txn, end)
    }

    fn check(
        &mut self,
        component: &ComponentDigest,
        previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        let name = self.components.get(component).map_or("", String::as_str);
        if name.contains("bad") {
            return Err(Refusal::new(ErrorCode::NotAdmitted, "it imports sockets"));
        }
        if name.contains("slow") {
            return Err(Refusal::new(ErrorCode::Compiling, "this member still compiles it"));
        }
        if name.contains("breaking") && previous.is_some() {
            return Ok(vec!["acquire is gone".to_owned()]);
        }
        Ok(Vec::new())
    }

    fn check_function(
        &mut self,
        component: &ComponentDigest,
        function: &str,
    ) -> Result<(), Refusal> {
        let name = self.components.get(component).map_or("", String::as_str);
        if function.contains("missing") {
            let message = format!("there is no function \"{function}\" in {name}");
            return Err(Refusal::new(ErrorCode::NoFunction, message));
        }
        Ok(())
    }

    fn migrate(
        &mut self,
        version: &Version,
        previous: Option<u64>,
        mut txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        let name = self.components.get(&version.component).map_or("", String::as_str);
        if !name.contains("migrat") {
            return (txn, Ok(()));
        }
        self.runs.push(format!("migrate from {previous:?} to {}", version.number));
        let data = Bytes::from(format!("version {}", version.number));
        let mark = format!("{}/schema", version.manifest.root);
        let mut result = match txn.set(&mark, data.clone(), None) {
            Ok(_) => Ok(()),
            Err(_) => txn.create(&mark, data, PERSISTENT).map(|_| ()),
        };
        if name.contains("migration-traps") {
            result = Err(trap());
        }
        (txn, result)
    }

    fn reset(&mut self) {
        self.runs.push("reset".to_owned());
    }
}

const PERSISTENT: CreateOptions =
    CreateOptions { lifetime: LifetimeKind::Persistent, sequence: Sequence::None, parents: false };
const OWNED: CreateOptions = CreateOptions { lifetime: LifetimeKind::CallOwned, ..PERSISTENT };

fn trap() -> Refusal {
    Refusal::new(ErrorCode::RecipeTrapped, "unreachable executed")
}

fn returned(value: impl Into<Bytes>) -> Result<RunEnd, Refusal> {
    Ok(RunEnd::Returned { value: value.into(), is_error: false })
}

fn error(value: &'static str) -> Result<RunEnd, Refusal> {
    Ok(RunEnd::Returned { value: Bytes::from_static(value.as_bytes()), is_error: true })
}

fn parked(
    run: &Run<'_>,
    interests: Vec<Interest>,
    state: impl Into<Bytes>,
) -> Result<RunEnd, Refusal> {
    Ok(RunEnd::Parked { interests, state: state.into(), deadline: run.deadline })
}

fn play(run: &Run<'_>, txn: &mut Txn) -> Result<RunEnd, Refusal> {
    let arguments = String::from_utf8_lossy(&run.call.arguments).into_owned();
    let mut words = arguments.split(' ');
    let first = words.next().unwrap_or_default();
    let number = first.parse::<usize>().unwrap_or(0);
    let second = words.next().unwrap_or_default();
    let is_first = run.reason == Reason::First;
    match run.call.function.as_str() {
        "acquire" => acquire(run, txn, first),
        "latch" => latch(run, txn, first),
        // Ends of a run.
        "echo" => returned(arguments.clone()),
        "stamp" => stamp(run, txn),
        "look" => query::get(txn, &Path::parse(first)?).and_then(|(data, _)| returned(data)),
        "give" => returned(vec![b'x'; number]),
        "refuse" => txn.create(first, Bytes::new(), PERSISTENT).and_then(|_| error("no")),
        "refuse-with" => Ok(RunEnd::Returned { value: vec![b'x'; number].into(), is_error: true }),
        "trap" => txn.create(first, Bytes::new(), PERSISTENT).and_then(|_| Err(trap())),
        // Writing.
        "set" => txn.set(first, Bytes::from(second.to_owned()), None).and_then(|_| returned("set")),
        "remove" => txn.delete(first, None).and_then(|()| returned("removed")),
        "own" => txn.create(first, Bytes::new(), OWNED).and_then(|_| returned("owned")),
        "let-go" => txn.release(first).and_then(|()| returned("released")),
        "wipe" => txn.delete_tree(first, None).and_then(|count| returned(count.to_string())),
        "try-wipe" => {
            let refusal = txn.delete_tree(first, None).err();
            returned(refusal.map_or_else(String::new, |refusal| refusal.to_string()))
        }
        "make" => {
            for index in 0..number {
                txn.create(&format!("{second}/{index:04}"), Bytes::new(), PERSISTENT)?;
            }
            returned("made")
        }
        "try-create" => {
            let kind = if second == "owned" { OWNED } else { PERSISTENT };
            let sequence =
                if words.next() == Some("sequence") { Sequence::Native } else { Sequence::None };
            let options = CreateOptions { parents: true, sequence, ..kind };
            let refusal = txn.create(first, Bytes::new(), options).err();
            returned(refusal.map_or_else(String::new, |refusal| refusal.to_string()))
        }
        // Waiting.
        "own-and-wait" if is_first => {
            txn.create(first, Bytes::new(), OWNED).and_then(|_| parked(run, vec![], ""))
        }
        "own-and-wait" | "wait" if run.reason.is_last() => returned("ended"),
        "own-and-wait" | "wait" => parked(run, vec![], run.state.clone()),
        "write-and-wait" => {
            txn.create(first, Bytes::new(), PERSISTENT).and_then(|_| parked(run, vec![], ""))
        }
        "try-write-and-wait" => {
            // The write is refused: nothing persistent was written, and the call may wait.
            txn.create(first, Bytes::new(), PERSISTENT)
                .map_or_else(|_| parked(run, vec![], ""), |_| returned("written"))
        }
        "count" if run.reason.is_last() => returned(run.state.clone()),
        "count" => {
            let count = String::from_utf8_lossy(&run.state).parse::<u64>().unwrap_or(0);
            parked(run, vec![], (count + 1).to_string())
        }
        "always-park" => parked(run, vec![], ""),
        "state" => parked(run, vec![], vec![b's'; number]),
        "interests" => parked(run, vec![Interest::AtTime(Millis(9)); number], ""),
        "deadline" => deadline(run, txn, number as u64),
        "fail-when-woken" => fail_when_woken(run, txn, first),
        "fail-always" if is_first => {
            txn.create(first, Bytes::new(), OWNED).and_then(|_| parked(run, vec![], ""))
        }
        "fail-always" => Err(trap()),
        other => Err(Refusal::new(ErrorCode::NoFunction, format!("no toy is called {other}"))),
    }
}

/// Who calls, and when it is.
fn stamp(run: &Run<'_>, txn: &Txn) -> Result<RunEnd, Refusal> {
    let (id, time, zxid) = (run.id, txn.time(), txn.zxid());
    returned(format!("{}:{} at {time}, zxid {zxid}", id.session, id.write))
}

/// A fair lock: waiters are call-owned sequential children, the first holds it.
fn acquire(run: &Run<'_>, txn: &mut Txn, lock: &str) -> Result<RunEnd, Refusal> {
    if run.reason.is_last() {
        return error("gave up");
    }
    let own = if run.state.is_empty() {
        let options = CreateOptions { sequence: Sequence::Native, ..OWNED };
        txn.create(&format!("{lock}/"), Bytes::new(), options)?.0
    } else {
        Path::parse(&String::from_utf8_lossy(&run.state))?
    };
    match query::child_before(txn, &own)? {
        None => {
            txn.release(own.as_str())?;
            returned(format!("granted {}", txn.zxid()))
        }
        Some(before) => {
            let interest = Interest::NodeChanged(Path::parse(lock)?.child(&before)?);
            parked(run, vec![interest], own.as_str().to_owned())
        }
    }
}

/// Waits until a znode is there.
fn latch(run: &Run<'_>, txn: &mut Txn, path: &str) -> Result<RunEnd, Refusal> {
    let path = Path::parse(path)?;
    if query::stat(txn, &path).is_ok() {
        return returned("open");
    }
    if run.reason.is_last() {
        return error("closed");
    }
    parked(run, vec![Interest::NodeChanged(path)], "")
}

/// Waits until its deadline; each run asks for another one.
fn deadline(run: &Run<'_>, txn: &Txn, milliseconds: u64) -> Result<RunEnd, Refusal> {
    if run.reason == Reason::TimedOut {
        return returned("late");
    }
    let deadline = Some(txn.time().plus(milliseconds));
    Ok(RunEnd::Parked { interests: Vec::new(), state: Bytes::new(), deadline })
}

/// Traps when it is woken, cleans up when it is cancelled.
fn fail_when_woken(run: &Run<'_>, txn: &mut Txn, path: &str) -> Result<RunEnd, Refusal> {
    match run.reason {
        Reason::First => {
            txn.create(path, Bytes::new(), OWNED)?;
            parked(run, vec![], "")
        }
        Reason::Cancelled => returned("cleaned up"),
        _ => {
            txn.set(path, Bytes::from_static(b"half done"), None)?;
            Err(trap())
        }
    }
}
