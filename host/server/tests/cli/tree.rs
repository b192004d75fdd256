//! Znodes, multi-operations and calls.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::harness::{Done, Home, until};

#[test]
fn znodes_are_created_read_changed_listed_and_deleted() {
    let home = Home::new();
    let _server = home.dev();
    home.ok(&["create", "/a/b", "one", "--parents"]);
    assert_eq!(home.ok(&["get", "/a/b"]), "one");
    home.ok(&["set", "/a/b", "two", "--version", "0"]);
    let got = home.json(&["get", "/a/b"]);
    assert_eq!((&got["data"]["text"], &got["stat"]["version"]), (&json!("two"), &json!(1)));
    assert_eq!(home.json(&["stat", "/a"])["stat"]["children"], 1);

    for name in ["c", "d", "e"] {
        home.ok(&["create", &format!("/a/{name}")]);
    }
    assert_eq!(home.ok(&["ls", "/a"]), "b\nc\nd\ne\n");
    assert_eq!(home.ok(&["ls", "/a", "--reverse", "--limit", "2"]), "e\nd\n");
    assert_eq!(home.json(&["ls", "/a", "--after", "c"])["children"], json!(["d", "e"]));
    assert!(home.ok(&["ls", "/a", "-l"]).contains("v1"));
    assert_eq!(home.ok(&["ls", "/a", "-R", "--after", "/a/c"]), "/a/d\n/a/e\n");
    assert_eq!(home.ok(&["ls", "/a", "-R", "--limit", "2"]), "/a\n/a/b\n");
    let counted = &home.json(&["stat", "/a", "--subtree"])["subtree"];
    assert_eq!((&counted["znodes"], &counted["bytes"]), (&json!(5), &json!(3)));
    let made = home.json(&["create", "/a/job-", "--sequential"]);
    assert!(made["path"].as_str().is_some_and(|path| path.starts_with("/a/job-000")), "{made}");

    home.ok(&["rm", "/a", "--recursive"]);
    let gone = home.run(&["get", "/a/b"]);
    assert_eq!(gone.code, 1);
    assert!(gone.stderr.starts_with("error: Q2001 no-node: "), "{}", gone.stderr);
    let refused = home.run(&["get", "/a/b", "--output", "json"]);
    let told: serde_json::Value = serde_json::from_str(&refused.stderr).expect("JSON");
    assert_eq!(told["error"]["name"], "no-node");
}

#[test]
fn changes_depend_on_what_is_there() {
    let home = Home::new();
    let _server = home.dev();
    let made = home.json(&["create", "/a", "one", "--or-get"]);
    assert_eq!((&made["created"], made["stat"]["version"].as_u64()), (&json!(true), Some(0)));
    let met = home.json(&["create", "/a", "two", "--or-get"]);
    assert_eq!((&met["created"], &met["data"]["text"]), (&json!(false), &json!("one")));
    let czxid = made["stat"]["czxid"].as_u64().expect("a number");
    let stale = format!("mzxid={}", czxid - 1);
    let refused = home.run(&["set", "/a", "two", "--if", &stale]);
    assert!(refused.stderr.contains("Q2004 bad-version"), "{}", refused.stderr);
    home.ok(&["set", "/a", "two", "--if", &format!("mzxid={czxid}"), "--version", "0"]);
    let done = home.json(&[
        "multi",
        "check /b absent",
        "create /b x or-set",
        "get /a",
        "ls / limit=1",
        "rm /b recursive",
        "exists /b",
    ]);
    assert_eq!(done["results"][2]["data"]["text"], "two", "{done}");
    assert_eq!(done["results"][3]["children"], json!(["a"]), "{done}");
    assert_eq!(done["results"][5]["stat"], json!(null), "{done}");
}

#[test]
fn containers_and_ttl_znodes_go_by_themselves() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["create", "/t", "x", "--ttl", "1500ms"]);
    assert!(home.ok(&["stat", "/t"]).contains("ttl       1.5 s"));
    home.ok(&["multi", "create /c x container", "create /c/d x ttl=1ms sequential"]);
    let stat = home.json(&["stat", "/t"])["stat"].clone();
    assert_eq!((&stat["lifetime"], &stat["ttl_ms"]), (&json!("ttl"), &json!(1500)));
    let shown = home.ok(&["ls", "/", "-l"]);
    assert!(shown.contains("c v0") && shown.contains("t v0"), "{shown}");

    // Killed before its time has come: the next leadership deletes it.
    server.kill();
    let _server = home.dev();
    let gone = |path: &str| home.run(&["stat", path]).stderr.contains("no-node");
    until("both are gone", || gone("/t") && home.ok(&["ls", "/c"]).is_empty());
    assert!(!gone("/c"), "a container stays for a minute after its last child");

    let refused = home.run(&["create", "/t", "--ttl", "0s"]);
    assert!(refused.stderr.contains("bad-arguments"), "{}", refused.stderr);
    assert_eq!(home.run(&["create", "/t", "--ttl", "1s", "--container"]).code, 2);
}

#[test]
fn data_comes_from_files_and_from_standard_input() {
    let home = Home::new();
    let _server = home.dev();
    std::fs::write(home.path().join("file"), [0, 255]).expect("written");
    home.ok(&["set", "/f", "@file", "--create"]);
    assert_eq!(home.json(&["get", "/f"])["data"]["hex"], "00ff");
    let mut child =
        home.command(&["set", "/f", "-"]).stdin(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(b"piped").expect("written");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(home.ok(&["get", "/f"]), "piped");
}

#[test]
fn a_multi_is_all_or_nothing_and_takes_calls() {
    let home = Home::new();
    let _server = home.dev();
    let done = home.json(&[
        "multi",
        "create /m x",
        "set /m \"a b\" version=0",
        "call counter add(\"/hits\", 2)",
    ]);
    assert_eq!(done["results"][2]["value"], json!({ "ok": 2 }), "{done}");
    assert_eq!(home.ok(&["get", "/m"]), "a b");
    let refused = home.run(&["multi", "set /m c", "check /m version=9"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("bad-version") && refused.stderr.contains("check /m version=9"),
        "{}",
        refused.stderr
    );
    assert_eq!(home.ok(&["get", "/m"]), "a b");
    assert_eq!(home.run(&["multi", "move /m /n"]).code, 2);
}

#[test]
fn calls_take_and_print_wave() {
    let home = Home::new();
    let _server = home.dev();
    assert_eq!(home.ok(&["call", "counter", "add(\"/hits\", 1)"]), "ok(1)\n");
    for level in ["linearizable", "session", "stale"] {
        let get = ["call", "counter", "get(\"/hits\")", "--consistency", level];
        assert_eq!(home.ok(&get), "ok(1)\n", "{level}");
    }
    assert_eq!(home.json(&["call", "counter", "get(\"/hits\")"])["value"], json!({ "ok": 1 }));
    let Done { code, stdout, .. } =
        home.run(&["call", "counter", "compare-and-set(\"/hits\", 7, 8)"]);
    assert_eq!((code, &*stdout), (1, "err(mismatch(1))\n"));
    let wrong = home.run(&["call", "counter", "add(\"/hits\", \"x\")"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("column"), "{}", wrong.stderr);
    let unknown = home.run(&["call", "counter", "subtract(1)"]);
    assert!(unknown.stderr.contains("Q4002 no-function"), "{}", unknown.stderr);
    assert!(home.run(&["call", "nobody", "f()"]).stderr.contains("Q4001 no-recipe"));
}

#[test]
fn a_call_that_waits_is_given_up_after_its_time() {
    let home = Home::new();
    let _server = home.dev();
    let waited = home.run(&["call", "queue", "take(\"/empty\", none)", "--timeout", "100ms"]);
    assert_eq!((waited.code, &*waited.stdout), (1, "err(cancelled)\n"), "{}", waited.stderr);
}

#[test]
fn recipes_are_listed_inspected_and_rolled_back() {
    let home = Home::new();
    let _server = home.dev();
    let names = home.json(&["recipe", "list"]);
    assert_eq!(names["recipes"].as_array().map(Vec::len), Some(6), "{names}");
    assert!(
        home.ok(&["recipe", "inspect", "counter"]).contains("add: func(path: string, by: s64)")
    );
    std::fs::write(home.path().join("quorate.toml"), "root = \"/other\"\n").expect("written");
    let deploy = ["recipe", "deploy", "counter", "--manifest", "quorate.toml"];
    assert_eq!(home.json(&deploy)["version"], 2);
    assert_eq!(home.json(&["recipe", "rollback", "counter", "1"])["version"], 1);
    let history = home.json(&["recipe", "history", "counter"]);
    assert_eq!(
        (&history["active"], &history["versions"][1]["root"]),
        (&json!(1), &json!("/other"))
    );
    home.ok(&["recipe", "remove", "counter"]);
    assert_eq!(home.run(&["call", "counter", "get(\"/x\")"]).code, 1);
    home.ok(&["recipe", "logs", "lock"]);
}
