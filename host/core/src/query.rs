//! What can be read of the tree: znodes, and children in the order of their names. The same code answers a client's read
//! on the applied tree and a transaction's read on its draft.

use bytes::Bytes;

pub mod ephemerals;
pub mod scan;
pub mod subtree;

use crate::apply;
use crate::codec::{Malformed, Reader, Writer};
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::read::{Direction, Read};
use crate::znode::{Node, Stat};

/// Where a page of children starts, how long it is, which way it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Names strictly behind this one, in the direction of the listing.
    pub after: Option<String>,
    /// At most this many; capped at `PAGE_CHILDREN_MAX`, 0 means that cap.
    pub limit: u32,
    /// From the last name to the first.
    pub direction: Direction,
}

impl Page {
    /// The first page, as long as allowed.
    #[must_use]
    pub fn first() -> Self {
        Self { after: None, limit: 0, direction: Direction::Forward }
    }
}

/// A child of a listing that asked for more than names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// Its stat.
    pub stat: Stat,
    /// Its data.
    pub data: Bytes,
}

/// A page of children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The children.
    pub children: Vec<T>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
}

impl Child {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.text(&self.name);
        self.stat.write(writer);
        writer.bytes(&self.data);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "child";
        let name = reader.text(WHAT)?;
        Ok(Self { name, stat: Stat::read(reader)?, data: reader.bytes(WHAT)? })
    }
}

impl<T> Listing<T> {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer, child: impl Fn(&mut Writer, &T)) {
        writer.u64(self.children.len() as u64);
        for one in &self.children {
            child(writer, one);
        }
        writer.bool(self.has_more);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For more children than a page has; what `child` gives.
    pub fn read(
        reader: &mut Reader,
        child: impl Fn(&mut Reader) -> Result<T, Malformed>,
    ) -> Result<Self, Malformed> {
        let count = reader.count("children of a page", limits::PAGE_CHILDREN_MAX as usize)?;
        let mut children = Vec::new();
        for _ in 0..count {
            children.push(child(reader)?);
        }
        Ok(Self { children, has_more: reader.bool("has more")? })
    }
}

impl Page {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.option(self.after.as_ref(), |writer, after| writer.text(after));
        writer.u64(u64::from(self.limit));
        writer.bool(self.direction == Direction::Backward);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            after: reader.option("after", |reader| reader.text("after"))?,
            limit: reader.u32("limit")?,
            direction: match reader.bool("reverse")? {
                true => Direction::Backward,
                false => Direction::Forward,
            },
        })
    }
}

/// The record of a znode; the root is always there.
pub fn node<R: Read + ?Sized>(read: &R, path: &Path) -> Option<Node> {
    if path.is_root() { Some(apply::root(read)) } else { read.node(path) }
}

/// The stat of a znode.
///
/// # Errors
/// `no-node`.
pub fn stat<R: Read + ?Sized>(read: &R, path: &Path) -> Result<Stat, Refusal> {
    node(read, path).map(|node| node.stat()).ok_or_else(|| no_node(path))
}

/// The data and stat of a znode.
///
/// # Errors
/// `no-node`.
pub fn get<R: Read + ?Sized>(read: &R, path: &Path) -> Result<(Bytes, Stat), Refusal> {
    let node = node(read, path).ok_or_else(|| no_node(path))?;
    Ok((data_of(read, path, &node), node.stat()))
}

fn data_of<R: Read + ?Sized>(read: &R, path: &Path, node: &Node) -> Bytes {
    if node.data_bytes == 0 { Bytes::new() } else { read.data(path).unwrap_or_default() }
}

/// Names of a page of children, in bytewise order.
///
/// # Errors
/// `no-node`.
pub fn children<R: Read + ?Sized>(
    read: &R,
    parent: &Path,
    page: &Page,
) -> Result<Listing<String>, Refusal> {
    list(read, parent, page, |name| {
        let bytes = name.len() + 8;
        (name, bytes)
    })
}

/// A page of children with their data and stat.
///
/// # Errors
/// `no-node`.
pub fn children_with_data<R: Read + ?Sized>(
    read: &R,
    parent: &Path,
    page: &Page,
) -> Result<Listing<Child>, Refusal> {
    list(read, parent, page, |name| {
        let path = parent.child(&name).expect("a name that stands in the tree makes a valid path");
        let node = read.node(&path).expect("the scan found it");
        let data = data_of(read, &path, &node);
        let bytes = name.len() + data.len() + 64;
        (Child { name, stat: node.stat(), data }, bytes)
    })
}

/// A page of what `make` makes of each name; `make` also says how many bytes it takes.
fn list<R: Read + ?Sized, T>(
    read: &R,
    parent: &Path,
    page: &Page,
    make: impl Fn(String) -> (T, usize),
) -> Result<Listing<T>, Refusal> {
    let record = node(read, parent).ok_or_else(|| no_node(parent))?;
    if record.children_count == 0 {
        return Ok(Listing { children: Vec::new(), has_more: false });
    }
    let (mut from, mut to) = key::children(parent);
    from = from.max(key::child_slot(parent, &record.first_child_bound));
    if let Some(after) = &page.after {
        let slot = key::child_slot(parent, after);
        match page.direction {
            Direction::Forward => from = from.max(key::after(&slot)),
            Direction::Backward => to = to.min(slot),
        }
    }
    let limit = match page.limit {
        0 => limits::PAGE_CHILDREN_MAX,
        limit => limit.min(limits::PAGE_CHILDREN_MAX),
    };
    let mut children = Vec::new();
    let mut bytes = 0;
    for name in read.child_names(&from, &to, page.direction) {
        if children.len() == limit as usize || bytes >= limits::PAGE_BYTES_MAX {
            return Ok(Listing { children, has_more: true });
        }
        let (child, weight) = make(name);
        bytes += weight;
        children.push(child);
    }
    Ok(Listing { children, has_more: false })
}

/// The first child in bytewise order. One look-up, however many were deleted before it.
///
/// # Errors
/// `no-node`.
pub fn first_child<R: Read + ?Sized>(read: &R, parent: &Path) -> Result<Option<String>, Refusal> {
    let record = node(read, parent).ok_or_else(|| no_node(parent))?;
    if record.children_count == 0 {
        return Ok(None);
    }
    let from = key::child_slot(parent, &record.first_child_bound);
    let (_, to) = key::children(parent);
    let first = read.child_names(&from, &to, Direction::Forward).next();
    Ok(first)
}

/// The sibling next before `path`, which itself need not be there.
///
/// # Errors
/// `no-node` if the parent is not there; `bad-arguments` for the root.
pub fn child_before<R: Read + ?Sized>(read: &R, path: &Path) -> Result<Option<String>, Refusal> {
    let Some(parent) = path.parent() else {
        return Err(Refusal::new(ErrorCode::BadArguments, "the root has no siblings"));
    };
    let record = node(read, &parent).ok_or_else(|| no_node(&parent))?;
    if record.children_count == 0 {
        return Ok(None);
    }
    let from = key::child_slot(&parent, &record.first_child_bound);
    let before = read.child_names(&from, &key::node(path), Direction::Backward).next();
    Ok(before)
}

/// The refusal for a znode that is there and must not be.
#[must_use]
pub fn node_exists(path: &Path) -> Refusal {
    Refusal::new(ErrorCode::NodeExists, format!("the znode {path} is there already"))
}

/// The refusal for a znode that is not there.
#[must_use]
pub fn no_node(path: &Path) -> Refusal {
    Refusal::new(ErrorCode::NoNode, format!("there is no znode {path}"))
}
