//! The body of a write: what is asked for. Its bytes are what a resend is compared by, but for credentials, of which not even a
//! hash of the bytes goes further than to the member that gets them.

use bytes::Bytes;
use quorate_core::access::{Acl, Held};
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::condition::Condition;
use quorate_core::deployment::Manifest;
use quorate_core::ids::WriteNumber;
use quorate_core::limits;
use quorate_core::query::Page;
use quorate_core::quota::Quota;
use quorate_core::request::{Body, Call, Chunk, Deploy, Fence, LifetimeKind, Operation, Sequence};

use sha2::{Digest as _, Sha256};

use super::access::{read_change, write_change};
use super::credential::Credential;
use super::{read_refusal, write_refusal};

/// Kind of a body with a credential: from clients only.
const CREDENTIAL: u8 = 0x20;
/// Kind of a body with what came of one: from members only.
const IDENTIFY: u8 = 0x80;

/// The hash by which a resend is told from another request: of SHA-256 the first 16 bytes. Not one for which a client can make
/// another body: what runs again later is known by it, and its caller's right is not asked again.
#[must_use]
pub fn hash(body: &[u8]) -> u128 {
    let whole: [u8; 32] = Sha256::digest(body).into();
    let mut first = [0; 16];
    first.copy_from_slice(&whole[..16]);
    u128::from_le_bytes(first)
}

/// The body's bytes.
#[must_use]
pub fn encode(body: &Body) -> Bytes {
    let mut writer = Writer::new();
    match body {
        Body::Single(operation) => {
            writer.u8(0);
            write_operation(&mut writer, operation);
        }
        Body::Multi(operations) => {
            writer.u8(1);
            writer.u64(operations.len() as u64);
            for operation in operations {
                write_operation(&mut writer, operation);
            }
        }
        Body::Cancel(write) => {
            writer.u8(2);
            writer.u64(write.0);
        }
        Body::CloseSession => writer.u8(3),
        Body::StoreChunk(chunk) => {
            writer.u8(4);
            writer.raw(&chunk.component);
            writer.u64(u64::from(chunk.index));
            writer.u64(chunk.total_bytes);
            writer.bytes(&chunk.bytes);
        }
        Body::Deploy(deploy) => {
            writer.u8(5);
            writer.text(&deploy.recipe);
            writer.raw(&deploy.component);
            writer.bytes(&deploy.manifest.encode());
            writer.bool(deploy.breaking_allowed);
        }
        Body::Rollback { recipe, version } => {
            writer.u8(6);
            writer.text(recipe);
            writer.u64(*version);
        }
        Body::RemoveRecipe(recipe) => {
            writer.u8(7);
            writer.text(recipe);
        }
        Body::SetQuota { path, quota } => {
            writer.u8(40);
            writer.text(path);
            writer.option(quota.as_ref(), |writer, quota| quota.write(writer));
        }
        Body::Identify(shown) => {
            writer.u8(IDENTIFY);
            match shown {
                Ok(held) => {
                    writer.u8(0);
                    held.write(&mut writer);
                }
                Err(refusal) => {
                    writer.u8(1);
                    write_refusal(&mut writer, refusal);
                }
            }
        }
    }
    writer.finish()
}

/// The bytes of a body with which a client shows a credential on the lane of its session.
#[must_use]
pub fn encode_credential(credential: &Credential) -> Bytes {
    let mut writer = Writer::new();
    writer.u8(CREDENTIAL);
    credential.write(&mut writer);
    writer.finish()
}

/// What a client has sent as a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// What is asked, as it goes on to the leader.
    Body(Body),
    /// A credential, which goes no further: the member that gets it makes [`Body::Identify`] of it.
    Credential(Credential),
}

/// Reads a body as a member gets it from a client, who can not say who it is but by a credential.
///
/// # Errors
/// For anything else.
pub fn decode_from_client(bytes: Bytes) -> Result<FromClient, Malformed> {
    if bytes.first() != Some(&CREDENTIAL) {
        return decode(bytes).map(FromClient::Body);
    }
    let mut reader = Reader::new(bytes.slice(1..));
    let credential = Credential::read(&mut reader)?;
    reader.finish("credential")?;
    Ok(FromClient::Credential(credential))
}

/// Reads a body as a leader gets it from a member.
///
/// # Errors
/// For anything else.
pub fn decode_from_member(bytes: Bytes) -> Result<Body, Malformed> {
    const WHAT: &str = "identity that was shown";
    if bytes.first() != Some(&IDENTIFY) {
        return decode(bytes);
    }
    let mut reader = Reader::new(bytes.slice(1..));
    let shown = match reader.u8(WHAT)? {
        0 => Ok(Held::read(&mut reader)?),
        1 => Err(read_refusal(&mut reader)?),
        _ => return Err(malformed(WHAT)),
    };
    reader.finish(WHAT)?;
    Ok(Body::Identify(shown))
}

/// Reads a body of those that go from a client to the leader as they are.
///
/// # Errors
/// For anything that is not one.
pub fn decode(bytes: Bytes) -> Result<Body, Malformed> {
    let mut reader = Reader::new(bytes);
    let body = match reader.u8("body")? {
        0 => Body::Single(read_operation(&mut reader)?),
        1 => {
            let count = reader.count("operations of a multi", limits::MULTI_OPERATIONS_MAX)?;
            let mut operations = Vec::with_capacity(count.min(64));
            for _ in 0..count {
                operations.push(read_operation(&mut reader)?);
            }
            Body::Multi(operations)
        }
        2 => Body::Cancel(WriteNumber(reader.u64("write number")?)),
        3 => Body::CloseSession,
        4 => Body::StoreChunk(Chunk {
            component: reader.array("component digest")?,
            index: reader.u32("chunk index")?,
            total_bytes: reader.u64("component bytes")?,
            bytes: reader.bytes("chunk")?,
        }),
        5 => Body::Deploy(Deploy {
            recipe: reader.text("recipe name")?,
            component: reader.array("component digest")?,
            manifest: Manifest::decode(reader.bytes("manifest")?)?,
            breaking_allowed: reader.bool("breaking allowed")?,
        }),
        6 => {
            Body::Rollback { recipe: reader.text("recipe name")?, version: reader.u64("version")? }
        }
        7 => Body::RemoveRecipe(reader.text("recipe name")?),
        40 => Body::SetQuota {
            path: reader.text("path")?,
            quota: reader.option("quota", Quota::read)?,
        },
        _ => return Err(malformed("kind of a body")),
    };
    reader.finish("body")?;
    Ok(body)
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
fn write_operation(writer: &mut Writer, operation: &Operation) {
    match operation {
        Operation::Create { path, data, lifetime, sequence, parents, acl } => {
            writer.u8(0);
            writer.text(path);
            writer.bytes(data);
            write_lifetime(writer, *lifetime);
            writer.u8(match sequence {
                Sequence::None => 0,
                Sequence::Native => 1,
                Sequence::ZooKeeper => 2,
            });
            writer.bool(*parents);
            writer.option(acl.as_ref(), |writer, acl| acl.write(writer));
        }
        Operation::Set { path, data, condition } => {
            writer.u8(1);
            writer.text(path);
            writer.bytes(data);
            condition.write(writer);
        }
        Operation::Delete { path, condition } => {
            writer.u8(2);
            writer.text(path);
            condition.write(writer);
        }
        Operation::Check { path, condition } => {
            writer.u8(3);
            writer.text(path);
            condition.write(writer);
        }
        Operation::Call(call) => {
            writer.u8(4);
            write_call(writer, call);
        }
        Operation::SetAcl { path, acl, version, is_forced } => {
            writer.u8(20);
            writer.text(path);
            writer.option(acl.as_ref(), |writer, acl| acl.write(writer));
            writer.option(*version, Writer::u64);
            writer.bool(*is_forced);
        }
        Operation::Access { change, is_forced } => {
            writer.u8(21);
            write_change(writer, change);
            writer.bool(*is_forced);
        }
        Operation::CheckAbsent { path } => write_path(writer, 5, path),
        Operation::CreateOrGet { path, data, lifetime, parents, acl } => {
            writer.u8(6);
            write_wanted(writer, (path, data), *lifetime, *parents, acl.as_ref());
        }
        Operation::SetOrCreate { path, data, lifetime, parents, acl } => {
            writer.u8(7);
            write_wanted(writer, (path, data), *lifetime, *parents, acl.as_ref());
        }
        Operation::DeleteTree { path, condition } => {
            write_path(writer, 8, path);
            condition.write(writer);
        }
        Operation::Fence(Fence { recipe, node, token }) => {
            writer.u8(9);
            writer.text(recipe);
            writer.text(node);
            writer.u64(*token);
        }
        Operation::Get { path } => write_path(writer, 10, path),
        Operation::Stat { path } => write_path(writer, 11, path),
        Operation::Exists { path } => write_path(writer, 12, path),
        Operation::Children { path, page, with_data } => {
            write_path(writer, 13, path);
            page.write(writer);
            writer.bool(*with_data);
        }
    }
}

fn write_path(writer: &mut Writer, tag: u8, path: &str) {
    writer.u8(tag);
    writer.text(path);
}

fn write_wanted(
    writer: &mut Writer,
    (path, data): (&str, &Bytes),
    lifetime: LifetimeKind,
    parents: bool,
    acl: Option<&Acl>,
) {
    writer.text(path);
    writer.bytes(data);
    write_lifetime(writer, lifetime);
    writer.bool(parents);
    writer.option(acl, |writer, acl| acl.write(writer));
}

fn write_lifetime(writer: &mut Writer, lifetime: LifetimeKind) {
    match lifetime {
        LifetimeKind::Persistent => writer.u8(0),
        LifetimeKind::Ephemeral => writer.u8(1),
        LifetimeKind::CallOwned => writer.u8(2),
        LifetimeKind::Container => writer.u8(3),
        LifetimeKind::Ttl(ms) => {
            writer.u8(4);
            writer.u64(ms);
        }
    }
}

fn read_lifetime(reader: &mut Reader) -> Result<LifetimeKind, Malformed> {
    Ok(match reader.u8("lifetime")? {
        0 => LifetimeKind::Persistent,
        1 => LifetimeKind::Ephemeral,
        2 => LifetimeKind::CallOwned,
        3 => LifetimeKind::Container,
        4 => LifetimeKind::Ttl(reader.u64("milliseconds of a TTL")?),
        _ => return Err(malformed("lifetime")),
    })
}

fn read_operation(reader: &mut Reader) -> Result<Operation, Malformed> {
    Ok(match reader.u8("operation")? {
        0 => Operation::Create {
            path: reader.text("path")?,
            data: reader.bytes("data")?,
            lifetime: read_lifetime(reader)?,
            sequence: match reader.u8("sequence")? {
                0 => Sequence::None,
                1 => Sequence::Native,
                2 => Sequence::ZooKeeper,
                _ => return Err(malformed("sequence")),
            },
            parents: reader.bool("parents")?,
            acl: reader.option("access list", Acl::read)?,
        },
        1 => Operation::Set {
            path: reader.text("path")?,
            data: reader.bytes("data")?,
            condition: Condition::read(reader)?,
        },
        2 => Operation::Delete { path: reader.text("path")?, condition: Condition::read(reader)? },
        3 => Operation::Check { path: reader.text("path")?, condition: Condition::read(reader)? },
        4 => Operation::Call(read_call(reader)?),
        20 => Operation::SetAcl {
            path: reader.text("path")?,
            acl: reader.option("access list", Acl::read)?,
            version: reader.option("version", |reader| reader.u64("version"))?,
            is_forced: reader.bool("forced")?,
        },
        21 => Operation::Access { change: read_change(reader)?, is_forced: reader.bool("forced")? },
        5 => Operation::CheckAbsent { path: reader.text("path")? },
        6 => Operation::CreateOrGet {
            path: reader.text("path")?,
            data: reader.bytes("data")?,
            lifetime: read_lifetime(reader)?,
            parents: reader.bool("parents")?,
            acl: reader.option("access list", Acl::read)?,
        },
        7 => Operation::SetOrCreate {
            path: reader.text("path")?,
            data: reader.bytes("data")?,
            lifetime: read_lifetime(reader)?,
            parents: reader.bool("parents")?,
            acl: reader.option("access list", Acl::read)?,
        },
        8 => Operation::DeleteTree {
            path: reader.text("path")?,
            condition: Condition::read(reader)?,
        },
        9 => Operation::Fence(Fence {
            recipe: reader.text("recipe name")?,
            node: reader.text("path")?,
            token: reader.u64("token")?,
        }),
        10 => Operation::Get { path: reader.text("path")? },
        11 => Operation::Stat { path: reader.text("path")? },
        12 => Operation::Exists { path: reader.text("path")? },
        13 => Operation::Children {
            path: reader.text("path")?,
            page: Page::read(reader)?,
            with_data: reader.bool("with data")?,
        },
        _ => return Err(malformed("kind of an operation")),
    })
}

pub(super) fn write_call(writer: &mut Writer, call: &Call) {
    writer.text(&call.recipe);
    writer.text(&call.function);
    writer.u128(call.signature);
    writer.bytes(&call.arguments);
}

pub(super) fn read_call(reader: &mut Reader) -> Result<Call, Malformed> {
    Ok(Call {
        recipe: reader.text("recipe name")?,
        function: reader.text("function name")?,
        signature: reader.u128("signature")?,
        arguments: reader.bytes("arguments")?,
    })
}
