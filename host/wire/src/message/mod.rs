//! What a client and a member say to each other on a lane: one message a frame. docs/protocol.md shows it byte by byte.
//!
//! The first byte of a frame is its kind: below 0x80 from the client, above from the member. Numbers are minimal LEB128,
//! texts and byte strings carry their length, and nothing may follow the last field.

use bytes::Bytes;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{NamespaceId, SessionId, WriteNumber, Zxid};
use quorate_core::limits;
use quorate_core::session::Acks;

pub mod access;
pub mod admin;
pub mod body;
pub mod bulk;
pub mod credential;
pub mod query;
pub mod scan;
pub mod watch;
pub mod whoami;

pub use access::{AccessQuery, AccessResults};
pub use credential::Credential;
pub use query::{Consistency, Query, Results};

use crate::protocol::Versions;

/// The protocols with clients that this version speaks.
pub const PROTOCOLS: Versions = Versions { min: 1, max: 1 };
/// First bytes of a client's first frame: what a stranger on this port does not send.
pub const MAGIC: [u8; 4] = *b"QRT1";
/// Bytes of one frame on a lane, both ways: the largest reply and its head. What is larger goes on a stream of its own.
pub const LANE_FRAME_BYTES_MAX: u32 = 2 * 1024 * 1024;
const _: () = assert!(LANE_FRAME_BYTES_MAX as usize > limits::REPLY_BYTES_MAX + 1024);
/// Kind of a client's first frame.
const HELLO: u8 = 0x01;
/// Bytes of a client's or server's own description of itself.
const AGENT_BYTES_MAX: usize = 256;
/// Addresses at which the service is reached, in one message.
pub const MEMBERS_MAX: usize = 64;

/// From the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first frame of a lane.
    Hello(Hello),
    /// A numbered write.
    Write {
        /// Matches the reply to its request; chosen by the client.
        request: u64,
        /// Its number in the session.
        write: WriteNumber,
        /// Replies that the client has got.
        acks: Acks,
        /// The encoded body: see [`body`].
        body: Bytes,
    },
    /// A numbered write whose body comes on a bulk stream. It takes its place in the order when its last byte is there.
    BulkWrite {
        /// Matches the reply to its request.
        request: u64,
        /// Its number in the session.
        write: WriteNumber,
        /// Replies that the client has got.
        acks: Acks,
        /// The number at the head of the bulk stream.
        bulk: u64,
        /// Bytes of the body.
        bytes: u64,
    },
    /// A read.
    Read {
        /// Matches the reply to its request.
        request: u64,
        /// How fresh the answer must be.
        consistency: Consistency,
        /// What is asked.
        query: Query,
    },
    /// A sign of life, answered only with the leader's confirmation.
    Heartbeat {
        /// Matches the confirmation.
        request: u64,
    },
    /// A command to the cluster. The first frame of a lane that belongs to no session, and all others of it.
    Administer {
        /// Matches the answer.
        request: u64,
        /// What shows who gives it, beside the certificate of the connection.
        credentials: Vec<Credential>,
        /// What is asked.
        command: admin::Command,
    },
}

/// The first frame of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Protocols that the client speaks.
    pub protocols: Versions,
    /// The namespace.
    pub namespace: NamespaceId,
    /// Name and version of the client, for logs.
    pub agent: String,
    /// A new session or an old one.
    pub attach: Attach,
}

/// Which session a lane belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attach {
    /// Open one.
    New {
        /// Milliseconds without a heartbeat after which it expires. 0: the server's default.
        timeout_ms: u64,
        /// What shows who the client is, beside the certificate of its connection; at most [`credential::CREDENTIALS_MAX`].
        credentials: Vec<Credential>,
    },
    /// Go on with one.
    Resume {
        /// Which.
        session: SessionId,
        /// Its secret.
        secret: [u8; limits::SECRET_BYTES],
        /// The highest write that its client has ever sent, to any member; `u64::MAX`: it does not know. Copies of the
        /// writes up to it may be on their way through other members: see docs/protocol.md.
        sent: WriteNumber,
    },
}

/// From the member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// The lane is attached to a session.
    Welcome(Welcome),
    /// The lane is not attached; the member closes it.
    Rejected(Refusal),
    /// What a write did. Kept until it is acknowledged.
    Reply {
        /// The request.
        request: u64,
        /// The transaction.
        zxid: Zxid,
        /// Number of the last event that was queued for this session before this reply.
        events: u64,
        /// The encoded `Reply`.
        reply: Bytes,
    },
    /// A write was not executed, and has consumed no number.
    NotExecuted {
        /// The request.
        request: u64,
        /// Why.
        refusal: Refusal,
    },
    /// What a read found.
    ReadReply {
        /// The request.
        request: u64,
        /// The last transaction that it reflects.
        zxid: Zxid,
        /// Number of the last event that was queued for this session before this reply.
        events: u64,
        /// The results, or why there are none.
        results: Result<Results, Refusal>,
    },
    /// The leader has heard of the session since the heartbeat was sent.
    Confirmed {
        /// The heartbeat.
        request: u64,
    },
    /// A heartbeat that could not be confirmed, or a session that is over.
    Unconfirmed {
        /// The heartbeat.
        request: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The member ends the lane; the session lives on.
    Goodbye(Refusal),
    /// The service is reached at these addresses from now on: instead of those in the welcome.
    Members(Vec<String>),
    /// What came of a command.
    Administered {
        /// The request.
        request: u64,
        /// What came of it.
        outcome: Result<admin::Outcome, Refusal>,
    },
}

/// A session's lane begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol that is spoken from here on.
    pub protocol: u32,
    /// Name and version of the server.
    pub agent: String,
    /// The session.
    pub session: SessionId,
    /// Its secret.
    pub secret: [u8; limits::SECRET_BYTES],
    /// Milliseconds, as granted.
    pub timeout_ms: u64,
    /// Counts the session's attachments: only the highest counts.
    pub attachment: u64,
    /// The last transaction applied here.
    pub zxid: Zxid,
    /// The last write of the session that was executed, as far as this member has applied.
    pub last_write: WriteNumber,
    /// Addresses at which the service can be reached.
    pub members: Vec<String>,
}

impl ClientMessage {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Hello(hello) => {
                writer.u8(HELLO);
                hello.write(&mut writer);
            }
            Self::Write { request, write, acks, body } => {
                writer.u8(0x02);
                writer.u64(*request);
                writer.u64(write.0);
                acks.write(&mut writer);
                writer.raw(body);
            }
            Self::BulkWrite { request, write, acks, bulk, bytes } => {
                writer.u8(0x03);
                writer.u64(*request);
                writer.u64(write.0);
                acks.write(&mut writer);
                writer.u64(*bulk);
                writer.u64(*bytes);
            }
            Self::Read { request, consistency, query } => {
                writer.u8(0x04);
                writer.u64(*request);
                writer.u8(consistency.number());
                query.write(&mut writer);
            }
            Self::Heartbeat { request } => {
                writer.u8(0x05);
                writer.u64(*request);
            }
            Self::Administer { request, credentials, command } => {
                writer.u8(0x10);
                writer.raw(&MAGIC);
                writer.u64(u64::from(PROTOCOLS.max));
                writer.u64(*request);
                credential::write_all(&mut writer, credentials);
                command.write(&mut writer);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything that is not one message.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "client message";
        let mut reader = Reader::new(frame);
        let message = match reader.u8(WHAT)? {
            HELLO => Self::Hello(Hello::read(&mut reader)?),
            0x02 => {
                let request = reader.u64("request id")?;
                let write = WriteNumber(reader.u64("write number")?);
                let acks = Acks::read(&mut reader)?;
                return Ok(Self::Write { request, write, acks, body: reader.rest() });
            }
            0x03 => Self::BulkWrite {
                request: reader.u64("request id")?,
                write: WriteNumber(reader.u64("write number")?),
                acks: Acks::read(&mut reader)?,
                bulk: reader.u64("bulk number")?,
                bytes: reader.u64("bulk bytes")?,
            },
            0x04 => Self::Read {
                request: reader.u64("request id")?,
                consistency: Consistency::from_number(reader.u8("consistency")?)?,
                query: Query::read(&mut reader)?,
            },
            0x05 => Self::Heartbeat { request: reader.u64("request id")? },
            0x10 => {
                if reader.array::<4>("magic")? != MAGIC {
                    return Err(malformed("magic"));
                }
                if !PROTOCOLS.has(reader.u32("protocol")?) {
                    return Err(malformed("protocol of a command to the cluster"));
                }
                Self::Administer {
                    request: reader.u64("request id")?,
                    credentials: credential::read_all(&mut reader)?,
                    command: admin::Command::read(&mut reader)?,
                }
            }
            _ => return Err(malformed("message kind")),
        };
        reader.finish(WHAT)?;
        Ok(message)
    }
}

/// The protocols that a client states in the first frame of a session's lane, whatever follows in it: the first bytes are
/// the same in all versions. None for another frame.
#[must_use]
pub fn protocols(first: &Bytes) -> Option<Versions> {
    let mut reader = Reader::new(first.strip_prefix(&[HELLO]).map(|rest| first.slice_ref(rest))?);
    (reader.array::<4>("magic") == Ok(MAGIC)).then(|| Versions::read(&mut reader).ok()).flatten()
}

impl Hello {
    fn write(&self, writer: &mut Writer) {
        writer.raw(&MAGIC);
        writer.u64(u64::from(self.protocols.min));
        writer.u64(u64::from(self.protocols.max));
        writer.u64(u64::from(self.namespace.0));
        writer.text(&self.agent);
        match &self.attach {
            Attach::New { timeout_ms, credentials } => {
                writer.u8(0);
                writer.u64(*timeout_ms);
                credential::write_all(writer, credentials);
            }
            Attach::Resume { session, secret, sent } => {
                writer.u8(1);
                writer.u64(session.0);
                writer.raw(secret);
                writer.u64(sent.0);
            }
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        if reader.array::<4>("magic")? != MAGIC {
            return Err(malformed("magic"));
        }
        Ok(Self {
            protocols: Versions::read(reader)?,
            namespace: NamespaceId(reader.u32("namespace")?),
            agent: agent(reader)?,
            attach: match reader.u8("attach")? {
                0 => Attach::New {
                    timeout_ms: reader.u64("timeout")?,
                    credentials: credential::read_all(reader)?,
                },
                1 => Attach::Resume {
                    session: SessionId(reader.u64("session")?),
                    secret: reader.array("secret")?,
                    sent: WriteNumber(reader.u64("write number")?),
                },
                _ => return Err(malformed("attach")),
            },
        })
    }
}

fn agent(reader: &mut Reader) -> Result<String, Malformed> {
    let agent = reader.text("agent")?;
    if agent.len() > AGENT_BYTES_MAX { Err(malformed("agent")) } else { Ok(agent) }
}

impl ServerMessage {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        match self {
            Self::Welcome(welcome) => {
                writer.u8(0x81);
                welcome.write(&mut writer);
            }
            Self::Rejected(refusal) => {
                writer.u8(0x82);
                write_refusal(&mut writer, refusal);
            }
            Self::Reply { request, zxid, events, reply } => {
                writer.u8(0x83);
                writer.u64(*request);
                writer.u64(zxid.0);
                writer.u64(*events);
                writer.raw(reply);
            }
            Self::NotExecuted { request, refusal } => {
                writer.u8(0x84);
                writer.u64(*request);
                write_refusal(&mut writer, refusal);
            }
            Self::ReadReply { request, zxid, events, results } => {
                writer.u8(0x85);
                writer.u64(*request);
                writer.u64(zxid.0);
                writer.u64(*events);
                match results {
                    Ok(results) => {
                        writer.u8(0);
                        results.write(&mut writer);
                    }
                    Err(refusal) => {
                        writer.u8(1);
                        write_refusal(&mut writer, refusal);
                    }
                }
            }
            Self::Confirmed { request } => {
                writer.u8(0x86);
                writer.u64(*request);
            }
            Self::Unconfirmed { request, refusal } => {
                writer.u8(0x87);
                writer.u64(*request);
                write_refusal(&mut writer, refusal);
            }
            Self::Goodbye(refusal) => {
                writer.u8(0x88);
                write_refusal(&mut writer, refusal);
            }
            Self::Members(members) => {
                writer.u8(0x89);
                write_members(&mut writer, members);
            }
            Self::Administered { request, outcome } => {
                writer.u8(0x90);
                writer.u64(*request);
                admin::write_outcome(&mut writer, outcome);
            }
        }
        writer.finish()
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// For anything that is not one message.
    pub fn decode(frame: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "server message";
        let mut reader = Reader::new(frame);
        let message = match reader.u8(WHAT)? {
            0x81 => Self::Welcome(Welcome::read(&mut reader)?),
            0x82 => Self::Rejected(read_refusal(&mut reader)?),
            0x83 => {
                let request = reader.u64("request id")?;
                let zxid = Zxid(reader.u64("zxid")?);
                let events = reader.u64("event number")?;
                return Ok(Self::Reply { request, zxid, events, reply: reader.rest() });
            }
            0x84 => Self::NotExecuted {
                request: reader.u64("request id")?,
                refusal: read_refusal(&mut reader)?,
            },
            0x85 => Self::ReadReply {
                request: reader.u64("request id")?,
                zxid: Zxid(reader.u64("zxid")?),
                events: reader.u64("event number")?,
                results: match reader.u8("results")? {
                    0 => Ok(Results::read(&mut reader)?),
                    1 => Err(read_refusal(&mut reader)?),
                    _ => return Err(malformed("results")),
                },
            },
            0x86 => Self::Confirmed { request: reader.u64("request id")? },
            0x87 => Self::Unconfirmed {
                request: reader.u64("request id")?,
                refusal: read_refusal(&mut reader)?,
            },
            0x88 => Self::Goodbye(read_refusal(&mut reader)?),
            0x89 => Self::Members(read_members(&mut reader)?),
            0x90 => {
                let request = reader.u64("request id")?;
                Self::Administered { request, outcome: admin::read_outcome(&mut reader)? }
            }
            _ => return Err(malformed("message kind")),
        };
        reader.finish(WHAT)?;
        Ok(message)
    }
}

impl Welcome {
    fn write(&self, writer: &mut Writer) {
        writer.u64(u64::from(self.protocol));
        writer.text(&self.agent);
        writer.u64(self.session.0);
        writer.raw(&self.secret);
        writer.u64(self.timeout_ms);
        writer.u64(self.attachment);
        writer.u64(self.zxid.0);
        writer.u64(self.last_write.0);
        write_members(writer, &self.members);
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self {
            protocol: reader.u32("protocol")?,
            agent: agent(reader)?,
            session: SessionId(reader.u64("session")?),
            secret: reader.array("secret")?,
            timeout_ms: reader.u64("timeout")?,
            attachment: reader.u64("attachment")?,
            zxid: Zxid(reader.u64("zxid")?),
            last_write: WriteNumber(reader.u64("write number")?),
            members: read_members(reader)?,
        })
    }
}

fn write_members(writer: &mut Writer, members: &[String]) {
    writer.u64(members.len() as u64);
    for member in members {
        writer.text(member);
    }
}

fn read_members(reader: &mut Reader) -> Result<Vec<String>, Malformed> {
    (0..reader.count("members", MEMBERS_MAX)?).map(|_| reader.text("member")).collect()
}

/// Writes a code and its sentence.
pub fn write_refusal(writer: &mut Writer, refusal: &Refusal) {
    writer.u64(u64::from(refusal.code.number()));
    writer.text(&refusal.message);
}

/// Reads a code and its sentence.
///
/// # Errors
/// For a code that this version does not know.
pub fn read_refusal(reader: &mut Reader) -> Result<Refusal, Malformed> {
    let number = u16::try_from(reader.u64("error code")?).map_err(|_| malformed("error code"))?;
    let code =
        ErrorCode::from_number(number).ok_or(malformed("error code, unknown to this version"))?;
    Ok(Refusal { code, message: reader.text("error message")? })
}
