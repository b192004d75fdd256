//! Whether the reader of a watch may be told of a znode: asked for each event, when it is queued, of the rules as they are then
//! and of the access list that the znode had when it happened. What rules mean is the core's knowledge.

use std::sync::OnceLock;

use quorate_core::access::check::{Target, Wish, decide};
use quorate_core::access::{Permissions, Summary};
use quorate_core::draft::ReadRecords;
use quorate_core::read::SharedRead;
use quorate_core::watch::Event;

use crate::reads::Client;

/// Where the rules are: the applied tree, once it is known.
#[derive(Default)]
pub(super) struct Rights(OnceLock<SharedRead>);

impl Rights {
    /// From now on the rules of this tree are asked.
    pub(super) fn set(&self, tree: SharedRead) {
        let _first = self.0.set(tree);
    }

    /// The rules as they are now, for some events.
    pub(super) fn now(&self) -> RightsNow<'_> {
        let tree = self.0.get();
        let is_open = tree.is_none_or(|tree| tree.access_summary() == Summary::default());
        RightsNow { tree, is_open }
    }
}

/// The rules at one moment.
pub(super) struct RightsNow<'a> {
    tree: Option<&'a SharedRead>,
    /// Whether every znode without a list is everybody's to read: nothing is looked for then, however many watch.
    is_open: bool,
}

impl RightsNow<'_> {
    /// Whether this client may read the znode of this event.
    pub(super) fn may_see(&self, client: Client, event: &Event<'_>) -> bool {
        if self.is_open && event.acl.is_none() {
            return true;
        }
        let Some(tree) = self.tree else { return false };
        let target = Target::Znode(event.path, event.acl);
        let wish = Wish { permission: Permissions::READ, target };
        decide(tree, &client.asker(&**tree), wish).is_allowed
    }
}
