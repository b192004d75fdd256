//! How changes of components, versions and recipes rewrite the tree. A component's bytes stay while a version names it or
//! a session uploads it, and no longer.

use bytes::Bytes;

use crate::deployment::{Component, ComponentDigest, Recipe, Version};
use crate::draft::{Draft, ReadRecords};
use crate::ids::{SessionId, Zxid};
use crate::key;
use crate::read::{Direction, Read};

pub(super) fn upload_began<R: Read>(
    draft: &mut Draft<R>,
    session: SessionId,
    component: &ComponentDigest,
) {
    draft.put(key::upload(session, component), Bytes::new());
    draft.put(key::uploader(component, session), Bytes::new());
}

pub(super) fn upload_ended<R: Read>(
    draft: &mut Draft<R>,
    session: SessionId,
    component: &ComponentDigest,
) {
    draft.delete(key::upload(session, component));
    draft.delete(key::uploader(component, session));
    drop_unneeded(draft, component);
}

pub(super) fn version_made<R: Read>(
    draft: &mut Draft<R>,
    zxid: Zxid,
    name: &str,
    version: &Version,
) {
    let before = draft.recipe(name);
    let record = Recipe {
        active: before.as_ref().and_then(|recipe| recipe.active),
        last_version: version.number,
        changed: zxid,
    };
    count_versions(draft, &version.component, |count| count + 1);
    draft.put(key::version(name, version.number), version.encode());
    draft.put(key::recipe(name), record.encode());
}

pub(super) fn version_dropped<R: Read>(draft: &mut Draft<R>, name: &str, number: u64) {
    let version = draft.version(name, number).unwrap_or_else(|| {
        panic!("a change drops version {number} of the recipe {name}, which is not there")
    });
    draft.delete(key::version(name, number));
    count_versions(draft, &version.component, |count| count - 1);
    drop_unneeded(draft, &version.component);
}

pub(super) fn pointed<R: Read>(draft: &mut Draft<R>, zxid: Zxid, name: &str, active: Option<u64>) {
    let mut recipe = draft
        .recipe(name)
        .unwrap_or_else(|| panic!("a change names the recipe {name}, which is not there"));
    recipe.active = active;
    recipe.changed = zxid;
    draft.put(key::recipe(name), recipe.encode());
}

fn count_versions<R: Read>(
    draft: &mut Draft<R>,
    digest: &ComponentDigest,
    next: impl FnOnce(u64) -> u64,
) {
    let mut component: Component = draft
        .component(digest)
        .unwrap_or_else(|| panic!("a change names a component that is not there"));
    component.versions_count = next(component.versions_count);
    draft.put(key::component(digest), component.encode());
}

/// Deletes a component, or the chunks of one that was never whole, if nothing needs it any more.
fn drop_unneeded<R: Read>(draft: &mut Draft<R>, digest: &ComponentDigest) {
    if draft.component(digest).is_some_and(|component| component.versions_count > 0) {
        return;
    }
    let (from, to) = key::uploaders(digest);
    if draft.range(&from, &to, Direction::Forward).next().is_some() {
        return;
    }
    let (from, to) = key::chunks(digest);
    let chunks: Vec<Bytes> =
        draft.range(&from, &to, Direction::Forward).map(|(key, _)| key).collect();
    for chunk in chunks {
        draft.delete(chunk);
    }
    draft.delete(key::component(digest));
}
