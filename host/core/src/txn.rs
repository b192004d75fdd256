//! A transaction while it is built: operations are checked in ZooKeeper's order of errors and change a draft over the
//! leader's view. It ends in `finish`, `park` or `abandon`; all three give the view back.

use bytes::Bytes;

use crate::apply;
use crate::change::Change;
use crate::draft::{Draft, ReadRecords, View};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{CallId, Millis, SessionId, Zxid};
use crate::key;
use crate::limits;
use crate::path::Path;
use crate::query::{self, no_node};
use crate::read::{Direction, Read, Records};
use crate::request::{LifetimeKind, Reply, Sequence};
use crate::session::{End, Parked};
use crate::transaction::{Origin, Outcome, Transaction};
use crate::znode::{Lifetime, Node, Stat};

/// Where a transaction stands in the order of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub zxid: Zxid,
    /// Its time.
    pub time: Millis,
    /// The batch that will carry it.
    pub batch: u64,
}

/// How a znode is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateOptions {
    /// How long it lives.
    pub lifetime: LifetimeKind,
    /// How its name is made.
    pub sequence: Sequence,
    /// Create missing parents too, persistent and empty.
    pub parents: bool,
}

/// Changes that may still be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    changes: u64,
    changes_max: u64,
    bytes: u64,
    bytes_max: u64,
}

impl Budget {
    fn new(changes: u64, bytes: u64) -> Self {
        Self { changes, changes_max: changes, bytes, bytes_max: bytes }
    }

    fn whole() -> Self {
        Self::new(limits::TRANSACTION_CHANGES_MAX as u64, limits::TRANSACTION_BYTES_MAX as u64)
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Refusal> {
        if self.changes == 0 {
            return Err(Refusal::limit(
                "changes of a transaction",
                self.changes_max + 1,
                self.changes_max,
            ));
        }
        let Some(left) = self.bytes.checked_sub(bytes) else {
            let value = self.bytes_max - self.bytes + bytes;
            return Err(Refusal::limit("bytes of changes of a transaction", value, self.bytes_max));
        };
        self.changes -= 1;
        self.bytes = left;
        Ok(())
    }
}

/// A transaction while it is built.
pub struct Txn {
    draft: Draft<View>,
    slot: Slot,
    origin: Origin,
    changes: Vec<Change>,
    whole: Budget,
    /// The bounds of the recipe run that is under way.
    run: Option<Budget>,
    /// Whether the run under way changed a znode that does not go with a session.
    has_persistent_writes: bool,
}

impl Txn {
    /// Begins a transaction on this view.
    #[must_use]
    pub fn begin(view: View, slot: Slot, origin: Origin) -> Self {
        Self {
            draft: Draft::new(view),
            slot,
            origin,
            changes: Vec::new(),
            whole: Budget::whole(),
            run: None,
            has_persistent_writes: false,
        }
    }

    /// Its number.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        self.slot.zxid
    }

    /// Its time.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.slot.time
    }

    /// The session and write that asked for it; none for the host's own.
    #[must_use]
    pub fn caller(&self) -> Option<CallId> {
        let (session, write) = self.origin.write()?;
        Some(CallId { session, write })
    }

    /// What has been changed so far.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Begins a recipe's run: from now on its bounds hold too.
    pub fn begin_run(&mut self, changes_max: u64, bytes_max: u64) {
        self.run = Some(Budget::new(changes_max, bytes_max));
        self.has_persistent_writes = false;
    }

    /// Ends a recipe's run.
    pub fn end_run(&mut self) {
        self.run = None;
    }

    /// Whether the run changed a znode that does not go with a session: such a run must not park (DESIGN D4).
    #[must_use]
    pub fn has_persistent_writes(&self) -> bool {
        self.has_persistent_writes
    }

    /// Creates a znode and gives its path and stat.
    ///
    /// # Errors
    /// In this order: `bad-arguments` (an ephemeral without a session), `bad-path`, `no-node` (its parent),
    /// `bad-arguments` (sequence numbers used up), `node-exists`, `no-children-for-ephemerals`, `limit`.
    pub fn create(
        &mut self,
        text: &str,
        data: Bytes,
        options: CreateOptions,
    ) -> Result<(Path, Stat), Refusal> {
        let lifetime = self.lifetime(options.lifetime)?;
        check_data(&data)?;
        let (parent_path, stem) = self.parent_of_new(text, options.sequence)?;
        if options.parents {
            self.create_missing(&parent_path)?;
        }
        let parent = query::node(&self.draft, &parent_path).ok_or_else(|| no_node(&parent_path))?;
        let name = sequence_name(&stem, options.sequence, parent.children_created)?;
        let path = parent_path.child(&name)?;
        if query::node(&self.draft, &path).is_some() {
            return Err(Refusal::new(
                ErrorCode::NodeExists,
                format!("the znode {path} is there already"),
            ));
        }
        if !parent.may_have_children() {
            let message =
                format!("the znode {parent_path} goes with a session and can have no children");
            return Err(Refusal::new(ErrorCode::NoChildrenForEphemerals, message));
        }
        self.check_owned(lifetime)?;
        self.note_lifetime(lifetime);
        let stat = Node::new(self.slot.zxid, self.slot.time, lifetime, &data).stat();
        self.record(Change::NodeCreated { path: path.clone(), data, lifetime })?;
        Ok((path, stat))
    }

    /// Sets a znode's data.
    ///
    /// # Errors
    /// `bad-path`, `limit`, `no-node`, `bad-version`.
    pub fn set(&mut self, text: &str, data: Bytes, version: Option<u64>) -> Result<Stat, Refusal> {
        let path = Path::parse(text)?;
        check_data(&data)?;
        let node = self.expect_version(&path, version)?;
        self.note_lifetime(node.lifetime);
        self.record(Change::DataSet { path: path.clone(), data })?;
        query::stat(&self.draft, &path)
    }

    /// Deletes a znode without children.
    ///
    /// # Errors
    /// `bad-path`, `bad-arguments` for the root, `no-node`, `bad-version`, `not-empty`.
    pub fn delete(&mut self, text: &str, version: Option<u64>) -> Result<(), Refusal> {
        let path = Path::parse(text)?;
        if path.is_root() {
            return Err(Refusal::new(ErrorCode::BadArguments, "the root can not be deleted"));
        }
        let node = self.expect_version(&path, version)?;
        if node.children_count > 0 {
            let message = format!("the znode {path} has {} children", node.children_count);
            return Err(Refusal::new(ErrorCode::NotEmpty, message));
        }
        self.note_lifetime(node.lifetime);
        self.record(Change::NodeDeleted { path })
    }

    /// Deletes a znode and all that is below it; how many were deleted. A refusal for the bound comes before any change.
    ///
    /// # Errors
    /// `bad-path`, `bad-arguments` for the root, `no-node`, `limit`.
    pub fn delete_tree(&mut self, text: &str) -> Result<u64, Refusal> {
        let top = Path::parse(text)?;
        if top.is_root() {
            return Err(Refusal::new(ErrorCode::BadArguments, "the root can not be deleted"));
        }
        query::stat(&self.draft, &top)?;
        let left = self.run.map_or(self.whole.changes, |run| run.changes.min(self.whole.changes));
        let mut found = vec![top];
        let mut next = 0;
        while let Some(path) = found.get(next).cloned() {
            next += 1;
            let (from, to) = key::children(&path);
            for name in self.draft.child_names(&from, &to, Direction::Forward) {
                if found.len() as u64 >= left {
                    return Err(Refusal::limit("znodes of a subtree to delete", left + 1, left));
                }
                found.push(path.child(&name)?);
            }
        }
        // Children were found after their parents: backwards, every znode is deleted when it has no children left.
        for path in found.iter().rev() {
            self.delete(path.as_str(), None)?;
        }
        Ok(found.len() as u64)
    }

    /// The stat of a znode, if it has this version.
    ///
    /// # Errors
    /// `bad-path`, `no-node`, `bad-version`.
    pub fn check(&self, text: &str, version: Option<u64>) -> Result<Stat, Refusal> {
        Ok(self.expect_version(&Path::parse(text)?, version)?.stat())
    }

    /// Makes a call-owned znode of this call ephemeral.
    ///
    /// # Errors
    /// `bad-path`, `no-node`; `bad-arguments` if this call does not own it.
    pub fn release(&mut self, text: &str) -> Result<(), Refusal> {
        let path = Path::parse(text)?;
        let node = self.expect_version(&path, None)?;
        match node.lifetime {
            Lifetime::CallOwned(call) if Some(call) == self.caller() => {
                self.record(Change::NodeReleased { path })
            }
            _ => Err(Refusal::new(
                ErrorCode::BadArguments,
                format!("this call does not own the znode {path}"),
            )),
        }
    }

    /// Opens a session; its id is this transaction's zxid.
    ///
    /// # Errors
    /// `limit`, at the most sessions.
    pub fn open_session(
        &mut self,
        timeout_ms: u64,
        secret_hash: [u8; 32],
        principal: String,
    ) -> Result<SessionId, Refusal> {
        let count = self.draft.meta().sessions_count;
        if count >= limits::SESSIONS_MAX {
            return Err(Refusal::limit("sessions", count + 1, limits::SESSIONS_MAX));
        }
        self.record(Change::SessionOpened { timeout_ms, secret_hash, principal })?;
        Ok(key::session_id(self.slot.zxid))
    }

    /// Ends a session: its znodes go, its parked calls are dropped. Nothing happens if it has ended.
    pub fn end_session(&mut self, id: SessionId, end: End) {
        if !self.draft.session(id).is_some_and(|session| session.is_live()) {
            return;
        }
        self.delete_owned(key::owned_by_session(id));
        self.record_unbounded(Change::SessionEnded { session: id, end });
    }

    /// Forgets an ended session. Nothing happens if it lives or is gone.
    pub fn forget_session(&mut self, id: SessionId) {
        if self.draft.session(id).is_some_and(|session| !session.is_live()) {
            self.record_unbounded(Change::SessionForgotten { session: id });
        }
    }

    /// Records a change that was checked before.
    ///
    /// # Errors
    /// `limit`.
    pub fn record(&mut self, change: Change) -> Result<(), Refusal> {
        let weight = change.weight() as u64;
        if let Some(run) = &mut self.run {
            run.spend(weight)?;
        }
        self.whole.spend(weight)?;
        self.record_unbounded(change);
        Ok(())
    }

    fn record_unbounded(&mut self, change: Change) {
        apply::change(&mut self.draft, self.slot.zxid, self.slot.time, &change);
        self.changes.push(change);
    }

    /// Ends it with a reply; its changes stand. Znodes that its call still owns go.
    #[must_use]
    pub fn finish(mut self, reply: &Reply) -> (View, Transaction) {
        if let Some(call) = self.caller().filter(|_| self.may_own_znodes()) {
            self.delete_owned(key::owned_by_call(call.session, call.write));
        }
        self.complete(Outcome::Replied(reply.encode()))
    }

    /// Ends it without an answer: the host's own.
    #[must_use]
    pub fn finish_unanswered(self) -> (View, Transaction) {
        self.complete(Outcome::None)
    }

    /// Ends it with the call waiting; its changes stand.
    #[must_use]
    pub fn park(self, parked: Parked) -> (View, Transaction) {
        self.complete(Outcome::Parked(parked))
    }

    /// Ends it with a reply and without its changes. What earlier runs of its call own goes all the same.
    #[must_use]
    pub fn abandon(self, reply: &Reply) -> (View, Transaction) {
        self.restart().finish(reply)
    }

    /// The same transaction without its changes.
    #[must_use]
    pub fn restart(self) -> Self {
        let (view, _abandoned) = self.draft.into_parts();
        Self::begin(view, self.slot, self.origin)
    }

    /// Gives the view back as it was, as if the transaction had never begun. Its number is free again.
    #[must_use]
    pub fn forget(self) -> View {
        self.draft.into_parts().0
    }

    fn complete(mut self, outcome: Outcome) -> (View, Transaction) {
        let transaction = Transaction {
            zxid: self.slot.zxid,
            time: self.slot.time,
            origin: self.origin,
            changes: self.changes,
            outcome,
        };
        let mut meta = self.draft.meta();
        apply::complete(&mut self.draft, &mut meta, &transaction);
        self.draft.put_meta(meta);
        let (mut view, writes) = self.draft.into_parts();
        view.absorb(self.slot.batch, writes);
        (view, transaction)
    }

    /// Whether its call may own znodes: one that runs again, or one that made some. Spares all other writes the scan.
    fn may_own_znodes(&self) -> bool {
        let is_owned = |change: &Change| {
            matches!(change, Change::NodeCreated { lifetime: Lifetime::CallOwned(_), .. })
        };
        matches!(self.origin, Origin::Rerun { .. }) || self.changes.iter().any(is_owned)
    }

    fn delete_owned(&mut self, (from, to): (Bytes, Bytes)) {
        let paths: Vec<Path> = self
            .draft
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::owned_path(&key))
            .collect();
        for path in paths {
            self.record_unbounded(Change::NodeDeleted { path });
        }
    }

    fn lifetime(&self, kind: LifetimeKind) -> Result<Lifetime, Refusal> {
        let no_session =
            || Refusal::new(ErrorCode::BadArguments, "an ephemeral znode needs a session");
        Ok(match kind {
            LifetimeKind::Persistent => Lifetime::Persistent,
            LifetimeKind::Ephemeral => {
                Lifetime::Ephemeral(self.caller().ok_or_else(no_session)?.session)
            }
            LifetimeKind::CallOwned => Lifetime::CallOwned(self.caller().ok_or_else(no_session)?),
        })
    }

    /// The parent of a znode to create, and its name without the sequence number. With a sequence number the name may be
    /// empty: `/queue/` makes `/queue/0000000000000000000`.
    fn parent_of_new(&self, text: &str, sequence: Sequence) -> Result<(Path, String), Refusal> {
        if sequence != Sequence::None
            && let Some(parent) = text.strip_suffix('/')
        {
            let parent = if parent.is_empty() { Path::root() } else { Path::parse(parent)? };
            return Ok((parent, String::new()));
        }
        let path = Path::parse(text)?;
        match path.parent() {
            Some(parent) => Ok((parent, path.name().to_owned())),
            None => Err(Refusal::new(ErrorCode::NodeExists, "the znode / is there already")),
        }
    }

    /// Creates a znode and its ancestors where they are missing, persistent and empty.
    ///
    /// # Errors
    /// As [`Txn::create`].
    pub fn create_missing(&mut self, path: &Path) -> Result<(), Refusal> {
        let mut missing = Vec::new();
        let mut at = Some(path.clone());
        while let Some(path) = at.take_if(|path| query::node(&self.draft, path).is_none()) {
            at = path.parent();
            missing.push(path);
        }
        let options = CreateOptions {
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::None,
            parents: false,
        };
        for path in missing.iter().rev() {
            self.create(path.as_str(), Bytes::new(), options)?;
        }
        Ok(())
    }

    fn check_owned(&self, lifetime: Lifetime) -> Result<(), Refusal> {
        let Some(id) = lifetime.session() else { return Ok(()) };
        let Some(session) = self.draft.session(id).filter(|session| session.is_live()) else {
            return Err(Refusal::new(ErrorCode::SessionEnded, format!("session {id} has ended")));
        };
        if session.owned_count >= limits::EPHEMERALS_PER_SESSION_MAX {
            return Err(Refusal::limit(
                "ephemeral znodes of a session",
                session.owned_count + 1,
                limits::EPHEMERALS_PER_SESSION_MAX,
            ));
        }
        Ok(())
    }

    fn note_lifetime(&mut self, lifetime: Lifetime) {
        self.has_persistent_writes |= lifetime == Lifetime::Persistent;
    }

    fn expect_version(&self, path: &Path, version: Option<u64>) -> Result<Node, Refusal> {
        let node = query::node(&self.draft, path).ok_or_else(|| no_node(path))?;
        match version {
            Some(expected) if expected != node.version => {
                let message =
                    format!("the znode {path} has version {}, not {expected}", node.version);
                Err(Refusal::new(ErrorCode::BadVersion, message))
            }
            _ => Ok(node),
        }
    }
}

/// A transaction reads what it has written so far.
impl Read for Txn {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.draft.get(key)
    }

    fn range<'a>(&'a self, from: &[u8], to: &[u8], direction: Direction) -> Records<'a> {
        self.draft.range(from, to, direction)
    }
}

fn check_data(data: &Bytes) -> Result<(), Refusal> {
    if data.len() > limits::DATA_BYTES_MAX {
        return Err(Refusal::limit(
            "bytes of a znode's data",
            data.len() as u64,
            limits::DATA_BYTES_MAX as u64,
        ));
    }
    Ok(())
}

/// The name of a new znode: the stem, and how many children its parent has ever had.
fn sequence_name(stem: &str, sequence: Sequence, number: u64) -> Result<String, Refusal> {
    match sequence {
        Sequence::None => Ok(stem.to_owned()),
        Sequence::Native => Ok(format!("{stem}{number:019}")),
        Sequence::ZooKeeper if number > limits::SEQUENCE_ZOOKEEPER_MAX => Err(Refusal::new(
            ErrorCode::BadArguments,
            format!(
                "sequence number {number} has more than ZooKeeper's ten digits and would not sort"
            ),
        )),
        Sequence::ZooKeeper => Ok(format!("{stem}{number:010}")),
    }
}
