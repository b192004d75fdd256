//! Reads from the manifests which of our crates depends on which.
//! Knows Cargo's ways to name a dependency; does not judge.

use std::collections::BTreeMap;

use crate::repository::TrackedFile;

/// A dependency of one of our crates on another of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) to: String,
    /// A dev-dependency: it may point anywhere, and still not close a circle.
    pub(crate) is_dev: bool,
    pub(crate) manifest: String,
    pub(crate) line: usize,
}

/// Manifests by folder; the root's folder is the empty string.
pub(crate) fn manifests(files: &[TrackedFile]) -> BTreeMap<String, toml::Table> {
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

/// All arrows between our crates, in the order of their manifests.
pub(crate) fn arrows(files: &[TrackedFile]) -> Vec<Arrow> {
    let manifests = manifests(files);
    let mut arrows = Vec::new();
    for (folder, manifest) in &manifests {
        let path =
            if folder.is_empty() { "Cargo.toml".into() } else { format!("{folder}/Cargo.toml") };
        let text = files.iter().find(|file| file.path == path).map_or("", TrackedFile::text);
        for (is_dev, dependencies) in dependency_tables(manifest) {
            for (name, value) in dependencies {
                if let Some(to) = resolve(&manifests, folder, name, value) {
                    let line = text.lines().position(|line| line.starts_with(name.as_str()));
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

/// All dependency tables of a manifest, those under `[target.…]` too, each with whether it is for
/// tests only.
fn dependency_tables(manifest: &toml::Table) -> Vec<(bool, &toml::Table)> {
    let mut tables = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let by_target =
        targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    for holder in std::iter::once(manifest).chain(by_target) {
        for (key, is_dev) in
            [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
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
    let inherited = manifests[&workspace].get("workspace")?.get("dependencies")?.get(name)?;
    Some(join(&workspace, inherited.get("path")?.as_str()?))
}

/// Folder of the workspace that this crate belongs to: the one that its manifest names, or the
/// nearest above.
fn workspace_of(manifests: &BTreeMap<String, toml::Table>, folder: &str) -> Option<String> {
    let named = manifests.get(folder)?.get("package").and_then(|package| package.get("workspace"));
    if let Some(path) = named.and_then(toml::Value::as_str) {
        return Some(join(folder, path));
    }
    let mut above = Some(folder);
    while let Some(candidate) = above {
        if manifests.get(candidate).is_some_and(|manifest| manifest.contains_key("workspace")) {
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

#[test]
fn all_ways_to_name_a_crate_of_ours_are_followed() {
    let root = "[workspace]\n[workspace.dependencies]\ncore = { path = \"host/core\" }\n";
    let guests = "[workspace]\n[workspace.dependencies]\nsdk = { path = \"../sdk/recipe\" }\n";
    let inherits = "[package]\n[dependencies]\ncore.workspace = true\nserde.workspace = true\n";
    let by_path = "[package]\n[build-dependencies]\ncore = { path = \"../core\" }\n";
    let elsewhere =
        "[package]\nworkspace = \"../../recipes\"\n[dependencies]\nsdk = { workspace = true }\n";
    let files = [
        TrackedFile::example("Cargo.toml", root),
        TrackedFile::example("recipes/Cargo.toml", guests),
        TrackedFile::example("host/a/Cargo.toml", inherits),
        TrackedFile::example("host/b/Cargo.toml", by_path),
        TrackedFile::example("tests/c/Cargo.toml", elsewhere),
        TrackedFile::example("recipes/d/Cargo.toml", "[dev-dependencies]\nsdk.workspace = true\n"),
    ];
    let found: Vec<String> = arrows(&files)
        .into_iter()
        .map(|Arrow { from, to, line, is_dev, .. }| format!("{from} -> {to} :{line} {is_dev}"))
        .collect();
    let expected = [
        "host/a -> host/core :3 false",
        "host/b -> host/core :3 false",
        "recipes/d -> sdk/recipe :2 true",
        "tests/c -> sdk/recipe :4 false",
    ];
    assert_eq!(found, expected);
}
