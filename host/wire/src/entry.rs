//! The bytes of a log entry, as raft replicates and stores them. It does not know raft's own entries (blank, membership),
//! nor whether an entry will be taken or discarded.
//!
//! Numbers are minimal LEB128, `u128` is 16 bytes little endian, texts and bytes have their length before them, lists
//! their count, options 0 or 1 (`quorate_core::codec`). An entry has one byte form:
//!
//! ```text
//! entry        version: u8 = 1, namespace: u32, term, epoch, body
//! body         0: barrier
//!              1: base (zxid), transactions: 1 to BATCH_TRANSACTIONS_MAX of transaction
//! transaction  zxid, time (ms), origin, changes: up to TRANSACTION_CHANGES_MAX of change, outcome
//!              zxids are dense from base + 1, times do not go back
//! origin       0: the host
//!              1: session, write, hash: u128, acks (low, then ranges of from and to)
//!              2: session, write, hash: u128
//! outcome      0: nobody waits
//!              1: reply: bytes
//!              2: hash: u128, deadline: option of ms, recipe: text, version, state: bytes
//! change    0x01: path: text, data: bytes, lifetime, own      znode created
//!           0x02: path, data, version, previous (zxid), own   data set
//!           0x03: path, version, previous (zxid), own         znode deleted
//!           0x04: path                                        znode released by its call
//!           0x05: path, own                                   access list set
//!           0x10: timeout ms, secret hash: 32 bytes, principal: text, helds  session opened
//!           0x11: session, end (0 closed, 1 expired)          session ended
//!           0x12: session                                     session forgotten
//!           0x13: session, held                               identity added to a session
//!           0x20: component: 32 bytes, index: u32, bytes      chunk stored
//!           0x21: component: 32 bytes, size, chunks: u32      component stored
//!           0x22: session, component: 32 bytes               upload began
//!           0x23: session, component: 32 bytes               upload ended
//!           0x30: recipe: text, version record                version made
//!           0x31: recipe, version                             recipe activated
//!           0x32: recipe                                      recipe removed
//!           0x33: recipe, version                             version dropped
//!           0x40: level                                       feature level raised
//!           0x50: object, rules                               rules on an object set, or taken away
//!           0x51: stance (0 open, 1 deny)                     stance set
//! helds        list of held, ascending by identity, each once
//! held         identity, expires: option of ms
//! identity     scheme (0 world, 1 auth, 2 digest, 3 ip, 4 x509, 5 token, 6 super), id: text
//! own          option of the znode's own access list: up to ACL_ENTRIES_MAX of (permissions, identity)
//! object       kind (0 cluster, 1 every recipe, 2 recipe, 3 subtree), name: text
//! rules        up to RULES_PER_OBJECT_MAX of (identity, function: option of text, permissions)
//! lifetime     0: persistent, 1: session (ephemeral), 2: session, write (owned by that call)
//! ```
//!
//! Tags are frozen: a tag is never given another meaning, and a new field takes a new tag or a new version. A member
//! that meets an unknown version or tag can not go on; rolling upgrades write new ones only when all members read them.

use bytes::Bytes;
use quorate_core::access::{Acl, Held, Object, Rules, Stance};
use quorate_core::change::Change;
use quorate_core::codec::{Malformed, Reader, Writer, malformed};
use quorate_core::deployment::Version;
use quorate_core::ids::{Epoch, Millis, NamespaceId, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::quota::Quota;
use quorate_core::session::{Acks, End, Parked};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;

/// First byte of an entry that this version writes.
pub const VERSION: u8 = 1;

const BARRIER: u8 = 0;
const BATCH: u8 = 1;

const ORIGIN_HOST: u8 = 0;
const ORIGIN_WRITE: u8 = 1;
const ORIGIN_RERUN: u8 = 2;

const OUTCOME_NONE: u8 = 0;
const OUTCOME_REPLIED: u8 = 1;
const OUTCOME_PARKED: u8 = 2;

const NODE_CREATED: u8 = 0x01;
const DATA_SET: u8 = 0x02;
const NODE_DELETED: u8 = 0x03;
const NODE_RELEASED: u8 = 0x04;
const ACL_SET: u8 = 0x05;
const SESSION_OPENED: u8 = 0x10;
const SESSION_ENDED: u8 = 0x11;
const SESSION_FORGOTTEN: u8 = 0x12;
const IDENTITY_ADDED: u8 = 0x13;
const CHUNK_STORED: u8 = 0x20;
const COMPONENT_STORED: u8 = 0x21;
const UPLOAD_BEGAN: u8 = 0x22;
const UPLOAD_ENDED: u8 = 0x23;
const VERSION_MADE: u8 = 0x30;
const RECIPE_ACTIVATED: u8 = 0x31;
const RECIPE_REMOVED: u8 = 0x32;
const VERSION_DROPPED: u8 = 0x33;
const LEVEL_RAISED: u8 = 0x40;
const QUOTA_SET: u8 = 0x60;
const RULES_SET: u8 = 0x50;
const STANCE_SET: u8 = 0x51;

const END_CLOSED: u8 = 0;
const END_EXPIRED: u8 = 1;

/// The bytes of an entry of this namespace.
///
/// The entry must be one that [`decode`] gives back: transactions numbered densely from its base, times that do not go
/// back, no more of anything than `quorate_core::limits` allows.
#[must_use]
pub fn encode(namespace: NamespaceId, entry: &Entry) -> Bytes {
    let mut writer = Writer::with_capacity(32 + weight(entry));
    writer.u8(VERSION);
    writer.u64(u64::from(namespace.0));
    writer.u64(entry.term.0);
    writer.u64(entry.epoch.0);
    match &entry.body {
        EntryBody::Barrier => writer.u8(BARRIER),
        EntryBody::Batch { base, transactions } => {
            writer.u8(BATCH);
            writer.u64(base.0);
            writer.u64(transactions.len() as u64);
            for transaction in transactions {
                write_transaction(&mut writer, transaction);
            }
        }
    }
    writer.finish()
}

/// Reads an entry and the namespace that it belongs to. Payloads are slices of `bytes`; what is allocated besides is
/// bounded by a small multiple of their length.
///
/// # Errors
/// For bytes that [`encode`] does not write: unknown versions and tags, paths and numbers out of bounds, transactions
/// that are not numbered densely from the base, times that go back, trailing bytes.
pub fn decode(bytes: Bytes) -> Result<(NamespaceId, Entry), Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8("entry version")? != VERSION {
        return Err(malformed("entry version"));
    }
    let namespace = NamespaceId(reader.u32("entry namespace")?);
    let term = Term(reader.u64("entry term")?);
    let epoch = Epoch(reader.u64("entry epoch")?);
    let body = match reader.u8("entry body")? {
        BARRIER => EntryBody::Barrier,
        BATCH => read_batch(&mut reader)?,
        _ => return Err(malformed("entry body")),
    };
    reader.finish("end of an entry")?;
    Ok((namespace, Entry { term, epoch, body }))
}

/// About as many bytes as the entry takes: what its buffer is made with.
fn weight(entry: &Entry) -> usize {
    const TRANSACTION_HEAD: usize = 64;
    let EntryBody::Batch { transactions, .. } = &entry.body else { return 0 };
    let of_one = |transaction: &Transaction| {
        let outcome = match &transaction.outcome {
            Outcome::None => 0,
            Outcome::Replied(reply) => reply.len(),
            Outcome::Parked(parked) => parked.recipe.len() + parked.state.len(),
        };
        let changes: usize = transaction.changes.iter().map(Change::weight).sum();
        TRANSACTION_HEAD + outcome + changes
    };
    transactions.iter().map(of_one).sum()
}

fn read_batch(reader: &mut Reader) -> Result<EntryBody, Malformed> {
    let base = Zxid(reader.u64("base of a batch")?);
    let count = reader.count("transactions of a batch", limits::BATCH_TRANSACTIONS_MAX)?;
    if count == 0 {
        return Err(malformed("transactions of a batch"));
    }
    let mut transactions = Vec::with_capacity(count);
    let (mut zxid, mut time) = (base, Millis(0));
    for _ in 0..count {
        let transaction = read_transaction(reader)?;
        if zxid.0.checked_add(1) != Some(transaction.zxid.0) {
            return Err(malformed("zxid of a transaction"));
        }
        if transaction.time < time {
            return Err(malformed("time of a transaction"));
        }
        (zxid, time) = (transaction.zxid, transaction.time);
        transactions.push(transaction);
    }
    Ok(EntryBody::Batch { base, transactions })
}

fn write_transaction(writer: &mut Writer, transaction: &Transaction) {
    writer.u64(transaction.zxid.0);
    writer.u64(transaction.time.0);
    write_origin(writer, &transaction.origin);
    writer.u64(transaction.changes.len() as u64);
    for change in &transaction.changes {
        write_change(writer, change);
    }
    write_outcome(writer, &transaction.outcome);
}

fn read_transaction(reader: &mut Reader) -> Result<Transaction, Malformed> {
    let zxid = Zxid(reader.u64("zxid of a transaction")?);
    let time = Millis(reader.u64("time of a transaction")?);
    let origin = read_origin(reader)?;
    let count = reader.count("changes of a transaction", limits::TRANSACTION_CHANGES_MAX)?;
    // Grows with what is read: a change in memory is larger than the shortest one in bytes.
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(read_change(reader)?);
    }
    let outcome = read_outcome(reader)?;
    Ok(Transaction { zxid, time, origin, changes, outcome })
}

fn write_origin(writer: &mut Writer, origin: &Origin) {
    match origin {
        Origin::Host => writer.u8(ORIGIN_HOST),
        Origin::Write { session, write, hash, acks } => {
            writer.u8(ORIGIN_WRITE);
            writer.u64(session.0);
            writer.u64(write.0);
            writer.u128(*hash);
            acks.write(writer);
        }
        Origin::Rerun { session, write, hash } => {
            writer.u8(ORIGIN_RERUN);
            writer.u64(session.0);
            writer.u64(write.0);
            writer.u128(*hash);
        }
    }
}

fn read_origin(reader: &mut Reader) -> Result<Origin, Malformed> {
    const WHAT: &str = "origin of a transaction";
    let tag = reader.u8(WHAT)?;
    if tag == ORIGIN_HOST {
        return Ok(Origin::Host);
    }
    let session = SessionId(reader.u64(WHAT)?);
    let write = WriteNumber(reader.u64(WHAT)?);
    let hash = reader.u128(WHAT)?;
    match tag {
        ORIGIN_WRITE => Ok(Origin::Write { session, write, hash, acks: Acks::read(reader)? }),
        ORIGIN_RERUN => Ok(Origin::Rerun { session, write, hash }),
        _ => Err(malformed(WHAT)),
    }
}

fn write_outcome(writer: &mut Writer, outcome: &Outcome) {
    match outcome {
        Outcome::None => writer.u8(OUTCOME_NONE),
        Outcome::Replied(reply) => {
            writer.u8(OUTCOME_REPLIED);
            writer.bytes(reply);
        }
        Outcome::Parked(parked) => {
            writer.u8(OUTCOME_PARKED);
            parked.write(writer);
        }
    }
}

fn read_outcome(reader: &mut Reader) -> Result<Outcome, Malformed> {
    const WHAT: &str = "outcome of a transaction";
    match reader.u8(WHAT)? {
        OUTCOME_NONE => Ok(Outcome::None),
        OUTCOME_REPLIED => Ok(Outcome::Replied(reader.bytes(WHAT)?)),
        OUTCOME_PARKED => Ok(Outcome::Parked(Parked::read(reader)?)),
        _ => Err(malformed(WHAT)),
    }
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
fn write_change(writer: &mut Writer, change: &Change) {
    match change {
        Change::NodeCreated { path, data, lifetime, acl } => {
            tagged_text(writer, NODE_CREATED, path.as_str());
            writer.bytes(data);
            lifetime.write(writer);
            write_acl(writer, acl.as_ref());
        }
        Change::DataSet { path, data, version, previous, acl } => {
            tagged_text(writer, DATA_SET, path.as_str());
            writer.bytes(data);
            writer.u64(*version);
            writer.u64(previous.0);
            write_acl(writer, acl.as_ref());
        }
        Change::NodeDeleted { path, version, previous, acl } => {
            tagged_text(writer, NODE_DELETED, path.as_str());
            writer.u64(*version);
            writer.u64(previous.0);
            write_acl(writer, acl.as_ref());
        }
        Change::AclSet { path, acl } => {
            tagged_text(writer, ACL_SET, path.as_str());
            write_acl(writer, acl.as_ref());
        }
        Change::RulesSet { object, rules } => {
            writer.u8(RULES_SET);
            object.write(writer);
            rules.write(writer);
        }
        Change::StanceSet { stance } => {
            writer.u8(STANCE_SET);
            stance.write(writer);
        }
        Change::NodeReleased { path } => tagged_text(writer, NODE_RELEASED, path.as_str()),
        Change::SessionOpened { timeout_ms, secret_hash, principal, identities } => {
            writer.u8(SESSION_OPENED);
            writer.u64(*timeout_ms);
            writer.raw(secret_hash);
            writer.text(principal);
            Held::write_all(identities, writer);
        }
        Change::IdentityAdded { session, held } => {
            writer.u8(IDENTITY_ADDED);
            writer.u64(session.0);
            held.write(writer);
        }
        Change::SessionEnded { session, end } => {
            writer.u8(SESSION_ENDED);
            writer.u64(session.0);
            writer.u8(match end {
                End::Closed => END_CLOSED,
                End::Expired => END_EXPIRED,
            });
        }
        Change::SessionForgotten { session } => {
            writer.u8(SESSION_FORGOTTEN);
            writer.u64(session.0);
        }
        Change::ChunkStored { component, index, bytes } => {
            writer.u8(CHUNK_STORED);
            writer.raw(component);
            writer.u64(u64::from(*index));
            writer.bytes(bytes);
        }
        Change::ComponentStored { component, bytes, chunks } => {
            writer.u8(COMPONENT_STORED);
            writer.raw(component);
            writer.u64(*bytes);
            writer.u64(u64::from(*chunks));
        }
        Change::UploadBegan { session, component } => {
            tagged_upload(writer, UPLOAD_BEGAN, *session, component);
        }
        Change::UploadEnded { session, component } => {
            tagged_upload(writer, UPLOAD_ENDED, *session, component);
        }
        Change::VersionMade { recipe, version } => {
            tagged_text(writer, VERSION_MADE, recipe);
            version.write(writer);
        }
        Change::RecipeActivated { recipe, version } => {
            tagged_text(writer, RECIPE_ACTIVATED, recipe);
            writer.u64(*version);
        }
        Change::RecipeRemoved { recipe } => tagged_text(writer, RECIPE_REMOVED, recipe),
        Change::VersionDropped { recipe, version } => {
            tagged_text(writer, VERSION_DROPPED, recipe);
            writer.u64(*version);
        }
        Change::QuotaSet { path, quota } => {
            writer.u8(QUOTA_SET);
            writer.text(path.as_str());
            writer.option(quota.as_ref(), |writer, quota| quota.write(writer));
        }
        Change::LevelRaised { level } => {
            writer.u8(LEVEL_RAISED);
            writer.u64(u64::from(level.0));
        }
    }
}

fn tagged_text(writer: &mut Writer, tag: u8, text: &str) {
    writer.u8(tag);
    writer.text(text);
}

fn write_acl(writer: &mut Writer, acl: Option<&Acl>) {
    writer.option(acl, |writer, acl| acl.write(writer));
}

fn read_acl(reader: &mut Reader) -> Result<Option<Acl>, Malformed> {
    reader.option("access list in a change", Acl::read)
}

fn tagged_upload(writer: &mut Writer, tag: u8, session: SessionId, component: &[u8; 32]) {
    writer.u8(tag);
    writer.u64(session.0);
    writer.raw(component);
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind")]
fn read_change(reader: &mut Reader) -> Result<Change, Malformed> {
    const WHAT: &str = "change";
    Ok(match reader.u8(WHAT)? {
        NODE_CREATED => {
            let (path, data) = (read_path(reader)?, reader.bytes(WHAT)?);
            let lifetime = Lifetime::read(reader)?;
            Change::NodeCreated { path, data, lifetime, acl: read_acl(reader)? }
        }
        DATA_SET => Change::DataSet {
            path: read_path(reader)?,
            data: reader.bytes(WHAT)?,
            version: reader.u64(WHAT)?,
            previous: Zxid(reader.u64(WHAT)?),
            acl: read_acl(reader)?,
        },
        NODE_DELETED => Change::NodeDeleted {
            path: read_path(reader)?,
            version: reader.u64(WHAT)?,
            previous: Zxid(reader.u64(WHAT)?),
            acl: read_acl(reader)?,
        },
        ACL_SET => Change::AclSet { path: read_path(reader)?, acl: read_acl(reader)? },
        RULES_SET => {
            Change::RulesSet { object: Object::read(reader)?, rules: Rules::read(reader)? }
        }
        STANCE_SET => Change::StanceSet { stance: Stance::read(reader)? },
        NODE_RELEASED => Change::NodeReleased { path: read_path(reader)? },
        SESSION_OPENED => Change::SessionOpened {
            timeout_ms: reader.u64(WHAT)?,
            secret_hash: reader.array(WHAT)?,
            principal: reader.text(WHAT)?,
            identities: Held::read_all(reader)?,
        },
        IDENTITY_ADDED => Change::IdentityAdded {
            session: SessionId(reader.u64(WHAT)?),
            held: Held::read(reader)?,
        },
        SESSION_ENDED => {
            let session = SessionId(reader.u64(WHAT)?);
            let end = match reader.u8(WHAT)? {
                END_CLOSED => End::Closed,
                END_EXPIRED => End::Expired,
                _ => return Err(malformed("end of a session")),
            };
            Change::SessionEnded { session, end }
        }
        SESSION_FORGOTTEN => Change::SessionForgotten { session: SessionId(reader.u64(WHAT)?) },
        CHUNK_STORED => Change::ChunkStored {
            component: reader.array(WHAT)?,
            index: reader.u32(WHAT)?,
            bytes: reader.bytes(WHAT)?,
        },
        COMPONENT_STORED => Change::ComponentStored {
            component: reader.array(WHAT)?,
            bytes: reader.u64(WHAT)?,
            chunks: reader.u32(WHAT)?,
        },
        UPLOAD_BEGAN => Change::UploadBegan {
            session: SessionId(reader.u64(WHAT)?),
            component: reader.array(WHAT)?,
        },
        UPLOAD_ENDED => Change::UploadEnded {
            session: SessionId(reader.u64(WHAT)?),
            component: reader.array(WHAT)?,
        },
        VERSION_MADE => Change::VersionMade {
            recipe: reader.text(WHAT)?,
            version: Box::new(Version::read(reader)?),
        },
        RECIPE_ACTIVATED => {
            Change::RecipeActivated { recipe: reader.text(WHAT)?, version: reader.u64(WHAT)? }
        }
        RECIPE_REMOVED => Change::RecipeRemoved { recipe: reader.text(WHAT)? },
        VERSION_DROPPED => {
            Change::VersionDropped { recipe: reader.text(WHAT)?, version: reader.u64(WHAT)? }
        }
        QUOTA_SET => {
            Change::QuotaSet { path: read_path(reader)?, quota: reader.option(WHAT, Quota::read)? }
        }
        LEVEL_RAISED => Change::LevelRaised { level: Level(reader.u32(WHAT)?) },
        _ => return Err(malformed("tag of a change")),
    })
}

fn read_path(reader: &mut Reader) -> Result<Path, Malformed> {
    const WHAT: &str = "path in a change";
    Path::parse(&reader.text(WHAT)?).map_err(|_| malformed(WHAT))
}
