//! Calls of deployed recipes, by the types that the service describes. It knows no text form (that is `wave`) and no recipe.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::Zxid;
use quorate_core::request::{Answer, Body, Call, Failure, Operation, Reply};
use quorate_wire::message::{Query, Results};
use quorate_wire::value::{Function, Interface, Limits, Value, decode_result, encode_arguments};
use tokio::sync::Notify;

use crate::client::{Canceller, Client, ReadHandle, WriteHandle};
use crate::error::Error;
use crate::limits::{COMPILING_PATIENCE, RETRY_MS_FIRST, RETRY_MS_MAX};
use crate::session::Backoff;
use crate::tree::unexpected;
use crate::wave::{self, CallText};

/// What a recipe's active version exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Types {
    /// The version.
    pub version: u64,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// The functions that its manifest lists as read-only, by any of their names.
    pub read_only: Vec<String>,
}

impl Types {
    /// The function that a caller means: `acquire`, or `lock.acquire` and `quorate:lock/lock@0.1.0.acquire` where the name alone
    /// stands for more than one.
    ///
    /// # Errors
    /// `no-function`, with the names that there are; `bad-arguments` for a name that stands for more than one.
    pub fn function(&self, name: &str) -> Result<&Function, Refusal> {
        let (interface, function) = match name.rsplit_once('.') {
            Some((interface, function)) => (Some(interface), function),
            None => (None, name),
        };
        let is_meant = |known: &&Interface| {
            interface.is_none_or(|given| known.name == given || short_name(&known.name) == given)
        };
        let meant = self.interfaces.iter().filter(is_meant);
        let mut found = meant.filter_map(|known| known.function(function));
        match (found.next(), found.next()) {
            (Some(function), None) => Ok(function),
            (None, _) => {
                let functions = self.interfaces.iter().flat_map(|known| &known.functions);
                let names: Vec<&str> = functions.map(|known| known.name.as_str()).collect();
                let message =
                    format!("there is no function {name:?}; there is {}", names.join(", "));
                Err(Refusal::new(ErrorCode::NoFunction, message))
            }
            (Some(_), Some(_)) => {
                let message = format!("{name:?} is in more than one interface: name that too");
                Err(Refusal::new(ErrorCode::BadArguments, message))
            }
        }
    }

    /// Whether the manifest lists the function that a caller means as read-only. Such a function is sent as a read.
    #[must_use]
    pub fn is_read_only(&self, name: &str) -> bool {
        let Ok(meant) = self.function(name) else { return false };
        let is_meant =
            |listed: &String| self.function(listed).is_ok_and(|listed| std::ptr::eq(listed, meant));
        self.read_only.iter().any(is_meant)
    }
}

/// How a caller wants a call to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// As a read if the manifest lists its function, else as a write.
    Either,
    /// As a read.
    Read,
}

/// How a call is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Write,
    Read,
}

impl Wanted {
    fn how(self, types: &Types, function: &str) -> How {
        if self == Self::Read || types.is_read_only(function) { How::Read } else { How::Write }
    }
}

/// `lock` of `quorate:lock/lock@0.1.0`.
fn short_name(interface: &str) -> &str {
    let name = interface.rsplit_once('/').map_or(interface, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The transaction in which it ended; of a read, the last one that it reflects.
    pub zxid: Zxid,
    /// Its result; none for a function without one. The error case of a `result` is a value like others; in that case the call
    /// changed nothing.
    pub value: Option<Value>,
}

/// A deployed recipe, by name. See [`Client::recipe`].
#[derive(Debug, Clone)]
pub struct Recipe {
    client: Client,
    name: String,
}

impl Client {
    /// A recipe, to be called. Nothing is sent yet.
    pub fn recipe(&self, name: &str) -> Recipe {
        Recipe { client: self.clone(), name: name.to_owned() }
    }
}

impl Recipe {
    /// What its active version exports, as it was when this client first asked or last heard that it had changed.
    ///
    /// # Errors
    /// `Refused` with `no-recipe`; `SessionLost`; `BadAnswer`.
    pub async fn interface(&self) -> Result<Arc<Types>, Error> {
        let known = self.client.recipes().get(&self.name).cloned();
        match known {
            Some(types) => Ok(types),
            None => self.fetch().await,
        }
    }

    async fn fetch(&self) -> Result<Arc<Types>, Error> {
        let asked = self.client.read(Query::Interface(self.name.clone())).await?;
        let (_, Results::Interface { version, interfaces: encoded, read_only }) = asked else {
            return Err(unexpected("interface"));
        };
        let interfaces = encoded.into_iter().map(Interface::decode).collect::<Result<_, _>>()?;
        let types = Arc::new(Types { version, interfaces, read_only });
        self.client.recipes().insert(self.name.clone(), Arc::clone(&types));
        Ok(types)
    }

    /// Calls a function and waits for its result, however long it waits in the service. To give up, or after a time, use
    /// [`Recipe::start`]. A function that the manifest lists as read-only is called as a read ([`Recipe::call_read_only`]).
    ///
    /// Dropped, the call is cancelled.
    ///
    /// # Errors
    /// `Arguments` for values of other types, also when the types have changed meanwhile; `Refused`; `SessionLost`.
    pub async fn call(&self, function: &str, arguments: Vec<Value>) -> Result<Called, Error> {
        self.start(function, arguments).await?.await
    }

    /// Calls a function as a read: the member that this client is connected to runs it on the tree that it has applied, as fresh
    /// as this client's reads are ([`Client::with_consistency`]), beside everything else. It takes no write number and nothing of
    /// it is replicated.
    ///
    /// # Errors
    /// As `call`. `Refused` with `read-only` if the function tries to change something, or to wait; with `overloaded` if too many
    /// wait; with `compiling` if that member is not ready to run it for a minute.
    pub async fn call_read_only(
        &self,
        function: &str,
        arguments: Vec<Value>,
    ) -> Result<Called, Error> {
        self.start_read_only(function, arguments).await?.await
    }

    /// Calls a function with arguments as text, `add("/hits", 1)`, and gives the result as text; empty for a function without
    /// one. See [`crate::wave`].
    ///
    /// # Errors
    /// `Text`, pointing at the column; else as `call`.
    pub async fn call_wave(&self, text: &str) -> Result<String, Error> {
        let call = CallText::parse(text)?;
        let types = self.interface().await?;
        let function = types.function(call.function())?;
        let arguments = call.arguments(function)?;
        let called = self.call(call.function(), arguments).await?;
        // A call whose types had changed was made by the new ones.
        let types = self.interface().await?;
        let result = types.function(call.function())?.result.as_ref();
        Ok(match (called.value, result) {
            (Some(value), Some(kind)) => wave::show(&value, kind),
            _ => String::new(),
        })
    }

    /// Sends a call. The handle gives the result, and can give it up.
    ///
    /// A call by types that have changed is made once more, by the new ones. One of a recipe that the leader still compiles is
    /// made again for up to [`COMPILING_PATIENCE`]: it comes behind what was sent meanwhile.
    ///
    /// # Errors
    /// As `call`, as far as it is known before the call is answered.
    pub async fn start(&self, function: &str, arguments: Vec<Value>) -> Result<CallHandle, Error> {
        self.start_wanted(function, arguments, Wanted::Either).await
    }

    /// Sends a call as a read: as [`Recipe::start`] and [`Recipe::call_read_only`]. Given up, it ends at once with `cancelled`.
    ///
    /// # Errors
    /// As `call_read_only`, as far as it is known before the call is answered.
    pub async fn start_read_only(
        &self,
        function: &str,
        arguments: Vec<Value>,
    ) -> Result<CallHandle, Error> {
        self.start_wanted(function, arguments, Wanted::Read).await
    }

    async fn start_wanted(
        &self,
        function: &str,
        arguments: Vec<Value>,
        wanted: Wanted,
    ) -> Result<CallHandle, Error> {
        let types = self.interface().await?;
        let first = types.function(function)?.clone();
        let first_how = wanted.how(&types, function);
        let sent = self.send(function, &first, &arguments, first_how).await?;
        let current = Arc::new(Current::new(sent.canceller()));
        let recipe = self.clone();
        let (name, shared) = (function.to_owned(), Arc::clone(&current));
        let answer = async move {
            let (zxid, reply) = sent.answer(&shared).await?;
            if !may_be_outdated(&reply, first_how, wanted) || shared.is_cancelled() {
                return called(&first, zxid, reply);
            }
            let types = recipe.fetch().await?;
            let second = types.function(&name)?.clone();
            let how = wanted.how(&types, &name);
            if (&second, how) == (&first, first_how) {
                return called(&first, zxid, reply);
            }
            let sent = recipe.send(&name, &second, &arguments, how).await?;
            shared.replace(sent.canceller());
            let (zxid, reply) = sent.answer(&shared).await?;
            called(&second, zxid, reply)
        };
        Ok(CallHandle { answer: Box::pin(answer), current, is_done: false })
    }

    /// Sends a call by the caller's own types. When the recipe's are others, it stays refused. It is sent as a read if that is
    /// wanted, or if this client knows by now that the manifest lists the function.
    pub(crate) async fn start_as(
        &self,
        name: &'static str,
        function: &'static Function,
        arguments: Vec<Value>,
        wanted: Wanted,
    ) -> Result<CallHandle, Error> {
        let known = self.client.recipes().get(&self.name).cloned();
        let is_listed = known.is_some_and(|types| types.is_read_only(name));
        let how = if wanted == Wanted::Read || is_listed { How::Read } else { How::Write };
        let sent = self.send(name, function, &arguments, how).await?;
        let current = Arc::new(Current::new(sent.canceller()));
        let (recipe, shared) = (self.clone(), Arc::clone(&current));
        let answer = async move {
            let (zxid, reply) = sent.answer(&shared).await?;
            let is_outdated = how == How::Read && may_be_outdated(&reply, how, wanted);
            if !is_outdated || shared.is_cancelled() || recipe.fetch().await?.is_read_only(name) {
                return called(function, zxid, reply);
            }
            let sent = recipe.send(name, function, &arguments, How::Write).await?;
            shared.replace(sent.canceller());
            let (zxid, reply) = sent.answer(&shared).await?;
            called(function, zxid, reply)
        };
        Ok(CallHandle { answer: Box::pin(answer), current, is_done: false })
    }

    /// The call as an operation of a [`Client::multi`]. Its answer is read with [`Recipe::result`].
    ///
    /// # Errors
    /// As `call`, before anything is sent.
    pub async fn operation(&self, function: &str, arguments: &[Value]) -> Result<Operation, Error> {
        let types = self.interface().await?;
        self.encode(function, types.function(function)?, arguments)
    }

    /// The result of a call in a multi.
    ///
    /// # Errors
    /// `BadAnswer` for an answer that is not this function's.
    pub async fn result(&self, function: &str, answer: &Answer) -> Result<Option<Value>, Error> {
        let types = self.interface().await?;
        match answer {
            Answer::Called(bytes) => result(types.function(function)?, bytes.clone()),
            _ => Err(unexpected("a call")),
        }
    }

    async fn send(
        &self,
        name: &str,
        function: &Function,
        arguments: &[Value],
        how: How,
    ) -> Result<Sent, Error> {
        let call = self.encode_call(name, function, arguments)?;
        let operation = match how {
            How::Read => return Ok(Sent::Read(self.client.send_read_call(call).await?)),
            How::Write => Operation::Call(call),
        };
        let write = self.client.send(Body::Single(operation.clone())).await?;
        Ok(Sent::Write(SentWrite { client: self.client.clone(), operation, write }))
    }

    pub(crate) fn encode(
        &self,
        name: &str,
        function: &Function,
        arguments: &[Value],
    ) -> Result<Operation, Error> {
        self.encode_call(name, function, arguments).map(Operation::Call)
    }

    fn encode_call(
        &self,
        name: &str,
        function: &Function,
        arguments: &[Value],
    ) -> Result<Call, Error> {
        Ok(Call {
            recipe: self.name.clone(),
            function: name.to_owned(),
            signature: u128::from(function.signature_hash()),
            arguments: encode_arguments(function, arguments, Limits::VALUE)?,
        })
    }
}

/// Whether a call may have been refused because the recipe is another one by now.
fn may_be_outdated(reply: &Reply, how: How, wanted: Wanted) -> bool {
    let Reply::Refused(Failure { refusal, .. }) = reply else { return false };
    match refusal.code {
        ErrorCode::SignatureChanged => true,
        // It was listed when this client asked.
        ErrorCode::ReadOnly => how == How::Read && wanted == Wanted::Either,
        _ => false,
    }
}

/// A call that was sent.
enum Sent {
    Write(SentWrite),
    Read(ReadHandle),
}

impl Sent {
    /// Of a write: a read that is given up is left alone.
    fn canceller(&self) -> Option<Canceller> {
        match self {
            Self::Write(sent) => Some(sent.write.canceller()),
            Self::Read(_) => None,
        }
    }

    /// Its answer, as that of a write.
    async fn answer(self, current: &Current) -> Result<(Zxid, Reply), Error> {
        let read = match self {
            Self::Write(sent) => return sent.answer(current).await,
            Self::Read(handle) => handle,
        };
        let found = tokio::select! {
            found = read => found,
            () = current.cancelled() => {
                let message = "the call was given up; it may only read, and changed nothing";
                return Err(Refusal::new(ErrorCode::Cancelled, message).into());
            }
        };
        match found {
            Ok((zxid, Results::Called(value))) => Ok((zxid, Reply::Done(Answer::Called(value)))),
            Ok(_) => Err(unexpected("a call")),
            Err(Error::Refused(failure)) => Ok((Zxid(0), Reply::Refused(failure))),
            Err(error) => Err(error),
        }
    }
}

/// A call that was sent as a write.
struct SentWrite {
    client: Client,
    operation: Operation,
    write: WriteHandle,
}

impl SentWrite {
    /// Its reply. A call that is refused with `compiling` did not run and changed nothing, so it is made again, as a new write:
    /// for a while, and not when it was cancelled.
    async fn answer(self, current: &Current) -> Result<(Zxid, Reply), Error> {
        let Self { client, operation, mut write } = self;
        let deadline = tokio::time::Instant::now() + COMPILING_PATIENCE;
        let mut retries: Option<Backoff> = None;
        loop {
            let (zxid, reply) = write.await?;
            let has_time = tokio::time::Instant::now() < deadline;
            if !is_compiling(&reply) || !has_time || current.is_cancelled() {
                return Ok((zxid, reply));
            }
            let new = || Backoff::new(RETRY_MS_FIRST, RETRY_MS_MAX, zxid.0);
            let delay_ms = retries.get_or_insert_with(new).next_ms();
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            if current.is_cancelled() {
                return Ok((zxid, reply));
            }
            write = client.send(Body::Single(operation.clone())).await?;
            current.replace(Some(write.canceller()));
        }
    }
}

fn is_compiling(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(failure) if failure.refusal.code == ErrorCode::Compiling)
}

fn called(function: &Function, zxid: Zxid, reply: Reply) -> Result<Called, Error> {
    let bytes = match reply {
        Reply::Done(Answer::Called(bytes)) => bytes,
        Reply::Refused(Failure { value: Some(bytes), refusal, .. })
            if refusal.code == ErrorCode::RecipeRefused =>
        {
            bytes
        }
        Reply::Refused(failure) => return Err(Error::Refused(failure)),
        Reply::Done(_) => return Err(unexpected("a call")),
    };
    Ok(Called { zxid, value: result(function, bytes)? })
}

pub(crate) fn result(function: &Function, bytes: Bytes) -> Result<Option<Value>, Error> {
    Ok(decode_result(function, bytes, Limits::VALUE)?)
}

/// What a cancellation is about: the write that the call is at the moment.
struct Current {
    /// None while it is a read.
    canceller: Mutex<Option<Canceller>>,
    is_cancelled: AtomicBool,
    told: Notify,
}

impl Current {
    fn new(canceller: Option<Canceller>) -> Self {
        let is_cancelled = AtomicBool::new(false);
        Self { canceller: Mutex::new(canceller), is_cancelled, told: Notify::new() }
    }

    /// Returns when it is given up. For one who waits.
    async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.told.notified().await;
        }
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    fn cancel(&self) {
        // Set under the lock, so that a write that replaces this one sees it.
        let canceller = self.canceller.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_cancelled.swap(true, Ordering::SeqCst) {
            self.told.notify_one();
            if let Some(canceller) = &*canceller {
                canceller.cancel();
            }
        }
    }

    fn replace(&self, by: Option<Canceller>) {
        let mut canceller = self.canceller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(by) = by.as_ref().filter(|_| self.is_cancelled()) {
            by.cancel();
        }
        *canceller = by;
    }
}

/// A call under way. As a future, it gives the result.
///
/// Dropped before it has given it, the call is cancelled; if it had ended by then, its effects stand.
#[must_use]
pub struct CallHandle {
    answer: Pin<Box<dyn Future<Output = Result<Called, Error>> + Send>>,
    current: Arc<Current>,
    is_done: bool,
}

impl CallHandle {
    /// Gives the call up: if it waits in the service, it is run once more with the reason "cancelled". The result comes in any
    /// case; a call that had ended before gives what it would have given. One that was sent as a read ends at once.
    pub fn cancel(&self) {
        self.current.cancel();
    }

    /// Waits for the result, cancels the call after this time, and then waits for what that comes to. The time is this
    /// client's; to let the service count, give the function a timeout where it takes one.
    ///
    /// # Errors
    /// As [`Recipe::call`].
    pub async fn within(mut self, timeout: Duration) -> Result<Called, Error> {
        match tokio::time::timeout(timeout, &mut self).await {
            Ok(result) => result,
            Err(_) => {
                self.cancel();
                self.await
            }
        }
    }
}

impl Future for CallHandle {
    type Output = Result<Called, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.answer.as_mut().poll(context);
        self.is_done |= polled.is_ready();
        polled
    }
}

impl Drop for CallHandle {
    fn drop(&mut self) {
        if !self.is_done {
            self.current.cancel();
        }
    }
}
