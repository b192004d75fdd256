//! Log entries to test with: arbitrary ones, and one that holds each kind of everything.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_core::access::{Acl, Held, Identity, Object, Rules, Stance};
use quorate_core::change::Change;
use quorate_core::deployment::{Instances, Manifest, Mount, Version};
use quorate_core::ids::{CallId, Epoch, Millis, SessionId, Term, WriteNumber, Zxid};
use quorate_core::level::Level;
use quorate_core::path::Path;
use quorate_core::session::{Acks, End, Parked};
use quorate_core::transaction::{Entry, EntryBody, Origin, Outcome, Transaction};
use quorate_core::znode::Lifetime;

use crate::parts::{
    acks, acls, bytes, helds, identities, objects, paths, quota, quotas, rules, stances, text,
    versions,
};

fn path(text: &str) -> Path {
    Path::parse(text).expect("a valid path")
}

fn version() -> Version {
    let mut manifest = Manifest::for_root(path("/recipes/lock"));
    manifest.mounts.push(Mount { at: path("/c"), path: path("/app/c"), writable: true });
    manifest.callers.insert("acquire".to_owned(), vec!["alice".to_owned(), "*".to_owned()]);
    manifest.config.insert("grace".to_owned(), "5".to_owned());
    manifest.instances = Instances::Reused;
    let principal = "operator".to_owned();
    Version { number: 3, component: [0xcd; 32], manifest, principal, deployed: Millis(1_000) }
}

/// Each change once.
#[allow(clippy::too_many_lines, reason = "one of each kind")]
fn changes() -> Vec<Change> {
    let session = SessionId(41);
    let call = CallId { session, write: WriteNumber(8) };
    let node = |text: &str, lifetime| Change::NodeCreated {
        path: path(text),
        data: Bytes::from_static(b"data"),
        lifetime,
        acl: None,
    };
    let recipe = "lock".to_owned();
    vec![
        node("/a", Lifetime::Persistent),
        node("/a/ephemeral", Lifetime::Ephemeral(session)),
        node("/a/owned", Lifetime::CallOwned(call)),
        node("/a/container", Lifetime::Container),
        node("/a/ttl", Lifetime::Ttl(300)),
        Change::DataSet {
            path: path("/"),
            data: Bytes::new(),
            version: 1,
            previous: Zxid(0),
            acl: None,
        },
        Change::NodeDeleted {
            path: path("/a/ephemeral"),
            version: 3,
            previous: Zxid(40),
            acl: None,
        },
        Change::NodeReleased { path: path("/a/owned") },
        Change::AclSet { path: path("/a"), acl: Some(Acl::open()) },
        Change::AclSet { path: path("/a"), acl: None },
        Change::DataSet {
            path: path("/a"),
            data: Bytes::new(),
            version: 1,
            previous: Zxid(2),
            acl: Some(Acl::open()),
        },
        Change::NodeDeleted {
            path: path("/a"),
            version: 1,
            previous: Zxid(2),
            acl: Some(Acl::open()),
        },
        Change::RulesSet { object: Object::Cluster, rules: Rules::default() },
        Change::StanceSet { stance: Stance::Deny },
        Change::SessionOpened {
            timeout_ms: 10_000,
            secret_hash: [0xab; 32],
            principal: "alice".to_owned(),
            identities: vec![held("x509:CN=alice", None)],
        },
        Change::IdentityAdded { session, held: held("token:ci", Some(5_000)) },
        Change::SessionEnded { session, end: End::Closed },
        Change::SessionEnded { session, end: End::Expired },
        Change::SessionForgotten { session },
        Change::ChunkStored {
            component: [0xcd; 32],
            index: 1,
            bytes: Bytes::from_static(b"\0asm"),
        },
        Change::ComponentStored { component: [0xcd; 32], bytes: 300_000, chunks: 2 },
        Change::VersionMade { recipe: recipe.clone(), version: Box::new(version()) },
        Change::RecipeActivated { recipe: recipe.clone(), version: 3 },
        Change::RecipeRemoved { recipe: recipe.clone() },
        Change::VersionDropped { recipe, version: 2 },
        Change::UploadBegan { session, component: [0xcd; 32] },
        Change::UploadEnded { session, component: [0xcd; 32] },
        Change::QuotaSet { path: path("/a"), quota: Some(quota()) },
        Change::QuotaSet { path: path("/a"), quota: None },
        Change::LevelRaised { level: Level(2) },
    ]
}

/// Each change, origin and outcome. The order of the changes makes no sense to `apply`; bytes do not mind.
pub fn batch_of_everything() -> Entry {
    let (session, hash) = (SessionId(41), 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let ranges = vec![(WriteNumber(5), WriteNumber(6))];
    let acks = Acks { low: WriteNumber(3), ranges };
    let parked = |deadline| {
        Outcome::Parked(Parked {
            hash,
            deadline,
            recipe: "lock".to_owned(),
            version: 3,
            state: Bytes::from_static(b"state"),
        })
    };
    let transaction = |zxid, origin, changes, outcome| Transaction {
        zxid: Zxid(zxid),
        time: Millis(1_700_000_000_000 + zxid),
        origin,
        changes,
        outcome,
    };
    let write = |number| WriteNumber(number);
    let transactions = vec![
        transaction(128, Origin::Host, changes(), Outcome::None),
        transaction(
            129,
            Origin::Write { session, write: write(8), hash, acks },
            vec![],
            Outcome::Replied(Bytes::from_static(b"reply")),
        ),
        transaction(
            130,
            Origin::Write { session, write: write(9), hash, acks: Acks::default() },
            vec![],
            parked(Some(Millis(1_700_000_009_999))),
        ),
        transaction(131, Origin::Rerun { session, write: write(9), hash }, vec![], parked(None)),
    ];
    let body = EntryBody::Batch { base: Zxid(127), transactions };
    Entry { term: Term(7), epoch: Epoch(2), body }
}

fn sessions() -> impl Strategy<Value = SessionId> {
    any::<u64>().prop_map(SessionId)
}

fn writes() -> impl Strategy<Value = WriteNumber> {
    any::<u64>().prop_map(WriteNumber)
}

fn lifetimes() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::Persistent),
        Just(Lifetime::Container),
        any::<u64>().prop_map(Lifetime::Ttl),
        sessions().prop_map(Lifetime::Ephemeral),
        (sessions(), writes())
            .prop_map(|(session, write)| Lifetime::CallOwned(CallId { session, write })),
    ]
}

fn changes_any() -> impl Strategy<Value = Change> {
    prop_oneof![
        (paths(), bytes(), lifetimes()).prop_map(|(path, data, lifetime)| Change::NodeCreated {
            path,
            data,
            lifetime,
            acl: None,
        }),
        (paths(), bytes(), any::<u64>(), any::<u64>(), option::of(acls())).prop_map(
            |(path, data, version, previous, acl)| Change::DataSet {
                path,
                data,
                version,
                previous: Zxid(previous),
                acl
            }
        ),
        (paths(), any::<u64>(), any::<u64>(), option::of(acls())).prop_map(
            |(path, version, previous, acl)| {
                Change::NodeDeleted { path, version, previous: Zxid(previous), acl }
            }
        ),
        paths().prop_map(|path| Change::NodeReleased { path }),
        (paths(), option::of(acls())).prop_map(|(path, acl)| Change::AclSet { path, acl }),
        (objects(), rules()).prop_map(|(object, rules)| Change::RulesSet { object, rules }),
        stances().prop_map(|stance| Change::StanceSet { stance }),
        (any::<u64>(), any::<[u8; 32]>(), text(), helds()).prop_map(
            |(timeout_ms, secret_hash, principal, identities)| Change::SessionOpened {
                timeout_ms,
                secret_hash,
                principal,
                identities
            }
        ),
        (sessions(), identities(), option::of(any::<u64>()))
            .prop_filter("not a session's", |(_, identity, _)| identity.scheme().is_held())
            .prop_map(|(session, identity, at)| {
                let held = Held { identity, expires: at.map(Millis) };
                Change::IdentityAdded { session, held }
            }),
        (sessions(), any::<bool>()).prop_map(|(session, closed)| {
            let end = if closed { End::Closed } else { End::Expired };
            Change::SessionEnded { session, end }
        }),
        sessions().prop_map(|session| Change::SessionForgotten { session }),
        (any::<[u8; 32]>(), any::<u32>(), bytes())
            .prop_map(|(component, index, bytes)| Change::ChunkStored { component, index, bytes }),
        (any::<[u8; 32]>(), any::<u64>(), any::<u32>()).prop_map(|(component, bytes, chunks)| {
            Change::ComponentStored { component, bytes, chunks }
        }),
        (text(), versions()).prop_map(|(recipe, version)| {
            Change::VersionMade { recipe, version: Box::new(version) }
        }),
        (text(), any::<u64>())
            .prop_map(|(recipe, version)| Change::RecipeActivated { recipe, version }),
        text().prop_map(|recipe| Change::RecipeRemoved { recipe }),
        (text(), any::<u64>())
            .prop_map(|(recipe, version)| Change::VersionDropped { recipe, version }),
        (sessions(), any::<[u8; 32]>())
            .prop_map(|(session, component)| Change::UploadBegan { session, component }),
        (sessions(), any::<[u8; 32]>())
            .prop_map(|(session, component)| Change::UploadEnded { session, component }),
        (paths(), option::of(quotas())).prop_map(|(path, quota)| Change::QuotaSet { path, quota }),
        any::<u32>().prop_map(|level| Change::LevelRaised { level: Level(level) }),
    ]
}

fn origins() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Host),
        (sessions(), writes(), any::<u128>(), acks()).prop_map(|(session, write, hash, acks)| {
            Origin::Write { session, write, hash, acks }
        }),
        (sessions(), writes(), any::<u128>()).prop_map(|(session, write, hash)| Origin::Rerun {
            session,
            write,
            hash
        }),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let parked = (any::<u128>(), option::of(any::<u64>()), text(), any::<u64>(), bytes());
    prop_oneof![
        Just(Outcome::None),
        bytes().prop_map(Outcome::Replied),
        parked.prop_map(|(hash, deadline, recipe, version, state)| {
            let deadline = deadline.map(Millis);
            Outcome::Parked(Parked { hash, deadline, recipe, version, state })
        }),
    ]
}

/// Any entry that the sequencer could propose, as far as bytes are concerned.
pub fn entries() -> impl Strategy<Value = Entry> {
    let pieces = vec((0..1_000_u64, origins(), vec(changes_any(), 0..4), outcomes()), 1..4);
    let batches = (0..u64::MAX - 10, any::<u32>(), pieces).prop_map(|(base, start, pieces)| {
        let (mut zxid, mut time) = (base, u64::from(start));
        let transactions = pieces.into_iter().map(|(step, origin, changes, outcome)| {
            zxid += 1;
            time += step;
            Transaction { zxid: Zxid(zxid), time: Millis(time), origin, changes, outcome }
        });
        let transactions = transactions.collect();
        EntryBody::Batch { base: Zxid(base), transactions }
    });
    let bodies = prop_oneof![1 => Just(EntryBody::Barrier), 9 => batches];
    (any::<u64>(), any::<u64>(), bodies).prop_map(|(term, epoch, body)| Entry {
        term: Term(term),
        epoch: Epoch(epoch),
        body,
    })
}

fn held(text: &str, expires: Option<u64>) -> Held {
    let identity = Identity::parse(text).expect("an identity");
    Held { identity, expires: expires.map(Millis) }
}
