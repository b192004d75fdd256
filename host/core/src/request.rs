//! What is asked of the sequencer, and what it answers. Bytes of requests are the wire's business; replies write
//! themselves, because they are kept in the tree.

use core::net::IpAddr;

use bytes::Bytes;

mod answer;

pub use self::answer::Answer;
use self::answer::Nesting;
use crate::access::{AccessChange, Acl, Held};
use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::condition::Condition;
use crate::deployment::{ComponentDigest, Manifest};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{SessionId, WriteNumber};
use crate::limits;
use crate::query::Page;
use crate::quota::Quota;
use crate::session::Acks;

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
    /// Bound what may be in a subtree, or not any more.
    SetQuota {
        /// Its top, which need not be there.
        path: String,
        /// None, or one that bounds nothing: no quota.
        quota: Option<Quota>,
    },
    /// The session is known as somebody more, or why not: what the member made of credentials that its client showed it. No
    /// client sends this, and no credential goes further than that member.
    Identify(Result<Held, Refusal>),
}

/// What a request is to a service that has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// More work: refused first.
    Ordinary,
    /// It only ends something or takes something away.
    Relief,
}

impl Class {
    /// The places that requests of this class may fill, of a queue with this many for ordinary ones.
    #[must_use]
    pub fn places(self, ordinary: usize) -> usize {
        match self {
            Self::Ordinary => ordinary,
            Self::Relief => ordinary + ordinary / limits::RELIEF_PLACES_PART,
        }
    }
}

impl Body {
    /// Who is refused first under overload.
    #[must_use]
    pub fn class(&self) -> Class {
        let is_deletion = |operation: &Operation| {
            matches!(operation, Operation::Delete { .. } | Operation::DeleteTree { .. })
        };
        let only_frees = match self {
            Self::Cancel(_) | Self::CloseSession => true,
            Self::Single(operation) => is_deletion(operation),
            Self::Multi(operations) => operations.iter().all(is_deletion),
            _ => false,
        };
        if only_frees { Class::Relief } else { Class::Ordinary }
    }
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
        /// Only if its stat is so.
        condition: Condition,
    },
    /// Delete a znode without children.
    Delete {
        /// Which.
        path: String,
        /// Only if its stat is so.
        condition: Condition,
    },
    /// Refuse unless a znode is there and its stat is so.
    Check {
        /// Which.
        path: String,
        /// Only if its stat is so.
        condition: Condition,
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
    /// Refuse if a znode is there.
    CheckAbsent {
        /// Where none must be; its parents need not be there either.
        path: String,
    },
    /// Answer the znode that is there, or create it.
    CreateOrGet {
        /// Where.
        path: String,
        /// Its data, if it is created.
        data: Bytes,
        /// How long it lives, if it is created.
        lifetime: LifetimeKind,
        /// Create missing parents too, persistent and empty.
        parents: bool,
        /// Its own access list, if it is created.
        acl: Option<Acl>,
    },
    /// Set the data of the znode that is there, or create it.
    SetOrCreate {
        /// Where.
        path: String,
        /// Its data.
        data: Bytes,
        /// How long it lives, if it is created.
        lifetime: LifetimeKind,
        /// Create missing parents too, persistent and empty.
        parents: bool,
        /// Its own access list, if it is created.
        acl: Option<Acl>,
    },
    /// Delete a znode and all below it.
    DeleteTree {
        /// The top.
        path: String,
        /// Only if the stat of the top is so.
        condition: Condition,
    },
    /// Refuse unless what a recipe of lines granted (a lock, a leadership) is still granted.
    Fence(Fence),
    /// The data and stat of a znode, as of what this transaction did before.
    Get {
        /// Which.
        path: String,
    },
    /// The stat of a znode.
    Stat {
        /// Which.
        path: String,
    },
    /// The stat of a znode, if it is there.
    Exists {
        /// Which.
        path: String,
    },
    /// A page of children.
    Children {
        /// Their parent.
        path: String,
        /// Which.
        page: Page,
        /// Their data and stat too.
        with_data: bool,
    },
}

/// A grant, as the recipe told it to the one who got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Name of the deployment that granted.
    pub recipe: String,
    /// The znode that is there as long as the grant holds, as the recipe sees its path.
    pub node: String,
    /// The fencing token: the zxid of the grant.
    pub token: u64,
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
