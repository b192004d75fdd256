//! A test that runs again as root of namespaces of its own, where it may do to the kernel what it likes. It does not know what
//! that is.

use std::io::Write;
use std::process::{Command, Stdio};

/// Set in the process that has namespaces of its own.
const IN_NAMESPACE: &str = "QUORATE_TEST_IN_NAMESPACE";

/// Runs this test again as root of a user namespace and of these: options of `unshare`. True in that second run; false when
/// it has succeeded, and where the system does not permit what `probe` does, which is said as `deed`.
pub fn again_in(test: &str, namespaces: &[&str], probe: &[&str], deed: &str) -> bool {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(namespaces);
        command
    };
    let probed = unshare().args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probed.is_ok_and(|status| status.success()) {
        let line = format!("{test}: skipped: this user may not {deed} in a namespace of its own\n");
        std::io::stderr().write_all(line.as_bytes()).expect("said");
        return false;
    }
    let this = std::env::current_exe().expect("a path");
    let mut command = unshare();
    command.arg(this).args([test, "--exact", "--nocapture"]);
    let status = command.env(IN_NAMESPACE, "1").status().expect("it runs");
    assert!(status.success(), "within the namespace");
    false
}
