//! Access lists of the model's znodes.

use quorate_core::access::{Acl, Permissions};
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::ids::SessionId;

use super::Model;

impl Model {
    /// Sets a znode's list, or takes it away.
    pub fn set_acl(
        &mut self,
        session: SessionId,
        path: &str,
        acl: Option<&Acl>,
        version: Option<u64>,
        is_forced: bool,
    ) -> Result<(), ErrorCode> {
        if acl.is_some_and(|acl| acl.entries.is_empty()) {
            return Err(ErrorCode::InvalidAcl);
        }
        let node = self.expect(session, path, Permissions::ADMIN, &Condition::ANY)?;
        if version.is_some_and(|version| version != node.aversion) {
            return Err(ErrorCode::BadVersion);
        }
        let forced = is_forced && self.rights.is_super(&self.sessions[&session].known_as);
        let keeps_admin = acl.is_none_or(|acl| {
            acl.entries.iter().any(|entry| entry.permissions.has(Permissions::ADMIN))
        });
        if !keeps_admin && !forced {
            return Err(ErrorCode::WouldLockOut);
        }
        let node = self.nodes.get_mut(path).expect("looked up above");
        node.acl = acl.map(distinct);
        node.aversion += 1;
        Ok(())
    }
}

/// Without the entries that stand there twice.
pub fn distinct(acl: &Acl) -> Acl {
    let mut entries = Vec::new();
    for entry in &acl.entries {
        if !entries.contains(entry) {
            entries.push(entry.clone());
        }
    }
    Acl { entries }
}
