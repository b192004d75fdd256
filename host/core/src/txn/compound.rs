//! Operations that look first and change then: where a znode may or may not be there, and whole subtrees. What each step
//! does is `txn`'s.

use bytes::Bytes;

use super::{CreateOptions, Txn, check_data};
use crate::access::{Acl, Permissions};
use crate::change::Change;
use crate::condition::Condition;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::key;
use crate::path::Path;
use crate::query::{self, node_exists};
use crate::read::Direction;
use crate::request::Fence;
use crate::znode::{Lifetime, Stat};

/// What became of an operation that needs no znode to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met<T> {
    /// There was none, and it was created here.
    Created(Path, Stat),
    /// It was there.
    There(T),
}

impl Txn {
    /// Refuses if a znode is there.
    ///
    /// # Errors
    /// `bad-path`, `no-access` for a znode that is there, `node-exists`.
    pub fn check_absent(&self, text: &str) -> Result<(), Refusal> {
        let path = Path::parse(text)?;
        let Some(node) = query::node(&self.draft, &path) else { return Ok(()) };
        self.require_on_node(&path, &node, Permissions::READ)?;
        Err(node_exists(&path))
    }

    /// The data and stat of a znode; created if it is not there.
    ///
    /// # Errors
    /// As `create_with_acl`, but for `node-exists`; its arguments are looked at also if the znode is there. `no-access` for whoever may not
    /// read it then.
    pub fn create_or_get(
        &mut self,
        text: &str,
        data: Bytes,
        options: CreateOptions,
        acl: Option<&Acl>,
    ) -> Result<Met<(Bytes, Stat)>, Refusal> {
        match self.meet(text, &data, options, acl)? {
            Some(path) => {
                self.readable(path.as_str())?;
                query::get(&self.draft, &path).map(Met::There)
            }
            None => self
                .create_with_acl(text, data, options, acl)
                .map(|(path, stat)| Met::Created(path, stat)),
        }
    }

    /// Sets a znode's data; created if it is not there.
    ///
    /// # Errors
    /// As `create_with_acl`, but for `node-exists`; its arguments are looked at also if the znode is there.
    pub fn set_or_create(
        &mut self,
        text: &str,
        data: Bytes,
        options: CreateOptions,
        acl: Option<&Acl>,
    ) -> Result<Met<Stat>, Refusal> {
        match self.meet(text, &data, options, acl)? {
            Some(path) => self.set(path.as_str(), data, Condition::ANY).map(Met::There),
            None => self
                .create_with_acl(text, data, options, acl)
                .map(|(path, stat)| Met::Created(path, stat)),
        }
    }

    /// The path, if a znode is there; else it is for `create` to say what is wrong with it.
    fn meet(
        &self,
        text: &str,
        data: &Bytes,
        options: CreateOptions,
        acl: Option<&Acl>,
    ) -> Result<Option<Path>, Refusal> {
        self.check_may_change()?;
        self.lifetime(options.lifetime)?;
        check_data(data)?;
        let path = Path::parse(text).ok();
        let there = path.filter(|path| query::node(&self.draft, path).is_some());
        if there.is_some() {
            self.resolved(acl)?;
        }
        Ok(there)
    }

    /// Deletes a znode and all that is below it; how many were deleted. A refusal for the bound comes before any change.
    ///
    /// # Errors
    /// `bad-path`, `bad-arguments` for the root, `no-node` and `no-access` for its parent, `no-node`, `bad-version`, `limit`, `no-access`
    /// for a znode below that has children.
    pub fn delete_tree(
        &mut self,
        text: &str,
        condition: impl Into<Condition>,
    ) -> Result<u64, Refusal> {
        self.check_may_change()?;
        let top = Path::parse(text)?;
        if top.is_root() {
            return Err(Refusal::new(ErrorCode::BadArguments, "the root can not be deleted"));
        }
        self.require_deletions_under(&top.parent().unwrap_or_else(Path::root))?;
        self.expect(&top, Permissions::NONE, condition.into())?;
        let left = self.run.map_or(self.whole.changes, |run| run.changes.min(self.whole.changes));
        // Counted, so that it is not walked in vain.
        let count = self.draft.below(&top).znodes + 1;
        if count > left {
            return Err(too_large(count, left));
        }
        let mut found = vec![top];
        let mut changes = Vec::new();
        let mut is_persistent = false;
        while let Some(path) = found.get(changes.len()).cloned() {
            let node = self.expect(&path, Permissions::NONE, Condition::ANY)?;
            if node.children_count > 0 {
                self.require_on_node(&path, &node, Permissions::DELETE)?;
            }
            is_persistent |= node.lifetime.session().is_none();
            changes.push(Change::node_deleted(path.clone(), &node));
            if node.children_count == 0 {
                continue;
            }
            let (from, to) = key::children(&path);
            for name in self.draft.child_names(&from, &to, Direction::Forward) {
                found.push(path.child(&name)?);
            }
        }
        // Children were found after their parents: backwards, every znode is deleted when it has no children left.
        changes.reverse();
        self.record_all(changes)?;
        self.has_persistent_writes |= is_persistent;
        Ok(count)
    }

    /// Refuses unless a grant still holds, as `sdk/recipe` makes grants: the znode is ephemeral and there, and its parent, in
    /// whose data the last grant is written, was last set by the very transaction whose zxid is the token.
    ///
    /// Why both: the znode goes with its grant; one that waits is call-owned, and one that came later is younger than the token.
    /// The parent is set by each grant, and the one before keeps nothing.
    ///
    /// # Errors
    /// `no-recipe`, `bad-path`, `fenced`.
    pub fn fence(&self, fence: &Fence) -> Result<(), Refusal> {
        let Fence { recipe, node, token } = fence;
        let version = self.active_version(recipe).ok_or_else(|| {
            Refusal::new(ErrorCode::NoRecipe, format!("no recipe is deployed as \"{recipe}\""))
        })?;
        let (path, _) = version.manifest.resolve(node)?;
        let is_there = query::node(&self.draft, &path).is_some_and(|node| {
            matches!(node.lifetime, Lifetime::Ephemeral(_)) && node.czxid.0 <= *token
        });
        let line = path.parent().and_then(|line| query::node(&self.draft, &line));
        if is_there && line.is_some_and(|line| line.mzxid.0 == *token) {
            return Ok(());
        }
        let message = format!("what {recipe} granted to {node} with the token {token} has ended");
        Err(Refusal::new(ErrorCode::Fenced, message))
    }
}

fn too_large(count: u64, max: u64) -> Refusal {
    let message = format!(
        "znodes of a subtree to delete: {count} is over the limit of {max} that one transaction may still change; delete what is \
         below it first, in parts"
    );
    Refusal::new(ErrorCode::LimitPassed, message)
}
