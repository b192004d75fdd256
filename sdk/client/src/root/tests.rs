//! Everything that has a path, out and back: what is below the root, what is not, and what is refused.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::access::{Permissions, Rule, Rules, Stance};
use quorate_core::condition::Condition;
use quorate_core::deployment::Manifest;
use quorate_core::ids::{Millis, SessionId, WriteNumber, Zxid};
use quorate_core::limits;
use quorate_core::query::{Child, Listing, Page};
use quorate_core::quota::{Metered, Used};
use quorate_core::request::{Call, Deploy, Fence, LifetimeKind};
use quorate_core::znode::{Lifetime, Stat};
use quorate_wire::message::watch::{EventKind, Previous, Scope};

use super::*;
use crate::outbox::{Change, End, Notice, Outbox};

fn root(path: &str) -> Root {
    Root::whole().at(path).expect("a root")
}

fn path(text: &str) -> Path {
    Path::parse(text).expect("a path")
}

fn x() -> String {
    "/x".to_owned()
}

fn stat() -> Stat {
    Stat {
        czxid: Zxid(1),
        mzxid: Zxid(1),
        pzxid: Zxid(1),
        ctime: Millis(1),
        mtime: Millis(1),
        version: 0,
        cversion: 0,
        aversion: 0,
        lifetime: Lifetime::Persistent,
        data_bytes: 0,
        children_count: 0,
    }
}

fn rule() -> Rule {
    let who = quorate_core::access::Identity::parse("world:anyone").expect("an identity");
    Rule { who, function: None, permissions: Permissions::READ }
}

/// Every operation, with `/x` wherever it names a znode, and how often that is.
fn operations() -> Vec<(Operation, usize)> {
    let (data, condition) = (Bytes::from_static(b"/y"), Condition::ANY);
    let lifetime = LifetimeKind::Ephemeral;
    let page = Page { after: Some("/y".to_owned()), ..Page::first() };
    let subtree = || Object::Subtree(path("/x"));
    let access = |change| Operation::Access { change, is_forced: false };
    let call = Call {
        recipe: "/y".to_owned(),
        function: "/y".to_owned(),
        signature: 0,
        arguments: Bytes::from_static(b"/y"),
    };
    let fence = Fence { recipe: "lock".to_owned(), node: "/y".to_owned(), token: 1 };
    vec![
        (
            Operation::Create {
                path: x(),
                data: data.clone(),
                lifetime,
                sequence: Sequence::Native,
                parents: true,
                acl: None,
            },
            1,
        ),
        (Operation::Set { path: x(), data: data.clone(), condition }, 1),
        (Operation::Delete { path: x(), condition }, 1),
        (Operation::Check { path: x(), condition }, 1),
        (Operation::Call(call), 0),
        (Operation::SetAcl { path: x(), acl: None, version: None, is_forced: false }, 1),
        (access(AccessChange::Grant(subtree(), rule())), 1),
        (access(AccessChange::Revoke(subtree(), rule())), 1),
        (access(AccessChange::Grant(Object::Cluster, rule())), 0),
        (access(AccessChange::Grant(Object::EveryRecipe, rule())), 0),
        (access(AccessChange::Revoke(Object::Recipe("lock".to_owned()), rule())), 0),
        (access(AccessChange::SetStance(Stance::Deny)), 0),
        (Operation::CheckAbsent { path: x() }, 1),
        (
            Operation::CreateOrGet {
                path: x(),
                data: data.clone(),
                lifetime,
                parents: false,
                acl: None,
            },
            1,
        ),
        (Operation::SetOrCreate { path: x(), data, lifetime, parents: false, acl: None }, 1),
        (Operation::DeleteTree { path: x(), condition }, 1),
        (Operation::Fence(fence), 0),
        (Operation::Get { path: x() }, 1),
        (Operation::Stat { path: x() }, 1),
        (Operation::Exists { path: x() }, 1),
        (Operation::Children { path: x(), page, with_data: true }, 1),
    ]
}

fn bodies() -> Vec<(Body, usize)> {
    let deploy = Deploy {
        recipe: "lock".to_owned(),
        component: [0; 32],
        manifest: Manifest::for_root(path("/y")),
        breaking_allowed: false,
    };
    let mut all: Vec<(Body, usize)> = operations()
        .into_iter()
        .map(|(operation, count)| (Body::Single(operation), count))
        .collect();
    let (operations, counts): (Vec<Operation>, Vec<usize>) = operations().into_iter().unzip();
    all.extend([
        (Body::Multi(operations), counts.iter().sum()),
        (Body::Cancel(WriteNumber(1)), 0),
        (Body::CloseSession, 0),
        (Body::Deploy(deploy), 0),
        (Body::Rollback { recipe: "/y".to_owned(), version: 1 }, 0),
        (Body::RemoveRecipe("/y".to_owned()), 0),
        (Body::SetQuota { path: x(), quota: None }, 1),
    ]);
    all
}

/// Every query that a client with a root may ask, with `/x` wherever it names a znode, and how often that is.
fn queries() -> Vec<(Query, usize)> {
    let page = Page { after: Some("/y".to_owned()), ..Page::first() };
    let children = Query::Children { path: x(), page, with_data: false };
    let watch = Watch {
        watch: 1,
        path: x(),
        scope: Scope::Subtree,
        from: None,
        once: false,
        with_data: true,
        with_previous: true,
        first: Some(Box::new(children.clone())),
    };
    let call = Call {
        recipe: "lock".to_owned(),
        function: "holder".to_owned(),
        signature: 0,
        arguments: Bytes::from_static(b"/y"),
    };
    let may = |object| AccessQuery::May {
        who: None,
        permission: Permissions::READ,
        object,
        function: None,
    };
    let ephemerals =
        Query::Ephemerals { session: SessionId(1), prefix: x(), after: Some(x()), limit: 0 };
    vec![
        (Query::Get(x()), 1),
        (Query::Stat(x()), 1),
        (children.clone(), 1),
        (Query::Recipes, 0),
        (Query::History("/y".to_owned()), 0),
        (Query::Interface("/y".to_owned()), 0),
        (Query::Logs { recipe: "/y".to_owned(), limit: 1 }, 0),
        (Query::Status, 0),
        (Query::Call(call), 0),
        (Query::Access(AccessQuery::Acl(x())), 1),
        (Query::Access(AccessQuery::RulesOn(Object::Subtree(path("/x")))), 1),
        (Query::Access(AccessQuery::RulesOn(Object::Cluster)), 0),
        (Query::Access(may(Object::Subtree(path("/x")))), 1),
        (Query::Access(may(Object::EveryRecipe)), 0),
        (Query::Watch(watch), 2),
        (Query::Unwatch(1), 0),
        (Query::Scan { bulk: 1, path: x(), after: Some(x()), with_data: true }, 2),
        (Query::Subtree(x()), 1),
        (ephemerals.clone(), 2),
        (Query::Many(vec![children, ephemerals, Query::Get(x())]), 4),
        (Query::Whoami, 0),
    ]
}

/// How often a text stands in what is shown of a value.
fn count(value: &impl std::fmt::Debug, text: &str) -> usize {
    format!("{value:?}").matches(&format!("{text:?}")).count()
}

#[test]
fn every_path_that_is_sent_gets_below_the_root_and_nothing_else_is_changed() {
    let root = root("/app");
    for (body, paths) in bodies() {
        assert_eq!(count(&body, "/x"), paths, "{body:?}");
        let mut sent = body.clone();
        root.body(&mut sent).expect("it may be asked");
        assert_eq!((count(&sent, "/x"), count(&sent, "/app/x")), (0, paths), "{sent:?}");
        assert_eq!(format!("{sent:?}").replace("/app/x", "/x"), format!("{body:?}"));
    }
    for (query, paths) in queries() {
        assert_eq!(count(&query, "/x"), paths, "{query:?}");
        let mut sent = query.clone();
        root.query(&mut sent).expect("it may be asked");
        assert_eq!((count(&sent, "/x"), count(&sent, "/app/x")), (0, paths), "{sent:?}");
        assert_eq!(format!("{sent:?}").replace("/app/x", "/x"), format!("{query:?}"));
    }
}

#[test]
fn without_a_root_everything_stays_as_it_is() {
    let whole = Root::whole();
    for (body, _) in bodies() {
        let mut sent = body.clone();
        whole.body(&mut sent).expect("it may be asked");
        assert_eq!(sent, body);
    }
    let whole_only = [
        Query::Quotas { after: None, limit: 0 },
        Query::Snapshot { bulk: 1, go_on: None },
        Query::Access(AccessQuery::Rules { after: None }),
    ];
    for query in queries().into_iter().map(|(query, _)| query).chain(whole_only.clone()) {
        let mut sent = query.clone();
        whole.query(&mut sent).expect("it may be asked");
        assert_eq!(sent, query);
    }
    let mut told = Results::Names(listing(vec!["/elsewhere".to_owned()]));
    whole.results(&Texts::Paths, &mut told).expect("all paths are below it");
    assert_eq!(told, Results::Names(listing(vec!["/elsewhere".to_owned()])));
    // What is about the whole tree has no answer below a root, neither alone nor among others.
    for query in whole_only {
        for mut query in [query.clone(), Query::Many(vec![Query::Status, query])] {
            let refusal = root("/app").query(&mut query).expect_err("it is of the whole tree");
            assert_eq!(refusal.code, ErrorCode::BadArguments);
            assert!(refusal.message.contains("this client's root is /app"), "{refusal}");
        }
    }
}

fn listing<T>(children: Vec<T>) -> Listing<T> {
    Listing { children, has_more: false }
}

/// Every answer to a write, with this path wherever it names a znode.
fn answers(path: &str) -> Vec<Answer> {
    let child = Child { name: "/y".to_owned(), stat: stat(), data: Bytes::from_static(b"/y") };
    let all = vec![
        Answer::Done,
        Answer::Created { path: path.to_owned(), stat: stat() },
        Answer::Stat(stat()),
        Answer::Called(Bytes::from_static(b"/y")),
        Answer::Activated { version: 1 },
        Answer::Node { data: Bytes::from_static(b"/y"), stat: stat() },
        Answer::Names(listing(vec!["/y".to_owned()])),
        Answer::Children(listing(vec![child])),
        Answer::Exists(Some(stat())),
        Answer::Deleted { count: 1 },
    ];
    all.iter().cloned().chain([Answer::Multi(all.clone())]).collect()
}

/// Results that name znodes, with this path there.
fn results(path: &str) -> Vec<(Texts, Results)> {
    let names = |text: &str| Results::Names(listing(vec![text.to_owned()]));
    let object = Object::Subtree(Path::parse(path).expect("a path"));
    let rules = vec![(object, Rules::default()), (Object::Cluster, Rules::default())];
    let page = RulesPage { rules, has_more: false };
    let metered = Metered::default();
    let quota = QuotaUse { path: path.to_owned(), used: Used::default(), metered };
    vec![
        (Texts::Names, names("/y")),
        (Texts::Paths, names(path)),
        (Texts::Names, Results::Access(AccessResults::Rules { stance: Stance::Open, page })),
        (Texts::Names, Results::Quotas(listing(vec![quota]))),
        (Texts::Names, Results::Watched(Watched::Open { first: Some(Box::new(Ok(names("/y")))) })),
        (
            Texts::Each(vec![Texts::Names, Texts::Paths, Texts::Names]),
            Results::Many(vec![
                Ok(names("/y")),
                Ok(names(path)),
                Err(Refusal::new(ErrorCode::NoNode, "there is no znode /y")),
            ]),
        ),
    ]
}

#[test]
fn every_path_that_comes_back_is_stripped_of_the_root_and_nothing_else_is_changed() {
    for (told, seen) in [("/app/x", "/x"), ("/app", "/"), ("/app/app", "/app")] {
        let root = root("/app");
        for (answer, expected) in answers(told).into_iter().zip(answers(seen)) {
            let mut reply = Reply::Done(answer);
            root.reply(&mut reply).expect("below the root");
            assert_eq!(reply, Reply::Done(expected));
        }
        for ((texts, found), (_, expected)) in results(told).into_iter().zip(results(seen)) {
            let mut found = found;
            root.results(&texts, &mut found).expect("below the root");
            assert_eq!(found, expected);
        }
        let mut scanned = Scanned { path: path(told), stat: stat(), data: None };
        root.scanned(&mut scanned).expect("below the root");
        assert_eq!(scanned.path.as_str(), seen);
    }
    // A sentence is shown as it came.
    let refused = Reply::Refused(Refusal::new(ErrorCode::NoNode, "no /app/x").into());
    let mut reply = refused.clone();
    root("/app").reply(&mut reply).expect("nothing is looked for in it");
    assert_eq!(reply, refused);
}

#[test]
fn what_is_outside_of_the_root_is_never_shown() {
    let root = root("/a");
    for outside in ["/", "/ab", "/ab/c", "/b", "/b/a"] {
        let error = Senseless::Outside { path: outside.to_owned(), root: path("/a") };
        let named = answers(outside).into_iter().filter(|answer| count(answer, outside) > 0);
        let mut count_named = 0;
        for answer in named {
            count_named += 1;
            assert_eq!(root.reply(&mut Reply::Done(answer)), Err(error.clone()));
        }
        assert_eq!(count_named, 2, "alone and in a multi");
        for (texts, mut found) in results(outside) {
            if count(&found, outside) > 0 {
                assert_eq!(root.results(&texts, &mut found), Err(error.clone()));
            }
        }
        let mut scanned = Scanned { path: path(outside), stat: stat(), data: None };
        assert_eq!(root.scanned(&mut scanned), Err(error));
    }
    let one = || vec![Ok(Results::Unwatched)];
    let two = Texts::Each(vec![Texts::Paths, Texts::Paths]);
    for (texts, mut found) in [
        (two, Results::Many(one())),
        (Texts::Paths, Results::Many(one())),
        (Texts::Each(Vec::new()), Results::Names(listing(vec!["/b".to_owned()]))),
    ] {
        assert_eq!(root.results(&texts, &mut found), Err(Senseless::NotOneEach));
    }
    let error = crate::Error::from(Senseless::NotOneEach);
    assert!(error.may_have_happened(), "what was asked for may have been done");
}

#[test]
fn of_all_quotas_those_below_the_root_are_kept() {
    let used = |path: &str| {
        let metered = Metered::default();
        QuotaUse { path: path.to_owned(), used: Used::default(), metered }
    };
    let mut all: Vec<QuotaUse> = ["/", "/a", "/a-b", "/a/b", "/ab"].map(used).to_vec();
    root("/a").quotas_below(&mut all);
    assert_eq!(all, ["/", "/b"].map(used));
}

#[test]
fn a_watch_ends_in_front_of_an_event_that_is_outside_of_the_root() {
    let change = |zxid, paths: &[&str]| Change {
        zxid: Zxid(zxid),
        time: Millis(1),
        events: paths
            .iter()
            .map(|&path| Event {
                path: path.to_owned(),
                kind: EventKind::Deleted,
                version: 0,
                data: None,
                previous: Previous::None,
            })
            .collect(),
    };
    let outbox = Outbox::new(Default::default(), None, 1 << 20, false).with_root(&root("/a"));
    outbox.opened(Zxid(3));
    outbox.push(change(4, &["/a/b", "/a"])).expect("room");
    outbox.push(change(5, &["/a/c", "/ab"])).expect("room");
    outbox.push(change(6, &["/a/d"])).expect("room");
    let first = outbox.try_take().expect("below the root");
    assert_eq!(first, Notice::Change(change(4, &["/b", "/"])));
    assert_eq!(outbox.try_take(), None);
    assert_eq!((outbox.try_take(), outbox.position()), (None, Zxid(4)));
    let Some(End::Refused(refusal)) = outbox.take_end() else { panic!("it says why it ended") };
    assert_eq!(refusal.code, ErrorCode::BadMessage);
    assert!(refusal.message.contains("/ab is not below"), "{refusal}");
    assert!(outbox.is_abandoned(), "nothing more is queued");
}

#[test]
fn the_root_is_slash_and_is_not_deleted() {
    let root = root("/app");
    let create = |path: &str, sequence| {
        let mut body = Body::Single(Operation::Create {
            path: path.to_owned(),
            data: Bytes::new(),
            lifetime: LifetimeKind::Persistent,
            sequence,
            parents: false,
            acl: None,
        });
        root.body(&mut body).expect("it may be asked");
        match body {
            Body::Single(Operation::Create { path, .. }) => path,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(create("/", Sequence::None), "/app");
    assert_eq!(create("/", Sequence::Native), "/app/", "digits follow");
    assert_eq!(create("/", Sequence::ZooKeeper), "/app/");
    assert_eq!(create("/n-", Sequence::Native), "/app/n-");
    let condition = Condition::ANY;
    for deletion in [
        Operation::Delete { path: "/".to_owned(), condition },
        Operation::DeleteTree { path: "/".to_owned(), condition },
    ] {
        let check = Operation::CheckAbsent { path: x() };
        let mut multi = Body::Multi(vec![check, deletion.clone()]);
        let failure = root.body(&mut multi).expect_err("refused");
        assert_eq!((failure.refusal.code, failure.operation), (ErrorCode::BadArguments, Some(1)));
        let alone = root.body(&mut Body::Single(deletion)).expect_err("refused");
        assert_eq!(alone.operation, None);
    }
}

#[test]
fn roots_are_paths_and_add_up() {
    let app = root("/app");
    assert_eq!(app.at("/web").map(|root| root.to_string()), Ok("/app/web".to_owned()));
    assert_eq!(app.at("/"), Ok(app.clone()));
    assert_eq!(Root::whole().at("/"), Ok(Root::whole()));
    for bad in ["", "app", "/app/", "//", "/a/../b", "/a\u{0}"] {
        assert_eq!(app.at(bad).expect_err(bad).code, ErrorCode::BadPath);
    }
    let long = format!("/{}", "x".repeat(limits::PATH_BYTES_MAX - 2));
    assert!(Root::whole().at(&long).is_ok());
    assert_eq!(app.at(&long).expect_err("too long together").code, ErrorCode::LimitPassed);
    // What is no path is not made one.
    for text in ["", "x", "../x", "x/app"] {
        assert_eq!(app.outward(text), text);
    }
    assert_eq!(app.outward("/../x"), "/app/../x", "which the service refuses");
    let object = Object::Subtree(path(&long));
    let mut grant = Body::Single(Operation::Access {
        change: AccessChange::Grant(object.clone(), rule()),
        is_forced: false,
    });
    let failure = app.body(&mut grant).expect_err("too long below the root");
    assert_eq!(failure.refusal.code, ErrorCode::LimitPassed);
    let mut asked = Query::Access(AccessQuery::RulesOn(object));
    assert_eq!(app.query(&mut asked).expect_err("too long").code, ErrorCode::LimitPassed);
}

/// Paths of few letters, so that one is often the beginning of another.
fn paths() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "(/[ab]{1,2}){1,3}"]
}

proptest! {
    #[test]
    fn a_path_comes_back_as_it_was_and_no_other_one_does(
        root in paths(), inner in paths(), other in paths(),
    ) {
        let mapping = Root::whole().at(&root).expect("a root");
        let whole = mapping.outward(&inner);
        prop_assert!(path(&root).covers(&path(&whole)));
        prop_assert_eq!(mapping.inward(&whole), Some(&*inner));
        let mut parsed = path(&whole);
        prop_assert_eq!(mapping.ascend_parsed(&mut parsed), Ok(()));
        prop_assert_eq!(parsed.as_str(), &*inner);
        match mapping.inward(&other) {
            None => prop_assert!(!path(&root).covers(&path(&other))),
            Some(seen) => prop_assert_eq!(mapping.outward(seen), other),
        }
    }
}
