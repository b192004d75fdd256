//! A recipe under test: sessions, calls and what becomes of them, and everything that happens to sessions and recipes in
//! real life, when the test says so. It does not know what is right; that is the test's.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use quorate_core::access::Asker;
use quorate_core::deployment::Manifest;
use quorate_core::draft::ReadRecords as _;
use quorate_core::error::Refusal;
use quorate_core::execute;
use quorate_core::ids::{CallId, SessionId, WriteNumber, Zxid};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::read::Direction;
use quorate_core::request::{Answer, Body, Call, Chunk, Deploy, Operation, Reply};
use quorate_wire::value::{Function, Limits, Value, decode_result, encode_arguments};

use crate::component::{Component, LoadError};
use crate::resets::{Resets, Resettable, SharedResets};
use crate::service::{Fate, Service};
use crate::wave::{Bindings, Mismatch, Pattern, cut, show};

/// The name under which the kit deploys its recipe.
const NAME: &str = "recipe";
/// Milliseconds that a run may take at least, whatever the manifest says. Runs take real time, and a test must not fail
/// because its machine is busy.
const RUN_MS_MIN: u64 = quorate_core::limits::RUN_TIME_MS_MAX;

/// A call that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallHandle(CallId);

impl CallHandle {
    /// The session that called.
    #[must_use]
    pub fn session(self) -> SessionId {
        self.0.session
    }
}

impl fmt::Display for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What has become of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It waits.
    Parked,
    /// The function returned, the error case of its result included. None: it has no result.
    Returned(Option<Value>),
    /// The service refused the call, or the recipe failed.
    Failed(Refusal),
    /// It was parked when its session ended.
    Dropped,
}

/// Arguments of a call: values, or WAVE texts with spaces between them.
#[derive(Debug, Clone)]
pub enum Arguments {
    /// One for each parameter.
    Values(Vec<Value>),
    /// `"/a" {note: "x"}`
    Text(String),
}

impl From<Vec<Value>> for Arguments {
    fn from(values: Vec<Value>) -> Self {
        Self::Values(values)
    }
}

impl From<&str> for Arguments {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// What a test asked for can not be done.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// The component can not be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The service refused.
    #[error("the service refused: {0}")]
    Refused(#[from] Refusal),
    /// There is no such function, or the arguments are not of its types.
    #[error("{0}")]
    Call(String),
}

/// A recipe, deployed in a service of its own: an empty tree in memory, and time that stands still unless it is advanced.
pub struct Kit {
    component: Component,
    manifest: Manifest,
    service: Service,
    resets: SharedResets,
    /// Deploys the recipe; calls nothing.
    operator: SessionId,
    /// Every call by the name that it was called by.
    calls: BTreeMap<CallHandle, String>,
    /// Runs calls that only read.
    reader: Resettable,
    /// What those were answered.
    reads: BTreeMap<CallHandle, (Zxid, Outcome)>,
}

impl Kit {
    /// Deploys a component.
    ///
    /// # Errors
    /// The service would not take the component or the manifest.
    pub fn new(component: impl Into<Bytes>, manifest: Manifest) -> Result<Self, KitError> {
        Self::of(&Component::load(component)?, manifest)
    }

    /// Deploys a component that is loaded already: many kits need to compile it only once.
    ///
    /// # Errors
    /// The service would not take the manifest.
    pub fn of(component: &Component, manifest: Manifest) -> Result<Self, KitError> {
        let resets = SharedResets::default();
        let recipes = Resettable::new(component.engine.runner(), resets.clone());
        let mut service = Service::new(Box::new(recipes));
        let reader = Resettable::new(component.engine.runner(), resets.clone());
        let operator = service.open_session()?;
        let mut manifest = manifest;
        manifest.limits.time_ms = manifest.limits.time_ms.max(RUN_MS_MIN);
        let component = component.clone();
        let (calls, reads) = (BTreeMap::new(), BTreeMap::new());
        let mut kit = Self { component, manifest, service, resets, operator, calls, reader, reads };
        kit.upload()?;
        kit.upgrade()?;
        Ok(kit)
    }

    /// The component that runs.
    #[must_use]
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// A new session. It lives until the test ends or silences it.
    ///
    /// # Errors
    /// Too many sessions.
    pub fn session(&mut self) -> Result<SessionId, KitError> {
        Ok(self.service.open_session()?)
    }

    /// Sends a call and lets everything happen that follows from it.
    ///
    /// # Errors
    /// There is no such function, or the arguments do not fit it: nothing was sent.
    pub fn call(
        &mut self,
        session: SessionId,
        function: &str,
        arguments: impl Into<Arguments>,
    ) -> Result<CallHandle, KitError> {
        let call = self.submit(session, function, arguments)?;
        self.settle();
        Ok(call)
    }

    /// Sends a call, and lets nothing happen before [`Kit::settle`]. Calls that are submitted one after the other are in the
    /// service's hands together: they are executed in this order, and calls that are woken on the way run in turn with them.
    ///
    /// # Errors
    /// As [`Kit::call`].
    pub fn submit(
        &mut self,
        session: SessionId,
        function: &str,
        arguments: impl Into<Arguments>,
    ) -> Result<CallHandle, KitError> {
        match arguments.into() {
            Arguments::Values(values) => self.submit_with(session, function, &values),
            Arguments::Text(text) => {
                let cut = cut(&text).map_err(KitError::Call)?;
                let values = self.arguments(function, &cut.words, &Bindings::new());
                self.submit_with(session, function, &values.map_err(KitError::Call)?)
            }
        }
    }

    /// Lets everything happen that follows from what was submitted.
    pub fn settle(&mut self) {
        self.service.settle();
    }

    /// Calls a function as a read of what has been executed so far: it fails with `read-only` if it tries to change something or
    /// to wait, whatever the manifest says. So a test shows that a function may stand in the manifest's `read-only` list.
    ///
    /// # Errors
    /// As [`Kit::call`].
    pub fn call_read_only(
        &mut self,
        session: SessionId,
        function: &str,
        arguments: impl Into<Arguments>,
    ) -> Result<CallHandle, KitError> {
        let values = match arguments.into() {
            Arguments::Values(values) => values,
            Arguments::Text(text) => {
                let cut = cut(&text).map_err(KitError::Call)?;
                let values = self.arguments(function, &cut.words, &Bindings::new());
                values.map_err(KitError::Call)?
            }
        };
        self.settle();
        let call = self.encode(function, &values)?;
        let tree = self.service.tree().clone();
        let asker = Asker::of_session(session, None, tree.meta().time);
        let (zxid, result) = execute::read_call(tree, &asker, &call, &mut self.reader);
        let outcome = match result {
            Ok(value) => {
                let function = self.component.function(function).map_err(KitError::Call)?;
                let value = decode_result(function, value, Limits::VALUE);
                Outcome::Returned(value.expect("the engine encodes results by their type"))
            }
            Err(refusal) => Outcome::Failed(refusal),
        };
        // Reads have no write number: theirs count down from where no session's come.
        let number = u64::MAX - self.reads.len() as u64;
        let handle = CallHandle(CallId { session, write: WriteNumber(number) });
        self.calls.insert(handle, function.to_owned());
        self.reads.insert(handle, (zxid, outcome));
        Ok(handle)
    }

    fn encode(&self, name: &str, values: &[Value]) -> Result<Call, KitError> {
        let function = self.component.function(name).map_err(KitError::Call)?;
        let arguments = encode_arguments(function, values, Limits::VALUE)
            .map_err(|error| KitError::Call(error.to_string()))?;
        Ok(Call {
            recipe: NAME.to_owned(),
            function: name.to_owned(),
            signature: u128::from(function.signature_hash()),
            arguments,
        })
    }

    fn submit_with(
        &mut self,
        session: SessionId,
        name: &str,
        values: &[Value],
    ) -> Result<CallHandle, KitError> {
        let call = self.encode(name, values)?;
        let id = self.service.submit(session, Body::Single(Operation::Call(call)));
        self.calls.insert(CallHandle(id), name.to_owned());
        Ok(CallHandle(id))
    }

    /// The values of argument texts.
    pub(crate) fn arguments(
        &self,
        name: &str,
        texts: &[&str],
        bindings: &Bindings,
    ) -> Result<Vec<Value>, String> {
        let function = self.component.function(name)?;
        let parameters = &function.parameters;
        if texts.len() != parameters.len() {
            let (given, wanted) = (texts.len(), parameters.len());
            return Err(format!("{given} arguments for {wanted} parameters of `{function}`"));
        }
        let value = |(text, (name, kind)): (&&str, &(String, _))| {
            let pattern = Pattern::parse(text, kind).map_err(|error| error.to_string())?;
            pattern.value(kind, bindings).map_err(|error| format!("argument {name}: {error}"))
        };
        texts.iter().zip(parameters).map(value).collect()
    }

    /// What has become of a call.
    #[must_use]
    pub fn outcome(&self, call: CallHandle) -> Outcome {
        if let Some((_, outcome)) = self.reads.get(&call) {
            return outcome.clone();
        }
        match self.service.fate(call.0) {
            None | Some(Fate::Dropped) => Outcome::Dropped,
            Some(Fate::Sent | Fate::Parked) => Outcome::Parked,
            Some(Fate::Answered(_, Reply::Done(Answer::Called(value)))) => {
                let function = self.function_of(call);
                let value = decode_result(function, value.clone(), Limits::VALUE);
                Outcome::Returned(value.expect("the engine encodes results by their type"))
            }
            Some(Fate::Answered(_, Reply::Refused(failure))) => {
                Outcome::Failed(failure.refusal.clone())
            }
            Some(Fate::Answered(_, Reply::Done(answer))) => {
                unreachable!("a call is answered with {answer:?}")
            }
        }
    }

    /// The transaction that ended a call; none while it waits, and for one that was refused without being executed. Of a read,
    /// the last transaction that it reflects.
    #[must_use]
    pub fn zxid(&self, call: CallHandle) -> Option<Zxid> {
        if let Some((zxid, _)) = self.reads.get(&call) {
            return Some(*zxid);
        }
        match self.service.fate(call.0)? {
            Fate::Answered(zxid, _) => *zxid,
            _ => None,
        }
    }

    /// What has become of a call, as text: `parked`, `dropped`, `failed no-function: ...`, or the result in WAVE.
    #[must_use]
    pub fn show(&self, call: CallHandle) -> String {
        match self.outcome(call) {
            Outcome::Parked => "parked".to_owned(),
            Outcome::Dropped => "dropped".to_owned(),
            Outcome::Failed(refusal) => {
                format!("failed {} ({})", refusal.code.name(), refusal.message)
            }
            Outcome::Returned(value) => match (&value, &self.function_of(call).result) {
                (Some(value), Some(kind)) => show(value, kind),
                _ => "()".to_owned(),
            },
        }
    }

    /// Checks what has become of a call against the OUTCOME of a scenario (recipes/SCENARIOS.md): `parked`, `failed CODE`, or
    /// a pattern of the result.
    ///
    /// # Errors
    /// It is not that: a sentence with both.
    pub fn check(&self, call: CallHandle, expected: &str) -> Result<(), String> {
        self.check_with(call, expected, &mut Bindings::new())
    }

    pub(crate) fn check_with(
        &self,
        call: CallHandle,
        expected: &str,
        bindings: &mut Bindings,
    ) -> Result<(), String> {
        let differs =
            |why: String| Err(format!("expected  {expected}\n  actual  {}{why}", self.show(call)));
        let outcome = self.outcome(call);
        if expected == "parked" {
            return if outcome == Outcome::Parked { Ok(()) } else { differs(String::new()) };
        }
        if let Some(code) = failed_code(expected) {
            return match outcome {
                Outcome::Failed(refusal) if refusal.code.name() == code => Ok(()),
                _ => differs(String::new()),
            };
        }
        let function = self.function_of(call);
        let Some(kind) = &function.result else {
            if !["()", "_"].contains(&expected) {
                return Err(format!("`{function}` has no result: it returns ()"));
            }
            let is_returned = matches!(outcome, Outcome::Returned(_));
            return if is_returned { Ok(()) } else { differs(String::new()) };
        };
        let pattern = Pattern::parse(expected, kind).map_err(|error| error.to_string())?;
        let Outcome::Returned(Some(value)) = outcome else { return differs(String::new()) };
        match pattern.check(&value, bindings) {
            Ok(()) => Ok(()),
            Err(Mismatch::Differs) => differs(String::new()),
            // Its type is that of another place, perhaps of another call.
            Err(Mismatch::Name(name, bound)) => {
                differs(format!("\n  where   ${name} is {}", show_untyped(&bound)))
            }
        }
    }

    /// Calls that wait, in the order of their sessions, and of their calls.
    #[must_use]
    pub fn parked(&self) -> Vec<CallHandle> {
        let waits = |call: &CallHandle| self.service.fate(call.0) == Some(&Fate::Parked);
        self.calls.keys().copied().filter(waits).collect()
    }

    /// The calls that have ended since this was asked last, in that order. Calls that were dropped with their session are
    /// among them.
    pub fn take_ended(&mut self) -> Vec<CallHandle> {
        let mut ended = Vec::new();
        while let Some(id) = self.service.poll_ended() {
            if self.calls.contains_key(&CallHandle(id)) {
                ended.push(CallHandle(id));
            }
        }
        ended
    }

    /// The name by which a call was called.
    #[must_use]
    pub fn function_name(&self, call: CallHandle) -> &str {
        self.calls.get(&call).map_or("", String::as_str)
    }

    fn function_of(&self, call: CallHandle) -> &Function {
        let function = self.component.function(self.function_name(call));
        function.expect("a handle of this kit is of a function that was found when it was called")
    }

    /// Gives up a call: if it waits, it is run for the last time.
    ///
    /// # Errors
    /// The session has ended.
    pub fn cancel(&mut self, call: CallHandle) -> Result<(), KitError> {
        let CallId { session, write } = call.0;
        self.write(session, Body::Cancel(write)).map(|_| ())
    }

    /// Ends a session, as its client does.
    ///
    /// # Errors
    /// It has ended already.
    pub fn close(&mut self, session: SessionId) -> Result<Zxid, KitError> {
        self.write(session, Body::CloseSession)?;
        let ended = self.service.ended_at(session);
        Ok(ended.expect("a session that is closed has ended"))
    }

    /// Ends a session at this moment, as if its time had run out: the same transaction, without the time that a real expiry
    /// takes to be noticed. See [`Kit::silence`] for a real one.
    ///
    /// # Errors
    /// It has ended already.
    pub fn expire(&mut self, session: SessionId) -> Result<Zxid, KitError> {
        self.close(session)
    }

    /// The client of a session dies: it is expired when [`Kit::advance`] has come to the end of its timeout.
    pub fn silence(&mut self, session: SessionId) {
        self.service.silence(session);
    }

    /// The transaction in which a session ended; none while it lives.
    #[must_use]
    pub fn ended_at(&self, session: SessionId) -> Option<Zxid> {
        self.service.ended_at(session)
    }

    /// Lets milliseconds pass. Everything that falls due on the way does so at its own time, in order.
    pub fn advance(&mut self, milliseconds: u64) {
        self.service.advance(milliseconds);
    }

    /// Milliseconds since the kit was made.
    #[must_use]
    pub fn clock_ms(&self) -> u64 {
        self.service.clock_ms()
    }

    /// Drops the instances that are kept for reuse.
    pub fn reset(&mut self) {
        Resets::now(&self.resets);
    }

    /// From now on, instances that are kept for reuse are dropped before about every third run, as the seed says.
    pub fn reset_at_random(&mut self, seed: u64) {
        Resets::at_random(&self.resets, seed);
    }

    /// Activates the same component as a new version. Parked calls run again.
    ///
    /// # Errors
    /// The service refused, or the component's `migrate` did.
    pub fn upgrade(&mut self) -> Result<u64, KitError> {
        let deploy = Deploy {
            recipe: NAME.to_owned(),
            component: self.component.digest,
            manifest: self.manifest.clone(),
            breaking_allowed: false,
        };
        match self.write(self.operator, Body::Deploy(deploy))? {
            Answer::Activated { version } => Ok(version),
            other => unreachable!("a deployment is answered with {other:?}"),
        }
    }

    /// Names of the children of a znode of the recipe, in bytewise order; none if there is no such znode.
    ///
    /// # Errors
    /// This is no path.
    pub fn children(&self, path: &str) -> Result<Option<Vec<String>>, KitError> {
        let path = self.resolve(path)?;
        let tree = self.service.tree();
        if tree.node(&path).is_none() {
            return Ok(None);
        }
        let (from, to) = key::children(&path);
        Ok(Some(tree.child_names(&from, &to, Direction::Forward).collect()))
    }

    /// The data of a znode of the recipe; none if there is no such znode.
    ///
    /// # Errors
    /// This is no path.
    pub fn data(&self, path: &str) -> Result<Option<Bytes>, KitError> {
        let path = self.resolve(path)?;
        let tree = self.service.tree();
        Ok(tree.node(&path).map(|_| tree.data(&path).unwrap_or_default()))
    }

    fn resolve(&self, path: &str) -> Result<Path, KitError> {
        Ok(self.manifest.resolve(path)?.0)
    }

    fn upload(&mut self) -> Result<(), KitError> {
        let whole = self.component.bytes.clone();
        for (index, start) in (0..).zip((0..whole.len()).step_by(limits::CHUNK_BYTES_MAX)) {
            let end = whole.len().min(start + limits::CHUNK_BYTES_MAX);
            let chunk = Chunk {
                component: self.component.digest,
                index,
                total_bytes: whole.len() as u64,
                bytes: whole.slice(start..end),
            };
            self.write(self.operator, Body::StoreChunk(chunk))?;
        }
        Ok(())
    }

    /// A write that is answered at once.
    fn write(&mut self, session: SessionId, body: Body) -> Result<Answer, KitError> {
        let id = self.service.write(session, body);
        match self.service.fate(id) {
            Some(Fate::Answered(_, Reply::Done(answer))) => Ok(answer.clone()),
            Some(Fate::Answered(_, Reply::Refused(failure))) => {
                Err(KitError::Refused(failure.refusal.clone()))
            }
            other => unreachable!("a write that can not wait is answered at once, not {other:?}"),
        }
    }
}

/// The code of `failed CODE`.
pub(crate) fn failed_code(outcome: &str) -> Option<&str> {
    let code = outcome.strip_prefix("failed ")?.trim_matches(' ');
    code.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-').then_some(code)
}

/// A value whose type is not at hand: names are bound to numbers and texts for the most part.
fn show_untyped(value: &Value) -> String {
    match value {
        Value::U64(number) => number.to_string(),
        Value::S64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}
