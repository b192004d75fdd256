//! How changes of access lists and rules rewrite the tree.

use super::{expect_node_or_root, expect_session};
use crate::access::{Acl, Object, Rules, Stance};
use crate::draft::{Draft, ReadRecords};
use crate::ids::SessionId;
use crate::key;
use crate::path::Path;
use crate::read::Read;

pub(super) fn acl_set<R: Read>(draft: &mut Draft<R>, path: &Path, acl: Option<&Acl>) {
    let mut node = expect_node_or_root(draft, path);
    let before = node.acl_bytes();
    node.acl = acl.cloned();
    node.acl_version += 1;
    if let Some(session) = node.lifetime.session() {
        count_owned(draft, session, before, node.acl_bytes());
    }
    draft.put(key::node(path), node.encode());
}

fn count_owned<R: Read>(draft: &mut Draft<R>, id: SessionId, before: u64, after: u64) {
    let mut session = expect_session(draft, id);
    session.owned_acl_bytes = session.owned_acl_bytes - before + after;
    draft.put(key::session(id), session.encode());
}

pub(super) fn rules_set<R: Read>(draft: &mut Draft<R>, object: &Object, rules: &Rules) {
    let mut summary = draft.access_summary();
    let had_some = draft.rules(object).is_some();
    let has_some = !rules.all().is_empty();
    match (had_some, has_some) {
        (false, true) => summary.objects_count += 1,
        (true, false) => summary.objects_count -= 1,
        _ => {}
    }
    draft.put(key::access(), summary.encode());
    if has_some {
        draft.put(key::rules(object), rules.encode());
    } else {
        draft.delete(key::rules(object));
    }
}

pub(super) fn stance_set<R: Read>(draft: &mut Draft<R>, stance: Stance) {
    let mut summary = draft.access_summary();
    summary.stance = stance;
    draft.put(key::access(), summary.encode());
}
