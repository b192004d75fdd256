//! Arbitrary pieces that entries and messages have in common.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use quorate_core::access::{
    Acl, AclEntry, Held, Identity, Object, Permissions, Rule, Rules, Stance,
};
use quorate_core::deployment::{Instances, Manifest, Mount, RunLimits, Version};
use quorate_core::ids::{Millis, WriteNumber};
use quorate_core::path::Path;
use quorate_core::quota::{Bounds, Quota};
use quorate_core::session::Acks;

/// Short ones.
pub fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// Short ones.
pub fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

/// Short valid ones.
pub fn paths() -> impl Strategy<Value = Path> {
    let names = proptest::sample::select(vec!["a", "b-0000000001", "\u{e9}t\u{e9}", "\u{ffef}"]);
    vec(names, 0..5).prop_map(|names| valid(&format!("/{}", names.join("/"))))
}

/// One of each scheme, and more.
pub fn identities() -> impl Strategy<Value = Identity> {
    let texts = vec![
        "world:anyone",
        "auth:",
        "digest:user:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        "ip:10.0.0.0/8",
        "ip:fe80::/10",
        "x509:CN=\u{e9}t\u{e9},O=a",
        "token:ci",
        "token:other",
        "super:",
    ];
    proptest::sample::select(texts).prop_map(|text| Identity::parse(text).expect("an identity"))
}

/// Short lists.
pub fn acls() -> impl Strategy<Value = Acl> {
    let entry =
        (permissions(), identities()).prop_map(|(permissions, who)| AclEntry { permissions, who });
    vec(entry, 0..4).prop_map(|entries| Acl { entries })
}

/// All sets.
pub fn permissions() -> impl Strategy<Value = Permissions> {
    (0..256_u32).prop_map(|bits| Permissions::from_bits(bits).expect("bits of permissions"))
}

/// Of each kind.
pub fn objects() -> impl Strategy<Value = Object> {
    let texts = vec!["/", "/a/\u{e9}", "recipe:lock", "recipe:*", "cluster"];
    proptest::sample::select(texts).prop_map(|text| Object::parse(text).expect("an object"))
}

/// Any.
pub fn a_rule() -> impl Strategy<Value = Rule> {
    let function = proptest::option::of(text());
    (identities(), function, permissions()).prop_map(|(who, function, permissions)| Rule {
        who,
        function,
        permissions,
    })
}

/// The rules on an object.
pub fn rules() -> impl Strategy<Value = Rules> {
    vec(a_rule(), 0..4).prop_map(|all| {
        let mut rules = Rules::default();
        for rule in all {
            rules.grant(rule).expect("there is room");
        }
        rules
    })
}

/// Both.
pub fn stances() -> impl Strategy<Value = Stance> {
    any::<bool>().prop_map(|denies| if denies { Stance::Deny } else { Stance::Open })
}

/// Manifests of deployments.
pub fn manifests() -> impl Strategy<Value = Manifest> {
    let mounts = vec((paths(), paths(), any::<bool>()), 0..3).prop_map(|mounts| {
        let mounts = mounts.into_iter();
        mounts.map(|(at, path, writable)| Mount { at, path, writable }).collect::<Vec<_>>()
    });
    let callers = proptest::collection::btree_map(text(), vec(text(), 0..3), 0..3);
    let config = proptest::collection::btree_map(text(), text(), 0..3);
    let read_only = proptest::collection::btree_set(text(), 0..3);
    (any::<[u64; 6]>(), paths(), mounts, callers, config, any::<bool>(), read_only).prop_map(
        |(numbers, root, mounts, callers, config, reused, read_only)| {
            let callers: BTreeMap<_, _> = callers;
            let limits = RunLimits {
                memory_bytes: numbers[0],
                time_ms: numbers[1],
                host_calls: numbers[2],
                changes: numbers[3],
                changes_bytes: numbers[4],
                log_bytes: numbers[5],
            };
            let instances = if reused { Instances::Reused } else { Instances::Fresh };
            Manifest { root, mounts, limits, instances, callers, config, read_only }
        },
    )
}

/// Versions of recipes.
pub fn versions() -> impl Strategy<Value = Version> {
    (any::<[u64; 2]>(), any::<[u8; 32]>(), manifests(), text()).prop_map(
        |([number, deployed], component, manifest, principal)| {
            let deployed = Millis(deployed);
            Version { number, component, manifest, principal, deployed }
        },
    )
}

/// Those that a client may send.
pub fn acks() -> impl Strategy<Value = Acks> {
    // Gaps of at least two and lengths keep the ranges ascending and apart.
    (0..1_000_u64, vec((2..50_u64, 0..50_u64), 0..4)).prop_map(|(low, steps)| {
        let mut end = low;
        let ranges = steps.into_iter().map(|(gap, length)| {
            let from = end + gap;
            end = from + length;
            (WriteNumber(from), WriteNumber(end))
        });
        let ranges = ranges.collect();
        Acks { low: WriteNumber(low), ranges }
    })
}

/// Any.
pub fn quotas() -> impl Strategy<Value = Quota> {
    let bound = || proptest::option::of(any::<u64>());
    let bounds = move || (bound(), bound()).prop_map(|(soft, hard)| Bounds { soft, hard });
    (bounds(), bounds(), bounds()).prop_map(|(znodes, bytes, writes_per_s)| Quota {
        znodes,
        bytes,
        writes_per_s,
    })
}

/// One with each bound.
pub fn quota() -> Quota {
    let bounds = |soft, hard| Bounds { soft: Some(soft), hard: Some(hard) };
    Quota { znodes: bounds(1, 300), bytes: bounds(2, 400), writes_per_s: bounds(3, 500) }
}

/// Identities of a session: ascending, each once.
pub fn helds() -> impl Strategy<Value = Vec<Held>> {
    vec((identities(), option::of(any::<u64>())), 0..4).prop_map(|all| {
        let held = all.into_iter().filter(|(identity, _)| identity.scheme().is_held());
        let held = held.map(|(identity, at)| Held { identity, expires: at.map(Millis) });
        let mut held: Vec<Held> = held.collect();
        held.sort();
        held.dedup_by(|a, b| a.identity == b.identity);
        held
    })
}

fn valid(text: &str) -> Path {
    Path::parse(text).expect("a valid path")
}
