//! A typed call: what to send, by the caller's types, and how to read what comes back. It knows no function.

use std::convert::Infallible;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_core::request::{Answer, Operation};
use quorate_wire::value::{Type, Value};

use crate::error::Error;
use crate::recipe::{CallHandle, Called, Recipe, Wanted, result};
use crate::tree::unexpected;
use crate::typed::{Payload, Signature};

/// Why a typed call gave no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError<E> {
    /// The function returned this as its `err`. The call changed nothing, unless it had waited.
    #[error("the recipe refused: {0}")]
    Recipe(E),
    /// There is no result of the function.
    #[error(transparent)]
    Call(#[from] Error),
}

impl From<CallError<Infallible>> for Error {
    fn from(error: CallError<Infallible>) -> Self {
        match error {
            CallError::Recipe(never) => match never {},
            CallError::Call(error) => error,
        }
    }
}

/// A call of a function that gives a `T`, or the `E` of its `result`. Awaited, it is sent and gives that; nothing is sent before.
///
/// Dropped while it is awaited, the call is cancelled, as [`Recipe::call`] is.
#[must_use = "nothing is sent before it is awaited or started"]
pub struct Call<T, E = Infallible> {
    recipe: Recipe,
    signature: &'static Signature,
    arguments: Vec<Value>,
    wanted: Wanted,
    gives: PhantomData<fn() -> (T, E)>,
}

impl<T: Payload, E: Payload> Call<T, E> {
    /// A call of this function with arguments of its types.
    #[doc(hidden)]
    pub fn new(recipe: &Recipe, signature: &'static Signature, arguments: Vec<Value>) -> Self {
        let (recipe, wanted) = (recipe.clone(), Wanted::Either);
        Self { recipe, signature, arguments, wanted, gives: PhantomData }
    }

    /// The same call as a read, as [`Recipe::call_read_only`]: `recipe.size("/jobs").read_only().await`. A call of a function that
    /// this client knows to be listed as read-only is one without this; it knows that from [`Recipe::interface`].
    pub fn read_only(mut self) -> Self {
        self.wanted = Wanted::Read;
        self
    }

    /// Sends the call and does not wait for its result. The handle gives it, and can give the call up.
    ///
    /// # Errors
    /// `Arguments` over a limit; `SessionLost`.
    pub async fn start(self) -> Result<Started<T, E>, Error> {
        let function = self.signature.function()?;
        let (name, wanted) = (self.signature.name(), self.wanted);
        let handle = self.recipe.start_as(name, function, self.arguments, wanted).await?;
        Ok(Started { handle, signature: self.signature, gives: PhantomData })
    }

    /// The call as an operation of a [`Client::multi`](crate::Client::multi). Its answer is read with [`Call::read`].
    ///
    /// # Errors
    /// `Arguments` over a limit.
    pub fn operation(&self) -> Result<Operation, Error> {
        let function = self.signature.function()?;
        self.recipe.encode(self.signature.name(), function, &self.arguments)
    }

    /// What this call, made in a multi, was answered.
    ///
    /// # Errors
    /// `BadAnswer` for the answer to something else.
    pub fn read(&self, answer: &Answer) -> Result<T, CallError<E>> {
        match answer {
            Answer::Called(bytes) => {
                let function = self.signature.function()?;
                read(self.signature, result(function, bytes.clone())?)
            }
            _ => Err(unexpected("a call").into()),
        }
    }
}

impl<T: Payload + 'static, E: Payload + 'static> IntoFuture for Call<T, E> {
    type Output = Result<T, CallError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().await?.await })
    }
}

impl<T, E> std::fmt::Debug for Call<T, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("function", &self.signature.name()).finish_non_exhaustive()
    }
}

/// A typed call under way. As a future, it gives the result.
///
/// Dropped before it has given it, the call is cancelled; if it had ended by then, its effects stand.
#[must_use]
pub struct Started<T, E = Infallible> {
    handle: CallHandle,
    signature: &'static Signature,
    gives: PhantomData<fn() -> (T, E)>,
}

impl<T: Payload, E: Payload> Started<T, E> {
    /// As [`CallHandle::cancel`].
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// As [`CallHandle::within`].
    ///
    /// # Errors
    /// As the call.
    pub async fn within(self, timeout: Duration) -> Result<T, CallError<E>> {
        finish(self.signature, self.handle.within(timeout).await)
    }
}

impl<T: Payload, E: Payload> Future for Started<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let signature = self.signature;
        Pin::new(&mut self.handle).poll(context).map(|called| finish(signature, called))
    }
}

fn finish<T: Payload, E: Payload>(
    signature: &Signature,
    called: Result<Called, Error>,
) -> Result<T, CallError<E>> {
    read(signature, called?.value)
}

fn read<T: Payload, E: Payload>(
    signature: &Signature,
    value: Option<Value>,
) -> Result<T, CallError<E>> {
    let returns_result = matches!(signature.function()?.result, Some(Type::Result { .. }));
    let read = match value {
        Some(Value::Result(result)) if returns_result => match result {
            Ok(payload) => T::from_payload(payload),
            Err(payload) => {
                return Err(E::from_payload(payload)
                    .map_or_else(|mismatch| CallError::Call(mismatch.into()), CallError::Recipe));
            }
        },
        value => T::from_payload(value.map(Box::new)),
    };
    Ok(read.map_err(Error::from)?)
}
