//! Who, in a [line](crate::line), has the one thing that the line is for, and since which transaction.
//! Knows a line's znode and its places; does not know what was granted.
//!
//! The last grant is one line of text in the data of the line's znode, `TOKEN SINCE PLACE`, readable with `quorate get`. It holds
//! as long as its place exists, so a holder whose session ends holds no longer in that same transaction. It stays there
//! afterwards: a read finds the holder in two look-ups, however many wait, and a grant wakes nobody who waits.
//!
//! The service's fences rest on this: the line's znode was last set by the transaction whose zxid is the token, and the place is
//! there, and ephemeral.

use crate::{Error, call, path, tree};

/// A grant that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its fencing token: the zxid at which it was made, larger than that of every grant before.
    pub token: u64,
    /// When it was made, in milliseconds since 1970.
    pub since: u64,
    /// The znode that holds it: whoever deletes this ends the grant.
    pub node: String,
    /// The session that it was made to.
    pub session: u64,
}

/// Grants to the place at `node`, which is first in the line under `line`, and replaces the grant before. It writes a
/// persistent znode, which is allowed because a call that is granted something does not wait any more.
///
/// ```no_run
/// use quorate_recipe::{Error, grant, line};
///
/// fn lock() -> Result<Option<u64>, Error> {
///     match line::turn("/_lock", b"", None)? {
///         line::Turn::Mine(node) => Ok(Some(grant::make("/_lock", node)?.token)),
///         _ => Ok(None),
///     }
/// }
/// ```
///
/// # Errors
/// `no-node` when the line has no znode, `no-access`.
pub fn make(line: &str, node: String) -> Result<Grant, Error> {
    let grant = Grant { token: call::zxid(), since: call::now(), node, session: call::session() };
    let text = format!("{} {} {}", grant.token, grant.since, path::name(&grant.node));
    tree::set(line, text.as_bytes())?;
    Ok(grant)
}

/// The grant that holds in the line under `line`, which need not exist.
///
/// ```no_run
/// # fn example() -> Result<(), quorate_recipe::Error> {
/// use quorate_recipe::{call, grant};
/// let is_mine = grant::current("/_lock")?.is_some_and(|grant| grant.session == call::session());
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-path`, `no-access`.
pub fn current(line: &str) -> Result<Option<Grant>, Error> {
    let Some(record) = tree::if_there(tree::get(line))? else {
        return Ok(None);
    };
    let Some((token, since, place)) = parse(&record.data) else {
        return Ok(None);
    };
    let node = path::child(line, place)?;
    let owner = tree::stat(&node)?.and_then(|stat| stat.owner);
    Ok(owner.map(|session| Grant { token, since, node, session }))
}

/// Ends the grant with this token if the calling session has it. Whether it had.
///
/// ```no_run
/// # fn example(token: u64) -> Result<(), quorate_recipe::Error> {
/// let was_mine = quorate_recipe::grant::give_back("/_lock", token)?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// `bad-path`, `no-access`.
pub fn give_back(line: &str, token: u64) -> Result<bool, Error> {
    match current(line)? {
        Some(held) if held.token == token && held.session == call::session() => {
            tree::delete(&held.node)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// The record in the data of a line's znode; `None` when there has been no grant, or something else is there.
fn parse(data: &[u8]) -> Option<(u64, u64, &str)> {
    let mut words = std::str::from_utf8(data).ok()?.split(' ');
    let (token, since, place) = (words.next()?, words.next()?, words.next()?);
    let is_whole = words.next().is_none() && !place.is_empty() && !place.contains('/');
    is_whole.then_some((token.parse().ok()?, since.parse().ok()?, place))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_record_is_two_numbers_and_a_name() {
        assert_eq!(parse(b"42 1790000000000 w07"), Some((42, 1_790_000_000_000, "w07")));
    }

    #[test]
    fn other_data_is_no_grant() {
        for data in [&b""[..], b"42", b"42 1", b"42 1 ", b"x 1 w", b"42 1 w w", b"4 1 a/b", b"\xff"]
        {
            assert_eq!(parse(data), None, "{data:?}");
        }
    }
}
