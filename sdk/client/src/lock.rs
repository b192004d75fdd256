//! Locks held through the recipe `lock` (`quorate:lock/lock@0.1.0`). It knows that recipe's types, and not how it works.

use std::time::Duration;

use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::request::Fence;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::clock::milliseconds;
use crate::error::Error;
use crate::limits::LOCK_WATCH_RETRY;
use crate::session::{Loss, SessionState};
use crate::typed::CallError;
use wit::{Grant, Lock, Options};

pub(crate) mod wit {
    //! The recipe's interface, from its WIT.

    crate::recipe!("../../recipes/lock/wit");
    pub(crate) use lock::*;
}

/// How a lock is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOptions {
    /// The name under which the recipe is deployed.
    pub recipe: String,
    /// Give up after so long; the service counts. None: wait for ever. Zero: do not wait.
    pub timeout: Option<Duration>,
    /// Who asks and why, for people who look at the lock. 1,024 bytes at most.
    pub note: Option<String>,
    /// [`LockGuard::lost`] resolves when the session has been suspended for so long. None: only when it is lost, which is always
    /// before somebody else gets the lock.
    pub suspended_max: Option<Duration>,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self { recipe: "lock".to_owned(), timeout: None, note: None, suspended_max: None }
    }
}

/// Why a lock was not got or given back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// This session holds it already, with this token.
    #[error("this session holds the lock already, with token {0}")]
    AlreadyHeld(u64),
    /// The timeout has passed.
    #[error("the timeout has passed, and somebody else holds the lock")]
    TimedOut,
    /// It was cancelled.
    #[error("the request for the lock was cancelled")]
    Cancelled,
    /// Somebody deleted this call's place in the line.
    #[error("somebody deleted this request's place in the line")]
    Removed,
    /// The session does not hold it (any more).
    #[error("this session does not hold the lock with this token")]
    NotHeld,
    /// The recipe refused for another reason, in its own words.
    #[error("the lock recipe refused: {0}")]
    Other(String),
    /// The call itself failed.
    #[error(transparent)]
    Call(#[from] Error),
}

/// Why a lock must not be relied on any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockLost {
    /// The session is over.
    #[error(transparent)]
    Session(Loss),
    /// The session has been suspended for longer than the options allow. The lock is still held, so far.
    #[error("the session has been suspended for longer than {0:?}")]
    Suspended(Duration),
    /// The session lives, and the grant is over all the same. Others may have the lock already.
    #[error("its znode was deleted, or it was given back elsewhere")]
    TakenAway,
    /// The service does not have the recipe any more, so nobody says who holds the lock.
    #[error("the recipe is gone: {0}")]
    RecipeGone(Refusal),
}

/// A lock that is held. Dropped, it is given back in the background.
#[derive(Debug)]
pub struct LockGuard {
    recipe: Lock,
    client: Client,
    name: String,
    path: String,
    /// As the recipe is told it, which knows no root of a client.
    absolute: String,
    node: String,
    token: u64,
    suspended_max: Option<Duration>,
    is_held: bool,
}

impl Client {
    /// Gets a lock by its path, waiting in line for it. To be called inside a tokio runtime. With a root `/app` the lock `/a` is the
    /// one that a client without has as `/app/a`.
    ///
    /// Dropped before it is ready, the request is given up; a grant that crosses with that is given back in the background.
    ///
    /// # Errors
    /// See [`LockError`].
    pub async fn lock(&self, path: &str, options: LockOptions) -> Result<LockGuard, LockError> {
        let LockOptions { recipe: name, timeout, note, suspended_max } = options;
        let recipe = Lock::new(self, &name);
        let options = Options { note, timeout_ms: timeout.map(milliseconds) };
        let absolute = self.absolute(path);
        let call = recipe.acquire(absolute.as_str(), options).start().await?;
        let (client, path) = (self.clone(), path.to_owned());
        let guard = move |Grant { token, node }| {
            let is_held = true;
            LockGuard { recipe, client, name, path, absolute, node, token, suspended_max, is_held }
        };
        let (granted, receiver) = oneshot::channel();
        // A task of its own, because a grant may come although nobody waits for it any more.
        tokio::spawn(async move {
            let mut granted = granted;
            let mut call = call;
            let called = tokio::select! {
                called = &mut call => called,
                () = granted.closed() => {
                    call.cancel();
                    call.await
                }
            };
            let result = called.map_err(LockError::from).map(guard);
            // The guard comes back if nobody takes it, and its drop gives the lock back.
            drop(granted.send(result));
        });
        let lost = || Error::SessionLost { loss: Loss::Dropped, may_have_happened: true };
        receiver.await.map_err(|_| lost())?
    }
}

impl LockGuard {
    /// The fencing token: larger than that of every grant before. Show it to whatever the lock protects.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// What writes to the tree show, so that they are refused once the lock has ended: see [`Client::fenced`]. It is in the
    /// recipe's words, and the same for clients with any root.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { recipe: self.name.clone(), node: self.node.clone(), token: self.token }
    }

    /// The lock's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Resolves when the lock must not be relied on any more.
    ///
    /// That the session is lost, or has been suspended for too long, is told before anybody else has the lock. That somebody took
    /// the lock away (an operator deleted its znode or removed the recipe, its token was used elsewhere on this session) is told
    /// when it has happened: a call waits in the service for it as long as this future is awaited. At most
    /// [`LOCK_WATCHES_MAX`](crate::limits::LOCK_WATCHES_MAX) of a client wait so; the locks beyond, and those of a recipe without `await-loss`, are only known to be
    /// lost with the session.
    ///
    /// Cancel-safe. Each call of this function waits anew, and counts the time of a suspension anew: keep the future where it is
    /// awaited in a loop.
    pub async fn lost(&self) -> LockLost {
        tokio::select! {
            biased;
            lost = self.session_lost() => lost,
            lost = self.grant_lost() => lost,
        }
    }

    async fn session_lost(&self) -> LockLost {
        let mut state = self.client.state();
        loop {
            let seen = state.borrow_and_update().clone();
            let changed = match (seen, self.suspended_max) {
                (SessionState::Lost(loss), _) => return LockLost::Session(loss),
                (SessionState::Suspended, Some(most)) => {
                    match tokio::time::timeout(most, state.changed()).await {
                        Ok(changed) => changed,
                        Err(_) => return LockLost::Suspended(most),
                    }
                }
                _ => state.changed().await,
            };
            if changed.is_err() {
                return LockLost::Session(Loss::Dropped);
            }
        }
    }

    /// Resolves when the grant has ended; never, if nobody can say.
    async fn grant_lost(&self) -> LockLost {
        let path = &self.path;
        let Ok(_watch) = self.client.lock_watches().try_acquire() else {
            tracing::warn!(%path, "too many locks: the loss of this one is seen with its session only");
            return std::future::pending().await;
        };
        loop {
            let refused = match self.recipe.await_loss(self.absolute.as_str(), self.token).await {
                Ok(()) => return LockLost::TakenAway,
                Err(CallError::Call(Error::Refused(failure))) => failure.refusal,
                // The session's end is told by the session.
                Err(CallError::Call(Error::SessionLost { .. })) => {
                    return std::future::pending().await;
                }
                Err(CallError::Call(error)) => Refusal::new(error.code(), error.to_string()),
                Err(CallError::Recipe(error)) => {
                    Refusal::new(ErrorCode::RecipeRefused, error.to_string())
                }
            };
            match refused.code {
                ErrorCode::NoRecipe => return LockLost::RecipeGone(refused),
                ErrorCode::NoFunction | ErrorCode::SignatureChanged => {
                    tracing::warn!(%path, %refused, "the loss of this lock is seen with its session only");
                    return std::future::pending().await;
                }
                _ => tracing::debug!(%path, %refused, "asking again whether the lock is held"),
            }
            tokio::time::sleep(LOCK_WATCH_RETRY).await;
        }
    }

    /// Gives the lock back. Dropped after it was sent, it is given back all the same.
    ///
    /// # Errors
    /// `NotHeld` if somebody took it away; `Call`.
    pub async fn release(mut self) -> Result<(), LockError> {
        self.is_held = false;
        Ok(self.recipe.release(self.absolute.as_str(), self.token).await?)
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let is_lost = matches!(*self.client.state().borrow(), SessionState::Lost(_));
        if !self.is_held || is_lost {
            return;
        }
        // Outside a runtime nobody can send anything: the session's end gives the lock back.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let release = self.recipe.release(self.absolute.as_str(), self.token);
            let path = self.path.clone();
            runtime.spawn(async move {
                if let Err(error) = release.await {
                    tracing::debug!(%path, %error, "a lock was not given back");
                }
            });
        }
    }
}

impl From<CallError<wit::LockError>> for LockError {
    fn from(error: CallError<wit::LockError>) -> Self {
        match error {
            CallError::Call(error) => Self::Call(error),
            CallError::Recipe(refused) => match refused {
                wit::LockError::AlreadyHeld(token) => Self::AlreadyHeld(token),
                wit::LockError::TimedOut => Self::TimedOut,
                wit::LockError::Cancelled => Self::Cancelled,
                wit::LockError::Removed => Self::Removed,
                wit::LockError::NotHeld => Self::NotHeld,
                wit::LockError::Tree(error) => Self::Other(error.message),
                other => Self::Other(other.to_string()),
            },
        }
    }
}
