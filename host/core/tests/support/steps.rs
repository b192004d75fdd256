//! Random steps for the model: what clients, the leader and raft do. It does not know what comes of them.

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::condition::Condition;
use quorate_core::limits;
use quorate_core::query::Page;
use quorate_core::request::{Body, LifetimeKind, Operation, Sequence};

use super::rights;

/// What happens next.
#[derive(Debug, Clone)]
pub enum Step {
    /// A session is opened.
    Open,
    /// The n-th session expires.
    Expire(usize),
    /// A write of the n-th session, its acknowledgements as distances from its last write.
    Write { session: usize, body: Box<Body>, low: u64, range: Option<(u64, u64)> },
    /// The write before, once more.
    Resend(usize),
    /// The leader applies one entry and does not tell the view.
    ApplyUntold,
    /// The view hears of all that was applied so far.
    Tell,
    /// All that is in flight is applied and told.
    ApplyAll,
    /// Raft refuses all that is in flight but for the first few.
    Refuse(usize),
    /// The leader's clock jumps to so many milliseconds.
    Clock(u64),
    /// So many milliseconds pass.
    Pass(u64),
    /// The leader deletes containers and TTL znodes whose time has come.
    Reap,
}

fn path() -> impl Strategy<Value = String> {
    // Few names: most operations meet something. `0` and `.` stand next to `/` in ASCII.
    let name = prop_oneof![Just("a"), Just("b"), Just("a0"), Just("a."), Just("n-")];
    proptest::collection::vec(name, 0..4).prop_map(|names| {
        if names.is_empty() { "/".to_owned() } else { format!("/{}", names.join("/")) }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let data = || proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    let field = || proptest::option::weighted(0.1, 0u64..6);
    let condition = move || {
        (proptest::option::weighted(0.3, 0u64..4), field(), field(), field(), field()).prop_map(
            |(version, czxid, mzxid, pzxid, cversion)| Condition {
                version,
                czxid,
                mzxid,
                pzxid,
                cversion,
                aversion: None,
            },
        )
    };
    let lifetime = prop_oneof![
        4 => Just(LifetimeKind::Persistent),
        3 => Just(LifetimeKind::Ephemeral),
        2 => Just(LifetimeKind::Container),
        2 => (1u64..3_000).prop_map(LifetimeKind::Ttl),
    ];
    let sequence = prop_oneof![
        3 => Just(Sequence::None),
        1 => Just(Sequence::Native),
        1 => Just(Sequence::ZooKeeper)
    ];
    let some_acl = prop_oneof![4 => Just(None), 1 => rights::acl()];
    let wanted = (path(), data(), lifetime.clone(), any::<bool>(), some_acl.clone());
    let page = || Page::first();
    prop_oneof![
        6 => (path(), data(), lifetime, sequence, any::<bool>(), some_acl).prop_map(
            |(path, data, lifetime, sequence, parents, acl)| {
                // `/` with a sequence number is a child of the root without a stem.
                Operation::Create { path, data, lifetime, sequence, parents, acl }
            }
        ),
        2 => (path(), data(), condition())
            .prop_map(|(path, data, condition)| Operation::Set { path, data, condition }),
        4 => (path(), condition())
            .prop_map(|(path, condition)| Operation::Delete { path, condition }),
        1 => (path(), condition())
            .prop_map(|(path, condition)| Operation::Check { path, condition }),
        1 => path().prop_map(|path| Operation::CheckAbsent { path }),
        2 => (wanted, any::<bool>()).prop_map(|((path, data, lifetime, parents, acl), is_set)| {
            if is_set {
                Operation::SetOrCreate { path, data, lifetime, parents, acl }
            } else {
                Operation::CreateOrGet { path, data, lifetime, parents, acl }
            }
        }),
        1 => (path(), condition())
            .prop_map(|(path, condition)| Operation::DeleteTree { path, condition }),
        1 => (path(), 0..5).prop_map(move |(path, kind)| match kind {
            0 => Operation::Get { path },
            1 => Operation::Stat { path },
            2 => Operation::Exists { path },
            kind => Operation::Children { path, page: page(), with_data: kind == 3 },
        }),
        2 => rights::operation(path()),
    ]
}

/// Any step.
pub fn step() -> impl Strategy<Value = Step> {
    let body = prop_oneof![
        12 => operation().prop_map(Body::Single),
        4 => proptest::collection::vec(operation(), 0..5).prop_map(Body::Multi),
        1 => Just(Body::CloseSession),
    ];
    let range = proptest::option::of((0u64..4, 0u64..4));
    prop_oneof![
        2 => Just(Step::Open),
        1 => (0usize..4).prop_map(Step::Expire),
        24 => (0usize..4, body, 0u64..8, range).prop_map(|(session, body, low, range)| {
            Step::Write { session, body: Box::new(body), low, range }
        }),
        2 => (0usize..4).prop_map(Step::Resend),
        4 => Just(Step::ApplyUntold),
        3 => Just(Step::Tell),
        2 => Just(Step::ApplyAll),
        1 => (0usize..6).prop_map(Step::Refuse),
        1 => (0u64..5_000).prop_map(Step::Clock),
        2 => (0u64..limits::CONTAINER_EMPTY_MS * 2).prop_map(Step::Pass),
        4 => Just(Step::Reap),
    ]
}
