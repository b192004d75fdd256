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
    /// Its functions that only read.
    pub read_only: &'static [&'static str],
}

macro_rules! builtin {
    ($($name:literal reads $($function:literal)+;)*) => {
        &[$(Builtin {
            name: $name,
            component: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            read_only: &[$($function),+],
        }),*]
    };
}

/// All of them.
pub const ALL: &[Builtin] = builtin! {
    "lock" reads "holder" "waiters";
    "counter" reads "get";
    "queue" reads "peek" "length";
    "barrier" reads "is-set" "attendance";
    "election" reads "leader" "candidates";
    "group" reads "members";
};

impl Builtin {
    /// Its manifest in a cluster of this feature level: a root of its own, instances that are reused, since none of them keeps
    /// anything in memory, and the functions that any member may run.
    pub fn manifest(&self, level: Level) -> anyhow::Result<Manifest> {
        let mut manifest = Manifest::for_root(Path::parse(&format!("/recipes/{}", self.name))?);
        manifest.instances = Instances::Reused;
        manifest.read_only.extend(self.read_only.iter().map(|&function| function.to_owned()));
        Ok(manifest.of_level(level))
    }
}
