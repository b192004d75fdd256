//! What is asked of the sequencer, and what it answers. Bytes of requests are the wire's business; replies write
//! themselves, because they are kept in the tree.

use core::net::IpAddr;

use bytes::Bytes;

use crate::access::{AccessChange, Acl};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::deployment::{ComponentDigest, Manifest};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{SessionId, WriteNumber};
use crate::limits;
use crate::session::Acks;
use crate::znode::Stat;

/// A numbered write of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The session.
    pub session: SessionId,
    /// Its number there.
    pub write: WriteNumber,
    /// Hash of the body's bytes: a resend that differs is refused.
    pub hash: u128,
    /// Replies that the client has got.
    pub acks: Acks,
    /// What is asked.
    pub body: Body,
    /// From where it was asked, as the member saw it that the client is connected to. Not part of the hash.
    pub address: Option<IpAddr>,
}

/// What a write asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One operation.
    Single(Operation),
    /// All or nothing, one zxid. Reports the first refused operation.
    Multi(Vec<Operation>),
    /// Give up a parked call of this session: it is run once more, with the reason "cancelled".
    Cancel(WriteNumber),
    /// End the session; its ephemeral znodes go in the same transaction.
    CloseSession,
    /// A piece of a component.
    StoreChunk(Chunk),
    /// Activate a component under a name.
    Deploy(Deploy),
    /// Activate an earlier version again.
    Rollback {
        /// The recipe.
        recipe: String,
        /// The version to go back to.
        version: u64,
    },
    /// Take a recipe out of service; its versions stay.
    RemoveRecipe(String),
}

/// A piece of a component that is being uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// SHA-256 of the whole.
    pub component: ComponentDigest,
    /// Position of the chunk: 0, 1, ...
    pub index: u32,
    /// Bytes of the whole.
    pub total_bytes: u64,
    /// This chunk: `CHUNK_BYTES_MAX` bytes, less for the last one.
    pub bytes: Bytes,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deploy {
    /// The name.
    pub recipe: String,
    /// The component, uploaded before.
    pub component: ComponentDigest,
    /// What it is granted.
    pub manifest: Manifest,
    /// Go on although callers of the old version will break.
    pub breaking_allowed: bool,
}

/// How a sequential name is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// The name is the given one.
    None,
    /// 19 digits are appended: sorts for ever.
    Native,
    /// ZooKeeper's 10 digits are appended; refused when they would stop sorting.
    ZooKeeper,
}

/// Which lifetime a created znode gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifetimeKind {
    /// Until it is deleted.
    Persistent,
    /// Until the session ends.
    Ephemeral,
    /// Until the call ends or releases it; only for recipes.
    CallOwned,
    /// Until it has had children and has none any more.
    Container,
    /// Until it has no children and was not set for so many milliseconds: 1 to `TTL_MS_MAX`.
    Ttl(u64),
}

/// One operation on the tree, or one recipe call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Create a znode.
    Create {
        /// Where.
        path: String,
        /// Its data.
        data: Bytes,
        /// How long it lives.
        lifetime: LifetimeKind,
        /// How its name is made.
        sequence: Sequence,
        /// Create missing parents too, persistent and empty.
        parents: bool,
        /// Its own access list; rules decide without one.
        acl: Option<Acl>,
    },
    /// Set a znode's data.
    Set {
        /// Which.
        path: String,
        /// The new data.
        data: Bytes,
        /// Only if it has this version.
        version: Option<u64>,
    },
    /// Delete a znode without children.
    Delete {
        /// Which.
        path: String,
        /// Only if it has this version.
        version: Option<u64>,
    },
    /// Refuse unless a znode is there and has this version.
    Check {
        /// Which.
        path: String,
        /// Only if it has this version.
        version: Option<u64>,
    },
    /// Call a recipe.
    Call(Call),
    /// Set a znode's own access list.
    SetAcl {
        /// Which.
        path: String,
        /// The new list; none to let rules decide.
        acl: Option<Acl>,
        /// Only if the list has this version.
        version: Option<u64>,
        /// Although nobody could change it then: for super alone.
        is_forced: bool,
    },
    /// Change rules, or what holds where there are none.
    Access {
        /// How.
        change: AccessChange,
        /// Although nobody could change them then, or the caller could not: for super alone.
        is_forced: bool,
    },
}

/// A recipe call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Name of the deployment.
    pub recipe: String,
    /// Exported function: `acquire`, or `interface.acquire` where two interfaces export the name.
    pub function: String,
    /// Hash of the function's type as the caller knows it.
    pub signature: u128,
    /// Arguments in the canonical encoding of that type.
    pub arguments: Bytes,
}

/// What a write is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was done.
    Done(Answer),
    /// It was refused and changed nothing.
    Refused(Failure),
}

/// Why a request was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Code and sentence.
    pub refusal: Refusal,
    /// Index of the refused operation of a multi.
    pub operation: Option<u32>,
    /// The encoded result of a recipe call that returned its error case.
    pub value: Option<Bytes>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, operation: None, value: None }
    }
}

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
}

impl Reply {
    /// The reply's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Done(answer) => {
                writer.u8(0);
                answer.write(&mut writer);
            }
            Self::Refused(failure) => {
                writer.u8(1);
                failure.write(&mut writer);
            }
        }
        writer.finish()
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "reply";
        let mut reader = Reader::new(bytes);
        let reply = match reader.u8(WHAT)? {
            0 => Self::Done(Answer::read(&mut reader, Nesting::Multi)?),
            1 => Self::Refused(Failure::read(&mut reader)?),
            _ => return Err(malformed(WHAT)),
        };
        reader.finish(WHAT)?;
        Ok(reply)
    }
}

impl Failure {
    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(u64::from(self.refusal.code.number()));
        writer.text(&self.refusal.message);
        writer.option(self.operation, |writer, index| writer.u64(u64::from(index)));
        writer.option(self.value.as_ref(), |writer, value| writer.bytes(value));
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For an unknown code: an older client can not act on it, and says so.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "failure";
        let number = u16::try_from(reader.u64(WHAT)?).map_err(|_| malformed(WHAT))?;
        let code = ErrorCode::from_number(number)
            .ok_or(malformed("error code, unknown to this version"))?;
        Ok(Self {
            refusal: Refusal { code, message: reader.text(WHAT)? },
            operation: reader.option(WHAT, |reader| reader.u32(WHAT))?,
            value: reader.option(WHAT, |reader| reader.bytes(WHAT))?,
        })
    }
}

/// Whether an answer may be a multi's: multis do not nest, so decoding does not recurse without bound.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nesting {
    Multi,
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
            Self::Activated { .. } => 10,
        }
    }

    fn write(&self, writer: &mut Writer) {
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
        }
    }

    fn read(reader: &mut Reader, nesting: Nesting) -> Result<Self, Malformed> {
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
            _ => return Err(malformed(WHAT)),
        })
    }
}
