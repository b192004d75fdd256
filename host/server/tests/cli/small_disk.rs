//! A file system of a size of our own, mounted where the system permits it, and data to fill it. It does not know who writes.

use std::path::Path;
use std::process::Command;

use crate::namespace::again_in;

/// Of one znode: near the most that it may have.
const DATA_BYTES: usize = 900 * 1024;

/// Runs this test again where it may mount ([`again_in`]). False where that is not permitted.
pub fn in_namespace(test: &str) -> bool {
    let probe = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    again_in(test, &["--mount"], &probe, "mount a file system")
}

/// Mounts a file system of memory, or changes its options.
pub fn mount(directory: &Path, options: &str) {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory);
    assert!(command.status().expect("mount").success());
}

/// Text that does not compress to nothing.
pub fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(DATA_BYTES + 16);
    while text.len() < DATA_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}
