//! A subtree znode by znode, each before what is below it, in an order that a cursor can go on from. It reads the tree that it
//! is given, a page of siblings at a time, and does not know for how long that stays as it is.

use bytes::Bytes;

use super::{data_of, no_node, node};
use crate::draft::sound;
use crate::error::{ErrorCode, Refusal};
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::read::{Direction, Read};
use crate::znode::{Node, Stat};

/// A znode of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Where it stands.
    pub path: Path,
    /// Its stat.
    pub stat: Stat,
    /// Its data; none if it was not asked for.
    pub data: Option<Bytes>,
}

/// The znodes of a subtree: a znode, then the subtrees of its children in the bytewise order of their names. (That is not the
/// order of their paths as texts: `/a/b` comes before `/a-b`.)
///
/// Memory is bounded by [`limits::SCAN_SIBLINGS_MAX`] records for each level of the tree.
#[derive(Debug)]
pub struct Scan<R> {
    read: R,
    with_data: bool,
    /// The znode at the top, while it has not been given.
    top: Option<Path>,
    /// From the top's children down to the siblings that come next.
    levels: Vec<Level>,
}

/// Siblings on the way down.
#[derive(Debug)]
struct Level {
    parent: Path,
    /// Where the next page of them begins; none behind the last.
    from: Option<Bytes>,
    page: std::vec::IntoIter<(String, Node)>,
}

impl Level {
    fn new(parent: Path, from: Bytes) -> Self {
        Self { parent, from: Some(from), page: Vec::new().into_iter() }
    }

    /// All children of a znode.
    fn below(parent: Path, node: &Node) -> Self {
        let from = key::child_slot(&parent, &node.first_child_bound);
        Self::new(parent, from)
    }

    /// Reads the next page, if there is one.
    fn fill<R: Read>(&mut self, read: &R) {
        let Some(from) = self.from.take() else { return };
        let (_, to) = key::children(&self.parent);
        let records = read.range(&from, &to, Direction::Forward);
        let mut page = Vec::new();
        for (key, record) in records.take(limits::SCAN_SIBLINGS_MAX) {
            if page.len() + 1 == limits::SCAN_SIBLINGS_MAX {
                self.from = Some(key::after(&key));
            }
            let name = key::child_name(&key).map(str::to_owned);
            page.extend(name.map(|name| (name, sound(Node::decode(record)))));
        }
        self.page = page.into_iter();
    }
}

impl<R: Read> Scan<R> {
    /// Begins at the znode `top`; or behind `after`, which was the last one of an earlier scan and need not be there any more.
    ///
    /// # Errors
    /// `no-node` if the top is not there; `bad-arguments` for a cursor that is neither the top nor below it.
    pub fn new(read: R, top: Path, after: Option<&Path>, with_data: bool) -> Result<Self, Refusal> {
        let record = node(&read, &top).ok_or_else(|| no_node(&top))?;
        let Some(after) = after else {
            return Ok(Self { read, with_data, top: Some(top), levels: Vec::new() });
        };
        if !top.covers(after) {
            let message =
                format!("a scan of {top} can not go on behind {after}, which is not below it");
            return Err(Refusal::new(ErrorCode::BadArguments, message));
        }
        let mut levels = Vec::new();
        if *after == top {
            levels.push(Level::below(top, &record));
        } else {
            if let Some(record) = node(&read, after) {
                levels.push(Level::below(after.clone(), &record));
            }
            let mut at = after.clone();
            while let Some(parent) = at.parent().filter(|_| at != top) {
                levels.push(Level::new(parent.clone(), key::after(&key::node(&at))));
                at = parent;
            }
            levels.reverse();
        }
        Ok(Self { read, with_data, top: None, levels })
    }

    fn scanned(&mut self, path: Path, record: &Node) -> Scanned {
        let data = self.with_data.then(|| data_of(&self.read, &path, record));
        if record.children_count > 0 {
            self.levels.push(Level::below(path.clone(), record));
        }
        Scanned { path, stat: record.stat(), data }
    }
}

impl<R: Read> Iterator for Scan<R> {
    type Item = Scanned;

    fn next(&mut self) -> Option<Scanned> {
        if let Some(top) = self.top.take() {
            let record = node(&self.read, &top)?;
            return Some(self.scanned(top, &record));
        }
        loop {
            let level = self.levels.last_mut()?;
            if let Some((name, record)) = level.page.next() {
                let path = level.parent.child(&name);
                let path = path.expect("a name that stands in the tree makes a valid path");
                return Some(self.scanned(path, &record));
            }
            if level.from.is_some() {
                level.fill(&self.read);
            } else {
                self.levels.pop();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::draft::Draft;
    use crate::ids::{Millis, Zxid};
    use crate::read::MemoryTree;
    use crate::znode::Lifetime;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    fn tree(paths: &[&str]) -> Arc<MemoryTree> {
        let tree = Arc::new(MemoryTree::new());
        let mut draft = Draft::new(tree.clone());
        for text in paths {
            let create = crate::change::Change::NodeCreated {
                acl: None,
                path: path(text),
                data: Bytes::copy_from_slice(text.as_bytes()),
                lifetime: Lifetime::Persistent,
            };
            crate::apply::change(&mut draft, Zxid(1), Millis(1), &create);
        }
        tree.commit(draft.into_parts().1);
        tree
    }

    fn scan(tree: &Arc<MemoryTree>, top: &str, after: Option<&str>) -> Vec<String> {
        let after = after.map(path);
        let scan = Scan::new(tree.clone(), path(top), after.as_ref(), true).unwrap();
        scan.map(|found| {
            let data = found.data.unwrap();
            assert!(found.path.is_root() || data == found.path.as_str(), "{}", found.path);
            found.path.to_string()
        })
        .collect()
    }

    const PATHS: [&str; 8] = ["/a", "/a/b", "/a/b/c", "/a/b0", "/a/c", "/a-b", "/a-b/x", "/z"];

    #[test]
    fn each_znode_comes_before_what_is_below_it() {
        let tree = tree(&PATHS);
        let whole = ["/", "/a", "/a/b", "/a/b/c", "/a/b0", "/a/c", "/a-b", "/a-b/x", "/z"];
        assert_eq!(scan(&tree, "/", None), whole);
        assert_eq!(scan(&tree, "/a", None), whole[1..6]);
        assert_eq!(scan(&tree, "/z", None), ["/z"]);
    }

    #[test]
    fn a_scan_goes_on_behind_any_znode_also_one_that_is_gone() {
        let tree = tree(&PATHS);
        let whole = scan(&tree, "/", None);
        for (at, after) in whole.iter().enumerate() {
            assert_eq!(scan(&tree, "/", Some(after)), whole[at + 1..], "{after}");
        }
        assert_eq!(scan(&tree, "/", Some("/a/b/a")), whole[3..]);
        assert_eq!(scan(&tree, "/", Some("/a/b/d/e")), whole[4..]);
        assert_eq!(scan(&tree, "/a", Some("/a/zz")), whole[..0]);
        assert_eq!(scan(&tree, "/a", Some("/a")), whole[2..6]);
    }

    #[test]
    fn more_siblings_than_a_page_come_all_and_once() {
        let names: Vec<String> =
            (0..limits::SCAN_SIBLINGS_MAX * 2 + 1).map(|at| format!("/n{at:06}")).collect();
        let tree = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(scan(&tree, "/", None)[1..], names);
    }

    #[test]
    fn what_can_not_be_scanned_is_refused() {
        let tree = tree(&PATHS);
        let code = |top: &str, after: Option<&str>| {
            let after = after.map(path);
            Scan::new(tree.clone(), path(top), after.as_ref(), false).unwrap_err().code
        };
        assert_eq!(code("/none", None), ErrorCode::NoNode);
        assert_eq!(code("/a", Some("/a-b")), ErrorCode::BadArguments);
    }
}
