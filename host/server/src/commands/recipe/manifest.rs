//! `quorate.toml`, the manifest of a recipe as its author writes it: every key, its default and what it becomes. An unknown
//! key is refused: a misspelt limit must not be a silent default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use anyhow::Context;
use quorate_core::deployment::{Instances, Manifest, Mount, RunLimits};
use quorate_core::path::Path;
use serde::Deserialize;

/// The file's name.
pub const FILE: &str = "quorate.toml";

/// What the keys are, for help texts.
pub const HELP: &str = "\
The manifest is quorate.toml beside the recipe's Cargo.toml; every key may be left out:
  name = \"my-semaphore\"           # the deployment's name; else that of the crate
  root = \"/recipes/my-semaphore\"  # the subtree that the recipe sees as /
  instances = \"fresh\"             # \"reused\" for recipes that keep nothing in memory: faster
  read-only = [\"peek\"]            # functions that change nothing and wait for nothing: any member runs them
  [limits]                        # of one run; these are the defaults
  memory-bytes = 16777216         # at most 268435456
  time-ms = 100                   # at most 5000
  host-calls = 10000              # at most 1000000
  changes = 1000                  # at most 16384
  changes-bytes = 2097152         # at most 4194304
  log-bytes = 16384               # at most 262144
  [config]                        # what the recipe reads as its configuration
  permits = \"3\"
  [callers]                       # who may call what; left out: everybody everything
  \"*\" = [\"*\"]
  [[mounts]]                      # further subtrees
  at = \"/shared\"
  path = \"/app/shared\"
  writable = false";

/// The file.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManifestFile {
    /// The deployment's name.
    pub name: Option<String>,
    root: Option<String>,
    instances: Option<InstancesKey>,
    #[serde(rename = "read-only")]
    read_only: BTreeSet<String>,
    limits: LimitsTable,
    config: BTreeMap<String, String>,
    callers: BTreeMap<String, Vec<String>>,
    mounts: Vec<MountTable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InstancesKey {
    Fresh,
    Reused,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct LimitsTable {
    memory_bytes: Option<u64>,
    time_ms: Option<u64>,
    host_calls: Option<u64>,
    changes: Option<u64>,
    changes_bytes: Option<u64>,
    log_bytes: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct MountTable {
    at: String,
    path: String,
    #[serde(default)]
    writable: bool,
}

impl ManifestFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn load(file: &FilePath) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} can not be read", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no manifest", file.display()))
    }

    /// The manifest for a deployment of this name.
    ///
    /// # Errors
    /// For a path that no znode can have.
    pub fn manifest(self, name: &str) -> anyhow::Result<Manifest> {
        let path = |key: &str, text: &str| {
            Path::parse(text).with_context(|| format!("{key} = \"{text}\""))
        };
        let root = self.root.unwrap_or_else(|| format!("/recipes/{name}"));
        let mut manifest = Manifest::for_root(path("root", &root)?);
        for mount in self.mounts {
            manifest.mounts.push(Mount {
                at: path("at", &mount.at)?,
                path: path("path", &mount.path)?,
                writable: mount.writable,
            });
        }
        let usual = RunLimits::default();
        manifest.limits = RunLimits {
            memory_bytes: self.limits.memory_bytes.unwrap_or(usual.memory_bytes),
            time_ms: self.limits.time_ms.unwrap_or(usual.time_ms),
            host_calls: self.limits.host_calls.unwrap_or(usual.host_calls),
            changes: self.limits.changes.unwrap_or(usual.changes),
            changes_bytes: self.limits.changes_bytes.unwrap_or(usual.changes_bytes),
            log_bytes: self.limits.log_bytes.unwrap_or(usual.log_bytes),
        };
        manifest.instances = match self.instances {
            Some(InstancesKey::Reused) => Instances::Reused,
            Some(InstancesKey::Fresh) | None => Instances::Fresh,
        };
        manifest.config = self.config;
        manifest.callers = self.callers;
        manifest.read_only = self.read_only;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_the_help_shows_is_known() {
        let shown: String = HELP.lines().skip(1).map(|line| format!("{}\n", line.trim())).collect();
        let file: ManifestFile = toml::from_str(&shown).expect("a manifest");
        assert_eq!(file.name.as_deref(), Some("my-semaphore"));
        let manifest = file.manifest("my-semaphore").expect("valid");
        let mut usual = Manifest::for_root(Path::parse("/recipes/my-semaphore").expect("valid"));
        assert_eq!(manifest.limits, usual.limits, "the help shows the defaults");
        usual.config.insert("permits".to_owned(), "3".to_owned());
        assert_eq!(manifest.config, usual.config);
        assert_eq!(manifest.mounts.len(), 1);
        assert_eq!(manifest.read_only, ["peek".to_owned()].into());
        assert!(manifest.allows("anybody", "anything"));
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let file: ManifestFile = toml::from_str("").expect("a manifest");
        let usual = Manifest::for_root(Path::parse("/recipes/x").expect("valid"));
        assert_eq!(file.manifest("x").expect("valid"), usual);
    }

    #[test]
    fn unknown_keys_and_bad_paths_are_refused_by_name() {
        for (text, named) in [
            ("roots = \"/x\"", "roots"),
            ("[limits]\nmemory = 5", "memory"),
            ("[[mounts]]\nat = \"/x\"\npath = \"/y\"\nwriteable = true", "writeable"),
            ("instances = \"pooled\"", "pooled"),
        ] {
            let error = toml::from_str::<ManifestFile>(text).expect_err(text);
            assert!(error.to_string().contains(named), "{error}");
        }
        let file: ManifestFile = toml::from_str("root = \"relative\"").expect("a manifest");
        assert!(format!("{:#}", file.manifest("x").expect_err("relative")).contains("root"));
    }
}
