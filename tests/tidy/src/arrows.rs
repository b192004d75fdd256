//! The arrows between our crates: who may depend on whom.
//! Knows the table of what is allowed; how manifests are read is next door in `crates`.

use std::collections::{BTreeMap, BTreeSet};

use crate::crates::{Arrow, arrows, manifests};
use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

/// May use every crate of ours.
const ANY: &[&str] = &["*"];

const ADVICE: &str =
    "arrows point down; a new one goes into this table and comes with a decision record";

/// Every crate of ours, by its folder, and the folders that its normal and build dependencies may
/// name.
/// `folder/*` stands for each folder below.
const MAY_USE: &[(&str, &[&str])] = &[
    // L0
    ("host/core", &[]),
    // L1
    ("host/wire", &["host/core"]),
    ("host/engine", &["host/core", "host/wire"]),
    ("host/store", &["host/core", "host/wire"]),
    ("host/net", &["host/core", "host/wire"]),
    // L2: siblings do not know each other.
    ("host/raft", &["host/core", "host/wire", "host/engine", "host/store", "host/net"]),
    ("host/sequencer", &["host/core", "host/wire", "host/engine", "host/store", "host/net"]),
    // L3
    (
        "host/gateway",
        &[
            "host/core",
            "host/wire",
            "host/engine",
            "host/store",
            "host/net",
            "host/raft",
            "host/sequencer",
        ],
    ),
    // L4
    (
        "host/server",
        &[
            "host/core",
            "host/wire",
            "host/engine",
            "host/store",
            "host/net",
            "host/raft",
            "host/sequencer",
            "host/gateway",
            "sdk/client",
            "sdk/testkit",
            "sdk/componentize",
        ],
    ),
    // What users link.
    ("sdk/client", &["host/core", "host/wire", "host/net", "sdk/client-macro"]),
    // Runs at compile time. The hash of a function's type is taken from the wire's own description of it.
    ("sdk/client-macro", &["host/wire"]),
    (
        "sdk/testkit",
        &["host/core", "host/wire", "host/engine", "host/sequencer", "sdk/componentize"],
    ),
    ("sdk/componentize", &[]),
    // Guests see nothing of the host but wit/.
    ("sdk/recipe", &["sdk/recipe-macro"]),
    ("sdk/recipe-macro", &[]),
    ("recipes/*", &["sdk/recipe"]),
    ("tests/*", ANY),
];

#[test]
fn arrows_between_crates_point_down() {
    let arrows = arrows(tracked_files());
    assert!(
        !arrows.is_empty(),
        "no arrow was read from the manifests: the rule would check nothing"
    );
    report("arrows between crates", &check_table(tracked_files(), MAY_USE));
}

#[test]
fn crates_do_not_depend_on_each_other_in_a_circle() {
    report("no circles between crates", &check_circles(&arrows(tracked_files())));
}

fn check_table(files: &[TrackedFile], table: &[(&str, &[&str])]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for folder in manifests(files).into_keys() {
        let path = format!("{folder}/Cargo.toml");
        if !folder.is_empty() && may_use(table, &folder).is_none() && is_package(files, &path) {
            let message = format!(
                "`{folder}` is not in the table of arrows (tests/tidy/src/arrows.rs): add it there"
            );
            findings.push(Finding::new(&path, 1, message));
        }
    }
    for Arrow { from, to, is_dev, manifest, line } in arrows(files) {
        let Some(allowed) = may_use(table, &from) else {
            continue;
        };
        if !is_dev && !allowed.iter().any(|pattern| matches(pattern, &to)) {
            let message = format!("`{from}` may not depend on `{to}`: {ADVICE}");
            findings.push(Finding::new(&manifest, line, message));
        }
    }
    findings
}

/// One finding for each arrow that lies on a circle, dev-dependencies included.
fn check_circles(arrows: &[Arrow]) -> Vec<Finding> {
    let mut targets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for arrow in arrows {
        targets.entry(&arrow.from).or_default().insert(&arrow.to);
    }
    let reaches = |start: &str, goal: &str| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(folder) = open.pop() {
            if folder == goal {
                return true;
            }
            if seen.insert(folder) {
                open.extend(targets.get(folder).into_iter().flatten().copied());
            }
        }
        false
    };
    let on_circle = arrows.iter().filter(|arrow| reaches(&arrow.to, &arrow.from));
    on_circle
        .map(|Arrow { from, to, manifest, line, .. }| {
            let message = format!(
                "`{to}` leads back to `{from}`: move what both need into a crate below them"
            );
            Finding::new(manifest, *line, message)
        })
        .collect()
}

fn may_use<'table>(
    table: &[(&str, &'table [&'table str])],
    folder: &str,
) -> Option<&'table [&'table str]> {
    table.iter().find(|(pattern, _)| matches(pattern, folder)).map(|(_, allowed)| *allowed)
}

fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => folder.len() > start.len() && folder.starts_with(start),
        None => pattern == folder,
    }
}

fn is_package(files: &[TrackedFile], path: &str) -> bool {
    files.iter().any(|file| file.path == path && file.text().contains("[package]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = r#"[workspace]
[workspace.dependencies]
core = { path = "host/core" }
raft = { path = "host/raft" }
"#;

    fn example(manifests: &[(&str, &str)]) -> Vec<TrackedFile> {
        let root = [("Cargo.toml", ROOT)];
        root.iter().chain(manifests).map(|(path, text)| TrackedFile::example(path, text)).collect()
    }

    #[test]
    fn an_arrow_that_points_up_is_flagged_at_its_line() {
        let files = example(&[(
            "host/core/Cargo.toml",
            "[package]\n[dependencies]\nraft.workspace = true\n",
        )]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["host/core/Cargo.toml:3"]);
    }

    #[test]
    fn an_arrow_that_points_up_by_path_or_for_one_target_is_flagged_too() {
        let by_path = "[package]\n[dependencies]\nraft = { path = \"../raft\" }\n";
        let files = example(&[("host/core/Cargo.toml", by_path)]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["host/core/Cargo.toml:3"]);

        let by_target = "[package]\n[target.'cfg(unix)'.dependencies]\nraft.workspace = true\n";
        let files = example(&[("host/core/Cargo.toml", by_target)]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["host/core/Cargo.toml:3"]);
    }

    #[test]
    fn arrows_down_and_those_of_tests_pass() {
        let files = example(&[
            ("host/raft/Cargo.toml", "[package]\n[dependencies]\ncore.workspace = true\n"),
            ("host/core/Cargo.toml", "[package]\n[dev-dependencies]\nraft.workspace = true\n"),
        ]);
        assert_eq!(places(&check_table(&files, MAY_USE)), [""; 0]);
    }

    #[test]
    fn siblings_of_the_second_layer_do_not_know_each_other() {
        let sequencer = "[package]\n[dependencies]\nraft.workspace = true\n";
        let files = example(&[("host/sequencer/Cargo.toml", sequencer)]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["host/sequencer/Cargo.toml:3"]);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_flagged() {
        let files = example(&[("host/new/Cargo.toml", "[package]\nname = \"new\"\n")]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["host/new/Cargo.toml:1"]);
    }

    #[test]
    fn a_guest_that_depends_on_the_host_is_flagged() {
        let guests = "[workspace]\n[workspace.dependencies]\ncore = { path = \"../host/core\" }\n";
        let lock = "[package]\n[dependencies]\ncore.workspace = true\n";
        let files = example(&[("recipes/Cargo.toml", guests), ("recipes/lock/Cargo.toml", lock)]);
        assert_eq!(places(&check_table(&files, MAY_USE)), ["recipes/lock/Cargo.toml:3"]);
    }

    #[test]
    fn a_circle_through_a_dev_dependency_is_flagged_at_both_ends() {
        let files = example(&[
            ("host/raft/Cargo.toml", "[package]\n[dependencies]\ncore.workspace = true\n"),
            ("host/core/Cargo.toml", "[package]\n[dev-dependencies]\nraft.workspace = true\n"),
        ]);
        let found = check_circles(&arrows(&files));
        assert_eq!(places(&found), ["host/core/Cargo.toml:3", "host/raft/Cargo.toml:3"]);
    }

    #[test]
    fn a_chain_is_no_circle() {
        let files = example(&[
            ("host/raft/Cargo.toml", "[package]\n[dependencies]\ncore.workspace = true\n"),
            (
                "tests/it/Cargo.toml",
                "[package]\n[dependencies]\ncore.workspace = true\nraft.workspace = true\n",
            ),
        ]);
        assert_eq!(arrows(&files).len(), 3);
        assert_eq!(check_circles(&arrows(&files)), []);
    }
}
