//! Subtrees drawn, exported and imported.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use quorate_client::core::request::{Body, LifetimeKind, Operation, Sequence};
use quorate_client::{Authority, Client, Options};
use serde_json::{Value, json};

use crate::harness::{Home, Server};

/// Znodes of the large subtree: a thousand parents with a hundred children each, less what the parents are.
const MANY: u64 = 100_000;
/// Creations of one transaction.
const PER_MULTI: usize = 500;

async fn client(server: &Server) -> Client {
    let mut options = Options::new([server.address()], Authority::File(server.ca()));
    options.session_timeout = Some(Duration::from_secs(60));
    Client::connect(options).await.expect("a session")
}

/// Creates all of these, in their order.
async fn create_all(client: &Client, paths: impl Iterator<Item = String>) {
    let paths: Vec<String> = paths.collect();
    for some in paths.chunks(PER_MULTI) {
        let create = |path: &String| Operation::Create {
            path: path.clone(),
            data: format!("data of {path}").into(),
            lifetime: LifetimeKind::Persistent,
            sequence: Sequence::None,
            parents: false,
            acl: None,
        };
        client.done(Body::Multi(some.iter().map(create).collect())).await.expect("created");
    }
}

fn told(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_subtree_is_drawn() {
    let home = Home::new();
    let _server = home.dev();
    for path in ["/t/a/b", "/t/a/c", "/t/d"] {
        home.ok(&["create", path, "x", "--parents"]);
    }
    home.ok(&["create", "/t/soon", "--ttl", "1h"]);
    let drawn = home.ok(&["tree", "/t"]);
    let wanted = "/t\n├── a\n│   ├── b  1 B\n│   └── c  1 B\n├── d  1 B\n└── soon  ttl 60 min\n6 znodes, 3 B of data\n";
    assert_eq!(drawn, wanted);
    let shallow = home.ok(&["tree", "/t", "--depth", "1", "--data"]);
    assert!(shallow.contains("├── a  2 below\n├── d  1 B  \"x\"\n"), "{shallow}");
    let cut = home.ok(&["tree", "/t", "--limit", "2"]);
    assert!(cut.ends_with("2 znodes, 0 B of data; there are more than --limit 2\n"), "{cut}");
    let all = home.json(&["tree", "/t", "--data"]);
    assert_eq!(
        (&all["count"], &all["bytes"], &all["complete"]),
        (&json!(6), &json!(3), &json!(true))
    );
    assert_eq!(all["znodes"][2]["data"]["text"], "x");
    assert!(home.ok(&["tree", "/t/d", "--stat"]).contains("v0 zxid"));
    assert!(home.run(&["tree", "/nothing"]).stderr.contains("no-node"));
}

#[test]
fn a_multi_comes_from_files_and_errors_name_the_line() {
    let home = Home::new();
    let _server = home.dev();
    std::fs::write(home.path().join("one"), "# first\n\ncreate /m x\n").expect("written");
    std::fs::write(home.path().join("two"), "set /m \"a b\"\n").expect("written");
    let done = home.json(&["multi", "--file", "one", "-f", "two"]);
    assert_eq!(done["results"].as_array().map(Vec::len), Some(2), "{done}");
    assert_eq!(home.ok(&["get", "/m"]), "a b");
    std::fs::write(home.path().join("two"), "set /m c\n\nmove /m /n\n").expect("written");
    let wrong = home.run(&["multi", "-f", "one", "-f", "two"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("two, line 3: \"move\""), "{}", wrong.stderr);
    let refused = home.run(&["multi", "-f", "one"]);
    assert!(refused.code == 1 && refused.stderr.contains("one, line 3"), "{}", refused.stderr);
    assert_eq!(home.run(&["multi", "-f", "/no/such/file"]).code, 1);
    assert_eq!(home.run(&["multi", "rm /m", "-f", "one"]).code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_imported_elsewhere() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["create", "/x", "top"]);
    std::fs::write(home.path().join("bytes"), [0, 255]).expect("written");
    home.ok(&["create", "/x/bytes", "@bytes"]);
    home.ok(&["create", "/x/c", "--container"]);
    home.ok(&["create", "/x/t", "--ttl", "1h"]);
    let client = client(&server).await;
    client.create("/x/me").ephemeral().await.expect("created");

    let exported = home.ok(&["export", "/x"]);
    let lines = told(&exported);
    assert_eq!((&lines[0]["quorate_export"], &lines[0]["path"]), (&json!(1), &json!("/x")));
    assert!(lines[0]["zxid"].is_u64() && lines[0]["cluster"].is_string(), "{}", lines[0]);
    assert_eq!(lines[2], json!({ "path": "/x/bytes", "base64": "AP8=" }));
    assert_eq!(lines[5]["end"], json!({ "znodes": 4, "bytes": 5, "ephemerals": 1 }));

    let file = home.json(&["export", "/x", "--file", "x.jsonl"]);
    assert_eq!((&file["znodes"], &file["ephemerals"]), (&json!(4), &json!(1)));
    assert_eq!(home.run(&["export", "/x", "--file", "x.jsonl"]).code, 2, "never over another");
    assert!(!home.path().join("x.jsonl.part").exists());

    let dry = home.json(&["import", "x.jsonl", "--to", "/y/z", "--dry-run"]);
    assert_eq!((&dry["created"], &dry["dry_run"]), (&json!(4), &json!(true)));
    assert_eq!(home.run(&["get", "/y"]).code, 1, "nothing was done");
    let done = home.json(&["import", "x.jsonl", "--to", "/y/z"]);
    assert_eq!((&done["created"], &done["complete"]), (&json!(4), &json!(true)));
    assert_eq!(home.ok(&["get", "/y/z"]), "top");
    assert_eq!(home.json(&["get", "/y/z/bytes"])["data"]["hex"], "00ff");
    assert_eq!(home.json(&["stat", "/y/z/c"])["stat"]["lifetime"], "container");
    assert_eq!(home.json(&["stat", "/y/z/t"])["stat"]["ttl_ms"], 3_600_000);
    conflicts(&home);
}

/// What is there already: refused, left alone, overwritten.
fn conflicts(home: &Home) {
    let import = |more: &[&str]| home.run(&[&["import", "x.jsonl", "--to", "/y/z"], more].concat());
    let refused = import(&[]);
    assert_eq!(refused.code, 1);
    let said = refused.stderr;
    assert!(said.contains("x.jsonl: line 2, /y/z: Q2002 node-exists"), "{said}");
    home.ok(&["set", "/y/z/bytes", "changed"]);
    home.ok(&["rm", "/y/z/c"]);
    let counts = |more: &[&str]| -> Value {
        let done = import(&[more, &["--output", "json"]].concat());
        serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{}", done.stderr))
    };
    let skipped = counts(&["--on-conflict", "skip"]);
    assert_eq!((&skipped["created"], &skipped["skipped"]), (&json!(1), &json!(3)));
    assert_eq!(home.ok(&["get", "/y/z/bytes"]), "changed");
    let over = counts(&["--on-conflict", "overwrite"]);
    assert_eq!((&over["overwritten"], &over["unchanged"]), (&json!(1), &json!(3)));
    assert_eq!(home.json(&["get", "/y/z/bytes"])["data"]["hex"], "00ff");
    // A file that is not whole does nothing at all.
    let text = std::fs::read_to_string(home.path().join("x.jsonl")).expect("read");
    let torn: String = text.split_inclusive('\n').take(3).collect();
    std::fs::write(home.path().join("torn.jsonl"), torn).expect("written");
    let refused = home.run(&["import", "torn.jsonl", "--to", "/torn"]);
    assert!(refused.stderr.contains("line 4: the file is torn"), "{}", refused.stderr);
    assert_eq!(home.run(&["get", "/torn"]).code, 1);
    // What the service refuses names the line.
    let refused = home.run(&["import", "x.jsonl", "--to", "/y/z/t/../up"]);
    assert!(refused.stderr.contains("bad-path"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_znodes_come_through_whole_and_a_stopped_import_goes_on() {
    let home = Home::new();
    let server = home.dev();
    let client = client(&server).await;
    let children = MANY / 1000 - 1;
    let parents = (0..1000).map(|parent| format!("/many/{parent:04}"));
    create_all(&client, std::iter::once("/many".to_owned()).chain(parents)).await;
    let each = |parent| (0..children).map(move |child| format!("/many/{parent:04}/{child:03}"));
    create_all(&client, (0..1000).flat_map(each)).await;

    let exported = home.json(&["export", "/many", "--file", "many.jsonl"]);
    assert_eq!(exported["znodes"], MANY + 1);
    stopped(&home);
    let rest = home.json(&["import", "many.jsonl", "--to", "/copy", "--on-conflict", "skip"]);
    let count = |key: &str| rest[key].as_u64().expect("a number");
    assert_eq!(count("created") + count("skipped"), MANY + 1, "{rest}");
    assert!(count("created") > 0 && count("skipped") > 0, "{rest}");

    home.ok(&["export", "/copy", "--file", "copy.jsonl"]);
    let znodes = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(home.path().join(file)).expect("read");
        let all = text.lines().map(|line| line.replacen("\"/copy", "\"/many", 1));
        all.skip(1).take(usize::try_from(MANY).expect("few") + 1).collect()
    };
    assert!(znodes("many.jsonl") == znodes("copy.jsonl"), "the copy is another");
}

/// An import that is killed when the service has begun to answer it.
fn stopped(home: &Home) {
    let mut import = home
        .command(&["import", "many.jsonl", "--to", "/copy"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    crate::harness::until("the first are there", || home.run(&["stat", "/copy"]).code == 0);
    crate::harness::send(&import, rustix::process::Signal::INT);
    let mut said = String::new();
    let stdout = import.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut said).expect("a line");
    let code = crate::harness::ended(&mut import);
    assert!(code == 130 && said.contains("goes on"), "{code}: {said}");
}
