//! A file system of a size of our own, mounted where the system permits it, and data to fill it. It does not know who writes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that has a mount namespace of its own.
const IN_NAMESPACE: &str = "QUORATE_TEST_IN_NAMESPACE";
/// Of one znode: near the most that it may have.
const DATA_BYTES: usize = 900 * 1024;

/// Runs this test again as root of a user namespace, where it may mount. False where that is not permitted.
pub fn in_namespace(test: &str) -> bool {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return true;
    }
    let may = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|it| it.success())
    };
    let namespace = ["--user", "--map-root-user", "--mount"];
    let probe = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    if !may(Command::new("unshare").args(namespace).args(probe)) {
        let line = format!(
            "{test}: skipped: this user may not mount a file system in a namespace of its own\n"
        );
        std::io::stderr().write_all(line.as_bytes()).expect("said");
        return false;
    }
    let this = std::env::current_exe().expect("a path");
    let mut command = Command::new("unshare");
    command.args(namespace).arg(this).args([test, "--exact", "--nocapture"]);
    let status = command.env(IN_NAMESPACE, "1").status().expect("it runs");
    assert!(status.success(), "within the namespace");
    false
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
