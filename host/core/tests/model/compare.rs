//! Whether a tree holds what the model holds.

use std::collections::BTreeMap;

use quorate_core::draft::ReadRecords;
use quorate_core::ids::WriteNumber;
use quorate_core::path::Path;
use quorate_core::query::{self, Page};
use quorate_core::read::{Direction, MemoryTree};
use quorate_core::request::Reply;

use super::Model;
use crate::support;

impl Model {
    /// The tree holds what the model holds.
    pub fn compare(&self, tree: &MemoryTree) {
        assert_eq!(tree.meta().zxid.0, self.zxid);
        let stored = support::invariants::nodes(tree);
        assert_eq!(
            stored.keys().map(Path::as_str).collect::<Vec<_>>(),
            self.nodes.keys().map(String::as_str).collect::<Vec<_>>()
        );
        for (path, stored) in &stored {
            let node = &self.nodes[path.as_str()];
            let (data, stat) = query::get(tree, path).expect("it is there");
            assert_eq!(data, node.data, "{path}");
            assert_eq!(
                (
                    stat.version,
                    stat.czxid.0,
                    stat.mzxid.0,
                    stat.pzxid.0,
                    stat.lifetime,
                    stat.mtime.0
                ),
                (node.version, node.czxid, node.mzxid, node.pzxid, node.lifetime, node.mtime),
                "{path}"
            );
            assert_eq!((stat.aversion, &stored.acl), (node.aversion, &node.acl), "{path}");
            assert_eq!(stat.cversion, node.children_created + node.children_deleted, "{path}");
            assert_eq!(stored.children_created, node.children_created, "{path}");
            self.compare_children(tree, path);
        }
        for (id, session) in &self.sessions {
            let stored = tree.session(*id).expect("sessions are not forgotten here");
            assert_eq!(stored.is_live(), session.is_live);
            assert_eq!(stored.last_write.0, session.last_write);
            let kept = tree.kept_replies(*id, WriteNumber(0), WriteNumber(u64::MAX));
            let kept = kept.into_iter().map(|(write, kept)| {
                (write.0, Reply::decode(kept.reply).expect("a kept reply decodes"))
            });
            assert_eq!(kept.collect::<BTreeMap<_, _>>(), session.kept);
        }
    }

    fn compare_children(&self, tree: &MemoryTree, parent: &Path) {
        let names = self.children(parent.as_str());
        assert_eq!(query::first_child(tree, parent), Ok(names.first().cloned()));
        for direction in [Direction::Forward, Direction::Backward] {
            let mut expected = names.clone();
            if direction == Direction::Backward {
                expected.reverse();
            }
            // Two at a time, each page behind the last name of the one before.
            let mut paged = Vec::new();
            let mut page = Page { after: None, limit: 2, direction };
            loop {
                let listing = query::children(tree, parent, &page).expect("it is there");
                page.after = listing.children.last().cloned();
                paged.extend(listing.children);
                assert_eq!(listing.has_more, paged.len() < expected.len());
                if !listing.has_more {
                    break;
                }
            }
            assert_eq!(paged, expected);
        }
        for pair in names.windows(2) {
            let path = parent.child(&pair[1]).expect("valid");
            assert_eq!(query::child_before(tree, &path), Ok(Some(pair[0].clone())));
        }
    }
}
