//! The lock: a fair line of callers, the first of whom holds it.
//! Knows lines and grants; does not know what is locked, or who waits for the calls of the others.
//!
//! A lock at `/a` keeps one znode, `/a/_lock`. Its children are the places in line (see [`quorate_recipe::line`]), each with
//! its caller's note; its data says which of them holds the lock (see [`quorate_recipe::grant`]). A place is ephemeral, so
//! the lock goes with the session of its holder.

#![forbid(unsafe_code)]

use quorate_recipe::call::{self, Reason};
use quorate_recipe::line::{self, Turn};
use quorate_recipe::{Interest, grant, park, path, tree};

quorate_recipe::recipe!(Lock);

struct Lock;

/// Long enough for a host name, a process and a reason; short enough for a page of waiters.
const NOTE_BYTES_MAX: usize = 1024;

/// A page of waiters takes two host calls for each.
const WAITERS_MAX: u32 = 100;

impl Guest for Lock {
    fn acquire(path: String, options: Options) -> Result<Grant, LockError> {
        let lock = path::own(&path, "_lock")?;
        let note = options.note.unwrap_or_default();
        if note.len() > NOTE_BYTES_MAX {
            return Err(LockError::NoteTooLong(note.len() as u64));
        }
        if call::reason() == Reason::First
            && let Some(held) = grant::current(&lock)?
            && held.session == call::session()
        {
            return Err(LockError::AlreadyHeld(held.token));
        }
        match line::turn(&lock, note.as_bytes(), options.timeout_ms)? {
            Turn::Mine(node) => {
                let grant = grant::make(&lock, node)?;
                Ok(Grant { token: grant.token, node: grant.node })
            }
            Turn::TimedOut => Err(LockError::TimedOut),
            Turn::Cancelled => Err(LockError::Cancelled),
            Turn::Removed => Err(LockError::Removed),
        }
    }

    fn release(path: String, token: u64) -> Result<(), LockError> {
        match grant::give_back(&path::own(&path, "_lock")?, token)? {
            true => Ok(()),
            false => Err(LockError::NotHeld),
        }
    }

    fn await_loss(path: String, token: u64) -> Result<(), LockError> {
        let lock = path::own(&path, "_lock")?;
        match (grant::current(&lock)?, call::reason()) {
            (Some(held), reason) if held.token == token => {
                if reason == Reason::Cancelled {
                    return Err(LockError::Cancelled);
                }
                // The holder's place, and the znode that says whose place it is.
                park(&[Interest::node_changed(held.node), Interest::node_changed(lock)])
            }
            _ => Ok(()),
        }
    }

    fn holder(path: String) -> Result<Option<Tenure>, LockError> {
        let Some(held) = grant::current(&path::own(&path, "_lock")?)? else {
            return Ok(None);
        };
        let note = note(tree::get(&held.node)?.data);
        Ok(Some(Tenure { token: held.token, session: held.session, note, since: held.since }))
    }

    fn waiters(path: String, after: Option<String>, limit: u32) -> Result<Vec<Waiting>, LockError> {
        let lock = path::own(&path, "_lock")?;
        let holder = grant::current(&lock)?.map(|held| held.node);
        let mut places = tree::children(&lock);
        if let Some(after) = after {
            places = places.after(after);
        }
        let mut waiters = Vec::new();
        for place in places {
            if waiters.len() as u64 >= u64::from(limit.min(WAITERS_MAX)) {
                break;
            }
            // A lock that nobody has used yet has no znode to list.
            let Some(place) = tree::if_there(place)? else {
                break;
            };
            let node = path::child(&lock, &place)?;
            if holder.as_ref() != Some(&node) {
                waiters.push(waiting(place, tree::get(&node)?));
            }
        }
        Ok(waiters)
    }

    fn remove(path: String) -> Result<(), LockError> {
        let lock = path::own(&path, "_lock")?;
        if !line::is_empty(&lock)? {
            return Err(LockError::InUse);
        }
        if tree::exists(&lock)? {
            tree::delete(&lock)?;
        }
        Ok(())
    }
}

fn waiting(place: String, node: tree::Node) -> Waiting {
    let session = node.stat.owner.unwrap_or_default();
    Waiting { place, session, note: note(node.data), since: node.stat.created }
}

/// A caller's note as it was given: a place without data has none.
fn note(data: Vec<u8>) -> Option<String> {
    (!data.is_empty()).then(|| String::from_utf8_lossy(&data).into_owned())
}
