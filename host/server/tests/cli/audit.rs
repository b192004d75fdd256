//! The audit log of a member, as its operator reads it: after real commands, an expiry, refusals, deployments, a change of the
//! cluster, a crash, and on a disk that takes nothing.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use quorate_client::{Authority, Client, Options};
use serde_json::{Value, json};

use crate::disk::Served;
use crate::harness::{Home, until};

/// A word that stands in data, arguments and nothing else.
const SECRET: &str = "hunter2";

/// The lines of a file that are whole.
fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("an audit log");
    assert!(!text.contains(SECRET), "data, arguments and secrets are never told: {text}");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Whether a line has all of these fields.
fn has(line: &Value, wanted: &Value) -> bool {
    wanted.as_object().expect("fields").iter().all(|(key, value)| line[key] == *value)
}

/// Waits for a line with these fields.
fn line_with(file: &Path, wanted: &Value) -> Value {
    let mut found = None;
    until(&wanted.to_string(), || {
        found = lines(file).into_iter().find(|line| has(line, wanted));
        found.is_some()
    });
    found.expect("found")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_told_with_who_where_and_how_it_ended() {
    let home = Home::new();
    let (data, file) = (home.path().join("data"), home.path().join("audit.log"));
    let section =
        format!("[audit]\nfile = {file:?}\ncategories = [\"sessions\", \"writes\", \"reads\"]");
    let server = Served::start(&home, &data, &section);
    for recipe in ["lock", "queue", "counter", "group"] {
        server.ok(&home, &["recipe", "deploy", recipe]);
    }
    server.ok(&home, &["create", "/a", SECRET]);
    server.ok(&home, &["get", "/a"]);
    assert_eq!(server.run(&home, &["set", "/nothing", SECRET]).code, 1);
    server.ok(&home, &["call", "queue", &format!("put(\"/q\", \"{SECRET}\")")]);
    server.ok(&home, &["multi", "create /b x sequential", "call counter add(\"/n\", 1)", "rm /a"]);
    server.ok(&home, &["recipe", "remove", "group"]);
    assert_eq!(server.run(&home, &["cluster", "add", "2=nowhere.invalid:1"]).code, 1);

    let told = |wanted: Value| line_with(&file, &wanted);
    let created =
        told(json!({ "event": "write", "operation": "create", "path": "/a", "result": "ok" }));
    assert_eq!((&created["bytes"], &created["member"]), (&json!(SECRET.len()), &json!(1)));
    assert!(created["session"].is_u64() && created["zxid"].is_u64() && created["write"] == 1);
    assert!(created["remote"].as_str().is_some_and(|text| text.contains(':')), "{created}");
    assert!(created["time"].as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')));
    told(json!({ "event": "read", "operation": "get", "path": "/a", "result": "ok" }));
    told(json!({ "operation": "set", "path": "/nothing", "result": "no-node", "code": "Q2001" }));
    told(json!({ "operation": "call", "recipe": "queue", "function": "put", "result": "ok" }));
    let multi = told(json!({ "operation": "multi", "result": "ok" }));
    let operations = multi["operations"].as_array().expect("a list");
    let kinds: Vec<&Value> = operations.iter().map(|operation| &operation["operation"]).collect();
    assert_eq!(kinds, ["create", "call", "delete"], "{multi}");
    assert!(operations[0]["created"].as_str().is_some_and(|path| path.starts_with("/b0000")));
    let deployed =
        told(json!({ "event": "administration", "operation": "deploy", "recipe": "lock" }));
    assert!(deployed["component"].as_str().is_some_and(|digest| digest.len() == 64), "{deployed}");
    told(json!({ "event": "administration", "operation": "remove-recipe", "recipe": "group" }));
    let added = json!({ "event": "administration", "operation": "cluster-add", "of_member": 2, "address": "nowhere.invalid:1", "result": "member-refused" });
    assert!(told(added)["remote"].is_string());

    expiry(&server, &file).await;
    torn(&home, server, &file, &data, &section);
}

/// A session opens, resumes with the wrong secret, and expires with its znode.
async fn expiry(server: &Served, file: &Path) {
    let mut options = Options::new([server.address()], Authority::File(server.ca().into()));
    options.session_timeout = Some(Duration::from_secs(1));
    let client = Client::connect(options.clone()).await.expect("a session");
    let session = client.session().id.0;
    client.create("/ephemeral").data(SECRET).ephemeral().await.expect("created");
    let mut key = client.session();
    key.secret = [0; 32];
    options.connect_timeout = Duration::from_secs(1);
    assert!(Client::resume(options, key).await.is_err());
    drop(client);
    let told = |wanted: Value| line_with(file, &wanted);
    told(json!({ "event": "session", "operation": "open", "session": session, "result": "ok" }));
    told(
        json!({ "event": "session", "operation": "resume", "session": session, "result": "bad-secret" }),
    );
    let expired = told(json!({ "event": "session", "operation": "expired", "session": session }));
    assert_eq!(expired["paths"], json!(["/ephemeral"]));
    assert!(expired["remote"].is_null(), "nobody asked for it: {expired}");
    // Those of the commands were closed, and say so.
    told(json!({ "event": "session", "operation": "close", "result": "ok" }));
    told(json!({ "event": "session", "operation": "closed" }));
}

/// A crash in the middle of a line costs that line.
fn torn(home: &Home, mut server: Served, file: &Path, data: &Path, section: &str) {
    let before = lines(file).len();
    server.kill();
    let mut opened = std::fs::File::options().append(true).open(file).expect("there");
    opened.write_all(b"{\"time\":\"2026").expect("written");
    drop(opened);
    let server = Served::start(home, data, section);
    let began =
        line_with(file, &json!({ "event": "audit", "operation": "begin", "is_torn": true }));
    assert_eq!(began["member"], 1);
    server.ok(home, &["create", "/after"]);
    line_with(file, &json!({ "operation": "create", "path": "/after", "result": "ok" }));
    assert!(lines(file).len() > before);
    server.stop();
    let last = lines(file).pop().expect("a line");
    assert!(has(&last, &json!({ "event": "audit", "operation": "end" })), "{last}");
}

#[test]
fn without_categories_only_administration_and_refusals_are_told() {
    let home = Home::new();
    let (data, file) = (home.path().join("data"), home.path().join("audit.log"));
    let section = format!("[audit]\nfile = {file:?}\ncategories = []");
    let server = Served::start(&home, &data, &section);
    server.ok(&home, &["create", "/a"]);
    server.ok(&home, &["recipe", "deploy", "group"]);
    server.ok(&home, &["recipe", "remove", "group"]);
    line_with(&file, &json!({ "operation": "remove-recipe", "recipe": "group" }));
    server.stop();
    let events: Vec<Value> =
        lines(&file).into_iter().map(|mut line| line["event"].take()).collect();
    assert!(events.iter().all(|event| event == "administration" || event == "audit"), "{events:?}");
}

#[test]
fn on_a_disk_that_takes_nothing_what_would_be_told_is_refused_if_wanted() {
    let home = Home::new();
    let data = home.path().join("data");
    let section =
        "[audit]\nfile = \"/dev/full\"\ncategories = [\"writes\"]\non_failure = \"refuse\"";
    let server = Served::start(&home, &data, section);
    until("a write is refused", || {
        server.run(&home, &["create", "/a"]).stderr.contains("Q5040 not-audited")
    });
    assert_eq!(server.run(&home, &["get", "/a"]).code, 1, "nothing has been done");
    server.ok(&home, &["get", "/"]);
}

#[test]
fn a_member_does_not_start_without_the_audit_log_that_it_is_to_keep() {
    let home = Home::new();
    let config = home.path().join("quorate.toml");
    for (section, named) in [
        ("file = \"/no/such/directory/audit.log\"", "/no/such/directory"),
        ("file = \"audit.log\"\nfiles = 1", "audit.files: 1 is not between 2 and 1000"),
    ] {
        let text = format!("data = \"data\"\nlisten = \"127.0.0.1:0\"\n[audit]\n{section}\n");
        std::fs::write(&config, text).expect("written");
        let refused = home.run(&["serve", "--config", "quorate.toml"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(named), "{}", refused.stderr);
    }
}
