//! The queue: items in the order of their offers, takers in the order of their calls.
//! Knows order; does not look into payloads, which pass by as handles.
//!
//! A queue at `/a` keeps two znodes. The children of `/a/_items` are the items, persistent, numbered by the tree. The children of
//! `/a/_takers` are the calls that wait, a [line](quorate_recipe::line): its first waits for an item, every other one for the
//! one ahead. So an offer wakes one taker, not all of them.

#![forbid(unsafe_code)]

use quorate_recipe::call::{self, Reason};
use quorate_recipe::line::{self, Place};
use quorate_recipe::{Error, ErrorCode, Interest, park, path, tree};

quorate_recipe::recipe!(Queue);

struct Queue;

impl Guest for Queue {
    fn offer(path: String, payload: Blob) -> Result<u64, QueueError> {
        let znodes = Znodes::of(&path)?;
        let item = format!("{}/i", znodes.items);
        let offered = match tree::create(&item).sequential().blob(&payload) {
            Err(error) if error.code == ErrorCode::NoNode => {
                tree::create(&znodes.takers).parents().empty()?;
                tree::create(&znodes.items).empty()?;
                tree::create(&item).sequential().blob(&payload)?
            }
            created => created?,
        };
        Ok(number(path::name(&offered))?)
    }

    fn take(path: String, timeout_ms: Option<u64>) -> Result<Item, QueueError> {
        let znodes = Znodes::of(&path)?;
        match call::reason() {
            Reason::TimedOut => return Err(QueueError::TimedOut),
            Reason::Cancelled => return Err(QueueError::Cancelled),
            Reason::First | Reason::Changed | Reason::Upgraded | Reason::Other(_) => {}
        }
        let place = match Place::mine()? {
            Some(place) => place,
            None if !call::state().is_empty() => return Err(QueueError::Removed),
            None => match znodes.pop_unless_awaited()? {
                Some(item) => return Ok(item),
                None => znodes.stand_in_line(timeout_ms)?,
            },
        };
        if !place.is_first()? {
            match place.wait()? {}
        }
        match znodes.pop()? {
            Some(item) => Ok(item),
            None => park(&[
                Interest::children_changed(znodes.items),
                Interest::node_changed(place.path()),
            ]),
        }
    }

    fn try_take(path: String) -> Result<Option<Item>, QueueError> {
        Znodes::of(&path)?.pop_unless_awaited()
    }

    fn peek(path: String) -> Result<Option<Item>, QueueError> {
        let znodes = Znodes::of(&path)?;
        Ok(znodes.first()?.map(|(item, _)| item))
    }

    fn length(path: String) -> Result<u64, QueueError> {
        let count = tree::children_count(&Znodes::of(&path)?.items);
        Ok(tree::if_there(count)?.unwrap_or(0))
    }

    fn remove(path: String) -> Result<(), QueueError> {
        let znodes = Znodes::of(&path)?;
        for znode in [&znodes.items, &znodes.takers] {
            match tree::if_there(tree::delete(znode)) {
                Err(error) if error.code == ErrorCode::NotEmpty => return Err(QueueError::InUse),
                deleted => drop(deleted?),
            }
        }
        Ok(())
    }
}

/// The two znodes of a queue.
struct Znodes {
    items: String,
    takers: String,
}

impl Znodes {
    fn of(path: &str) -> Result<Self, QueueError> {
        Ok(Self { items: path::own(path, "_items")?, takers: path::own(path, "_takers")? })
    }

    /// The first item and its znode.
    fn first(&self) -> Result<Option<(Item, String)>, QueueError> {
        let Some(name) = tree::if_there(tree::first_child(&self.items))?.flatten() else {
            return Ok(None);
        };
        let node = path::child(&self.items, &name)?;
        let item = Item { id: number(&name)?, payload: tree::blob(&node)? };
        Ok(Some((item, node)))
    }

    fn pop(&self) -> Result<Option<Item>, QueueError> {
        let Some((item, node)) = self.first()? else {
            return Ok(None);
        };
        tree::delete(&node)?;
        Ok(Some(item))
    }

    /// The first item, unless somebody came earlier and is to get it.
    fn pop_unless_awaited(&self) -> Result<Option<Item>, QueueError> {
        if line::is_empty(&self.takers)? { self.pop() } else { Ok(None) }
    }

    /// A place among the takers. At a queue that nobody has offered to yet there is no line, and a call that waits may not
    /// make one (it would be persistent): it parks until the first offer does.
    fn stand_in_line(&self, timeout_ms: Option<u64>) -> Result<Place, QueueError> {
        match timeout_ms {
            Some(0) => return Err(QueueError::TimedOut),
            Some(milliseconds) => call::set_timeout(milliseconds),
            None => {}
        }
        if !tree::exists(&self.takers)? {
            park(&[Interest::node_changed(self.takers.as_str())]);
        }
        Ok(Place::take(&self.takers, b"")?)
    }
}

/// The number in an item's name, behind its letter.
fn number(name: &str) -> Result<u64, Error> {
    let digits = name.strip_prefix('i').and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| {
        Error::new(ErrorCode::BadArguments, format!("`{name}` among the items is not one of them"))
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn an_items_number_is_the_one_in_its_name() {
        assert_eq!(number("i0000000000000000042"), Ok(42));
        assert!(number("0000000000000000042").is_err());
        assert!(number("i").is_err());
    }
}
