//! `quorate watch`: lines as things happen, through a restart of the server, and where to go on from.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout};

use serde_json::{Value, json};

use crate::harness::{Home, ended, send};

struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
    said: BufReader<ChildStderr>,
}

impl Watching {
    /// Starts one, and waits until it is open.
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let all = [&["watch", "--verbose"], arguments].concat();
        let mut child = home.command(&all).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("watching") {
            line.clear();
            assert_ne!(said.read_line(&mut line).expect("UTF-8"), 0, "it has ended");
        }
        Self { child, lines, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("UTF-8");
        line.trim_end().to_owned()
    }

    fn object(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Without its zxid.
    fn event(&mut self) -> String {
        let line = self.line();
        line.split_once(' ').map_or(line.clone(), |(_, event)| event.to_owned())
    }
}

#[test]
fn what_happens_is_a_line_each_and_the_end_says_where_to_go_on() {
    let home = Home::new();
    let server = home.dev();
    home.ok(&["create", "/a", "one"]);
    let mut watching = Watching::start(&home, &["/a", "--recursive", "--data", "--previous"]);
    home.ok(&["set", "/a", "two"]);
    home.ok(&["create", "/a/b"]);
    home.ok(&["create", "/elsewhere"]);
    assert_eq!(watching.event(), "set     /a  version 1  \"two\"  before: \"one\"");
    assert_eq!(watching.event(), "created /a/b  \"\"");
    // It goes on when the server comes back.
    let address = server.address().to_owned();
    server.kill();
    let _server = home.dev_at(&address);
    home.ok(&["rm", "/a/b"]);
    assert_eq!(watching.event(), "deleted /a/b  version 0  before: \"\"");
    send(&watching.child, rustix::process::Signal::INT);
    assert_eq!(ended(&mut watching.child), 130);
    let mut said = String::new();
    watching.said.read_to_string(&mut said).expect("UTF-8");
    let from = said.split_once("--from ").expect("it says where").1;
    let from = from.split_whitespace().next().expect("a number");

    home.ok(&["multi", "set /a three", "create /a/c"]);
    let mut rest =
        Watching::start(&home, &["/a", "-R", "--from", from, "--once", "--output", "json"]);
    let (first, second) = (rest.object(), rest.object());
    assert_eq!((&first["event"], &first["path"]), (&json!("set"), &json!("/a")));
    assert_eq!((&second["event"], &second["lifetime"]), (&json!("created"), &json!("persistent")));
    assert_eq!(first["zxid"], second["zxid"], "one transaction");
    assert_eq!(ended(&mut rest.child), 0, "that was all");
}

#[test]
fn a_watch_that_makes_no_sense_is_refused() {
    let home = Home::new();
    let _server = home.dev();
    let refused = home.run(&["watch", "a"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("Q1002 bad-path"), "{}", refused.stderr);
    assert_eq!(home.run(&["watch", "/a", "--children", "--recursive"]).code, 2);
    let mut children = Watching::start(&home, &["/", "--children", "--once"]);
    home.ok(&["create", "/x/y", "--parents"]);
    assert_eq!(children.event(), "created /x");
    assert_eq!(ended(&mut children.child), 0);
}
