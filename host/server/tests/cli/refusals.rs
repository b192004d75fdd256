//! Wrong input and damaged disks: exit codes as `quorate --help` says them, and errors that name the cause and what to do.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Done, Home};

#[test]
fn a_command_line_that_makes_no_sense_exits_with_2_before_anything_is_asked() {
    let home = Home::new();
    for arguments in [
        &["nonsense"][..],
        &[],
        &["get"],
        &["get", "/x", "--consistency", "sometimes"],
        &["set", "/x"],
        &["set", "/x", "y", "--version", "-1"],
        &["set", "/x", "y", "--version", "1", "--create"],
        &["create"],
        &["ls", "/", "--limit", "many"],
        &["stat", "/x", "/y"],
        &["rm", "/", "--recursive"],
        &["rm", "/x", "--recursive", "--in-parts", "--version", "1"],
        &["rm", "/x", "--in-parts"],
        &["set", "/x", "y", "--if", "size=1"],
        &["set", "/x", "y", "--if", "mzxid=1", "--create"],
        &["set", "/x", "y", "--fence", "lock"],
        &["multi", "move /x /y"],
        &["multi", "create"],
        &["call", "counter"],
        &["call", "counter", "get(\"/x\")", "--timeout", "soon"],
        &["call", "counter", "get(\"/x\")", "--consistency", "fresh"],
        &["lock", "/x"],
        &["lock", "/x", "--timeout", "x", "--", "true"],
        &["recipe"],
        &["recipe", "new", "Bad_Name"],
        &["recipe", "new", "fine", "--sdk", "/no/such/sdk"],
        &["recipe", "build", "/no/such/dir"],
        &["recipe", "test", "/no/such/dir"],
        &["recipe", "deploy", "no-such-thing"],
        &["recipe", "rollback", "counter", "first"],
        &["recipe", "logs", "counter", "--limit", "-3"],
        &["serve"],
        &["dev", "--listen", "nowhere"],
        &["bench", "--seconds", "0"],
        &["bench", "no-such-workload"],
        &["completions", "tcsh-or-so"],
        &["status", "--output", "xml"],
        &["status", "--connect-timeout", "never"],
        // No server was ever started by this user, and none is named.
        &["status"],
        &["get", "/x"],
        &["status", "--connect", "nowhere"],
    ] {
        let Done { code, stdout, stderr } = home.run(arguments);
        assert_eq!((code, &*stdout), (2, ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?}");
        if !arguments.contains(&"xml") {
            let json = home.run(&[&["--output", "json"], arguments].concat());
            if json.stderr.is_empty() {
                panic!("{arguments:?} says nothing in JSON");
            }
            let told: Value = serde_json::from_str(&json.stderr)
                .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", json.stderr));
            assert_eq!((json.code, &told["error"]["name"]), (2, &"usage".into()), "{told}");
            assert!(told["error"]["hint"].is_string(), "{told}");
        }
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("there").count(), 0, "nothing was made");
}

#[test]
fn what_the_service_refuses_exits_with_1_and_says_code_cause_and_what_to_do() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/there", "x"]);
    home.ok(&["create", "/there/below"]);
    for (arguments, code, name) in [
        (&["get", "/nothing"][..], "Q2001", "no-node"),
        (&["stat", "/nothing"], "Q2001", "no-node"),
        (&["ls", "/nothing"], "Q2001", "no-node"),
        (&["set", "/nothing", "x"], "Q2001", "no-node"),
        (&["rm", "/nothing", "-r"], "Q2001", "no-node"),
        (&["create", "/there"], "Q2002", "node-exists"),
        (&["rm", "/there"], "Q2003", "not-empty"),
        (&["set", "/there", "y", "--version", "7"], "Q2004", "bad-version"),
        (&["get", "relative"], "Q1002", "bad-path"),
        (&["call", "nobody", "f()"], "Q4001", "no-recipe"),
        (&["call", "counter", "f()"], "Q4002", "no-function"),
        (&["call", "counter", "add(\"/x\")"], "Q4004", "bad-value"),
        (&["call", "counter", "add(\"/x\", 1)", "--read-only"], "Q4016", "read-only"),
        (&["recipe", "inspect", "nobody"], "Q4001", "no-recipe"),
        (&["recipe", "history", "nobody"], "Q4001", "no-recipe"),
        (&["recipe", "remove", "nobody"], "Q4001", "no-recipe"),
        (&["lock", "/x", "--recipe", "nobody", "--", "true"], "Q4001", "no-recipe"),
    ] {
        let people = home.run(arguments);
        assert_eq!((people.code, &*people.stdout), (1, ""), "{arguments:?}: {}", people.stderr);
        assert!(people.stderr.contains(&format!("{code} {name}")), "{}", people.stderr);
        let machines = home.command(arguments).args(["--output", "json"]).output();
        // A command line of another program stands behind `--`.
        if arguments.contains(&"--") {
            continue;
        }
        let machines = Done::of(machines.expect("it runs"));
        let told: Value = serde_json::from_str(&machines.stderr).expect("JSON");
        let error = &told["error"];
        assert_eq!((&error["code"], &error["name"]), (&code.into(), &name.into()), "{told}");
        assert!(error["message"].as_str().is_some_and(|text| text.len() > 10), "{told}");
        assert!(error["hint"].is_string(), "{told}");
    }
}

#[test]
fn a_server_that_is_not_there_exits_with_3() {
    let home = Home::new();
    let server = home.dev();
    server.kill();
    let gone = home.run(&["status", "--connect-timeout", "300ms", "--output", "json"]);
    let told: Value = serde_json::from_str(&gone.stderr).expect("JSON");
    assert_eq!((gone.code, &told["error"]["name"]), (3, &"unreachable".into()), "{told}");
    assert!(told["error"]["hint"].as_str().is_some_and(|hint| hint.contains("quorate dev")));
}

#[test]
fn reads_are_as_fresh_as_asked() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/fresh", "x"]);
    for consistency in ["linearizable", "session", "stale"] {
        let freshness = ["--consistency", consistency];
        assert_eq!(home.ok(&[&["get", "/fresh"][..], &freshness].concat()), "x");
        assert!(home.ok(&[&["stat", "/fresh"][..], &freshness].concat()).contains("version"));
        assert!(home.ok(&[&["ls", "/"][..], &freshness].concat()).contains("fresh"));
    }
}

#[test]
fn a_damaged_directory_is_refused_with_its_place() {
    let home = Home::new();
    let mut server = home.dev();
    home.ok(&["create", "/x", "data"]);
    server.signal(rustix::process::Signal::TERM);
    crate::harness::ended(&mut server.child);
    let data = home.path().join("data");
    let start = |named: &str| {
        let refused = home.run(&["dev", "--data", "data", "--listen", "127.0.0.1:0"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(named), "{named}: {}", refused.stderr);
    };

    // A version of the format that does not exist.
    let format = std::fs::read(data.join("FORMAT")).expect("there");
    std::fs::write(data.join("FORMAT"), b"quorate 4294967295\n").expect("written");
    start("FORMAT");
    std::fs::write(data.join("FORMAT"), &format).expect("written");

    // RocksDB without the file that names its state.
    let current = data.join("tree/CURRENT");
    let kept = std::fs::read(&current).expect("there");
    std::fs::write(&current, b"MANIFEST-999999\n").expect("written");
    start("tree");
    std::fs::write(&current, kept).expect("written");

    // Bits of the log's beginning, with more behind them: no torn end of a crash.
    let mut segments: Vec<_> = std::fs::read_dir(data.join("log"))
        .expect("there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    segments.sort();
    let segment = segments.first().expect("a segment");
    let mut bytes = std::fs::read(segment).expect("there");
    let whole = bytes.clone();
    bytes[64..96].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(segment, bytes).expect("written");
    start("log");

    // Nothing was mended or lost by the refusals.
    std::fs::write(segment, whole).expect("written");
    let _server = home.dev();
    assert_eq!(home.ok(&["get", "/x"]), "data");
}

#[test]
fn completions_are_scripts_that_shells_can_read() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completions", shell]);
        for command in ["recipe", "lock", "bench", "--connect-timeout", "rollback"] {
            let said = script.contains(command)
                || shell == "fish" && script.contains(command.trim_start_matches("--"));
            assert!(said, "{shell}: {command}");
        }
        let mut reader = home.command_named(shell, &["-n"]);
        // bash is what recipes are built with; the others are checked where they are.
        let mut reader = match reader.stdin(Stdio::piped()).spawn() {
            Err(error) if shell != "bash" && error.kind() == std::io::ErrorKind::NotFound => {
                continue;
            }
            reader => reader.expect("the shell runs"),
        };
        reader.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
        let read = Done::of(reader.wait_with_output().expect("it ends"));
        assert_eq!((read.code, &*read.stderr), (0, ""), "{shell}");
    }
}
