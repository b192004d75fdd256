//! The arrows between our crates: who may depend on whom.
//! Knows manifests; does not know what the crates do with each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

/// May use every crate of ours.
const ANY: &[&str] = &["*"];

const ARROWS_PAGE: &str =
    "DESIGN says that arrows point down; a new one comes with a decision record (docs/decisions)";

/// Every crate of ours, by its folder, and the folders that its normal and build dependencies may name.
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
    (
        "host/raft",
        &[
            "host/core",
            "host/wire",
            "host/engine",
            "host/store",
            "host/net",
        ],
    ),
    (
        "host/sequencer",
        &[
            "host/core",
            "host/wire",
            "host/engine",
            "host/store",
            "host/net",
        ],
    ),
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
    ("sdk/client", &["host/core", "host/wire", "host/net"]),
    (
        "sdk/testkit",
        &[
            "host/core",
            "host/wire",
            "host/engine",
            "host/sequencer",
            "sdk/componentize",
        ],
    ),
    ("sdk/componentize", &[]),
    // Guests see nothing of the host but wit/.
    ("sdk/recipe", &["sdk/recipe-macro"]),
    ("sdk/recipe-macro", &[]),
    ("recipes/*", &["sdk/recipe"]),
    ("tests/*", ANY),
];

/// A dependency of one of our crates on another of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    /// A dev-dependency: it may point anywhere, and still not close a circle.
    is_dev: bool,
    manifest: String,
    line: usize,
}

#[test]
fn arrows_between_crates_point_down() {
    let arrows = arrows(tracked_files());
    assert!(
        !arrows.is_empty(),
        "no arrow was read from the manifests: the rule would check nothing"
    );
    report(
        "arrows between crates",
        &check_table(tracked_files(), MAY_USE),
    );
}

#[test]
fn crates_do_not_depend_on_each_other_in_a_circle() {
    report(
        "no circles between crates",
        &check_circles(&arrows(tracked_files())),
    );
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
    for Arrow {
        from,
        to,
        is_dev,
        manifest,
        line,
    } in arrows(files)
    {
        let Some(allowed) = may_use(table, &from) else {
            continue;
        };
        if !is_dev && !allowed.iter().any(|pattern| matches(pattern, &to)) {
            let message = format!("`{from}` may not depend on `{to}`: {ARROWS_PAGE}");
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
    let on_circle = arrows
        .iter()
        .filter(|arrow| reaches(&arrow.to, &arrow.from));
    on_circle
        .map(
            |Arrow {
                 from,
                 to,
                 manifest,
                 line,
                 ..
             }| {
                let message = format!(
                    "`{to}` leads back to `{from}`: move what both need into a crate below them"
                );
                Finding::new(manifest, *line, message)
            },
        )
        .collect()
}

fn may_use<'table>(
    table: &[(&str, &'table [&'table str])],
    folder: &str,
) -> Option<&'table [&'table str]> {
    table
        .iter()
        .find(|(pattern, _)| matches(pattern, folder))
        .map(|(_, allowed)| *allowed)
}

fn matches(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => folder.len() > start.len() && folder.starts_with(start),
        None => pattern == folder,
    }
}

fn is_package(files: &[TrackedFile], path: &str) -> bool {
    files
        .iter()
        .any(|file| file.path == path && file.text().contains("[package]"))
}

/// Manifests by folder; the root's folder is the empty string.
fn manifests(files: &[TrackedFile]) -> BTreeMap<String, toml::Table> {
    let mut manifests = BTreeMap::new();
    for file in files {
        let folder = match file.path.as_str() {
            "Cargo.toml" => "",
            path => match path.strip_suffix("/Cargo.toml") {
                Some(folder) => folder,
                None => continue,
            },
        };
        // A template with placeholders is not a manifest yet.
        if let Ok(table) = file.text().parse::<toml::Table>() {
            manifests.insert(folder.into(), table);
        }
    }
    manifests
}

fn arrows(files: &[TrackedFile]) -> Vec<Arrow> {
    let manifests = manifests(files);
    let mut arrows = Vec::new();
    for (folder, manifest) in &manifests {
        let path = if folder.is_empty() {
            "Cargo.toml".into()
        } else {
            format!("{folder}/Cargo.toml")
        };
        let text = files
            .iter()
            .find(|file| file.path == path)
            .map_or("", TrackedFile::text);
        for (is_dev, dependencies) in dependency_tables(manifest) {
            for (name, value) in dependencies {
                if let Some(to) = resolve(&manifests, folder, name, value) {
                    let line = text
                        .lines()
                        .position(|line| line.starts_with(name.as_str()));
                    let line = line.map_or(1, |index| index + 1);
                    arrows.push(Arrow {
                        from: folder.clone(),
                        to,
                        is_dev,
                        manifest: path.clone(),
                        line,
                    });
                }
            }
        }
    }
    arrows
}

/// All dependency tables of a manifest, those under `[target.…]` too, each with whether it is for tests only.
fn dependency_tables(manifest: &toml::Table) -> Vec<(bool, &toml::Table)> {
    let mut tables = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let by_target = targets
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    for holder in std::iter::once(manifest).chain(by_target) {
        for (key, is_dev) in [
            ("dependencies", false),
            ("build-dependencies", false),
            ("dev-dependencies", true),
        ] {
            if let Some(table) = holder.get(key).and_then(toml::Value::as_table) {
                tables.push((is_dev, table));
            }
        }
    }
    tables
}

/// Folder of the crate of ours that this dependency names; None for a crate from outside.
fn resolve(
    manifests: &BTreeMap<String, toml::Table>,
    folder: &str,
    name: &str,
    value: &toml::Value,
) -> Option<String> {
    let is_inherited = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
    if !is_inherited {
        return Some(join(folder, value.get("path")?.as_str()?));
    }
    let workspace = workspace_of(manifests, folder)?;
    let inherited = manifests[&workspace]
        .get("workspace")?
        .get("dependencies")?
        .get(name)?;
    Some(join(&workspace, inherited.get("path")?.as_str()?))
}

/// Folder of the workspace that this crate belongs to: the one that its manifest names, or the nearest above.
fn workspace_of(manifests: &BTreeMap<String, toml::Table>, folder: &str) -> Option<String> {
    let named = manifests
        .get(folder)?
        .get("package")
        .and_then(|package| package.get("workspace"));
    if let Some(path) = named.and_then(toml::Value::as_str) {
        return Some(join(folder, path));
    }
    let mut above = Some(folder);
    while let Some(candidate) = above {
        if manifests
            .get(candidate)
            .is_some_and(|manifest| manifest.contains_key("workspace"))
        {
            return Some(candidate.into());
        }
        above = match candidate.rsplit_once('/') {
            Some((parent, _)) => Some(parent),
            None if candidate.is_empty() => None,
            None => Some(""),
        };
    }
    None
}

fn join(folder: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "[workspace]\n[workspace.dependencies]\ncore = { path = \"host/core\" }\nraft = { path = \"host/raft\" }\n";

    fn example(manifests: &[(&str, &str)]) -> Vec<TrackedFile> {
        let root = [("Cargo.toml", ROOT)];
        root.iter()
            .chain(manifests)
            .map(|(path, text)| TrackedFile::example(path, text))
            .collect()
    }

    #[test]
    fn an_arrow_that_points_up_is_flagged_at_its_line() {
        let files = example(&[(
            "host/core/Cargo.toml",
            "[package]\n[dependencies]\nraft.workspace = true\n",
        )]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["host/core/Cargo.toml:3"]
        );
    }

    #[test]
    fn an_arrow_that_points_up_by_path_or_for_one_target_is_flagged_too() {
        let by_path = "[package]\n[dependencies]\nraft = { path = \"../raft\" }\n";
        let files = example(&[("host/core/Cargo.toml", by_path)]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["host/core/Cargo.toml:3"]
        );

        let by_target = "[package]\n[target.'cfg(unix)'.dependencies]\nraft.workspace = true\n";
        let files = example(&[("host/core/Cargo.toml", by_target)]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["host/core/Cargo.toml:3"]
        );
    }

    #[test]
    fn arrows_down_and_those_of_tests_pass() {
        let files = example(&[
            (
                "host/raft/Cargo.toml",
                "[package]\n[dependencies]\ncore.workspace = true\n",
            ),
            (
                "host/core/Cargo.toml",
                "[package]\n[dev-dependencies]\nraft.workspace = true\n",
            ),
        ]);
        assert_eq!(places(&check_table(&files, MAY_USE)), [""; 0]);
    }

    #[test]
    fn siblings_of_the_second_layer_do_not_know_each_other() {
        let sequencer = "[package]\n[dependencies]\nraft.workspace = true\n";
        let files = example(&[("host/sequencer/Cargo.toml", sequencer)]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["host/sequencer/Cargo.toml:3"]
        );
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_flagged() {
        let files = example(&[("host/new/Cargo.toml", "[package]\nname = \"new\"\n")]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["host/new/Cargo.toml:1"]
        );
    }

    #[test]
    fn a_guest_that_depends_on_the_host_is_flagged() {
        let guests = "[workspace]\n[workspace.dependencies]\ncore = { path = \"../host/core\" }\n";
        let lock = "[package]\n[dependencies]\ncore.workspace = true\n";
        let files = example(&[
            ("recipes/Cargo.toml", guests),
            ("recipes/lock/Cargo.toml", lock),
        ]);
        assert_eq!(
            places(&check_table(&files, MAY_USE)),
            ["recipes/lock/Cargo.toml:3"]
        );
    }

    #[test]
    fn a_circle_through_a_dev_dependency_is_flagged_at_both_ends() {
        let files = example(&[
            (
                "host/raft/Cargo.toml",
                "[package]\n[dependencies]\ncore.workspace = true\n",
            ),
            (
                "host/core/Cargo.toml",
                "[package]\n[dev-dependencies]\nraft.workspace = true\n",
            ),
        ]);
        let found = check_circles(&arrows(&files));
        assert_eq!(
            places(&found),
            ["host/core/Cargo.toml:3", "host/raft/Cargo.toml:3"]
        );
    }

    #[test]
    fn a_chain_is_no_circle() {
        let files = example(&[
            (
                "host/raft/Cargo.toml",
                "[package]\n[dependencies]\ncore.workspace = true\n",
            ),
            (
                "tests/it/Cargo.toml",
                "[package]\n[dependencies]\ncore.workspace = true\nraft.workspace = true\n",
            ),
        ]);
        assert_eq!(arrows(&files).len(), 3);
        assert_eq!(check_circles(&arrows(&files)), []);
    }
}
