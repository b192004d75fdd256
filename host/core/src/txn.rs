//! A transaction while it is built: operations are checked in ZooKeeper's order of errors and change a draft over the
//! leader's view. It ends in `finish`, `park` or `abandon`; all three give the view back.

mod access;
mod compound;
mod principals;
mod quotas;
mod sessions;

use std::borrow::Cow;

use bytes::Bytes;

pub use self::compound::Met;
use crate::access::{Acl, Asker, Permissions};
use crate::apply;
use crate::change::Change;
use crate::condition::Condition;
use crate::draft::{Draft, ReadRecords, View};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{CallId, Millis, Zxid};
use crate::key;
use crate::level::Level;
use crate::limits;
use crate::path::Path;
use crate::query::{self, no_node, node_exists};
use crate::read::{Direction, Read, Records};
use crate::request::{LifetimeKind, Reply, Sequence};
use crate::room::Room;
use crate::session::Parked;
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

    /// What is left after so many changes of so many bytes.
    fn less(self, changes: u64, bytes: u64) -> Result<Self, Refusal> {
        let Some(changes_left) = self.changes.checked_sub(changes) else {
            let value = self.changes_max - self.changes + changes;
            return Err(Refusal::limit("changes of a transaction", value, self.changes_max));
        };
        let Some(bytes_left) = self.bytes.checked_sub(bytes) else {
            let value = self.bytes_max - self.bytes + bytes;
            return Err(Refusal::limit("bytes of changes of a transaction", value, self.bytes_max));
        };
        Ok(Self { changes: changes_left, bytes: bytes_left, ..self })
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
    /// Whether the run under way may change nothing.
    is_read_only: bool,
    /// Whether the run under way changed a znode that does not go with a session.
    has_persistent_writes: bool,
    /// Whose operations these are; none for the host's own.
    asker: Option<Asker>,
    /// Whether its call may own znodes: one that never did needs no scan for them at its end.
    may_own: bool,
}

impl Txn {
    /// Begins a transaction on this view.
    #[must_use]
    pub fn begin(view: View, slot: Slot, origin: Origin) -> Self {
        Self {
            draft: Draft::new(view),
            slot,
            may_own: matches!(origin, Origin::Rerun { .. }),
            origin,
            changes: Vec::new(),
            whole: Budget::whole(),
            run: None,
            is_read_only: false,
            has_persistent_writes: false,
            asker: None,
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
        self.is_read_only = false;
        self.has_persistent_writes = false;
    }

    /// From now on the run that is under way may change nothing. What was changed before it stands.
    pub fn forbid_changes(&mut self) {
        self.is_read_only = true;
    }

    /// Whether the run that is under way may change nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Whether the run that is under way may change something. Each change asks this before it looks at its arguments.
    ///
    /// # Errors
    /// `read-only`.
    pub fn check_may_change(&self) -> Result<(), Refusal> {
        if self.is_read_only { Err(read_only("change the tree")) } else { Ok(()) }
    }

    /// Ends a recipe's run.
    pub fn end_run(&mut self) {
        self.run = None;
        self.is_read_only = false;
    }

    /// Whether the run changed a znode that does not go with a session: such a run must not park (DESIGN D4).
    #[must_use]
    pub fn has_persistent_writes(&self) -> bool {
        self.has_persistent_writes
    }

    /// Creates a znode without an access list of its own and gives its path and stat.
    ///
    /// # Errors
    /// As [`Txn::create_with_acl`].
    pub fn create(
        &mut self,
        text: &str,
        data: Bytes,
        options: CreateOptions,
    ) -> Result<(Path, Stat), Refusal> {
        self.create_with_acl(text, data, options, None)
    }

    /// Creates a znode and gives its path and stat. A refusal comes before any change, missing parents included. As every
    /// change, it is `read-only` before all else in a run that may change nothing.
    ///
    /// # Errors
    /// In this order: `bad-arguments` (an ephemeral without a session, a TTL of 0), `limit` (its TTL, its data), `bad-path` (no `/`, or a
    /// malformed parent), `invalid-acl`, `no-node` (its parent), `no-access` (the same), `bad-arguments` (sequence numbers used up), `bad-path`,
    /// `node-exists`, `no-children-for-ephemerals`, `limit`.
    pub fn create_with_acl(
        &mut self,
        text: &str,
        data: Bytes,
        options: CreateOptions,
        acl: Option<&Acl>,
    ) -> Result<(Path, Stat), Refusal> {
        self.check_may_change()?;
        let lifetime = self.lifetime(options.lifetime)?;
        check_data(&data)?;
        let parent_path = parent_of_new(text)?;
        let acl = self.resolved(acl)?;
        let (path, mut changes) = self.place_of_new(text, parent_path, options)?;
        self.check_owned(lifetime)?;
        self.check_owned_acl(lifetime.session(), 0, acl.as_ref())?;
        let stat = Node::new(self.slot.zxid, self.slot.time, lifetime, &data).stat();
        let has_new_parents = !changes.is_empty();
        changes.push(Change::NodeCreated { path: path.clone(), data, lifetime, acl });
        self.record_all(changes)?;
        self.note_lifetime(lifetime);
        self.has_persistent_writes |= has_new_parents;
        self.may_own |= options.lifetime == LifetimeKind::CallOwned;
        Ok((path, stat))
    }

    /// Sets a znode's data.
    ///
    /// # Errors
    /// In this order: `bad-path`, `limit`, `no-node`, `no-access`, `quota-passed` and `too-many-writes`, `bad-version`, `limit`.
    pub fn set(
        &mut self,
        text: &str,
        data: Bytes,
        condition: impl Into<Condition>,
    ) -> Result<Stat, Refusal> {
        self.check_may_change()?;
        let path = Path::parse(text)?;
        check_data(&data)?;
        let node = self.expect(&path, Permissions::WRITE, Condition::ANY)?;
        let change = Change::data_set(path.clone(), data, &node);
        // Before the version, as ZooKeeper does.
        self.check_quotas(std::slice::from_ref(&change))?;
        condition.into().check(&path, &node.stat())?;
        self.record_within_quotas(change)?;
        self.note_lifetime(node.lifetime);
        query::stat(&self.draft, &path)
    }

    /// Deletes a znode without children.
    ///
    /// # Errors
    /// `bad-path`, `bad-arguments` for the root, `no-node` and `no-access` for its parent, `no-node`, `bad-version`, `not-empty`.
    pub fn delete(&mut self, text: &str, condition: impl Into<Condition>) -> Result<(), Refusal> {
        self.check_may_change()?;
        let path = Path::parse(text)?;
        if path.is_root() {
            return Err(Refusal::new(ErrorCode::BadArguments, "the root can not be deleted"));
        }
        self.require_deletions_under(&path.parent().unwrap_or_else(Path::root))?;
        let node = self.expect(&path, Permissions::NONE, condition.into())?;
        if node.children_count > 0 {
            let message = format!("the znode {path} has {} children", node.children_count);
            return Err(Refusal::new(ErrorCode::NotEmpty, message));
        }
        self.record(Change::node_deleted(path, &node))?;
        self.note_lifetime(node.lifetime);
        Ok(())
    }

    /// The stat of a znode, if it is so.
    ///
    /// # Errors
    /// `bad-path`, `no-node`, `no-access`, `bad-version`.
    pub fn check(&self, text: &str, condition: impl Into<Condition>) -> Result<Stat, Refusal> {
        Ok(self.expect(&Path::parse(text)?, Permissions::READ, condition.into())?.stat())
    }

    /// Makes a call-owned znode of this call ephemeral.
    ///
    /// # Errors
    /// `bad-path`, `no-node`; `bad-arguments` if this call does not own it.
    pub fn release(&mut self, text: &str) -> Result<(), Refusal> {
        self.check_may_change()?;
        let path = Path::parse(text)?;
        let node = self.expect(&path, Permissions::NONE, Condition::ANY)?;
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

    /// Deletes a container or TTL znode whose time has come. Nothing happens if it is gone, or in use again.
    pub fn reap(&mut self, path: &Path) {
        let Some(node) = self.draft.node(path) else { return };
        if node.reap_at.is_some_and(|at| at <= self.slot.time) {
            self.record_unbounded(Change::node_deleted(path.clone(), &node));
        }
    }

    /// Raises the feature level of the cluster. Nothing happens if it is there already.
    pub fn raise_level(&mut self, level: Level) {
        if level > self.draft.level() {
            self.record_unbounded(Change::LevelRaised { level });
        }
    }

    /// Records a change that was checked before.
    ///
    /// # Errors
    /// `limit`.
    pub fn record(&mut self, change: Change) -> Result<(), Refusal> {
        self.check_quotas(std::slice::from_ref(&change))?;
        self.record_within_quotas(change)
    }

    /// As `record`, of a change whose quotas were looked at.
    fn record_within_quotas(&mut self, change: Change) -> Result<(), Refusal> {
        self.spend(1, change.weight() as u64)?;
        self.record_unbounded(change);
        Ok(())
    }

    /// All of them, or none and a refusal.
    fn record_all(&mut self, changes: Vec<Change>) -> Result<(), Refusal> {
        self.check_quotas(&changes)?;
        let weight = changes.iter().map(Change::weight).sum::<usize>();
        self.spend(changes.len() as u64, weight as u64)?;
        for change in changes {
            self.record_unbounded(change);
        }
        Ok(())
    }

    fn spend(&mut self, changes: u64, bytes: u64) -> Result<(), Refusal> {
        self.check_may_change()?;
        let run = self.run.map(|run| run.less(changes, bytes)).transpose()?;
        self.whole = self.whole.less(changes, bytes)?;
        self.run = run;
        Ok(())
    }

    fn record_unbounded(&mut self, change: Change) {
        apply::change(&mut self.draft, self.slot.zxid, self.slot.time, &change);
        self.changes.push(change);
    }

    /// Whether the tree may grow.
    pub(crate) fn room(&self) -> Room {
        self.draft.room()
    }

    /// Whether its changes may stand while the disks are as full as they are: so many bytes of growth are let pass.
    ///
    /// # Errors
    /// `disk-full`.
    pub(crate) fn check_room(&self, allowed_bytes: i64) -> Result<(), Refusal> {
        let room = self.room();
        if room == Room::Enough {
            return Ok(());
        }
        room.refusal(self.draft.growth_bytes() - allowed_bytes).map_or(Ok(()), Err)
    }

    /// Ends it with a reply; its changes stand. Znodes that its call still owns go.
    #[must_use]
    pub fn finish(mut self, reply: &Reply) -> (View, Transaction) {
        self.end_call();
        self.complete(Outcome::Replied(reply.encode()))
    }

    /// A call of this transaction has returned: the znodes that it still owns go.
    pub(crate) fn end_call(&mut self) {
        if let Some(call) = self.caller().filter(|_| self.may_own) {
            self.delete_owned(key::owned_by_call(call.session, call.write));
            self.may_own = false;
        }
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
        Self { asker: self.asker, ..Self::begin(view, self.slot, self.origin) }
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

    fn delete_owned(&mut self, (from, to): (Bytes, Bytes)) {
        let paths: Vec<Path> = self
            .draft
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::owned_path(&key))
            .collect();
        for path in paths {
            if let Some(node) = self.draft.node(&path) {
                self.record_unbounded(Change::node_deleted(path, &node));
            }
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
            LifetimeKind::Container => Lifetime::Container,
            LifetimeKind::Ttl(0) => {
                let message = "a TTL of 0 ms: a TTL znode lives for 1 ms at least";
                return Err(Refusal::new(ErrorCode::BadArguments, message));
            }
            LifetimeKind::Ttl(ms) if ms > limits::TTL_MS_MAX => {
                return Err(Refusal::limit("milliseconds of a TTL", ms, limits::TTL_MS_MAX));
            }
            LifetimeKind::Ttl(ms) => Lifetime::Ttl(ms),
        })
    }

    /// Where a znode to create comes, and the creations of those parents that are missing and wanted, highest first.
    fn place_of_new(
        &self,
        text: &str,
        parent_path: Path,
        options: CreateOptions,
    ) -> Result<(Path, Vec<Change>), Refusal> {
        let parent = query::node(&self.draft, &parent_path);
        if parent.is_some() || options.parents {
            self.require_creations_under(&parent_path)?;
        }
        if parent.is_none() && !options.parents {
            return Err(no_node(&parent_path));
        }
        let number = parent.as_ref().map_or(0, |parent| parent.children_created);
        let path = Path::parse(&sequence_name(text, options.sequence, number)?)?;
        if query::node(&self.draft, &path).is_some() {
            return Err(node_exists(&path));
        }
        match parent {
            Some(parent) if parent.may_have_children() => Ok((path, Vec::new())),
            Some(_) => Err(no_children_for(&parent_path)),
            None => Ok((path, self.creations_up_to(&parent_path)?)),
        }
    }

    /// The creations of this znode and its ancestors where they are missing: persistent, empty, highest first.
    fn creations_up_to(&self, path: &Path) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        let mut at = Some(path.clone());
        while let Some(path) = at {
            match query::node(&self.draft, &path) {
                None => {}
                Some(node) if changes.is_empty() || node.may_have_children() => break,
                Some(_) => return Err(no_children_for(&path)),
            }
            at = path.parent();
            changes.push(Change::NodeCreated {
                path,
                data: Bytes::new(),
                lifetime: Lifetime::Persistent,
                acl: None,
            });
        }
        changes.reverse();
        Ok(changes)
    }

    /// Creates a znode and its ancestors where they are missing, persistent and empty.
    ///
    /// # Errors
    /// `no-children-for-ephemerals`, `limit`; nothing has been created then.
    pub fn create_missing(&mut self, path: &Path) -> Result<(), Refusal> {
        let changes = self.creations_up_to(path)?;
        self.has_persistent_writes |= !changes.is_empty();
        self.record_all(changes)
    }

    fn note_lifetime(&mut self, lifetime: Lifetime) {
        self.has_persistent_writes |= lifetime.session().is_none();
    }

    /// The record of a znode that is there, that the caller may do this to, and whose stat is so; asked in this order.
    fn expect(
        &self,
        path: &Path,
        permission: Permissions,
        condition: Condition,
    ) -> Result<Node, Refusal> {
        let node = query::node(&self.draft, path).ok_or_else(|| no_node(path))?;
        if !permission.is_empty() {
            self.require_on_node(path, &node, permission)?;
        }
        condition.check(path, &node.stat())?;
        Ok(node)
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

/// The refusal for what a run that may only read tried to do.
#[must_use]
pub fn read_only(what: &str) -> Refusal {
    Refusal::new(ErrorCode::ReadOnly, format!("it may not {what}"))
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

/// The parent of a znode to create. Whether the whole makes a path is asked later: ZooKeeper answers "no parent" before
/// "bad name" (its table of errors). With a sequence number the name may be empty: `/queue/` makes
/// `/queue/0000000000000000000`.
fn parent_of_new(text: &str) -> Result<Path, Refusal> {
    match text.rsplit_once('/').filter(|_| !text.contains('\0')) {
        Some(("", _)) => Ok(Path::root()),
        Some((parent, _)) => Path::parse(parent),
        None => Path::parse(text),
    }
}

fn no_children_for(path: &Path) -> Refusal {
    let message = format!("the znode {path} goes with a session and can have no children");
    Refusal::new(ErrorCode::NoChildrenForEphemerals, message)
}

/// The path of a new znode: what was asked for, and how many children its parent has ever had.
fn sequence_name(text: &str, sequence: Sequence, number: u64) -> Result<Cow<'_, str>, Refusal> {
    match sequence {
        Sequence::None => Ok(Cow::Borrowed(text)),
        Sequence::Native => Ok(Cow::Owned(format!("{text}{number:019}"))),
        Sequence::ZooKeeper if number > limits::SEQUENCE_ZOOKEEPER_MAX => Err(Refusal::new(
            ErrorCode::BadArguments,
            format!(
                "sequence number {number} has more than ZooKeeper's ten digits and would not sort"
            ),
        )),
        Sequence::ZooKeeper => Ok(Cow::Owned(format!("{text}{number:010}"))),
    }
}
