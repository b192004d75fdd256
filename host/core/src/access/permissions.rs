//! What may be done, as bits: ZooKeeper's five for znodes, with its numbers and letters, and ours for recipes and the cluster.
//! Which operation needs which is not known here.

use std::fmt;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Permissions(u32);

/// A permission, its letter in ZooKeeper's texts, and its name. In the order in which they are shown.
const ALL: &[(Permissions, Option<char>, &str)] = &[
    (Permissions::CREATE, Some('c'), "create"),
    (Permissions::DELETE, Some('d'), "delete"),
    (Permissions::READ, Some('r'), "read"),
    (Permissions::WRITE, Some('w'), "write"),
    (Permissions::ADMIN, Some('a'), "admin"),
    (Permissions::CALL, None, "call"),
    (Permissions::DEPLOY, None, "deploy"),
    (Permissions::OPERATE, None, "operate"),
];

impl Permissions {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// See a znode's data and stat, and the names of its children.
    pub const READ: Self = Self(1);
    /// Set a znode's data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set a znode's access list, or rules.
    pub const ADMIN: Self = Self(16);
    /// Call functions of a recipe.
    pub const CALL: Self = Self(32);
    /// Deploy a recipe, roll it back, remove it.
    pub const DEPLOY: Self = Self(64);
    /// Change the members of the cluster.
    pub const OPERATE: Self = Self(128);
    /// All that there is of a znode: ZooKeeper's `ALL`.
    pub const ALL_OF_ZNODE: Self = Self(31);

    /// The set with these bits; none if one of them is no permission.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits <= 255).then_some(Self(bits))
    }

    /// Its bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether it is the empty set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of these are in it.
    #[must_use]
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Each of them alone.
    #[must_use]
    pub fn each(self) -> Vec<Self> {
        ALL.iter().map(|(one, _, _)| *one).filter(|one| self.has(*one)).collect()
    }

    /// As rules show them: names with commas between, `all` for all of a znode.
    #[must_use]
    pub fn words(self) -> String {
        if self == Self::ALL_OF_ZNODE {
            "all".to_owned()
        } else {
            self.names().replace(" or ", ",")
        }
    }

    /// The names of all of them.
    #[must_use]
    pub fn names(self) -> String {
        let names = ALL.iter().filter(|(one, _, _)| self.has(*one)).map(|(_, _, name)| *name);
        names.collect::<Vec<_>>().join(" or ")
    }

    /// With these too.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Without these.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Reads a text: ZooKeeper's letters (`cdrwa`), names with commas between (`read,call`), or `all` for all of a znode.
    ///
    /// # Errors
    /// `invalid-acl` for anything else, nothing included.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "all" {
            return Ok(Self::ALL_OF_ZNODE);
        }
        let named = |word: &str| ALL.iter().find(|(_, _, name)| *name == word).map(|one| one.0);
        let of_letter =
            |c: char| ALL.iter().find(|(_, letter, _)| *letter == Some(c)).map(|one| one.0);
        let sum = |all: Option<Self>, one: Option<Self>| Some(all?.with(one?));
        let by_names = text.split(',').map(named).fold(Some(Self::NONE), sum);
        let by_letters = || text.chars().map(of_letter).fold(Some(Self::NONE), sum);
        by_names.or_else(by_letters).filter(|all| !all.is_empty()).ok_or_else(|| {
            let shown: String = text.chars().take(128).flat_map(char::escape_default).collect();
            let names: Vec<&str> = ALL.iter().map(|(_, _, name)| *name).collect();
            let message = format!(
                "\"{shown}\" are no permissions: letters of cdrwa, or of {} with commas between, or all",
                names.join(", ")
            );
            Refusal::new(ErrorCode::InvalidAcl, message)
        })
    }

    /// Writes its bytes.
    pub fn write(self, writer: &mut Writer) {
        writer.u64(u64::from(self.0));
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For bits that are no permissions.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "permissions";
        Self::from_bits(reader.u32(WHAT)?).ok_or(malformed(WHAT))
    }
}

/// Letters if all of them have one, names else.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (permission, letter, name) in ALL {
            if !self.has(*permission) {
                continue;
            }
            match letter {
                Some(letter) if Self::ALL_OF_ZNODE.has(*self) => write!(f, "{letter}")?,
                _ => {
                    write!(f, "{separator}{name}")?;
                    separator = ",";
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_comes_back_as_text_and_as_bytes() {
        for bits in 1..=255 {
            let set = Permissions::from_bits(bits).expect("bits of permissions");
            assert_eq!(Permissions::parse(&set.to_string()), Ok(set), "{set}");
            let mut writer = Writer::new();
            set.write(&mut writer);
            assert_eq!(Permissions::read(&mut Reader::new(writer.finish())), Ok(set));
        }
        assert_eq!(Permissions::from_bits(256), None);
    }

    #[test]
    fn texts_are_zookeepers_letters_or_names() {
        let read_write = Permissions::READ.with(Permissions::WRITE);
        assert_eq!(Permissions::parse("wr"), Ok(read_write));
        assert_eq!(Permissions::parse("read,write"), Ok(read_write));
        assert_eq!(Permissions::parse("all").map(|all| all.to_string()), Ok("cdrwa".to_owned()));
        assert_eq!(read_write.with(Permissions::CALL).to_string(), "read,write,call");
        for text in ["", "x", "read,", "read write", "r,w", "everything"] {
            let refusal = Permissions::parse(text).expect_err(text);
            assert_eq!(refusal.code, ErrorCode::InvalidAcl);
        }
    }
}
