//! Manifests, from clients and from the disk, and the paths that a recipe names under one: the bytes up to the first 0xff are
//! the manifest, what follows is such a path. Knows that a manifest has one byte form and confines its recipe.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use quorate_core::deployment::Manifest;

fuzz_target!(|data: &[u8]| {
    // No manifest of short texts holds this byte; long ones are decoded without a path.
    let at = data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len());
    let (bytes, path) = data.split_at(at);
    if let Ok(manifest) = Manifest::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(manifest.encode(), data);
    }
    let Ok(manifest) = Manifest::decode(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(manifest.encode(), bytes);
    let Some(Ok(path)) = path.get(1..).map(std::str::from_utf8) else { return };
    if let Ok((resolved, _)) = manifest.resolve(path) {
        let granted = |root: &quorate_core::path::Path| root.covers(&resolved);
        let is_granted =
            granted(&manifest.root) || manifest.mounts.iter().any(|m| granted(&m.path));
        assert!(is_granted, "{resolved} is outside of the grants");
    }
    let _either = manifest.allows("alice", path);
});
