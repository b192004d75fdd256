//! What a transaction asks before an operation of its caller, and how it changes access lists, rules and the stance. A recipe's
//! run asks nothing: it acts with its manifest's grants. Who may do what is `access`'s knowledge.

use super::Txn;
use crate::access::check::{Target, Wish, is_super, require, require_on_cluster};
use crate::access::{AccessChange, Acl, Asker, Object, Permissions, Rules};
use crate::change::Change;
use crate::draft::ReadRecords;
use crate::error::{ErrorCode, Refusal};
use crate::limits;
use crate::path::Path;
use crate::query::{self, no_node};
use crate::znode::{Node, Stat};

impl Txn {
    /// Its operations are this caller's from now on, and ask whether they may. Without one they are the host's own.
    pub fn act_for(&mut self, asker: Asker) {
        self.asker = Some(asker);
    }

    /// Whose operations these are; nobody's if they are the host's own.
    pub(crate) fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    /// Whoever may be refused now: nobody within a recipe's run.
    fn refusable(&self) -> Option<&Asker> {
        self.asker.as_ref().filter(|_| self.run.is_none())
    }

    pub(crate) fn require(
        &self,
        permission: Permissions,
        target: Target<'_>,
    ) -> Result<(), Refusal> {
        let Some(asker) = self.refusable() else { return Ok(()) };
        require(&self.draft, asker, Wish { permission, target })
    }

    /// Refuses what the caller may not do to a znode that is there.
    pub(super) fn require_on_node(
        &self,
        path: &Path,
        node: &Node,
        permission: Permissions,
    ) -> Result<(), Refusal> {
        self.require(permission, Target::Znode(path, node.acl.as_ref()))
    }

    /// Refuses deletions of children of this znode that the caller may not make. Asked before the child is looked for, as
    /// ZooKeeper does.
    pub(super) fn require_deletions_under(&self, parent: &Path) -> Result<(), Refusal> {
        let node = query::node(&self.draft, parent).ok_or_else(|| no_node(parent))?;
        self.require_on_node(parent, &node, Permissions::DELETE)
    }

    /// Refuses whoever may not read a znode.
    ///
    /// # Errors
    /// `bad-path`, `no-node`, `no-access`.
    pub(crate) fn readable(&self, text: &str) -> Result<Path, Refusal> {
        let path = Path::parse(text)?;
        let node = query::node(&self.draft, &path).ok_or_else(|| no_node(&path))?;
        self.require_on_node(&path, &node, Permissions::READ)?;
        Ok(path)
    }

    /// Refuses creations under this znode that the caller may not make; where it is missing, that of the znode itself and of
    /// the missing ones above it too.
    pub(super) fn require_creations_under(&self, path: &Path) -> Result<(), Refusal> {
        if self.refusable().is_none() {
            return Ok(());
        }
        for path in std::iter::successors(Some(path.clone()), Path::parent) {
            let node = query::node(&self.draft, &path);
            let acl = node.as_ref().and_then(|node| node.acl.as_ref());
            self.require(Permissions::CREATE, Target::Znode(&path, acl))?;
            if node.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// The list as it is stored when the caller sets it.
    pub(super) fn resolved(&self, acl: Option<&Acl>) -> Result<Option<Acl>, Refusal> {
        let Some(acl) = acl else { return Ok(None) };
        let known = self.asker.as_ref().map_or_else(Vec::new, |asker| asker.known_as(&self.draft));
        acl.resolved(&known).map(Some)
    }

    /// Whether an ephemeral znode may have a list of so many bytes, instead of one of `before`.
    pub(super) fn check_owned_acl(
        &self,
        session: Option<crate::ids::SessionId>,
        before: u64,
        acl: Option<&Acl>,
    ) -> Result<(), Refusal> {
        let (Some(session), Some(acl)) = (session.and_then(|id| self.draft.session(id)), acl)
        else {
            return Ok(());
        };
        let max = limits::EPHEMERAL_ACL_BYTES_PER_SESSION_MAX;
        let bytes = (session.owned_acl_bytes + acl.bytes_max() as u64).saturating_sub(before);
        if bytes > max {
            let what = "bytes of the access lists of a session's ephemeral znodes";
            return Err(Refusal::limit(what, bytes, max));
        }
        Ok(())
    }

    /// Sets a znode's own access list, or takes it away, so that rules decide. `is_forced`: although nobody could change it then;
    /// only super may say so.
    ///
    /// # Errors
    /// In this order: `bad-path`, `invalid-acl`, `limit`, `no-node`, `no-access`, `bad-version` (of the list), `would-lock-out`.
    pub fn set_acl(
        &mut self,
        text: &str,
        acl: Option<&Acl>,
        version: Option<u64>,
        is_forced: bool,
    ) -> Result<Stat, Refusal> {
        self.check_may_change()?;
        let path = Path::parse(text)?;
        let acl = self.resolved(acl)?;
        let node = query::node(&self.draft, &path).ok_or_else(|| no_node(&path))?;
        self.require_on_node(&path, &node, Permissions::ADMIN)?;
        if let Some(expected) = version.filter(|expected| *expected != node.acl_version) {
            let found = node.acl_version;
            let message = format!("the access list of {path} has version {found}, not {expected}");
            return Err(Refusal::new(ErrorCode::BadVersion, message));
        }
        let locks_out = acl.as_ref().is_some_and(|acl| !acl.allows_anybody(Permissions::ADMIN));
        if locks_out {
            let message =
                format!("nobody could change the access list of {path}: it permits admin to none");
            let is_super = self.asker.as_ref().is_none_or(|asker| is_super(&self.draft, asker));
            Self::check_forced((is_forced, is_super), message)?;
        }
        self.check_owned_acl(node.lifetime.session(), node.acl_bytes(), acl.as_ref())?;
        self.record(Change::AclSet { path: path.clone(), acl })?;
        self.note_lifetime(node.lifetime);
        query::stat(&self.draft, &path)
    }

    /// Changes rules or the stance. `is_forced`: although nobody could change them then, or the caller could not; only super may
    /// say so.
    ///
    /// # Errors
    /// In this order: `invalid-acl`, `limit`, `no-access`, `bad-arguments` if there is nothing to take back, `limit`,
    /// `would-lock-out`.
    pub fn change_access(&mut self, change: &AccessChange, is_forced: bool) -> Result<(), Refusal> {
        self.check_may_change()?;
        let before = self.own_rights_on_cluster();
        // By the rules that hold until now: super may insist also on what makes super of nobody.
        let is_super = self.asker.as_ref().is_none_or(|asker| is_super(&self.draft, asker));
        let (recorded, ruled) = match change {
            AccessChange::Grant(object, rule) => {
                rule.check(object)?;
                self.require_rules_of(object)?;
                let mut rules = self.draft.rules(object).unwrap_or_default();
                // Those who look after the cluster are not kept from it by the rules of others.
                if rules.all().is_empty() && !is_super && *object != Object::Cluster {
                    self.check_room_for_rules()?;
                }
                rules.grant(rule.clone())?;
                (
                    Change::RulesSet { object: object.clone(), rules: rules.clone() },
                    Some((object, rules)),
                )
            }
            AccessChange::Revoke(object, rule) => {
                rule.check(object)?;
                self.require_rules_of(object)?;
                let mut rules = self.draft.rules(object).unwrap_or_default();
                if !rules.revoke(rule) {
                    let message = format!("no rule on {object} permits {rule}");
                    return Err(Refusal::new(ErrorCode::BadArguments, message));
                }
                (
                    Change::RulesSet { object: object.clone(), rules: rules.clone() },
                    Some((object, rules)),
                )
            }
            AccessChange::SetStance(stance) => {
                self.require(Permissions::ADMIN, Target::Cluster)?;
                (Change::StanceSet { stance: *stance }, None)
            }
        };
        if let Some((object, rules)) = ruled {
            Self::check_keeps_admin(object, &rules, (is_forced, is_super))?;
        }
        self.record(recorded)?;
        self.note_lifetime(crate::znode::Lifetime::Persistent);
        let after = self.own_rights_on_cluster();
        if !after.has(before) {
            let message = format!(
                "who asks would lose {} on the cluster; grant it to them first",
                before.without(after).names()
            );
            Self::check_forced((is_forced, is_super), message)?;
        }
        Ok(())
    }

    fn require_rules_of(&self, object: &Object) -> Result<(), Refusal> {
        match object {
            Object::Subtree(path) => {
                let node = query::node(&self.draft, path);
                let acl = node.as_ref().and_then(|node| node.acl.as_ref());
                self.require(Permissions::ADMIN, Target::Znode(path, acl))
            }
            Object::Recipe(_) | Object::EveryRecipe | Object::Cluster => {
                self.require(Permissions::ADMIN, Target::Cluster)
            }
        }
    }

    fn check_room_for_rules(&self) -> Result<(), Refusal> {
        let (count, max) = (self.draft.access_summary().objects_count, limits::RULED_OBJECTS_MAX);
        if count < max { Ok(()) } else { Err(Refusal::limit("objects with rules", count + 1, max)) }
    }

    /// Rules that nobody could change are refused: on a subtree, and on the cluster.
    fn check_keeps_admin(
        object: &Object,
        rules: &Rules,
        forced: (bool, bool),
    ) -> Result<(), Refusal> {
        let is_kept = rules.all().is_empty()
            || !object.permissions().has(Permissions::ADMIN)
            || rules.allows_anybody(Permissions::ADMIN);
        if is_kept {
            return Ok(());
        }
        let message =
            format!("nobody could change the rules on {object}: they permit admin to none");
        Self::check_forced(forced, message)
    }

    /// What the caller may do to the cluster.
    fn own_rights_on_cluster(&self) -> Permissions {
        let may = |one: &Permissions| {
            self.asker
                .as_ref()
                .is_none_or(|asker| require_on_cluster(&self.draft, asker, *one).is_ok())
        };
        let held = Object::Cluster.permissions().each().into_iter().filter(may);
        held.fold(Permissions::NONE, Permissions::with)
    }

    /// What would lock people out stands only if super insists on it: whether it is insisted on, and by super.
    fn check_forced(forced: (bool, bool), message: String) -> Result<(), Refusal> {
        match forced {
            (true, true) => Ok(()),
            (true, false) => {
                let message = format!("{message}; only super may force it");
                Err(Refusal::new(ErrorCode::WouldLockOut, message))
            }
            (false, _) => Err(Refusal::new(ErrorCode::WouldLockOut, message)),
        }
    }
}
