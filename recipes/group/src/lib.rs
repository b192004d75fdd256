//! The group: one ephemeral znode for each member, so that the list of members is the list of those who live.
//! Knows names and sessions; does not know what the members are.
//!
//! A group at `/a` keeps one znode, `/a/_members`; its children are the members, by name. Its version is the zxid of its last
//! change: the tree keeps that of children that come and go, and an update of data touches the znode itself.

#![forbid(unsafe_code)]

use quorate_recipe::call::{self, Reason};
use quorate_recipe::{ErrorCode, Interest, park, path, tree};

quorate_recipe::recipe!(Group);

struct Group;

/// An address, a version and some weights; a page of a hundred of them is still a small reply.
const DATA_BYTES_MAX: usize = 4096;

/// A page of members takes one host call for each.
const MEMBERS_MAX: u32 = 100;

impl Guest for Group {
    fn join(path: String, name: String, data: String) -> Result<u64, GroupError> {
        let node = path::child(&path::own(&path, "_members")?, &name)?;
        let data = checked(&data)?;
        match tree::create(&node).ephemeral().parents().data(data) {
            Err(error) if error.code == ErrorCode::NodeExists => {
                let owner = tree::stat(&node)?.and_then(|stat| stat.owner);
                Err(GroupError::NameTaken(owner.unwrap_or_default()))
            }
            created => created.map(|_| call::zxid()).map_err(GroupError::from),
        }
    }

    fn leave(path: String, name: String) -> Result<(), GroupError> {
        let group = path::own(&path, "_members")?;
        Ok(tree::delete(&own_member(&group, &name)?)?)
    }

    fn update(path: String, name: String, data: String) -> Result<u64, GroupError> {
        let group = path::own(&path, "_members")?;
        let node = own_member(&group, &name)?;
        tree::set(&node, checked(&data)?)?;
        tree::set(&group, b"")?;
        Ok(call::zxid())
    }

    fn members(path: String, after: Option<String>, limit: u32) -> Result<Vec<Member>, GroupError> {
        let group = path::own(&path, "_members")?;
        let mut names = tree::children(&group);
        if let Some(after) = after {
            names = names.after(after);
        }
        let mut members = Vec::new();
        for name in names {
            if members.len() as u64 >= u64::from(limit.min(MEMBERS_MAX)) {
                break;
            }
            // A group that nobody has joined yet has no znode to list.
            let Some(name) = tree::if_there(name)? else {
                break;
            };
            let node = tree::get(&path::child(&group, &name)?)?;
            members.push(member(name, node));
        }
        Ok(members)
    }

    fn observe(
        path: String,
        known: Option<u64>,
        timeout_ms: Option<u64>,
    ) -> Result<Change, GroupError> {
        let group = path::own(&path, "_members")?;
        let now = tree::stat(&group)?.map_or(Change { version: 0, count: 0 }, |stat| Change {
            version: stat.pzxid.max(stat.mzxid),
            count: stat.children_count,
        });
        if known != Some(now.version) {
            return Ok(now);
        }
        match (call::reason(), timeout_ms) {
            (Reason::TimedOut, _) | (Reason::First, Some(0)) => return Err(GroupError::TimedOut),
            (Reason::Cancelled, _) => return Err(GroupError::Cancelled),
            (Reason::First, Some(milliseconds)) => call::set_timeout(milliseconds),
            _ => {}
        }
        park(&[Interest::children_changed(group.as_str()), Interest::node_changed(group.as_str())])
    }

    fn remove(path: String) -> Result<(), GroupError> {
        match tree::if_there(tree::delete(&path::own(&path, "_members")?)) {
            Err(error) if error.code == ErrorCode::NotEmpty => Err(GroupError::InUse),
            deleted => Ok(deleted.map(|_| ())?),
        }
    }
}

/// The znode of a member that the calling session has in the group.
fn own_member(group: &str, name: &str) -> Result<String, GroupError> {
    let node = path::child(group, name)?;
    match tree::stat(&node)?.and_then(|stat| stat.owner) {
        Some(session) if session == call::session() => Ok(node),
        _ => Err(GroupError::NotAMember),
    }
}

fn checked(data: &str) -> Result<&[u8], GroupError> {
    match data.len() > DATA_BYTES_MAX {
        true => Err(GroupError::DataTooLong(data.len() as u64)),
        false => Ok(data.as_bytes()),
    }
}

fn member(name: String, node: tree::Node) -> Member {
    let data = String::from_utf8_lossy(&node.data).into_owned();
    let session = node.stat.owner.unwrap_or_default();
    Member { name, data, session, since: node.stat.created }
}
