//! A disk that fills: writes that are refused while there is a reserve, and a process that ends when there is none.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{DEADLINE, Done, Home, ended};
use crate::small_disk::{in_namespace, mount, noise};

/// Room for one segment of the log (64 MiB), and for less of the tree than what has been written when that is full.
const DISK_THAT_THE_TREE_FILLS: &str = "120m";
/// Room for one segment of the log, and for what the tree has flushed when that is full: 32 MiB at least, 64 MiB at
/// most, depending on which of the two is faster. Not for a second segment beside the one or the other.
const DISK_THAT_THE_LOG_FILLS: &str = "144m";
const LARGER_DISK: &str = "480m";
/// Writes until the disk must be full by far.
const WRITES_MAX: u64 = 500;

/// `quorate serve`, and what it says.
pub struct Served {
    child: Child,
    lines: Receiver<String>,
    said: String,
    address: String,
    ca: String,
}

impl Served {
    /// Starts on `data`, with further lines of configuration.
    pub fn start(home: &Home, data: &Path, further: &str) -> Self {
        let config = home.path().join("quorate.conf");
        let text = format!("data = {:?}\nlisten = \"127.0.0.1:0\"\n{further}\n", data);
        std::fs::write(&config, text).expect("written");
        // A file that would become longer than it may be is an error, not a signal: see `break_the_disk_of`.
        let script = r#"trap "" XFSZ; exec "$0" serve --config quorate.conf"#;
        let binary = env!("CARGO_BIN_EXE_quorate");
        let mut command = home.command_named("sh", &["-c", script, binary]);
        let mut child = command.spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let ca = data.join("certificates/ca.pem").to_string_lossy().into_owned();
        let mut served = Self { child, lines, said: String::new(), address: String::new(), ca };
        served.listen_for("serving clients");
        let (_, address) = served.said.rsplit_once("address=").expect("its address");
        served.address = address.split_whitespace().next().expect("a word").to_owned();
        served
    }

    /// Reads what the server says until a line holds this.
    pub fn listen_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("{text:?}: {error}: {}", self.said));
            self.said.push_str(&line);
            self.said.push('\n');
        }
    }

    /// Waits until the server has ended, and reads all that it has said; its exit code.
    fn end(&mut self) -> i32 {
        let code = ended(&mut self.child);
        for line in self.lines.iter() {
            self.said.push_str(&line);
            self.said.push('\n');
        }
        code
    }

    fn command(&self, home: &Home, arguments: &[&str]) -> Command {
        let known = ["--connect", &self.address, "--ca", &self.ca, "--connect-timeout", "3s"];
        home.command(&[arguments, &known].concat())
    }

    /// Runs a command.
    pub fn run(&self, home: &Home, arguments: &[&str]) -> Done {
        Done::of(self.command(home, arguments).output().expect("the binary runs"))
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, home: &Home, arguments: &[&str]) -> String {
        let done = self.run(home, arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The certificate of its authority.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(&mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it has ended");
    }

    /// Asks it to end, and waits for that.
    pub fn stop(mut self) {
        crate::harness::send(&self.child, rustix::process::Signal::TERM);
        assert_eq!(ended(&mut self.child), 0);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn below_the_reserve_growing_writes_are_refused_and_the_others_go_on() {
    let home = Home::new();
    let data = home.path().join("data");
    let server = Served::start(&home, &data, "disk_reserve_mib = 0");
    server.ok(&home, &["create", "/kept", "old"]);
    server.ok(&home, &["create", "/gone", "x"]);
    server.stop();
    // A reserve that no disk has.
    let server = Served::start(&home, &data, "disk_reserve_mib = 1000000000000");
    let mut refused = server.run(&home, &["create", "/new", "x"]);
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    assert!(refused.stderr.contains("disk-full"), "{}", refused.stderr);
    assert!(refused.stderr.contains("make room"), "{}", refused.stderr);
    refused = server.run(&home, &["set", "/kept", "longer"]);
    assert!(refused.stderr.contains("disk-full"), "{}", refused.stderr);
    assert_eq!(server.ok(&home, &["get", "/kept"]).trim_end(), "old");
    server.ok(&home, &["set", "/kept", "new"]);
    server.ok(&home, &["rm", "/gone"]);
    assert_eq!(server.ok(&home, &["ls", "/"]).trim_end(), "kept");
    server.stop();
    let server = Served::start(&home, &data, "disk_reserve_mib = 0");
    server.ok(&home, &["create", "/new", "x"]);
    server.stop();
}

/// From now on the process can write nothing but the first byte of a file: a disk that breaks at a time of our own.
fn break_the_disk_of(child: &Child) {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(1), maximum: Some(1) };
    prlimit(process, Resource::Fsize, limit).expect("a process of ours");
}

#[test]
fn a_log_that_can_not_be_written_ends_the_process_and_not_only_its_thread() {
    let home = Home::new();
    let data = home.path().join("data");
    let configuration = "disk_reserve_mib = 0";
    let mut server = Served::start(&home, &data, configuration);
    server.ok(&home, &["create", "/kept", "old"]);
    break_the_disk_of(&server.child);
    let lost = server.command(&home, &["set", "/kept", "new"]).spawn();
    assert_ne!(server.end(), 0, "{}", server.said);
    assert_ne!(ended(&mut lost.expect("it starts")), 0, "acknowledged without a log");
    let log = data.join("log");
    let log = log.to_string_lossy();
    let parts = ["the raft log can not be written", &log, "0000000000000001.log: File too large"];
    let is_clear = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(server.said.lines().any(is_clear), "{}", server.said);
    let again = Served::start(&home, &data, configuration);
    assert_eq!(again.ok(&home, &["get", "/kept"]).trim_end(), "old");
    again.ok(&home, &["create", "/more"]);
    again.stop();
}

/// Fills a small disk until the server is gone; then makes it larger, and looks for all that was acknowledged.
fn fill(size: &str, configuration: &str, what_fails: &[&str]) {
    let home = Home::new();
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    mount(&disk, &format!("size={size}"));
    let data = disk.join("data");
    let configuration = format!("disk_reserve_mib = 0\n{configuration}");
    let mut server = Served::start(&home, &data, &configuration);
    server.ok(&home, &["create", "/w"]);
    let mut acknowledged = Vec::new();
    for number in 0..WRITES_MAX {
        // It prints what it was asked for, and nobody would read it.
        let mut command = server.command(&home, &["multi", "-"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut writer = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let operation = format!("create /w/{number} {}\n", noise(number));
        let mut stdin = writer.stdin.take().expect("piped");
        // A writer that gives up early closes it.
        stdin.write_all(operation.as_bytes()).ok();
        drop(stdin);
        if ended(&mut writer) != 0 {
            break;
        }
        acknowledged.push(number);
    }
    assert_ne!(server.end(), 0, "after {} writes", acknowledged.len());
    // Raft says something of its own before. One line says what failed, where, why, and what to do.
    let directory = data.to_string_lossy();
    let parts = [&[&*directory, "No space left on device", "make room"], what_fails].concat();
    let is_clear = |line: &str| parts.iter().all(|part| line.contains(part));
    assert!(server.said.lines().any(is_clear), "{}", server.said);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    mount(&disk, &format!("remount,size={LARGER_DISK}"));
    let again = Served::start(&home, &data, &configuration);
    for &number in &acknowledged {
        let there = again.ok(&home, &["get", &format!("/w/{number}")]);
        assert!(there.trim_end() == noise(number), "/w/{number} was acknowledged and is not there");
    }
    again.ok(&home, &["create", "/room"]);
    again.stop();
}

#[test]
fn a_disk_too_full_for_the_tree_ends_the_process_and_nothing_acknowledged_is_lost() {
    let name =
        "disk::a_disk_too_full_for_the_tree_ends_the_process_and_nothing_acknowledged_is_lost";
    if in_namespace(name) {
        // Small buffers: the tree is flushed all the time.
        fill(DISK_THAT_THE_TREE_FILLS, "cache_mib = 8", &["the tree can not be written", "/tree/"]);
    }
}

#[test]
fn a_disk_too_full_for_the_log_ends_the_process_and_nothing_acknowledged_is_lost() {
    let name =
        "disk::a_disk_too_full_for_the_log_ends_the_process_and_nothing_acknowledged_is_lost";
    if in_namespace(name) {
        // Buffers of 32 MiB.
        let parts = ["the raft log can not be written", "/log/0000000000000002.spare"];
        fill(DISK_THAT_THE_LOG_FILLS, "cache_mib = 256", &parts);
    }
}
