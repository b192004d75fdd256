//! The barriers: the simple one here, the double one in its own file.
//! Knows which call is for which; does not know who has to wait for whom, or why.
//!
//! A simple barrier at `/a` is set as long as the znode `/a/_barrier` is there.

#![forbid(unsafe_code)]

mod double;
mod lobby;

use double::Double;
use quorate_recipe::call::{self, Reason};
use quorate_recipe::{ErrorCode, Interest, park, path, tree};

quorate_recipe::recipe!(Barrier);

struct Barrier;

impl Guest for Barrier {
    fn set(path: String) -> Result<bool, BarrierError> {
        match tree::create(&gate(&path)?).parents().empty() {
            Err(error) if error.code == ErrorCode::NodeExists => Ok(false),
            created => Ok(created.map(|_| true)?),
        }
    }

    fn lift(path: String) -> Result<bool, BarrierError> {
        Ok(tree::if_there(tree::delete(&gate(&path)?))?.is_some())
    }

    fn is_set(path: String) -> Result<bool, BarrierError> {
        Ok(tree::exists(&gate(&path)?)?)
    }

    fn wait(path: String, timeout_ms: Option<u64>) -> Result<(), BarrierError> {
        let gate = gate(&path)?;
        let Some(stat) = tree::stat(&gate)? else {
            return Ok(());
        };
        // Set again before this call could run again: the barrier that it waited for has been lifted all the same.
        let seen = call::state();
        if !seen.is_empty() && seen != stat.czxid.to_le_bytes() {
            return Ok(());
        }
        before_waiting(timeout_ms)?;
        call::set_state(&stat.czxid.to_le_bytes());
        park(&[Interest::node_changed(gate)])
    }

    fn enter(path: String, count: u32, timeout_ms: Option<u64>) -> Result<u64, BarrierError> {
        Double::at(&path)?.enter(u64::from(count), timeout_ms)
    }

    fn leave(path: String, timeout_ms: Option<u64>) -> Result<(), BarrierError> {
        Double::at(&path)?.leave(timeout_ms)
    }

    fn attendance(path: String) -> Result<Presence, BarrierError> {
        Double::at(&path)?.attendance()
    }
}

fn gate(path: &str) -> Result<String, BarrierError> {
    Ok(path::own(path, "_barrier")?)
}

/// What a call that can not go on has to do before it parks: end in its last run, and say in its first how long it waits.
fn before_waiting(timeout_ms: Option<u64>) -> Result<(), BarrierError> {
    match (call::reason(), timeout_ms) {
        (Reason::TimedOut, _) | (Reason::First, Some(0)) => Err(BarrierError::TimedOut),
        (Reason::Cancelled, _) => Err(BarrierError::Cancelled),
        (Reason::First, Some(milliseconds)) => {
            call::set_timeout(milliseconds);
            Ok(())
        }
        _ => Ok(()),
    }
}
