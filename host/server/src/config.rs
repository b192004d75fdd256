//! The configuration of `quorate serve`: a TOML file, every key documented here and in docs/operations.md. An unknown key
//! is refused: a misspelt limit must not be a silent default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use quorate_core::level::Level;
use quorate_gateway::audit;
use quorate_gateway::member::Options;

use crate::telemetry::LogFormat;

/// A configuration file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This member's number in a cluster; absent: a cluster of its own.
    pub member: Option<u64>,
    /// Directory for all state of this member.
    pub data: PathBuf,
    /// Host and port where other members reach this one; the address listened on if absent.
    pub address: Option<String>,
    /// Directory of `ca.pem`, `server.pem` and `server-key.pem`; in the data directory, and made, if absent.
    pub certificates: Option<PathBuf>,
    /// UDP address for clients.
    #[serde(default = "listen")]
    pub listen: SocketAddr,
    /// Host names and addresses for the certificate, beside those of this machine.
    #[serde(default)]
    pub names: Vec<String>,
    /// Addresses that clients are told; the one listened on if empty.
    #[serde(default)]
    pub advertise: Vec<String>,
    /// Memory for the tree's cache, in mebibytes.
    #[serde(default = "cache_mib")]
    pub cache_mib: usize,
    /// Mebibytes of the largest component that may be deployed.
    #[serde(default = "component_mib_max")]
    pub component_mib_max: u64,
    /// Mebibytes of disk that are kept free: writes that make the tree larger are refused below.
    #[serde(default = "disk_reserve_mib")]
    pub disk_reserve_mib: u64,
    /// How long what was applied stays readable for watches that resume: `10m`, `1h`.
    #[serde(default = "history_keep", deserialize_with = "duration")]
    pub history_keep: Duration,
    /// Mebibytes of the raft log that stay for that.
    #[serde(default = "history_mib_max")]
    pub history_mib_max: u64,
    /// Whether the built-in recipes are deployed at the first start.
    #[serde(default)]
    pub builtin_recipes: bool,
    /// Level of the log.
    #[serde(default = "log_level")]
    pub log_level: String,
    /// Form of the log.
    #[serde(default = "log_format")]
    pub log_format: LogFormat,
    /// The audit log.
    #[serde(default)]
    pub audit: Audit,
}

/// The section `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The file; empty: there is no audit log.
    pub file: PathBuf,
    /// Bytes of it at which it is renamed and a new one begun.
    pub max_bytes: u64,
    /// Files that are kept, the one that is written among them.
    pub files: u32,
    /// What is told beside administration and refusals for lack of rights, which always are.
    pub categories: Vec<audit::Category>,
    /// What happens while it can not be written.
    pub on_failure: audit::OnFailure,
}

impl Default for Audit {
    fn default() -> Self {
        let audit::Options { bytes_max, files, categories, on_failure, .. } =
            audit::Options::default();
        Self { file: PathBuf::new(), max_bytes: bytes_max, files, categories, on_failure }
    }
}

impl Audit {
    fn options(&self) -> audit::Options {
        audit::Options {
            file: (!self.file.as_os_str().is_empty()).then(|| self.file.clone()),
            bytes_max: self.max_bytes,
            files: self.files,
            categories: self.categories.clone(),
            on_failure: self.on_failure,
        }
    }
}

/// The address of `quorate dev`, and where clients look when they are not told.
pub const LISTEN: &str = "127.0.0.1:4747";
const MIB: usize = 1024 * 1024;

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4747))
}

fn cache_mib() -> usize {
    256
}

fn component_mib_max() -> u64 {
    4
}

fn disk_reserve_mib() -> u64 {
    quorate_gateway::limits::DISK_RESERVE_BYTES / MIB as u64
}

fn history_keep() -> Duration {
    quorate_gateway::limits::HISTORY_KEEP
}

fn history_mib_max() -> u64 {
    quorate_gateway::limits::HISTORY_BYTES_MAX / MIB as u64
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text: String = serde::Deserialize::deserialize(from)?;
    crate::duration::parse(&text).map_err(serde::de::Error::custom)
}

fn log_level() -> String {
    "info".to_owned()
}

fn log_format() -> LogFormat {
    LogFormat::Text
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file, the line and the key.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} can not be read", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is no configuration", file.display()))
    }

    /// What a member whose build knows this feature level is started with.
    #[must_use]
    pub fn options(&self, level: Level) -> Options {
        Options {
            level,
            member: self.member,
            address: self.address.clone(),
            certificates: self.certificates.clone(),
            names: self.names.clone(),
            advertise: self.advertise.clone(),
            cache_bytes: self.cache_mib.saturating_mul(MIB),
            disk_reserve_bytes: self.disk_reserve_mib.saturating_mul(MIB as u64),
            history_keep: self.history_keep,
            history_bytes_max: self.history_mib_max.saturating_mul(MIB as u64),
            component_bytes_max: self.component_mib_max.saturating_mul(MIB as u64),
            audit: self.audit.options(),
            ..Options::new(self.data.clone(), self.listen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_only_a_data_directory_is_enough() {
        let config: Config = toml::from_str("data = \"/var/lib/quorate\"").expect("valid");
        assert_eq!(config.listen.to_string(), LISTEN);
        assert!(!config.builtin_recipes);
    }

    /// A file for operators: keys with their defaults stand in it as comments.
    const EXAMPLE: &str = include_str!("../../../deploy/quorate.toml");

    fn example(take: impl Fn(&str) -> Option<String>) -> Config {
        let lines: Vec<String> = EXAMPLE.lines().filter_map(take).collect();
        toml::from_str(&lines.join("\n")).expect("valid")
    }

    /// A line with a key that is commented out, as it would be without the mark.
    fn commented(line: &str) -> Option<&str> {
        let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
        let is_key = key.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
        is_key.then(|| &line[2..])
    }

    #[test]
    fn the_example_for_operators_names_every_key_with_its_default() {
        let as_it_is = example(|line| Some(line.to_owned()));
        let all = example(|line| Some(commented(line).unwrap_or(line).to_owned()));
        assert_eq!(as_it_is, all, "a comment that is no default");
        for section in ["", "[audit]\n"] {
            let error = toml::from_str::<Config>(&format!("{section}no_such_key = 1"));
            let error = error.expect_err("unknown").to_string();
            let (_, known) = error.split_once("expected one of ").expect("the keys are listed");
            let keys: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert!(keys.len() >= 5, "{keys:?}");
            for key in keys {
                let names = |line: &str| {
                    let line = commented(line).unwrap_or(line);
                    line.starts_with(&format!("{key} = ")) || line == format!("[{key}]")
                };
                assert!(EXAMPLE.lines().any(names), "{key} is not in deploy/quorate.toml");
            }
        }
    }

    #[test]
    fn an_audit_log_is_kept_where_there_is_a_file() {
        let options = |section: &str| {
            let text = format!("data = \"x\"\n{section}");
            let config: Config = toml::from_str(&text).expect("valid");
            config.options(Level::NEWEST).audit
        };
        assert_eq!(options(""), audit::Options::default());
        assert_eq!(options("[audit]").file, None);
        let all = options(
            "[audit]\nfile = \"a.log\"\nfiles = 3\nmax_bytes = 70000\ncategories = [\"reads\", \"writes\"]\non_failure = \"refuse\"",
        );
        assert_eq!(all.file, Some(PathBuf::from("a.log")));
        assert_eq!((all.files, all.bytes_max), (3, 70_000));
        assert_eq!(all.categories, [audit::Category::Reads, audit::Category::Writes]);
        assert_eq!(all.on_failure, audit::OnFailure::Refuse);
        assert!(toml::from_str::<Config>("data = \"x\"\n[audit]\ncategories = [\"all\"]").is_err());
    }

    #[test]
    fn the_examples_in_the_operators_chapter_are_valid() {
        let chapter = include_str!("../../../docs/operations.md");
        let examples: Vec<&str> = chapter
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```").map(|(example, _)| example))
            .collect();
        assert!(examples.len() >= 2, "{} examples", examples.len());
        for example in examples {
            toml::from_str::<Config>(example).expect(example);
        }
    }

    #[test]
    fn a_time_is_written_with_its_unit() {
        let config: Config = toml::from_str("data = \"x\"\nhistory_keep = \"90s\"").expect("valid");
        assert_eq!(config.history_keep, Duration::from_secs(90));
        let error = toml::from_str::<Config>("data = \"x\"\nhistory_keep = \"ever\"");
        assert!(error.expect_err("no time").to_string().contains("is no time"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = toml::from_str::<Config>("data = \"x\"\ncache = 5").expect_err("misspelt");
        assert!(error.to_string().contains("cache"), "{error}");
    }
}
