//! Rules about single manifests: heavy dependencies have one owner, each dependency has a reason
//! and one version.
//! Knows Cargo's tables; the arrows between our own crates are next door.

use crate::repository::{Finding, TrackedFile, places, report, tracked_files};

/// The heavy dependencies (the crate, and its family `name-*`), each with the one manifest that may
/// name it.
const HEAVY: &[(&str, &str)] = &[
    ("wasmtime", "host/engine/Cargo.toml"),
    ("rocksdb", "host/store/Cargo.toml"),
    ("quinn", "host/net/Cargo.toml"),
    ("openraft", "host/raft/Cargo.toml"),
];

/// Dependencies whose line gives no reason yet. This list can only shrink.
const WITHOUT_REASON: &[&str] =
    &["serde", "serde_json", "thiserror", "tokio", "tracing", "tracing-subscriber"];

/// Names that begin alike for this many characters share the comment above the first of them.
const ALIKE_CHARACTERS: usize = 4;

/// A dependency as a manifest writes it.
#[derive(Debug, PartialEq, Eq)]
struct Line<'text> {
    /// Counted from 1.
    number: usize,
    name: &'text str,
    /// All behind the name.
    value: &'text str,
    /// Whether a comment with words stands directly above.
    has_reason: bool,
    /// Name of the dependency directly above, without a blank line between.
    follows: Option<&'text str>,
}

#[test]
fn each_heavy_dependency_is_named_in_one_manifest() {
    report("one owner for each heavy dependency", &check_heavy(tracked_files()));
}

#[test]
fn each_dependency_says_why_it_is_there() {
    let root = root_manifest();
    assert!(!lines_of(root.text(), is_workspace_dependencies).is_empty());
    report("each dependency has a reason", &check_reasons(root, WITHOUT_REASON));
}

#[test]
fn each_member_takes_versions_from_the_workspace() {
    report("one version of each dependency", &check_inherited(tracked_files()));
}

fn root_manifest() -> &'static TrackedFile {
    let root = tracked_files().iter().find(|file| file.path == "Cargo.toml");
    root.expect("the repository has a workspace manifest")
}

fn check_heavy(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in manifests_of_members(files) {
        for line in lines_of(file.text(), is_dependencies) {
            let owner = HEAVY.iter().find(|(heavy, _)| {
                line.name == *heavy || line.name.starts_with(&format!("{heavy}-"))
            });
            if let Some((heavy, owner)) = owner.filter(|(_, owner)| *owner != file.path) {
                let message =
                    format!("`{heavy}` is named in {owner} only: use what that crate makes of it");
                findings.push(Finding::new(&file.path, line.number, message));
            }
        }
    }
    findings
}

fn check_reasons(root: &TrackedFile, without_reason: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut explained = Vec::new();
    for line in lines_of(root.text(), is_workspace_dependencies) {
        if line.value.contains("path =") {
            continue;
        }
        let shares_reason = line
            .follows
            .is_some_and(|above| explained.contains(&above) && begin_alike(above, line.name));
        let is_excused = without_reason.contains(&line.name);
        if line.has_reason || shares_reason {
            explained.push(line.name);
            if is_excused {
                let message =
                    format!("`{}` has its reason now: take it out of WITHOUT_REASON", line.name);
                findings.push(Finding::new(&root.path, line.number, message));
            }
        } else if !is_excused {
            let message = format!("`{}`: say why in a comment directly above", line.name);
            findings.push(Finding::new(&root.path, line.number, message));
        }
    }
    findings
}

fn check_inherited(files: &[TrackedFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in manifests_of_members(files) {
        for line in lines_of(file.text(), is_dependencies) {
            let value = line.value.replace(' ', "");
            if !value.starts_with(".workspace=true") && !value.contains("workspace=true") {
                let message = format!(
                    "`{0}`: write `{0}.workspace = true`, with version and reason in the root manifest",
                    line.name
                );
                findings.push(Finding::new(&file.path, line.number, message));
            }
        }
    }
    findings
}

/// Manifests of the root's workspace. Excluded ones (guests, fuzz targets) have a workspace of
/// their own.
fn manifests_of_members(files: &[TrackedFile]) -> impl Iterator<Item = &TrackedFile> {
    let root = files.iter().find(|file| file.path == "Cargo.toml");
    let root: toml::Table = root.and_then(|root| root.text().parse().ok()).unwrap_or_default();
    let members = root.get("workspace").and_then(|workspace| workspace.get("members")?.as_array());
    let paths: Vec<String> = members
        .into_iter()
        .flatten()
        .filter_map(|member| Some(format!("{}/Cargo.toml", member.as_str()?)))
        .collect();
    files.iter().filter(move |file| paths.contains(&file.path))
}

fn is_workspace_dependencies(header: &str) -> bool {
    header == "workspace.dependencies"
}

/// `dependencies`, `dev-dependencies`, `build-dependencies`, and those of a target.
fn is_dependencies(header: &str) -> bool {
    let last = header.rsplit('.').next().unwrap_or_default();
    header != "workspace.dependencies"
        && matches!(last, "dependencies" | "dev-dependencies" | "build-dependencies")
}

fn begin_alike(left: &str, right: &str) -> bool {
    let alike = left.chars().zip(right.chars()).take_while(|(left, right)| left == right).count();
    alike >= ALIKE_CHARACTERS
}

/// Dependency lines of the tables that `is_wanted` takes. Comments are part of the rule, so this
/// reads lines.
fn lines_of(text: &str, is_wanted: fn(&str) -> bool) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut has_reason = false;
    let mut follows = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = is_wanted(header);
            (has_reason, follows) = (false, None);
        } else if let Some(comment) = trimmed.strip_prefix('#') {
            // A heading of dashes is not a reason for what stands below it.
            has_reason = !comment.contains("---") && comment.chars().any(char::is_alphabetic);
            follows = None;
        } else if let Some((name, value)) = name_and_value(line).filter(|_| inside) {
            lines.push(Line { number: index + 1, name, value, has_reason, follows });
            (has_reason, follows) = (false, Some(name));
        } else if trimmed.is_empty() {
            (has_reason, follows) = (false, None);
        }
    }
    lines
}

/// Splits `name = …` and `name.key = …` at the start of a line; None inside a value of several
/// lines.
fn name_and_value(line: &str) -> Option<(&str, &str)> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let end = line.find(|character| !is_name(character))?;
    let (name, value) = line.split_at(end);
    (!name.is_empty() && value.trim_start().starts_with(['=', '.'])).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(member: &str) -> Vec<TrackedFile> {
        vec![
            TrackedFile::example(
                "Cargo.toml",
                "[workspace]\nmembers = [\"host/core\", \"host/engine\"]\n",
            ),
            TrackedFile::example("host/core/Cargo.toml", member),
        ]
    }

    #[test]
    fn a_heavy_dependency_outside_its_owner_is_flagged() {
        let files =
            workspace("[dependencies]\nbytes.workspace = true\nwasmtime.workspace = true\n");
        assert_eq!(places(&check_heavy(&files)), ["host/core/Cargo.toml:3"]);
        let files = workspace("[dev-dependencies]\nopenraft-rt.workspace = true\n");
        assert_eq!(places(&check_heavy(&files)), ["host/core/Cargo.toml:2"]);
    }

    #[test]
    fn the_owner_of_a_heavy_dependency_may_name_it() {
        let mut files = workspace("");
        let engine = "[dependencies]\nwasmtime.workspace = true\n";
        files.push(TrackedFile::example("host/engine/Cargo.toml", engine));
        assert_eq!(check_heavy(&files), []);
    }

    #[test]
    fn a_dependency_without_a_reason_is_flagged() {
        let text = r#"[workspace.dependencies]
quorate-core = { path = "host/core" }

# --- small ones ---
clap = "4"
# Why.
bytes = "1"
serde = "1"
"#;
        let root = TrackedFile::example("Cargo.toml", text);
        assert_eq!(places(&check_reasons(&root, &[])), ["Cargo.toml:5", "Cargo.toml:8"]);
    }

    #[test]
    fn names_that_begin_alike_share_the_reason_above_them() {
        let text = "[workspace.dependencies]\n# Why.\nclap = \"4\"\nclap_complete = \"4\"\n";
        assert_eq!(check_reasons(&TrackedFile::example("Cargo.toml", text), &[]), []);
        let apart = "[workspace.dependencies]\n# Why.\nclap = \"4\"\n\nclap_complete = \"4\"\n";
        let found = check_reasons(&TrackedFile::example("Cargo.toml", apart), &[]);
        assert_eq!(places(&found), ["Cargo.toml:5"]);
    }

    #[test]
    fn an_excuse_that_is_no_longer_needed_is_flagged() {
        let text = "[workspace.dependencies]\n# Why.\nserde = \"1\"\n";
        let root = TrackedFile::example("Cargo.toml", text);
        assert_eq!(places(&check_reasons(&root, &["serde"])), ["Cargo.toml:3"]);
    }

    #[test]
    fn a_version_in_a_member_is_flagged() {
        let files = workspace(
            "[dependencies]\nbytes = \"1\"\n\n[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n",
        );
        let found = places(&check_inherited(&files));
        assert_eq!(found, ["host/core/Cargo.toml:2", "host/core/Cargo.toml:5"]);
    }

    #[test]
    fn both_ways_to_inherit_a_version_pass() {
        let member = r#"[package]
name = "core"
[dependencies]
bytes.workspace = true
toml = { workspace = true, optional = true }
"#;
        assert_eq!(check_inherited(&workspace(member)), []);
    }
}
