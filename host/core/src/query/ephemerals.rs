//! The ephemeral znodes of a session, found by their owner. Those that a call still owns are not among them: they go with it.

use super::Listing;
use crate::ids::SessionId;
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::read::{Direction, Read};

/// A page of paths of a session's ephemeral znodes: `prefix` itself and what is below it, in the order of the paths' bytes,
/// strictly behind `after`, that `may_see` lets pass; at most `limit`, capped at `PAGE_CHILDREN_MAX`, 0 means that cap. A page
/// before the last one has a path: it is where the next one goes on. None for a session that is not known.
pub fn ephemerals<R: Read + ?Sized>(
    read: &R,
    session: SessionId,
    prefix: &Path,
    after: Option<&str>,
    limit: u32,
    may_see: impl Fn(&Path) -> bool,
) -> Listing<String> {
    let limit = match limit {
        0 => limits::PAGE_CHILDREN_MAX,
        limit => limit.min(limits::PAGE_CHILDREN_MAX),
    };
    let own = key::owned_by_session_at(session, prefix);
    let is_first = after.is_none_or(|after| after < prefix.as_str()) && read.get(&own).is_some();
    let (mut from, to) = key::owned_by_session_below(session, prefix);
    if let Some(after) = after {
        from = from.max(key::after(&key::owned_by_session_text(session, after)));
    }
    let below = read.range(&from, &to, Direction::Forward);
    let paths = is_first
        .then(|| prefix.clone())
        .into_iter()
        .chain(below.filter_map(|(key, _)| key::owned_path(&key)));
    let (mut children, mut bytes) = (Vec::new(), 0);
    for path in paths.filter(may_see) {
        if children.len() == limit as usize || bytes >= limits::PAGE_BYTES_MAX {
            return Listing { children, has_more: true };
        }
        bytes += path.as_str().len() + 8;
        children.push(path.as_str().to_owned());
    }
    Listing { children, has_more: false }
}
