//! Messages to test with: arbitrary ones (`arbitrary`), and here a few that hold each kind of everything.

pub mod arbitrary;

use bytes::Bytes;
use quorate_core::access::ask::RulesPage;
use quorate_core::access::{
    AccessChange, Acl, AclEntry, Held, Identity, Object, Permissions, Rule, Rules, Stance,
};
use quorate_core::condition::Condition;
use quorate_core::deployment::{Instances, Manifest, Mount, Version};
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{Epoch, Millis, NamespaceId, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::path::Path;
use quorate_core::query::quota::QuotaUse;
use quorate_core::query::subtree::Subtree;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::quota::{Metered, Used};
use quorate_core::read::Direction;
use quorate_core::request::{
    Answer, Body, Call, Chunk, Deploy, Failure, Fence, LifetimeKind, Operation, Reply, Sequence,
};
use quorate_core::session::Acks;
use quorate_core::znode::{Lifetime, Stat};
use quorate_wire::message::admin::{ClusterStatus, Command, MemberLine, Outcome};
use quorate_wire::message::query::{LogLine, RecipeLine, SnapshotPlace, Status};
use quorate_wire::message::watch::{
    Event, EventKind, EventMessage, Previous, Scope, Watch, WatchEnd, Watched,
};
use quorate_wire::message::whoami::Whoami;
use quorate_wire::message::{AccessQuery, AccessResults};
use quorate_wire::message::{
    Attach, ClientMessage, Consistency, Credential, Hello, Query, Results, ServerMessage, Welcome,
    body,
};
use quorate_wire::protocol::Versions;

use crate::parts::quota;

fn quota_use() -> QuotaUse {
    let metered = Metered { quota: quota(), warned_count: 300, ..Metered::default() };
    QuotaUse { path: "/a".to_owned(), used: Used { znodes: 300, bytes: 2 }, metered }
}

fn place() -> SnapshotPlace {
    SnapshotPlace { identity: [0xab; 16], offset: 300 }
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("a valid path")
}

fn manifest() -> Manifest {
    let mut manifest = Manifest::for_root(path("/recipes/lock"));
    manifest.mounts.push(Mount { at: path("/c"), path: path("/app/c"), writable: true });
    manifest.callers.insert("acquire".to_owned(), vec!["alice".to_owned(), "*".to_owned()]);
    manifest.config.insert("grace".to_owned(), "5".to_owned());
    manifest.instances = Instances::Reused;
    manifest
}

fn stat() -> Stat {
    Stat {
        czxid: Zxid(300),
        mzxid: Zxid(301),
        pzxid: Zxid(302),
        ctime: Millis(1_700_000_000_000),
        mtime: Millis(1_700_000_000_001),
        version: 2,
        cversion: 3,
        aversion: 0,
        lifetime: Lifetime::Ephemeral(SessionId(41)),
        data_bytes: 4,
        children_count: 1,
    }
}

fn refusal() -> Refusal {
    Refusal::new(ErrorCode::NoNode, "there is no \"/a\"".to_owned())
}

fn create(lifetime: LifetimeKind, sequence: Sequence, parents: bool) -> Operation {
    let (path, data) = ("/a/n-".to_owned(), Bytes::from_static(b"data"));
    let acl = parents.then(acl);
    Operation::Create { path, data, lifetime, sequence, parents, acl }
}

/// Each kind of operation, with each of its choices.
fn operations() -> Vec<Operation> {
    let (path, data) = (|| "/a".to_owned(), || Bytes::from_static(b"data"));
    let condition = Condition {
        version: None,
        czxid: Some(1),
        mzxid: Some(300),
        pzxid: Some(3),
        cversion: Some(0),
        aversion: Some(5),
    };
    let page = Page { after: Some("n-7".to_owned()), limit: 300, direction: Direction::Backward };
    let (lifetime, node) = (LifetimeKind::Ttl(300), "/a/_lock/w0".to_owned());
    vec![
        create(LifetimeKind::Persistent, Sequence::None, true),
        create(LifetimeKind::Ephemeral, Sequence::Native, false),
        create(LifetimeKind::CallOwned, Sequence::ZooKeeper, false),
        create(LifetimeKind::Container, Sequence::None, false),
        create(LifetimeKind::Ttl(300), Sequence::None, false),
        Operation::Set { path: path(), data: data(), condition: Condition::version(300) },
        Operation::Delete { path: path(), condition: Condition::ANY },
        Operation::Check { path: path(), condition: Condition::version(0) },
        Operation::Call(call("acquire")),
        Operation::SetAcl { path: path(), acl: Some(acl()), version: Some(300), is_forced: false },
        Operation::SetAcl { path: path(), acl: None, version: None, is_forced: true },
        access(AccessChange::Grant(object("/a"), rule("x509:CN=alice", None, "cdrwa"))),
        access(AccessChange::Grant(
            object("recipe:lock"),
            rule("token:ci", Some("acquire"), "call"),
        )),
        access(AccessChange::Revoke(object("cluster"), rule("super:", None, "operate"))),
        access(AccessChange::Revoke(object("recipe:*"), rule("ip:10.0.0.0/8", None, "deploy"))),
        access(AccessChange::SetStance(Stance::Deny)),
        Operation::Check { path: path(), condition },
        Operation::CheckAbsent { path: path() },
        Operation::CreateOrGet {
            path: path(),
            data: data(),
            lifetime,
            parents: true,
            acl: Some(acl()),
        },
        Operation::SetOrCreate { path: path(), data: data(), lifetime, parents: false, acl: None },
        Operation::DeleteTree { path: path(), condition },
        Operation::Fence(Fence { recipe: "lock".to_owned(), node, token: 300 }),
        Operation::Get { path: path() },
        Operation::Stat { path: path() },
        Operation::Exists { path: path() },
        Operation::Children { path: path(), page: Page::first(), with_data: false },
        Operation::Children { path: path(), page, with_data: true },
    ]
}

fn access(change: AccessChange) -> Operation {
    Operation::Access { change, is_forced: false }
}

fn object(text: &str) -> Object {
    Object::parse(text).expect("an object")
}

fn rule(who: &str, function: Option<&str>, permissions: &str) -> Rule {
    let permissions = Permissions::parse(permissions).expect("permissions");
    let who = Identity::parse(who).expect("an identity");
    Rule { who, function: function.map(str::to_owned), permissions }
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    for rule in [rule("token:ci", Some("acquire"), "call"), rule("world:anyone", None, "call")] {
        rules.grant(rule).expect("there is room");
    }
    rules
}

fn acl() -> Acl {
    let lines = ["world:anyone:r", "digest:alice:D/InIHSb7yEEbrWz8b9l71RjZJU=:cdrwa"];
    Acl { entries: lines.map(|line| AclEntry::parse(line).expect("an entry")).into() }
}

fn call(function: &str) -> Call {
    Call {
        recipe: "lock".to_owned(),
        function: function.to_owned(),
        signature: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        arguments: Bytes::from_static(&[2, b'/', b'a']),
    }
}

/// One of format 2.
fn manifest_that_reads() -> Manifest {
    let read_only = ["holder", "lock.waiting"].map(str::to_owned).into();
    Manifest { read_only, ..manifest() }
}

/// Each kind of body.
pub fn bodies() -> Vec<Body> {
    let (recipe, component) = ("lock".to_owned(), [0xcd; 32]);
    vec![
        Body::Single(create(LifetimeKind::Persistent, Sequence::None, true)),
        Body::Multi(operations()),
        Body::Cancel(WriteNumber(300)),
        Body::CloseSession,
        Body::StoreChunk(Chunk {
            component,
            index: 1,
            total_bytes: 300_000,
            bytes: Bytes::from_static(b"\0asm"),
        }),
        Body::Deploy(Deploy {
            recipe: recipe.clone(),
            component,
            manifest: manifest(),
            breaking_allowed: true,
        }),
        Body::Rollback { recipe: recipe.clone(), version: 3 },
        Body::RemoveRecipe(recipe.clone()),
        Body::SetQuota { path: "/a".to_owned(), quota: Some(quota()) },
        Body::SetQuota { path: "/a".to_owned(), quota: None },
        Body::Deploy(Deploy {
            recipe,
            component,
            manifest: manifest_that_reads(),
            breaking_allowed: false,
        }),
    ]
}

/// Each kind of reply.
pub fn replies() -> Vec<Reply> {
    let created = || Answer::Created { path: "/a".to_owned(), stat: stat() };
    let called = Answer::Called(Bytes::from_static(b"value"));
    let value = Some(Bytes::from_static(b"error"));
    vec![
        Reply::Done(Answer::Done),
        Reply::Done(created()),
        Reply::Done(Answer::Stat(Stat { lifetime: Lifetime::Ttl(300), ..stat() })),
        Reply::Done(called.clone()),
        Reply::Done(Answer::Multi(vec![Answer::Done, created(), Answer::Stat(stat()), called])),
        Reply::Done(Answer::Activated { version: 300 }),
        Reply::Done(Answer::Node { data: Bytes::from_static(b"data"), stat: stat() }),
        Reply::Done(Answer::Names(Listing { children: vec!["n-1".to_owned()], has_more: true })),
        Reply::Done(Answer::Children(Listing { children: vec![child()], has_more: false })),
        Reply::Done(Answer::Exists(None)),
        Reply::Done(Answer::Exists(Some(stat()))),
        Reply::Done(Answer::Deleted { count: 300 }),
        Reply::Refused(refusal().into()),
        Reply::Refused(Failure { refusal: refusal(), operation: Some(2), value }),
    ]
}

/// Each kind of query.
fn queries() -> Vec<Query> {
    let (path, recipe) = (|| "/a".to_owned(), || "lock".to_owned());
    let backward =
        Page { after: Some("n-7".to_owned()), limit: 300, direction: Direction::Backward };
    vec![
        Query::Get(path()),
        Query::Stat(path()),
        Query::Children { path: path(), page: Page::first(), with_data: false },
        Query::Children { path: path(), page: backward, with_data: true },
        Query::Recipes,
        Query::History(recipe()),
        Query::Interface(recipe()),
        Query::Logs { recipe: recipe(), limit: 300 },
        Query::Status,
        Query::Snapshot { bulk: 300, go_on: None },
        Query::Snapshot { bulk: 1, go_on: Some(place()) },
        Query::Call(call("holder")),
        Query::Access(AccessQuery::Acl(path())),
        Query::Access(AccessQuery::RulesOn(object("/a"))),
        Query::Access(AccessQuery::Rules { after: Some(object("recipe:lock")) }),
        Query::Access(AccessQuery::May {
            who: Some(vec![Identity::anyone()]),
            permission: Permissions::CALL,
            object: object("recipe:lock"),
            function: Some("acquire".to_owned()),
        }),
        Query::Watch(watch(Scope::Node, Some(Query::Get(path())))),
        Query::Watch(Watch {
            from: Some(Zxid(300)),
            once: true,
            with_data: true,
            ..watch(Scope::Children, None)
        }),
        Query::Watch(Watch { with_previous: true, ..watch(Scope::Subtree, None) }),
        Query::Unwatch(300),
        Query::Quotas { after: Some("/a".to_owned()), limit: 300 },
        Query::Many(vec![Query::Get(path()), Query::Stat(path())]),
        Query::Subtree(path()),
        Query::Ephemerals { session: SessionId(300), prefix: path(), after: None, limit: 0 },
        Query::Ephemerals {
            session: SessionId(1),
            prefix: path(),
            after: Some("/a/b".to_owned()),
            limit: 300,
        },
        Query::Whoami,
        Query::Scan { bulk: 300, path: path(), after: None, with_data: true },
        Query::Scan { bulk: 1, path: path(), after: Some("/a/b".to_owned()), with_data: false },
    ]
}

fn watch(scope: Scope, first: Option<Query>) -> Watch {
    Watch {
        watch: 300,
        path: "/a".to_owned(),
        scope,
        from: None,
        once: false,
        with_data: false,
        with_previous: false,
        first: first.map(Box::new),
    }
}

/// Each kind of frame of an event lane, with each kind of event.
pub fn event_messages() -> Vec<EventMessage> {
    let (watch, zxid) = (300, Zxid(301));
    let data = || Bytes::from_static(b"data");
    let event = |kind, version, data, previous| {
        let path = "/a/n-1".to_owned();
        Event { path, kind, version, data, previous }
    };
    let ended = |end| EventMessage::Ended { watch, position: zxid, end };
    vec![
        EventMessage::Head { session: SessionId(300), attachment: 2 },
        EventMessage::Events {
            watch,
            zxid,
            time_ms: 1_700_000_000_000,
            events: vec![
                event(EventKind::Created(Lifetime::Persistent), 0, Some(data()), Previous::None),
                event(EventKind::Set, 300, Some(Bytes::new()), Previous::Data(data())),
            ],
            has_more: true,
        },
        EventMessage::Events {
            watch,
            zxid,
            time_ms: 1_700_000_000_000,
            events: vec![event(EventKind::Deleted, 300, None, Previous::Gone)],
            has_more: false,
        },
        EventMessage::Progress { zxid },
        ended(WatchEnd::Fired),
        ended(WatchEnd::NotHere { oldest: Zxid(400) }),
        ended(WatchEnd::Refused(refusal())),
    ]
}

fn held(text: &str, expires: Option<u64>) -> Held {
    Held { identity: Identity::parse(text).expect("an identity"), expires: expires.map(Millis) }
}

/// Each kind of credential.
pub fn credentials() -> Vec<Credential> {
    vec![
        Credential::Token("header.claims.signature".to_owned()),
        Credential::Password { user: "ann".to_owned(), password: "hunter2".to_owned() },
        Credential::House([0xab; 32]),
    ]
}

/// Each kind of message from a client.
pub fn client_messages() -> Vec<ClientMessage> {
    let hello = |attach| {
        let (agent, namespace) = ("quorate-client 0.1.0".to_owned(), NamespaceId::DEFAULT);
        let protocols = Versions { min: 1, max: 2 };
        ClientMessage::Hello(Hello { protocols, namespace, agent, attach })
    };
    let acks = Acks { low: WriteNumber(3), ranges: vec![(WriteNumber(5), WriteNumber(300))] };
    let mut messages = vec![
        hello(Attach::New { timeout_ms: 10_000, credentials: Vec::new() }),
        hello(Attach::New { timeout_ms: 10_000, credentials: credentials() }),
        hello(Attach::Resume {
            session: SessionId(300),
            secret: [0xab; 32],
            sent: WriteNumber(301),
        }),
        ClientMessage::Write {
            request: 300,
            write: WriteNumber(301),
            acks: acks.clone(),
            body: body::encode(&Body::Cancel(WriteNumber(7))),
        },
        ClientMessage::BulkWrite {
            request: 300,
            write: WriteNumber(301),
            acks,
            bulk: 2,
            bytes: 70_000,
        },
        ClientMessage::Heartbeat { request: 300 },
    ];
    let levels = [Consistency::Linearizable, Consistency::Session, Consistency::Stale];
    let levels = levels.into_iter().cycle();
    messages.extend(
        queries().into_iter().zip(levels).map(|(query, consistency)| ClientMessage::Read {
            request: 300,
            consistency,
            query,
        }),
    );
    let administer =
        |command| ClientMessage::Administer { request: 300, credentials: Vec::new(), command };
    messages.extend(commands().into_iter().map(administer));
    let (request, credentials) = (300, credentials());
    messages.push(ClientMessage::Administer { request, credentials, command: Command::Status });
    messages
}

fn child() -> Child {
    Child { name: "n-1".to_owned(), stat: stat(), data: Bytes::from_static(b"data") }
}

/// Each kind of results.
fn results() -> Vec<Results> {
    let data = || Bytes::from_static(b"data");
    let version = Version {
        number: 3,
        component: [0xcd; 32],
        manifest: manifest(),
        principal: "operator".to_owned(),
        deployed: Millis(1_700_000_000_000),
    };
    let line = |name: &str, active| RecipeLine { name: name.to_owned(), active, changed: Zxid(9) };
    vec![
        Results::Node { data: data(), stat: stat() },
        Results::Stat(stat()),
        Results::Names(Listing {
            children: vec!["n-1".to_owned(), "\u{e9}".to_owned()],
            has_more: true,
        }),
        Results::Children(Listing { children: vec![child()], has_more: false }),
        Results::Recipes(vec![line("lock", Some(3)), line("old", None)]),
        Results::History { active: Some(3), versions: vec![version] },
        Results::Interface {
            version: 3,
            interfaces: vec![Bytes::from_static(b"description")],
            read_only: vec!["holder".to_owned(), "lock.waiting".to_owned()],
        },
        Results::Logs(vec![LogLine {
            time_ms: 1_700_000_000_000,
            zxid: Zxid(300),
            level: 2,
            message: "late".to_owned(),
        }]),
        Results::Status(status()),
        Results::Snapshot(place()),
        Results::Called(Bytes::from_static(b"value")),
        Results::Access(AccessResults::Acl { acl: Some(acl()), stat: stat() }),
        Results::Access(AccessResults::Rules {
            stance: Stance::Deny,
            page: RulesPage { rules: vec![(object("recipe:lock"), rules())], has_more: true },
        }),
        Results::Access(AccessResults::May {
            is_allowed: false,
            decider: "the rules on /a".to_owned(),
        }),
        Results::Watched(Watched::Open { first: None }),
        Results::Watched(Watched::Open { first: Some(Box::new(Ok(Results::Stat(stat())))) }),
        Results::Watched(Watched::Open { first: Some(Box::new(Err(refusal()))) }),
        Results::Watched(Watched::NotHere { oldest: Zxid(300) }),
        Results::Unwatched,
        Results::Quotas(Listing { children: vec![quota_use()], has_more: true }),
        Results::Scan { mark: 300 },
        Results::Whoami(Whoami {
            principal: "x509:CN=ann".to_owned(),
            identities: vec![held("x509:CN=ann", None), held("token:ci", Some(5_000))],
            address: Some("10.0.0.7".parse().expect("an address")),
            time: Millis(4_000),
        }),
        Results::Many(vec![Ok(Results::Stat(stat())), Err(refusal())]),
        Results::Subtree(Subtree { stat: stat(), znodes: 300, bytes: 70_000 }),
    ]
}

fn status() -> Status {
    Status {
        member: 1,
        version: "0.1.0".to_owned(),
        role: "leader".to_owned(),
        term: Term(7),
        epoch: Epoch(2),
        zxid: Zxid(300),
        leader: Some(3),
        last_index: 202,
        committed_index: 201,
        applied_index: 200,
        digest: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
        sessions: 5,
        cpu_us: 1_000_000,
        memory_bytes: 1 << 30,
        uptime_ms: 3_600_000,
        disk_free_bytes: 1 << 40,
        level: Level(2),
        cluster_level: Level(1),
    }
}

/// Each command to a cluster.
fn commands() -> Vec<Command> {
    let address = || "one.example:4747".to_owned();
    vec![
        Command::Status,
        Command::Initialize { members: vec![(1, address()), (300, "two:1".to_owned())] },
        Command::Add { member: 300, address: address() },
        Command::Promote { member: 300 },
        Command::Remove { member: 300 },
        Command::TransferLeader { to: 300 },
        Command::Update {
            member: 300,
            address: address(),
            incarnation: [0xcd; 16],
            clients: vec!["c:1".to_owned()],
        },
    ]
}

/// Each outcome of a command.
fn outcomes() -> Vec<Result<Outcome, Refusal>> {
    let line = |member, status| MemberLine {
        member,
        address: "one.example:4747".to_owned(),
        is_voter: member == 1,
        status,
    };
    let status = ClusterStatus {
        cluster: Some([0xab; 16]),
        asked: 1,
        leader: Some(300),
        is_changing: true,
        trouble: "refused".to_owned(),
        members: vec![line(1, Ok(status())), line(2, Err("silent".to_owned()))],
    };
    let waiting = ClusterStatus {
        cluster: None,
        leader: None,
        is_changing: false,
        trouble: String::new(),
        members: Vec::new(),
        ..status.clone()
    };
    vec![
        Ok(Outcome::Done),
        Ok(Outcome::Status(status)),
        Ok(Outcome::Status(waiting)),
        Err(refusal()),
    ]
}

/// Each kind of message from a member.
pub fn server_messages() -> Vec<ServerMessage> {
    let request = 300;
    let (zxid, events) = (Zxid(301), 4);
    let mut messages = vec![
        ServerMessage::Welcome(Welcome {
            protocol: 1,
            agent: "quorate 0.1.0".to_owned(),
            session: SessionId(300),
            secret: [0xab; 32],
            timeout_ms: 10_000,
            attachment: 2,
            zxid,
            last_write: WriteNumber(8),
            members: vec!["one.example".to_owned(), "two.example".to_owned()],
        }),
        ServerMessage::Rejected(refusal()),
        ServerMessage::Reply {
            request,
            zxid,
            events,
            reply: Reply::Done(Answer::Activated { version: 3 }).encode(),
        },
        ServerMessage::NotExecuted { request, refusal: refusal() },
        ServerMessage::Confirmed { request },
        ServerMessage::Unconfirmed { request, refusal: refusal() },
        ServerMessage::Goodbye(refusal()),
        ServerMessage::Members(vec!["one.example".to_owned(), "three.example".to_owned()]),
        ServerMessage::ReadReply { request, zxid, events, results: Err(refusal()) },
    ];
    messages.extend(results().into_iter().map(|results| ServerMessage::ReadReply {
        request,
        zxid,
        events,
        results: Ok(results),
    }));
    let administered = |outcome| ServerMessage::Administered { request, outcome };
    messages.extend(outcomes().into_iter().map(administered));
    messages
}
