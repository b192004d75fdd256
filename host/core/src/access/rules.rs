//! Rules on what is not one znode: subtrees, recipes, the cluster; and what holds where there are none. What they add up to is
//! not known here.

use std::fmt;

use bytes::Bytes;

use super::identity::invalid;
use super::{Identity, Permissions, Scheme};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::deployment::check_name;
use crate::error::{ErrorCode, Refusal};
use crate::limits;
use crate::path::Path;

/// What rules are on. Text: a path, `recipe:NAME`, `recipe:*`, `cluster`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A znode and all below it, but for what has an access list of its own or is in a smaller subtree with rules.
    Subtree(Path),
    /// A recipe, deployed or not.
    Recipe(String),
    /// Every recipe that has no rules of its own.
    EveryRecipe,
    /// The cluster: its members, and the rules on everything but subtrees.
    Cluster,
}

impl Object {
    /// Reads its text.
    ///
    /// # Errors
    /// Those of a path; `bad-arguments` for what is no name of a recipe.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text.split_once(':') {
            _ if text.starts_with('/') => Path::parse(text).map(Self::Subtree),
            _ if text == "cluster" => Ok(Self::Cluster),
            Some(("recipe", "*")) => Ok(Self::EveryRecipe),
            Some(("recipe", name)) => {
                check_name(name)?;
                Ok(Self::Recipe(name.to_owned()))
            }
            _ => Err(invalid(text, "rules are on a path, recipe:NAME, recipe:* or cluster")),
        }
    }

    /// What there may be permitted on it.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        match self {
            Self::Subtree(_) => Permissions::ALL_OF_ZNODE,
            Self::Recipe(_) | Self::EveryRecipe => Permissions::CALL.with(Permissions::DEPLOY),
            Self::Cluster => Permissions::OPERATE.with(Permissions::ADMIN),
        }
    }

    /// Its kind, and its name within the kind: together its key.
    #[must_use]
    pub fn kind_and_name(&self) -> (u8, &str) {
        match self {
            Self::Cluster => (0, ""),
            Self::EveryRecipe => (1, ""),
            Self::Recipe(name) => (2, name),
            Self::Subtree(path) => (3, path.as_str()),
        }
    }

    /// The inverse of [`Object::kind_and_name`].
    #[must_use]
    pub fn from_kind_and_name(kind: u8, name: &str) -> Option<Self> {
        match kind {
            0 if name.is_empty() => Some(Self::Cluster),
            1 if name.is_empty() => Some(Self::EveryRecipe),
            2 => check_name(name).ok().map(|()| Self::Recipe(name.to_owned())),
            3 => Path::parse(name).ok().map(Self::Subtree),
            _ => None,
        }
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        let (kind, name) = self.kind_and_name();
        writer.u8(kind);
        writer.text(name);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For an unknown kind, or a name that it does not have.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "object of rules";
        let kind = reader.u8(WHAT)?;
        Self::from_kind_and_name(kind, &reader.text(WHAT)?).ok_or(malformed(WHAT))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subtree(path) => write!(f, "{path}"),
            Self::Recipe(name) => write!(f, "recipe:{name}"),
            Self::EveryRecipe => f.write_str("recipe:*"),
            Self::Cluster => f.write_str("cluster"),
        }
    }
}

/// One rule on an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Whom it matches.
    pub who: Identity,
    /// Which function of the recipe, by the name that callers use; none for all. Only where it permits calls.
    pub function: Option<String>,
    /// What they may do.
    pub permissions: Permissions,
}

impl Rule {
    /// Whether it can stand on this object.
    ///
    /// # Errors
    /// `invalid-acl`, `limit`.
    pub fn check(&self, object: &Object) -> Result<(), Refusal> {
        if self.permissions.is_empty() || !object.permissions().has(self.permissions) {
            let message = format!(
                "\"{}\" are no permissions on {object}: there are {}",
                self.permissions.words(),
                object.permissions().names()
            );
            return Err(Refusal::new(ErrorCode::InvalidAcl, message));
        }
        if self.who.scheme() == Scheme::Auth {
            return Err(invalid(&self.who.to_string(), "a rule names whom it is for"));
        }
        let Some(function) = &self.function else { return Ok(()) };
        if self.permissions != Permissions::CALL {
            return Err(invalid(function, "a function goes with the permission call alone"));
        }
        if function.is_empty() || function.len() > limits::NAME_BYTES_MAX {
            let (value, max) = (function.len() as u64, limits::NAME_BYTES_MAX as u64);
            return Err(Refusal::limit("bytes of a function's name", value, max));
        }
        Ok(())
    }

    /// Never less than the bytes that it takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        6 + self.who.bytes_max() + self.function.as_ref().map_or(0, String::len)
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        self.who.write(writer);
        writer.option(self.function.as_ref(), |writer, function| writer.text(function));
        self.permissions.write(writer);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "rule";
        let who = Identity::read(reader)?;
        let function = reader.option(WHAT, |reader| reader.text(WHAT))?;
        if function.as_ref().is_some_and(|name| name.len() > limits::NAME_BYTES_MAX) {
            return Err(malformed(WHAT));
        }
        Ok(Self { who, function, permissions: Permissions::read(reader)? })
    }
}

/// `SCHEME:ID PERMISSIONS`, and the function behind a call that is not for all.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.who, self.permissions.words())?;
        self.function.as_ref().map_or(Ok(()), |function| write!(f, ":{function}"))
    }
}

/// The rules on one object: ascending, one for each identity and function. One that is stored is not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// They, one by one.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.0
    }

    /// Permits what this rule says, beside what is permitted already.
    ///
    /// # Errors
    /// `limit`.
    pub fn grant(&mut self, rule: Rule) -> Result<(), Refusal> {
        match self.place(&rule.who, rule.function.as_deref()) {
            Ok(at) => self.0[at].permissions = self.0[at].permissions.with(rule.permissions),
            Err(_) if self.0.len() >= limits::RULES_PER_OBJECT_MAX => {
                let max = limits::RULES_PER_OBJECT_MAX as u64;
                return Err(Refusal::limit("rules on one object", max + 1, max));
            }
            Err(at) => self.0.insert(at, rule),
        }
        Ok(())
    }

    /// Takes back what this rule says; whether there was anything of it.
    pub fn revoke(&mut self, rule: &Rule) -> bool {
        let Ok(at) = self.place(&rule.who, rule.function.as_deref()) else { return false };
        let before = self.0[at].permissions;
        let after = before.without(rule.permissions);
        self.0[at].permissions = after;
        if after.is_empty() {
            self.0.remove(at);
        }
        after != before
    }

    /// Whether somebody may do this, to this function if it is a call: one rule alone must say so.
    #[must_use]
    pub fn allows(
        &self,
        identities: &[Identity],
        address: Option<core::net::IpAddr>,
        permission: Permissions,
        function: Option<&str>,
    ) -> bool {
        self.0.iter().any(|rule| {
            rule.permissions.has(permission)
                && rule.function.as_deref().is_none_or(|only| Some(only) == function)
                && rule.who.matches(identities, address)
        })
    }

    /// Whether there is anybody who may do this.
    #[must_use]
    pub fn allows_anybody(&self, permission: Permissions) -> bool {
        self.0.iter().any(|rule| rule.permissions.has(permission))
    }

    fn place(&self, who: &Identity, function: Option<&str>) -> Result<usize, usize> {
        self.0.binary_search_by(|rule| (&rule.who, rule.function.as_deref()).cmp(&(who, function)))
    }

    /// Never less than the bytes that they take.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        2 + self.0.iter().map(Rule::bytes_max).sum::<usize>()
    }

    /// Writes their bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(self.0.len() as u64);
        for rule in &self.0 {
            rule.write(writer);
        }
    }

    /// Reads their bytes.
    ///
    /// # Errors
    /// For too many, another order, or what is no rule.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "rules";
        let count = reader.count(WHAT, limits::RULES_PER_OBJECT_MAX)?;
        let mut rules = Vec::with_capacity(count);
        for _ in 0..count {
            rules.push(Rule::read(reader)?);
        }
        let key = |rule: &Rule| (rule.who.clone(), rule.function.clone());
        let is_sorted = rules.is_sorted_by(|a, b| key(a) < key(b));
        if is_sorted { Ok(Self(rules)) } else { Err(malformed(WHAT)) }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// As [`Rules::read`].
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let rules = Self::read(&mut reader)?;
        reader.finish("rules")?;
        Ok(rules)
    }
}

/// A change of what people may do, beside the lists of znodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessChange {
    /// Permit what this rule says, beside what is permitted already.
    Grant(Object, Rule),
    /// Take back what this rule says.
    Revoke(Object, Rule),
    /// What holds where nothing is said.
    SetStance(Stance),
}

/// What holds where neither a list nor rules say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stance {
    /// Everything is permitted.
    #[default]
    Open,
    /// Nothing is.
    Deny,
}

impl Stance {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Deny => "deny",
        }
    }

    /// Writes its bytes.
    pub fn write(self, writer: &mut Writer) {
        writer.bool(self == Self::Deny);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For another byte than 0 or 1.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(if reader.bool("stance")? { Self::Deny } else { Self::Open })
    }
}

/// The one record about all rules; a tree without it is open and has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// What holds where nothing is said.
    pub stance: Stance,
    /// Objects that have rules: while there are none, none is looked for.
    pub objects_count: u64,
}

impl Summary {
    /// The record's bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::new();
        self.stance.write(&mut writer);
        writer.u64(self.objects_count);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "summary of rules";
        let mut reader = Reader::new(bytes);
        let stance = Stance::read(&mut reader)?;
        let objects_count = reader.u64(WHAT)?;
        reader.finish(WHAT)?;
        Ok(Self { stance, objects_count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(who: &str, function: Option<&str>, permissions: Permissions) -> Rule {
        let who = Identity::parse(who).expect(who);
        Rule { who, function: function.map(str::to_owned), permissions }
    }

    #[test]
    fn objects_come_back_as_text_and_as_bytes() {
        for text in ["/", "/a/b", "recipe:lock", "recipe:*", "cluster"] {
            let object = Object::parse(text).expect(text);
            assert_eq!(object.to_string(), text);
            let mut writer = Writer::new();
            object.write(&mut writer);
            assert_eq!(Object::read(&mut Reader::new(writer.finish())), Ok(object));
        }
        for text in ["", "a", "recipe:", "recipe:A", "Cluster", "/a/"] {
            assert!(Object::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Object::from_kind_and_name(0, "x"), None);
        assert_eq!(Object::from_kind_and_name(4, ""), None);
    }

    #[test]
    fn rules_add_up_and_are_taken_back_by_identity_and_function() {
        let both = Permissions::CALL.with(Permissions::DEPLOY);
        let mut rules = Rules::default();
        for one in [
            rule("token:b", None, Permissions::CALL),
            rule("token:a", Some("acquire"), Permissions::CALL),
            rule("token:b", None, Permissions::DEPLOY),
        ] {
            rules.grant(one).expect("there is room");
        }
        assert_eq!(rules.all().len(), 2);
        assert_eq!(rules.all()[1], rule("token:b", None, both));
        assert_eq!(Rules::decode(rules.encode()), Ok(rules.clone()));
        assert!(rules.encode().len() <= rules.bytes_max());
        let a = [Identity::parse("token:a").expect("valid")];
        assert!(rules.allows(&a, None, Permissions::CALL, Some("acquire")));
        assert!(!rules.allows(&a, None, Permissions::CALL, Some("release")));
        assert!(!rules.revoke(&rule("token:a", None, Permissions::CALL)));
        assert!(rules.revoke(&rule("token:b", None, Permissions::DEPLOY)));
        assert!(!rules.revoke(&rule("token:b", None, Permissions::DEPLOY)));
        assert!(!rules.allows_anybody(Permissions::DEPLOY));
        assert!(rules.revoke(&rule("token:b", None, both)));
        assert_eq!(rules.all().len(), 1);
    }

    #[test]
    fn a_rule_permits_what_its_object_knows() {
        let cluster = Object::Cluster;
        let lock = Object::parse("recipe:lock").expect("valid");
        let tree = Object::parse("/a").expect("valid");
        assert!(rule("token:a", None, Permissions::OPERATE).check(&cluster).is_ok());
        assert!(rule("token:a", None, Permissions::READ).check(&tree).is_ok());
        assert!(rule("token:a", Some("f"), Permissions::CALL).check(&lock).is_ok());
        for (bad, object) in [
            (rule("token:a", None, Permissions::READ), &cluster),
            (rule("token:a", None, Permissions::NONE), &tree),
            (rule("token:a", None, Permissions::CALL), &tree),
            (rule("auth:", None, Permissions::READ), &tree),
            (rule("token:a", Some("f"), Permissions::DEPLOY), &lock),
        ] {
            assert_eq!(bad.check(object).expect_err("refused").code, ErrorCode::InvalidAcl);
        }
        let mut full = Rules::default();
        for index in 0..limits::RULES_PER_OBJECT_MAX {
            full.grant(rule(&format!("token:{index}"), None, Permissions::READ)).expect("room");
        }
        assert!(full.grant(rule("token:0", None, Permissions::WRITE)).is_ok());
        let refused = full.grant(rule("token:x", None, Permissions::READ)).expect_err("full");
        assert_eq!(refused.code, ErrorCode::LimitPassed);
    }
}
