//! The access list of a znode: who may do what to it. What a list means beside the rules on prefixes is not known here.

use core::net::IpAddr;
use std::fmt;

use super::identity::invalid;
use super::{Identity, Permissions, Scheme};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};
use crate::limits;

/// One line of an access list. Text: `SCHEME:ID:PERMISSIONS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclEntry {
    /// What they may do.
    pub permissions: Permissions,
    /// Whom it matches.
    pub who: Identity,
}

impl AclEntry {
    /// Reads the text `SCHEME:ID:PERMISSIONS`.
    ///
    /// # Errors
    /// `invalid-acl`, `limit`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (who, permissions) = text
            .rsplit_once(':')
            .filter(|(who, _)| who.contains(':'))
            .ok_or_else(|| invalid(text, "it is not SCHEME:ID:PERMISSIONS"))?;
        Ok(Self { permissions: Permissions::parse(permissions)?, who: Identity::parse(who)? })
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.who, self.permissions)
    }
}

/// An access list. As a client sends it, it may be empty or name `auth:`; as it is stored it is neither ([`Acl::resolved`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    /// Its lines, in the order in which they were given.
    pub entries: Vec<AclEntry>,
}

impl Acl {
    /// Everybody may do everything: ZooKeeper's `OPEN_ACL_UNSAFE`.
    #[must_use]
    pub fn open() -> Self {
        let who = Identity::anyone();
        Self { entries: vec![AclEntry { permissions: Permissions::ALL_OF_ZNODE, who }] }
    }

    /// The list as it is stored when somebody with these identities sets it (ZooKeeper's `fixupACL`): `auth:` becomes those of
    /// them that were proved, and no line stands there twice.
    ///
    /// # Errors
    /// `invalid-acl` if it is empty, has a line that permits nothing or what a znode does not know, or names `auth:` while there is no
    /// such identity; `limit` if it is too long.
    pub fn resolved(&self, identities: &[Identity]) -> Result<Self, Refusal> {
        let mut entries: Vec<AclEntry> = Vec::new();
        let mut add = |entry: AclEntry| {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        };
        for entry in &self.entries {
            if entry.permissions.is_empty() || !Permissions::ALL_OF_ZNODE.has(entry.permissions) {
                return Err(invalid(&entry.to_string(), "a znode's permissions are some of cdrwa"));
            }
            if entry.who.scheme() != Scheme::Auth {
                add(entry.clone());
                continue;
            }
            let proved: Vec<&Identity> =
                identities.iter().filter(|one| one.scheme() != Scheme::Super).collect();
            if proved.is_empty() {
                return Err(invalid(
                    &entry.to_string(),
                    "it stands for the identities of who sets it, and there are none",
                ));
            }
            for who in proved {
                add(AclEntry { permissions: entry.permissions, who: who.clone() });
            }
        }
        if entries.is_empty() {
            return Err(Refusal::new(ErrorCode::InvalidAcl, "the access list is empty"));
        }
        let acl = Self { entries };
        acl.check_size()?;
        Ok(acl)
    }

    fn check_size(&self) -> Result<(), Refusal> {
        let (count, bytes) = (self.entries.len(), self.bytes_max());
        if count > limits::ACL_ENTRIES_MAX {
            let max = limits::ACL_ENTRIES_MAX as u64;
            return Err(Refusal::limit("entries of an access list", count as u64, max));
        }
        if bytes > limits::ACL_BYTES_MAX {
            let max = limits::ACL_BYTES_MAX as u64;
            return Err(Refusal::limit("bytes of an access list", bytes as u64, max));
        }
        Ok(())
    }

    /// Whether somebody with these identities, who asks from this address, may do this: one line alone must say so.
    #[must_use]
    pub fn allows(
        &self,
        identities: &[Identity],
        address: Option<IpAddr>,
        permission: Permissions,
    ) -> bool {
        self.entries.iter().any(|entry| {
            entry.permissions.has(permission) && entry.who.matches(identities, address)
        })
    }

    /// Whether there is anybody who may do this.
    #[must_use]
    pub fn allows_anybody(&self, permission: Permissions) -> bool {
        self.entries.iter().any(|entry| entry.permissions.has(permission))
    }

    /// As shown to those who may not change it.
    #[must_use]
    pub fn masked(&self) -> Self {
        let entries = self
            .entries
            .iter()
            .map(|entry| AclEntry { who: entry.who.masked(), ..*entry })
            .collect();
        Self { entries }
    }

    /// Never less than the bytes that it takes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        2 + self.entries.iter().map(|entry| 2 + entry.who.bytes_max()).sum::<usize>()
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(self.entries.len() as u64);
        for entry in &self.entries {
            entry.permissions.write(writer);
            entry.who.write(writer);
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For too many entries or bytes, or what is no identity or permission.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "access list";
        let count = reader.count(WHAT, limits::ACL_ENTRIES_MAX)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let permissions = Permissions::read(reader)?;
            entries.push(AclEntry { permissions, who: Identity::read(reader)? });
        }
        let acl = Self { entries };
        if acl.bytes_max() > limits::ACL_BYTES_MAX {
            return Err(malformed(WHAT));
        }
        Ok(acl)
    }
}

/// Its lines, with blanks between: an id may have commas.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(f, "{separator}{entry}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(lines: &[&str]) -> Acl {
        let entries = lines.iter().map(|line| AclEntry::parse(line).expect(line)).collect();
        Acl { entries }
    }

    fn alice() -> Vec<Identity> {
        let texts = ["digest:alice:h", "x509:CN=alice,O=a:b", "super:"];
        texts.iter().map(|text| Identity::parse(text).expect(text)).collect()
    }

    #[test]
    fn lists_come_back_as_text_and_as_bytes() {
        let lines = ["world:anyone:r", "digest:bob:h=:cdrwa", "x509:CN=a,O=b:rw", "ip:fe80::/10:r"];
        let list = acl(&lines);
        assert_eq!(list.to_string(), lines.join(" "));
        let mut writer = Writer::new();
        list.write(&mut writer);
        assert!(writer.len() <= list.bytes_max());
        assert_eq!(Acl::read(&mut Reader::new(writer.finish())), Ok(list));
        for text in ["", "world:anyone", "anyone:r", "world:anyone:", "world:anyone:x"] {
            assert_eq!(AclEntry::parse(text).expect_err(text).code, ErrorCode::InvalidAcl);
        }
    }

    #[test]
    fn auth_becomes_the_proved_identities_of_who_sets_the_list() {
        let list = acl(&["auth::rw", "digest:alice:h:rw", "world:anyone:r"]);
        assert_eq!(
            list.resolved(&alice()),
            Ok(acl(&["digest:alice:h:rw", "x509:CN=alice,O=a:b:rw", "world:anyone:r"]))
        );
        for identities in [&[][..], &alice()[2..]] {
            let refusal = list.resolved(identities).expect_err("nobody");
            assert_eq!(refusal.code, ErrorCode::InvalidAcl);
            assert!(refusal.message.contains("there are none"), "{refusal}");
        }
    }

    #[test]
    fn a_list_of_nothing_or_of_too_much_is_refused() {
        let code = |acl: &Acl| acl.resolved(&[]).expect_err("refused").code;
        assert_eq!(code(&Acl::default()), ErrorCode::InvalidAcl);
        assert_eq!(code(&acl(&["world:anyone:call"])), ErrorCode::InvalidAcl);
        let many: Vec<String> =
            (0..=limits::ACL_ENTRIES_MAX).map(|index| format!("token:{index}:r")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(code(&acl(&many)), ErrorCode::LimitPassed);
        let long: Vec<String> =
            (0..20).map(|index| format!("token:{index}{}:r", "x".repeat(400))).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        assert_eq!(code(&acl(&long)), ErrorCode::LimitPassed);
        assert!(Acl::open().resolved(&[]).is_ok());
    }

    #[test]
    fn one_line_alone_must_allow_it() {
        let list = acl(&["digest:alice:h:r", "x509:CN=alice,O=a:b:w", "ip:10.0.0.0/8:a"]);
        let both = Permissions::READ.with(Permissions::WRITE);
        assert!(list.allows(&alice(), None, Permissions::READ));
        assert!(!list.allows(&alice(), None, both));
        assert!(!list.allows(&[], None, Permissions::READ));
        assert!(list.allows(&[], "10.0.0.1".parse().ok(), Permissions::ADMIN));
        assert!(list.allows_anybody(Permissions::ADMIN));
        assert!(!list.allows_anybody(Permissions::DELETE));
    }
}
