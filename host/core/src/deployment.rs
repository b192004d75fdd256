//! What is replicated of recipes: names that point at versions, versions that never change, manifests, and components by
//! their digest. What a component does is the engine's knowledge.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Writer, malformed};
use crate::error::{ErrorCode, Refusal};
use crate::ids::{Millis, Zxid};
use crate::level::{Feature, Level};
use crate::limits;
use crate::path::Path;

/// SHA-256 of a component's bytes.
pub type ComponentDigest = [u8; 32];

/// Whether an instance serves one call or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instances {
    /// One call each: nothing can leak from call to call.
    Fresh,
    /// Kept from call to call, for recipes that keep nothing in memory.
    Reused,
}

/// A further subtree that a recipe sees, at a place of its own tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the recipe sees it.
    pub at: Path,
    /// What it is, in the service's tree.
    pub path: Path,
    /// Whether the recipe may change it.
    pub writable: bool,
}

/// Bounds of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLimits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Milliseconds of execution.
    pub time_ms: u64,
    /// Calls of host functions.
    pub host_calls: u64,
    /// Changes of the transaction.
    pub changes: u64,
    /// Bytes of changes of the transaction.
    pub changes_bytes: u64,
    /// Bytes written to the recipe's log.
    pub log_bytes: u64,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 * 1024 * 1024,
            time_ms: 100,
            host_calls: 10_000,
            changes: 1_000,
            changes_bytes: 2 * 1024 * 1024,
            log_bytes: 16 * 1024,
        }
    }
}

impl RunLimits {
    /// Refuses bounds that would let one recipe take the service away from all others.
    ///
    /// # Errors
    /// `limit`, naming the key of the manifest and its most.
    pub fn check(&self) -> Result<(), Refusal> {
        for (key, value, max) in [
            ("memory-bytes", self.memory_bytes, limits::RUN_MEMORY_BYTES_MAX),
            ("time-ms", self.time_ms, limits::RUN_TIME_MS_MAX),
            ("host-calls", self.host_calls, limits::RUN_HOST_CALLS_MAX),
            ("changes", self.changes, limits::TRANSACTION_CHANGES_MAX as u64),
            ("changes-bytes", self.changes_bytes, limits::TRANSACTION_BYTES_MAX as u64),
            ("log-bytes", self.log_bytes, limits::RUN_LOG_BYTES_MAX),
        ] {
            if value > max {
                return Err(Refusal::limit(&format!("{key} in the manifest"), value, max));
            }
        }
        Ok(())
    }
}

/// What a deployment grants its recipe, and whom it lets call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The subtree that the recipe sees as `/`.
    pub root: Path,
    /// Further subtrees.
    pub mounts: Vec<Mount>,
    /// Bounds of one run.
    pub limits: RunLimits,
    /// Whether instances are reused.
    pub instances: Instances,
    /// Function (`*`: every) -> principals that may call it (`*`: everybody). Empty: everybody may call everything.
    pub callers: BTreeMap<String, Vec<String>>,
    /// What `call.config` answers.
    pub config: BTreeMap<String, String>,
    /// Functions that only read: each of their runs may change nothing and wait for nothing, however they are called.
    pub read_only: BTreeSet<String>,
}

/// Of a manifest without read-only functions.
const FORMAT: u8 = 1;
/// Of one that lists some, behind everything else. A manifest has one form: an empty list is none.
const FORMAT_READ_ONLY: u8 = 2;
const ENTRIES_MAX: usize = 1024;

impl Manifest {
    /// A manifest that grants only this root.
    #[must_use]
    pub fn for_root(root: Path) -> Self {
        Self {
            root,
            mounts: Vec::new(),
            limits: RunLimits::default(),
            instances: Instances::Fresh,
            callers: BTreeMap::new(),
            config: BTreeMap::new(),
            read_only: BTreeSet::new(),
        }
    }

    /// What it uses that not every cluster has.
    pub fn features(&self) -> impl Iterator<Item = Feature> + use<> {
        (!self.read_only.is_empty()).then_some(Feature::ReadOnlyFunctions).into_iter()
    }

    /// The same, without what a cluster of this level does not have.
    #[must_use]
    pub fn of_level(mut self, level: Level) -> Self {
        if level < Feature::ReadOnlyFunctions.since() {
            self.read_only.clear();
        }
        self
    }

    /// Whether this principal may call this function.
    #[must_use]
    pub fn allows(&self, principal: &str, function: &str) -> bool {
        if self.callers.is_empty() {
            return true;
        }
        let named = self.callers.get(function).or_else(|| self.callers.get("*"));
        named.is_some_and(|principals| {
            principals.iter().any(|allowed| allowed == "*" || allowed == principal)
        })
    }

    /// Where a path of the recipe is in the service's tree, and whether it may be changed there.
    ///
    /// # Errors
    /// `bad-path` and `limit`, as for any path.
    pub fn resolve(&self, text: &str) -> Result<(Path, bool), Refusal> {
        let path = Path::parse(text)?;
        let mount = self
            .mounts
            .iter()
            .filter(|mount| mount.at.covers(&path))
            .max_by_key(|mount| mount.at.as_str().len());
        match mount {
            None => Ok((path.below(&self.root)?, true)),
            Some(mount) => {
                let inner = path.relative_to(&mount.at).unwrap_or_else(Path::root);
                Ok((inner.below(&mount.path)?, mount.writable))
            }
        }
    }

    /// As [`Manifest::resolve`], for a path that will be changed.
    ///
    /// # Errors
    /// `no-access` where the manifest grants reading only.
    pub fn resolve_writable(&self, text: &str) -> Result<Path, Refusal> {
        match self.resolve(text)? {
            (path, true) => Ok(path),
            (_, false) => Err(Refusal::new(
                ErrorCode::NoAccess,
                format!("the manifest grants \"{text}\" for reading only"),
            )),
        }
    }

    /// The manifest's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u8(if self.read_only.is_empty() { FORMAT } else { FORMAT_READ_ONLY });
        writer.text(self.root.as_str());
        writer.u64(self.mounts.len() as u64);
        for mount in &self.mounts {
            writer.text(mount.at.as_str());
            writer.text(mount.path.as_str());
            writer.bool(mount.writable);
        }
        let limits = &self.limits;
        for number in [
            limits.memory_bytes,
            limits.time_ms,
            limits.host_calls,
            limits.changes,
            limits.changes_bytes,
            limits.log_bytes,
        ] {
            writer.u64(number);
        }
        writer.bool(self.instances == Instances::Reused);
        writer.u64(self.callers.len() as u64);
        for (function, principals) in &self.callers {
            writer.text(function);
            writer.u64(principals.len() as u64);
            for principal in principals {
                writer.text(principal);
            }
        }
        writer.u64(self.config.len() as u64);
        for (key, value) in &self.config {
            writer.text(key);
            writer.text(value);
        }
        if !self.read_only.is_empty() {
            writer.u64(self.read_only.len() as u64);
            for function in &self.read_only {
                writer.text(function);
            }
        }
        writer.finish()
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// For bytes that [`Manifest::encode`] does not write (keys in another order, keys twice, a list that is empty), and for
    /// invalid paths.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "manifest";
        let mut reader = Reader::new(bytes);
        let format = reader.u8(WHAT)?;
        if !matches!(format, FORMAT | FORMAT_READ_ONLY) {
            return Err(malformed(WHAT));
        }
        let path =
            |reader: &mut Reader| Path::parse(&reader.text(WHAT)?).map_err(|_| malformed(WHAT));
        let root = path(&mut reader)?;
        let mut mounts = Vec::new();
        for _ in 0..reader.count(WHAT, ENTRIES_MAX)? {
            let (at, target) = (path(&mut reader)?, path(&mut reader)?);
            mounts.push(Mount { at, path: target, writable: reader.bool(WHAT)? });
        }
        let limits = RunLimits {
            memory_bytes: reader.u64(WHAT)?,
            time_ms: reader.u64(WHAT)?,
            host_calls: reader.u64(WHAT)?,
            changes: reader.u64(WHAT)?,
            changes_bytes: reader.u64(WHAT)?,
            log_bytes: reader.u64(WHAT)?,
        };
        let instances = if reader.bool(WHAT)? { Instances::Reused } else { Instances::Fresh };
        let callers = read_map(&mut reader, |reader| {
            let mut principals = Vec::new();
            for _ in 0..reader.count(WHAT, ENTRIES_MAX)? {
                principals.push(reader.text(WHAT)?);
            }
            Ok(principals)
        })?;
        let config = read_map(&mut reader, |reader| reader.text(WHAT))?;
        let read_only: BTreeSet<String> = match format {
            FORMAT => BTreeSet::new(),
            _ => read_map(&mut reader, |_| Ok(()))?.into_keys().collect(),
        };
        if read_only.is_empty() != (format == FORMAT) {
            return Err(malformed(WHAT));
        }
        reader.finish(WHAT)?;
        Ok(Self { root, mounts, limits, instances, callers, config, read_only })
    }
}

/// Reads keys with their values. A map has one form: its keys ascend.
fn read_map<T>(
    reader: &mut Reader,
    value: impl Fn(&mut Reader) -> Result<T, Malformed>,
) -> Result<BTreeMap<String, T>, Malformed> {
    let mut map = BTreeMap::new();
    for _ in 0..reader.count("manifest", ENTRIES_MAX)? {
        let key = reader.text("manifest")?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(malformed("order of a manifest"));
        }
        map.insert(key, value(reader)?);
    }
    Ok(map)
}

/// One version of a recipe. Never changes once it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number: dense from 1, never reused under one name.
    pub number: u64,
    /// The component.
    pub component: ComponentDigest,
    /// What it is granted.
    pub manifest: Manifest,
    /// Who deployed it.
    pub principal: String,
    /// When.
    pub deployed: Millis,
}

impl Version {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes its bytes.
    pub fn write(&self, writer: &mut Writer) {
        writer.u64(self.number);
        writer.raw(&self.component);
        writer.bytes(&self.manifest.encode());
        writer.text(&self.principal);
        writer.u64(self.deployed.0);
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        const WHAT: &str = "recipe version";
        Ok(Self {
            number: reader.u64(WHAT)?,
            component: reader.array(WHAT)?,
            manifest: Manifest::decode(reader.bytes(WHAT)?)?,
            principal: reader.text(WHAT)?,
            deployed: Millis(reader.u64(WHAT)?),
        })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let version = Self::read(&mut reader)?;
        reader.finish("recipe version")?;
        Ok(version)
    }
}

/// A name and the version that it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The version that calls run; none after a removal.
    pub active: Option<u64>,
    /// The highest version number ever given.
    pub last_version: u64,
    /// zxid of the last activation or removal.
    pub changed: Zxid,
}

impl Recipe {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.option(self.active, |writer, version| writer.u64(version));
        writer.u64(self.last_version);
        writer.u64(self.changed.0);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "recipe record";
        let mut reader = Reader::new(bytes);
        let recipe = Self {
            active: reader.option(WHAT, |reader| reader.u64(WHAT))?,
            last_version: reader.u64(WHAT)?,
            changed: Zxid(reader.u64(WHAT)?),
        };
        reader.finish(WHAT)?;
        Ok(recipe)
    }
}

/// A component whose chunks are all there. It stays while a version names it or a session that uploaded it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: u32,
    /// Versions that name it, of all recipes.
    pub versions_count: u64,
}

impl Component {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.u64(self.bytes);
        writer.u64(u64::from(self.chunks));
        writer.u64(self.versions_count);
        writer.finish()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// For bytes that no version of ours wrote.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        const WHAT: &str = "component record";
        let mut reader = Reader::new(bytes);
        let component = Self {
            bytes: reader.u64(WHAT)?,
            chunks: reader.u32(WHAT)?,
            versions_count: reader.u64(WHAT)?,
        };
        reader.finish(WHAT)?;
        Ok(component)
    }
}

/// Refuses names that would not survive a command line or a key.
///
/// # Errors
/// `bad-arguments` unless the name is 1 to `NAME_BYTES_MAX` bytes of `a-z`, `0-9` and `-`, beginning with a letter.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if name.len() > limits::NAME_BYTES_MAX || !well_formed {
        let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(Refusal::new(
            ErrorCode::BadArguments,
            format!(
                "\"{shown}\" is no recipe name: lower-case letters, digits and -, beginning with a letter"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("valid")
    }

    #[test]
    fn a_manifest_comes_back() {
        let mut manifest = Manifest::for_root(path("/recipes/lock"));
        manifest.mounts.push(Mount {
            at: path("/config"),
            path: path("/app/config"),
            writable: false,
        });
        manifest.callers.insert("acquire".to_owned(), vec!["*".to_owned()]);
        manifest.config.insert("grace".to_owned(), "5".to_owned());
        manifest.instances = Instances::Reused;
        assert_eq!(Manifest::decode(manifest.encode()), Ok(manifest));
    }

    #[test]
    fn a_manifest_that_lists_read_only_functions_has_a_format_of_its_own_and_others_keep_theirs() {
        let mut manifest = Manifest::for_root(path("/recipes/lock"));
        manifest.config.insert("grace".to_owned(), "5".to_owned());
        let without = manifest.encode();
        assert_eq!(without[0], 1);
        manifest.read_only.extend(["holder".to_owned(), "lock.queue".to_owned()]);
        let bytes = manifest.encode();
        assert_eq!(bytes[0], 2);
        assert_eq!(bytes[1..without.len()], without[1..], "the list stands behind all else");
        assert_eq!(Manifest::decode(bytes.clone()), Ok(manifest));
        let other_format = |format: u8, bytes: &[u8]| [&[format], &bytes[1..]].concat().into();
        assert_eq!(Manifest::decode(other_format(1, &bytes)), Err(malformed("manifest")));
        assert_eq!(Manifest::decode(other_format(3, &bytes)), Err(malformed("manifest")));
        let empty_list = other_format(2, &[&without[..], &[0]].concat());
        assert_eq!(Manifest::decode(empty_list), Err(malformed("manifest")));
        let unsorted = replaced(&bytes, b"holder", b"molder");
        assert_eq!(Manifest::decode(unsorted), Err(malformed("order of a manifest")));
    }

    #[test]
    fn a_manifest_of_a_level_uses_what_the_level_has() {
        let mut manifest = Manifest::for_root(path("/recipes/lock"));
        manifest.config.insert("grace".to_owned(), "5".to_owned());
        let plain = manifest.clone();
        manifest.read_only.insert("holder".to_owned());
        for level in (1..=Level::NEWEST.0).map(Level) {
            let fitting = manifest.clone().of_level(level);
            assert!(fitting.features().all(|feature| feature.check(level).is_ok()), "{level}");
        }
        assert_eq!(manifest.clone().of_level(Level::FIRST), plain);
        assert_eq!(manifest.clone().of_level(Level::NEWEST), manifest);
    }

    /// Replaces the one place where `from` stands.
    fn replaced(bytes: &Bytes, from: &[u8], to: &[u8]) -> Bytes {
        let places = bytes.windows(from.len()).filter(|window| *window == from).count();
        assert_eq!(places, 1, "{from:?} stands {places} times");
        let at = bytes.windows(from.len()).position(|window| window == from).expect("counted");
        [&bytes[..at], to, &bytes[at + from.len()..]].concat().into()
    }

    #[test]
    fn keys_of_a_manifest_that_are_unsorted_or_doubled_are_refused() {
        let mut manifest = Manifest::for_root(path("/r"));
        for key in ["calls", "callt"] {
            manifest.callers.insert(key.to_owned(), vec!["*".to_owned()]);
        }
        for key in ["keys", "keyt"] {
            manifest.config.insert(key.to_owned(), "5".to_owned());
        }
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(bytes.clone()), Ok(manifest));
        for (first, second) in [(b"calls", b"callt"), (b"\x04keys", b"\x04keyt")] {
            let doubled = replaced(&bytes, second, first);
            assert_eq!(Manifest::decode(doubled.clone()), Err(malformed("order of a manifest")));
            let at = bytes.windows(5).position(|window| window == first).expect("it is there");
            let swapped = [&doubled[..at], second, &doubled[at + 5..]].concat().into();
            assert_eq!(Manifest::decode(swapped), Err(malformed("order of a manifest")));
        }
    }

    #[test]
    fn a_recipe_sees_its_root_and_its_mounts_and_nothing_else() {
        let mut manifest = Manifest::for_root(path("/recipes/lock"));
        manifest.mounts.push(Mount {
            at: path("/config"),
            path: path("/app/config"),
            writable: false,
        });
        assert_eq!(manifest.resolve("/a"), Ok((path("/recipes/lock/a"), true)));
        assert_eq!(manifest.resolve("/"), Ok((path("/recipes/lock"), true)));
        assert_eq!(manifest.resolve("/config/x"), Ok((path("/app/config/x"), false)));
        assert_eq!(
            manifest.resolve_writable("/config/x").expect_err("read only").code,
            ErrorCode::NoAccess
        );
        assert_eq!(manifest.resolve("/../x").expect_err("climbs").code, ErrorCode::BadPath);
    }

    #[test]
    fn callers_are_named_by_function_or_star() {
        let mut manifest = Manifest::for_root(Path::root());
        assert!(manifest.allows("", "add"));
        manifest.callers.insert("add".to_owned(), vec!["alice".to_owned()]);
        manifest.callers.insert("*".to_owned(), vec!["*".to_owned()]);
        assert!(!manifest.allows("bob", "add") && manifest.allows("bob", "peek"));
    }
}
