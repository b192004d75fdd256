//! How large a subtree is: counted by `apply`, looked up here. It does not know how the counts came about.

use bytes::Bytes;

use super::{no_node, node};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::draft::ReadRecords;
use crate::error::Refusal;
use crate::path::Path;
use crate::read::Read;
use crate::znode::Stat;

/// What is below a znode, itself not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Below {
    /// Znodes.
    pub znodes: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

/// A znode, and how much it and all below it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// Its stat.
    pub stat: Stat,
    /// Znodes, itself included.
    pub znodes: u64,
    /// Bytes of their data, its own included.
    pub bytes: u64,
}

/// First byte of the record: the version of its layout.
const FORMAT: u8 = 1;

impl Below {
    /// With so much more, or less; none if that is less than nothing.
    #[must_use]
    pub fn plus(self, znodes: i64, bytes: i64) -> Option<Self> {
        Some(Self {
            znodes: self.znodes.checked_add_signed(znodes)?,
            bytes: self.bytes.checked_add_signed(bytes)?,
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::with_capacity(16);
        writer.u8(FORMAT);
        writer.u64(self.znodes);
        writer.u64(self.bytes);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote: where nothing is below there is no record.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "count of what is below a znode";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed(WHAT));
        }
        let below = Self { znodes: reader.u64(WHAT)?, bytes: reader.u64(WHAT)? };
        reader.finish(WHAT)?;
        if below.znodes == 0 { Err(malformed(WHAT)) } else { Ok(below) }
    }
}

impl Subtree {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        self.stat.write(writer);
        writer.u64(self.znodes);
        writer.u64(self.bytes);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "subtree";
        let stat = Stat::read(reader)?;
        Ok(Self { stat, znodes: reader.u64(WHAT)?, bytes: reader.u64(WHAT)? })
    }
}

/// How large the subtree of a znode is. Two look-ups, however much that is.
///
/// # Errors
/// `no-node`.
pub fn subtree<R: Read + ?Sized>(read: &R, path: &Path) -> Result<Subtree, Refusal> {
    let stat = node(read, path).ok_or_else(|| no_node(path))?.stat();
    let below = read.below(path);
    Ok(Subtree { stat, znodes: below.znodes + 1, bytes: below.bytes + stat.data_bytes })
}
