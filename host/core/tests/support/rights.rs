//! Who may do what, as plainly as it can be said: lists and rules in maps, searched from end to end. The model's, against which
//! the core's is held.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_core::access::{
    AccessChange, Acl, AclEntry, Identity, Object, Permissions, Rule, Stance,
};
use quorate_core::error::ErrorCode;
use quorate_core::request::Operation;

/// Rules on objects, and what holds where there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    denies: bool,
    rules: BTreeMap<String, BTreeMap<Identity, Permissions>>,
}

fn is_one_of(who: &Identity, known: &[Identity]) -> bool {
    *who == Identity::anyone() || known.contains(who)
}

impl Rights {
    pub fn is_super(&self, known: &[Identity]) -> bool {
        self.rules.get("cluster").is_some_and(|rules| {
            rules.iter().any(|(who, all)| is_one_of(who, known) && all.has(Permissions::ADMIN))
        })
    }

    fn by_rules(&self, object: &str, known: &[Identity], one: Permissions) -> bool {
        match self.rules.get(object) {
            Some(rules) => rules.iter().any(|(who, all)| is_one_of(who, known) && all.has(one)),
            None => !self.denies,
        }
    }

    /// Whether they may do this to a znode with this list of its own.
    pub fn may(&self, known: &[Identity], path: &str, own: Option<&Acl>, one: Permissions) -> bool {
        if self.is_super(known) {
            return true;
        }
        if let Some(acl) = own {
            let mut entries = acl.entries.iter();
            return entries.any(|entry| is_one_of(&entry.who, known) && entry.permissions.has(one));
        }
        let covers = |prefix: &str| {
            prefix == "/" || path == prefix || path.starts_with(&format!("{prefix}/"))
        };
        let paths = self.rules.keys().filter(|object| object.starts_with('/') && covers(object));
        let nearest = paths.max_by_key(|object| object.len());
        self.by_rules(nearest.map_or("none", String::as_str), known, one)
    }

    fn rights_on_cluster(&self, known: &[Identity]) -> Vec<Permissions> {
        let may = |one: &Permissions| self.is_super(known) || self.by_rules("cluster", known, *one);
        [Permissions::ADMIN, Permissions::OPERATE].into_iter().filter(may).collect()
    }

    /// Changes rules, for somebody with these identities; `own` finds the list of a znode.
    pub fn change(
        &mut self,
        known: &[Identity],
        change: &AccessChange,
        is_forced: bool,
        own: impl Fn(&str) -> Option<Acl>,
    ) -> Result<(), ErrorCode> {
        let before = self.rights_on_cluster(known);
        // By the rules that hold until now.
        let forced = is_forced && self.is_super(known);
        match change {
            AccessChange::SetStance(stance) => {
                if !before.contains(&Permissions::ADMIN) {
                    return Err(ErrorCode::NoAccess);
                }
                self.denies = *stance == Stance::Deny;
            }
            AccessChange::Grant(object, rule) | AccessChange::Revoke(object, rule) => {
                let text = object.to_string();
                let may = match object {
                    Object::Subtree(_) => {
                        self.may(known, &text, own(&text).as_ref(), Permissions::ADMIN)
                    }
                    _ => before.contains(&Permissions::ADMIN),
                };
                if !may {
                    return Err(ErrorCode::NoAccess);
                }
                let mut rules = self.rules.get(&text).cloned().unwrap_or_default();
                let all = rules.entry(rule.who.clone()).or_default();
                let was = *all;
                *all = match change {
                    AccessChange::Grant(..) => was.with(rule.permissions),
                    _ => was.without(rule.permissions),
                };
                if matches!(change, AccessChange::Revoke(..)) && *all == was {
                    return Err(ErrorCode::BadArguments);
                }
                rules.retain(|_, all| !all.is_empty());
                let keeps_admin = rules.values().any(|all| all.has(Permissions::ADMIN));
                if !rules.is_empty() && !keeps_admin && !forced {
                    return Err(ErrorCode::WouldLockOut);
                }
                self.rules.remove(&text);
                if !rules.is_empty() {
                    self.rules.insert(text, rules);
                }
            }
        }
        let after = self.rights_on_cluster(known);
        if before.iter().all(|one| after.contains(one)) || forced {
            Ok(())
        } else {
            Err(ErrorCode::WouldLockOut)
        }
    }
}

/// What the n-th session is known as.
pub fn known_as(session: usize) -> Vec<Identity> {
    let texts: &[&str] = match session % 3 {
        0 => &["token:a"],
        1 => &["token:b"],
        _ => &[],
    };
    texts.iter().map(|text| Identity::parse(text).expect("an identity")).collect()
}

fn who() -> impl Strategy<Value = Identity> {
    let texts = vec!["token:a", "token:b", "world:anyone"];
    proptest::sample::select(texts).prop_map(|text| Identity::parse(text).expect("valid"))
}

fn permissions() -> impl Strategy<Value = Permissions> {
    // Often everything: most of what is denied denies too much to be interesting.
    prop_oneof![
        2 => Just(Permissions::ALL_OF_ZNODE),
        1 => (1u32..32).prop_map(|bits| Permissions::from_bits(bits).expect("valid")),
    ]
}

/// Short ones, none, and the empty one.
pub fn acl() -> impl Strategy<Value = Option<Acl>> {
    let entry = (permissions(), who()).prop_map(|(permissions, who)| AclEntry { permissions, who });
    let entries = proptest::collection::vec(entry, 0..3);
    proptest::option::of(entries.prop_map(|entries| Acl { entries }))
}

/// Operations that change who may do what.
pub fn operation(path: impl Strategy<Value = String>) -> impl Strategy<Value = Operation> {
    let change = (path, acl(), proptest::option::weighted(0.3, 0u64..3), who(), permissions());
    (change, 0u8..10, any::<bool>()).prop_map(
        |((path, acl, version, who, permissions), kind, is_forced)| {
            let on_cluster = Permissions::ADMIN.with(Permissions::OPERATE);
            let subtree = Object::parse(&path).expect("a path");
            let rule = |permissions| Rule { who: who.clone(), function: None, permissions };
            let change = match kind {
                0..=3 => return Operation::SetAcl { path, acl, version, is_forced },
                4 | 5 => AccessChange::Grant(subtree, rule(permissions)),
                6 => AccessChange::Revoke(subtree, rule(permissions)),
                7 => AccessChange::Grant(Object::Cluster, rule(on_cluster)),
                8 => AccessChange::Revoke(Object::Cluster, rule(Permissions::ADMIN)),
                _ => AccessChange::SetStance(if is_forced { Stance::Deny } else { Stance::Open }),
            };
            Operation::Access { change, is_forced }
        },
    )
}
