//! Bad input and missing rights of every read, as a table: each query with a path that is none, with a znode that is not there,
//! and where the reader may not. The match over queries has no arm for all others: a new one needs a row before this compiles.

use std::sync::Arc;

use quorate_core::access::{Acl, AclEntry, Held, Identity, Object, Permissions, Rule, Rules};
use quorate_core::apply;
use quorate_core::change::Change;
use quorate_core::draft::Draft;
use quorate_core::error::ErrorCode::{
    self, BadArguments, BadPath, LimitPassed, NoAccess, NoNode, NoRecipe, NoSession,
};
use quorate_core::limits as core_limits;
use quorate_core::query::Page;
use quorate_core::quota::{Bounds, Quota};
use quorate_core::read::MemoryTree;
use quorate_core::request::Call;
use quorate_core::znode::Lifetime;

use quorate_wire::message::watch as wire;

use super::*;
use crate::scans;
use crate::watches::Watches;

/// Alice asks; Bob is known as `token:b`, and owns.
const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
const NOBODY: SessionId = SessionId(99);

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn identity(text: &str) -> Identity {
    Identity::parse(text).unwrap()
}

fn for_bob() -> Option<Acl> {
    Some(Acl { entries: vec![AclEntry::parse("token:b:cdrwa").unwrap()] })
}

fn opened(name: &str) -> Change {
    let identities = vec![Held::for_good(identity(name))];
    let (timeout_ms, secret_hash, principal) = (1_000, [0; 32], name.to_owned());
    Change::SessionOpened { timeout_ms, secret_hash, principal, identities }
}

fn created(text: &str, lifetime: Lifetime, acl: Option<Acl>) -> Change {
    let data = Bytes::from_static(b"four");
    Change::NodeCreated { path: path(text), data, lifetime, acl }
}

fn rules(object: Object, permissions: Permissions) -> Change {
    let mut rules = Rules::default();
    let who = identity("token:b");
    rules.grant(Rule { who, function: None, permissions }).unwrap();
    Change::RulesSet { object, rules }
}

/// A tree that comes of these, each of a transaction of its own; the two sessions come first.
fn tree(changes: Vec<Change>) -> SharedRead {
    let tree = Arc::new(MemoryTree::new());
    let mut draft = Draft::new(tree.clone());
    let all = [opened("token:a"), opened("token:b")].into_iter().chain(changes);
    for (zxid, change) in (1..).zip(all) {
        apply::change(&mut draft, Zxid(zxid), Millis(1), &change);
    }
    tree.commit(draft.into_parts().1);
    tree
}

/// `/p/t` is there, or forbidden and everything else with it.
fn world(is_forbidden: bool) -> SharedRead {
    let acl = if is_forbidden { for_bob() } else { None };
    let mut changes = vec![
        created("/p", Lifetime::Persistent, None),
        created("/p/t", Lifetime::Persistent, acl),
        created("/p/t/c", Lifetime::Ephemeral(BOB), None),
    ];
    if is_forbidden {
        let on_cluster = Permissions::ADMIN.with(Permissions::OPERATE);
        changes.push(rules(Object::Cluster, on_cluster));
        changes.push(rules(Object::EveryRecipe, Permissions::CALL.with(Permissions::DEPLOY)));
    }
    tree(changes)
}

struct Around(SharedRead);

impl Surroundings for Around {
    fn interfaces(&self, _component: &ComponentDigest) -> Result<Vec<Bytes>, Refusal> {
        Ok(Vec::new())
    }

    fn logs(&self, _recipe: &str, _limit: u32) -> Vec<LogLine> {
        Vec::new()
    }

    fn at_once(&self) -> SharedRead {
        self.0.clone()
    }

    fn status(&self) -> Result<Status, Refusal> {
        Ok(some_status())
    }
}

/// How a member is of which nothing is known.
fn some_status() -> Status {
    Status {
        member: 1,
        version: String::new(),
        role: String::new(),
        term: quorate_core::ids::Term(0),
        epoch: quorate_core::ids::Epoch(0),
        zxid: Zxid(0),
        leader: None,
        last_index: 0,
        committed_index: 0,
        applied_index: 0,
        digest: 0,
        sessions: 0,
        cpu_us: 0,
        memory_bytes: 0,
        uptime_ms: 0,
        disk_free_bytes: 0,
        level: quorate_core::level::Level::NEWEST,
        cluster_level: quorate_core::level::Level::NEWEST,
    }
}

fn reads(tree: &SharedRead) -> Reads {
    Reads::new(tree.clone(), Arc::new(Around(tree.clone())))
}

/// What is told of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// With a text that is no path; `limit` if it is too long. None: it has no path.
    malformed: Option<ErrorCode>,
    /// Of a znode that is not there.
    missing: Option<ErrorCode>,
    /// By who has no right to it.
    forbidden: Option<ErrorCode>,
}

const fn row(
    malformed: Option<ErrorCode>,
    missing: Option<ErrorCode>,
    forbidden: Option<ErrorCode>,
) -> Row {
    Row { malformed, missing, forbidden }
}

/// Of a znode, as ZooKeeper's reads.
const OF_ZNODE: Row = row(Some(BadPath), Some(NoNode), Some(NoAccess));
/// What everybody may ask.
const OPEN: Row = row(None, None, None);

/// The row of a query.
fn row_of(query: &Query) -> Row {
    match query {
        Query::Get(_)
        | Query::Stat(_)
        | Query::Children { .. }
        | Query::Subtree(_)
        | Query::Scan { .. } => OF_ZNODE,
        // One's own are no secret; of others' those are left out that may not be read.
        Query::Ephemerals { session, .. } if *session == ALICE => row(Some(BadPath), None, None),
        Query::Ephemerals { .. } => row(Some(BadPath), None, Some(NoAccess)),
        // Left out, too.
        Query::Quotas { .. } => row(Some(BadPath), None, None),
        // Each for itself.
        Query::Many(_) => OPEN,
        Query::Recipes | Query::Status | Query::Unwatch(_) | Query::Whoami => OPEN,
        Query::History(_) | Query::Interface(_) => row(None, Some(NoRecipe), Some(NoRecipe)),
        Query::Logs { .. } => row(None, None, Some(NoAccess)),
        Query::Snapshot { .. } => row(None, None, Some(NoAccess)),
        // That of a run is the core's: `host/core/tests/bad_input`.
        Query::Call(_) => row(None, Some(NoRecipe), Some(NoRecipe)),
        Query::Access(query) => match query {
            AccessQuery::Acl(_) => OF_ZNODE,
            AccessQuery::RulesOn(_) | AccessQuery::Rules { .. } => row(None, None, Some(NoAccess)),
            AccessQuery::May { who: None, .. } => OPEN,
            AccessQuery::May { .. } => row(None, None, Some(NoAccess)),
        },
        // What may not be read is not told of; a first read is refused.
        Query::Watch(wire::Watch { first: None, .. }) => row(Some(BadPath), None, None),
        Query::Watch(_) => row(Some(BadPath), None, Some(NoAccess)),
    }
}

fn page(after: Option<&str>) -> Page {
    Page { after: after.map(str::to_owned), limit: u32::MAX, direction: Direction::Backward }
}

fn watch(path: &str, first: Option<Query>) -> wire::Watch {
    wire::Watch {
        watch: 1,
        path: path.to_owned(),
        scope: wire::Scope::Subtree,
        from: None,
        once: false,
        with_data: true,
        with_previous: true,
        first: first.map(Box::new),
    }
}

/// Every query, of this path where it has one. `object`: the same znode, for what names it parsed.
fn queries(text: &str, object: &Path) -> Vec<Query> {
    let owned = |session| Query::Ephemerals {
        session,
        prefix: text.to_owned(),
        after: Some("//\0".to_owned()),
        limit: u32::MAX,
    };
    let may = |who| AccessQuery::May {
        who,
        permission: Permissions::READ,
        object: Object::Subtree(object.clone()),
        function: None,
    };
    let children = |with_data| Query::Children {
        path: text.to_owned(),
        page: page(Some("\u{10ffff}//")),
        with_data,
    };
    let call = Call {
        recipe: "none".to_owned(),
        function: "go".to_owned(),
        signature: 0,
        arguments: Bytes::new(),
    };
    let scan = Query::Scan { bulk: 1, path: text.to_owned(), after: None, with_data: true };
    vec![
        Query::Get(text.to_owned()),
        Query::Stat(text.to_owned()),
        children(false),
        children(true),
        Query::Subtree(text.to_owned()),
        scan,
        owned(ALICE),
        owned(BOB),
        owned(NOBODY),
        Query::Quotas { after: Some(text.to_owned()), limit: u32::MAX },
        Query::Many(vec![Query::Get(text.to_owned()), Query::Recipes]),
        Query::Recipes,
        Query::Status,
        Query::Unwatch(7),
        Query::Whoami,
        Query::History("none".to_owned()),
        Query::Interface("none".to_owned()),
        Query::Logs { recipe: "none".to_owned(), limit: u32::MAX },
        Query::Snapshot { bulk: 1, go_on: None },
        Query::Call(call),
        Query::Access(AccessQuery::Acl(text.to_owned())),
        Query::Access(AccessQuery::RulesOn(Object::Subtree(object.clone()))),
        Query::Access(AccessQuery::RulesOn(Object::Cluster)),
        Query::Access(AccessQuery::Rules { after: None }),
        Query::Access(may(None)),
        Query::Access(may(Some(vec![identity("token:b")]))),
        Query::Watch(watch(text, None)),
        Query::Watch(watch(text, Some(Query::Get(text.to_owned())))),
    ]
}

/// No recipe is there to be run.
struct NoRecipes;

impl quorate_core::recipe::Recipes for NoRecipes {
    fn run(
        &mut self,
        _run: &quorate_core::recipe::Run<'_>,
        _txn: quorate_core::txn::Txn,
    ) -> (quorate_core::txn::Txn, quorate_core::recipe::RunEnd) {
        panic!("there is none")
    }

    fn check(
        &mut self,
        _component: &ComponentDigest,
        _previous: Option<&ComponentDigest>,
    ) -> Result<Vec<String>, Refusal> {
        panic!("there is none")
    }

    fn migrate(
        &mut self,
        _version: &quorate_core::deployment::Version,
        _previous: Option<u64>,
        _txn: quorate_core::txn::Txn,
    ) -> (quorate_core::txn::Txn, Result<(), Refusal>) {
        panic!("there is none")
    }

    fn reset(&mut self) {}
}

/// What comes of a query of Alice's, by the code that answers it.
fn told(tree: &SharedRead, query: &Query) -> Option<ErrorCode> {
    let (reads, client) = (reads(tree), Client::from(ALICE));
    let refused = match query {
        Query::Scan { .. } => scans::open(tree.clone(), client, query).err(),
        Query::Snapshot { .. } => reads.require_whole_tree(client).err(),
        Query::Watch(watch) => {
            let watches = Arc::new(Watches::new());
            let outbox = watches.outbox();
            let begun = watches.begin((1, client), &outbox, watch);
            begun.err().or_else(|| reads.begin(client, watch.first.as_deref()).err())
        }
        Query::Call(call) => {
            let asker = client.asker(&**tree);
            let called =
                quorate_core::execute::read_call(tree.clone(), &asker, call, &mut NoRecipes);
            called.1.err()
        }
        Query::Whoami => reads.whoami(ALICE, None).1.err(),
        // Nothing can be wrong with it.
        Query::Unwatch(_) => None,
        _ => reads.answer(client, query).1.err(),
    };
    refused.map(|refusal| refusal.code)
}

#[test]
fn each_query_is_refused_as_its_row_says() {
    let (open, forbidden) = (world(false), world(true));
    let (there, none) = (path("/p/t"), path("/none"));
    let long = format!("/{}", "x".repeat(core_limits::PATH_BYTES_MAX));
    let mut wrong = Vec::new();
    let mut check = |what: &str, query: &Query, found, expected| {
        if found != expected {
            wrong.push(format!("{what} {query:?}: {found:?}, not {expected:?}"));
        }
    };
    for query in queries("/p/t", &there) {
        let row = row_of(&query);
        let of_recipe = row.missing.filter(|code| *code == NoRecipe);
        check("there", &query, told(&open, &query), of_recipe);
        check("forbidden", &query, told(&forbidden, &query), row.forbidden);
    }
    for query in queries("/none", &none) {
        check("missing", &query, told(&open, &query), row_of(&query).missing);
    }
    let bad = ["", "p", "/p/", "//", "/p//t", "/./t", "/p/..", "/p\0", "/p\u{e000}", "/\u{1f600}"];
    for text in bad.into_iter().chain([long.as_str()]) {
        for query in queries(text, &there) {
            let row = row_of(&query);
            let limit = (text.len() > core_limits::PATH_BYTES_MAX).then_some(LimitPassed);
            // Before it is looked whether something is there, or permitted.
            let malformed = row.malformed.map(|code| limit.unwrap_or(code));
            let of_open = malformed.or(row.missing.filter(|code| *code == NoRecipe));
            check(text, &query, told(&open, &query), of_open);
            check(text, &query, told(&forbidden, &query), malformed.or(row.forbidden));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn who_is_not_known_here_has_nobody_s_rights() {
    let forbidden = reads(&world(true));
    let get = Query::Get("/p/t".to_owned());
    for (session, expected) in [(BOB, None), (ALICE, Some(NoAccess)), (NOBODY, Some(NoAccess))] {
        let (_, answer) = forbidden.answer(session.into(), &get);
        assert_eq!(answer.err().map(|refusal| refusal.code), expected, "{session}");
    }
    assert_eq!(forbidden.whoami(NOBODY, None).1.unwrap_err().code, NoSession);
}

#[test]
fn of_many_reads_each_is_refused_for_itself() {
    let forbidden = world(true);
    let many = Query::Many(vec![
        Query::Get("/p".to_owned()),
        Query::Get("/p/t".to_owned()),
        Query::Subtree("/p/t".to_owned()),
        Query::Children { path: "/p".to_owned(), page: Page::first(), with_data: false },
        Query::Children { path: "/p".to_owned(), page: Page::first(), with_data: true },
        Query::Stat("/none".to_owned()),
        Query::Stat("none".to_owned()),
        Query::Recipes,
        Query::Many(Vec::new()),
        Query::Snapshot { bulk: 1, go_on: None },
    ]);
    // As the first read of a watch, too.
    let begun = reads(&forbidden).begin(ALICE.into(), Some(&many)).unwrap().1.unwrap();
    let answered = reads(&forbidden).answer(ALICE.into(), &many).1;
    assert_eq!(*begun, answered);
    let Ok(Results::Many(all)) = answered else { panic!("{answered:?}") };
    let codes: Vec<_> = all.into_iter().map(|one| one.err().map(|one| one.code)).collect();
    let expected = [
        None,
        Some(NoAccess),
        Some(NoAccess),
        // Names are the parent's to show, data is not.
        None,
        Some(NoAccess),
        Some(NoNode),
        Some(BadPath),
        Some(BadArguments),
        Some(BadArguments),
        Some(BadArguments),
    ];
    assert_eq!(codes, expected);
}

#[test]
fn how_large_a_subtree_is_may_be_known_who_may_read_its_top() {
    let answer = reads(&world(true)).answer(ALICE.into(), &Query::Subtree("/p".to_owned())).1;
    let Ok(Results::Subtree(subtree)) = answer else { panic!("{answer:?}") };
    assert_eq!((subtree.znodes, subtree.bytes), (3, 12), "what she may not read is counted");
}

/// Reads page by page, one on each, as long as there are more.
fn paged(tree: &SharedRead, ask: impl Fn(Option<String>) -> Query) -> Vec<String> {
    let (mut all, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let query = ask(after.take());
        let answer = reads(tree).answer(ALICE.into(), &query).1;
        let (found, has_more) = match answer {
            Ok(Results::Names(page)) => (page.children, page.has_more),
            Ok(Results::Quotas(page)) => {
                (page.children.into_iter().map(|one| one.path).collect(), page.has_more)
            }
            other => panic!("{other:?}"),
        };
        assert!(
            found.len() <= 1 && (!found.is_empty() || !has_more),
            "nowhere to go on: {query:?}"
        );
        all.extend(found);
        if !has_more {
            return all;
        }
        after = all.last().cloned();
    }
}

#[test]
fn pages_leave_out_what_may_not_be_read_and_the_next_one_goes_on_behind_it() {
    let hard = Bounds { soft: None, hard: Some(1_000) };
    let quota = Some(Quota { znodes: hard, ..Quota::default() });
    let mut changes = Vec::new();
    // Of these the third and the last may be read.
    for (number, acl) in
        [for_bob(), for_bob(), None, for_bob(), for_bob(), None].into_iter().enumerate()
    {
        changes.push(created(&format!("/n{number}"), Lifetime::Ephemeral(BOB), acl));
        changes.push(Change::QuotaSet { path: path(&format!("/n{number}")), quota });
    }
    let tree = tree(changes);
    let owned = |session| {
        move |after| Query::Ephemerals { session, prefix: "/".to_owned(), after, limit: 1 }
    };
    assert_eq!(paged(&tree, owned(BOB)), ["/n2", "/n5"]);
    assert_eq!(paged(&tree, |after| Query::Quotas { after, limit: 1 }), ["/n2", "/n5"]);
    assert_eq!(paged(&tree, owned(NOBODY)), Vec::<String>::new());
}
