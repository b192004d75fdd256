//! Why a run ended before its function returned, and what its caller is told. How wasmtime reports it stays here.

use quorate_core::deployment::RunLimits;
use quorate_core::error::{ErrorCode, Refusal};
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::limits;

/// Raised by host functions as a trap.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The guest parks; what for stands in the state.
    #[error("the call parks")]
    Park,
    /// The call ends with this refusal.
    #[error("{0}")]
    Refused(Refusal),
}

impl Stop {
    /// Over a limit, which the message names with the value.
    pub(crate) fn over_limit(what: &str, value: u64, max: u64) -> Self {
        let message = format!("{what}: {value} is over the limit of {max}");
        Self::Refused(Refusal::new(ErrorCode::RecipeOverLimit, message))
    }

    /// A mistake of the guest.
    pub(crate) fn trapped(message: impl Into<String>) -> Self {
        Self::Refused(Refusal::new(ErrorCode::RecipeTrapped, message))
    }
}

/// What a run's error means; `None`: it parks.
pub(crate) fn refusal(error: &wasmtime::Error, limits: &RunLimits) -> Option<Refusal> {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return match stop {
            Stop::Park => None,
            Stop::Refused(refusal) => Some(refusal.clone()),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        let message =
            format!("too many recipes run at once on this member: {}", root_message(error));
        return Some(Refusal::new(ErrorCode::Overloaded, message));
    }
    let over = |message: String| Some(Refusal::new(ErrorCode::RecipeOverLimit, message));
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let max = limits.time_ms;
            over(format!("the run took longer than the limit of {max} ms (time_ms)"))
        }
        Some(Trap::StackOverflow) => {
            let max = limits::STACK_BYTES_MAX;
            over(format!("the run needs more stack than the limit of {max} bytes"))
        }
        Some(trap) => Some(Refusal::new(ErrorCode::RecipeTrapped, trap.to_string())),
        None => {
            let message = root_message(error);
            // wasmtime has no type for these.
            if message.contains("fuel allocated for hostcalls") {
                let max = limits::CROSSING_BYTES_MAX;
                return over(format!(
                    "the guest passed more than the limit of {max} bytes at once"
                ));
            }
            if message.contains("store handle limit exceeded") {
                let max = limits::HANDLES_ALL_MAX;
                return over(format!("the guest holds more handles than the limit of {max}"));
            }
            Some(Refusal::new(ErrorCode::RecipeTrapped, message))
        }
    }
}

/// The innermost message, bounded: parts of it may be the guest's.
fn root_message(error: &wasmtime::Error) -> String {
    error.root_cause().to_string().chars().take(512).collect()
}
