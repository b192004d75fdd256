//! What can be asked about access: a znode's list, the rules, and whether somebody may do something. Each answer is checked like
//! any other read, on the tree that it is read from.

use super::check::{Target, Verdict, Wish, decide, require, require_on_cluster};
use super::{Acl, Asker, Identity, Object, Permissions, Rules};
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::query::{self, no_node};
use crate::read::{Direction, Read};
use crate::znode::Stat;

/// Refuses whoever may not read a znode: its data, its stat, the names of its children.
///
/// # Errors
/// `no-node`, `no-access`.
pub fn require_read<R: Read + ?Sized>(read: &R, asker: &Asker, path: &Path) -> Result<(), Refusal> {
    let node = query::node(read, path).ok_or_else(|| no_node(path))?;
    let target = Target::Znode(path, node.acl.as_ref());
    require(read, asker, Wish { permission: Permissions::READ, target })
}

/// A znode's own access list and its stat. Hashes of passwords are shown to those who may change the list alone.
///
/// # Errors
/// `no-node`; `no-access` for whoever may neither read the znode nor change its list.
pub fn acl<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    path: &Path,
) -> Result<(Option<Acl>, Stat), Refusal> {
    let node = query::node(read, path).ok_or_else(|| no_node(path))?;
    let may = |permission| {
        let target = Target::Znode(path, node.acl.as_ref());
        require(read, asker, Wish { permission, target })
    };
    may(Permissions::READ.with(Permissions::ADMIN))?;
    let stat = node.stat();
    let is_whole = may(Permissions::ADMIN).is_ok();
    let acl = node.acl.as_ref().map(|acl| if is_whole { acl.clone() } else { acl.masked() });
    Ok((acl, stat))
}

/// Rules on objects, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesPage {
    /// Objects with their rules.
    pub rules: Vec<(Object, Rules)>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
}

/// The rules on one object.
///
/// # Errors
/// `no-access` for whoever may not change them.
pub fn rules_on<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    object: &Object,
) -> Result<Option<Rules>, Refusal> {
    require_admin(read, asker, object)?;
    Ok(read.rules(object))
}

/// All rules behind this object.
///
/// # Errors
/// `no-access` for whoever may not administer the cluster.
pub fn rules_all<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    after: Option<&Object>,
) -> Result<RulesPage, Refusal> {
    require_on_cluster(read, asker, Permissions::ADMIN)?;
    let (mut from, to) = key::rules_all();
    if let Some(after) = after {
        from = key::after(&key::rules(after));
    }
    let (mut rules, mut bytes) = (Vec::new(), 0);
    for (key, _) in read.range(&from, &to, Direction::Forward) {
        let Some(object) = key::rules_object(&key) else { continue };
        if bytes >= limits::PAGE_BYTES_MAX {
            return Ok(RulesPage { rules, has_more: true });
        }
        if let Some(found) = read.rules(&object) {
            bytes += key.len() + found.bytes_max();
            rules.push((object, found));
        }
    }
    Ok(RulesPage { rules, has_more: false })
}

/// Whether somebody may do this to an object, or call this function of it. Without others' identities it is asked for oneself.
///
/// # Errors
/// `no-access` for whoever asks about others and may not change the rules; `invalid-acl` for what the object does not know.
pub fn verdict<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    others: Option<&[Identity]>,
    permission: Permissions,
    object: &Object,
    function: Option<&str>,
) -> Result<Verdict, Refusal> {
    if permission.is_empty() || !object.permissions().has(permission) {
        let message = format!("there is no {} on {object}", permission.names());
        return Err(Refusal::new(ErrorCode::InvalidAcl, message));
    }
    let whom = match others {
        None => asker.clone(),
        Some(identities) => {
            require_admin(read, asker, object)?;
            // Whoever is only asked about comes from nowhere.
            Asker::of_connection(identities.to_vec(), None, asker.now)
        }
    };
    let node = match object {
        Object::Subtree(path) => query::node(read, path),
        _ => None,
    };
    let target = match object {
        Object::Subtree(path) => {
            Target::Znode(path, node.as_ref().and_then(|node| node.acl.as_ref()))
        }
        Object::Recipe(name) => Target::Recipe(name, function),
        Object::EveryRecipe => Target::Recipe("*", function),
        Object::Cluster => Target::Cluster,
    };
    Ok(decide(read, &whom, Wish { permission, target }))
}

fn require_admin<R: Read + ?Sized>(
    read: &R,
    asker: &Asker,
    object: &Object,
) -> Result<(), Refusal> {
    match object {
        Object::Subtree(path) => {
            super::check::require_on_path(read, asker, path, Permissions::ADMIN)
        }
        _ => require_on_cluster(read, asker, Permissions::ADMIN),
    }
}
