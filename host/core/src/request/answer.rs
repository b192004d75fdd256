//! What a write is answered when it was done, and its bytes, which are kept in the tree.

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::limits;
use crate::query::{Child, Listing};
use crate::znode::Stat;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing more to say: a deletion, a close, a cancel, a stored chunk, a removal.
    Done,
    /// The znode that was created.
    Created {
        /// Its path, with its sequence number.
        path: String,
        /// Its stat.
        stat: Stat,
    },
    /// The stat after a set, or at a check.
    Stat(Stat),
    /// The encoded result of a recipe call.
    Called(Bytes),
    /// The answers of a multi, one for each operation.
    Multi(Vec<Answer>),
    /// The version that is active now.
    Activated {
        /// Its number.
        version: u64,
    },
    /// Data and stat of a znode that was there.
    Node {
        /// Its data.
        data: Bytes,
        /// Its stat.
        stat: Stat,
    },
    /// A page of names of children.
    Names(Listing<String>),
    /// A page of children with their data and stat.
    Children(Listing<Child>),
    /// The stat of a znode, or that there is none.
    Exists(Option<Stat>),
    /// A subtree was deleted.
    Deleted {
        /// Its znodes.
        count: u64,
    },
}

/// Whether an answer may be a multi's: multis do not nest, so decoding does not recurse without bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nesting {
    /// It may.
    Multi,
    /// It is within one.
    Single,
}

impl Answer {
    /// Never less than the bytes that its encoding takes.
    pub(crate) fn bytes_max(&self) -> usize {
        const HEAD: usize = 8;
        HEAD + match self {
            Self::Done => 0,
            Self::Created { path, .. } => path.len() + limits::STAT_BYTES_MAX,
            Self::Stat(_) => limits::STAT_BYTES_MAX,
            Self::Called(value) => value.len(),
            Self::Multi(answers) => answers.iter().map(Self::bytes_max).sum(),
            Self::Activated { .. } | Self::Deleted { .. } => 10,
            Self::Node { data, .. } => data.len() + limits::STAT_BYTES_MAX,
            Self::Names(listing) => {
                listing.children.iter().map(|name| HEAD + name.len()).sum::<usize>()
            }
            Self::Children(listing) => {
                let bytes = |child: &Child| {
                    2 * HEAD + child.name.len() + child.data.len() + limits::STAT_BYTES_MAX
                };
                listing.children.iter().map(bytes).sum::<usize>()
            }
            Self::Exists(_) => limits::STAT_BYTES_MAX,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Done => writer.u8(0),
            Self::Created { path, stat } => {
                writer.u8(1);
                writer.text(path);
                stat.write(writer);
            }
            Self::Stat(stat) => {
                writer.u8(2);
                stat.write(writer);
            }
            Self::Called(value) => {
                writer.u8(3);
                writer.bytes(value);
            }
            Self::Multi(answers) => {
                writer.u8(4);
                writer.u64(answers.len() as u64);
                for answer in answers {
                    answer.write(writer);
                }
            }
            Self::Activated { version } => {
                writer.u8(5);
                writer.u64(*version);
            }
            Self::Node { data, stat } => {
                writer.u8(6);
                writer.bytes(data);
                stat.write(writer);
            }
            Self::Names(listing) => {
                writer.u8(7);
                listing.write(writer, |writer, name| writer.text(name));
            }
            Self::Children(listing) => {
                writer.u8(8);
                listing.write(writer, |writer, child| child.write(writer));
            }
            Self::Exists(stat) => {
                writer.u8(9);
                writer.option(stat.as_ref(), |writer, stat| stat.write(writer));
            }
            Self::Deleted { count } => {
                writer.u8(10);
                writer.u64(*count);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader, nesting: Nesting) -> Result<Self, Malformed> {
        const WHAT: &str = "answer";
        Ok(match reader.u8(WHAT)? {
            0 => Self::Done,
            1 => Self::Created { path: reader.text(WHAT)?, stat: Stat::read(reader)? },
            2 => Self::Stat(Stat::read(reader)?),
            3 => Self::Called(reader.bytes(WHAT)?),
            4 if nesting == Nesting::Multi => {
                let count = reader.count(WHAT, limits::MULTI_OPERATIONS_MAX)?;
                let mut answers = Vec::with_capacity(count);
                for _ in 0..count {
                    answers.push(Self::read(reader, Nesting::Single)?);
                }
                Self::Multi(answers)
            }
            5 => Self::Activated { version: reader.u64(WHAT)? },
            6 => Self::Node { data: reader.bytes(WHAT)?, stat: Stat::read(reader)? },
            7 => Self::Names(Listing::read(reader, |reader| reader.text(WHAT))?),
            8 => Self::Children(Listing::read(reader, Child::read)?),
            9 => Self::Exists(reader.option(WHAT, Stat::read)?),
            10 => Self::Deleted { count: reader.u64(WHAT)? },
            _ => return Err(malformed(WHAT)),
        })
    }
}
