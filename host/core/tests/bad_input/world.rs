//! A small tree with the faults that are asked for, and a request of Alice's to it. What the faults are, and what is expected of
//! them, is not known here.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_core::access::{
    AccessChange, Acl, AclEntry, Held, Identity, Object, Permissions, Rule,
};
use quorate_core::condition::Condition;
use quorate_core::deployment::{ComponentDigest, Manifest, Version};
use quorate_core::draft::{ReadRecords, View};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::execute;
use quorate_core::ids::{Millis, SessionId, WriteNumber};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::quota::{Bounds, Quota};
use quorate_core::read::MemoryTree;
use quorate_core::recipe::{Recipes, Run, RunEnd};
use quorate_core::request::{
    Body, Chunk, Deploy, LifetimeKind, Operation, Reply, Request, Sequence,
};
use quorate_core::room::Room;
use quorate_core::session::{self, Acks, Admission, Opening};
use quorate_core::transaction::{Origin, Outcome, Transaction};
use quorate_core::txn::{Slot, Txn};
use sha2::{Digest as _, Sha256};

use super::faults::Fault;
use super::kinds::{self, Kind};

/// The znode that a request names, as a rule.
pub const TARGET: &str = "/p/t";
/// The recipe's name.
pub const RECIPE: &str = "toy";
const COMPONENT: &[u8] = b"a component";
const NOW: Millis = Millis(1_000);

pub fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

pub fn identity(text: &str) -> Identity {
    Identity::parse(text).expect("an identity")
}

pub fn digest(bytes: &[u8]) -> ComponentDigest {
    Sha256::digest(bytes).into()
}

/// The recipe.
pub fn deployment() -> Deploy {
    Deploy {
        recipe: RECIPE.to_owned(),
        component: digest(COMPONENT),
        manifest: Manifest::for_root(path("/recipes/toy")),
        breaking_allowed: false,
    }
}

fn acl(lines: &[&str]) -> Acl {
    Acl { entries: lines.iter().map(|line| AclEntry::parse(line).expect("an entry")).collect() }
}

/// A list on which Alice does not stand.
fn not_for_alice() -> Acl {
    acl(&["token:z:cdrwa"])
}

/// More data than a znode may have.
fn too_much() -> Bytes {
    static ONCE: OnceLock<Bytes> = OnceLock::new();
    ONCE.get_or_init(|| vec![b'x'; limits::DATA_BYTES_MAX + 1].into()).clone()
}

/// A request, and what is wrong with it and with the tree.
pub struct Given {
    pub kind: Kind,
    pub faults: BTreeSet<Fault>,
    pub path: String,
    pub condition: Condition,
}

impl Given {
    pub fn new(kind: Kind, faults: &[Fault]) -> Self {
        let faults: BTreeSet<Fault> = faults.iter().copied().collect();
        let mut path = match kind {
            Kind::Fence => "/l/h",
            Kind::CreateWithParents => "/p/q/t",
            _ => TARGET,
        }
        .to_owned();
        if faults.contains(&Fault::NameMalformed) {
            path.push('\u{1}');
        }
        if faults.contains(&Fault::NameTooLong) {
            path.push_str(&"x".repeat(limits::PATH_BYTES_MAX));
        }
        if faults.contains(&Fault::PathMalformed) {
            path.remove(0);
        }
        let mut condition = Condition::ANY;
        if faults.contains(&Fault::OtherVersion) {
            condition.version = Some(99);
        }
        Self { kind, faults, path, condition }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    pub fn body(&self) -> Body {
        kinds::body(self)
    }

    pub fn data(&self) -> Bytes {
        if self.has(Fault::DataTooLarge) { too_much() } else { Bytes::from_static(b"x") }
    }

    pub fn lifetime(&self) -> LifetimeKind {
        match () {
            () if self.has(Fault::TtlZero) => LifetimeKind::Ttl(0),
            () if self.has(Fault::TtlTooLong) => LifetimeKind::Ttl(limits::TTL_MS_MAX + 1),
            () if self.has(Fault::NotForClients) => LifetimeKind::CallOwned,
            () => self.kind.lifetime(),
        }
    }

    pub fn acl(&self) -> Option<Acl> {
        let who = identity("token:a");
        match () {
            () if self.has(Fault::AclEmpty) => Some(acl(&[])),
            () if self.has(Fault::AclSenseless) => {
                Some(Acl { entries: vec![AclEntry { permissions: Permissions::CALL, who }] })
            }
            () if self.has(Fault::AclOfNobody) => Some(acl(&["auth::cdrwa"])),
            () if self.has(Fault::AclTooLong) => {
                let lines: Vec<String> =
                    (0..=limits::ACL_ENTRIES_MAX).map(|n| format!("token:{n}:a")).collect();
                Some(acl(&lines.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            () if self.has(Fault::AclWithoutAdmin) => Some(acl(&["token:a:r"])),
            () if self.kind == Kind::SetAcl => Some(acl(&["token:a:cdrwa"])),
            () => None,
        }
    }

    pub fn held(&self) -> Held {
        let of_lists = self.has(Fault::IdentityOfLists);
        let identity = identity(if of_lists { "world:anyone" } else { "token:more" });
        Held { identity, expires: self.has(Fault::IdentityExpired).then_some(NOW) }
    }

    /// The token of the grant that the world makes.
    pub fn token(&self) -> u64 {
        let granted = World::new(self).granted;
        if self.has(Fault::OtherVersion) { granted + 1 } else { granted }
    }

    /// What comes of a whole multi of these.
    pub fn code_of_multi(&self, operations: Vec<Operation>) -> Option<ErrorCode> {
        World::new(self).refusal(&Body::Multi(operations)).map(|(code, _)| code)
    }

    /// What a call of Alice's is told that releases a znode.
    pub fn code_of_release(&self) -> Option<ErrorCode> {
        let World { view, alice: session, .. } = World::new(self);
        let zxid = view.meta().zxid.next();
        let (write, acks) = (WriteNumber(1), Acks::default());
        let origin = Origin::Write { session, write, hash: 0, acks };
        let mut txn = Txn::begin(view, Slot { zxid, time: NOW, batch: zxid.0 }, origin);
        txn.begin_run(1, 1_000);
        txn.release(&self.path).err().map(|refusal| refusal.code)
    }

    /// What comes of the request: none if it is done. Whatever is refused has changed nothing, and within a multi an operation is
    /// refused as it is alone.
    pub fn code(&self) -> Option<ErrorCode> {
        let world = World::new(self);
        let body = self.body();
        let alone = world.refusal(&body).map(|(code, _)| code);
        if let Body::Single(operation) = body {
            let first = Operation::Exists { path: "/".to_owned() };
            let multi = world.refusal(&Body::Multi(vec![first, operation]));
            assert_eq!(multi.map(|(code, _)| code), alone, "within a multi: {self:?}");
            // What a multi comes to as a whole is no operation's fault, and a request that is not executed has none.
            let is_whole = [ErrorCode::DiskFull, ErrorCode::NoSession, ErrorCode::SessionEnded];
            if let Some((code, at)) = multi.filter(|(code, _)| !is_whole.contains(code)) {
                assert_eq!(at, Some(1), "{code}: {self:?}");
            }
        }
        alone
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.kind, self.faults)
    }
}

/// A recipe that does nothing.
struct Idle;

impl Recipes for Idle {
    fn run(&mut self, _run: &Run<'_>, txn: Txn) -> (Txn, RunEnd) {
        (txn, RunEnd::Returned { value: Bytes::new(), is_error: false })
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    fn migrate(
        &mut self,
        _version: &Version,
        _previous: Option<u64>,
        txn: Txn,
    ) -> (Txn, Result<(), Refusal>) {
        (txn, Ok(()))
    }

    fn reset(&mut self) {}
}

/// The tree, and who is there. Alice is known as `token:a`; who makes the tree may do everything.
struct World {
    view: View,
    maker: SessionId,
    alice: SessionId,
    /// The transaction of the grant that a fence names.
    granted: u64,
}

impl World {
    fn new(given: &Given) -> Self {
        let view = View::new(Arc::new(MemoryTree::new()));
        let nobody = SessionId(0);
        let mut world = Self { view, maker: nobody, alice: nobody, granted: 0 };
        world.maker = world.open(&["super:"]);
        let names: Vec<String> = match () {
            () if given.has(Fault::AclOfNobody) => Vec::new(),
            () if given.has(Fault::IdentitiesTooMany) => {
                (0..limits::IDENTITIES_PER_SESSION_MAX).map(|n| format!("token:{n}")).collect()
            }
            () => vec!["token:a".to_owned()],
        };
        world.alice = world.open(&names.iter().map(String::as_str).collect::<Vec<_>>());
        world.make_recipe(given);
        world.make_znodes(given);
        world.make_rules(given);
        world.make_bounds(given);
        if given.has(Fault::SessionEnded) {
            let done = world.execute(world.alice, &Body::CloseSession);
            assert_eq!(refused(&done), None, "{given:?}");
        }
        if given.has(Fault::SessionUnknown) {
            world.alice = SessionId(1_000_000);
        }
        world
    }

    fn slot(&self) -> Slot {
        let zxid = self.view.meta().zxid.next();
        Slot { zxid, time: NOW, batch: zxid.0 }
    }

    fn open(&mut self, known_as: &[&str]) -> SessionId {
        let identities = known_as.iter().map(|text| Held::for_good(identity(text))).collect();
        let opening = Opening { timeout_ms: 1_000, identities, ..Opening::default() };
        let (view, opened) = execute::open_session(self.view.clone(), self.slot(), opening);
        self.view = view;
        key::session_id(opened.expect("there is room").zxid)
    }

    fn execute(&mut self, session: SessionId, body: &Body) -> Transaction {
        let write = self.view.session(session).expect("it is open").last_write.next();
        let (body, acks) = (body.clone(), Acks::default());
        let request = Request { session, write, hash: 0, acks, body, address: None };
        let executed = execute::write(self.view.clone(), self.slot(), &request, &mut Idle);
        self.view = executed.view;
        executed.transaction.expect("what is executed is a transaction")
    }

    /// Does something that must be done.
    fn make(&mut self, body: &Body) {
        let done = self.execute(self.maker, body);
        assert_eq!(refused(&done), None, "{body:?}");
    }

    fn create(&mut self, path: &str, lifetime: LifetimeKind, acl: Option<Acl>) {
        self.make(&Body::Single(Operation::Create {
            path: path.to_owned(),
            data: Bytes::new(),
            lifetime,
            sequence: Sequence::None,
            parents: false,
            acl,
        }));
    }

    fn rule(&mut self, object: &str, who: &str, permissions: Permissions) {
        let rule = Rule { who: identity(who), function: None, permissions };
        let change = AccessChange::Grant(Object::parse(object).expect("an object"), rule);
        self.make(&Body::Single(Operation::Access { change, is_forced: true }));
    }

    /// The recipe, and what a lock of it would grant.
    fn make_recipe(&mut self, given: &Given) {
        for parent in ["/recipes", "/recipes/toy"] {
            self.create(parent, LifetimeKind::Persistent, None);
        }
        let bytes = Bytes::from_static(COMPONENT);
        let (component, total_bytes) = (digest(COMPONENT), COMPONENT.len() as u64);
        self.make(&Body::StoreChunk(Chunk { component, index: 0, total_bytes, bytes }));
        if !given.has(Fault::RecipeMissing) {
            let mut deploy = deployment();
            if given.has(Fault::NotACaller) {
                deploy.manifest.callers.insert("go".to_owned(), vec!["token:z".to_owned()]);
            }
            self.make(&Body::Deploy(deploy));
        }
        if given.kind == Kind::Fence {
            self.create("/recipes/toy/l", LifetimeKind::Persistent, None);
            if !given.has(Fault::TargetMissing) {
                self.create("/recipes/toy/l/h", LifetimeKind::Ephemeral, None);
            }
            let (path, data) = ("/recipes/toy/l".to_owned(), Bytes::from_static(b"granted"));
            self.make(&Body::Single(Operation::Set { path, data, condition: Condition::ANY }));
            self.granted = self.view.meta().zxid.0;
        }
    }

    fn make_znodes(&mut self, given: &Given) {
        let forbidden = |fault| given.has(fault).then(not_for_alice);
        if given.has(Fault::ParentMissing) {
            return;
        }
        let lifetime = match given.has(Fault::ParentEphemeral) {
            true => LifetimeKind::Ephemeral,
            false => LifetimeKind::Persistent,
        };
        self.create("/p", lifetime, forbidden(Fault::ParentForbidden));
        let is_there = given.kind.needs_target() && !given.has(Fault::TargetMissing)
            || given.has(Fault::TargetThere);
        if !is_there {
            return;
        }
        if given.kind == Kind::CreateWithParents {
            self.create("/p/q", LifetimeKind::Persistent, forbidden(Fault::ParentForbidden));
            self.create("/p/q/t", LifetimeKind::Persistent, forbidden(Fault::TargetForbidden));
            return;
        }
        self.create(TARGET, LifetimeKind::Persistent, forbidden(Fault::TargetForbidden));
        let is_list = matches!(given.kind, Kind::Children | Kind::ChildrenWithData);
        if is_list || given.kind == Kind::DeleteTree || given.has(Fault::TargetHasChildren) {
            self.create("/p/t/c", LifetimeKind::Persistent, forbidden(Fault::BelowForbidden));
        }
        if given.kind == Kind::DeleteTree {
            self.create("/p/t/c/d", LifetimeKind::Persistent, None);
        }
    }

    fn make_rules(&mut self, given: &Given) {
        let all = Permissions::ALL_OF_ZNODE;
        if given.kind == Kind::RevokeOnSubtree {
            self.rule(TARGET, "token:a", all);
            self.rule(TARGET, "token:other", Permissions::READ);
        }
        // Of what is not there no list can say it.
        for (fault, at) in [(Fault::ParentForbidden, "/p"), (Fault::TargetForbidden, TARGET)] {
            if given.has(fault) && self.view.node(&path(at)).is_none() {
                self.rule(at, "token:z", all);
            }
        }
        let on_cluster = Permissions::ADMIN.with(Permissions::OPERATE);
        if given.has(Fault::ClusterForbidden) {
            self.rule("cluster", "token:z", on_cluster);
        } else if given.kind == Kind::RevokeOnCluster {
            self.rule("cluster", "token:a", on_cluster);
            self.rule("cluster", "token:other", Permissions::OPERATE);
        }
        if given.has(Fault::RecipeForbidden) {
            self.rule("recipe:*", "token:z", Permissions::CALL.with(Permissions::DEPLOY));
        }
    }

    fn make_bounds(&mut self, given: &Given) {
        if given.has(Fault::QuotaPassed) {
            let none = Bounds { soft: None, hard: Some(0) };
            let quota = Quota { znodes: none, bytes: none, ..Quota::default() };
            self.make(&Body::SetQuota { path: "/".to_owned(), quota: Some(quota) });
        }
        if given.has(Fault::OwnedTooMany) {
            let mut session = self.view.session(self.alice).expect("it is open");
            session.owned_count = limits::EPHEMERALS_PER_SESSION_MAX;
            let record = (key::session(self.alice), Some(session.encode()));
            self.view.absorb(self.view.meta().zxid.0, [record].into());
        }
        if given.has(Fault::DiskFull) {
            let (free_bytes, needed_bytes) = (0, 1);
            self.view.set_room(Room::Short { free_bytes, needed_bytes, members: [1, 0, 0] });
        }
    }

    /// Why the request is refused, and which of its operations is.
    fn refusal(&self, body: &Body) -> Option<(ErrorCode, Option<u32>)> {
        let mut world = Self { view: self.view.clone(), ..*self };
        let write = self.view.session(self.alice).map_or(WriteNumber(1), |it| it.last_write.next());
        match session::admit(&self.view, self.alice, write, 0, &Acks::default()) {
            Admission::Refused(refusal) => Some((refusal.code, None)),
            Admission::Execute => refused(&world.execute(self.alice, body)),
            other => panic!("{other:?}"),
        }
    }
}

fn refused(transaction: &Transaction) -> Option<(ErrorCode, Option<u32>)> {
    let Outcome::Replied(reply) = &transaction.outcome else { panic!("it has a reply") };
    match Reply::decode(reply.clone()).expect("a reply") {
        Reply::Done(_) => None,
        Reply::Refused(failure) => {
            assert!(transaction.changes.is_empty(), "refused, and changed: {transaction:?}");
            Some((failure.refusal.code, failure.operation))
        }
    }
}
