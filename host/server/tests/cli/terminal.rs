//! What people see on a terminal and machines do not: colour, progress. And what Ctrl-C does.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Done, Home, ended, send, until};

/// Runs a command with its standard error, and its standard output unless it goes to a file, on a terminal of its own; what
/// the terminal showed.
fn on_terminal(home: &Home, command: &str, variables: &[(&str, &str)]) -> String {
    let mut script = home.command_named("script", &["-qec", command, "/dev/null"]);
    script.env("TERM", "xterm").envs(variables.iter().copied());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_quorate"));
    let path = std::env::var("PATH").unwrap_or_default();
    script.env("PATH", format!("{}:{path}", binary.parent().expect("a directory").display()));
    let done = Done::of(script.output().expect("util-linux's script is there"));
    assert_eq!(done.code, 0, "{command}: {}{}", done.stdout, done.stderr);
    done.stdout
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let home = Home::new();
    let _server = home.dev();
    let shown =
        on_terminal(&home, "quorate bench get-1 --seconds 1 --output json > bench.json", &[]);
    assert!(shown.contains("get-1") && shown.contains("of about"), "{shown:?}");
    let told = std::fs::read_to_string(home.path().join("bench.json")).expect("written");
    let told: Value = serde_json::from_str(&told).expect("nothing but JSON");
    assert_eq!(told["workloads"][0]["name"], "get-1");

    let shown = on_terminal(&home, "quorate recipe deploy counter --output json > up.json", &[]);
    assert!(shown.contains("uploading counter"), "{shown:?}");
    let told = std::fs::read_to_string(home.path().join("up.json")).expect("written");
    assert!(serde_json::from_str::<Value>(&told).is_ok(), "{told}");

    for quiet in [&["bench", "get-1", "--seconds", "1"][..], &["recipe", "deploy", "counter"]] {
        let done = home.run(quiet);
        assert_eq!((done.code, &*done.stderr), (0, ""), "{}", done.stdout);
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let home = Home::new();
    let _server = home.dev();
    const ESCAPE: char = '\u{1b}';
    assert!(on_terminal(&home, "quorate ls /", &[]).contains(ESCAPE));
    assert!(!on_terminal(&home, "quorate ls /", &[("NO_COLOR", "1")]).contains(ESCAPE));
    assert!(!home.ok(&["ls", "/"]).contains(ESCAPE));
    assert!(!on_terminal(&home, "quorate ls / --output json", &[]).contains(ESCAPE));
    let failed = on_terminal(&home, "quorate get /nothing || true", &[]);
    assert!(failed.contains(ESCAPE) && failed.contains("no-node"), "{failed:?}");
    assert!(!home.run(&["get", "/nothing"]).stderr.contains(ESCAPE));
}

#[test]
fn ctrl_c_cancels_a_waiting_call_at_the_server() {
    let home = Home::new();
    let _server = home.dev();
    let mut holder = home
        .command(&["lock", "/x", "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"])
        .spawn()
        .expect("it runs");
    let held = ["call", "lock", "holder(\"/x\")"];
    until("the lock is held", || home.run(&held).stdout.contains("some("));
    let acquire = "acquire(\"/x\", {note: some(\"me\")})";
    let mut child = home.command(&["call", "lock", acquire]).spawn().expect("it runs");
    let waiters = ["call", "lock", "waiters(\"/x\", none, 10)"];
    until("the call waits", || home.ok(&waiters).contains("me"));
    send(&child, rustix::process::Signal::INT);
    assert_eq!(ended(&mut child), 130);
    let done = Done::of(child.wait_with_output().expect("its output"));
    assert!(done.stdout.starts_with("err(cancelled"), "{}{}", done.stdout, done.stderr);
    // Nobody waits any more, so nobody gets the lock when it is given back.
    assert!(!home.ok(&waiters).contains("me"));
    std::fs::write(home.path().join("go"), "").expect("written");
    assert_eq!(ended(&mut holder), 0);
    assert!(home.ok(&held).contains("none"));
}

#[test]
fn ctrl_c_in_a_recursive_deletion_leaves_a_tree_that_can_be_deleted_again() {
    const CHILDREN: usize = 1000;
    const PARENTS: usize = 12;
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/big"]);
    for parent in 0..PARENTS {
        let mut operations = format!("create /big/{parent}\n");
        for child in 0..CHILDREN {
            operations += &format!("create /big/{parent}/{child} x\n");
        }
        std::fs::write(home.path().join("operations"), operations).expect("written");
        let file = std::fs::File::open(home.path().join("operations")).expect("there");
        let made = home.command(&["multi"]).stdin(file).stdout(Stdio::null()).status();
        assert!(made.expect("it runs").success());
    }
    let in_parts = ["rm", "/big", "-r", "--in-parts", "--output", "json"];
    let mut child = home.command(&in_parts).spawn().expect("it runs");
    let count = || {
        let listed = home.run(&["ls", "/big"]);
        if listed.code == 0 { listed.stdout.lines().count() } else { 0 }
    };
    until("it has begun", || count() < PARENTS);
    // It may have ended just now.
    if child.try_wait().expect("its state").is_none() {
        send(&child, rustix::process::Signal::INT);
    }
    let code = ended(&mut child);
    let done = Done::of(child.wait_with_output().expect("its output"));
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let first = told["deleted"].as_u64().expect("a number");
    let all = (PARENTS * (CHILDREN + 1) + 1) as u64;
    if code == 130 {
        assert!(first < all && told["complete"] == false, "{told}");
        let rest = home.json(&["rm", "/big", "-r"]);
        assert_eq!(first + rest["deleted"].as_u64().expect("a number"), all);
    } else {
        assert_eq!((code, first), (0, all));
    }
    assert_eq!(home.run(&["stat", "/big"]).code, 1);
}
