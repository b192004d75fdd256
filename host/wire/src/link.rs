//! What a member and its leader say to each other on a link: one message a frame. Requests of clients go to the leader,
//! and come back are the answers that no log entry carries. It does not know who may open a link, nor what is done with it.
//!
//! The first byte of a frame is its kind: below 0x80 to the leader, above from it. As in `message`, numbers are minimal
//! LEB128, texts and byte strings carry their length, and nothing may follow the last field.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::access::Held;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::error::Refusal;
use quorate_core::ids::{Epoch, SessionId, Term, WriteNumber, Zxid};
use quorate_core::limits;
use quorate_core::request::Request;
use quorate_core::session::{Acks, Opening};

use crate::message::{body, read_refusal, write_refusal};

/// Bytes of one frame on a link: the largest body of a write, and its head with as many acknowledgements as there may be.
pub const LINK_FRAME_BYTES_MAX: u32 = 5 * 1024 * 1024 + 16 * 1024;
const HEAD_BYTES_MAX: usize = 8 * 10 + 16 + 2 * limits::ACK_RANGES_MAX * 10;
const _: () = assert!(LINK_FRAME_BYTES_MAX as usize >= limits::FRAME_BYTES_MAX + HEAD_BYTES_MAX);
const _: () = assert!(LINK_FRAME_BYTES_MAX as usize > limits::REPLY_BYTES_MAX + 1024);

/// The epoch of execution under which something was said. Later ones are greater, whoever leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The leader's term.
    pub term: Term,
    /// Its epoch.
    pub epoch: Epoch,
}

/// From a member to its leader. What carries a tag is dropped unless just that epoch is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToLeader {
    /// A write of a session that has its lane at the member.
    Submit {
        /// The epoch that the member knows to be open.
        tag: Tag,
        /// Comes back with the answer.
        token: u64,
        /// The write.
        request: Arc<Request>,
    },
    /// A client wants a session.
    OpenSession {
        /// The epoch that the member knows to be open.
        tag: Tag,
        /// Comes back with the answer.
        token: u64,
        /// What it is opened with: the timeout within the limits, and the identities ascending, each once.
        opening: Opening,
    },
    /// A client has shown that it lives.
    Heartbeat {
        /// The epoch that the member knows to be open.
        tag: Tag,
        /// Comes back with the answer.
        token: u64,
        /// The session.
        session: SessionId,
    },
    /// Up to which index of the log must be applied what is read now?
    ReadIndex {
        /// Comes back with the answer.
        question: u64,
    },
    /// How much room the member's disk has. About once a second; not answered.
    Room {
        /// Bytes that may still be written.
        free_bytes: u64,
        /// Bytes below which the tree is not to grow.
        refused_below_bytes: u64,
        /// Bytes from which on it may grow again.
        taken_from_bytes: u64,
    },
}

/// From the leader to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToMember {
    /// This epoch is open: all that is unanswered is to be sent (again).
    Open(Tag),
    /// This epoch has ended.
    Closed(Tag),
    /// An answer that comes with no log entry.
    Answer {
        /// The last transaction that the leader had applied: the answer counts once the member has, too.
        zxid: Zxid,
        /// Who asked.
        token: u64,
        /// The answer.
        answer: Answer,
    },
    /// Everything that was acknowledged before the question is applied where this index of the log is.
    ReadIndex {
        /// The question.
        question: u64,
        /// The index, or why there is none.
        index: Result<u64, Refusal>,
    },
}

/// What the leader says of a request without a log entry, to another member or to its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The write was executed before: its reply, and the transaction that made it.
    Kept {
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// The transaction.
        zxid: Zxid,
        /// The encoded reply.
        reply: Bytes,
    },
    /// The write is a call that waits.
    Parked {
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
    },
    /// The write was not executed.
    Refused {
        /// The session.
        session: SessionId,
        /// The write.
        write: WriteNumber,
        /// Why.
        refusal: Refusal,
    },
    /// A session is open, or not.
    Opened(Result<SessionId, Refusal>),
    /// A quorum has confirmed the leader after it heard of the session.
    Confirmed {
        /// The session.
        session: SessionId,
        /// Whether it lives.
        is_live: bool,
    },
    /// The heartbeat could not be confirmed.
    Unconfirmed {
        /// The session.
        session: SessionId,
        /// Why.
        refusal: Refusal,
    },
}

impl Tag {
    fn write(self, writer: &mut Writer) {
        writer.u64(self.term.0);
        writer.u64(self.epoch.0);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self { term: Term(reader.u64("term")?), epoch: Epoch(reader.u64("epoch")?) })
    }
}

impl ToLeader {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Submit { tag, token, request } => {
                writer.u8(0x01);
                tag.write(&mut writer);
                writer.u64(*token);
                writer.u64(request.session.0);
                writer.u64(request.write.0);
                writer.u128(request.hash);
                request.acks.write(&mut writer);
                write_address(&mut writer, request.address);
                writer.raw(&body::encode(&request.body));
            }
            Self::OpenSession { tag, token, opening } => {
                writer.u8(0x02);
                tag.write(&mut writer);
                writer.u64(*token);
                writer.u64(opening.timeout_ms);
                writer.raw(&opening.secret_hash);
                writer.text(&opening.principal);
                Held::write_all(&opening.identities, &mut writer);
            }
            Self::Heartbeat { tag, token, session } => {
                writer.u8(0x03);
                tag.write(&mut writer);
                writer.u64(*token);
                writer.u64(session.0);
            }
            Self::ReadIndex { question } => {
                writer.u8(0x04);
                writer.u64(*question);
            }
            Self::Room { free_bytes, refused_below_bytes, taken_from_bytes } => {
                writer.u8(0x05);
                writer.u64(*free_bytes);
                writer.u64(*refused_below_bytes);
                writer.u64(*taken_from_bytes);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything that is not one message.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "message to the leader";
        let mut reader = Reader::new(frame);
        let message = match reader.u8(WHAT)? {
            0x01 => {
                let tag = Tag::read(&mut reader)?;
                let token = reader.u64("token")?;
                let request = Request {
                    session: SessionId(reader.u64("session")?),
                    write: WriteNumber(reader.u64("write number")?),
                    hash: reader.u128("hash")?,
                    acks: Acks::read(&mut reader)?,
                    address: read_address(&mut reader)?,
                    body: body::decode_from_member(reader.rest())?,
                };
                return Ok(Self::Submit { tag, token, request: Arc::new(request) });
            }
            0x02 => Self::OpenSession {
                tag: Tag::read(&mut reader)?,
                token: reader.u64("token")?,
                opening: Opening {
                    timeout_ms: reader.u64("timeout")?,
                    secret_hash: reader.array("hash of a secret")?,
                    principal: principal(&mut reader)?,
                    identities: Held::read_all(&mut reader)?,
                },
            },
            0x03 => Self::Heartbeat {
                tag: Tag::read(&mut reader)?,
                token: reader.u64("token")?,
                session: SessionId(reader.u64("session")?),
            },
            0x04 => Self::ReadIndex { question: reader.u64("question")? },
            0x05 => Self::Room {
                free_bytes: reader.u64("free bytes")?,
                refused_below_bytes: reader.u64("bytes of a reserve")?,
                taken_from_bytes: reader.u64("bytes of a reserve")?,
            },
            _ => return Err(malformed("message kind")),
        };
        reader.finish(WHAT)?;
        Ok(message)
    }
}

/// The address of a client: bytes of it (0 for none, 4, 16), then they.
pub(crate) fn write_address(writer: &mut Writer, address: Option<IpAddr>) {
    match address {
        None => writer.bytes(&[]),
        Some(IpAddr::V4(address)) => writer.bytes(&address.octets()),
        Some(IpAddr::V6(address)) => writer.bytes(&address.octets()),
    }
}

pub(crate) fn read_address(reader: &mut Reader) -> Result<Option<IpAddr>, Malformed> {
    const WHAT: &str = "address of a client";
    let octets = reader.bytes(WHAT)?;
    if let Ok(octets) = <[u8; 4]>::try_from(&octets[..]) {
        return Ok(Some(IpAddr::from(octets)));
    }
    match <[u8; 16]>::try_from(&octets[..]) {
        Ok(octets) => Ok(Some(IpAddr::from(octets))),
        Err(_) if octets.is_empty() => Ok(None),
        Err(_) => Err(malformed(WHAT)),
    }
}

fn principal(reader: &mut Reader) -> Result<String, Malformed> {
    let principal = reader.text("principal")?;
    let is_short = principal.len() <= limits::PRINCIPAL_BYTES_MAX;
    if is_short { Ok(principal) } else { Err(malformed("principal")) }
}

impl ToMember {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Open(tag) => {
                writer.u8(0x81);
                tag.write(&mut writer);
            }
            Self::Closed(tag) => {
                writer.u8(0x82);
                tag.write(&mut writer);
            }
            Self::Answer { zxid, token, answer } => {
                writer.u8(0x83);
                writer.u64(zxid.0);
                writer.u64(*token);
                answer.write(&mut writer);
            }
            Self::ReadIndex { question, index } => {
                writer.u8(0x84);
                writer.u64(*question);
                write_result(&mut writer, index);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything that is not one message.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "message from the leader";
        let mut reader = Reader::new(frame);
        let message = match reader.u8(WHAT)? {
            0x81 => Self::Open(Tag::read(&mut reader)?),
            0x82 => Self::Closed(Tag::read(&mut reader)?),
            0x83 => {
                let zxid = Zxid(reader.u64("zxid")?);
                let token = reader.u64("token")?;
                return Ok(Self::Answer { zxid, token, answer: Answer::read(reader)? });
            }
            0x84 => Self::ReadIndex {
                question: reader.u64("question")?,
                index: read_result(&mut reader)?,
            },
            _ => return Err(malformed("message kind")),
        };
        reader.finish(WHAT)?;
        Ok(message)
    }
}

impl Answer {
    /// The session that asked, but for an opening.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Kept { session, .. }
            | Self::Parked { session, .. }
            | Self::Refused { session, .. }
            | Self::Confirmed { session, .. }
            | Self::Unconfirmed { session, .. } => Some(*session),
            Self::Opened(_) => None,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Kept { session, write, zxid, reply } => {
                writer.u8(0);
                writer.u64(session.0);
                writer.u64(write.0);
                writer.u64(zxid.0);
                writer.raw(reply);
            }
            Self::Parked { session, write } => {
                writer.u8(1);
                writer.u64(session.0);
                writer.u64(write.0);
            }
            Self::Refused { session, write, refusal } => {
                writer.u8(2);
                writer.u64(session.0);
                writer.u64(write.0);
                write_refusal(writer, refusal);
            }
            Self::Opened(session) => {
                writer.u8(3);
                write_result(
                    writer,
                    &session.as_ref().map(|session| session.0).map_err(Clone::clone),
                );
            }
            Self::Confirmed { session, is_live } => {
                writer.u8(4);
                writer.u64(session.0);
                writer.bool(*is_live);
            }
            Self::Unconfirmed { session, refusal } => {
                writer.u8(5);
                writer.u64(session.0);
                write_refusal(writer, refusal);
            }
        }
    }

    fn read(mut reader: Reader) -> Result<Self, Malformed> {
        let session = |reader: &mut Reader| reader.u64("session").map(SessionId);
        let write = |reader: &mut Reader| reader.u64("write number").map(WriteNumber);
        let answer = match reader.u8("answer")? {
            0 => {
                let (session, write) = (session(&mut reader)?, write(&mut reader)?);
                let zxid = Zxid(reader.u64("zxid")?);
                return Ok(Self::Kept { session, write, zxid, reply: reader.rest() });
            }
            1 => Self::Parked { session: session(&mut reader)?, write: write(&mut reader)? },
            2 => Self::Refused {
                session: session(&mut reader)?,
                write: write(&mut reader)?,
                refusal: read_refusal(&mut reader)?,
            },
            3 => Self::Opened(read_result(&mut reader)?.map(SessionId)),
            4 => {
                Self::Confirmed { session: session(&mut reader)?, is_live: reader.bool("is live")? }
            }
            5 => Self::Unconfirmed {
                session: session(&mut reader)?,
                refusal: read_refusal(&mut reader)?,
            },
            _ => return Err(malformed("kind of an answer")),
        };
        reader.finish("answer")?;
        Ok(answer)
    }
}

fn write_result(writer: &mut Writer, result: &Result<u64, Refusal>) {
    match result {
        Ok(number) => {
            writer.u8(0);
            writer.u64(*number);
        }
        Err(refusal) => {
            writer.u8(1);
            write_refusal(writer, refusal);
        }
    }
}

fn read_result(reader: &mut Reader) -> Result<Result<u64, Refusal>, Malformed> {
    Ok(match reader.u8("result")? {
        0 => Ok(reader.u64("number")?),
        1 => Err(read_refusal(reader)?),
        _ => return Err(malformed("result")),
    })
}
