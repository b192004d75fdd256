//! A lock with fencing tokens: one holder at most, tokens only grow.

use crate::Model;

/// The model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lock;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LockCall {
    /// Waits for the lock and takes it.
    Acquire,
    /// Takes the lock if it is free.
    TryAcquire,
    /// Gives it back.
    Release(u64),
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LockAnswer {
    /// Held now, with this token.
    Granted(u64),
    /// Somebody holds it.
    Held,
    /// It was given back.
    Released,
    /// This token does not hold it.
    NotHeld,
}

/// Who holds a lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The token that holds it; none for one whose grant was never seen: any token may be its.
    held: Option<Option<u64>>,
    /// The highest token that was seen.
    last: u64,
}

impl Model for Lock {
    type State = Holder;
    type Input = LockCall;
    type Output = LockAnswer;

    fn initial(&self) -> Holder {
        Holder::default()
    }

    fn step(
        &self,
        state: &Holder,
        input: &LockCall,
        output: Option<&LockAnswer>,
    ) -> Option<Holder> {
        let granted = |token: Option<u64>| {
            let last = token.unwrap_or(state.last);
            Holder { held: Some(token), last }
        };
        let is_held = state.held.is_some();
        match (input, output) {
            (LockCall::Acquire | LockCall::TryAcquire, Some(LockAnswer::Granted(token))) => {
                (!is_held && *token > state.last).then(|| granted(Some(*token)))
            }
            (LockCall::TryAcquire, Some(LockAnswer::Held)) => is_held.then(|| state.clone()),
            // Never seen: it waits for ever, which is to say that it takes no effect, or holds the lock.
            (LockCall::Acquire, None) => (!is_held).then(|| granted(None)),
            (LockCall::TryAcquire, None) => {
                Some(if is_held { state.clone() } else { granted(None) })
            }
            (LockCall::Release(token), output) => {
                let holds = state.held.is_some_and(|held| held.is_none_or(|held| held == *token));
                match (output, holds) {
                    (Some(LockAnswer::Released) | None, true) => {
                        Some(Holder { held: None, last: state.last.max(*token) })
                    }
                    (Some(LockAnswer::NotHeld) | None, false) => Some(state.clone()),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
