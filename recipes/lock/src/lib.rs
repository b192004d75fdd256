//! The lock: a fair line of callers, the first of whom holds it.
//! Knows lines and grants; does not know what is locked, or who waits for the calls of the others.
//!
//! A lock at `/a` keeps one znode, `/a/_lock`. Its children are the places in line (see [`quorate_recipe::line`]), each with
//! its caller's note. Its data is the last [`grant`]: which place has the lock, with which token, since when. The
//! lock is held as long as that place exists; the place is ephemeral, so it goes with its session.

#![forbid(unsafe_code)]

mod grant;

use grant::Record;
use quorate_recipe::call::{self, Reason};
use quorate_recipe::line::{self, Turn};
use quorate_recipe::{path, tree};

quorate_recipe::recipe!(Lock);

struct Lock;

/// Long enough for a host name, a process and a reason; short enough for a page of waiters.
const NOTE_BYTES_MAX: usize = 1024;

/// A page's worth of reads fits into one call's host calls.
const WAITERS_MAX: u32 = 100;

impl Guest for Lock {
    fn acquire(path: String, options: Options) -> Result<Grant, LockError> {
        let lock = path::own(&path, "_lock")?;
        let note = options.note.unwrap_or_default();
        if note.len() > NOTE_BYTES_MAX {
            return Err(LockError::NoteTooLong(note.len() as u64));
        }
        if call::reason() == Reason::First
            && let Some((held, session)) = current(&lock)?
            && session == call::session()
        {
            return Err(LockError::AlreadyHeld(held.token));
        }
        match line::turn(&lock, note.as_bytes(), options.timeout_ms)? {
            Turn::Mine(node) => grant(&lock, node),
            Turn::TimedOut => Err(LockError::TimedOut),
            Turn::Cancelled => Err(LockError::Cancelled),
            Turn::Removed => Err(LockError::Removed),
        }
    }

    fn release(path: String, token: u64) -> Result<(), LockError> {
        let lock = path::own(&path, "_lock")?;
        match current(&lock)? {
            Some((held, session)) if held.token == token && session == call::session() => {
                Ok(tree::delete(&path::child(&lock, &held.place)?)?)
            }
            _ => Err(LockError::NotHeld),
        }
    }

    fn holder(path: String) -> Result<Option<Tenure>, LockError> {
        let lock = path::own(&path, "_lock")?;
        let Some((held, session)) = current(&lock)? else { return Ok(None) };
        let note = note(tree::get(&path::child(&lock, &held.place)?)?.data);
        Ok(Some(Tenure { token: held.token, session, note, since: held.since }))
    }

    fn waiters(
        path: String,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<Waiting>, LockError> {
        let lock = path::own(&path, "_lock")?;
        let holder = current(&lock)?.map(|(held, _)| held.place);
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
            let Some(place) = tree::if_there(place)? else { break };
            if holder.as_ref() != Some(&place) {
                waiters.push(waiter(&lock, place)?);
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

/// Writes down that the call at `node` has the lock from now on.
fn grant(lock: &str, node: String) -> Result<Grant, LockError> {
    let place = path::name(&node).to_owned();
    let record = Record { token: call::zxid(), since: call::now(), place };
    tree::set(lock, record.to_string().as_bytes())?;
    Ok(Grant { token: record.token, node })
}

/// The grant that holds, and the session that it was made to.
fn current(lock: &str) -> Result<Option<(Record, u64)>, LockError> {
    let Some(node) = tree::if_there(tree::get(lock))? else { return Ok(None) };
    let Some(record) = Record::parse(&node.data) else { return Ok(None) };
    let place = tree::stat(&path::child(lock, &record.place)?)?;
    Ok(place.and_then(|stat| stat.owner).map(|session| (record, session)))
}

fn waiter(lock: &str, place: String) -> Result<Waiting, LockError> {
    let node = tree::get(&path::child(lock, &place)?)?;
    let session = node.stat.owner.unwrap_or_default();
    Ok(Waiting { place, session, note: note(node.data), since: node.stat.created })
}

/// A caller's note as it was given: a place without data has none.
fn note(data: Vec<u8>) -> Option<String> {
    (!data.is_empty()).then(|| String::from_utf8_lossy(&data).into_owned())
}
