//! The recipes that the binary carries, with the manifests that they are deployed with. What they do is in recipes/.

use quorate_core::deployment::{Instances, Manifest};
use quorate_core::level::Level;
use quorate_core::path::Path;

/// A recipe in the binary.
pub struct Builtin {
    /// Its name, also that of its deployment.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
}

macro_rules! builtin {
    ($($name:literal),*) => {
        &[$(Builtin { name: $name, component: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")) }),*]
    };
}

/// All of them.
pub const ALL: &[Builtin] = builtin!("lock", "counter", "queue", "barrier", "election", "group");

impl Builtin {
    /// Its manifest in a cluster of this feature level: a root of its own, and instances that are reused, since none of them
    /// keeps anything in memory.
    pub fn manifest(&self, level: Level) -> anyhow::Result<Manifest> {
        let mut manifest = Manifest::for_root(Path::parse(&format!("/recipes/{}", self.name))?);
        manifest.instances = Instances::Reused;
        Ok(manifest.of_level(level))
    }
}
