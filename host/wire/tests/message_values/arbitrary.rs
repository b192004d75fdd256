//! Arbitrary messages, as far as their bytes are concerned. It does not know which of them make sense.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use quorate_core::access::AccessChange;
use quorate_core::access::ask::RulesPage;
use quorate_core::condition::Condition;
use quorate_core::error::{ErrorCode, Refusal};
use quorate_core::ids::{CallId, Epoch, Millis, NamespaceId, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::query::quota::QuotaUse;
use quorate_core::query::subtree::Subtree;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::quota::{Metered, Used};
use quorate_core::read::Direction;
use quorate_core::request::{
    Answer, Body, Call, Chunk, Deploy, Failure, Fence, LifetimeKind, Operation, Reply, Sequence,
};
use quorate_core::znode::{Lifetime, Stat};
use quorate_wire::message::query::{LogLine, RecipeLine, SnapshotPlace, Status};
use quorate_wire::message::watch::{
    Event, EventKind, EventMessage, Previous, Scope, Watch, WatchEnd, Watched,
};
use quorate_wire::message::whoami::Whoami;
use quorate_wire::message::{
    AccessQuery, AccessResults, Attach, ClientMessage, Consistency, Credential, Hello, Query,
    Results, ServerMessage, Welcome,
};
use quorate_wire::protocol::Versions;

use crate::parts::{
    a_rule, acks, acls, bytes, helds, identities, manifests, objects, permissions, quotas, rules,
    stances, text, versions,
};

fn quota_uses() -> impl Strategy<Value = QuotaUse> {
    (text(), any::<[u64; 3]>(), quotas()).prop_map(
        |(path, [znodes, bytes, warned_count], quota)| {
            let metered = Metered { quota, warned_count, ..Metered::default() };
            QuotaUse { path, used: Used { znodes, bytes }, metered }
        },
    )
}

fn zxids() -> impl Strategy<Value = Zxid> {
    any::<u64>().prop_map(Zxid)
}

fn writes() -> impl Strategy<Value = WriteNumber> {
    any::<u64>().prop_map(WriteNumber)
}

fn refusals() -> impl Strategy<Value = Refusal> {
    (select(ErrorCode::ALL), text()).prop_map(|(code, message)| Refusal { code, message })
}

fn lifetimes() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::Persistent),
        any::<u64>().prop_map(|id| Lifetime::Ephemeral(SessionId(id))),
        any::<(u64, u64)>().prop_map(|(id, write)| {
            Lifetime::CallOwned(CallId { session: SessionId(id), write: WriteNumber(write) })
        }),
        Just(Lifetime::Container),
        any::<u64>().prop_map(Lifetime::Ttl),
    ]
}

fn stats() -> impl Strategy<Value = Stat> {
    (any::<[u64; 10]>(), lifetimes()).prop_map(|(numbers, lifetime)| Stat {
        czxid: Zxid(numbers[0]),
        mzxid: Zxid(numbers[1]),
        pzxid: Zxid(numbers[2]),
        ctime: Millis(numbers[3]),
        mtime: Millis(numbers[4]),
        version: numbers[5],
        cversion: numbers[6],
        aversion: numbers[7],
        lifetime,
        data_bytes: numbers[8],
        children_count: numbers[9],
    })
}

fn operations() -> impl Strategy<Value = Operation> {
    use LifetimeKind::{CallOwned, Container, Ephemeral, Persistent, Ttl};
    let lifetimes = prop_oneof![
        select(vec![Persistent, Ephemeral, CallOwned, Container]),
        any::<u64>().prop_map(Ttl)
    ];
    let sequences = select(vec![Sequence::None, Sequence::Native, Sequence::ZooKeeper]);
    let lifetimes_of_others = lifetimes.clone();
    let wanted =
        move || (text(), bytes(), lifetimes_of_others.clone(), any::<bool>(), option::of(acls()));
    let version = || option::of(any::<u64>());
    let changes = prop_oneof![
        (text(), bytes(), lifetimes, sequences, any::<bool>(), option::of(acls())).prop_map(
            |(path, data, lifetime, sequence, parents, acl)| Operation::Create {
                path,
                data,
                lifetime,
                sequence,
                parents,
                acl,
            }
        ),
        (text(), bytes(), conditions()).prop_map(|(path, data, condition)| Operation::Set {
            path,
            data,
            condition
        }),
        (text(), conditions()).prop_map(|(path, condition)| Operation::Delete { path, condition }),
        wanted().prop_map(|(path, data, lifetime, parents, acl)| Operation::CreateOrGet {
            path,
            data,
            lifetime,
            parents,
            acl
        }),
        wanted().prop_map(|(path, data, lifetime, parents, acl)| Operation::SetOrCreate {
            path,
            data,
            lifetime,
            parents,
            acl
        }),
        (text(), conditions())
            .prop_map(|(path, condition)| Operation::DeleteTree { path, condition }),
        calls().prop_map(Operation::Call),
        (text(), option::of(acls()), version(), any::<bool>()).prop_map(
            |(path, acl, version, is_forced)| Operation::SetAcl { path, acl, version, is_forced }
        ),
        (access_changes(), any::<bool>())
            .prop_map(|(change, is_forced)| Operation::Access { change, is_forced }),
    ];
    prop_oneof![changes, looks()]
}

/// Operations that change nothing.
fn looks() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (text(), conditions()).prop_map(|(path, condition)| Operation::Check { path, condition }),
        text().prop_map(|path| Operation::CheckAbsent { path }),
        (text(), text(), any::<u64>()).prop_map(|(recipe, node, token)| Operation::Fence(Fence {
            recipe,
            node,
            token
        })),
        text().prop_map(|path| Operation::Get { path }),
        text().prop_map(|path| Operation::Stat { path }),
        text().prop_map(|path| Operation::Exists { path }),
        (text(), pages(), any::<bool>()).prop_map(|(path, page, with_data)| Operation::Children {
            path,
            page,
            with_data
        }),
    ]
}

fn conditions() -> impl Strategy<Value = Condition> {
    let field = || option::of(any::<u64>());
    (field(), field(), field(), field(), field(), field()).prop_map(
        |(version, czxid, mzxid, pzxid, cversion, aversion)| Condition {
            version,
            czxid,
            mzxid,
            pzxid,
            cversion,
            aversion,
        },
    )
}

fn pages() -> impl Strategy<Value = Page> {
    (option::of(text()), any::<u32>(), any::<bool>()).prop_map(|(after, limit, is_backward)| {
        let direction = if is_backward { Direction::Backward } else { Direction::Forward };
        Page { after, limit, direction }
    })
}

fn calls() -> impl Strategy<Value = Call> {
    (text(), text(), any::<u128>(), bytes()).prop_map(|(recipe, function, signature, arguments)| {
        Call { recipe, function, signature, arguments }
    })
}

/// Bodies of writes.
pub fn bodies() -> impl Strategy<Value = Body> {
    let deploys = (text(), any::<[u8; 32]>(), manifests(), any::<bool>());
    prop_oneof![
        operations().prop_map(Body::Single),
        vec(operations(), 0..4).prop_map(Body::Multi),
        writes().prop_map(Body::Cancel),
        Just(Body::CloseSession),
        (any::<[u8; 32]>(), any::<u32>(), any::<u64>(), bytes()).prop_map(
            |(component, index, total_bytes, bytes)| {
                Body::StoreChunk(Chunk { component, index, total_bytes, bytes })
            }
        ),
        deploys.prop_map(|(recipe, component, manifest, breaking_allowed)| {
            Body::Deploy(Deploy { recipe, component, manifest, breaking_allowed })
        }),
        (text(), any::<u64>()).prop_map(|(recipe, version)| Body::Rollback { recipe, version }),
        text().prop_map(Body::RemoveRecipe),
        (text(), option::of(quotas())).prop_map(|(path, quota)| Body::SetQuota { path, quota }),
    ]
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        Just(Answer::Done),
        (text(), stats()).prop_map(|(path, stat)| Answer::Created { path, stat }),
        stats().prop_map(Answer::Stat),
        bytes().prop_map(Answer::Called),
        any::<u64>().prop_map(|version| Answer::Activated { version }),
        (bytes(), stats()).prop_map(|(data, stat)| Answer::Node { data, stat }),
        listings(text()).prop_map(Answer::Names),
        listings(children()).prop_map(Answer::Children),
        option::of(stats()).prop_map(Answer::Exists),
        any::<u64>().prop_map(|count| Answer::Deleted { count }),
    ]
}

/// Replies to writes.
pub fn replies() -> impl Strategy<Value = Reply> {
    let failures = (refusals(), option::of(any::<u32>()), option::of(bytes()));
    prop_oneof![
        answers().prop_map(Reply::Done),
        vec(answers(), 0..4).prop_map(|answers| Reply::Done(Answer::Multi(answers))),
        failures.prop_map(|(refusal, operation, value)| {
            Reply::Refused(Failure { refusal, operation, value })
        }),
    ]
}

fn places() -> impl Strategy<Value = SnapshotPlace> {
    (any::<[u8; 16]>(), any::<u64>())
        .prop_map(|(identity, offset)| SnapshotPlace { identity, offset })
}

/// Those that read a znode.
fn queries_of_znodes() -> impl Strategy<Value = Query> {
    let children = (text(), pages(), any::<bool>())
        .prop_map(|(path, page, with_data)| Query::Children { path, page, with_data });
    prop_oneof![text().prop_map(Query::Get), text().prop_map(Query::Stat), children]
}

fn watches() -> impl Strategy<Value = Watch> {
    let scopes = select(vec![Scope::Node, Scope::Children, Scope::Subtree]);
    let first = option::of(queries_of_znodes());
    (any::<u64>(), text(), scopes, option::of(zxids()), any::<[bool; 3]>(), first).prop_map(
        |(watch, path, scope, from, [once, with_data, with_previous], first)| {
            let first = first.map(Box::new);
            Watch { watch, path, scope, from, once, with_data, with_previous, first }
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let kinds = prop_oneof![
        lifetimes().prop_map(EventKind::Created),
        Just(EventKind::Set),
        Just(EventKind::Deleted)
    ];
    let previous =
        prop_oneof![Just(Previous::None), Just(Previous::Gone), bytes().prop_map(Previous::Data)];
    (text(), kinds, any::<u64>(), option::of(bytes()), previous).prop_map(
        |(path, kind, version, data, previous)| Event { path, kind, version, data, previous },
    )
}

/// Frames of event lanes.
pub fn event_messages() -> impl Strategy<Value = EventMessage> {
    let ends = prop_oneof![
        Just(WatchEnd::Fired),
        zxids().prop_map(|oldest| WatchEnd::NotHere { oldest }),
        refusals().prop_map(WatchEnd::Refused)
    ];
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(session, attachment)| EventMessage::Head {
            session: SessionId(session),
            attachment
        }),
        (any::<[u64; 2]>(), zxids(), vec(events(), 1..4), any::<bool>()).prop_map(
            |([watch, time_ms], zxid, events, has_more)| EventMessage::Events {
                watch,
                zxid,
                time_ms,
                events,
                has_more
            }
        ),
        zxids().prop_map(|zxid| EventMessage::Progress { zxid }),
        (any::<u64>(), zxids(), ends).prop_map(|(watch, position, end)| EventMessage::Ended {
            watch,
            position,
            end
        }),
    ]
}

fn queries() -> impl Strategy<Value = Query> {
    prop_oneof![8 => query(), 1 => vec(query(), 0..4).prop_map(Query::Many)]
}

fn query() -> impl Strategy<Value = Query> {
    prop_oneof![
        queries_of_znodes(),
        watches().prop_map(Query::Watch),
        any::<u64>().prop_map(Query::Unwatch),
        Just(Query::Whoami),
        Just(Query::Recipes),
        text().prop_map(Query::History),
        text().prop_map(Query::Interface),
        (text(), any::<u32>()).prop_map(|(recipe, limit)| Query::Logs { recipe, limit }),
        (any::<u64>(), option::of(places()))
            .prop_map(|(bulk, go_on)| Query::Snapshot { bulk, go_on }),
        Just(Query::Status),
        (option::of(text()), any::<u32>())
            .prop_map(|(after, limit)| Query::Quotas { after, limit }),
        calls().prop_map(Query::Call),
        access_queries().prop_map(Query::Access),
        text().prop_map(Query::Subtree),
        (any::<u64>(), text(), option::of(text()), any::<u32>()).prop_map(
            |(session, prefix, after, limit)| {
                Query::Ephemerals { session: SessionId(session), prefix, after, limit }
            }
        ),
        (any::<u64>(), text(), option::of(text()), any::<bool>()).prop_map(
            |(bulk, path, after, with_data)| Query::Scan { bulk, path, after, with_data }
        ),
    ]
}

/// Messages from clients.
pub fn client_messages() -> impl Strategy<Value = ClientMessage> {
    use Consistency::{Linearizable, Session, Stale};
    let attach = prop_oneof![
        (any::<u64>(), credentials())
            .prop_map(|(timeout_ms, credentials)| Attach::New { timeout_ms, credentials }),
        (any::<u64>(), any::<[u8; 32]>(), writes()).prop_map(|(session, secret, sent)| {
            Attach::Resume { session: SessionId(session), secret, sent }
        }),
    ];
    let hello = (any::<[u32; 3]>(), text(), attach).prop_map(|(numbers, agent, attach)| {
        let protocols = Versions { min: numbers[0], max: numbers[1] };
        let namespace = NamespaceId(numbers[2]);
        ClientMessage::Hello(Hello { protocols, namespace, agent, attach })
    });
    let levels = select(vec![Linearizable, Session, Stale]);
    prop_oneof![
        hello,
        (any::<u64>(), writes(), acks(), bytes()).prop_map(|(request, write, acks, body)| {
            ClientMessage::Write { request, write, acks, body }
        }),
        (any::<[u64; 3]>(), writes(), acks()).prop_map(|([request, bulk, bytes], write, acks)| {
            ClientMessage::BulkWrite { request, write, acks, bulk, bytes }
        }),
        (any::<u64>(), levels, queries()).prop_map(|(request, consistency, query)| {
            ClientMessage::Read { request, consistency, query }
        }),
        any::<u64>().prop_map(|request| ClientMessage::Heartbeat { request }),
    ]
}

fn children() -> impl Strategy<Value = Child> {
    (text(), stats(), bytes()).prop_map(|(name, stat, data)| Child { name, stat, data })
}

fn listings<T: std::fmt::Debug>(
    children: impl Strategy<Value = T>,
) -> impl Strategy<Value = Listing<T>> {
    (vec(children, 0..4), any::<bool>())
        .prop_map(|(children, has_more)| Listing { children, has_more })
}

fn access_queries() -> impl Strategy<Value = AccessQuery> {
    let who = option::of(vec(identities(), 0..3));
    prop_oneof![
        text().prop_map(AccessQuery::Acl),
        objects().prop_map(AccessQuery::RulesOn),
        option::of(objects()).prop_map(|after| AccessQuery::Rules { after }),
        (who, permissions(), objects(), option::of(text())).prop_map(
            |(who, permission, object, function)| AccessQuery::May {
                who,
                permission,
                object,
                function
            }
        ),
    ]
}

fn access_results() -> impl Strategy<Value = AccessResults> {
    let page = (vec((objects(), rules()), 0..3), any::<bool>())
        .prop_map(|(rules, has_more)| RulesPage { rules, has_more });
    prop_oneof![
        (option::of(acls()), stats()).prop_map(|(acl, stat)| AccessResults::Acl { acl, stat }),
        (stances(), page).prop_map(|(stance, page)| AccessResults::Rules { stance, page }),
        (any::<bool>(), text())
            .prop_map(|(is_allowed, decider)| AccessResults::May { is_allowed, decider }),
    ]
}

fn access_changes() -> impl Strategy<Value = AccessChange> {
    prop_oneof![
        (objects(), a_rule()).prop_map(|(object, rule)| AccessChange::Grant(object, rule)),
        (objects(), a_rule()).prop_map(|(object, rule)| AccessChange::Revoke(object, rule)),
        stances().prop_map(AccessChange::SetStance),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    (any::<[u64; 9]>(), text(), text(), any::<u128>()).prop_map(
        |(numbers, version, role, digest)| Status {
            member: numbers[0],
            version,
            role,
            term: Term(numbers[1]),
            epoch: Epoch(numbers[2]),
            zxid: Zxid(numbers[3]),
            leader: (numbers[4] % 2 == 0).then_some(numbers[5]),
            last_index: numbers[6],
            committed_index: numbers[7],
            applied_index: numbers[4],
            digest,
            sessions: numbers[5],
            cpu_us: numbers[6],
            memory_bytes: numbers[7],
            uptime_ms: numbers[8],
            disk_free_bytes: numbers[3],
            level: Level(7),
            cluster_level: Level(6),
        },
    )
}

fn results_of_znodes() -> impl Strategy<Value = Results> {
    prop_oneof![
        (bytes(), stats()).prop_map(|(data, stat)| Results::Node { data, stat }),
        stats().prop_map(Results::Stat),
        listings(text()).prop_map(Results::Names),
        listings(children()).prop_map(Results::Children),
    ]
}

fn results() -> impl Strategy<Value = Results> {
    let each = prop_oneof![4 => result().prop_map(Ok), 1 => refusals().prop_map(Err)];
    prop_oneof![8 => result(), 1 => vec(each, 0..4).prop_map(Results::Many)]
}

fn result() -> impl Strategy<Value = Results> {
    let first = prop_oneof![
        3 => results_of_znodes().prop_map(Ok),
        1 => refusals().prop_map(Err)
    ];
    let first = option::of(first.prop_map(Box::new));
    let recipe = (text(), option::of(any::<u64>()), zxids())
        .prop_map(|(name, active, changed)| RecipeLine { name, active, changed });
    let line = (any::<u64>(), zxids(), any::<u8>(), text())
        .prop_map(|(time_ms, zxid, level, message)| LogLine { time_ms, zxid, level, message });
    prop_oneof![
        results_of_znodes(),
        first.prop_map(|first| Results::Watched(Watched::Open { first })),
        zxids().prop_map(|oldest| Results::Watched(Watched::NotHere { oldest })),
        Just(Results::Unwatched),
        listings(quota_uses()).prop_map(Results::Quotas),
        whoamis().prop_map(Results::Whoami),
        vec(recipe, 0..4).prop_map(Results::Recipes),
        (option::of(any::<u64>()), vec(versions(), 0..3))
            .prop_map(|(active, versions)| Results::History { active, versions }),
        (any::<u64>(), vec(bytes(), 0..3), vec(text(), 0..3)).prop_map(
            |(version, interfaces, read_only)| Results::Interface {
                version,
                interfaces,
                read_only
            }
        ),
        vec(line, 0..4).prop_map(Results::Logs),
        statuses().prop_map(Results::Status),
        places().prop_map(Results::Snapshot),
        bytes().prop_map(Results::Called),
        access_results().prop_map(Results::Access),
        any::<u64>().prop_map(|mark| Results::Scan { mark }),
        (stats(), any::<u64>(), any::<u64>())
            .prop_map(|(stat, znodes, bytes)| Results::Subtree(Subtree { stat, znodes, bytes })),
    ]
}

fn welcomes() -> impl Strategy<Value = Welcome> {
    let members = vec(text(), 0..4);
    (any::<u32>(), text(), any::<[u64; 3]>(), any::<[u8; 32]>(), zxids(), writes(), members)
        .prop_map(|(protocol, agent, numbers, secret, zxid, last_write, members)| Welcome {
            protocol,
            agent,
            session: SessionId(numbers[0]),
            secret,
            timeout_ms: numbers[1],
            attachment: numbers[2],
            zxid,
            last_write,
            members,
        })
}

/// Messages from members.
pub fn server_messages() -> impl Strategy<Value = ServerMessage> {
    let results = prop_oneof![4 => results().prop_map(Ok), 1 => refusals().prop_map(Err)];
    let request = any::<u64>;
    prop_oneof![
        welcomes().prop_map(ServerMessage::Welcome),
        refusals().prop_map(ServerMessage::Rejected),
        (request(), zxids(), any::<u64>(), bytes()).prop_map(|(request, zxid, events, reply)| {
            ServerMessage::Reply { request, zxid, events, reply }
        }),
        (request(), refusals())
            .prop_map(|(request, refusal)| ServerMessage::NotExecuted { request, refusal }),
        (request(), zxids(), any::<u64>(), results).prop_map(|(request, zxid, events, results)| {
            ServerMessage::ReadReply { request, zxid, events, results }
        }),
        request().prop_map(|request| ServerMessage::Confirmed { request }),
        (request(), refusals())
            .prop_map(|(request, refusal)| ServerMessage::Unconfirmed { request, refusal }),
        refusals().prop_map(ServerMessage::Goodbye),
        prop::collection::vec(".{0,20}", 0..5).prop_map(ServerMessage::Members),
    ]
}

/// Credentials of one message.
pub fn credentials() -> impl Strategy<Value = Vec<Credential>> {
    let credential = prop_oneof![
        text().prop_map(Credential::Token),
        (text(), text()).prop_map(|(user, password)| Credential::Password { user, password }),
        any::<[u8; 32]>().prop_map(Credential::House),
    ];
    vec(credential, 0..4)
}

fn whoamis() -> impl Strategy<Value = Whoami> {
    let address = option::of(any::<std::net::IpAddr>());
    (text(), helds(), address, any::<u64>()).prop_map(|(principal, identities, address, time)| {
        Whoami { principal, identities, address, time: Millis(time) }
    })
}
