//! How a change rewrites the tree, and how an entry is taken or discarded. The leader runs the same code while it
//! executes, every member when the entry is committed: there is no second way to change the tree.
//!
//! A change that does not fit the tree can only come from a defect or a rotten disk. It panics: a member that has gone
//! astray must not go on (STYLE, Errors).

mod access;
mod below;
mod principals;
mod quotas;
mod reap;
mod recipes;

use bytes::Bytes;

use crate::change::Change;
use crate::deployment::Component;
use crate::draft::{Draft, Meta, ReadRecords};
use crate::ids::{Millis, SessionId, Term, WriteNumber, Zxid};
use crate::key;
use crate::path::Path;
use crate::principal::Holding;
use crate::read::{Direction, Read};
use crate::session::{Acks, End, KeptReply, Opening, Parked, Session};
use crate::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use crate::znode::{Lifetime, Node};

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Its transactions are in the draft.
    Taken,
    /// It changed nothing, here as on every other member.
    Discarded(Discard),
}

/// Why an entry was discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// It was executed under another term than the one in which it was committed.
    OtherTerm,
    /// Its epoch is not the one that the last barrier opened.
    OtherEpoch,
    /// It was executed on another state than the one that it meets.
    OtherBase,
}

/// Applies an entry that was committed in `committed_in`, or discards it whole.
pub fn entry<R: Read>(draft: &mut Draft<R>, entry: &Entry, committed_in: Term) -> Applied {
    let mut meta = draft.meta();
    if entry.term != committed_in {
        return Applied::Discarded(Discard::OtherTerm);
    }
    match &entry.body {
        EntryBody::Barrier => {
            if (entry.term, entry.epoch) <= (meta.term, meta.epoch) {
                return Applied::Discarded(Discard::OtherEpoch);
            }
            meta.term = entry.term;
            meta.epoch = entry.epoch;
            draft.put_meta(meta);
        }
        EntryBody::Batch { base, transactions } => {
            if (entry.term, entry.epoch) != (meta.term, meta.epoch) {
                return Applied::Discarded(Discard::OtherEpoch);
            }
            if *base != meta.zxid {
                return Applied::Discarded(Discard::OtherBase);
            }
            for transaction in transactions {
                assert_eq!(transaction.zxid, meta.zxid.next(), "zxids are dense");
                assert!(transaction.time >= meta.time, "transaction time does not go back");
                apply_transaction(draft, &mut meta, transaction);
            }
            draft.put_meta(meta);
        }
    }
    Applied::Taken
}

/// Puts the change of all writes so far into the digest. Once, when a draft is complete.
pub fn seal<R: Read>(draft: &mut Draft<R>) {
    let mut meta = draft.meta();
    meta.digest = meta.digest.wrapping_add(draft.digest_delta());
    draft.put_meta(meta);
}

fn apply_transaction<R: Read>(draft: &mut Draft<R>, meta: &mut Meta, transaction: &Transaction) {
    for one in &transaction.changes {
        change(draft, transaction.zxid, transaction.time, one);
    }
    complete(draft, meta, transaction);
}

/// What every transaction does once its changes are in: its bookkeeping, and where the tree stands now.
pub(crate) fn complete<R: Read>(draft: &mut Draft<R>, meta: &mut Meta, transaction: &Transaction) {
    bookkeeping(draft, transaction);
    for one in &transaction.changes {
        match one {
            Change::SessionOpened { .. } => meta.sessions_count += 1,
            Change::SessionEnded { .. } => meta.sessions_count -= 1,
            _ => {}
        }
    }
    meta.zxid = transaction.zxid;
    meta.time = transaction.time;
}

/// Applies one change. What it says of the data and the list before is for those who are told of it, and is not compared with
/// what is here: where they differ, the digests tell whose tree is wrong, and a leader whose tree is wrong must not end the others.
pub fn change<R: Read>(draft: &mut Draft<R>, zxid: Zxid, time: Millis, change: &Change) {
    match change {
        Change::NodeCreated { path, data, lifetime, acl } => {
            let mut node = Node::new(zxid, time, *lifetime, data);
            node.acl.clone_from(acl);
            node_created(draft, zxid, time, path, data, node)
        }
        Change::DataSet { path, data, .. } => {
            let before = expect_node_or_root(draft, path);
            data_set(draft, zxid, time, path, before, data);
        }
        Change::NodeDeleted { path, .. } => {
            let before = expect_node(draft, path);
            node_deleted(draft, zxid, time, path, before);
        }
        Change::AclSet { path, acl } => access::acl_set(draft, path, acl.as_ref()),
        Change::RulesSet { object, rules } => access::rules_set(draft, object, rules),
        Change::StanceSet { stance } => access::stance_set(draft, *stance),
        Change::NodeReleased { path } => node_released(draft, path),
        Change::SessionOpened { timeout_ms, secret_hash, principal, identities } => {
            let opening = Opening {
                timeout_ms: *timeout_ms,
                secret_hash: *secret_hash,
                principal: principal.clone(),
                identities: identities.clone(),
            };
            let session = Session::opened(opening, time);
            draft.put(key::session(key::session_id(zxid)), session.encode());
            principals::changed(draft, principal, Holding::Sessions, 1);
        }
        Change::IdentityAdded { session: id, held } => {
            let mut session = expect_session(draft, *id);
            session.add_identity(held.clone(), time);
            draft.put(key::session(*id), session.encode());
        }
        Change::SessionEnded { session, end } => session_ended(draft, time, *session, *end),
        Change::SessionForgotten { session } => session_forgotten(draft, *session),
        Change::UploadBegan { session, component } => {
            recipes::upload_began(draft, *session, component)
        }
        Change::UploadEnded { session, component } => {
            recipes::upload_ended(draft, *session, component)
        }
        Change::ChunkStored { component, index, bytes } => {
            draft.put(key::chunk(component, *index), bytes.clone());
        }
        Change::ComponentStored { component, bytes, chunks } => {
            let record = Component { bytes: *bytes, chunks: *chunks, versions_count: 0 };
            draft.put(key::component(component), record.encode());
        }
        Change::VersionMade { recipe, version } => {
            recipes::version_made(draft, zxid, recipe, version)
        }
        Change::VersionDropped { recipe, version } => {
            recipes::version_dropped(draft, recipe, *version)
        }
        Change::RecipeActivated { recipe, version } => {
            recipes::pointed(draft, zxid, recipe, Some(*version))
        }
        Change::RecipeRemoved { recipe } => recipes::pointed(draft, zxid, recipe, None),
        Change::QuotaSet { path, quota } => quotas::quota_set(draft, path, quota.as_ref()),
        Change::LevelRaised { level } => {
            let before = draft.level();
            assert!(*level > before, "a change raises the level from {before} to {level}");
            draft.put(key::level(), level.encode());
        }
    }
}

fn expect_node<R: Read>(draft: &Draft<R>, path: &Path) -> Node {
    draft
        .node(path)
        .unwrap_or_else(|| panic!("a change names the znode {path}, which is not there"))
}

fn expect_session<R: Read>(draft: &Draft<R>, id: SessionId) -> Session {
    draft.session(id).unwrap_or_else(|| panic!("a change names session {id}, which is not there"))
}

fn node_created<R: Read>(
    draft: &mut Draft<R>,
    zxid: Zxid,
    time: Millis,
    path: &Path,
    data: &Bytes,
    mut node: Node,
) {
    assert!(draft.node(path).is_none(), "a change creates the znode {path}, which is there");
    let lifetime = node.lifetime;
    reap::schedule(draft, path, &mut node, time);
    draft.put(key::node(path), node.encode());
    if !data.is_empty() {
        draft.put(key::data(path), data.clone());
    }
    if let Some(parent_path) = path.parent() {
        let mut parent = expect_node_or_root(draft, &parent_path);
        let name = path.name();
        if parent.children_count == 0 || name < parent.first_child_bound.as_str() {
            name.clone_into(&mut parent.first_child_bound);
        }
        parent.children_count += 1;
        parent.children_created += 1;
        parent.pzxid = zxid;
        reap::schedule(draft, &parent_path, &mut parent, time);
        draft.put(key::node(&parent_path), parent.encode());
    }
    below::changed(draft, path, 1, signed(node.data_bytes));
    quotas::written(draft, path, time);
    if let Some(session) = lifetime.session() {
        draft.put(key::owned(session, lifetime.call_write(), path), Bytes::new());
        let mut record = expect_session(draft, session);
        assert!(record.is_live(), "session {session} has ended and gets the znode {path}");
        record.owned_count += 1;
        record.owned_acl_bytes += node.acl_bytes();
        draft.put(key::session(session), record.encode());
        principals::changed(draft, &record.principal, Holding::Ephemerals, 1);
    }
}

/// The root is there from the beginning, without a transaction that made it.
fn expect_node_or_root<R: Read>(draft: &Draft<R>, path: &Path) -> Node {
    if path.is_root() { root(draft) } else { expect_node(draft, path) }
}

/// The root's record; before anything was created there it is all zeros.
pub(crate) fn root<R: Read + ?Sized>(read: &R) -> Node {
    let fresh = || Node::new(Zxid(0), Millis(0), Lifetime::Persistent, b"");
    read.node(&Path::root()).unwrap_or_else(fresh)
}

fn data_set<R: Read>(
    draft: &mut Draft<R>,
    zxid: Zxid,
    time: Millis,
    path: &Path,
    mut node: Node,
    data: &Bytes,
) {
    node.mzxid = zxid;
    node.mtime = time;
    node.version += 1;
    let bytes_before = node.data_bytes;
    node.data_bytes = data.len() as u64;
    below::changed(draft, path, 0, signed(node.data_bytes) - signed(bytes_before));
    node.data_hash = xxhash_rust::xxh3::xxh3_128(data);
    reap::schedule(draft, path, &mut node, time);
    draft.put(key::node(path), node.encode());
    quotas::written(draft, path, time);
    if data.is_empty() {
        draft.delete(key::data(path));
    } else {
        draft.put(key::data(path), data.clone());
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).expect("data, and what is counted, is bounded by limits far below")
}

fn node_deleted<R: Read>(draft: &mut Draft<R>, zxid: Zxid, time: Millis, path: &Path, node: Node) {
    assert_eq!(node.children_count, 0, "a change deletes the znode {path}, which has children");
    let parent_path = path.parent().expect("the root is never deleted: it is not `expect_node`'s");
    let mut parent = expect_node_or_root(draft, &parent_path);
    // Where the deleted child was the first, the bound moves up to it: the next look-up steps over this one tombstone.
    let from = key::child_slot(&parent_path, &parent.first_child_bound);
    let own = key::node(path);
    let is_first = draft.range(&from, &own, Direction::Forward).next().is_none();
    if is_first {
        path.name().clone_into(&mut parent.first_child_bound);
    }
    parent.children_count -= 1;
    parent.pzxid = zxid;
    reap::schedule(draft, &parent_path, &mut parent, time);
    draft.put(key::node(&parent_path), parent.encode());
    draft.delete(own);
    below::changed(draft, path, -1, -signed(node.data_bytes));
    if node.data_bytes > 0 {
        draft.delete(key::data(path));
    }
    if let Some(at) = node.reap_at {
        draft.delete(key::reap(at.0, path));
    }
    if let Some(session) = node.lifetime.session() {
        draft.delete(key::owned(session, node.lifetime.call_write(), path));
        let mut record = expect_session(draft, session);
        record.owned_count -= 1;
        record.owned_acl_bytes -= node.acl_bytes();
        draft.put(key::session(session), record.encode());
        principals::changed(draft, &record.principal, Holding::Ephemerals, -1);
    }
}

fn node_released<R: Read>(draft: &mut Draft<R>, path: &Path) {
    let mut node = expect_node(draft, path);
    let Lifetime::CallOwned(call) = node.lifetime else {
        panic!("a change releases the znode {path}, which no call owns");
    };
    node.lifetime = Lifetime::Ephemeral(call.session);
    draft.put(key::node(path), node.encode());
    draft.delete(key::owned(call.session, call.write, path));
    draft.put(key::owned(call.session, WriteNumber(0), path), Bytes::new());
}

fn session_ended<R: Read>(draft: &mut Draft<R>, time: Millis, id: SessionId, end: End) {
    let mut session = expect_session(draft, id);
    assert_eq!(session.owned_count, 0, "session {id} ends and leaves znodes behind");
    assert!(session.is_live(), "session {id} ends twice");
    assert!(draft.uploads(id).is_empty(), "session {id} ends and leaves an upload behind");
    for (write, _) in draft.parked_of(id) {
        draft.delete(key::parked(id, write));
    }
    principals::changed(
        draft,
        &session.principal,
        Holding::ParkedCalls,
        -signed(session.parked_count),
    );
    principals::changed(draft, &session.principal, Holding::Sessions, -1);
    session.parked_count = 0;
    session.ended = Some((time, end));
    draft.put(key::session(id), session.encode());
    draft.put(key::ended(time.0, id), Bytes::new());
}

fn session_forgotten<R: Read>(draft: &mut Draft<R>, id: SessionId) {
    let session = expect_session(draft, id);
    let (at, _) =
        session.ended.unwrap_or_else(|| panic!("session {id} is forgotten while it lives"));
    for (write, _) in draft.kept_replies(id, session.acked.next(), session.last_write) {
        draft.delete(key::reply(id, write));
    }
    draft.delete(key::ended(at.0, id));
    draft.delete(key::session(id));
}

/// What every transaction does beside its changes: numbers, acknowledgements, kept replies, parked calls (DESIGN D5).
fn bookkeeping<R: Read>(draft: &mut Draft<R>, transaction: &Transaction) {
    let Transaction { zxid, origin, changes, outcome, .. } = transaction;
    let (id, write, hash) = match origin {
        Origin::Host => return,
        Origin::Write { session, write, hash, .. } | Origin::Rerun { session, write, hash } => {
            (*session, *write, *hash)
        }
    };
    let mut session = expect_session(draft, id);
    assert!(
        session.is_live() || changes.iter().any(|one| ends(one, id)),
        "session {id} has ended and writes"
    );
    let parked_before = session.parked_count;
    match origin {
        Origin::Write { acks, .. } => {
            assert_eq!(write, session.last_write.next(), "writes of session {id} are dense");
            acknowledge(draft, id, &mut session, acks);
            session.last_write = write;
        }
        Origin::Rerun { .. } => {
            assert!(
                draft.parked(id, write).is_some(),
                "call {id}:{write} runs again and is not parked"
            );
            draft.delete(key::parked(id, write));
            session.parked_count -= 1;
        }
        Origin::Host => {}
    }
    match outcome {
        Outcome::None => {}
        Outcome::Replied(reply) => keep_reply(
            draft,
            id,
            write,
            &mut session,
            KeptReply { hash, zxid: *zxid, reply: reply.clone() },
        ),
        Outcome::Parked(parked) => park(draft, id, write, &mut session, parked),
    }
    let parked_more = signed(session.parked_count) - signed(parked_before);
    principals::changed(draft, &session.principal, Holding::ParkedCalls, parked_more);
    draft.put(key::session(id), session.encode());
}

fn ends(change: &Change, id: SessionId) -> bool {
    matches!(change, Change::SessionEnded { session, .. } if *session == id)
}

fn acknowledge<R: Read>(draft: &mut Draft<R>, id: SessionId, session: &mut Session, acks: &Acks) {
    let last = session.last_write;
    for (from, to) in acks.spans(session.acked, last) {
        for (write, kept) in draft.kept_replies(id, from, to) {
            session.kept_count -= 1;
            session.kept_bytes -= kept.reply.len() as u64;
            draft.delete(key::reply(id, write));
        }
    }
    session.acked = session.acked.max(acks.low.min(last));
}

/// Keeps a reply, unless it was acknowledged before it was there: a client that names a waiting call among what it has got
/// does not want the reply, and no later acknowledgement could free it.
fn keep_reply<R: Read>(
    draft: &mut Draft<R>,
    id: SessionId,
    write: WriteNumber,
    session: &mut Session,
    kept: KeptReply,
) {
    if write <= session.acked {
        return;
    }
    session.kept_count += 1;
    session.kept_bytes += kept.reply.len() as u64;
    draft.put(key::reply(id, write), kept.encode());
}

fn park<R: Read>(
    draft: &mut Draft<R>,
    id: SessionId,
    write: WriteNumber,
    session: &mut Session,
    parked: &Parked,
) {
    assert!(session.is_live(), "session {id} has ended and parks a call");
    session.parked_count += 1;
    draft.put(key::parked(id, write), parked.encode());
}
