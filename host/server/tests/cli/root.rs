//! `--root`: commands that take a part of the tree for all of it.

use std::io::{BufRead, BufReader};

use serde_json::json;

use crate::harness::{Done, Home, ended, send, until};

/// Runs a command below `/app`; its standard output.
fn app(home: &Home, arguments: &[&str]) -> String {
    home.ok(&[&["--root", "/app"], arguments].concat())
}

#[test]
fn what_is_done_below_a_root_is_shown_without_it() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/app"]);
    home.ok(&["create", "/app-2"]);
    let told = app(&home, &["create", "/a/b", "one", "--parents"]);
    assert!(told.starts_with("/a/b is there"), "{told}");
    assert_eq!(app(&home, &["get", "/a/b"]), "one");
    assert_eq!(home.ok(&["get", "/app/a/b"]), "one");
    app(&home, &["set", "/a/b", "two", "--version", "0"]);
    assert_eq!(app(&home, &["ls", "/"]), "a\n");
    assert_eq!(app(&home, &["ls", "/", "--recursive"]), "/\n/a\n/a/b\n");
    assert_eq!(app(&home, &["ls", "/", "--recursive", "--after", "/a"]), "/a/b\n");
    assert_eq!(app(&home, &["tree", "/"]), "/\n└── a\n    └── b  3 B\n3 znodes, 3 B of data\n");
    let made = app(&home, &["multi", "create /c x", "check /app absent", "ls /"]);
    assert!(made.contains("create /c x"), "{made}");
    app(&home, &["acl", "set", "/c", "world:anyone:cdrwa"]);
    assert!(home.ok(&["acl", "get", "/app/c"]).contains("world:anyone:cdrwa"));
    app(&home, &["quota", "set", "/a", "--znodes", "3"]);
    home.ok(&["quota", "set", "/app", "--znodes", "300"]);
    home.ok(&["quota", "set", "/", "--znodes", "3000"]);
    let quotas = app(&home, &["quota", "list", "--output", "json"]);
    let quotas: serde_json::Value = serde_json::from_str(&quotas).expect("JSON");
    assert_eq!(
        (&quotas[0]["path"], &quotas[1]["path"], &quotas[2]),
        (&json!("/"), &json!("/a"), &json!(null))
    );

    app(&home, &["export", "/", "--file", "all.jsonl"]);
    let file = std::fs::read_to_string(home.path().join("all.jsonl")).expect("written");
    assert!(file.contains("\"path\":\"/a/b\"") && !file.contains("/app"), "{file}");
    home.ok(&["--root", "/copy/of", "import", "all.jsonl"]);
    assert_eq!(home.ok(&["get", "/copy/of/a/b"]), "two");
    app(&home, &["rm", "/a", "--recursive"]);
    app(&home, &["rm", "/c"]);
    assert_eq!(home.ok(&["ls", "/app"]), "");
    assert_eq!(home.json(&["--root", "/", "stat", "/app"])["path"], "/app");
}

#[test]
fn a_watch_below_a_root_shows_paths_without_it() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/app"]);
    let mut child = home
        .command(&["watch", "/", "--recursive", "--verbose"])
        .env("QUORATE_ROOT", "/app")
        .spawn()
        .expect("it runs");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("watching") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("UTF-8"), 0, "it has ended");
    }
    home.ok(&["create", "/app-2"]);
    app(&home, &["create", "/a"]);
    home.ok(&["rm", "/app", "--recursive"]);
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let events: Vec<String> = lines
        .take(3)
        .map(|line| line.expect("UTF-8"))
        .map(|line| line.split_once(' ').expect("a zxid").1.to_owned())
        .collect();
    assert_eq!(events, ["created /a", "deleted /a  version 0", "deleted /  version 0"]);
    send(&child, rustix::process::Signal::INT);
    assert_eq!(ended(&mut child), 130);
}

#[test]
fn a_lock_below_a_root_is_that_of_others_and_its_grant_holds_with_any_root() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/app"]);
    let binary = env!("CARGO_BIN_EXE_quorate");
    // Inside: with the root, without it, and while others wait in vain for the same lock by its whole path.
    let script = format!(
        "{binary} --root /app create /done --fence $QUORATE_GRANT && \
         {binary} set /app/done x --fence $QUORATE_GRANT && \
         ! {binary} lock /app/l --timeout 0 -- true && {binary} lock /l --timeout 0 -- true"
    );
    app(&home, &["lock", "/l", "--", "sh", "-c", &script]);
    assert_eq!(home.ok(&["get", "/app/done"]), "x");
    let mut holder = home
        .command(&["lock", "/app/l", "--", "sh", "-c", "touch held; read line"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    until("it is held", || home.path().join("held").exists());
    let refused = home.run(&["--root", "/app", "lock", "/l", "--timeout", "0", "--", "true"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("holder(\"/app/l\")"), "{}", refused.stderr);
    drop(holder.stdin.take());
    ended(&mut holder);
}

fn refused(done: &Done, code: i32, sentence: &str) {
    assert_eq!(done.code, code, "{}", done.stderr);
    assert!(done.stderr.contains(sentence), "{}", done.stderr);
}

#[test]
fn wrong_roots_and_what_is_of_the_whole_tree_are_refused() {
    let home = Home::new();
    let _server = home.dev();
    for wrong in ["app", "/app/", "/a/../b", ""] {
        refused(&home.run(&["--root", wrong, "ls", "/"]), 2, "--root <PATH>");
    }
    let none = home.run(&["--root", "/none", "get", "/a"]);
    refused(&none, 1, "Q2001 no-node: there is no znode /none/a");
    refused(&none, 1, "The root is /none");
    refused(&home.run(&["--root", "/none", "create", "/a"]), 1, "/none");
    home.ok(&["--root", "/none", "create", "/", "--parents"]);
    home.ok(&["--root", "/none", "create", "/a"]);
    assert_eq!(home.ok(&["ls", "/none"]), "a\n");
    refused(&home.run(&["--root", "/none", "rm", "/"]), 1, "Q1003 bad-arguments");
    refused(
        &home.run(&["--root", "/none", "rm", "/", "--recursive"]),
        2,
        "the root can not be deleted",
    );

    refused(&home.run(&["--root", "/none", "snapshot", "save", "s"]), 2, "the root is /none");
    assert!(!home.path().join("s.part").exists());
    refused(
        &home.run(&["--root", "/none", "auth", "list"]),
        2,
        "--root / stands for the whole tree",
    );
    home.ok(&["--root", "/none", "auth", "grant", "/a", "world:anyone", "all"]);
    let rules = home.json(&["auth", "list"]);
    assert_eq!(rules["rules"][0]["object"], "/none/a", "{rules}");
    let rules = home.json(&["--root", "/none", "auth", "list", "/a"]);
    assert_eq!(rules["rules"][0]["object"], "/a", "{rules}");
    // What is about the service is the same with any root.
    let status = home.run(&["--root", "/none", "status"]);
    assert_eq!(status.code, 0, "{}", status.stderr);
    let called = home.ok(&["--root", "/none", "call", "counter", "add(\"/hits\", 1)"]);
    assert_eq!(called, "ok(1)\n");
    assert_eq!(home.ok(&["call", "counter", "get(\"/hits\")"]), "ok(1)\n");
}
