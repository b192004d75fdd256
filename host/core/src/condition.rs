//! What an operation asks of a znode's stat before it does anything. It knows the fields of a stat, and no operation.

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};
use crate::path::Path;
use crate::znode::Stat;

/// What a znode's stat must be; fields that are not given may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// How often its data was set.
    pub version: Option<u64>,
    /// zxid that created it.
    pub czxid: Option<u64>,
    /// zxid that last set its data.
    pub mzxid: Option<u64>,
    /// zxid that last created or deleted a child of it.
    pub pzxid: Option<u64>,
    /// How often a child of it was created or deleted.
    pub cversion: Option<u64>,
    /// How often its access list was set.
    pub aversion: Option<u64>,
}

impl Condition {
    /// Any stat will do.
    pub const ANY: Self = Self {
        version: None,
        czxid: None,
        mzxid: None,
        pzxid: None,
        cversion: None,
        aversion: None,
    };

    /// Names of the fields, in the order of their bits.
    pub const FIELDS: [&'static str; 6] =
        ["version", "czxid", "mzxid", "pzxid", "cversion", "aversion"];

    /// Only this version of the data.
    #[must_use]
    pub fn version(version: u64) -> Self {
        Self { version: Some(version), ..Self::ANY }
    }

    /// The field of this name, to be set.
    pub fn field(&mut self, name: &str) -> Option<&mut Option<u64>> {
        Some(match name {
            "version" => &mut self.version,
            "czxid" => &mut self.czxid,
            "mzxid" => &mut self.mzxid,
            "pzxid" => &mut self.pzxid,
            "cversion" => &mut self.cversion,
            "aversion" => &mut self.aversion,
            _ => return None,
        })
    }

    fn wanted(&self) -> [Option<u64>; 6] {
        [self.version, self.czxid, self.mzxid, self.pzxid, self.cversion, self.aversion]
    }

    /// Whether any stat will do.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::ANY
    }

    /// Refuses a stat that is not as it must be, naming the first field that is not.
    ///
    /// # Errors
    /// `bad-version`.
    pub fn check(&self, path: &Path, stat: &Stat) -> Result<(), Refusal> {
        let found =
            [stat.version, stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.cversion, stat.aversion];
        for ((name, wanted), found) in Self::FIELDS.iter().zip(self.wanted()).zip(found) {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                let message = format!("the znode {path} has {name} {found}, not {wanted}");
                return Err(Refusal::new(ErrorCode::BadVersion, message));
            }
        }
        Ok(())
    }

    /// Writes its bytes: a bit for each field that is given, then the fields.
    pub fn write(&self, writer: &mut Writer) {
        let wanted = self.wanted();
        let bits = wanted.iter().rev().fold(0, |bits, field| bits << 1 | u8::from(field.is_some()));
        writer.u8(bits);
        for field in wanted.into_iter().flatten() {
            writer.u64(field);
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For a field that is not known.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "condition";
        let bits = reader.u8(WHAT)?;
        if bits >> Self::FIELDS.len() != 0 {
            return Err(malformed(WHAT));
        }
        let mut field = |bit: u8| -> Result<Option<u64>, Malformed> {
            if bits >> bit & 1 == 1 { reader.u64(WHAT).map(Some) } else { Ok(None) }
        };
        Ok(Self {
            version: field(0)?,
            czxid: field(1)?,
            mzxid: field(2)?,
            pzxid: field(3)?,
            cversion: field(4)?,
            aversion: field(5)?,
        })
    }
}

impl From<Option<u64>> for Condition {
    /// As ZooKeeper's: the version of the data, if one is given.
    fn from(version: Option<u64>) -> Self {
        Self { version, ..Self::ANY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Millis, Zxid};
    use crate::znode::{Lifetime, Node};

    #[test]
    fn each_field_is_checked_and_named() {
        let mut node = Node::new(Zxid(3), Millis(1), Lifetime::Persistent, b"");
        (node.mzxid, node.pzxid, node.version, node.acl_version) = (Zxid(4), Zxid(5), 6, 7);
        (node.children_created, node.children_count) = (5, 2);
        let stat = node.stat();
        let fits = [6, 3, 4, 5, 8, 7];
        let path = Path::root();
        for (name, value) in Condition::FIELDS.into_iter().zip(fits) {
            let mut condition = Condition::ANY;
            *condition.field(name).expect("a field of this name") = Some(value);
            assert_eq!(condition.check(&path, &stat), Ok(()), "{name}");
            *condition.field(name).expect("a field of this name") = Some(value + 1);
            let refusal = condition.check(&path, &stat).expect_err("another value");
            assert_eq!(refusal.code, ErrorCode::BadVersion);
            let message = format!("the znode / has {name} {value}, not {}", value + 1);
            assert_eq!(refusal.message, message);
        }
        assert_eq!(Condition::ANY.check(&path, &stat), Ok(()));
        assert!(Condition::default().field("zxid").is_none());
    }
}
