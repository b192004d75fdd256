//! Random operations against a naive model, and random refusals of what was proposed. After every step the leader's view,
//! the follower and the model agree, and the invariants of `support::invariants` hold. A failure prints its seed.

#[path = "model/compare.rs"]
mod compare;
#[path = "model/lists.rs"]
mod lists;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_core::access::{Acl, Held, Identity, Permissions};
use quorate_core::condition::Condition;
use quorate_core::error::ErrorCode;
use quorate_core::execute::{self, Executed};
use quorate_core::ids::{SessionId, WriteNumber};
use quorate_core::key;
use quorate_core::limits;
use quorate_core::path::Path;
use quorate_core::read::{Direction, Read};
use quorate_core::request::{Answer, Body, LifetimeKind, Operation, Reply, Request, Sequence};
use quorate_core::session::{self, Acks, Admission, Opening};
use quorate_core::transaction::Outcome;
use quorate_core::znode::{Lifetime, Stat};

use lists::distinct;
use support::pair::Pair;
use support::rights::{self, Rights};
use support::steps::{Step, step};
use support::toys::Toys;

/// What the model knows of a znode.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelNode {
    data: Vec<u8>,
    version: u64,
    czxid: u64,
    mzxid: u64,
    pzxid: u64,
    children_created: u64,
    children_deleted: u64,
    lifetime: Lifetime,
    mtime: u64,
    /// When its last child went.
    emptied: u64,
    acl: Option<Acl>,
    aversion: u64,
}

impl ModelNode {
    fn new(zxid: u64, time: u64, data: &[u8], lifetime: Lifetime) -> Self {
        Self {
            data: data.to_vec(),
            version: 0,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            children_created: 0,
            children_deleted: 0,
            lifetime,
            mtime: time,
            emptied: 0,
            acl: None,
            aversion: 0,
        }
    }

    /// Whether the leader deletes it at this time.
    fn is_due(&self, time: u64) -> bool {
        self.children_created == self.children_deleted
            && match self.lifetime {
                Lifetime::Ttl(ms) => self.mtime + ms <= time,
                Lifetime::Container => {
                    self.children_created > 0 && self.emptied + limits::CONTAINER_EMPTY_MS <= time
                }
                _ => false,
            }
    }
}

/// What the model knows of a session: whether it lives, and the replies that it was given and has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelSession {
    is_live: bool,
    last_write: u64,
    kept: BTreeMap<u64, Reply>,
    known_as: Vec<Identity>,
}

/// Paths to znodes, sessions in a map: no keys, no ranges, no layers. Cloned before everything that may be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    zxid: u64,
    time: u64,
    nodes: BTreeMap<String, ModelNode>,
    sessions: BTreeMap<SessionId, ModelSession>,
    rights: Rights,
}

fn is_empty(acl: Option<&Acl>) -> bool {
    acl.is_some_and(|acl| acl.entries.is_empty())
}

fn parent_of(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
    }
}

impl Model {
    fn new() -> Self {
        let root = ModelNode::new(0, 0, b"", Lifetime::Persistent);
        let nodes = [("/".to_owned(), root)].into();
        let (sessions, rights) = (BTreeMap::new(), Rights::default());
        Self { zxid: 0, time: 0, nodes, sessions, rights }
    }

    fn children(&self, path: &str) -> Vec<String> {
        let below = self.nodes.keys().filter(|child| *child != "/" && parent_of(child) == path);
        below.map(|child| child.rsplit('/').next().unwrap_or_default().to_owned()).collect()
    }

    fn create(
        &mut self,
        zxid: u64,
        path: &str,
        node_data: &[u8],
        lifetime: Lifetime,
        sequence: Sequence,
    ) -> Result<String, ErrorCode> {
        let parent_path = parent_of(path);
        let parent = self.nodes.get(&parent_path).ok_or(ErrorCode::NoNode)?.clone();
        let number = parent.children_created;
        let path = match sequence {
            Sequence::None => path.to_owned(),
            Sequence::Native => format!("{path}{number:019}"),
            Sequence::ZooKeeper => format!("{path}{number:010}"),
        };
        if self.nodes.contains_key(&path) {
            return Err(ErrorCode::NodeExists);
        }
        if parent.lifetime.session().is_some() {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.nodes.insert(path.clone(), ModelNode::new(zxid, self.time, node_data, lifetime));
        let parent = self.nodes.get_mut(&parent_path).expect("looked up above");
        parent.children_created += 1;
        parent.pzxid = zxid;
        Ok(path)
    }

    /// A znode that need not be there, and what the session may do to it.
    fn require(&self, session: SessionId, path: &str, one: Permissions) -> Result<(), ErrorCode> {
        let own = self.nodes.get(path).and_then(|node| node.acl.as_ref());
        let known = &self.sessions[&session].known_as;
        if self.rights.may(known, path, own, one) { Ok(()) } else { Err(ErrorCode::NoAccess) }
    }

    fn expect(
        &self,
        session: SessionId,
        path: &str,
        one: Permissions,
        condition: &Condition,
    ) -> Result<&ModelNode, ErrorCode> {
        let node = self.nodes.get(path).ok_or(ErrorCode::NoNode)?;
        if !one.is_empty() {
            self.require(session, path, one)?;
        }
        let fields = [
            (condition.version, node.version),
            (condition.czxid, node.czxid),
            (condition.mzxid, node.mzxid),
            (condition.pzxid, node.pzxid),
            (condition.cversion, node.children_created + node.children_deleted),
            (condition.aversion, node.aversion),
        ];
        let is_so = fields.iter().all(|(wanted, found)| wanted.is_none_or(|one| one == *found));
        if is_so { Ok(node) } else { Err(ErrorCode::BadVersion) }
    }

    /// A znode and all below it, children before parents.
    fn subtree(&self, top: &str) -> Vec<String> {
        let below = format!("{top}/");
        let paths = self.nodes.keys().filter(|path| *path == top || path.starts_with(&below));
        let mut paths: Vec<String> = paths.cloned().collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        paths
    }

    fn delete(&mut self, zxid: u64, path: &str) {
        self.nodes.remove(path);
        let parent = self.nodes.get_mut(&parent_of(path)).expect("a parent outlives its children");
        parent.children_deleted += 1;
        parent.pzxid = zxid;
        if parent.children_created == parent.children_deleted {
            parent.emptied = self.time;
        }
    }

    /// Carries out an operation; the path that it made or touched.
    #[allow(clippy::too_many_lines, reason = "one arm for each operation")]
    fn operate(
        &mut self,
        zxid: u64,
        session: SessionId,
        operation: &Operation,
    ) -> Result<String, ErrorCode> {
        match operation {
            Operation::Create { path, data, lifetime, sequence, parents, acl } => {
                if is_empty(acl.as_ref()) {
                    return Err(ErrorCode::InvalidAcl);
                }
                let mut missing = Vec::new();
                let mut at = parent_of(path);
                while *parents && !self.nodes.contains_key(&at) {
                    missing.push(at.clone());
                    at = parent_of(&at);
                }
                if !self.nodes.contains_key(&at) {
                    return Err(ErrorCode::NoNode);
                }
                for path in missing.iter().chain([&at]) {
                    self.require(session, path, Permissions::CREATE)?;
                }
                for path in missing.iter().rev() {
                    self.create(zxid, path, b"", Lifetime::Persistent, Sequence::None)?;
                }
                let lifetime = match lifetime {
                    LifetimeKind::Persistent => Lifetime::Persistent,
                    LifetimeKind::Ephemeral => Lifetime::Ephemeral(session),
                    LifetimeKind::Container => Lifetime::Container,
                    LifetimeKind::Ttl(ms) => Lifetime::Ttl(*ms),
                    LifetimeKind::CallOwned => return Err(ErrorCode::BadArguments),
                };
                let made = self.create(zxid, path, data, lifetime, *sequence)?;
                let acl = acl.as_ref().map(distinct);
                self.nodes.get_mut(&made).expect("made above").acl = acl;
                Ok(made)
            }
            Operation::Set { path, data, condition } => {
                self.expect(session, path, Permissions::WRITE, condition)?;
                let node = self.nodes.get_mut(path).expect("looked up above");
                node.data = data.to_vec();
                node.version += 1;
                node.mzxid = zxid;
                node.mtime = self.time;
                Ok(path.clone())
            }
            Operation::Delete { path, condition } => {
                if path == "/" {
                    return Err(ErrorCode::BadArguments);
                }
                self.expect(session, &parent_of(path), Permissions::DELETE, &Condition::ANY)?;
                self.expect(session, path, Permissions::NONE, condition)?;
                if !self.children(path).is_empty() {
                    return Err(ErrorCode::NotEmpty);
                }
                self.delete(zxid, path);
                Ok(path.clone())
            }
            Operation::Check { path, condition } => {
                self.expect(session, path, Permissions::READ, condition).map(|_| path.clone())
            }
            Operation::SetAcl { path, acl, version, is_forced } => {
                self.set_acl(session, path, acl.as_ref(), *version, *is_forced)?;
                Ok(path.clone())
            }
            Operation::Access { change, is_forced } => {
                let known = self.sessions[&session].known_as.clone();
                let own = |path: &str| self.nodes.get(path).and_then(|node| node.acl.clone());
                self.rights.change(&known, change, *is_forced, own)?;
                Ok(String::new())
            }
            Operation::CheckAbsent { path } => match self.nodes.get(path) {
                Some(_) => {
                    self.require(session, path, Permissions::READ)?;
                    Err(ErrorCode::NodeExists)
                }
                None => Ok(path.clone()),
            },
            Operation::CreateOrGet { path, acl, .. } | Operation::SetOrCreate { path, acl, .. }
                if self.nodes.contains_key(path) && is_empty(acl.as_ref()) =>
            {
                Err(ErrorCode::InvalidAcl)
            }
            Operation::CreateOrGet { path, .. } if self.nodes.contains_key(path) => {
                self.require(session, path, Permissions::READ)?;
                Ok(path.clone())
            }
            Operation::SetOrCreate { path, data, .. } if self.nodes.contains_key(path) => {
                let (path, data) = (path.clone(), data.clone());
                let set = Operation::Set { path, data, condition: Condition::ANY };
                self.operate(zxid, session, &set)
            }
            Operation::CreateOrGet { path, data, lifetime, parents, acl }
            | Operation::SetOrCreate { path, data, lifetime, parents, acl } => {
                let create = Operation::Create {
                    path: path.clone(),
                    data: data.clone(),
                    lifetime: *lifetime,
                    sequence: Sequence::None,
                    parents: *parents,
                    acl: acl.clone(),
                };
                self.operate(zxid, session, &create)
            }
            Operation::DeleteTree { path, condition } => {
                if path == "/" {
                    return Err(ErrorCode::BadArguments);
                }
                self.expect(session, &parent_of(path), Permissions::DELETE, &Condition::ANY)?;
                self.expect(session, path, Permissions::NONE, condition)?;
                for path in self.subtree(path) {
                    if !self.children(&path).is_empty() {
                        self.require(session, &path, Permissions::DELETE)?;
                    }
                }
                for path in self.subtree(path) {
                    self.delete(zxid, &path);
                }
                Ok(path.clone())
            }
            Operation::Get { path } | Operation::Stat { path } => {
                self.expect(session, path, Permissions::READ, &Condition::ANY).map(|_| path.clone())
            }
            Operation::Children { path, with_data, .. } => {
                self.expect(session, path, Permissions::READ, &Condition::ANY)?;
                let slash = if path == "/" { "" } else { "/" };
                for name in self.children(path).iter().filter(|_| *with_data) {
                    self.require(session, &format!("{path}{slash}{name}"), Permissions::READ)?;
                }
                Ok(path.clone())
            }
            Operation::Exists { path } => {
                if self.nodes.contains_key(path) {
                    self.require(session, path, Permissions::READ)?;
                }
                Ok(path.clone())
            }
            Operation::Call(_) | Operation::Fence(_) => Err(ErrorCode::NoRecipe),
        }
    }

    /// An answer shows the tree as of its operation. `made`: the path that it made or touched.
    fn check_answer(&self, operation: &Operation, made: &str, answer: &Answer) {
        let node = self.nodes.get(made);
        let same = |stat: &Stat| {
            let node = node.expect("it is there");
            let found = (stat.version, stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.lifetime);
            assert_eq!(found, (node.version, node.czxid, node.mzxid, node.pzxid, node.lifetime));
        };
        match answer {
            Answer::Created { path, stat } => {
                assert_eq!(path, made);
                same(stat);
            }
            Answer::Stat(stat) | Answer::Exists(Some(stat)) => same(stat),
            Answer::Exists(None) => assert_eq!(node, None),
            Answer::Node { data, stat } => {
                assert_eq!(*data, node.expect("it is there").data);
                same(stat);
            }
            Answer::Names(listing) => assert_eq!(listing.children, self.children(made)),
            Answer::Children(listing) => {
                let names: Vec<String> =
                    listing.children.iter().map(|child| child.name.clone()).collect();
                assert_eq!(names, self.children(made));
            }
            Answer::Done | Answer::Deleted { .. } => {}
            other => panic!("{operation:?}: {other:?}"),
        }
    }

    fn end_session(&mut self, zxid: u64, id: SessionId) {
        let owned = self.nodes.iter().filter(|(_, node)| node.lifetime.session() == Some(id));
        for path in owned.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.delete(zxid, &path);
        }
        self.sessions.get_mut(&id).expect("it was opened").is_live = false;
    }
}

/// Pair and model, and the model as it was before each transaction in flight.
struct Run {
    pair: Pair,
    model: Model,
    before: Vec<Model>,
    requests: BTreeMap<SessionId, Request>,
}

impl Run {
    fn session(&self, index: usize) -> Option<SessionId> {
        let count = self.model.sessions.len();
        if count == 0 { None } else { self.model.sessions.keys().nth(index % count).copied() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open => {
                self.before.push(self.model.clone());
                let count = self.model.sessions.len();
                let known_as = rights::known_as(count);
                let (transaction, ()) = self.pair.execute(|view, slot| {
                    let principal = ["", "alice", "bob"][count % 3].to_owned();
                    let identities = known_as.iter().cloned().map(Held::for_good).collect();
                    let opening =
                        Opening { timeout_ms: 1_000, secret_hash: [0; 32], principal, identities };
                    let opened = execute::open_session(view, slot, opening);
                    (opened.0, Some(opened.1.expect("there is room")), ())
                });
                self.tick();
                self.model.zxid += 1;
                let id = SessionId(transaction.expect("a session was opened").zxid.0);
                let kept = BTreeMap::new();
                let session = ModelSession { is_live: true, last_write: 0, kept, known_as };
                self.model.sessions.insert(id, session);
            }
            Step::Expire(index) => self.expire(index),
            Step::Write { session, body, low, range } => self.write(session, *body, low, range),
            Step::Resend(index) => self.resend(index),
            Step::ApplyUntold => {
                if self.pair.apply_untold() {
                    self.before.remove(0);
                }
            }
            Step::Tell => self.pair.tell(),
            Step::ApplyAll => {
                self.pair.apply_all();
                self.before.clear();
            }
            Step::Refuse(survivors) => {
                if let Some(model) = self.before.get(survivors) {
                    self.model = model.clone();
                }
                self.before.clear();
                self.pair.refuse(survivors);
                // Requests that were refused are unknown again.
                let sessions = &self.model.sessions;
                self.requests.retain(|id, request| {
                    sessions.get(id).is_some_and(|known| request.write.0 <= known.last_write)
                });
            }
            Step::Clock(time) => self.pair.now.0 = time,
            Step::Pass(ms) => self.pair.now = self.pair.now.plus(ms),
            Step::Reap => self.reap(),
        }
        self.model.compare(&self.pair.follower);
    }

    /// Time as the next transaction has it.
    fn tick(&mut self) {
        self.model.time = self.model.time.max(self.pair.now.0);
    }

    /// What stands under its time is what the model would delete, and those of another time are not deleted.
    fn reap(&mut self) {
        let now = self.model.time.max(self.pair.now.0);
        let (from, to) = key::reap_until(now);
        let due: Vec<Path> = self
            .pair
            .view
            .range(&from, &to, Direction::Forward)
            .filter_map(|(key, _)| key::reap_path(&key))
            .collect();
        let nodes = self.model.nodes.iter();
        let expected: BTreeSet<&str> =
            nodes.filter(|(_, node)| node.is_due(now)).map(|(path, _)| path.as_str()).collect();
        assert_eq!(due.iter().map(Path::as_str).collect::<BTreeSet<_>>(), expected);
        let all: Vec<Path> =
            self.model.nodes.keys().map(|path| Path::parse(path).expect("valid")).collect();
        for path in all {
            let before = self.model.clone();
            let (transaction, ()) = self.pair.execute(|view, slot| {
                let (view, transaction) = execute::reap(view, slot, &path);
                (view, transaction, ())
            });
            assert_eq!(transaction.is_some(), due.contains(&path), "{path}");
            if transaction.is_some() {
                self.before.push(before);
                self.tick();
                self.model.zxid += 1;
                self.model.delete(self.model.zxid, path.as_str());
            }
        }
    }

    fn expire(&mut self, index: usize) {
        let Some(id) = self.session(index) else { return };
        let before = self.model.clone();
        let (transaction, ()) = self.pair.execute(|view, slot| {
            let (view, transaction) = execute::expire_session(view, slot, id);
            (view, transaction, ())
        });
        assert_eq!(transaction.is_some(), self.model.sessions[&id].is_live);
        if transaction.is_some() {
            self.before.push(before);
            self.tick();
            self.model.zxid += 1;
            self.model.end_session(self.model.zxid, id);
        }
    }

    fn write(&mut self, index: usize, body: Body, low: u64, range: Option<(u64, u64)>) {
        let Some(id) = self.session(index) else { return };
        let known = self.model.sessions[&id].clone();
        let low = known.last_write.saturating_sub(low);
        let ranges = range.map(|(gap, length)| (low + 2 + gap, low + 2 + gap + length));
        let acks = Acks {
            low: WriteNumber(low),
            ranges: ranges.iter().map(|&(from, to)| (WriteNumber(from), WriteNumber(to))).collect(),
        };
        let write = WriteNumber(known.last_write + 1);
        let hash = xxhash_rust::xxh3::xxh3_128(format!("{body:?}").as_bytes());
        let admission = session::admit(&self.pair.view, id, write, hash, &acks);
        if !known.is_live {
            assert!(matches!(admission, Admission::Refused(_)), "{admission:?}");
            return;
        }
        assert_eq!(admission, Admission::Execute);
        let request = Request { session: id, write, hash, acks, body, address: None };
        self.before.push(self.model.clone());
        let (transaction, ()) = self.pair.execute(|view, slot| {
            let Executed { view, transaction, waits } =
                execute::write(view, slot, &request, &mut Toys::default());
            assert_eq!(waits, None);
            (view, transaction, ())
        });
        let transaction = transaction.expect("every executed request is a transaction");
        let Outcome::Replied(reply) = transaction.outcome else { panic!("it has a reply") };
        let reply = Reply::decode(reply).expect("a reply decodes");
        self.expect_reply(id, &request.body, &reply);
        let session = self.model.sessions.get_mut(&id).expect("it was opened");
        let last = session.last_write;
        session.kept.retain(|&write, _| {
            write > low && !ranges.iter().any(|&(from, to)| (from..=to.min(last)).contains(&write))
        });
        session.last_write = write.0;
        session.kept.insert(write.0, reply);
        self.requests.insert(id, request);
    }

    /// Carries the body out on the model; the reply must say the same.
    fn expect_reply(&mut self, id: SessionId, body: &Body, reply: &Reply) {
        self.tick();
        self.model.zxid += 1;
        let zxid = self.model.zxid;
        let mut after = self.model.clone();
        let (operations, is_multi) = match body {
            Body::Single(operation) => (std::slice::from_ref(operation), false),
            Body::Multi(operations) => (operations.as_slice(), true),
            _ => {
                self.model.end_session(zxid, id);
                return assert_eq!(reply, &Reply::Done(Answer::Done));
            }
        };
        for (index, operation) in (0u32..).zip(operations) {
            let made = after.operate(zxid, id, operation);
            let answer = match (reply, &made) {
                (Reply::Done(Answer::Multi(answers)), Ok(_)) => &answers[index as usize],
                (Reply::Done(answer), Ok(_)) => answer,
                (Reply::Refused(failure), Err(code)) => {
                    assert_eq!(failure.refusal.code, *code, "{operation:?}");
                    assert_eq!(failure.operation, is_multi.then_some(index));
                    return;
                }
                (Reply::Refused(failure), Ok(_)) if failure.operation > Some(index) => {
                    continue;
                }
                _ => panic!("{operation:?}: the model says {made:?}, the reply {reply:?}"),
            };
            if let Ok(made) = &made {
                after.check_answer(operation, made, answer);
            }
        }
        assert!(matches!(reply, Reply::Done(_)), "the model refuses nothing: {reply:?}");
        self.model = after;
    }

    fn resend(&mut self, index: usize) {
        let Some(id) = self.session(index) else { return };
        let Some(request) = self.requests.get(&id) else { return };
        let Request { write, hash, acks, .. } = request;
        let admission = session::admit(&self.pair.view, id, *write, *hash, acks);
        match self.model.sessions[&id].kept.get(&write.0) {
            Some(reply) => {
                let Admission::Kept(kept) = admission else { panic!("{admission:?}") };
                assert_eq!(&Reply::decode(kept.reply).expect("it decodes"), reply);
                let other = session::admit(&self.pair.view, id, *write, hash ^ 1, acks);
                assert!(matches!(other, Admission::Refused(_)), "{other:?}");
            }
            None => assert!(matches!(admission, Admission::Refused(_)), "{admission:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn leader_follower_and_model_agree_after_every_step(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut run = Run {
            pair: Pair::new(),
            model: Model::new(),
            before: Vec::new(),
            requests: BTreeMap::new(),
        };
        run.step(Step::Open);
        for step in steps {
            run.step(step);
        }
        run.pair.replay();
    }
}
