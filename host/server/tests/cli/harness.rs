//! A server in a process, and commands that find it as those of its user do.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take: compiling the built-in recipes on a machine that is busy.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A directory that stands for a user's, with nothing of the surroundings in it.
pub struct Home {
    pub directory: TempDir,
}

impl Home {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The binary, as this user runs it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_named(env!("CARGO_BIN_EXE_quorate"), arguments)
    }

    /// Another program, in the same surroundings.
    pub fn command_named(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).env("XDG_DATA_HOME", self.path());
        for name in [
            "QUORATE_CONNECT",
            "QUORATE_CA",
            "QUORATE_SERVER_NAME",
            "QUORATE_FENCE",
            "QUORATE_CERT",
            "QUORATE_KEY",
            "QUORATE_TOKEN",
            "QUORATE_TOKEN_FILE",
            "QUORATE_USER",
            "QUORATE_PASSWORD",
            "QUORATE_GRANT",
            "QUORATE_SDK",
            "QUORATE_ROOT",
            "NO_COLOR",
            "CLICOLOR",
            "CLICOLOR_FORCE",
        ] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().expect("the binary runs"))
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// As `ok`, with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--output", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Starts `quorate dev` on a free port.
    pub fn dev(&self) -> Server {
        let data = self.path().join("data");
        let data = data.to_str().expect("UTF-8");
        self.server(&["dev", "--data", data, "--listen", "127.0.0.1:0", "--output", "json"])
    }

    /// Starts `quorate dev` where another one was, on the same data.
    pub fn dev_at(&self, address: &str) -> Server {
        self.server(&["dev", "--data", "data", "--listen", address, "--output", "json"])
    }

    /// Starts a server and waits for the line that says where it is.
    pub fn server(&self, arguments: &[&str]) -> Server {
        let mut child =
            self.command(arguments).stderr(Stdio::inherit()).spawn().expect("it starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let told = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Server { child, told }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// A server, ended with the test.
pub struct Server {
    pub child: Child,
    told: Value,
}

impl Server {
    pub fn address(&self) -> &str {
        self.told["address"].as_str().expect("an address")
    }

    pub fn ca(&self) -> PathBuf {
        self.told["ca"].as_str().expect("a path").into()
    }

    /// SIGKILL: nothing is flushed, nothing is said.
    pub fn kill(mut self) {
        self.child.kill().expect("it ran");
        self.child.wait().expect("it has ended");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        send(&self.child, signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn send(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process"), signal).expect("it runs");
}

/// Waits until something is true.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "waited for too long: {what}");
        std::thread::yield_now();
    }
}

/// Waits until a process has ended, and gives its code.
pub fn ended(child: &mut Child) -> i32 {
    let mut code = None;
    until("a process ends", || {
        code = child.try_wait().expect("its state");
        code.is_some()
    });
    code.and_then(|status| status.code()).unwrap_or(-1)
}
