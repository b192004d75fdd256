//! The record of a znode and the stat that callers see. It knows its own bytes; how a change rewrites it is `apply`'s.

use bytes::Bytes;

use crate::access::Acl;
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::ids::{CallId, Millis, SessionId, WriteNumber, Zxid};

/// How long a znode lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// Until its session ends.
    Ephemeral(SessionId),
    /// Until its call ends without having released it, or its session ends.
    CallOwned(CallId),
    /// Until it has been without children for `CONTAINER_EMPTY_MS`, after it had some.
    Container,
    /// Until it has no children and its data was not set for so many milliseconds.
    Ttl(u64),
}

impl Lifetime {
    /// The session that the znode goes with.
    #[must_use]
    pub fn session(self) -> Option<SessionId> {
        match self {
            Self::Persistent | Self::Container | Self::Ttl(_) => None,
            Self::Ephemeral(session) => Some(session),
            Self::CallOwned(call) => Some(call.session),
        }
    }

    /// The call that the znode goes with; write number 0 when it goes with the session alone.
    #[must_use]
    pub fn call_write(self) -> WriteNumber {
        match self {
            Self::CallOwned(call) => call.write,
            _ => WriteNumber(0),
        }
    }

    /// Writes its bytes.
    pub fn write(self, writer: &mut Writer) {
        match self {
            Self::Persistent => writer.u8(0),
            Self::Ephemeral(session) => {
                writer.u8(1);
                writer.u64(session.0);
            }
            Self::CallOwned(call) => {
                writer.u8(2);
                writer.u64(call.session.0);
                writer.u64(call.write.0);
            }
            Self::Container => writer.u8(3),
            Self::Ttl(ms) => {
                writer.u8(4);
                writer.u64(ms);
            }
        }
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For an unknown kind.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "lifetime";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Persistent,
            1 => Self::Ephemeral(SessionId(reader.u64(WHAT)?)),
            2 => {
                let session = SessionId(reader.u64(WHAT)?);
                Self::CallOwned(CallId { session, write: WriteNumber(reader.u64(WHAT)?) })
            }
            3 => Self::Container,
            4 => Self::Ttl(reader.u64(WHAT)?),
            _ => return Err(malformed(WHAT)),
        })
    }
}

/// What is stored of a znode beside its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// zxid that created it.
    pub czxid: Zxid,
    /// zxid that last set its data.
    pub mzxid: Zxid,
    /// zxid that last created or deleted a child.
    pub pzxid: Zxid,
    /// Time of `czxid`.
    pub ctime: Millis,
    /// Time of `mzxid`.
    pub mtime: Millis,
    /// How often the data was set.
    pub version: u64,
    /// How often the access list was set.
    pub acl_version: u64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Children ever created: the next sequence number. ZooKeeper keeps the same counter and shows another (see `stat`).
    pub children_created: u64,
    /// Children now.
    pub children_count: u64,
    /// No live child has a lower name: `first-child` starts here and steps over no tombstones.
    pub first_child_bound: String,
    /// From when on the leader may delete it, as a container or TTL znode without children; none while it may not.
    pub reap_at: Option<Millis>,
    /// Bytes of its data.
    pub data_bytes: u64,
    /// xxh3-128 of its data: puts the data into the state digest.
    pub data_hash: u128,
    /// Its own access list, which decides alone; none while rules decide.
    pub acl: Option<Acl>,
}

/// First byte of a znode record: the version of its layout.
const FORMAT: u8 = 1;

impl Node {
    /// A new znode without children.
    #[must_use]
    pub fn new(zxid: Zxid, time: Millis, lifetime: Lifetime, data: &[u8]) -> Self {
        Self {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            acl_version: 0,
            lifetime,
            children_created: 0,
            children_count: 0,
            first_child_bound: String::new(),
            reap_at: None,
            data_bytes: data.len() as u64,
            data_hash: xxhash_rust::xxh3::xxh3_128(data),
            acl: None,
        }
    }

    /// Bytes that its own access list may take; 0 without one.
    #[must_use]
    pub fn acl_bytes(&self) -> u64 {
        self.acl.as_ref().map_or(0, |acl| acl.bytes_max() as u64)
    }

    /// Whether children may be created under it.
    #[must_use]
    pub fn may_have_children(&self) -> bool {
        self.lifetime.session().is_none()
    }

    /// What callers see. `cversion` counts creations and deletions, as ZooKeeper shows it: twice the creations less the
    /// children that are left.
    #[must_use]
    pub fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            pzxid: self.pzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.children_created * 2 - self.children_count,
            aversion: self.acl_version,
            lifetime: self.lifetime,
            data_bytes: self.data_bytes,
            children_count: self.children_count,
        }
    }

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(96 + self.first_child_bound.len());
        writer.u8(FORMAT);
        writer.u64(self.czxid.0);
        writer.u64(self.mzxid.0);
        writer.u64(self.pzxid.0);
        writer.u64(self.ctime.0);
        writer.u64(self.mtime.0);
        writer.u64(self.version);
        writer.u64(self.acl_version);
        self.lifetime.write(&mut writer);
        writer.u64(self.children_created);
        writer.u64(self.children_count);
        writer.text(&self.first_child_bound);
        writer.option(self.reap_at, |writer, at| writer.u64(at.0));
        writer.u64(self.data_bytes);
        writer.u128(self.data_hash);
        writer.option(self.acl.as_ref(), |writer, acl| acl.write(writer));
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "znode record";
        let mut reader = Reader::new(bytes);
        if reader.u8(WHAT)? != FORMAT {
            return Err(malformed(WHAT));
        }
        let node = Self {
            czxid: Zxid(reader.u64(WHAT)?),
            mzxid: Zxid(reader.u64(WHAT)?),
            pzxid: Zxid(reader.u64(WHAT)?),
            ctime: Millis(reader.u64(WHAT)?),
            mtime: Millis(reader.u64(WHAT)?),
            version: reader.u64(WHAT)?,
            acl_version: reader.u64(WHAT)?,
            lifetime: Lifetime::read(&mut reader)?,
            children_created: reader.u64(WHAT)?,
            children_count: reader.u64(WHAT)?,
            first_child_bound: reader.text(WHAT)?,
            reap_at: reader.option(WHAT, |reader| reader.u64(WHAT).map(Millis))?,
            data_bytes: reader.u64(WHAT)?,
            data_hash: reader.u128(WHAT)?,
            acl: reader.option(WHAT, Acl::read)?,
        };
        reader.finish(WHAT)?;
        Ok(node)
    }
}

/// ZooKeeper's stat, with 64-bit counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// zxid that created the znode.
    pub czxid: Zxid,
    /// zxid that last set its data.
    pub mzxid: Zxid,
    /// zxid that last created or deleted a child.
    pub pzxid: Zxid,
    /// Time of `czxid`.
    pub ctime: Millis,
    /// Time of `mzxid`.
    pub mtime: Millis,
    /// How often the data was set.
    pub version: u64,
    /// How often a child was created or deleted.
    pub cversion: u64,
    /// How often the access list was set.
    pub aversion: u64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Bytes of its data.
    pub data_bytes: u64,
    /// Children now.
    pub children_count: u64,
}

impl Stat {
    /// The session that an ephemeral or call-owned znode goes with.
    #[must_use]
    pub fn owner(&self) -> Option<SessionId> {
        self.lifetime.session()
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        for number in [
            self.czxid.0,
            self.mzxid.0,
            self.pzxid.0,
            self.ctime.0,
            self.mtime.0,
            self.version,
            self.cversion,
            self.aversion,
        ] {
            writer.u64(number);
        }
        self.lifetime.write(writer);
        writer.u64(self.data_bytes);
        writer.u64(self.children_count);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "stat";
        Ok(Self {
            czxid: Zxid(reader.u64(WHAT)?),
            mzxid: Zxid(reader.u64(WHAT)?),
            pzxid: Zxid(reader.u64(WHAT)?),
            ctime: Millis(reader.u64(WHAT)?),
            mtime: Millis(reader.u64(WHAT)?),
            version: reader.u64(WHAT)?,
            cversion: reader.u64(WHAT)?,
            aversion: reader.u64(WHAT)?,
            lifetime: Lifetime::read(reader)?,
            data_bytes: reader.u64(WHAT)?,
            children_count: reader.u64(WHAT)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        let call = CallId { session: SessionId(300), write: WriteNumber(7) };
        let mut node = Node::new(Zxid(1), Millis(2), Lifetime::CallOwned(call), b"x");
        node.first_child_bound = "n-1".to_owned();
        node.reap_at = Some(Millis(u64::MAX));
        node.acl = Some(Acl::open());
        assert_eq!(Node::decode(node.encode()), Ok(node));
    }

    #[test]
    fn cversion_counts_creations_and_deletions() {
        let mut node = Node::new(Zxid(1), Millis(2), Lifetime::Persistent, b"");
        node.children_created = 5;
        node.children_count = 2; // three were deleted
        assert_eq!(node.stat().cversion, 8);
    }
}
